/* SPDX-License-Identifier: MIT */
/* What the programs here have in common: how they say what they found. */
#ifndef DOCS_KERNEL_BEHAVIOUR_FACT_H
#define DOCS_KERNEL_BEHAVIOUR_FACT_H

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Each prints one line; exit status 0, 1, 77. */
#define HOLDS(...) fact_end("holds", 0, __VA_ARGS__)
#define FAILS(...) fact_end("DOES NOT HOLD", 1, __VA_ARGS__)
#define SKIPS(...) fact_end("SKIPPED", 77, __VA_ARGS__)
/* A call that is no part of the fact, without which it cannot be looked at. */
#define NEED(call)                                               \
	({                                                       \
		__auto_type need_ = (call);                      \
		if (need_ == (__typeof__(need_))-1)              \
			SKIPS("%s: %s", #call, strerror(errno)); \
		need_;                                           \
	})
/* Something that is part of it. */
#define CHECK(condition)                                                       \
	do {                                                                   \
		if (!(condition))                                              \
			FAILS("not so: %s (%s)", #condition, strerror(errno)); \
	} while (0)

__attribute__((format(printf, 3, 4), noreturn)) static inline void fact_end(const char *word,
									    int status,
									    const char *format, ...)
{
	char text[400];
	__builtin_va_list ap;

	__builtin_va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	__builtin_va_end(ap);
	printf("%s: %s\n", word, text);
	fflush(stdout);
	_exit(status);
}

static inline double fact_now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

#endif
