/* SPDX-License-Identifier: MIT */
/* JSON text to values and back, in the dialect of QMP. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_memory.h"
#include "base/util.h"
#include "ctl/json.h"

#define LOAD_FLAGS (JSON_REJECT_DUPLICATES | JSON_DECODE_ANY)

/* The end of the number at @p. */
static const char *skip_number(const char *p, const char *end)
{
	while (p < end && *p && strchr("+-.eE0123456789", *p))
		p++;
	return p;
}

/* Copies JSON text; integers beyond 64 bits with sign become fractions. */
static void widen_integers(struct buf *out, const char *p, const char *end)
{
	const char *start;
	char number[64];
	size_t n;

	while (p < end) {
		start = p;
		if (*p == '"') {
			for (p++; p < end && *p != '"'; p++)
				p += *p == '\\' && p + 1 < end;
			p += p < end;
			buf_put(out, start, (size_t)(p - start));
		} else if (*p == '-' || isdigit((unsigned char)*p)) {
			p = skip_number(p, end);
			n = (size_t)(p - start);
			buf_put(out, start, n);
			if (n >= sizeof(number) || memchr(start, '.', n) || memchr(start, 'e', n) ||
			    memchr(start, 'E', n))
				continue;
			memcpy(number, start, n);
			number[n] = '\0';
			errno = 0;
			strtoll(number, NULL, 10);
			if (errno == ERANGE)
				buf_put_str(out, ".0");
		} else {
			buf_put_u8(out, (uint8_t)*p++);
		}
	}
}

static json_t *load(const struct buf *text, json_error_t *error)
{
	const char *p = (const char *)text->data;
	json_t *v = json_loadb(p, text->len, LOAD_FLAGS, error);
	AUTO_BUF wide = { 0 };

	if (v || json_error_code(error) != json_error_numeric_overflow)
		return v;
	widen_integers(&wide, p, p + text->len);
	return wide.failed ? NULL
			   : json_loadb((const char *)wide.data, wide.len, LOAD_FLAGS, error);
}

/* What is wrong, in the words QMP's users know where they have some. */
static const char *error_text(const json_error_t *error)
{
	static const struct {
		const char *start, *text;
	} known[] = {
		{ "unexpected token", "expecting value" },
		{ "':' expected", "missing : in object pair" },
		{ "string or '}' expected", "key is not a string in object" },
		{ "string expected", "key is not a string in object" },
		{ "'}' expected", "expected separator in dict" },
		{ "']' expected", "expected separator in list" },
		{ "invalid escape", "invalid escape sequence in string" },
		{ "invalid Unicode", "invalid escape sequence in string" },
		{ "invalid UTF-8", "invalid UTF-8 sequence in string" },
		{ "unable to decode byte", "invalid UTF-8 sequence in string" },
		{ "duplicate object key", "duplicate key" },
		{ "\\u0000", "\\u0000 is not allowed in a string" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
		if (!strncmp(error->text, known[i].start, strlen(known[i].start)))
			return known[i].text;
	}
	return error->text;
}

json_t *json_split_parse(const struct json_split *s, struct err *e)
{
	static const char bad_word[] = "invalid token near '";
	unsigned int line, column;
	json_error_t error;
	json_t *v;

	v = load(&s->text, &error);
	if (v)
		return v;
	line = s->start_line + (error.line > 0 ? (unsigned int)error.line - 1 : 0);
	column = error.column > 0 ? (unsigned int)error.column : 1;
	if (error.line <= 1)
		column += s->start_column - 1;
	if (!strncmp(error.text, bad_word, strlen(bad_word)) &&
	    isalpha((unsigned char)error.text[strlen(bad_word)]))
		err_set(e, EINVAL, "%u:%u: JSON parse error, invalid keyword '%s", line, column,
			error.text + strlen(bad_word));
	else
		err_set(e, EINVAL, "%u:%u: JSON parse error, %s", line, column, error_text(&error));
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

#define PUT_FLAGS (JSON_ENSURE_ASCII | JSON_ENCODE_ANY)

bool json_put_text(struct buf *b, const json_t *v)
{
	return json_put(b, v, PUT_FLAGS);
}

bool json_put_pretty(struct buf *b, const json_t *v)
{
	return json_put(b, v, PUT_FLAGS | JSON_INDENT(4));
}
