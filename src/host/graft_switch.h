/* SPDX-License-Identifier: MIT */
/* How a thread leaves its place in a program and another one goes on there (private to host/). */
#ifndef HOST_GRAFT_SWITCH_H
#define HOST_GRAFT_SWITCH_H

#include <stdint.h>

#include "base/err.h"
#include "host/graft.h"

/*
 * Fails unless what the kernel keeps for this thread's C library can be moved: its thread id,
 * and the restartable sequences area. The calling thread's, which keeps them.
 */
int graft_switch_check(struct err *e);

/*
 * Who leaves. graft_switch_prepare_out() fills @c and takes off this thread what would be touched
 * at its end; after it, with all signals blocked, the thread can do nothing but go on to
 * graft_switch_out() or end. -errno if the thread cannot be moved; then it is as before.
 *
 * graft_switch_out() ends this thread, after setting @c->left and waking who waits on it or, if
 * @verdict is not NULL, changing that from GRAFT_OPEN to GRAFT_NEW and waking who waits on
 * that; if it is not GRAFT_OPEN any more, this process ends. Returns in the thread that calls
 * graft_switch_in(). That one has another thread id: a mutex that looks at its owner's (robust,
 * recursive or checking errors) must not be held meanwhile; a plain one may.
 */
int graft_switch_prepare_out(struct graft_context *c, struct err *e);
void graft_switch_out(struct graft_context *c, uint32_t *verdict);

/* What a thread has of its own while it is about to become another one. */
struct graft_place {
	uint64_t signal_mask;
	uint64_t robust_list, robust_length;
	uint64_t tid_address;
	uint64_t rseq;
	uint32_t rseq_length;
};

/*
 * Who enters. After graft_switch_prepare_in() this thread, with all signals blocked, goes on to
 * graft_switch_in(), which continues where @c was filled, or takes it back by
 * graft_switch_cancel_in(); it must not end or start a thread in between.
 */
void graft_switch_prepare_in(struct graft_context *c, struct graft_place *own);
void graft_switch_cancel_in(const struct graft_place *own);
void graft_switch_in(struct graft_context *c) __attribute__((noreturn));

#endif
