/* SPDX-License-Identifier: MIT */
/* Descriptions of command arguments, and the one check of JSON against them. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "ctl/schema.h"

/* Objects with a tag inside objects with a tag: none goes deeper. */
#define MAX_CHAIN 4

#define PATH_BYTES 256

static const struct schema_member no_members[] = { { .name = NULL } };
const struct schema schema_empty = { .member = no_members };

static int check_object(const struct schema *schema, json_t *object, const char *path,
			struct err *e);

int schema_wrong_type(const char *name, const char *expected, struct err *e)
{
	return err_set(e, EINVAL, "Invalid parameter type for '%s', expected: %s", name, expected);
}

const char *schema_enum_value(const struct schema_member *m, size_t i)
{
	return m->value_at ? m->value_at(i) : m->values[i];
}

static int check_enum(const struct schema_member *m, const json_t *v, const char *path,
		      const char *name, struct err *e)
{
	const char *value;

	if (!json_is_string(v))
		return schema_wrong_type(path, "string", e);
	for (size_t i = 0; (value = schema_enum_value(m, i)); i++) {
		if (!strcmp(value, json_string_value(v)))
			return 0;
	}
	return err_set(e, EINVAL, "Parameter '%s' does not accept value '%s'", name,
		       json_string_value(v));
}

static int check_element(const struct schema_member *m, json_t *v, const char *path, struct err *e)
{
	switch (m->type) {
	case SCHEMA_LIST:
		return json_is_object(v) ? check_object(m->members, v, path, e)
					 : schema_wrong_type(path, "object", e);
	case SCHEMA_ENUMLIST:
		return check_enum(m, v, path, path, e);
	case SCHEMA_INTLIST:
		return json_is_integer(v) ? 0 : schema_wrong_type(path, "integer", e);
	case SCHEMA_ANYLIST:
		return 0;
	default:
		return json_is_string(v) ? 0 : schema_wrong_type(path, "string", e);
	}
}

static int check_list(const struct schema_member *m, json_t *list, const char *path, struct err *e)
{
	char element[PATH_BYTES];
	json_t *v;
	size_t i;
	int ret;

	if (!json_is_array(list))
		return schema_wrong_type(path, "array", e);
	json_array_foreach(list, i, v)
	{
		snprintf(element, sizeof(element), "%.200s[%zu]", path, i);
		ret = check_element(m, v, element, e);
		if (ret < 0)
			return ret;
	}
	return 0;
}

static int check_value(const struct schema_member *m, json_t *v, const char *path, struct err *e)
{
	switch (m->type) {
	case SCHEMA_STR:
		return json_is_string(v) ? 0 : schema_wrong_type(path, "string", e);
	case SCHEMA_BOOL:
		return json_is_boolean(v) ? 0 : schema_wrong_type(path, "boolean", e);
	case SCHEMA_UINT:
		if (!json_is_integer(v))
			return schema_wrong_type(path, "integer", e);
		if (json_integer_value(v) < 0)
			return err_set(e, EINVAL, "Parameter '%s' expects uint64", path);
		return 0;
	case SCHEMA_ENUM:
		return check_enum(m, v, path, m->name, e);
	case SCHEMA_INT:
		return json_is_integer(v) ? 0 : schema_wrong_type(path, "integer", e);
	case SCHEMA_NUMBER:
		return json_is_number(v) ? 0 : schema_wrong_type(path, "number", e);
	case SCHEMA_ANY:
		return 0;
	case SCHEMA_STRNULL:
		return json_is_string(v) || json_is_null(v)
			       ? 0
			       : schema_wrong_type(path, "string or null", e);
	case SCHEMA_STRUCT:
		if (!json_is_object(v))
			return schema_wrong_type(path, "object", e);
		return check_object(m->members, v, path, e);
	default:
		return check_list(m, v, path, e);
	}
}

static void member_path(char *out, const char *path, const char *name)
{
	snprintf(out, PATH_BYTES, "%s%s%s", path, *path ? "." : "", name);
}

static int check_members(const struct schema_member *m, json_t *object, const char *path,
			 struct err *e)
{
	char full[PATH_BYTES];
	json_t *v;
	int ret;

	for (; m->name; m++) {
		member_path(full, path, m->name);
		v = json_object_get(object, m->name);
		if (!v && m->optional)
			continue;
		if (!v)
			return err_set(e, EINVAL, "Parameter '%s' is missing", full);
		ret = check_value(m, v, full, e);
		if (ret < 0)
			return ret;
	}
	return 0;
}

static const struct schema *find_variant(const struct schema *s, json_t *object)
{
	const struct schema_variant *v;

	if (!s->tag)
		return NULL;
	for (v = s->variants; v->value; v++) {
		if (!strcmp(v->value, json_string_value(json_object_get(object, s->tag))))
			return v->members;
	}
	return NULL;
}

static bool has_member(const struct schema *s, const char *name)
{
	const struct schema_member *m;

	for (m = s->member; m->name; m++) {
		if (!strcmp(m->name, name))
			return true;
	}
	return false;
}

static int check_object(const struct schema *schema, json_t *object, const char *path,
			struct err *e)
{
	const struct schema *chain[MAX_CHAIN];
	char full[PATH_BYTES];
	const char *key;
	size_t n = 0;
	bool known;
	json_t *v;
	int ret;

	for (; schema && n < MAX_CHAIN; schema = find_variant(schema, object)) {
		ret = check_members(schema->member, object, path, e);
		if (ret < 0)
			return ret;
		chain[n++] = schema;
	}
	json_object_foreach(object, key, v)
	{
		known = false;
		for (size_t i = 0; i < n; i++)
			known = known || has_member(chain[i], key);
		if (!known) {
			member_path(full, path, key);
			return err_set(e, EINVAL, "Parameter '%s' is unexpected", full);
		}
	}
	return 0;
}

int schema_check(const struct schema *schema, json_t *object, struct err *e)
{
	return check_object(schema, object, "", e);
}
