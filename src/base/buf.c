/* SPDX-License-Identifier: MIT */
/* A growing byte buffer and a bounded cursor over bytes; big-endian numbers. */
#include <endian.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"

void buf_fini(struct buf *b)
{
	free(b->data);
	*b = (struct buf){ 0 };
}

void buf_reserve(struct buf *b, size_t n)
{
	size_t want = b->len + n;
	size_t cap = b->cap ? b->cap : 256;
	uint8_t *p;

	if (b->failed)
		return;
	if (want < n) {
		b->failed = true;
		return;
	}
	if (want <= b->cap)
		return;
	while (cap < want)
		cap = cap > SIZE_MAX / 2 ? want : cap * 2;
	p = realloc(b->data, cap);
	if (!p) {
		b->failed = true;
		return;
	}
	b->data = p;
	b->cap = cap;
}

void buf_put(struct buf *b, const void *p, size_t n)
{
	buf_reserve(b, n);
	if (b->failed || !n)
		return;
	memcpy(b->data + b->len, p, n);
	b->len += n;
}

void buf_put_u8(struct buf *b, uint8_t v)
{
	buf_put(b, &v, sizeof(v));
}

void buf_put_be16(struct buf *b, uint16_t v)
{
	v = htobe16(v);
	buf_put(b, &v, sizeof(v));
}

void buf_put_be32(struct buf *b, uint32_t v)
{
	v = htobe32(v);
	buf_put(b, &v, sizeof(v));
}

void buf_put_be64(struct buf *b, uint64_t v)
{
	v = htobe64(v);
	buf_put(b, &v, sizeof(v));
}

void buf_put_str(struct buf *b, const char *s)
{
	buf_put(b, s, strlen(s));
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n < 0) {
		b->failed = true;
		return;
	}
	buf_reserve(b, (size_t)n + 1);
	if (b->failed)
		return;
	va_start(ap, fmt);
	vsnprintf((char *)b->data + b->len, (size_t)n + 1, fmt, ap);
	va_end(ap);
	b->len += (size_t)n;
}

void buf_consume(struct buf *b, size_t n)
{
	if (n >= b->len) {
		b->len = 0;
		return;
	}
	memmove(b->data, b->data + n, b->len - n);
	b->len -= n;
}

void cursor_init(struct cursor *c, const void *p, size_t n)
{
	c->base = p;
	c->p = p;
	c->end = c->p + n;
	c->failed = false;
}

size_t cursor_left(const struct cursor *c)
{
	return (size_t)(c->end - c->p);
}

size_t cursor_pos(const struct cursor *c)
{
	return (size_t)(c->p - c->base);
}

const uint8_t *cursor_take(struct cursor *c, size_t n)
{
	const uint8_t *p = c->p;

	if (c->failed || cursor_left(c) < n) {
		c->failed = true;
		return NULL;
	}
	c->p += n;
	return p;
}

bool cursor_get(struct cursor *c, void *p, size_t n)
{
	const uint8_t *src = cursor_take(c, n);

	if (!src) {
		memset(p, 0, n);
		return false;
	}
	memcpy(p, src, n);
	return true;
}

uint8_t cursor_u8(struct cursor *c)
{
	uint8_t v;

	cursor_get(c, &v, sizeof(v));
	return v;
}

uint16_t cursor_be16(struct cursor *c)
{
	uint16_t v;

	cursor_get(c, &v, sizeof(v));
	return be16toh(v);
}

uint32_t cursor_be32(struct cursor *c)
{
	uint32_t v;

	cursor_get(c, &v, sizeof(v));
	return be32toh(v);
}

uint64_t cursor_be64(struct cursor *c)
{
	uint64_t v;

	cursor_get(c, &v, sizeof(v));
	return be64toh(v);
}
