/* SPDX-License-Identifier: MIT */
/* QMP commands about devices that come and go. */
#include <errno.h>
#include <string.h>

#include "base/util.h"
#include "ctl/commands.h"
#include "ctl/monitor.h"
#include "ctl/objects.h"
#include "machine/device_list.h"
#include "machine/device_type.h"
#include "machine/vm.h"
#include "update/migration.h"

static const struct schema_member id_args[] = {
	SCHEMA_MEMBER("id", SCHEMA_STR),
	{ .name = NULL },
};
static const struct schema_member device_args[] = {
	SCHEMA_MEMBER("driver", SCHEMA_STR),
	{ "bus", SCHEMA_STR, .optional = true },
	{ "id", SCHEMA_STR, .optional = true },
	{ .name = NULL },
};
static const struct schema_member typename_args[] = {
	SCHEMA_MEMBER("typename", SCHEMA_STR),
	{ .name = NULL },
};
static const struct schema_member property_members[] = {
	SCHEMA_MEMBER("name", SCHEMA_STR),
	SCHEMA_MEMBER("type", SCHEMA_STR),
	{ "description", SCHEMA_STR, .optional = true },
	{ "default-value", SCHEMA_ANY, .optional = true },
	{ .name = NULL },
};
static const struct schema property = { .member = property_members };
static const struct schema_member properties_ret =
	SCHEMA_MEMBER(NULL, SCHEMA_LIST, .members = &property);

static const char *get(json_t *args, const char *name)
{
	return json_string_value(json_object_get(args, name));
}

/* What every device_add has; the rest is for the driver's own table. */
static int check_known_args(json_t *args, struct err *e)
{
	const struct schema known = { .member = device_args };
	json_t *checked = json_object();
	int r;

	for (const struct schema_member *m = device_args; m->name; m++)
		if (json_object_get(args, m->name))
			json_object_set(checked, m->name, json_object_get(args, m->name));
	r = schema_check(&known, checked, e);
	json_decref(checked);
	return r;
}

/* The driver exists, and is none of those that belong to the machine. */
static int check_driver(const struct vm *vm, const char *driver, struct err *e)
{
	if (device_type_find(driver))
		return 0;
	for (const struct list *pos = vm->devices.next; pos != &vm->devices; pos = pos->next)
		if (!strcmp(CONTAINER_OF(pos, struct device, link)->class->name, driver))
			return err_set(e, EINVAL,
				       "Parameter 'driver' expects a pluggable device type");
	return err_set(e, EINVAL, "'%s' is not a valid device model name", driver);
}

static int create(struct vm *vm, struct device_spec *s, struct err *e)
{
	struct device *d;
	int r;

	s->config->plugged =
		vm->runstate != RUNSTATE_PRELAUNCH && vm->runstate != RUNSTATE_INMIGRATE;
	r = device_spec_create(vm, s, &d, e);
	if (r)
		return r;
	d->hotplugged = true;
	d->newly_added = vm->foreign;
	return 0;
}

/*
 * Before the guest is there, its devices are, if the old side has told of them: who adds them again,
 * as one had to, means these.
 */
static int add_or_claim(struct vm *vm, struct device_spec *s, struct err *e)
{
	struct device *d;
	int r = -ENOENT;

	if (vm->runstate == RUNSTATE_INMIGRATE)
		r = device_list_claim(vm, s, &d, e);
	return r == -ENOENT ? create(vm, s, e) : r;
}

static int add_device(struct ctl *ctl, json_t *args, json_t **ret, struct err *e)
{
	struct vm *vm = ctl->config.vm;
	struct device_spec s;
	int r = check_known_args(args, e);

	(void)ret;
	if (!r)
		r = check_driver(vm, get(args, "driver"), e);
	if (!r)
		r = migration_check_plug(ctl->config.migration, "device_add", e);
	if (!r)
		r = device_spec_from_json(&s, args, e);
	if (r < 0)
		return r;
	r = add_or_claim(vm, &s, e);
	device_spec_fini(&s);
	return r;
}

/* By id or whole path, if it was asked for. */
static struct device *find_device(struct vm *vm, const char *id)
{
	struct device *d = device_find(vm, id);
	char path[DEVICE_OBJECT_MAX];
	struct list *pos, *tmp;

	if (d || *id != '/')
		return d;
	list_for_each(pos, tmp, &vm->devices) {
		d = CONTAINER_OF(pos, struct device, link);
		device_object_path(d, path, sizeof(path));
		if (d->spec && !strcmp(path, id))
			return d;
	}
	return NULL;
}

/* Why an object that nobody asked for does not go. */
static int refuse_object(struct ctl *ctl, const char *id, struct err *e)
{
	json_t *tree = objects_tree(ctl);
	json_t *object = *id == '/' ? json_object_get(tree, id) : NULL;
	int r;

	if (!object)
		r = err_set(e, COMMAND_NO_DEVICE, "Device '%s' not found", id);
	else if (!json_object_get(object, "realized"))
		r = err_set(e, EINVAL, "%s is not a hotpluggable device", id);
	else
		r = err_set(e, EBUSY, "Device '%s' does not support hotplugging",
			    objects_type(object));
	json_decref(tree);
	return r;
}

/* Whether @o is on a bus of @d: that is called as the device, or after it. */
static bool is_on(const struct device *o, const struct device *d)
{
	const char *name = *d->id ? d->id : d->path;
	size_t n = strlen(name);

	return n && !strncmp(o->bus, name, n) && (!o->bus[n] || o->bus[n] == '.');
}

/* There is no guest to ask yet. */
static int remove_before_the_guest(struct vm *vm, struct device *d, struct err *e)
{
	const char *name = *d->id ? d->id : d->spec->type->driver;
	struct list *pos, *tmp;

	if (vm->runstate == RUNSTATE_INMIGRATE && !d->newly_added)
		return err_set(e, EBUSY, "Device '%s' belongs to the guest that is to come", name);
	list_for_each(pos, tmp, &vm->devices) {
		const struct device *o = CONTAINER_OF(pos, struct device, link);

		if (is_on(o, d))
			return err_set(e, EBUSY, "Device '%s' has device '%s' on its bus", name,
				       *o->id ? o->id : o->class->name);
	}
	if (!d->spec->type->hotpluggable)
		return err_set(e, EBUSY, "Device '%s' does not support hotplugging",
			       d->spec->type->driver);
	device_remove(d);
	return 0;
}

static int del_device(struct ctl *ctl, json_t *args, json_t **ret, struct err *e)
{
	const char *id = get(args, "id");
	struct vm *vm = ctl->config.vm;
	struct device *d = find_device(vm, id);
	int r;

	(void)ret;
	if (!d || !d->spec)
		return refuse_object(ctl, id, e);
	r = migration_check_plug(ctl->config.migration, "device_del", e);
	if (r)
		return r;
	if (vm->runstate == RUNSTATE_PRELAUNCH || vm->runstate == RUNSTATE_INMIGRATE)
		return remove_before_the_guest(vm, d, e);
	if (!d->spec->type->unplug || !d->spec->type->hotpluggable)
		return err_set(e, EBUSY, "Device '%s' does not support hotplugging",
			       d->spec->type->driver);
	return d->spec->type->unplug(d, e);
}

static json_t *property_to_json(const struct prop *p)
{
	json_t *j = json_pack("{s:s, s:s}", "name", p->name, "type", prop_type_name(p));
	json_t *initial = prop_default(p);

	if (p->help)
		json_object_set_new(j, "description", json_string(p->help));
	if (initial)
		json_object_set_new(j, "default-value", initial);
	return j;
}

static int list_properties(struct ctl *ctl, json_t *args, json_t **ret, struct err *e)
{
	const char *name = get(args, "typename");
	const struct device_type *t = device_type_find(name);
	const struct prop *p;

	if (!t && objects_is_type(ctl, name))
		return err_set(e, EINVAL,
			       "Parameter 'typename' expects a non-abstract device type");
	if (!t)
		return err_set(e, COMMAND_NO_DEVICE, "Device '%s' not found", name);
	*ret = json_array();
	for (unsigned int i = 0; (p = device_type_prop(t, i)); i++)
		json_array_append_new(*ret, property_to_json(p));
	return 0;
}

const struct command device_commands[] = {
	{ .name = "device_add", .args = device_args, .own_check = true, .run = add_device },
	{ .name = "device_del", .args = id_args, .run = del_device },
	{ .name = "device-list-properties",
	  .args = typename_args,
	  .returns = &properties_ret,
	  .run = list_properties },
	{ .name = NULL },
};
