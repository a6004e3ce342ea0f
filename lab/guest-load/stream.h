/* SPDX-License-Identifier: MIT */
/* Bytes and lines that follow from a seed and a place, so that either end can tell one amiss. */
#ifndef LAB_GUEST_LOAD_STREAM_H
#define LAB_GUEST_LOAD_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	STREAM_LINE_MAX = 192, /* bytes of a numbered line, newline and NUL included */
};

/* What opens a TCP connection: the seeds of both directions. */
struct stream_hello {
	uint64_t to_server, to_client;
};

/* The word at that place. */
uint64_t stream_word(uint64_t seed, uint64_t index);

/* The bytes of the stream from byte @at on. */
void stream_fill(void *buf, size_t len, uint64_t seed, uint64_t at);

/* True if these are the bytes from @at on; else *bad is the place of the first that differs. */
bool stream_check(const void *buf, size_t len, uint64_t seed, uint64_t at, uint64_t *bad);

/* A line that says its number; its length and text follow from it. Returns the length. */
size_t stream_line(char buf[STREAM_LINE_MAX], uint64_t number);

#endif
