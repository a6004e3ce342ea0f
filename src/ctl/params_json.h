/* SPDX-License-Identifier: MIT */
/* Migration parameters in JSON: those in force and those that only have a default. */
#ifndef CTL_PARAMS_JSON_H
#define CTL_PARAMS_JSON_H

#include <jansson.h>

#include "base/err.h"
#include "ctl/schema.h"
#include "update/params.h"

/*
 * All parameters QEMU's users know. One that this program does not have shows its
 * default there and is refused by name when set to anything else.
 * The caller owns the result.
 */
json_t *params_to_json(const struct migration_params *p);

/* Fills @out with parameter @i, for introspection; false past the end. */
bool params_describe(size_t i, struct schema_member *out);

/* Sets all members of @values, or none and says which is wrong. */
int params_from_json(struct migration_params *p, json_t *values, struct err *e);

/*
 * The value for parameter @name that an operator typed. -EINVAL for a name that
 * is none and for text that is no such value. *@out is owned by the caller.
 */
int params_value_from_text(const char *name, const char *text, json_t **out, struct err *e);

#endif
