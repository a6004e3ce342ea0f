/* SPDX-License-Identifier: MIT */
/* Trace points: which are enabled, and the log's back end. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/trace.h"
#include "base/util.h"

struct trace_control trace_control = { .fd = STDERR_FILENO };

static const char *const names[TRACE_COUNT] = {
#define EVENT(name, format, ...) [TRACE_##name] = #name,
#include "base/trace_events.h"
#undef EVENT
};

const char *trace_name(unsigned int id)
{
	return id < TRACE_COUNT ? names[id] : NULL;
}

bool trace_get(unsigned int id)
{
	return id < TRACE_COUNT && trace_is_on((enum trace_id)id);
}

bool trace_is_pattern(const char *text)
{
	return strpbrk(text, "*?");
}

/* Only the last star may have to take more: what came before it has matched already. */
bool trace_glob(const char *pattern, const char *name)
{
	const char *after_star = NULL, *resume = NULL;

	while (*name) {
		if (*pattern == '*') {
			after_star = ++pattern;
			resume = name;
		} else if (*pattern == '?' || *pattern == *name) {
			pattern++;
			name++;
		} else if (after_star) {
			pattern = after_star;
			name = ++resume;
		} else {
			return false;
		}
	}
	return !pattern[strspn(pattern, "*")];
}

unsigned int trace_set(const char *pattern, bool on)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < TRACE_COUNT; i++) {
		if (!trace_glob(pattern, names[i]))
			continue;
		__atomic_store_n(&trace_control.on[i], on, __ATOMIC_RELAXED);
		n++;
	}
	return n;
}

void trace_write(enum trace_id id, const char *fmt, ...)
{
	int saved_errno = errno;
	struct timespec now;
	char line[1536];
	va_list ap;
	size_t n = 0;

	clock_gettime(CLOCK_REALTIME, &now);
	if (!trace_control.plain_events)
		n = (size_t)snprintf(line, sizeof(line), "%d@%lld.%06ld:", getpid(),
				     (long long)now.tv_sec, now.tv_nsec / 1000);
	n += (size_t)snprintf(line + n, sizeof(line) - n, "%s", names[id]);
	va_start(ap, fmt);
	vsnprintf(line + n, sizeof(line) - n - 1, fmt, ap);
	va_end(ap);
	n = strlen(line);
	/* Names may come from a stream: what they hold shall not look like a line of ours. */
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)line[i] < ' ' || line[i] == 0x7f)
			line[i] = '.';
	line[n++] = '\n';
	if (write(trace_control.fd, line, n) < 0)
		errno = saved_errno;
	errno = saved_errno;
}
