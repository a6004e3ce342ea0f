/* SPDX-License-Identifier: MIT */
/* The tables of commands and events, told in QEMU's schema of schemas. */
#ifndef CTL_INTROSPECT_H
#define CTL_INTROSPECT_H

/*
 * DOC: theory of operation
 *
 * Introspection lists one entry for each command, event and type. Commands, events and
 * types that JSON itself has keep their names; all others are numbers, which mean nothing and
 * may be others in the next release. A client follows them by reference.
 */

#include <jansson.h>

#include "ctl/schema.h"

/* A list of SchemaInfo; the caller owns the result. NULL without memory. */
json_t *introspect_build(void);

/* What introspect_build() returns, in its own words. */
extern const struct schema introspect_schema;

#endif
