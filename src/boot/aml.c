/* SPDX-License-Identifier: MIT */
/* Writes ACPI Machine Language: the few objects a DSDT of ours is made of. */
#include <string.h>

#include "boot/aml.h"

enum aml_op {
	AML_ZERO = 0x00,
	AML_ONE = 0x01,
	AML_NAME = 0x08,
	AML_BYTE = 0x0a,
	AML_WORD = 0x0b,
	AML_DWORD = 0x0c,
	AML_STRING = 0x0d,
	AML_QWORD = 0x0e,
	AML_SCOPE = 0x10,
	AML_BUFFER = 0x11,
	AML_PACKAGE = 0x12,
	AML_METHOD = 0x14,
	AML_IF = 0xa0,
	AML_ELSE = 0xa1,
	AML_EXT = 0x5b,
	AML_EXT_DEVICE = 0x82,
};

enum aml_res_tag {
	AML_RES_IRQ_NO_FLAGS = 0x22,
	AML_RES_IO_PORT = 0x47,
	AML_RES_END_TAG = 0x79,
	AML_RES_FIXED_MEMORY32 = 0x86,
	AML_RES_DWORD = 0x87,
	AML_RES_WORD = 0x88,
	AML_RES_QWORD = 0x8a,
};

/* Address space descriptors; ACPI 6.4, section 6.4.3.5. */
enum aml_space {
	AML_SPACE_MEMORY = 0,
	AML_SPACE_PORTS = 1,
	AML_SPACE_BUSES = 2,

	AML_SPACE_FIXED = 0x0c,        /* both ends; decoded positively, by a bridge */
	AML_SPACE_MEMORY_WRITABLE = 1, /* not cacheable                              */
	AML_SPACE_PORTS_ALL = 3,
};

#define AML_NAME_SEG    4
#define AML_LENGTH_MAX  ((1u << 28) - 1)
#define AML_IO_DECODE16 1

static void aml_put_le(struct buf *out, uint64_t v, unsigned int bytes)
{
	for (unsigned int i = 0; i < bytes; i++)
		buf_put_u8(out, (uint8_t)(v >> (8 * i)));
}

static void aml_put_path(struct buf *out, const char *name)
{
	size_t n;

	if (*name == '\\') {
		buf_put_u8(out, '\\');
		name++;
	}
	n = strlen(name);
	if (!n || n > AML_NAME_SEG) {
		out->failed = true;
		return;
	}
	buf_put(out, name, n);
	for (; n < AML_NAME_SEG; n++)
		buf_put_u8(out, '_');
}

size_t aml_begin_scope(struct buf *out, const char *name)
{
	size_t start;

	buf_put_u8(out, AML_SCOPE);
	start = out->len;
	aml_put_path(out, name);
	return start;
}

size_t aml_begin_device(struct buf *out, const char *name)
{
	size_t start;

	buf_put_u8(out, AML_EXT);
	buf_put_u8(out, AML_EXT_DEVICE);
	start = out->len;
	aml_put_path(out, name);
	return start;
}

size_t aml_begin_method(struct buf *out, const char *name, uint8_t args)
{
	size_t start;

	buf_put_u8(out, AML_METHOD);
	start = out->len;
	aml_put_path(out, name);
	buf_put_u8(out, args);
	return start;
}

size_t aml_begin_if(struct buf *out)
{
	buf_put_u8(out, AML_IF);
	return out->len;
}

size_t aml_begin_else(struct buf *out)
{
	buf_put_u8(out, AML_ELSE);
	return out->len;
}

size_t aml_begin_package(struct buf *out, uint8_t count)
{
	size_t start;

	buf_put_u8(out, AML_PACKAGE);
	start = out->len;
	buf_put_u8(out, count);
	return start;
}

/*
 * The length in front of a body counts itself and takes one byte up to 63, else
 * two to four, the first of which holds the low four bits. It is known only
 * now, so the body moves up to make room.
 */
void aml_end(struct buf *out, size_t start)
{
	size_t body, total;
	unsigned int n = 1;
	uint8_t len[4];

	if (out->failed || start > out->len) {
		out->failed = true;
		return;
	}
	body = out->len - start;
	if (body + sizeof(len) > AML_LENGTH_MAX) {
		out->failed = true;
		return;
	}
	if (body + 1 >= 1u << 6)
		n = 2;
	if (n == 2 && body + 2 >= 1u << 12)
		n = 3;
	if (n == 3 && body + 3 >= 1u << 20)
		n = 4;
	total = body + n;
	if (n == 1) {
		len[0] = (uint8_t)total;
	} else {
		len[0] = (uint8_t)((n - 1) << 6 | (total & 0xf));
		for (unsigned int i = 1; i < n; i++)
			len[i] = (uint8_t)(total >> (8 * i - 4));
	}
	buf_put(out, len, n);
	if (out->failed)
		return;
	memmove(out->data + start + n, out->data + start, body);
	memcpy(out->data + start, len, n);
}

void aml_put_code(struct buf *out, enum aml_code code)
{
	buf_put_u8(out, (uint8_t)code);
}

void aml_put_ref(struct buf *out, const char *name)
{
	aml_put_path(out, name);
}

void aml_put_name(struct buf *out, const char *name)
{
	buf_put_u8(out, AML_NAME);
	aml_put_path(out, name);
}

void aml_put_int(struct buf *out, uint64_t value)
{
	if (value <= 1) {
		buf_put_u8(out, value ? AML_ONE : AML_ZERO);
	} else if (value <= UINT8_MAX) {
		buf_put_u8(out, AML_BYTE);
		aml_put_le(out, value, 1);
	} else if (value <= UINT16_MAX) {
		buf_put_u8(out, AML_WORD);
		aml_put_le(out, value, 2);
	} else if (value <= UINT32_MAX) {
		buf_put_u8(out, AML_DWORD);
		aml_put_le(out, value, 4);
	} else {
		buf_put_u8(out, AML_QWORD);
		aml_put_le(out, value, 8);
	}
}

void aml_put_str(struct buf *out, const char *s)
{
	buf_put_u8(out, AML_STRING);
	buf_put(out, s, strlen(s) + 1);
}

static int aml_hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* Five bits a letter ('A' is 1), four a digit, most significant first, stored big-endian. */
void aml_put_eisa_id(struct buf *out, const char *id)
{
	uint32_t v = 0;

	if (strlen(id) != 7) {
		out->failed = true;
		return;
	}
	for (unsigned int i = 0; i < 7; i++) {
		int digit = i < 3 ? id[i] - 'A' + 1 : aml_hex_digit(id[i]);

		if (digit < 0 || (i < 3 && (digit < 1 || digit > 26))) {
			out->failed = true;
			return;
		}
		v = v << (i < 3 ? 5 : 4) | (uint32_t)digit;
	}
	buf_put_u8(out, AML_DWORD);
	buf_put_be32(out, v);
}

void aml_put_buffer(struct buf *out, const struct buf *body)
{
	size_t start;

	if (body->failed) {
		out->failed = true;
		return;
	}
	buf_put_u8(out, AML_BUFFER);
	start = out->len;
	aml_put_int(out, body->len);
	buf_put(out, body->data, body->len);
	aml_end(out, start);
}

void aml_res_io(struct buf *res, uint16_t base, uint8_t length)
{
	buf_put_u8(res, AML_RES_IO_PORT);
	buf_put_u8(res, AML_IO_DECODE16);
	aml_put_le(res, base, 2); /* lowest base */
	aml_put_le(res, base, 2); /* highest base */
	buf_put_u8(res, 1);       /* alignment */
	buf_put_u8(res, length);
}

void aml_res_irq(struct buf *res, unsigned int irq)
{
	buf_put_u8(res, AML_RES_IRQ_NO_FLAGS);
	aml_put_le(res, UINT64_C(1) << irq, 2);
}

/* @bytes: of each number; the descriptor's own length counts what follows it. */
static void aml_res_space(struct buf *res, uint8_t tag, unsigned int bytes, enum aml_space kind,
			  uint8_t flags, uint64_t first, uint64_t last)
{
	buf_put_u8(res, tag);
	aml_put_le(res, 3 + 5 * bytes, 2);
	buf_put_u8(res, (uint8_t)kind);
	buf_put_u8(res, AML_SPACE_FIXED);
	buf_put_u8(res, flags);
	aml_put_le(res, 0, bytes); /* granularity */
	aml_put_le(res, first, bytes);
	aml_put_le(res, last, bytes);
	aml_put_le(res, 0, bytes); /* translation */
	aml_put_le(res, last - first + 1, bytes);
}

void aml_res_buses(struct buf *res, uint8_t first, uint8_t last)
{
	aml_res_space(res, AML_RES_WORD, 2, AML_SPACE_BUSES, 0, first, last);
}

void aml_res_ports(struct buf *res, uint16_t first, uint16_t last)
{
	aml_res_space(res, AML_RES_WORD, 2, AML_SPACE_PORTS, AML_SPACE_PORTS_ALL, first, last);
}

void aml_res_memory(struct buf *res, uint32_t first, uint32_t last)
{
	aml_res_space(res, AML_RES_DWORD, 4, AML_SPACE_MEMORY, AML_SPACE_MEMORY_WRITABLE, first,
		      last);
}

void aml_res_memory64(struct buf *res, uint64_t first, uint64_t last)
{
	aml_res_space(res, AML_RES_QWORD, 8, AML_SPACE_MEMORY, AML_SPACE_MEMORY_WRITABLE, first,
		      last);
}

void aml_res_fixed_memory(struct buf *res, uint32_t base, uint32_t length)
{
	buf_put_u8(res, AML_RES_FIXED_MEMORY32);
	aml_put_le(res, 9, 2);
	buf_put_u8(res, AML_SPACE_MEMORY_WRITABLE);
	aml_put_le(res, base, 4);
	aml_put_le(res, length, 4);
}

void aml_res_end(struct buf *res)
{
	buf_put_u8(res, AML_RES_END_TAG);
	buf_put_u8(res, 0); /* checksum; 0 means: treat as right */
}
