/* SPDX-License-Identifier: MIT */
/* Guestwatch's threads beside the workers: the timer, the kernel's log. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "guestwatch.h"

enum {
	TICK_NS = 10000000
};

static const uint64_t rate_window_ns = 10000000000;

void *gw_timer_main(void *arg)
{
	struct watch *w = arg;
	struct gw_timer *t = &w->timer;
	const struct itimerspec every = {
		.it_value = { .tv_nsec = TICK_NS },
		.it_interval = { .tv_nsec = TICK_NS },
	};
	const struct sched_param prio = { .sched_priority = 50 };
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	uint64_t since, ticks_then = 0;

	pthread_setschedparam(pthread_self(), SCHED_FIFO, &prio);
	if (fd < 0 || timerfd_settime(fd, 0, &every, NULL) < 0) {
		gw_say(w, "guestwatch: no timer: %s", strerror(errno));
		return NULL;
	}
	since = gw_clock_ns(CLOCK_MONOTONIC);
	for (;;) {
		uint64_t expired, elapsed;

		if (read(fd, &expired, sizeof(expired)) != sizeof(expired))
			continue;
		t->ticks += expired;
		t->wakes++;
		elapsed = gw_clock_ns(CLOCK_MONOTONIC) - since;
		if (elapsed < rate_window_ns)
			continue;
		t->rate = (int64_t)((double)(t->ticks - ticks_then) * 1e10 / (double)elapsed + 0.5);
		t->windows++;
		ticks_then = t->ticks;
		since += elapsed;
	}
	return NULL;
}

/* True for a line of the kernel's log that means something is wrong. */
static bool is_alarm(int level, const char *text)
{
	static const char *const words[] = {
		"WARNING:",  "BUG:",     "Oops",       "stall",    "nobody cared",
		"lockup",    "unstable", "Call Trace", "hung",     "time jumped",
		"Unhandled", "skew",     "backward",   "irq trap",
	};

	if (level <= 4)
		return true;
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strstr(text, words[i]))
			return true;
	return false;
}

/* What the kernel says where a vCPU has to wait for a processor. */
static bool is_of_slow_host(const char *text)
{
	return strstr(text, "hrtimer: interrupt took") ||
	       strstr(text, "clocksource: Long readout interval");
}

/*
 * Lines from before the start are the boot's: alarming ones are printed, not
 * counted. Each record starts "priority,sequence,time_us,flags;text".
 */
void *gw_kmsg_main(void *arg)
{
	struct watch *w = arg;
	int fd = open("/dev/kmsg", O_RDONLY | O_CLOEXEC);
	uint64_t start_us = gw_clock_ns(CLOCK_MONOTONIC) / 1000;
	char rec[4096];

	if (fd < 0) {
		gw_say(w, "guestwatch: no /dev/kmsg: %s", strerror(errno));
		w->kmsg_lines++;
		return NULL;
	}
	for (;;) {
		ssize_t n = read(fd, rec, sizeof(rec) - 1);
		unsigned int priority;
		unsigned long long seq, time_us;
		char *text;

		if (n < 0 && errno != EPIPE && errno != EINTR)
			break;
		if (n <= 0)
			continue;
		rec[n] = '\0';
		text = strchr(rec, ';');
		if (!text || sscanf(rec, "%u,%llu,%llu", &priority, &seq, &time_us) != 3)
			continue;
		*text++ = '\0';
		text[strcspn(text, "\n")] = '\0';
		if (priority >> 3 || w->ending || !is_alarm(priority & 7, text))
			continue;
		if (time_us >= start_us && is_of_slow_host(text))
			w->slow_lines++;
		else if (time_us >= start_us)
			w->kmsg_lines++;
		gw_say(w, "guestwatch: %s <%u> [%llu.%06llu] %s",
		       time_us >= start_us ? "kernel:" : "boot:", priority & 7, time_us / 1000000,
		       time_us % 1000000, text);
	}
	return NULL;
}
