/* SPDX-License-Identifier: MIT */
/* Cuts a stream of bytes into JSON values and turns the lenient ones into strict JSON. */
#ifndef CTL_JSON_SPLIT_H
#define CTL_JSON_SPLIT_H

/*
 * DOC: theory of operation
 *
 * A monitor's client may send several values in one piece, one value in several
 * pieces, and need not end any of them with a newline. The splitter looks at each
 * byte once. It knows strings, brackets and nothing else of JSON: a value is whole
 * when its brackets are closed, and a real parser then says whether it is right. On
 * the way single-quoted strings become double-quoted ones.
 *
 * After an error the bytes of the broken value are dropped and input is skipped up
 * to a control character other than TAB, a byte 0xFE or 0xFF, or an opening bracket.
 */

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"

#define JSON_SPLIT_MAX_BYTES   ((size_t)1 << 20)
#define JSON_SPLIT_MAX_NESTING 1024
#define JSON_SPLIT_MAX_TOKENS  ((size_t)1 << 17)

enum json_split_result {
	JSON_SPLIT_MORE,  /* all input used, no value is whole yet */
	JSON_SPLIT_VALUE, /* `text` holds one whole value          */
	JSON_SPLIT_ERROR, /* `e` says what is wrong                */
};

struct json_split {
	struct buf text;         /* the value so far, normalised        */
	unsigned int braces;     /* open ones                           */
	unsigned int brackets;   /* open ones                           */
	char quote;              /* inside a string: which kind; else 0 */
	bool escaped;            /* the byte before was a backslash     */
	size_t tokens;           /* strings, words, brackets and so on  */
	bool word;               /* inside a number or word             */
	bool literal;            /* inside one at the top               */
	bool recovering;         /* skipping after an error             */
	bool done;               /* `text` was handed out               */
	unsigned int line;       /* position in the stream, from 1      */
	unsigned int column;     /* of the next byte, from 1            */
	unsigned int start_line; /* where `text` starts                 */
	unsigned int start_column;
};

/* Where a splitter stands, beside the value so far. */
struct json_split_mark {
	char quote;
	bool escaped;
	bool recovering;
	unsigned int line, column;
	unsigned int start_line, start_column;
};

void json_split_init(struct json_split *s);
/* Frees the bytes. */
void json_split_fini(struct json_split *s);

/*
 * Looks at the @n bytes at @p up to the end of a value or to an error, and says
 * in *@used how many it has taken; call again with the rest. After
 * JSON_SPLIT_VALUE s->text holds the value until the next call. @e is filled
 * with JSON_SPLIT_ERROR only; the splitter goes on working.
 */
enum json_split_result json_split_feed(struct json_split *s, const void *p, size_t n, size_t *used,
				       struct err *e);

/*
 * For a splitter that goes on in another process: where @s stands, and the value so far, which
 * stays the splitter's; returns its length. json_split_restore() brings @s, just initialised,
 * there; -EINVAL if no splitter can stand there.
 */
size_t json_split_get_mark(const struct json_split *s, struct json_split_mark *mark,
			   const void **text);
int json_split_restore(struct json_split *s, const struct json_split_mark *mark, const void *text,
		       size_t n, struct err *e);

#endif
