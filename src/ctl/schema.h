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
	SCHEMA_INT,      /* may be negative                   */
	SCHEMA_NUMBER,   /* an integer or a fraction          */
	SCHEMA_ANY,      /* any value                         */
	SCHEMA_STRNULL,  /* a string, or null for none        */
	SCHEMA_ENUM,     /* a string among `values`           */
	SCHEMA_STRLIST,  /* an array of strings               */
	SCHEMA_STRUCT,   /* an object described by `members`  */
	SCHEMA_LIST,     /* an array of such objects          */
	SCHEMA_ENUMLIST, /* an array of strings among `values` */
	SCHEMA_INTLIST,  /* an array of integers              */
	SCHEMA_ANYLIST   /* an array of any values            */
};

struct schema;

struct schema_member {
	const char *name;
	enum schema_type type;
	bool optional;
	const char *const *values; /* ends with NULL */
	const struct schema *members;
	/* In place of `values`, where another table has them; NULL past the end. */
	const char *(*value_at)(size_t i);
};

/* A member that is not optional unless said so: name, type, other designated members. */
#define SCHEMA_MEMBER(name_, ...)                    \
	{                                            \
		.name = (name_), .type = __VA_ARGS__ \
	}

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
	/*
	 * In place of `member`, where another table has them; false past the end. Such an
	 * object can be described, and is checked by who has that table.
	 */
	bool (*member_at)(size_t i, struct schema_member *out);
};

/* An object without members. */
extern const struct schema schema_empty;

/*
 * Checks that @object has the members that @schema asks for, of the right types,
 * and no others. The texts are those QMP's users know; members of nested
 * objects are named by their path (`channels[0].addr`), but for a word that is not among
 * the values of an enumeration, where the last name stands alone.
 */
int schema_check(const struct schema *schema, json_t *object, struct err *e);

/* The value @i of a SCHEMA_ENUM or SCHEMA_ENUMLIST; NULL from the first past the end on. */
const char *schema_enum_value(const struct schema_member *m, size_t i);

/* -EINVAL with the text for a value of the wrong type. */
int schema_wrong_type(const char *name, const char *expected, struct err *e);

#endif
