/* SPDX-License-Identifier: MIT */
/* The error record: one sentence that says what was attempted, on what, and why it failed. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"

static void append_reason(struct err *e, int code)
{
	size_t n = strlen(e->msg);
	char buf[128];

	snprintf(e->msg + n, sizeof(e->msg) - n, ": %s", strerror_r(code, buf, sizeof(buf)));
}

int err_set(struct err *e, int code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(e->msg, sizeof(e->msg), fmt, ap);
	va_end(ap);
	e->code = code > 0 ? code : EINVAL;
	return -e->code;
}

int err_set_errno(struct err *e, const char *fmt, ...)
{
	int code = errno;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(e->msg, sizeof(e->msg), fmt, ap);
	va_end(ap);
	e->code = code > 0 ? code : EIO;
	append_reason(e, e->code);
	return -e->code;
}

int err_set_code(struct err *e, int code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(e->msg, sizeof(e->msg), fmt, ap);
	va_end(ap);
	e->code = code > 0 ? code : EIO;
	append_reason(e, e->code);
	return -e->code;
}

int err_prefix(struct err *e, const char *fmt, ...)
{
	char old[sizeof(e->msg)];
	va_list ap;
	size_t n;

	memcpy(old, e->msg, sizeof(old));
	va_start(ap, fmt);
	vsnprintf(e->msg, sizeof(e->msg), fmt, ap);
	va_end(ap);
	n = strlen(e->msg);
	snprintf(e->msg + n, sizeof(e->msg) - n, ": %s", old);
	return -e->code;
}
