/* SPDX-License-Identifier: MIT */
/* Writes JSON text into a buffer as it goes, without building a tree. */
#ifndef BASE_JSONW_H
#define BASE_JSONW_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

/*
 * The caller owns @out and keeps it alive; the writer puts `, ` and `: ` as
 * separators and escapes everything that is not printable ASCII. @key is NULL
 * inside arrays. Memory shortage shows in out->failed. A writer that is NULL writes nothing.
 */
struct jsonw {
	struct buf *out;
	bool comma; /* the next member needs a separator before it */
};

void jsonw_init(struct jsonw *w, struct buf *out);
void jsonw_begin_object(struct jsonw *w, const char *key);
void jsonw_end_object(struct jsonw *w);
void jsonw_begin_array(struct jsonw *w, const char *key);
void jsonw_end_array(struct jsonw *w);
void jsonw_str(struct jsonw *w, const char *key, const char *value);
void jsonw_u64(struct jsonw *w, const char *key, uint64_t value);
void jsonw_bool(struct jsonw *w, const char *key, bool value);

#endif
