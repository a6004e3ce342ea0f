/* SPDX-License-Identifier: MIT */
/* Pictures of displays as the bytes of image files. */
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <zlib.h>

#include "base/util.h"
#include "ctl/picture_file.h"

enum {
	RGB_BYTES = 3,
	/* Somebody waits for it, and so does the guest if it needs a device: speed before size. */
	COMPRESSION = 1,
	PIECE_BYTES = 64 << 10,
};

/* Five or six bits as eight: all ones stay all ones. */
static uint8_t widen(unsigned int v, unsigned int bits)
{
	return (uint8_t)(v << (8 - bits) | v >> (2 * bits - 8));
}

static void convert_row(const struct picture *p, uint32_t y, uint8_t *rgb)
{
	const uint8_t *from = p->pixels + y * p->stride;
	unsigned int v;

	for (uint32_t x = 0; x < p->width; x++, rgb += RGB_BYTES)
		switch (p->format) {
		case PICTURE_RGB565:
			v = from[2 * x] | from[2 * x + 1] << 8;
			rgb[0] = widen(v >> 11, 5);
			rgb[1] = widen(v >> 5 & 0x3f, 6);
			rgb[2] = widen(v & 0x1f, 5);
			break;
		case PICTURE_BGRX8888:
			memcpy(rgb, from + 4 * x + 1, RGB_BYTES);
			break;
		default:
			rgb[0] = from[4 * x + 2];
			rgb[1] = from[4 * x + 1];
			rgb[2] = from[4 * x];
			break;
		}
}

static int no_memory(struct err *e)
{
	return err_set(e, ENOMEM, "no memory for the picture");
}

int picture_put_ppm(const struct picture *p, struct buf *out, struct err *e)
{
	size_t row = (size_t)p->width * RGB_BYTES;

	buf_printf(out, "P6\n%u %u\n255\n", p->width, p->height);
	buf_reserve(out, row * p->height);
	if (out->failed)
		return no_memory(e);
	for (uint32_t y = 0; y < p->height; y++, out->len += row)
		convert_row(p, y, out->data + out->len);
	return 0;
}

/*
 * PNG (ISO 15948) of one compressed piece. By hand, on zlib: the usual library needs the C library's
 * mathematics, a shared object more to load when an update starts this program.
 */
static void put_be32(uint8_t *p, uint32_t v)
{
	for (int i = 3; i >= 0; i--, v >>= 8)
		p[i] = (uint8_t)v;
}

/* Returns where the chunk begins: its length is known at its end. */
static size_t begin_chunk(struct buf *out, const char *kind)
{
	size_t at = out->len;

	buf_put_be32(out, 0);
	buf_put_str(out, kind);
	return at;
}

static void end_chunk(struct buf *out, size_t at)
{
	size_t n = out->len - at - 8;

	if (out->failed)
		return;
	put_be32(out->data + at, (uint32_t)n);
	buf_put_be32(out, (uint32_t)crc32_z(0, out->data + at + 4, n + 4));
}

/* Feeds @n bytes to the stream; what comes out is appended. */
static void deflate_into(z_stream *z, uint8_t *p, size_t n, bool last, struct buf *out)
{
	int r = Z_OK;

	z->next_in = p;
	z->avail_in = (uInt)n;
	do {
		buf_reserve(out, PIECE_BYTES);
		if (out->failed)
			return;
		z->next_out = out->data + out->len;
		z->avail_out = PIECE_BYTES;
		r = deflate(z, last ? Z_FINISH : Z_NO_FLUSH);
		out->len += PIECE_BYTES - z->avail_out;
	} while (r == Z_OK && !z->avail_out);
}

int picture_put_png(const struct picture *p, struct buf *out, struct err *e)
{
	static const uint8_t signature[8] = { 0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n' };
	static const uint8_t kind[5] = { 8, 2, 0, 0, 0 }; /* 8 bits of red, green and blue */
	size_t n = 1 + (size_t)p->width * RGB_BYTES, at;
	AUTO_FREE uint8_t *row = malloc(n);
	z_stream z = { 0 };

	if (!row || deflateInit(&z, COMPRESSION) != Z_OK)
		return no_memory(e);
	buf_put(out, signature, sizeof(signature));
	at = begin_chunk(out, "IHDR");
	buf_put_be32(out, p->width);
	buf_put_be32(out, p->height);
	buf_put(out, kind, sizeof(kind));
	end_chunk(out, at);
	at = begin_chunk(out, "IDAT");
	row[0] = 0; /* as it is, no filter */
	for (uint32_t y = 0; y < p->height; y++) {
		convert_row(p, y, row + 1);
		deflate_into(&z, row, n, y + 1 == p->height, out);
	}
	deflateEnd(&z);
	end_chunk(out, at);
	end_chunk(out, begin_chunk(out, "IEND"));
	return out->failed ? no_memory(e) : 0;
}
