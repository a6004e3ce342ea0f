/* SPDX-License-Identifier: MIT */
/* What fuzzing targets share: bytes that become numbers, and what must hold. */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Ends the program, which the fuzzer reports, unless @x holds. */
#define MUST(x)                           \
	do {                              \
		if (!(x))                 \
			__builtin_trap(); \
	} while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What is left of the input. Behind its end there are zeros. */
struct fuzz_bytes {
	const uint8_t *data;
	size_t left;
};

static inline size_t fuzz_take(struct fuzz_bytes *b, void *p, size_t n)
{
	size_t got = n < b->left ? n : b->left;

	memset(p, 0, n);
	if (got)
		memcpy(p, b->data, got);
	b->data += got;
	b->left -= got;
	return n;
}

static inline uint8_t fuzz_u8(struct fuzz_bytes *b)
{
	uint8_t v;

	fuzz_take(b, &v, sizeof(v));
	return v;
}

static inline uint16_t fuzz_u16(struct fuzz_bytes *b)
{
	uint16_t v;

	fuzz_take(b, &v, sizeof(v));
	return v;
}

static inline uint32_t fuzz_u32(struct fuzz_bytes *b)
{
	uint32_t v;

	fuzz_take(b, &v, sizeof(v));
	return v;
}

static inline uint64_t fuzz_u64(struct fuzz_bytes *b)
{
	uint64_t v;

	fuzz_take(b, &v, sizeof(v));
	return v;
}

#endif
