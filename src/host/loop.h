/* SPDX-License-Identifier: MIT */
/* The event loop: descriptors, timers and calls from other threads, on one thread. */
#ifndef HOST_LOOP_H
#define HOST_LOOP_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

#include "base/err.h"
#include "base/list.h"

struct loop;

/*
 * Every callback runs on the thread that calls loop_run(), with @lock held.
 * loop_run() drops @lock only while it waits. Unless said otherwise functions
 * are for that thread (or, before loop_run(), for the creating one).
 */
int loop_create(struct loop **out, pthread_mutex_t *lock, struct err *e);
/* Frees it; watches, timers and posted calls are gone. @lock was not owned. NULL is allowed. */
void loop_destroy(struct loop *l);
/* Runs until loop_quit(). The caller holds @lock. */
void loop_run(struct loop *l);
/* One round: waits at most @timeout_ms (-1: no limit) and runs what is due. */
void loop_run_once(struct loop *l, int timeout_ms);
/* Makes loop_run() return after the callback that runs now. Any thread. */
void loop_quit(struct loop *l);

/*
 * A watched descriptor, embedded in its user's struct, which outlives the watch.
 * @ready gets the EPOLL* bits. It may remove or change any watch, also its own.
 */
struct loop_fd {
	int fd; /* -1: not watched; not owned */
	void (*ready)(void *opaque, uint32_t events);
	void *opaque;
};

#define LOOP_FD_INIT     \
	{                \
		.fd = -1 \
	}

/* Watches @fd for the EPOLL* bits in @events, level-triggered. @w is not watched yet. */
int loop_fd_add(struct loop *l, struct loop_fd *w, int fd, uint32_t events,
		void (*ready)(void *opaque, uint32_t events), void *opaque, struct err *e);
/* Changes the EPOLL* bits waited for; 0 waits for errors and hang-up only. */
void loop_fd_set_events(struct loop *l, struct loop_fd *w, uint32_t events);
/* Does nothing if @w is not watched. */
void loop_fd_del(struct loop *l, struct loop_fd *w);

/*
 * A one-shot timer on the host's CLOCK_BOOTTIME, embedded likewise. It may be
 * re-armed from its own callback.
 */
struct loop_timer {
	struct list link;
	uint64_t deadline_ns;
	bool armed;
	void (*expired)(void *opaque);
	void *opaque;
};

void loop_timer_init(struct loop_timer *t, void (*expired)(void *opaque), void *opaque);
/* (Re-)arms @t for an absolute time, see clock_boottime_ns(); past times fire at once. */
void loop_timer_set(struct loop *l, struct loop_timer *t, uint64_t deadline_ns);
void loop_timer_cancel(struct loop_timer *t);

/*
 * A call to be made on the loop's thread; posted from any thread, embedded in
 * its user's struct. Posting again before it ran has no further effect.
 */
struct loop_work {
	struct list link;
	bool queued;
	void (*run)(void *opaque);
	void *opaque;
};

void loop_work_init(struct loop_work *w, void (*run)(void *opaque), void *opaque);
void loop_post(struct loop *l, struct loop_work *w);
/* Forgets the call if it has not been made; no matter if it was not posted. */
void loop_work_cancel(struct loop *l, struct loop_work *w);

/*
 * A call made in each round just before the loop waits: whatever was put together in
 * the round is sent off at once. Embedded likewise; it may add and remove hooks.
 */
struct loop_hook {
	struct list link;
	void (*run)(void *opaque);
	void *opaque;
};

void loop_hook_add(struct loop *l, struct loop_hook *h, void (*run)(void *opaque), void *opaque);
void loop_hook_del(struct loop_hook *h);

#endif
