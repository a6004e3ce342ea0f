/* SPDX-License-Identifier: MIT */
/* Another program for this process, if this one crashes or is too late. */
#ifndef HOST_RESCUE_H
#define HOST_RESCUE_H

/*
 * DOC: theory of operation
 *
 * A process that was given something nobody else has, such as a guest, must not end before it can
 * use it. So it arms a rescue: a program to be executed in its place, with all that takes put
 * together in advance. Three ways lead there: rescue_go(), a crash of any thread, and a deadline,
 * which a thread of its own waits for. One word decides which of them goes, or that
 * rescue_end() came first.
 *
 * The handler of a crash and that thread cannot rely on anything of the program that has
 * failed: they touch what was given here, and make system calls.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct rescue {
	int program;         /* what is executed */
	char **argv, **envp; /* with these, both ended by NULL */
	const int *fds;      /* stay open in it */
	size_t nr_fds;
	char *why;            /* in @envp: where the reason is put */
	size_t room;          /* for it, with its end */
	uint64_t deadline_ns; /* CLOCK_BOOTTIME; 0: there is none */
	const char *late;     /* the reason if it has passed */
};

/*
 * All that @r points to stays as it is until rescue_release(); one at a time. Main thread, as all
 * here, before others are started. A failure leaves the rest armed: what is missing is the thread
 * of the deadline.
 */
int rescue_arm(const struct rescue *r, struct err *e);
/*
 * Executes the program now, for reason @why; also between rescue_end() and rescue_release(), if what was to
 * follow failed. Returns only on failure; it is still armed then.
 */
int rescue_go(const char *why, struct err *e);
/*
 * Nothing leads there any more. Does not return if the program is just being executed. Without effect
 * if nothing is armed. Fast: what takes time is left to rescue_release().
 */
void rescue_end(void);
/* After rescue_end(): crashes are none of ours again, the thread has ended. */
void rescue_release(void);

#endif
