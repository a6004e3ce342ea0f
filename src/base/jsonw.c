/* SPDX-License-Identifier: MIT */
/* Writes JSON text into a buffer as it goes, without building a tree. */
#include <stdio.h>

#include "base/jsonw.h"

void jsonw_init(struct jsonw *w, struct buf *out)
{
	w->out = out;
	w->comma = false;
}

static void put_quoted(struct buf *b, const char *s)
{
	char esc[8];

	buf_put_u8(b, '"');
	for (; *s; s++) {
		unsigned char c = (unsigned char)*s;

		if (c == '"' || c == '\\') {
			buf_put_u8(b, '\\');
			buf_put_u8(b, c);
		} else if (c < 0x20 || c > 0x7e) {
			snprintf(esc, sizeof(esc), "\\u%04x", c);
			buf_put_str(b, esc);
		} else {
			buf_put_u8(b, c);
		}
	}
	buf_put_u8(b, '"');
}

static void begin_member(struct jsonw *w, const char *key)
{
	if (w->comma)
		buf_put(w->out, ", ", 2);
	if (key) {
		put_quoted(w->out, key);
		buf_put(w->out, ": ", 2);
	}
	w->comma = true;
}

void jsonw_begin_object(struct jsonw *w, const char *key)
{
	if (!w)
		return;
	begin_member(w, key);
	buf_put_u8(w->out, '{');
	w->comma = false;
}

void jsonw_end_object(struct jsonw *w)
{
	if (!w)
		return;
	buf_put_u8(w->out, '}');
	w->comma = true;
}

void jsonw_begin_array(struct jsonw *w, const char *key)
{
	if (!w)
		return;
	begin_member(w, key);
	buf_put_u8(w->out, '[');
	w->comma = false;
}

void jsonw_end_array(struct jsonw *w)
{
	if (!w)
		return;
	buf_put_u8(w->out, ']');
	w->comma = true;
}

void jsonw_str(struct jsonw *w, const char *key, const char *value)
{
	if (!w)
		return;
	begin_member(w, key);
	put_quoted(w->out, value);
}

void jsonw_u64(struct jsonw *w, const char *key, uint64_t value)
{
	char num[24];
	int n;

	if (!w)
		return;
	n = snprintf(num, sizeof(num), "%llu", (unsigned long long)value);
	begin_member(w, key);
	buf_put(w->out, num, (size_t)n);
}

void jsonw_bool(struct jsonw *w, const char *key, bool value)
{
	if (!w)
		return;
	begin_member(w, key);
	buf_put_str(w->out, value ? "true" : "false");
}
