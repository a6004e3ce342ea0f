/* SPDX-License-Identifier: MIT */
/* A growing byte buffer and a bounded cursor over bytes; big-endian numbers. */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The buffer. Zero-initialised is empty. A failed allocation is remembered in
 * @failed and later writes are ignored, so that a long encoding checks once, at
 * its end. buf_fini() frees the bytes.
 */
struct buf {
	uint8_t *data;
	size_t len;
	size_t cap;
	bool failed;
};

void buf_fini(struct buf *b);
/* Makes room for @n more bytes without changing the length. */
void buf_reserve(struct buf *b, size_t n);
void buf_put(struct buf *b, const void *p, size_t n);
void buf_put_u8(struct buf *b, uint8_t v);
void buf_put_be16(struct buf *b, uint16_t v);
void buf_put_be32(struct buf *b, uint32_t v);
void buf_put_be64(struct buf *b, uint64_t v);
/* The characters of @s without its NUL. */
void buf_put_str(struct buf *b, const char *s);
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Removes the first @n bytes. */
void buf_consume(struct buf *b, size_t n);

#define AUTO_BUF __attribute__((cleanup(buf_fini))) struct buf

/*
 * The cursor, for reading hostile bytes: a read beyond the end delivers zeros
 * and sets @failed, which stays set; nothing outside [p, end) is touched.
 */
struct cursor {
	const uint8_t *base;
	const uint8_t *p;
	const uint8_t *end;
	bool failed;
};

/* The bytes are not owned and outlive the cursor. */
void cursor_init(struct cursor *c, const void *p, size_t n);
/* Bytes not read yet, and bytes read. */
size_t cursor_left(const struct cursor *c);
size_t cursor_pos(const struct cursor *c);
/* The next @n bytes in place, or NULL (and @failed) if there are fewer. */
const uint8_t *cursor_take(struct cursor *c, size_t n);
/* Copies @n bytes to @p; false, with zeros there, if there are fewer. */
bool cursor_get(struct cursor *c, void *p, size_t n);
/* Numbers, big-endian. */
uint8_t cursor_u8(struct cursor *c);
uint16_t cursor_be16(struct cursor *c);
uint32_t cursor_be32(struct cursor *c);
uint64_t cursor_be64(struct cursor *c);

#endif
