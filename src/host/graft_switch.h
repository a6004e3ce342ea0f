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
 * Fills @c and ends this thread, after setting @c->left and waking who waits on it or, if
 * @verdict is not NULL, changing that from GRAFT_OPEN to GRAFT_NEW and waking who waits on
 * that; if it is not GRAFT_OPEN any more, this process ends. Returns in the thread that calls
 * graft_switch_in(). -errno if the thread cannot be moved; then it is as before.
 */
int graft_switch_out(struct graft_context *c, uint32_t *verdict, struct err *e);

/* Goes on where @c was filled. */
void graft_switch_in(struct graft_context *c) __attribute__((noreturn));

#endif
