/* SPDX-License-Identifier: MIT */
/* Runs in the lab's Linux guest and says once a second how the guest is. */
/*
 * DOC: theory of operation
 *
 * One worker a vCPU, pinned, is busy nine tenths of the time: it samples the
 * clocks, verifies a page of a 64 MiB pattern, verifies and rewrites a page
 * of its own, counts, and starts over. So the largest distance between two
 * samples is the pause of an update as the guest saw it, and never less;
 * a sleep of 1 ms in every ten makes the vCPU halt and wake as well.
 *
 * The main thread prints one line a second. Fields:
 *   n            number of the line, from 1
 *   up           CLOCK_MONOTONIC, seconds
 *   count        rounds of all workers
 *   sum          OK, or BAD if a page or a register of the FPU was ever wrong
 *   hash         of the pattern, as read in the last complete pass; the
 *                pattern's seed is new at each boot
 *   pass         complete passes over the pattern
 *   cpus         workers that moved since the last line
 *   real         CLOCK_REALTIME, seconds
 *   back         steps back of a clock, on one vCPU or between two, or of a vCPU's
 *                time stamp counter
 *   gap_us       largest distance between two samples since the last line
 *   tscgap_us    the same by the time stamp counter
 *   ticks, wakes of a 100 Hz timer: expirations, and wake-ups for them
 *   rate         ticks in the last window of 10 s; -1 before the first ended
 *   windows      such windows so far
 *   kmsg         warnings of the kernel since the start
 *   slow         times it said that a timer interrupt or reading a clock took long, which is
 *                true of a vCPU that has to wait for a processor; not in kmsg
 *   clk          the kernel's clock source
 *
 * "poweroff" on the console ends the guest.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/klog.h>
#include <sys/reboot.h>
#include <sys/utsname.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "guestwatch.h"

void gw_say(struct watch *w, const char *fmt, ...)
{
	char line[512];
	va_list ap;
	int n, done = 0;

	va_start(ap, fmt);
	n = vsnprintf(line, sizeof(line) - 1, fmt, ap);
	va_end(ap);
	if (n > (int)sizeof(line) - 2)
		n = sizeof(line) - 2;
	line[n++] = '\n';

	pthread_mutex_lock(&w->tty_lock);
	while (done < n) {
		ssize_t r = write(w->tty, line + done, n - done);

		if (r < 0 && errno != EINTR)
			break;
		if (r > 0)
			done += r;
	}
	pthread_mutex_unlock(&w->tty_lock);
}

static void open_console(struct watch *w, const char *path)
{
	struct termios tio;

	w->tty = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (w->tty < 0)
		w->tty = STDOUT_FILENO;
	if (tcgetattr(w->tty, &tio) == 0) {
		cfmakeraw(&tio);
		tio.c_cflag |= CLOCAL | CREAD;
		tcsetattr(w->tty, TCSANOW, &tio);
	}
}

static void read_clocksource(char *name, size_t size)
{
	int fd = open("/sys/devices/system/clocksource/clocksource0/current_clocksource",
		      O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, name, size - 1);

	if (fd >= 0)
		close(fd);
	name[n > 0 ? n : 0] = '\0';
	name[strcspn(name, "\n")] = '\0';
	if (!name[0])
		snprintf(name, size, "?");
}

static void start_thread(pthread_t *t, void *(*fn)(void *), void *arg)
{
	int r = pthread_create(t, NULL, fn, arg);

	if (r) {
		fprintf(stderr, "guestwatch: cannot start a thread: %s\n", strerror(r));
		exit(1);
	}
}

/* Both clocks at one moment: the tightest of some tries, for we may be preempted. */
static void read_both(uint64_t *cycles, uint64_t *ns)
{
	uint64_t best = UINT64_MAX;

	for (int i = 0; i < 50; i++) {
		uint64_t before = gw_cycles(), t = gw_clock_ns(CLOCK_MONOTONIC);
		uint64_t took = gw_cycles() - before;

		if (took >= best)
			continue;
		best = took;
		*cycles = before + took / 2;
		*ns = t;
	}
}

static void calibrate_cycles(struct watch *w)
{
	uint64_t c0 = 0, c1 = 0, t0 = 0, t1 = 0;

	read_both(&c0, &t0);
	usleep(200000);
	read_both(&c1, &t1);
	w->cycles_per_us = (double)(c1 - c0) * 1000 / (double)(t1 - t0);
}

static void print_line(struct watch *w, uint64_t n, uint64_t *last_counts)
{
	uint64_t count = 0, gap_ns = 0, gap_cycles = 0;
	uint64_t up = gw_clock_ns(CLOCK_MONOTONIC), real = gw_clock_ns(CLOCK_REALTIME);
	char clk[32];
	int moved = 0;

	for (int i = 0; i < w->ncpus; i++) {
		struct gw_worker *k = &w->workers[i];
		uint64_t c = k->count, g = atomic_exchange(&k->gap_ns, 0);
		uint64_t gc = atomic_exchange(&k->gap_cycles, 0);

		moved += c != last_counts[i];
		last_counts[i] = c;
		count += c;
		gap_ns = g > gap_ns ? g : gap_ns;
		gap_cycles = gc > gap_cycles ? gc : gap_cycles;
	}
	if (w->clocks.steps_back != w->clocks.steps_told) {
		w->clocks.steps_told = w->clocks.steps_back;
		gw_say(w, "guestwatch: clock %d stepped back by %llu", w->clocks.step_clock,
		       (unsigned long long)w->clocks.step);
	}
	read_clocksource(clk, sizeof(clk));
	gw_say(w,
	       "guestwatch: n=%llu up=%.3f count=%llu sum=%s hash=%016llx pass=%llu cpus=%d "
	       "real=%.3f back=%llu gap_us=%llu tscgap_us=%.0f ticks=%llu wakes=%llu rate=%lld "
	       "windows=%llu kmsg=%llu slow=%llu clk=%s",
	       (unsigned long long)n, up / 1e9, (unsigned long long)count,
	       w->pattern.bad_pages ? "BAD" : "OK", (unsigned long long)w->pattern.hash,
	       (unsigned long long)w->pattern.passes, moved, real / 1e9,
	       (unsigned long long)w->clocks.steps_back, (unsigned long long)gap_ns / 1000,
	       (double)gap_cycles / w->cycles_per_us, (unsigned long long)w->timer.ticks,
	       (unsigned long long)w->timer.wakes, (long long)w->timer.rate,
	       (unsigned long long)w->timer.windows, (unsigned long long)w->kmsg_lines,
	       (unsigned long long)w->slow_lines, clk);
}

/* Wait for the deadline or for a request; true if it was to power off. */
static bool wait_request(struct watch *w, uint64_t deadline_ns)
{
	char buf[64];
	struct pollfd p = { .fd = w->tty, .events = POLLIN };

	for (;;) {
		uint64_t now = gw_clock_ns(CLOCK_MONOTONIC);
		ssize_t n;

		if (now >= deadline_ns)
			return false;
		if (poll(&p, 1, (int)((deadline_ns - now) / 1000000) + 1) <= 0)
			continue;
		n = read(w->tty, buf, sizeof(buf) - 1);
		if (n <= 0) {
			/* A console that hung up must not make us spin. */
			usleep(100000);
			continue;
		}
		buf[n] = '\0';
		if (strchr(buf, 'p'))
			return true;
	}
}

static void run(struct watch *w)
{
	uint64_t counts[GW_MAX_CPUS] = { 0 }, n = 0, next = gw_clock_ns(CLOCK_MONOTONIC);

	for (;;) {
		uint64_t now = gw_clock_ns(CLOCK_MONOTONIC);

		next += 1000000000;
		if (next < now)
			next = now + 1000000000;
		if (wait_request(w, next))
			break;
		print_line(w, ++n, counts);
	}
	w->ending = true;
	gw_say(w, "guestwatch: powering off");
	tcdrain(w->tty);
	sync();
	reboot(RB_POWER_OFF);
}

int main(int argc, char **argv)
{
	struct watch *w = calloc(1, sizeof(*w));
	struct utsname un;
	char clk[32];

	if (!w)
		return 1;
	pthread_mutex_init(&w->tty_lock, NULL);
	open_console(w, argc > 1 ? argv[1] : "/dev/ttyS0");
	klogctl(8, NULL, 1);
	uname(&un);
	w->ncpus = (int)sysconf(_SC_NPROCESSORS_ONLN);
	if (w->ncpus > GW_MAX_CPUS)
		w->ncpus = GW_MAX_CPUS;
	w->timer.rate = -1;
	calibrate_cycles(w);
	read_clocksource(clk, sizeof(clk));
	gw_say(w, "guestwatch: start kernel=%s cpus=%d clk=%s cycles_per_us=%.1f up=%.3f",
	       un.release, w->ncpus, clk, w->cycles_per_us, gw_clock_ns(CLOCK_MONOTONIC) / 1e9);
	gw_pattern_init(&w->pattern);
	start_thread(&w->kmsg_thread, gw_kmsg_main, w);
	start_thread(&w->timer.thread, gw_timer_main, w);
	for (int i = 0; i < w->ncpus; i++) {
		w->workers[i].watch = w;
		w->workers[i].cpu = i;
		start_thread(&w->workers[i].thread, gw_worker_main, &w->workers[i]);
	}
	run(w);
	return 1;
}
