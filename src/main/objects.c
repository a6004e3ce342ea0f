/* SPDX-License-Identifier: MIT */
/* Objects of the command line: memory backends. */
#include <ctype.h>
#include <errno.h>
#include <jansson.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/parse.h"
#include "base/util.h"
#include "ctl/json.h"
#include "main/objects.h"

enum {
	MAX_TEXT = 8192, /* of a whole -object                     */
};

/* Types a property belongs to, as a bit mask. */
#define TYPE(name) (1u << RAM_BACKEND_##name)
#define ALL_TYPES  ((1u << RAM_BACKEND_COUNT) - 1)

enum property_kind {
	PROPERTY_STRING, /* char[@size] */
	PROPERTY_BOOL,
	PROPERTY_SIZE,
	PROPERTY_THREADS, /* a number that changes nothing but speed */
	PROPERTY_REFUSED, /* @why; @value is what it may be all the same */
};

struct property {
	const char *key;
	unsigned int types;
	enum property_kind kind;
	size_t offset;
	size_t size;
	const char *value, *why;
};

#define MEMBER(m) offsetof(struct backend_option, m)
#define STRING(m) \
	.kind = PROPERTY_STRING, .offset = MEMBER(m), .size = SIZEOF_FIELD(struct backend_option, m)
#define BOOLEAN(m) .kind = PROPERTY_BOOL, .offset = MEMBER(m)
#define SIZE(m)    .kind = PROPERTY_SIZE, .offset = MEMBER(m)
#define NUMA_WHY   "memory is not bound to NUMA nodes by this program; start it with numactl instead"

static const struct property properties[] = {
	{ "id", ALL_TYPES, STRING(id) },
	{ "size", ALL_TYPES, SIZE(size) },
	{ "share", ALL_TYPES, BOOLEAN(share) },
	{ "prealloc", ALL_TYPES, BOOLEAN(options.prealloc) },
	{ "prealloc-threads", ALL_TYPES, .kind = PROPERTY_THREADS },
	{ "merge", ALL_TYPES, BOOLEAN(options.merge) },
	{ "dump", ALL_TYPES, BOOLEAN(options.dump) },
	{ "reserve", ALL_TYPES, BOOLEAN(options.reserve) },
	{ "hugetlb", TYPE(MEMFD), BOOLEAN(options.hugetlb) },
	{ "hugetlbsize", TYPE(MEMFD), SIZE(options.hugetlb_size) },
	/* Turned round in finish(): a zeroed struct is sealed. */
	{ "seal", TYPE(MEMFD), BOOLEAN(options.unsealed) },
	{ "mem-path", TYPE(FILE), STRING(path) },
	{ "align", TYPE(FILE), SIZE(options.align) },
	{ "offset", TYPE(FILE), SIZE(options.offset) },
	{ "readonly", TYPE(FILE), BOOLEAN(readonly) },
	{ "discard-data", TYPE(FILE), BOOLEAN(options.discard_data) },
	{ "pmem", TYPE(FILE), .kind = PROPERTY_REFUSED, .value = "off",
	  .why = "persistence of what the guest writes cannot be promised without libpmem" },
	{ "rom", TYPE(FILE), .kind = PROPERTY_REFUSED, .value = "auto",
	  .why = "no memory of this machine can be a ROM made of an object" },
	{ "policy", ALL_TYPES, .kind = PROPERTY_REFUSED, .value = "default", .why = NUMA_WHY },
	{ "host-nodes", ALL_TYPES, .kind = PROPERTY_REFUSED, .why = NUMA_WHY },
	{ "prealloc-context", ALL_TYPES, .kind = PROPERTY_REFUSED,
	  .why = "there are no thread-context objects" },
};

static int find_type(const char *name, enum ram_backend *out, struct err *e)
{
	for (unsigned int i = 0; i < RAM_BACKEND_COUNT; i++) {
		if (strcmp(name, ram_backend_name((enum ram_backend)i)))
			continue;
		*out = (enum ram_backend)i;
		return 0;
	}
	if (!strcmp(name, "memory-backend-epc"))
		return err_set(e, ENOTSUP,
			       "memory-backend-epc: memory of an SGX enclave cannot outlive the "
			       "process it was given to, so no guest on it could be updated");
	return err_set(e, EINVAL,
		       "Parameter 'qom-type' does not accept value '%s'; known are "
		       "memory-backend-memfd, memory-backend-file, memory-backend-shm and "
		       "memory-backend-ram",
		       name);
}

static int set_string(char *to, size_t size, const char *key, const char *value, struct err *e)
{
	if (!value[0])
		return err_set(e, EINVAL, "Parameter '%s' is empty", key);
	if (strlen(value) >= size)
		return err_set(e, ENAMETOOLONG, "Parameter '%s' is longer than %zu characters", key,
			       size - 1);
	memcpy(to, value, strlen(value) + 1);
	return 0;
}

static int set_value(struct backend_option *b, const struct property *p, const char *value,
		     struct err *e)
{
	void *to = (uint8_t *)b + p->offset;
	struct err why;
	uint64_t n;

	switch (p->kind) {
	case PROPERTY_STRING:
		return set_string(to, p->size, p->key, value, e);
	case PROPERTY_BOOL:
		if (!parse_bool(value, to, &why))
			return 0;
		return err_set(e, EINVAL, "Parameter '%s' expects 'on' or 'off', not '%s'", p->key,
			       value);
	case PROPERTY_SIZE:
		if (parse_size(value, 1, to, &why))
			return err_set(e, EINVAL, "Parameter '%s' expects a size: %s", p->key,
				       why.msg);
		return 0;
	case PROPERTY_THREADS:
		if (!parse_uint(value, 1024, &n, &why) && n)
			return 0;
		return err_set(e, EINVAL, "Parameter '%s' expects a value from 1 to 1024, not '%s'",
			       p->key, value);
	default:
		if (p->value && !strcmp(value, p->value))
			return 0;
		return err_set(e, ENOTSUP, "Parameter '%s' cannot be '%s': %s", p->key, value,
			       p->why);
	}
}

static const struct property *find_property(const struct backend_option *b, const char *key)
{
	for (size_t i = 0; i < ARRAY_SIZE(properties); i++)
		if (!strcmp(properties[i].key, key) && properties[i].types & 1u << b->backend)
			return &properties[i];
	return NULL;
}

static int set_property(struct backend_option *b, const char *key, const char *value, struct err *e)
{
	const struct property *p = find_property(b, key);

	if (!p)
		return err_set(e, EINVAL, "Parameter '%s' is unexpected for %s", key,
			       ram_backend_name(b->backend));
	return set_value(b, p, value, e);
}

static int start(struct backend_option *b, const char *type, struct err *e)
{
	enum ram_backend backend = RAM_BACKEND_MEMFD;
	int r = find_type(type, &backend, e);

	if (r)
		return r;
	/* A file and anonymous memory are private unless asked otherwise: as QEMU has it. */
	*b = (struct backend_option){
		.backend = backend,
		.share = backend == RAM_BACKEND_MEMFD || backend == RAM_BACKEND_SHM,
		.options.unsealed = backend == RAM_BACKEND_MEMFD,
	};
	return 0;
}

/* The names that objects may have everywhere: they are used in paths and lists. */
static bool is_identifier(const char *id)
{
	if (!isalpha((unsigned char)*id))
		return false;
	while (isalnum((unsigned char)*id) || *id == '-' || *id == '.' || *id == '_')
		id++;
	return !*id;
}

/* What the properties must be together. */
static int finish(struct backend_option *b, struct err *e)
{
	b->options.unsealed = b->backend == RAM_BACKEND_MEMFD && !b->options.unsealed;
	if (!b->id[0])
		return err_set(e, EINVAL, "Parameter 'id' is missing");
	if (!is_identifier(b->id))
		return err_set(e, EINVAL,
			       "Parameter 'id' expects an identifier (a letter, then letters, "
			       "digits, '-', '.', '_'), not '%s'",
			       b->id);
	if (!b->size)
		return err_set(e, EINVAL, "Parameter 'size' is missing or zero");
	if (b->backend == RAM_BACKEND_FILE && !b->path[0])
		return err_set(e, EINVAL, "Parameter 'mem-path' is missing");
	if (b->backend == RAM_BACKEND_SHM && !b->share)
		return err_set(e, EINVAL, "can't create shm backend with `share=off`");
	if (b->options.hugetlb_size && !b->options.hugetlb)
		return err_set(e, EINVAL, "Parameter 'hugetlbsize' needs hugetlb=on");
	if (b->readonly && b->options.prealloc)
		return err_set(e, EINVAL, "readonly=on and prealloc=on exclude each other");
	return 0;
}

/*
 * Cuts the next piece off @text, at a comma that is not doubled; doubled ones become one.
 * NULL at the end.
 */
static char *next_piece(char **text)
{
	char *piece = *text, *from = piece, *to = piece;

	if (!piece)
		return NULL;
	for (; *from; from++) {
		if (*from == ',' && from[1] != ',')
			break;
		if (*from == ',')
			from++;
		*to++ = *from;
	}
	*text = *from ? from + 1 : NULL;
	*to = '\0';
	return piece;
}

static int parse_keys(struct backend_option *b, const char *arg, struct err *e)
{
	char scratch[MAX_TEXT], *text = scratch, *piece;
	int r;

	if (strlen(arg) >= sizeof(scratch))
		return err_set(e, E2BIG, "the option is longer than %d characters", MAX_TEXT - 1);
	memcpy(scratch, arg, strlen(arg) + 1);
	piece = next_piece(&text);
	r = start(b, strncmp(piece, "qom-type=", 9) ? piece : piece + 9, e);
	while (!r && (piece = next_piece(&text))) {
		char *value = strchr(piece, '=');

		if (value)
			*value++ = '\0';
		if (*piece || value)
			r = set_property(b, piece, value ?: "on", e);
	}
	return r;
}

/* JSON has types, and a member of another one is refused. */
static int set_member(struct backend_option *b, const char *key, json_t *v, struct err *e)
{
	const struct property *p = find_property(b, key);
	enum property_kind kind = p ? p->kind : PROPERTY_STRING;
	const char *expected = kind == PROPERTY_BOOL                               ? "boolean"
			       : kind == PROPERTY_SIZE || kind == PROPERTY_THREADS ? "integer"
										   : "string";
	char number[32];

	if (p && p->kind == PROPERTY_REFUSED && !json_is_string(v))
		return set_value(b, p, json_is_true(v) ? "on" : json_is_false(v) ? "off" : "", e);
	if (p && !(json_is_string(v) && *expected == 's') &&
	    !(json_is_boolean(v) && *expected == 'b') && !(json_is_integer(v) && *expected == 'i'))
		return err_set(e, EINVAL, "Invalid parameter type for '%s', expected: %s", key,
			       expected);
	if (json_is_string(v))
		return set_property(b, key, json_string_value(v), e);
	if (json_is_boolean(v))
		return set_property(b, key, json_is_true(v) ? "on" : "off", e);
	snprintf(number, sizeof(number), "%lld", (long long)json_integer_value(v));
	return set_property(b, key, number, e);
}

static int parse_json(struct backend_option *b, const char *arg, struct err *e)
{
	json_t *j = json_text_parse(arg, strlen(arg), e), *v;
	const char *key, *type;
	int r;

	if (!j)
		return -e->code;
	type = json_string_value(json_object_get(j, "qom-type"));
	if (type)
		r = start(b, type, e);
	else
		r = err_set(e, EINVAL, "Parameter 'qom-type' is missing");
	json_object_foreach(j, key, v)
	{
		if (!r && strcmp(key, "qom-type"))
			r = set_member(b, key, v, e);
	}
	json_decref(j);
	return r;
}

int objects_parse(struct backend_option *out, const char *arg, struct err *e)
{
	struct backend_option b;
	int r = arg[0] == '{' ? parse_json(&b, arg, e) : parse_keys(&b, arg, e);

	if (!r)
		r = finish(&b, e);
	if (!r)
		*out = b;
	return r;
}

static void print_type(enum ram_backend type)
{
	static const char *const kinds[] = {
		[PROPERTY_STRING] = "text",
		[PROPERTY_BOOL] = "on or off",
		[PROPERTY_SIZE] = "size",
		[PROPERTY_THREADS] = "number",
	};

	printf("%s options:\n", ram_backend_name(type));
	for (size_t i = 0; i < ARRAY_SIZE(properties); i++)
		if (properties[i].types & 1u << type && properties[i].kind != PROPERTY_REFUSED)
			printf("  %s=<%s>\n", properties[i].key, kinds[properties[i].kind]);
}

void objects_print_help(const char *arg)
{
	size_t n = strcspn(arg, ",");

	for (unsigned int i = 0; i < RAM_BACKEND_COUNT; i++) {
		const char *name = ram_backend_name((enum ram_backend)i);

		if (strlen(name) == n && !strncmp(name, arg, n)) {
			print_type((enum ram_backend)i);
			return;
		}
	}
	printf("List of user creatable objects:\n");
	for (unsigned int i = 0; i < RAM_BACKEND_COUNT; i++)
		printf("  %s\n", ram_backend_name((enum ram_backend)i));
}
