/* SPDX-License-Identifier: MIT */
/* JSON text to values and back, in the dialect of QMP. */
#include <errno.h>
#include <string.h>

#include "ctl/json.h"

json_t *json_split_parse(const struct json_split *s, struct err *e)
{
	unsigned int line, column;
	json_error_t error;
	const char *text;
	json_t *v;

	v = json_loadb((const char *)s->text.data, s->text.len,
		       JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
	if (v)
		return v;
	text = error.text;
	if (json_error_code(&error) == json_error_duplicate_key)
		text = "duplicate key";
	line = s->start_line + (error.line > 0 ? (unsigned int)error.line - 1 : 0);
	column = error.column > 0 ? (unsigned int)error.column : 1;
	if (error.line <= 1)
		column += s->start_column - 1;
	err_set(e, EINVAL, "%u:%u: JSON parse error, %s", line, column, text);
	return NULL;
}

json_t *json_text_parse(const char *text, size_t n, struct err *e)
{
	enum json_split_result r;
	struct json_split s;
	json_t *v = NULL;
	size_t used;

	json_split_init(&s);
	r = json_split_feed(&s, text, n, &used, e);
	if (r == JSON_SPLIT_VALUE)
		v = json_split_parse(&s, e);
	else if (r == JSON_SPLIT_MORE)
		err_set(e, EINVAL, "JSON parse error, the text ends too early");
	if (v) {
		while (used < n && strchr(" \t\r\n", text[used]))
			used++;
		if (used < n) {
			json_decref(v);
			v = NULL;
			err_set(e, EINVAL, "JSON parse error, more text after the value");
		}
	}
	json_split_fini(&s);
	return v;
}

static int put_piece(const char *p, size_t n, void *opaque)
{
	buf_put(opaque, p, n);
	return 0;
}

void json_put_text(struct buf *b, const json_t *v)
{
	json_dump_callback(v, put_piece, b, JSON_ENSURE_ASCII | JSON_ENCODE_ANY);
}

void json_put_pretty(struct buf *b, const json_t *v)
{
	json_dump_callback(v, put_piece, b, JSON_ENSURE_ASCII | JSON_ENCODE_ANY | JSON_INDENT(4));
}
