/* SPDX-License-Identifier: MIT */
/* Keeps disk, network and console of the lab's Debian guest busy, and judges what comes back. */
/*
 * DOC: theory of operation
 *
 *	guestload [DIRECTORY [TERMINAL]]   in the guest
 *	guestload --check DIRECTORY        anywhere: verifies the files that a guest has left
 *
 * Files are replaced in turn: written, synced, renamed, synced again, read back from the
 * disk. Blocks of one file are rewritten in place with O_DIRECT. All say of themselves
 * what they must contain. A TCP service sends and takes a stream of known bytes. On the
 * terminal (a virtio console) numbered lines go out, each byte of which follows from its number, and
 * between them a report once a second:
 *
 *	guestload: n=1 written=.. verified=.. rounds=.. trims=.. bad=0 rx=.. tx=.. conns=..
 *	  lines_in=.. hot_disks=.. hot=..
 *
 * What comes in must be the numbered lines, in order; "stop" ends all work but the TCP service: the last
 * line is "guestload: final files=.. bad=.. sum=..", after everything was verified once
 * more. "poweroff" shuts the system down. Where the kernel's command line says
 * guestload.tty=NAME, that is the terminal.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "lab/guest-load/load.h"
#include "lab/guest-load/stream.h"

enum {
	LINE_EVERY_US = 50000,
	TTY_TRIES = 600, /* of 100 ms */
};

uint64_t load_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

void load_nap(unsigned int us)
{
	struct timespec ts = { .tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000 };

	nanosleep(&ts, NULL);
}

void load_say(struct load *l, const char *text)
{
	size_t len = strlen(text);

	pthread_mutex_lock(&l->tty_lock);
	while (len) {
		ssize_t n = write(l->tty_fd, text, len);

		if (n < 0 && errno != EINTR)
			break;
		if (n > 0) {
			text += n;
			len -= (size_t)n;
		}
	}
	pthread_mutex_unlock(&l->tty_lock);
}

void load_bad(struct load *l, const char *fmt, ...)
{
	char text[256], line[300];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	snprintf(line, sizeof(line), "guestload: BAD: %s\n", text);
	if (l->bad++ < 20)
		load_say(l, line);
}

/* The terminal that the kernel's command line names, if it does. */
static const char *named_tty(char name[64])
{
	char line[2048], *at, value[48];
	int fd = open("/proc/cmdline", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, line, sizeof(line) - 1);

	if (fd >= 0)
		close(fd);
	line[n > 0 ? n : 0] = '\0';
	at = strstr(line, "guestload.tty=");
	if (!at || sscanf(at, "guestload.tty=%47[a-zA-Z0-9]", value) != 1)
		return "/dev/hvc0";
	snprintf(name, 64, "/dev/%s", value);
	return name;
}

static void open_tty(struct load *l)
{
	struct termios tio;

	l->tty_fd = -1;
	for (int i = 0; i < TTY_TRIES && l->tty_fd < 0; i++) {
		l->tty_fd = open(l->tty, O_RDWR | O_NOCTTY | O_CLOEXEC);
		if (l->tty_fd < 0)
			load_nap(100000);
	}
	if (l->tty_fd >= 0 && tcgetattr(l->tty_fd, &tio) == 0) {
		cfmakeraw(&tio);
		tio.c_cflag |= CLOCAL | CREAD;
		tcsetattr(l->tty_fd, TCSANOW, &tio);
	}
}

static void *lines_main(void *arg)
{
	struct load *l = arg;
	char line[512];
	uint64_t n = 0, reports = 0, next_ns = 0;

	while (!l->stop) {
		stream_line(line, ++n);
		load_say(l, line);
		load_nap(LINE_EVERY_US);
		if (load_now_ns() < next_ns)
			continue;
		next_ns = load_now_ns() + 1000000000;
		snprintf(line, sizeof(line),
			 "guestload: n=%" PRIu64 " written=%" PRIu64 " verified=%" PRIu64
			 " rounds=%" PRIu64 " trims=%" PRIu64 " bad=%" PRIu64 " rx=%" PRIu64
			 " tx=%" PRIu64 " conns=%" PRIu64 " lines_in=%" PRIu64 " hot_disks=%" PRIu64
			 " hot=%" PRIu64 "\n",
			 ++reports, l->written, l->verified, l->rounds, l->trims, l->bad, l->rx,
			 l->tx, l->connections, l->lines_in, l->hot_disks, l->hot_blocks);
		load_say(l, line);
	}
	return NULL;
}

/* Stop all work, and verify what has been written. */
static void finish(struct load *l)
{
	char line[256];
	uint64_t files, bad, sum;

	l->stop = true;
	pthread_join(l->files_thread, NULL);
	pthread_join(l->direct_thread, NULL);
	pthread_join(l->hot_thread, NULL);
	pthread_join(l->lines_thread, NULL);
	sync();
	sum = load_check_all(l->dir, &files, &bad);
	snprintf(line, sizeof(line),
		 "guestload: final files=%" PRIu64 " bad=%" PRIu64 " sum=%016" PRIx64 " rx=%" PRIu64
		 " lines_in=%" PRIu64 "\n",
		 files, l->bad + bad, sum, l->rx, l->lines_in);
	load_say(l, line);
	tcdrain(l->tty_fd);
}

static void take_line(struct load *l, const char *line)
{
	char want[STREAM_LINE_MAX];

	if (strcmp(line, "stop\n") == 0) {
		finish(l);
		return;
	}
	if (strcmp(line, "poweroff\n") == 0) {
		execl("/bin/systemctl", "systemctl", "poweroff", (char *)NULL);
		load_bad(l, "cannot power off: %s", strerror(errno));
		return;
	}
	stream_line(want, l->lines_in + 1);
	if (strcmp(line, want) == 0)
		l->lines_in++;
	else
		load_bad(l, "after line %" PRIu64 " this came in: %.60s", l->lines_in, line);
}

static void __attribute__((noreturn)) read_lines(struct load *l)
{
	char buf[512], line[STREAM_LINE_MAX];
	size_t len = 0;

	for (;;) {
		ssize_t n = read(l->tty_fd, buf, sizeof(buf));

		/* Nobody at the other end. */
		if (n <= 0)
			load_nap(100000);
		for (ssize_t i = 0; i < n; i++) {
			line[len++] = buf[i];
			if (buf[i] != '\n' && len < sizeof(line) - 1)
				continue;
			line[len] = '\0';
			len = 0;
			take_line(l, line);
		}
	}
}

static void start(struct load *l, pthread_t *t, void *(*fn)(void *))
{
	if (pthread_create(t, NULL, fn, l))
		load_bad(l, "cannot start a thread");
}

static int check(const char *dir)
{
	uint64_t files, bad, sum = load_check_all(dir, &files, &bad);

	printf("files=%" PRIu64 " bad=%" PRIu64 " sum=%016" PRIx64 "\n", files, bad, sum);
	return bad ? 1 : 0;
}

int main(int argc, char **argv)
{
	struct load *l = calloc(1, sizeof(*l));
	char tty[64];

	if (!l)
		return 1;
	if (argc == 3 && strcmp(argv[1], "--check") == 0)
		return check(argv[2]);
	l->dir = argc > 1 ? argv[1] : "/var/lib/guestload";
	l->tty = argc > 2 ? argv[2] : named_tty(tty);
	l->boot_seed = load_now_ns() ^ (uint64_t)time(NULL) << 32;
	pthread_mutex_init(&l->tty_lock, NULL);
	open_tty(l);
	if (l->tty_fd < 0) {
		fprintf(stderr, "guestload: cannot open %s\n", l->tty);
		return 1;
	}
	mkdir(l->dir, 0700);
	start(l, &l->tcp_thread, load_tcp_main);
	start(l, &l->files_thread, load_files_main);
	start(l, &l->direct_thread, load_direct_main);
	start(l, &l->hot_thread, load_hot_main);
	start(l, &l->lines_thread, lines_main);
	read_lines(l);
}
