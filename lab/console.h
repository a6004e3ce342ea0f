/* SPDX-License-Identifier: MIT */
/* The guest's console as drive sees it: lines of guestwatch, judged as they come. */
#ifndef LAB_CONSOLE_H
#define LAB_CONSOLE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* Lines to find the promptest of; any one may be late by some milliseconds. */
enum {
	OFFSET_LINES = 4
};

/* What a run promises; each is one PASS or FAIL line at its end. */
enum lab_check {
	CHECK_UPDATES,
	CHECK_ONE_OWNER,
	CHECK_PID,
	CHECK_COUNTER,
	CHECK_MEMORY,
	CHECK_CLOCK_STEP,
	CHECK_CLOCK_RATE,
	CHECK_TIMER,
	CHECK_KERNEL,
	CHECK_VCPUS,
	CHECK_POWEROFF,
	/* With devices. */
	CHECK_FILES,
	CHECK_FILE_SYSTEM,
	CHECK_LOCK,
	CHECK_TCP,
	CHECK_LINES,
	CHECK_AGENT,
	CHECK_COUNT,
};

/* Faults found so far, by promise; noted by any thread. */
struct verdict {
	pthread_mutex_t lock;
	unsigned int faults[CHECK_COUNT];
	char first[CHECK_COUNT][256]; /* what the first one was */
};

/* One line of guestwatch; see there for the fields. */
struct report {
	uint64_t n, count, hash, pass, back, gap_us, tscgap_us, ticks, wakes, windows, kmsg, slow;
	int64_t rate;
	double up_s, real_s;
	int cpus;
	bool sum_ok;
	char clk[32];
	uint64_t host_ns; /* when it arrived here, CLOCK_MONOTONIC */
};

/* What of the console is shown while it is read. */
enum console_echo {
	ECHO_NONE,
	ECHO_SHORT,
	ECHO_ALL
};

struct console {
	int out_fd; /* drive reads what the guest prints; not blocking */
	int in_fd;  /* drive writes what the guest reads */
	int smp;
	enum console_echo echo;
	struct verdict *verdict;
	char line[4096];
	unsigned int line_len;
	bool slow_host; /* vCPUs wait for processors: slow timer interrupts are no fault */
	bool started;   /* guestwatch printed its first report */
	bool ending;    /* power-off was asked for: the kernel may speak */
	uint64_t reports;
	struct report last;
	/* This machine's clock minus the guest's, at the prompter lines. */
	double offset_first_s; /* smallest over the first OFFSET_LINES lines */
	double offsets_s[OFFSET_LINES];
	uint64_t max_gap_us; /* largest since it was last set to zero */
	int still_lines;     /* reports in a row in which a vCPU stood still */
	int uncounted_lines; /* reports in a row with the same count         */
	int64_t rate_min, rate_max;
};

/* Note a fault and print it at once. */
void verdict_fault(struct verdict *v, enum lab_check check, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Nanoseconds of this machine's CLOCK_MONOTONIC. */
uint64_t lab_now_ns(void);

/* Smallest offset over the last OFFSET_LINES lines. */
double console_offset_s(const struct console *c);

/* Read and judge what is there now. */
void console_pump(struct console *c);

/* Pump for so long, or until fd (-1: none) can be read; true if it can. */
bool console_wait(struct console *c, int fd, int timeout_ms);

/* Wait until the last, unfinished line ends like this, as a prompt does. */
bool console_wait_prompt(struct console *c, const char *text, int timeout_ms);

/* Write text to the guest. */
void console_send(struct console *c, const char *text);

#endif
