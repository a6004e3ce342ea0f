/* SPDX-License-Identifier: MIT */
/* Descriptions of command arguments, and the one check of JSON against them. */
#ifndef CTL_SCHEMA_H
#define CTL_SCHEMA_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

enum schema_type {
	SCHEMA_STR,
	SCHEMA_BOOL,
	SCHEMA_UINT,
	SCHEMA_ENUM,    /* a string among `values`           */
	SCHEMA_STRLIST, /* an array of strings               */
	SCHEMA_STRUCT,  /* an object described by `members`  */
	SCHEMA_LIST,    /* an array of such objects          */
	SCHEMA_ENUMLIST /* an array of strings among `values` */
};

struct schema;

struct schema_member {
	const char *name;
	enum schema_type type;
	bool optional;
	const char *const *values; /* ends with NULL */
	const struct schema *members;
};

/* What else an object has if its tag member has this value. */
struct schema_variant {
	const char *value;
	const struct schema *members;
};

/* An object: its members (ends with a NULL name), and more of them by the value of one. */
struct schema {
	const struct schema_member *member;
	const char *tag;                       /* names a SCHEMA_ENUM member; NULL: no variants */
	const struct schema_variant *variants; /* ends with a NULL value                    */
};

/*
 * Checks that @object has the members that @schema asks for, of the right types,
 * and no others. The texts are those QMP's users know; members of nested
 * objects are named by their path (`channels[0].addr`).
 */
int schema_check(const struct schema *schema, json_t *object, struct err *e);

/* -EINVAL with the text for a value of the wrong type. */
int schema_wrong_type(const char *name, const char *expected, struct err *e);

#endif
