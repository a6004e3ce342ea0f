/* SPDX-License-Identifier: MIT */
/* The tables of commands and events, told in QEMU's schema of schemas. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "ctl/commands.h"
#include "ctl/events.h"
#include "ctl/introspect.h"

struct introspect {
	json_t *list;  /* what was told so far                     */
	json_t *names; /* key of a type -> the name it was given   */
	unsigned int nr_masked;
};

#define KEY_BYTES 64

static const char *type_of(struct introspect *in, const struct schema_member *m);

static json_t *add(struct introspect *in, const char *name, const char *meta)
{
	json_t *o = json_pack("{s:s, s:s}", "name", name, "meta-type", meta);

	json_array_append_new(in->list, o);
	return o;
}

/*
 * The name of the type with @key, NULL if it has none yet. Otherwise it gets @name, or
 * the next number, and *@fresh is set: the caller has to tell what it is.
 */
static const char *name_type(struct introspect *in, const char *key, const char *name, bool *fresh)
{
	json_t *known = json_object_get(in->names, key);

	*fresh = !known;
	if (!known) {
		known = name ? json_string(name) : json_sprintf("%u", in->nr_masked++);
		json_object_set_new(in->names, key, known);
	}
	return json_string_value(known);
}

static const char *builtin(struct introspect *in, const char *name, const char *json_type)
{
	bool fresh;
	const char *known = name_type(in, name, name, &fresh);

	if (fresh)
		json_object_set_new(add(in, known, "builtin"), "json-type", json_string(json_type));
	return known;
}

static const char *array_of(struct introspect *in, const char *element)
{
	char key[KEY_BYTES];
	const char *name;
	bool fresh;

	snprintf(key, sizeof(key), "[%s]", element);
	name = name_type(in, key, key, &fresh);
	if (fresh)
		json_object_set_new(add(in, name, "array"), "element-type", json_string(element));
	return name;
}

static const char *enumeration(struct introspect *in, const struct schema_member *m)
{
	uintptr_t id = m->value_at ? (uintptr_t)m->value_at : (uintptr_t)m->values;
	json_t *members, *values, *o;
	const char *name, *value;
	char key[KEY_BYTES];
	bool fresh;

	snprintf(key, sizeof(key), "enum %jx", (uintmax_t)id);
	name = name_type(in, key, NULL, &fresh);
	if (!fresh)
		return name;
	o = add(in, name, "enum");
	members = json_array();
	values = json_array();
	for (size_t i = 0; (value = schema_enum_value(m, i)); i++) {
		json_array_append_new(members, json_pack("{s:s}", "name", value));
		json_array_append_new(values, json_string(value));
	}
	json_object_set_new(o, "members", members);
	json_object_set_new(o, "values", values);
	return name;
}

static const char *str_or_null(struct introspect *in)
{
	const char *name;
	bool fresh;

	name = name_type(in, "alternate", NULL, &fresh);
	if (fresh)
		json_object_set_new(add(in, name, "alternate"), "members",
				    json_pack("[{s:s}, {s:s}]", "type",
					      builtin(in, "str", "string"), "type",
					      builtin(in, "null", "null")));
	return name;
}

static json_t *member_to_json(struct introspect *in, const struct schema_member *m)
{
	json_t *o = json_pack("{s:s, s:s}", "name", m->name, "type", type_of(in, m));

	if (m->optional)
		json_object_set_new(o, "default", json_null());
	return o;
}

static bool nth_member(const struct schema *s, size_t i, struct schema_member *out)
{
	if (s->member_at)
		return s->member_at(i, out);
	if (!s->member || !s->member[i].name)
		return false;
	*out = s->member[i];
	return true;
}

static const char *object(struct introspect *in, const struct schema *s, uintptr_t id);

/* One case for each value of the tag; a value without members of its own has none. */
static json_t *variants_to_json(struct introspect *in, const struct schema *s,
				const struct schema_member *tag)
{
	const struct schema_variant *v;
	json_t *list = json_array();
	const char *value, *type;

	for (size_t i = 0; (value = schema_enum_value(tag, i)); i++) {
		type = NULL;
		for (v = s->variants; v->value; v++) {
			if (!strcmp(v->value, value))
				type = object(in, v->members, (uintptr_t)v->members);
		}
		if (!type)
			type = object(in, &schema_empty, (uintptr_t)&schema_empty);
		json_array_append_new(list, json_pack("{s:s, s:s}", "case", value, "type", type));
	}
	return list;
}

/* @id tells two objects apart; a schema may be a temporary one around a list of members. */
static const char *object(struct introspect *in, const struct schema *s, uintptr_t id)
{
	struct schema_member m;
	char key[KEY_BYTES];
	const char *name;
	json_t *members, *o;
	bool fresh;

	snprintf(key, sizeof(key), "object %jx", (uintmax_t)id);
	name = name_type(in, key, NULL, &fresh);
	if (!fresh)
		return name;
	o = add(in, name, "object");
	members = json_array();
	json_object_set_new(o, "members", members);
	for (size_t i = 0; nth_member(s, i, &m); i++) {
		json_array_append_new(members, member_to_json(in, &m));
		if (s->tag && !strcmp(m.name, s->tag)) {
			json_object_set_new(o, "tag", json_string(s->tag));
			json_object_set_new(o, "variants", variants_to_json(in, s, &m));
		}
	}
	return name;
}

static const char *type_of(struct introspect *in, const struct schema_member *m)
{
	switch (m->type) {
	case SCHEMA_STR:
		return builtin(in, "str", "string");
	case SCHEMA_BOOL:
		return builtin(in, "bool", "boolean");
	case SCHEMA_UINT:
	case SCHEMA_INT:
		return builtin(in, "int", "int");
	case SCHEMA_NUMBER:
		return builtin(in, "number", "number");
	case SCHEMA_ANY:
		return builtin(in, "any", "value");
	case SCHEMA_STRNULL:
		return str_or_null(in);
	case SCHEMA_ENUM:
		return enumeration(in, m);
	case SCHEMA_ENUMLIST:
		return array_of(in, enumeration(in, m));
	case SCHEMA_STRUCT:
		return object(in, m->members, (uintptr_t)m->members);
	case SCHEMA_LIST:
		return array_of(in, object(in, m->members, (uintptr_t)m->members));
	case SCHEMA_INTLIST:
		return array_of(in, builtin(in, "int", "int"));
	case SCHEMA_ANYLIST:
		return array_of(in, builtin(in, "any", "value"));
	case SCHEMA_STRLIST:
		break;
	}
	return array_of(in, builtin(in, "str", "string"));
}

/* The type of a list of members on its own. */
static const char *members_type(struct introspect *in, const struct schema_member *members)
{
	const struct schema s = { .member = members };

	if (!members)
		return object(in, &schema_empty, (uintptr_t)&schema_empty);
	return object(in, &s, (uintptr_t)members);
}

static void add_command(const struct command *c, void *arg)
{
	struct introspect *in = arg;
	json_t *o = add(in, c->name, "command");
	const char *type;

	type = c->schema ? object(in, c->schema, (uintptr_t)c->schema) : members_type(in, c->args);
	json_object_set_new(o, "arg-type", json_string(type));
	type = c->returns ? type_of(in, c->returns) : members_type(in, NULL);
	json_object_set_new(o, "ret-type", json_string(type));
}

json_t *introspect_build(void)
{
	struct introspect in = { .list = json_array(), .names = json_object() };
	json_t *o;

	command_for_each(add_command, &in);
	for (size_t i = 0; i < EVENT_COUNT; i++) {
		o = add(&in, event_table[i].name, "event");
		json_object_set_new(o, "arg-type",
				    json_string(members_type(&in, event_table[i].data)));
	}
	json_decref(in.names);
	return in.list;
}

static const char *const meta_types[] = { "builtin",   "enum",    "array", "object",
					  "alternate", "command", "event", NULL };
static const char *const json_types[] = { "string", "number", "int",   "boolean", "null",
					  "object", "array",  "value", NULL };

#define LIST_OF(name_, schema_)                                             \
	{                                                                   \
		.name = (name_), .type = SCHEMA_LIST, .members = &(schema_) \
	}

static const struct schema_member enum_value_members[] = {
	SCHEMA_MEMBER("name", SCHEMA_STR),
	{ .name = NULL },
};
static const struct schema enum_value = { .member = enum_value_members };
static const struct schema_member member_members[] = {
	SCHEMA_MEMBER("name", SCHEMA_STR),
	SCHEMA_MEMBER("type", SCHEMA_STR),
	{ "default", SCHEMA_ANY, .optional = true },
	{ .name = NULL },
};
static const struct schema member = { .member = member_members };
static const struct schema_member variant_members[] = {
	SCHEMA_MEMBER("case", SCHEMA_STR),
	SCHEMA_MEMBER("type", SCHEMA_STR),
	{ .name = NULL },
};
static const struct schema variant = { .member = variant_members };
static const struct schema_member choice_members[] = {
	SCHEMA_MEMBER("type", SCHEMA_STR),
	{ .name = NULL },
};
static const struct schema choice = { .member = choice_members };

static const struct schema_member builtin_info[] = {
	{ "json-type", SCHEMA_ENUM, .values = json_types },
	{ .name = NULL },
};
static const struct schema_member enum_info[] = {
	LIST_OF("members", enum_value),
	SCHEMA_MEMBER("values", SCHEMA_STRLIST),
	{ .name = NULL },
};
static const struct schema_member array_info[] = {
	SCHEMA_MEMBER("element-type", SCHEMA_STR),
	{ .name = NULL },
};
static const struct schema_member object_info[] = {
	LIST_OF("members", member),
	{ "tag", SCHEMA_STR, .optional = true },
	{ "variants", SCHEMA_LIST, .optional = true, .members = &variant },
	{ .name = NULL },
};
static const struct schema_member alternate_info[] = {
	LIST_OF("members", choice),
	{ .name = NULL },
};
static const struct schema_member command_info[] = {
	SCHEMA_MEMBER("arg-type", SCHEMA_STR),
	SCHEMA_MEMBER("ret-type", SCHEMA_STR),
	{ .name = NULL },
};
static const struct schema_member event_info[] = {
	SCHEMA_MEMBER("arg-type", SCHEMA_STR),
	{ .name = NULL },
};

static const struct schema infos[] = {
	{ .member = builtin_info }, { .member = enum_info },      { .member = array_info },
	{ .member = object_info },  { .member = alternate_info }, { .member = command_info },
	{ .member = event_info },
};
static const struct schema_variant info_variants[] = {
	{ "builtin", &infos[0] },   { "enum", &infos[1] },
	{ "array", &infos[2] },     { "object", &infos[3] },
	{ "alternate", &infos[4] }, { "command", &infos[5] },
	{ "event", &infos[6] },     { NULL, NULL },
};
static const struct schema_member info_members[] = {
	SCHEMA_MEMBER("name", SCHEMA_STR),
	{ "meta-type", SCHEMA_ENUM, .values = meta_types },
	{ .name = NULL },
};
const struct schema introspect_schema = {
	.member = info_members,
	.tag = "meta-type",
	.variants = info_variants,
};
