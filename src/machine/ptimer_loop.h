/* SPDX-License-Identifier: MIT */
/* The clock of countdown timers in a real machine: the host's, with an alarm in the event loop. */
#ifndef MACHINE_PTIMER_LOOP_H
#define MACHINE_PTIMER_LOOP_H

#include "host/loop.h"
#include "machine/ptimer.h"

/*
 * One per timer. Shows CLOCK_BOOTTIME, which all processes of a host share, so a state needs
 * no correction after an update there. Its alarm may be set from any thread that holds
 * the machine lock.
 */
struct ptimer_loop {
	struct ptimer_clock clock;
	struct loop *loop; /* [c] not owned                           */
	struct ptimer *timer;
	struct loop_timer alarm; /* [l]                                     */
	struct loop_work rearm;  /* has the loop's thread set the alarm     */
	uint64_t at_ns;          /* [m] when it is to ring; UINT64_MAX: not */
};

/* @l and @timer stay until ptimer_loop_fini(). */
void ptimer_loop_init(struct ptimer_loop *l, struct loop *loop, struct ptimer *timer);
/* It rings no more. Loop's thread. */
void ptimer_loop_fini(struct ptimer_loop *l);

#endif
