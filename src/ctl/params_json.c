/* SPDX-License-Identifier: MIT */
/* Migration parameters in JSON: those in force and those that only have a default. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/parse.h"
#include "base/util.h"
#include "ctl/params_json.h"
#include "ctl/types.h"
#include "ctl/words.h"

/* A parameter that cannot change: a string, a word, a flag, a number, or a list. */
struct fixed_param {
	const char *name;
	enum {
		FIXED_UINT,
		FIXED_BOOL,
		FIXED_STR,  /* or null, where it is empty                */
		FIXED_ENUM, /* a string among `values`                   */
		FIXED_LIST  /* empty, and not shown                      */
	} kind;
	const char *text;          /* FIXED_STR, FIXED_ENUM */
	json_int_t value;          /* FIXED_UINT or _BOOL   */
	const char *const *values; /* ends with NULL        */
};

static const char *const compressions[] = { "none", "zlib", "zstd", "qatzip", "qpl", "uadk", NULL };
static const char *const zero_page_detections[] = { "none", "legacy", "multifd", NULL };

static const struct fixed_param fixed_params[] = {
	{ "throttle-trigger-threshold", FIXED_UINT, .value = 50 },
	{ "cpu-throttle-initial", FIXED_UINT, .value = 20 },
	{ "cpu-throttle-increment", FIXED_UINT, .value = 10 },
	{ "cpu-throttle-tailslow", FIXED_BOOL, .value = 0 },
	{ "tls-creds", FIXED_STR, .text = "" },
	{ "tls-hostname", FIXED_STR, .text = "" },
	{ "tls-authz", FIXED_STR, .text = "" },
	{ "avail-switchover-bandwidth", FIXED_UINT, .value = 0 },
	{ "x-checkpoint-delay", FIXED_UINT, .value = 20000 },
	{ "multifd-channels", FIXED_UINT, .value = 2 },
	{ "xbzrle-cache-size", FIXED_UINT, .value = 67108864 },
	{ "max-postcopy-bandwidth", FIXED_UINT, .value = 0 },
	{ "max-cpu-throttle", FIXED_UINT, .value = 99 },
	{ "multifd-compression", FIXED_ENUM, .text = "none", .values = compressions },
	{ "multifd-zlib-level", FIXED_UINT, .value = 1 },
	{ "multifd-qatzip-level", FIXED_UINT, .value = 1 },
	{ "multifd-zstd-level", FIXED_UINT, .value = 1 },
	{ "x-vcpu-dirty-limit-period", FIXED_UINT, .value = 1000 },
	{ "vcpu-dirty-limit", FIXED_UINT, .value = 1 },
	{ "zero-page-detection", FIXED_ENUM, .text = "multifd", .values = zero_page_detections },
	{ "direct-io", FIXED_BOOL, .value = 0 },
	{ "x-rdma-chunk-size", FIXED_UINT, .value = 1048576 },
	{ "block-bitmap-mapping", FIXED_LIST, .text = NULL },
};

static const struct fixed_param *fixed_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(fixed_params); i++) {
		if (!strcmp(fixed_params[i].name, name))
			return &fixed_params[i];
	}
	return NULL;
}

static json_t *fixed_to_json(const struct fixed_param *f)
{
	switch (f->kind) {
	case FIXED_UINT:
		return json_integer(f->value);
	case FIXED_BOOL:
		return json_boolean(f->value);
	case FIXED_LIST:
		return json_array();
	default:
		return json_string(f->text);
	}
}

/* NULL if one of the strings is no UTF-8. */
static json_t *list_to_json(char *const *list)
{
	json_t *v = json_array();

	for (; list && *list; list++) {
		if (json_array_append_new(v, json_string(*list)) < 0) {
			json_decref(v);
			return NULL;
		}
	}
	return v;
}

static json_t *param_to_json(const struct migration_params *p, const struct param_desc *d)
{
	const void *field = (const char *)p + d->offset;

	switch (d->kind) {
	case PARAM_UINT:
		return json_integer((json_int_t) * (const uint64_t *)field);
	case PARAM_MODE:
		return json_string(
			migration_mode_name((enum migration_mode)(*(const uint64_t *)field)));
	default:
		return list_to_json(*(char *const *const *)field);
	}
}

json_t *params_to_json(const struct migration_params *p)
{
	json_t *object = json_object();
	const struct param_desc *d;

	for (d = migration_param_table; d->name; d++)
		json_object_set_new(object, d->name, param_to_json(p, d));
	for (size_t i = 0; i < ARRAY_SIZE(fixed_params); i++) {
		if (fixed_params[i].kind != FIXED_LIST)
			json_object_set_new(object, fixed_params[i].name,
					    fixed_to_json(&fixed_params[i]));
	}
	return object;
}

static void describe_param(const struct param_desc *d, struct schema_member *out)
{
	static const enum schema_type types[] = {
		[PARAM_UINT] = SCHEMA_UINT,
		[PARAM_MODE] = SCHEMA_ENUM,
		[PARAM_STRLIST] = SCHEMA_STRLIST,
	};

	*out = (struct schema_member){ .name = d->name, .type = types[d->kind] };
	if (d->kind == PARAM_MODE)
		out->value_at = types_mode;
}

static void describe_fixed(const struct fixed_param *f, struct schema_member *out)
{
	static const enum schema_type types[] = {
		[FIXED_UINT] = SCHEMA_UINT,    [FIXED_BOOL] = SCHEMA_BOOL,
		[FIXED_STR] = SCHEMA_STRNULL,  [FIXED_ENUM] = SCHEMA_ENUM,
		[FIXED_LIST] = SCHEMA_ANYLIST,
	};

	*out = (struct schema_member){ .name = f->name,
				       .type = types[f->kind],
				       .values = f->values };
}

bool params_describe(size_t i, struct schema_member *out)
{
	size_t n = 0;

	while (migration_param_table[n].name)
		n++;
	if (i < n)
		describe_param(&migration_param_table[i], out);
	else if (i - n < ARRAY_SIZE(fixed_params))
		describe_fixed(&fixed_params[i - n], out);
	else
		return false;
	out->optional = true;
	return true;
}

static int check_fixed(const struct fixed_param *f, json_t *v, struct err *e)
{
	json_t *fixed;
	bool same;

	if (f->kind == FIXED_UINT && !json_is_integer(v))
		return schema_wrong_type(f->name, "integer", e);
	if (f->kind == FIXED_BOOL && !json_is_boolean(v))
		return schema_wrong_type(f->name, "boolean", e);
	/* null is how QMP's users unset the strings about TLS. */
	if (f->kind == FIXED_STR && json_is_null(v) && !*f->text)
		return 0;
	if ((f->kind == FIXED_STR || f->kind == FIXED_ENUM) && !json_is_string(v))
		return schema_wrong_type(f->name, "string", e);
	if (f->kind == FIXED_LIST && !json_is_array(v))
		return schema_wrong_type(f->name, "array", e);
	for (size_t i = 0; f->kind == FIXED_ENUM; i++) {
		if (!f->values[i])
			return err_set(e, EINVAL, "Parameter '%s' does not accept value '%s'",
				       f->name, json_string_value(v));
		if (!strcmp(f->values[i], json_string_value(v)))
			break;
	}
	fixed = fixed_to_json(f);
	same = json_equal(fixed, v);
	json_decref(fixed);
	if (same)
		return 0;
	return err_set(e, ENOTSUP, "Parameter '%s' cannot be changed from its default", f->name);
}

static int set_list(struct migration_params *p, const struct param_desc *d, json_t *v,
		    struct err *e)
{
	AUTO_FREE char **argv = NULL;
	char path[64];
	json_t *item;
	size_t i;

	if (!json_is_array(v))
		return schema_wrong_type(d->name, "array", e);
	argv = calloc(json_array_size(v) + 1, sizeof(*argv));
	if (!argv)
		return err_set(e, ENOMEM, "out of memory");
	json_array_foreach(v, i, item)
	{
		if (!json_is_string(item)) {
			snprintf(path, sizeof(path), "%s[%zu]", d->name, i);
			return schema_wrong_type(path, "string", e);
		}
		argv[i] = (char *)json_string_value(item);
	}
	return migration_param_set_list(p, d, argv, e);
}

static int set_param(struct migration_params *p, const struct param_desc *d, json_t *v,
		     struct err *e)
{
	switch (d->kind) {
	case PARAM_UINT:
		if (!json_is_integer(v))
			return schema_wrong_type(d->name, "integer", e);
		if (json_integer_value(v) < 0)
			return err_set(e, EINVAL, "Parameter '%s' expects uint64", d->name);
		return migration_param_set_uint(p, d, (uint64_t)json_integer_value(v), e);
	case PARAM_MODE:
		if (!json_is_string(v))
			return schema_wrong_type(d->name, "string", e);
		return migration_param_set_enum(p, d, json_string_value(v), e);
	default:
		return set_list(p, d, v, e);
	}
}

static int set_all(struct migration_params *p, json_t *values, struct err *e)
{
	const struct fixed_param *f;
	const struct param_desc *d;
	const char *name;
	json_t *v;
	int ret;

	json_object_foreach(values, name, v)
	{
		d = migration_param_find(name);
		f = d ? NULL : fixed_find(name);
		if (d)
			ret = set_param(p, d, v, e);
		else if (f)
			ret = check_fixed(f, v, e);
		else
			ret = err_set(e, EINVAL, "Parameter '%s' is unexpected", name);
		if (ret < 0)
			return ret;
	}
	return 0;
}

int params_from_json(struct migration_params *p, json_t *values, struct err *e)
{
	struct migration_params scratch;
	int ret;

	migration_params_init(&scratch);
	ret = set_all(&scratch, values, e);
	migration_params_fini(&scratch);
	return ret < 0 ? ret : set_all(p, values, e);
}

static int words_to_json(const char *text, json_t **out, struct err *e)
{
	char **argv;
	int ret = words_split(text, &argv, e);

	if (ret < 0)
		return ret;
	*out = list_to_json(argv);
	words_free(argv);
	return *out ? 0 : err_set(e, EINVAL, "'%.256s' is not valid UTF-8", text);
}

static int uint_from_text(const char *name, const char *text, json_t **out, struct err *e)
{
	/* Operators type bandwidths in MiB. */
	uint64_t unit = strstr(name, "bandwidth") ? MIB : 1;
	uint64_t v;
	int ret = parse_size(text, unit, &v, e);

	if (ret < 0)
		return ret;
	*out = json_integer((json_int_t)v);
	return 0;
}

int params_value_from_text(const char *name, const char *text, json_t **out, struct err *e)
{
	const struct param_desc *d = migration_param_find(name);
	const struct fixed_param *f = fixed_find(name);
	bool flag;
	int ret;

	if (!d && !f)
		return err_set(e, EINVAL, "invalid parameter value: %s", name);
	if (f && f->kind == FIXED_LIST)
		return err_set(e, EINVAL,
			       "The block-bitmap-mapping parameter can only be set through QMP");
	if (d && d->kind == PARAM_STRLIST)
		return words_to_json(text, out, e);
	if (d ? d->kind == PARAM_UINT : f->kind == FIXED_UINT)
		return uint_from_text(name, text, out, e);
	if (f && f->kind == FIXED_BOOL) {
		ret = parse_bool(text, &flag, e);
		if (ret < 0)
			return ret;
		*out = json_boolean(flag);
		return 0;
	}
	*out = json_string(text);
	return *out ? 0 : err_set(e, EINVAL, "the value of '%s' is not valid UTF-8", name);
}
