/* SPDX-License-Identifier: MIT */
/* Bytes and lines that follow from a seed and a place, so that either end can tell one amiss. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lab/guest-load/stream.h"

enum {
	LINE_TEXT_MIN = 10,
	LINE_TEXT_RANGE = 120,
};

uint64_t stream_word(uint64_t seed, uint64_t index)
{
	uint64_t x = (seed ^ index) * 0x9e3779b97f4a7c15 + index;

	x ^= x >> 31;
	return x * 0xbf58476d1ce4e5b9;
}

static uint8_t stream_byte(uint64_t seed, uint64_t at)
{
	return (uint8_t)(stream_word(seed, at / 8) >> at % 8 * 8);
}

void stream_fill(void *buf, size_t len, uint64_t seed, uint64_t at)
{
	uint8_t *p = buf;

	while (len && at % 8) {
		*p++ = stream_byte(seed, at++);
		len--;
	}
	for (; len >= 8; p += 8, at += 8, len -= 8) {
		uint64_t w = stream_word(seed, at / 8);

		memcpy(p, &w, 8);
	}
	while (len--)
		*p++ = stream_byte(seed, at++);
}

bool stream_check(const void *buf, size_t len, uint64_t seed, uint64_t at, uint64_t *bad)
{
	const uint8_t *p = buf;
	size_t i = 0;

	while (i < len) {
		uint64_t w;

		if ((at + i) % 8 == 0 && len - i >= 8) {
			memcpy(&w, p + i, 8);
			if (w == stream_word(seed, (at + i) / 8)) {
				i += 8;
				continue;
			}
		}
		if (p[i] != stream_byte(seed, at + i)) {
			*bad = at + i;
			return false;
		}
		i++;
	}
	return true;
}

size_t stream_line(char buf[STREAM_LINE_MAX], uint64_t number)
{
	size_t n = (size_t)snprintf(buf, 32, "line %" PRIu64 " ", number);
	size_t end = n + LINE_TEXT_MIN + stream_word(number, 0) % LINE_TEXT_RANGE;

	for (size_t i = n; i < end; i++)
		buf[i] = (char)('a' + stream_word(number, i) % 26);
	buf[end] = '\n';
	buf[end + 1] = '\0';
	return end + 1;
}
