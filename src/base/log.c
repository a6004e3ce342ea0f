/* SPDX-License-Identifier: MIT */
/* Messages for the operator, on standard error. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/trace.h"
#include "base/util.h"

/* The time of day in UTC, as `-msg timestamp=on` wants it before each message. */
static size_t put_time(char *to, size_t room)
{
	struct timespec now;
	struct tm tm;
	size_t n;

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	n = strftime(to, room, "%Y-%m-%dT%H:%M:%S", &tm);
	return n + (size_t)snprintf(to + n, room - n, ".%06ldZ ", now.tv_nsec / 1000);
}

static void __attribute__((format(printf, 2, 0)))
log_line(const char *level, const char *fmt, va_list ap)
{
	int saved_errno = errno;
	char line[1536];
	size_t n = trace_control.stamp_messages ? put_time(line, 64) : 0;

	n += (size_t)snprintf(line + n, sizeof(line) - n, "baton: %s", level);
	vsnprintf(line + n, sizeof(line) - n - 1, fmt, ap);
	n = strlen(line);
	line[n++] = '\n';
	/* Nowhere left to complain to if standard error is gone. */
	if (write(STDERR_FILENO, line, n) < 0)
		errno = saved_errno;
	errno = saved_errno;
}

void log_error(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	log_line("", fmt, ap);
	va_end(ap);
}

void log_warn(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	log_line("warning: ", fmt, ap);
	va_end(ap);
}

void log_info(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	log_line("info: ", fmt, ap);
	va_end(ap);
}
