/* SPDX-License-Identifier: MIT */
/* JSON text to values and back, in the dialect of QMP. */
#ifndef CTL_JSON_H
#define CTL_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"
#include "ctl/json_split.h"

/* The one value in @text, single quotes allowed; NULL on failure. The caller owns the result. */
json_t *json_text_parse(const char *text, size_t n, struct err *e);

/*
 * The value that the splitter has just found; NULL on failure. An integer that 64 bits with
 * sign do not hold is a fraction. The caller owns the result.
 */
json_t *json_split_parse(const struct json_split *s, struct err *e);

/*
 * Appends @v as one line of ASCII, without an end of line. False, and nothing is appended, if there
 * is no memory or no value (NULL).
 */
bool json_put_text(struct buf *b, const json_t *v);
/* The same on several lines, indented. */
bool json_put_pretty(struct buf *b, const json_t *v);

#endif
