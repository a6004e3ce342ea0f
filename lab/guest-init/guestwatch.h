/* SPDX-License-Identifier: MIT */
/* What guestwatch's threads share: the pattern, the workers, the counts. */
#ifndef GUESTWATCH_H
#define GUESTWATCH_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum {
	GW_MAX_CPUS = 64,
	GW_PAGE_WORDS = 512,
	GW_PAGES = 64 * 256,
	GW_DIRTY_PAGES = 16,
	GW_PASSES = 256, /* a vCPU may be off its processor for seconds, in the middle of a page */
	GW_CLOCK_TSC = 100,
};

/*
 * One pass over the pattern; the workers share its pages. A slot is used
 * again GW_PASSES passes later, long after its last page was counted.
 */
struct gw_pass {
	_Atomic uint64_t hash;
	_Atomic uint64_t pages_done;
};

/* A memory area with known contents that is read again for ever. */
struct gw_pattern {
	uint64_t *words;
	uint64_t seed;
	_Atomic uint64_t cursor; /* next page to verify, over all passes */
	struct gw_pass pass[GW_PASSES];
	_Atomic uint64_t passes; /* complete ones */
	_Atomic uint64_t hash;   /* of the last complete pass */
	_Atomic uint64_t bad_pages;
};

/* What is watched of the clocks, over all vCPUs. */
struct gw_clocks {
	_Atomic uint64_t mono_max_ns;
	_Atomic uint64_t real_max_ns;
	_Atomic uint64_t steps_back;
	uint64_t steps_told;    /* by the main thread */
	_Atomic int step_clock; /* the last one: CLOCK_... or GW_CLOCK_TSC */
	_Atomic uint64_t step;  /* how far, in ns or cycles */
};

/* One thread, pinned to one vCPU. */
struct gw_worker {
	struct watch *watch;
	pthread_t thread;
	int cpu;
	_Atomic uint64_t count;
	_Atomic uint64_t gap_ns;     /* largest since taken, by CLOCK_MONOTONIC */
	_Atomic uint64_t gap_cycles; /* the same, by the time stamp counter */
	uint64_t dirty_generation[GW_DIRTY_PAGES];
	uint64_t *dirty;
};

/* A periodic timer of 100 Hz and what it did. */
struct gw_timer {
	pthread_t thread;
	_Atomic uint64_t ticks; /* expirations */
	_Atomic uint64_t wakes; /* times the thread was woken for them */
	_Atomic int64_t rate;   /* ticks in the last window, scaled to 10 s; -1: none yet */
	_Atomic uint64_t windows;
};

/* Everything there is. */
struct watch {
	int tty;
	pthread_mutex_t tty_lock;
	int ncpus;
	double cycles_per_us;
	struct gw_worker workers[GW_MAX_CPUS];
	struct gw_pattern pattern;
	struct gw_clocks clocks;
	struct gw_timer timer;
	pthread_t kmsg_thread;
	_Atomic uint64_t kmsg_lines;
	_Atomic uint64_t slow_lines; /* the kernel found its timer interrupt slow */
	_Atomic bool ending;         /* what the kernel says now is about our power-off */
};

/* Print one whole line on the console. Any thread. */
void gw_say(struct watch *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Time of a clock in nanoseconds. */
uint64_t gw_clock_ns(int clock);

/* Time stamp counter of this vCPU. */
uint64_t gw_cycles(void);

/* Allocate the pattern and fill it; ends the program if there is no memory. */
void gw_pattern_init(struct gw_pattern *p);

/* Verify the next page of the pattern. Any worker. */
void gw_pattern_step(struct gw_pattern *p);

/* Verify one page this worker writes to, and write it anew. */
void gw_dirty_step(struct gw_worker *k);

/* Thread of a worker, of the timer, of the kernel's log. */
void *gw_worker_main(void *arg);
void *gw_timer_main(void *arg);
void *gw_kmsg_main(void *arg);

#endif
