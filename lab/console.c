/* SPDX-License-Identifier: MIT */
/* Reads guestwatch's lines and judges each against the one before. */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lab/console.h"

enum {
	RATE_WANTED = 1000, /* ticks of a 100 Hz timer in 10 s */
	RATE_SLACK = 10,    /* 1 % */
	CLK_SETTLED = 3,    /* lines after which a booted kernel keeps its clock source */
	UNCOUNTED_LINES = 15,
};

uint64_t lab_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

void verdict_fault(struct verdict *v, enum lab_check check, const char *fmt, ...)
{
	char text[sizeof(v->first[0])];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	pthread_mutex_lock(&v->lock);
	if (v->faults[check]++ == 0)
		memcpy(v->first[check], text, sizeof(text));
	if (v->faults[check] <= 10)
		printf("drive: FAULT: %s\n", text);
	pthread_mutex_unlock(&v->lock);
}

/* Finds " key=" in a line and returns what follows; NULL if it is not there. */
static const char *field(const char *line, const char *key)
{
	char pattern[32];
	const char *at;
	int n = snprintf(pattern, sizeof(pattern), " %s=", key);

	at = strstr(line, pattern);
	return at ? at + n : NULL;
}

static bool field_u64(const char *line, const char *key, uint64_t *value)
{
	const char *at = field(line, key);
	char *end;

	if (!at)
		return false;
	errno = 0;
	*value = strtoull(at, &end, strcmp(key, "hash") ? 10 : 16);
	return end != at && !errno && (*end == ' ' || *end == '\0');
}

static bool field_double(const char *line, const char *key, double *value)
{
	const char *at = field(line, key);
	char *end;

	if (!at)
		return false;
	*value = strtod(at, &end);
	return end != at && (*end == ' ' || *end == '\0');
}

static bool report_parse(const char *line, struct report *r)
{
	const char *clk = field(line, "clk"), *sum = field(line, "sum");
	uint64_t cpus;
	double rate;

	if (!clk || !sum || !field_u64(line, "n", &r->n) || !field_double(line, "up", &r->up_s) ||
	    !field_double(line, "real", &r->real_s) || !field_u64(line, "count", &r->count) ||
	    !field_u64(line, "cpus", &cpus) || !field_u64(line, "hash", &r->hash) ||
	    !field_u64(line, "pass", &r->pass) || !field_u64(line, "back", &r->back) ||
	    !field_u64(line, "gap_us", &r->gap_us) ||
	    !field_u64(line, "tscgap_us", &r->tscgap_us) || !field_u64(line, "ticks", &r->ticks) ||
	    !field_u64(line, "wakes", &r->wakes) || !field_double(line, "rate", &rate) ||
	    !field_u64(line, "windows", &r->windows) || !field_u64(line, "kmsg", &r->kmsg) ||
	    !field_u64(line, "slow", &r->slow))
		return false;
	r->rate = (int64_t)rate;
	r->cpus = (int)cpus;
	r->sum_ok = strncmp(sum, "OK ", 3) == 0;
	snprintf(r->clk, sizeof(r->clk), "%s", clk);
	return true;
}

/* What must be true of any report, and of any two in a row. */
static void report_judge(struct console *c, const struct report *r)
{
	const struct report *l = &c->last;
	struct verdict *v = c->verdict;

	if (!r->sum_ok)
		verdict_fault(v, CHECK_MEMORY, "line %" PRIu64 ": the pattern is damaged", r->n);
	if (r->back > (c->reports ? l->back : 0))
		verdict_fault(v, CHECK_CLOCK_STEP, "line %" PRIu64 ": %" PRIu64 " clock steps back",
			      r->n, r->back);
	if (r->kmsg > (c->reports ? l->kmsg : 0))
		verdict_fault(v, CHECK_KERNEL, "line %" PRIu64 ": %" PRIu64 " kernel warnings",
			      r->n, r->kmsg);
	if (r->slow > (c->reports ? l->slow : 0) && !c->slow_host)
		verdict_fault(v, CHECK_KERNEL, "line %" PRIu64 ": slow timer interrupts or clocks",
			      r->n);
	if (r->windows &&
	    (r->rate < RATE_WANTED - RATE_SLACK || r->rate > RATE_WANTED + RATE_SLACK) &&
	    r->windows != l->windows)
		verdict_fault(v, CHECK_TIMER, "line %" PRIu64 ": %" PRId64 " ticks in 10 s, not %d",
			      r->n, r->rate, RATE_WANTED);
	c->still_lines = r->cpus == c->smp ? 0 : c->still_lines + 1;
	if (c->still_lines == 2)
		verdict_fault(v, CHECK_VCPUS, "line %" PRIu64 ": %d of %d vCPUs move", r->n,
			      r->cpus, c->smp);
	if (!c->reports)
		return;
	/* In a busy guest whoever counts may have no processor for some seconds. */
	c->uncounted_lines = r->count == l->count ? c->uncounted_lines + 1 : 0;
	if (r->n != l->n + 1 || r->count < l->count || c->uncounted_lines == UNCOUNTED_LINES)
		verdict_fault(v, CHECK_COUNTER,
			      "line %" PRIu64 " count %" PRIu64 " after line %" PRIu64
			      " count %" PRIu64,
			      r->n, r->count, l->n, l->count);
	if (r->up_s <= l->up_s || r->real_s <= l->real_s)
		verdict_fault(v, CHECK_CLOCK_STEP, "line %" PRIu64 ": up %.3f after %.3f", r->n,
			      r->up_s, l->up_s);
	if (l->pass && r->hash != l->hash)
		verdict_fault(v, CHECK_MEMORY,
			      "line %" PRIu64 ": hash %016" PRIx64 " after %016" PRIx64, r->n,
			      r->hash, l->hash);
	if (l->n >= CLK_SETTLED && strcmp(r->clk, l->clk))
		verdict_fault(v, CHECK_KERNEL, "line %" PRIu64 ": clock source %s after %s", r->n,
			      r->clk, l->clk);
}

double console_offset_s(const struct console *c)
{
	double min = c->offsets_s[0];

	for (int i = 1; i < OFFSET_LINES; i++)
		min = c->offsets_s[i] < min ? c->offsets_s[i] : min;
	return min;
}

static void console_report(struct console *c, const char *line)
{
	struct report r = { .host_ns = lab_now_ns() };
	uint64_t gap;

	if (!report_parse(line, &r)) {
		verdict_fault(c->verdict, CHECK_COUNTER, "cannot read this line: %s", line);
		return;
	}
	report_judge(c, &r);
	gap = r.gap_us > r.tscgap_us ? r.gap_us : r.tscgap_us;
	if (c->reports && gap > c->max_gap_us)
		c->max_gap_us = gap;
	if (r.windows && (!c->rate_max || r.rate < c->rate_min))
		c->rate_min = r.rate;
	if (r.windows && r.rate > c->rate_max)
		c->rate_max = r.rate;
	c->last = r;
	c->offsets_s[c->reports++ % OFFSET_LINES] = (double)r.host_ns / 1e9 - r.up_s;
	if (c->reports == OFFSET_LINES)
		c->offset_first_s = console_offset_s(c);
	c->started = true;
}

static void console_line(struct console *c, const char *line)
{
	const char *cut = strstr(line, " cpus=");
	bool report = strncmp(line, "guestwatch: n=", 14) == 0;
	bool watch = strncmp(line, "guestwatch: ", 12) == 0;

	if (report && cut && c->echo == ECHO_SHORT)
		printf("  guest> %.*s\n", (int)(cut - line), line);
	else if (c->echo == ECHO_ALL || !report)
		printf("  guest> %s\n", line);
	fflush(stdout);
	if (report)
		console_report(c, line);
	else if (c->started && !c->ending && !watch && line[0])
		verdict_fault(c->verdict, CHECK_KERNEL, "the console says: %s", line);
}

void console_pump(struct console *c)
{
	char buf[4096];
	ssize_t n;

	while ((n = read(c->out_fd, buf, sizeof(buf))) > 0) {
		for (ssize_t i = 0; i < n; i++) {
			if (buf[i] == '\r')
				continue;
			if (buf[i] != '\n' && c->line_len < sizeof(c->line) - 1) {
				c->line[c->line_len++] = buf[i];
				continue;
			}
			c->line[c->line_len] = '\0';
			c->line_len = 0;
			console_line(c, c->line);
		}
	}
}

bool console_wait(struct console *c, int fd, int timeout_ms)
{
	uint64_t end = lab_now_ns() + (uint64_t)timeout_ms * 1000000;

	for (;;) {
		struct pollfd p[2] = {
			{ .fd = c->out_fd, .events = POLLIN },
			{ .fd = fd, .events = POLLIN },
		};
		uint64_t now = lab_now_ns();
		int left_ms = now < end ? (int)((end - now + 999999) / 1000000) : 0;

		if (poll(p, 2, left_ms) < 0 && errno != EINTR)
			return false;
		if (p[0].revents & (POLLIN | POLLHUP))
			console_pump(c);
		if (fd >= 0 && p[1].revents)
			return true;
		if (lab_now_ns() >= end)
			return false;
	}
}

bool console_wait_prompt(struct console *c, const char *text, int timeout_ms)
{
	uint64_t end = lab_now_ns() + (uint64_t)timeout_ms * 1000000;
	size_t len = strlen(text);

	while (c->line_len < len || memcmp(c->line + c->line_len - len, text, len) != 0) {
		if (lab_now_ns() > end)
			return false;
		console_wait(c, -1, 100);
	}
	return true;
}

void console_send(struct console *c, const char *text)
{
	if (write(c->in_fd, text, strlen(text)) < 0)
		printf("drive: cannot write to the guest's console: %s\n", strerror(errno));
}
