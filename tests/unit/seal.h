/* SPDX-License-Identifier: MIT */
/* Streams with a right checksum over wrong bytes, so that what reads them is what is tested. */
#ifndef TESTS_UNIT_SEAL_H
#define TESTS_UNIT_SEAL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "state/stream.h"

static inline size_t checksum_section_bytes(void)
{
	return 1 + 4 + 1 + strlen(STREAM_CHECKSUM_IDSTR) + 4 + 4 + 3 * 8 + 5;
}

/* Where the checksum section starts. */
static inline size_t body_bytes(const struct buf *b)
{
	size_t n = strlen(STREAM_CHECKSUM_IDSTR);

	for (size_t i = b->len - checksum_section_bytes(); i; i--)
		if (b->data[i] == 4 && b->data[i + 5] == n &&
		    !memcmp(b->data + i + 6, STREAM_CHECKSUM_IDSTR, n))
			return i;
	fail_msg("no checksum section");
	return 0;
}

/* Writes @body with a right checksum and a short description: damage behind the checksum. */
static inline void seal(const struct buf *body, struct buf *out)
{
	static const char json[] = "{}";

	buf_put(out, body->data, body->len);
	buf_put_u8(out, 4);
	buf_put_be32(out, 99);
	buf_put_u8(out, (uint8_t)strlen(STREAM_CHECKSUM_IDSTR));
	buf_put_str(out, STREAM_CHECKSUM_IDSTR);
	buf_put_be32(out, 0);
	buf_put_be32(out, 1);
	buf_put_be64(out, body->len);
	buf_put_be64(out, stream_hash(body->data, body->len));
	buf_put_be64(out, stream_hash(json, 2));
	buf_put_u8(out, 0x7e);
	buf_put_be32(out, 99);
	buf_put_u8(out, 0);
	buf_put_u8(out, 6);
	buf_put_be32(out, 2);
	buf_put_str(out, json);
}

#endif
