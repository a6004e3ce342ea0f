/* SPDX-License-Identifier: MIT */
/* The error record: one sentence that says what was attempted, on what, and why it failed. */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include <stdbool.h>

/*
 * A function that can fail for more than one reason takes a struct err * as its
 * last parameter, returns 0 (or a non-negative value) on success and -errno on
 * failure. On failure its other outputs are untouched and the record is filled
 * exactly once; it does not log. Whoever drops an error logs it. The caller
 * owns the record, usually on its stack; it needs no clean-up.
 */
struct err {
	int code;       /* errno value, positive; 0 while nothing went wrong */
	char msg[1024]; /* one sentence without a full stop, cut if longer   */
};

#define ERR_INIT          \
	{                 \
		.code = 0 \
	}

/* Fills @e with @code and the formatted text. Returns -@code, so callers `return err_set(...)`. */
int err_set(struct err *e, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* As err_set() with @code = errno, and ": <strerror>" appended to the text. */
int err_set_errno(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* As err_set_errno() for an errno value that is at hand instead of in errno. */
int err_set_code(struct err *e, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Puts the formatted text and ": " before the text @e holds. Returns -e->code. */
int err_prefix(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
