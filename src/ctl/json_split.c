/* SPDX-License-Identifier: MIT */
/* Cuts a stream of bytes into JSON values and turns the lenient ones into strict JSON. */
#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "base/util.h"
#include "ctl/json_split.h"

/* A value's buffer beyond this size is not kept for the next one. */
#define KEEP_BYTES ((size_t)64 << 10)

void json_split_init(struct json_split *s)
{
	*s = (struct json_split){ .line = 1, .column = 1 };
}

void json_split_fini(struct json_split *s)
{
	buf_fini(&s->text);
	json_split_init(s);
}

/* Forgets the value so far; the position in the stream stays. */
static void start_over(struct json_split *s)
{
	s->text.len = 0;
	if (s->text.cap > KEEP_BYTES || s->text.failed)
		buf_fini(&s->text);
	s->braces = 0;
	s->brackets = 0;
	s->quote = 0;
	s->escaped = false;
	s->tokens = 0;
	s->word = false;
	s->literal = false;
	s->done = false;
}

static enum json_split_result fail(struct json_split *s, struct err *e, const char *what)
{
	err_set(e, EINVAL, "%u:%u: JSON %s", s->line, s->column, what);
	start_over(s);
	s->recovering = true;
	return JSON_SPLIT_ERROR;
}

static void put(struct json_split *s, unsigned char c)
{
	if (!s->text.len) {
		s->start_line = s->line;
		s->start_column = s->column;
	}
	buf_put_u8(&s->text, c);
}

static bool is_word(unsigned char c)
{
	return isalnum(c) || c == '+' || c == '-' || c == '.' || c == '_';
}

static bool is_control(unsigned char c)
{
	return c < 0x20 && c != '\t';
}

static bool at_top(const struct json_split *s)
{
	return !s->braces && !s->brackets;
}

/* One byte inside a string. */
static enum json_split_result feed_string(struct json_split *s, unsigned char c, struct err *e)
{
	if (is_control(c) || c >= 0xfe)
		return fail(s, e, "parse error, invalid character in string");
	if (s->escaped) {
		s->escaped = false;
		if (c != '\'')
			put(s, '\\');
		put(s, c);
	} else if (c == '\\') {
		s->escaped = true;
	} else if (c == (unsigned char)s->quote) {
		put(s, '"');
		s->quote = 0;
		if (at_top(s))
			return JSON_SPLIT_VALUE;
	} else {
		if (c == '"')
			put(s, '\\');
		put(s, c);
	}
	return JSON_SPLIT_MORE;
}

static enum json_split_result feed_open(struct json_split *s, unsigned char c, struct err *e)
{
	if (s->braces + s->brackets >= JSON_SPLIT_MAX_NESTING)
		return fail(s, e, "nesting depth limit exceeded");
	put(s, c);
	if (c == '{')
		s->braces++;
	else
		s->brackets++;
	return JSON_SPLIT_MORE;
}

static enum json_split_result feed_close(struct json_split *s, unsigned char c, struct err *e)
{
	unsigned int *count = c == '}' ? &s->braces : &s->brackets;

	if (!*count)
		return fail(s, e, "parse error, expecting value");
	put(s, c);
	--*count;
	return at_top(s) ? JSON_SPLIT_VALUE : JSON_SPLIT_MORE;
}

/* One byte outside strings. */
static enum json_split_result feed_plain(struct json_split *s, unsigned char c, struct err *e)
{
	bool in_word = s->word;

	s->word = is_word(c);
	if (!(s->word && in_word) && !isspace(c) && ++s->tokens > JSON_SPLIT_MAX_TOKENS)
		return fail(s, e, "token count limit exceeded");
	switch (c) {
	case '{':
	case '[':
		return feed_open(s, c, e);
	case '}':
	case ']':
		return feed_close(s, c, e);
	case '"':
	case '\'':
		put(s, '"');
		s->quote = (char)c;
		return JSON_SPLIT_MORE;
	case ' ':
	case '\t':
	case '\r':
	case '\n':
		if (!at_top(s))
			put(s, c);
		return JSON_SPLIT_MORE;
	case ':':
	case ',':
		if (at_top(s))
			return fail(s, e, "parse error, expecting value");
		put(s, c);
		return JSON_SPLIT_MORE;
	default:
		if (!is_word(c))
			return fail(s, e, "parse error, stray character");
		put(s, c);
		s->literal = at_top(s);
		return JSON_SPLIT_MORE;
	}
}

static void advance(struct json_split *s, unsigned char c)
{
	if (c == '\n') {
		s->line++;
		s->column = 1;
	} else {
		s->column++;
	}
}

/* True once recovery ends; *@skip says whether the byte belongs to what is skipped. */
static bool recovered(unsigned char c, bool *skip)
{
	*skip = c != '{' && c != '[';
	return is_control(c) || c >= 0xfe || !*skip;
}

enum json_split_result json_split_feed(struct json_split *s, const void *p, size_t n, size_t *used,
				       struct err *e)
{
	const unsigned char *in = p;
	enum json_split_result r = JSON_SPLIT_MORE;
	bool skip;
	size_t i;

	if (s->done)
		start_over(s);
	for (i = 0; i < n && r == JSON_SPLIT_MORE; i++) {
		if (s->recovering) {
			s->recovering = !recovered(in[i], &skip);
			if (skip) {
				advance(s, in[i]);
				continue;
			}
		}
		/* A number or word at the top ends before the byte that follows it. */
		if (s->literal && !is_word(in[i])) {
			r = JSON_SPLIT_VALUE;
			break;
		}
		r = s->quote ? feed_string(s, in[i], e) : feed_plain(s, in[i], e);
		if (r != JSON_SPLIT_ERROR && s->text.failed)
			r = fail(s, e, "parse error, out of memory");
		else if (r != JSON_SPLIT_ERROR && s->text.len > JSON_SPLIT_MAX_BYTES)
			r = fail(s, e, "token size limit exceeded");
		/*
		 * The byte that broke the value may be the one that ends recovery, a
		 * newline inside a string for example.
		 */
		if (r == JSON_SPLIT_ERROR && recovered(in[i], &skip) && skip)
			s->recovering = false;
		advance(s, in[i]);
	}
	*used = i;
	s->done = r == JSON_SPLIT_VALUE;
	return r;
}

size_t json_split_get_mark(const struct json_split *s, struct json_split_mark *mark,
			   const void **text)
{
	*mark = (struct json_split_mark){
		.recovering = s->recovering,
		.line = s->line,
		.column = s->column,
		.start_line = s->start_line,
		.start_column = s->start_column,
	};
	*text = s->text.data;
	/* A value that was handed out is over. */
	if (s->done)
		return 0;
	mark->quote = s->quote;
	mark->escaped = s->escaped;
	return s->text.len;
}

int json_split_restore(struct json_split *s, const struct json_split_mark *mark, const void *text,
		       size_t n, struct err *e)
{
	enum json_split_result r = JSON_SPLIT_MORE;
	size_t used = 0;
	struct err why;

	/* The text is input of its own kind: reading it leads to the same place. */
	if (n)
		r = json_split_feed(s, text, n, &used, &why);
	if (r != JSON_SPLIT_MORE || used != n || !mark->quote != !s->quote ||
	    (mark->quote && mark->quote != '"' && mark->quote != '\'') ||
	    (mark->escaped && !mark->quote) || (mark->recovering && n)) {
		json_split_fini(s);
		return err_set(e, EINVAL, "the half request of a monitor's client is malformed");
	}
	s->quote = mark->quote;
	s->escaped = mark->escaped;
	s->recovering = mark->recovering;
	s->line = mark->line;
	s->column = mark->column;
	s->start_line = mark->start_line;
	s->start_column = mark->start_column;
	return 0;
}
