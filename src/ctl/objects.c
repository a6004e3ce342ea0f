/* SPDX-License-Identifier: MIT */
/* Objects that clients see and make: the tree of what exists, memory backends made at run time. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "ctl/commands.h"
#include "ctl/monitor.h"
#include "ctl/objects.h"
#include "host/chardev.h"
#include "machine/device_type.h"
#include "machine/vcpu.h"

static const struct {
	const char *name, *parent;
	bool abstract;
} types[] = {
	{ "object", NULL, true },
	{ "container", "object", false },
	{ "machine", "object", true },
	{ LAYOUT_MACHINE_TYPE "-machine", "machine", false },
	{ "accel", "object", true },
	{ "kvm-accel", "accel", false },
	{ "device", "object", true },
	{ "pci-device", "device", true },
	{ "cpu", "device", true },
	{ "x86_64-cpu", "cpu", true },
	{ "host-x86_64-cpu", "x86_64-cpu", false },
	{ "memory-backend", "object", true },
	{ "memory-backend-memfd", "memory-backend", false },
	{ "memory-backend-file", "memory-backend", false },
	{ "memory-backend-shm", "memory-backend", false },
	{ "memory-backend-ram", "memory-backend", false },
	{ "chardev", "object", true },
	{ "chardev-null", "chardev", false },
	{ "chardev-stdio", "chardev", false },
	{ "chardev-file", "chardev", false },
	{ "chardev-socket", "chardev", false },
};

/* Which type a back end is of, by how its name starts. */
static const struct {
	const char *prefix, *type;
} chardev_types[] = {
	{ "null", "chardev-null" },   { "stdio", "chardev-stdio" }, { "file", "chardev-file" },
	{ "unix", "chardev-socket" }, { "tcp", "chardev-socket" },
};

static void put(json_t *object, const char *name, const char *type, json_t *value)
{
	json_object_set_new(object, name, json_pack("{s:s, s:o}", "type", type, "value", value));
}

/* Makes object @path of @type, a child of the object at @parent. */
static json_t *add(json_t *tree, const char *parent, const char *name, const char *type)
{
	json_t *path = json_sprintf("%s/%s", strcmp(parent, "/") ? parent : "", name);
	json_t *link = json_sprintf("child<%s>", type);
	json_t *object = json_object();

	put(object, "type", "string", json_string(type));
	json_object_set_new(tree, json_string_value(path), object);
	put(json_object_get(tree, parent), name, json_string_value(link), path);
	json_decref(link);
	return object;
}

static json_t *add_device(json_t *tree, const char *parent, const char *name, const char *type)
{
	json_t *o = add(tree, parent, name, type);

	put(o, "realized", "bool", json_true());
	put(o, "hotplugged", "bool", json_false());
	put(o, "hotpluggable", "bool", json_false());
	return o;
}

static void add_unattached(json_t *tree, unsigned int n, const char *type, int64_t vcpu)
{
	char name[32];
	json_t *o;

	snprintf(name, sizeof(name), "device[%u]", n);
	o = add_device(tree, "/machine/unattached", name, type);
	if (vcpu < 0)
		return;
	put(o, "socket-id", "int", json_integer(vcpu));
	put(o, "core-id", "int", json_integer(0));
	put(o, "thread-id", "int", json_integer(0));
}

/* One that was asked for, with the properties that were. */
static void add_peripheral(json_t *tree, const struct device *d)
{
	const struct device_type *t = d->spec->type;
	json_t *as_made = device_to_json(d), *value, *o;
	char path[DEVICE_OBJECT_MAX];
	const char *key;
	char *name;

	device_object_path(d, path, sizeof(path));
	name = strrchr(path, '/');
	*name++ = '\0';
	o = add_device(tree, path, name, t->driver);
	put(o, "hotplugged", "bool", json_boolean(d->hotplugged));
	put(o, "hotpluggable", "bool", json_boolean(t->hotpluggable));
	json_object_foreach(as_made, key, value)
	{
		const struct prop *p = device_type_find_prop(t, key);

		if (p && strcmp(key, "id"))
			put(o, key, prop_type_name(p), json_incref(value));
	}
	json_decref(as_made);
}

static void add_machine(struct ctl *ctl, json_t *tree)
{
	struct vm *vm = ctl->config.vm;
	unsigned int n = 0;
	struct list *pos, *tmp;
	json_t *o;

	o = add(tree, "/", "machine", LAYOUT_MACHINE_TYPE "-machine");
	if (vm->mem.ram)
		put(o, "memory-backend", "string", json_sprintf("/objects/%s", vm->mem.ram->name));
	add(tree, "/machine", "peripheral", "container");
	add(tree, "/machine", "peripheral-anon", "container");
	add(tree, "/machine", "unattached", "container");
	for (; n < vm->nr_vcpus; n++)
		add_unattached(tree, n, "host-x86_64-cpu", vcpu_index(vm->vcpus[n]));
	list_for_each(pos, tmp, &vm->devices) {
		const struct device *d = CONTAINER_OF(pos, struct device, link);

		if (d->spec)
			add_peripheral(tree, d);
		else
			add_unattached(tree, n++, d->class->name, -1);
	}
}

static void add_memory(const struct ram_block *b, void *arg)
{
	json_t *tree = arg;
	json_t *o;

	o = add(tree, "/objects", b->name, ram_backend_name(b->backend));
	put(o, "size", "int", json_integer((json_int_t)b->size));
	put(o, "share", "bool", json_boolean(b->share));
	put(o, "merge", "bool", json_boolean(b->options.merge));
	put(o, "dump", "bool", json_boolean(b->options.dump));
	put(o, "prealloc", "bool", json_boolean(b->options.prealloc));
	put(o, "reserve", "bool", json_boolean(b->options.reserve));
	if (b->backend == RAM_BACKEND_FILE)
		put(o, "mem-path", "string", json_string(b->path));
}

static const char *chardev_type(const struct chardev *c)
{
	const char *name = chardev_name(c);

	for (size_t i = 0; i < ARRAY_SIZE(chardev_types); i++) {
		if (!strncmp(name, chardev_types[i].prefix, strlen(chardev_types[i].prefix)))
			return chardev_types[i].type;
	}
	return "chardev";
}

json_t *objects_tree(struct ctl *ctl)
{
	json_t *tree = json_object();
	json_t *root = json_object();
	struct chardev_name *name;
	struct list *pos, *tmp;

	put(root, "type", "string", json_string("container"));
	json_object_set_new(tree, "/", root);
	add_machine(ctl, tree);
	add(tree, "/", "objects", "container");
	objects_for_each_memory(ctl, add_memory, tree);
	add(tree, "/", "chardevs", "container");
	list_for_each(pos, tmp, &ctl->chardev_names) {
		name = CONTAINER_OF(pos, struct chardev_name, link);
		add(tree, "/chardevs", name->label, chardev_type(name->chr));
	}
	return tree;
}

/* Whether @whole ends with the parts of @path. */
static bool is_end_of(const char *path, const char *whole)
{
	size_t n = strlen(path), all = strlen(whole);

	return n && all > n && whole[all - n - 1] == '/' && !strcmp(whole + all - n, path);
}

json_t *objects_resolve(json_t *tree, const char *path, struct err *e)
{
	json_t *found = json_object_get(tree, path);
	unsigned int n = found != NULL;
	const char *whole;
	json_t *o;

	json_object_foreach(tree, whole, o)
	{
		if (!found && *path != '/' && is_end_of(path, whole))
			n++;
	}
	if (!n)
		err_set(e, COMMAND_NO_DEVICE, "Device '%s' not found", path);
	if (n > 1)
		err_set(e, EINVAL, "Path '%s' does not uniquely identify an object", path);
	if (n != 1)
		return NULL;
	json_object_foreach(tree, whole, o)
	{
		if (!found && is_end_of(path, whole))
			found = o;
	}
	return found;
}

const char *objects_type(json_t *object)
{
	return json_string_value(json_object_get(json_object_get(object, "type"), "value"));
}

/* The row of a type in the table; -1: a device's own type. */
static int find_type(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		if (!strcmp(types[i].name, name))
			return (int)i;
	}
	return -1;
}

static const char *device_parent(const char *name)
{
	const struct device_type *t = device_type_find(name);

	return t && !strcmp(t->bus, "PCI") ? "pci-device" : "device";
}

static bool descends(const char *name, const char *from)
{
	int i;

	for (; name && strcmp(name, from); name = i < 0 ? device_parent(name) : types[i].parent)
		i = find_type(name);
	return name != NULL;
}

static void add_type(json_t *list, const char *name, const char *parent, bool abstract)
{
	json_t *o = json_pack("{s:s}", "name", name);

	if (abstract)
		json_object_set_new(o, "abstract", json_true());
	if (parent)
		json_object_set_new(o, "parent", json_string(parent));
	json_array_append_new(list, o);
}

json_t *objects_types(struct ctl *ctl, const char *implements, bool abstract)
{
	json_t *list = json_array();
	json_t *seen = json_object();
	struct list *pos, *tmp;
	const char *name;

	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		if (types[i].abstract && !abstract)
			continue;
		if (!implements || descends(types[i].name, implements))
			add_type(list, types[i].name, types[i].parent, types[i].abstract);
	}
	for (size_t i = 0; device_types[i]; i++) {
		name = device_types[i]->driver;
		if (!implements || descends(name, implements))
			add_type(list, name, device_parent(name), false);
	}
	list_for_each(pos, tmp, &ctl->config.vm->devices) {
		const struct device *d = CONTAINER_OF(pos, struct device, link);

		name = d->class->name;
		if (d->spec || json_object_get(seen, name) ||
		    (implements && !descends(name, implements)))
			continue;
		json_object_set_new(seen, name, json_true());
		add_type(list, name, "device", false);
	}
	json_decref(seen);
	return list;
}

bool objects_is_type(struct ctl *ctl, const char *name)
{
	json_t *list = objects_types(ctl, NULL, true), *t;
	bool found = false;
	size_t i;

	json_array_foreach(list, i, t) found =
		found || !strcmp(name, json_string_value(json_object_get(t, "name")));
	json_decref(list);
	return found;
}

const char *objects_backend_type(size_t i)
{
	return i < RAM_BACKEND_COUNT ? ram_backend_name((enum ram_backend)i) : NULL;
}

void objects_for_each_memory(struct ctl *ctl, void (*fn)(const struct ram_block *b, void *arg),
			     void *arg)
{
	const struct memmap *m = &ctl->config.vm->mem;
	const struct ram_block *b = NULL;
	struct list *pos, *tmp;

	while ((b = memmap_next_backend(m, b)))
		fn(b, arg);
	list_for_each(pos, tmp, &ctl->objects)
		fn(CONTAINER_OF(pos, struct memory_object, link)->block, arg);
}

void objects_fini(struct ctl *ctl)
{
	struct memory_object *o;
	struct list *pos, *tmp;

	list_for_each(pos, tmp, &ctl->objects) {
		o = CONTAINER_OF(pos, struct memory_object, link);
		list_del(&o->link);
		ram_block_destroy(o->block);
		free(o);
	}
}
