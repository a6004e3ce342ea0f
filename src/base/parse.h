/* SPDX-License-Identifier: MIT */
/* Numbers and sizes as people write them. */
#ifndef BASE_PARSE_H
#define BASE_PARSE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/*
 * A size: a decimal or 0x number with an optional suffix B, K, M, G or T (powers
 * of 1024, either case); @unit is the factor for a number without suffix. The
 * whole of @s must be used. -EINVAL for what is no size, -ERANGE beyond 2^63-1.
 */
int parse_size(const char *s, uint64_t unit, uint64_t *out, struct err *e);

/* A non-negative decimal number of at most @max. -EINVAL or -ERANGE. */
int parse_uint(const char *s, uint64_t max, uint64_t *out, struct err *e);

/* `on`, `yes`, `true`, `y` or `off`, `no`, `false`, `n`. */
int parse_bool(const char *s, bool *out, struct err *e);

/*
 * Calls @set for each piece of the comma-separated list @text, which is cut up in place: `KEY=VALUE`,
 * or with @value NULL one without `=`, which may be empty. @first: it begins the list. Stops at
 * the first failure, and returns it.
 */
int parse_pieces(char *text,
		 int (*set)(void *opaque, char *key, char *value, bool first, struct err *e),
		 void *opaque, struct err *e);

#endif
