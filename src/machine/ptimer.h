/* SPDX-License-Identifier: MIT */
/* A countdown timer for devices that count: periodic or one-shot, exact, with its own state. */
#ifndef MACHINE_PTIMER_H
#define MACHINE_PTIMER_H

/*
 * DOC: theory of operation
 *
 * A timer counts ticks down from its count to 0, where it expires. A periodic one goes on
 * from its limit at that instant, a one-shot one stops at 0. Nothing ticks: the count, the
 * number of expiries and the time of the next one are worked out from when the timer was
 * started, in whole numbers (a tick takes rate_num / rate_den nanoseconds), so that no
 * rounding adds up however long it runs.
 *
 * Time comes from a struct ptimer_clock, which also rings once at a given time: the event
 * loop's in the machine (ptimer_loop.h), a made-up one in tests. The state holds
 * times of that clock and nothing else, so it may be loaded mid-period: expiries that
 * fell between saving and loading are delivered together when the guest runs.
 *
 * Expiries are delivered as a number, since several may be due at once: after a stop, or if
 * the guest asks for more of them than a host should be woken up for.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "state/vmstate.h"

/* The host is woken up no more often than that; expiries in between come together. */
#define PTIMER_MIN_ALARM_NS UINT64_C(10000)

struct ptimer_clock {
	uint64_t (*now_ns)(void *opaque); /* never goes back */
	/* Calls ptimer_alarm() once, at @at_ns or soon after; replaces what was set. */
	void (*set_alarm)(void *opaque, uint64_t at_ns);
	void (*cancel_alarm)(void *opaque);
	void *opaque;
};

enum ptimer_mode {
	PTIMER_STOPPED,
	PTIMER_PERIODIC,
	PTIMER_ONE_SHOT,
};

/* Guest-visible; to be nested in the state of a device with VS_STRUCT(..., &ptimer_state_desc). */
struct ptimer_state {
	uint64_t limit;    /* ticks of a period; 0: it does not run                   */
	uint64_t count;    /* what it counts from since @start_ns; stopped: the count */
	uint64_t rate_num; /* a tick takes rate_num / rate_den ns; both at least 1     */
	uint64_t start_ns; /* of the clock                                            */
	uint64_t phase;    /* 1 / rate_den ns after @start_ns: when counting began    */
	uint64_t fired;    /* expiries since @start_ns that were delivered            */
	uint32_t rate_den; /* 1..2^32-1                                               */
	uint32_t mode;     /* enum ptimer_mode                                        */
};

extern const struct vs_desc ptimer_state_desc;

struct ptimer {
	struct ptimer_state *s;           /* [c] in the device's state                 */
	const struct ptimer_clock *clock; /* [c]                                       */
	void (*expired)(void *opaque, uint64_t n);
	void *opaque;
	bool live; /* [m] the guest runs: expiries are delivered   */
};

/*
 * All functions: machine lock, and the thread that the clock's alarm may be set on. What
 * changes a timer first delivers what is due until then; while the guest is stopped, as in a
 * reset, that is dropped instead.
 */

/*
 * Sets a timer on @s up, which is reset: stopped at 0, ticks of 1 ns. @expired is told how
 * many expiries, at least one, are due; it may change the timer. @s and @clock stay
 * the caller's and outlive the timer. It is not live until ptimer_run_changed().
 */
void ptimer_init(struct ptimer *p, struct ptimer_state *s, const struct ptimer_clock *clock,
		 void (*expired)(void *opaque, uint64_t n), void *opaque);

/* A running timer keeps its count; the tick under way begins again. 0 is taken as 1. */
void ptimer_set_period_ns(struct ptimer *p, uint64_t ns);
void ptimer_set_freq(struct ptimer *p, uint32_t hz);
/* The next period's ticks; @reload: the current one's as well, from now. */
void ptimer_set_limit(struct ptimer *p, uint64_t limit, bool reload);
void ptimer_set_count(struct ptimer *p, uint64_t count);
/*
 * Starts a stopped timer, at its limit if the count is 0; a running one only changes
 * its mode. A timer without a limit stays stopped.
 */
void ptimer_start(struct ptimer *p, bool one_shot);
/* Keeps the count; the tick under way is lost. */
void ptimer_stop(struct ptimer *p);

/* The count now; delivers nothing. */
uint64_t ptimer_get_count(const struct ptimer *p);
bool ptimer_is_running(const struct ptimer *p);

/* Delivers what is due, if the guest runs; before a device lets the guest look at flags. */
void ptimer_sync(struct ptimer *p);
/* From the clock, when it rings. */
void ptimer_alarm(struct ptimer *p);
/* The device's run_changed() and loaded() pass this on. */
void ptimer_run_changed(struct ptimer *p, bool running);
void ptimer_loaded(struct ptimer *p);
/* The state comes from a clock that shows @delta_ns less than this one. Before ptimer_loaded(). */
void ptimer_rebase(struct ptimer_state *s, int64_t delta_ns);

#endif
