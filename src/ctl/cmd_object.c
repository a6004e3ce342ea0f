/* SPDX-License-Identifier: MIT */
/* QMP commands about objects: the tree, and memory backends. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "ctl/commands.h"
#include "ctl/monitor.h"
#include "ctl/objects.h"
#include "host/mem.h"

/* How many memory backends may be made at run time. */
#define MAX_OBJECTS 64

static const struct schema_member path_args[] = {
	SCHEMA_MEMBER("path", SCHEMA_STR),
	{ .name = NULL },
};
static const struct schema_member get_args[] = {
	SCHEMA_MEMBER("path", SCHEMA_STR),
	SCHEMA_MEMBER("property", SCHEMA_STR),
	{ .name = NULL },
};
static const struct schema_member types_args[] = {
	{ "implements", SCHEMA_STR, .optional = true },
	{ "abstract", SCHEMA_BOOL, .optional = true },
	{ .name = NULL },
};
static const struct schema_member id_args[] = {
	SCHEMA_MEMBER("id", SCHEMA_STR),
	{ .name = NULL },
};
/* What people may say of a backend whose memory is a memfd, and of one that is a file. */
static const struct schema_member memfd_members[] = {
	{ "hugetlb", SCHEMA_BOOL, .optional = true },
	{ "hugetlbsize", SCHEMA_UINT, .optional = true },
	{ "seal", SCHEMA_BOOL, .optional = true },
	{ .name = NULL },
};
static const struct schema_member file_members[] = {
	SCHEMA_MEMBER("mem-path", SCHEMA_STR),
	{ "align", SCHEMA_UINT, .optional = true },
	{ "offset", SCHEMA_UINT, .optional = true },
	{ "readonly", SCHEMA_BOOL, .optional = true },
	{ .name = NULL },
};
static const struct schema memfd_schema = { .member = memfd_members };
static const struct schema file_schema = { .member = file_members };
static const struct schema_variant object_variants[] = {
	{ "memory-backend-memfd", &memfd_schema },
	{ "memory-backend-file", &file_schema },
	{ NULL, NULL },
};
static const struct schema_member object_members[] = {
	{ "qom-type", SCHEMA_ENUM, .optional = false, .value_at = objects_backend_type },
	SCHEMA_MEMBER("id", SCHEMA_STR),
	SCHEMA_MEMBER("size", SCHEMA_UINT),
	{ "share", SCHEMA_BOOL, .optional = true },
	{ "prealloc", SCHEMA_BOOL, .optional = true },
	{ "merge", SCHEMA_BOOL, .optional = true },
	{ "dump", SCHEMA_BOOL, .optional = true },
	{ "reserve", SCHEMA_BOOL, .optional = true },
	{ .name = NULL },
};
static const struct schema object_schema = {
	.member = object_members,
	.tag = "qom-type",
	.variants = object_variants,
};

static const struct schema_member property_members[] = {
	SCHEMA_MEMBER("name", SCHEMA_STR),
	SCHEMA_MEMBER("type", SCHEMA_STR),
	{ .name = NULL },
};
static const struct schema property = { .member = property_members };
static const struct schema_member properties_ret =
	SCHEMA_MEMBER(NULL, SCHEMA_LIST, .members = &property);
static const struct schema_member value_ret = SCHEMA_MEMBER(NULL, SCHEMA_ANY);
static const struct schema_member type_members[] = {
	SCHEMA_MEMBER("name", SCHEMA_STR),
	{ "abstract", SCHEMA_BOOL, .optional = true },
	{ "parent", SCHEMA_STR, .optional = true },
	{ .name = NULL },
};
static const struct schema type_info = { .member = type_members };
static const struct schema_member types_ret =
	SCHEMA_MEMBER(NULL, SCHEMA_LIST, .members = &type_info);

static const char *get(json_t *args, const char *name)
{
	return json_string_value(json_object_get(args, name));
}

static int qom_list(struct ctl *ctl, json_t *args, json_t **ret, struct err *e)
{
	json_t *tree = objects_tree(ctl);
	json_t *object = objects_resolve(tree, get(args, "path"), e);
	const char *name;
	json_t *p;

	if (object)
		*ret = json_array();
	json_object_foreach(object, name, p) json_array_append_new(
		*ret, json_pack("{s:s, s:s}", "name", name, "type", get(p, "type")));
	json_decref(tree);
	return object ? 0 : -e->code;
}

static int qom_get(struct ctl *ctl, json_t *args, json_t **ret, struct err *e)
{
	const char *name = get(args, "property");
	json_t *tree = objects_tree(ctl);
	json_t *object = objects_resolve(tree, get(args, "path"), e);
	json_t *p = json_object_get(object, name);
	int r = 0;

	if (!object)
		r = -e->code;
	else if (!p)
		r = err_set(e, EINVAL, "Property '%s.%s' not found", objects_type(object), name);
	else
		*ret = json_incref(json_object_get(p, "value"));
	json_decref(tree);
	return r;
}

static int qom_list_types(struct ctl *ctl, json_t *args, json_t **ret, struct err *e)
{
	(void)e;
	*ret = objects_types(ctl, get(args, "implements"),
			     json_is_true(json_object_get(args, "abstract")));
	return 0;
}

struct search {
	const char *id;
	const struct ram_block *found;
	unsigned int n;
};

static void compare_id(const struct ram_block *b, void *arg)
{
	struct search *s = arg;

	s->n++;
	if (!strcmp(b->name, s->id))
		s->found = b;
}

static bool is_id(const char *id)
{
	if (!isalpha((unsigned char)*id) || strlen(id) >= RAM_BLOCK_NAME_MAX)
		return false;
	for (; *id; id++) {
		if (!isalnum((unsigned char)*id) && !strchr("-._", *id))
			return false;
	}
	return true;
}

static int check_id(struct ctl *ctl, const char *id, struct err *e)
{
	struct search s = { .id = id };

	if (!is_id(id))
		return err_set(e, EINVAL, "Parameter 'id' expects an identifier");
	objects_for_each_memory(ctl, compare_id, &s);
	if (s.found)
		return err_set(
			e, EEXIST,
			"attempt to add duplicate property '%s' to object (type 'container')", id);
	if (s.n > MAX_OBJECTS)
		return err_set(e, E2BIG, "there are %u memory backends already", s.n);
	return 0;
}

static bool flag(json_t *args, const char *name, bool otherwise)
{
	json_t *v = json_object_get(args, name);

	return v ? json_is_true(v) : otherwise;
}

static uint64_t size(json_t *args, const char *name)
{
	return (uint64_t)json_integer_value(json_object_get(args, name));
}

/* The strings of @out belong to @args. */
static void config_from_json(json_t *args, struct ram_config *out)
{
	enum ram_backend backend = RAM_BACKEND_MEMFD;

	while (strcmp(ram_backend_name(backend), get(args, "qom-type")))
		backend++;
	*out = (struct ram_config){
		.name = get(args, "id"),
		.size = size(args, "size"),
		.backend = backend,
		.path = get(args, "mem-path"),
		/* A file and anonymous memory are private unless asked otherwise. */
		.share = flag(args, "share",
			      backend == RAM_BACKEND_MEMFD || backend == RAM_BACKEND_SHM),
		.readonly = flag(args, "readonly", false),
		.options = {
			.offset = size(args, "offset"),
			.align = size(args, "align"),
			.hugetlb = flag(args, "hugetlb", false),
			.hugetlb_size = size(args, "hugetlbsize"),
			.unsealed = !flag(args, "seal", true),
			.prealloc = flag(args, "prealloc", false),
			.merge = flag(args, "merge", false),
			.dump = flag(args, "dump", false),
			.reserve = flag(args, "reserve", false),
		},
	};
}

static int check_config(const struct ram_config *c, struct err *e)
{
	if (!c->size)
		return err_set(e, EINVAL, "can't create backend with size 0");
	if (c->size > mem_guest_max() || c->options.offset > INT64_MAX - c->size)
		return err_set(e, EINVAL,
			       "memory backend '%s' of %llu bytes is beyond this host, which can "
			       "give a guest %llu",
			       c->name, (unsigned long long)c->size,
			       (unsigned long long)mem_guest_max());
	if (c->path && !*c->path)
		return err_set(e, EINVAL, "mem-path property not set");
	if (c->path && strlen(c->path) >= SIZEOF_FIELD(struct ram_block, path))
		return err_set(e, ENAMETOOLONG, "the mem-path of '%s' is too long", c->name);
	if (c->backend == RAM_BACKEND_SHM && !c->share)
		return err_set(e, EINVAL, "can't create shm backend with `share=off`");
	if (c->options.hugetlb_size && !c->options.hugetlb)
		return err_set(e, EINVAL, "Parameter 'hugetlbsize' needs hugetlb=on");
	if (c->readonly && c->options.prealloc)
		return err_set(e, EINVAL, "readonly=on and prealloc=on exclude each other");
	return 0;
}

static int object_add(struct ctl *ctl, json_t *args, json_t **ret, struct err *e)
{
	AUTO_FREE struct memory_object *o = NULL;
	struct ram_config config;
	int r;

	(void)ret;
	r = check_id(ctl, get(args, "id"), e);
	if (r < 0)
		return r;
	config_from_json(args, &config);
	r = check_config(&config, e);
	if (r < 0)
		return r;
	o = calloc(1, sizeof(*o));
	if (!o)
		return err_set(e, ENOMEM, "no memory for object '%s'", config.name);
	r = ram_block_create(&o->block, &config, -1, e);
	if (r < 0)
		return r;
	o->block->is_backend = true;
	list_add(&ctl->objects, &TAKE_PTR(o)->link);
	return 0;
}

static int object_del(struct ctl *ctl, json_t *args, json_t **ret, struct err *e)
{
	const char *id = get(args, "id");
	const struct ram_block *b;
	struct memory_object *o;
	struct list *pos, *tmp;

	(void)ret;
	b = memmap_find_block(&ctl->config.vm->mem, id);
	if (b && b->is_backend && b->in_guest)
		return err_set(e, EBUSY, "Cannot delete host memory backend '%s' which is mapped",
			       id);
	if (b && b->is_backend)
		return err_set(e, EBUSY,
			       "Memory backend '%s' belongs to the machine, it goes with it", id);
	list_for_each(pos, tmp, &ctl->objects) {
		o = CONTAINER_OF(pos, struct memory_object, link);
		if (strcmp(o->block->name, id))
			continue;
		list_del(&o->link);
		ram_block_destroy(o->block);
		free(o);
		return 0;
	}
	return err_set(e, ENOENT, "object '%s' not found", id);
}

const struct command object_commands[] = {
	{ .name = "qom-list", .args = path_args, .returns = &properties_ret, .run = qom_list },
	{ .name = "qom-get", .args = get_args, .returns = &value_ret, .run = qom_get },
	{ .name = "qom-list-types",
	  .args = types_args,
	  .returns = &types_ret,
	  .run = qom_list_types },
	{ .name = "object-add", .schema = &object_schema, .run = object_add },
	{ .name = "object-del", .args = id_args, .run = object_del },
	{ .name = NULL },
};
