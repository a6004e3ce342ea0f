/* SPDX-License-Identifier: MIT */
/* Maps the memory a guest already has into this process's page tables, on a thread. */
#ifndef MACHINE_PREFAULT_H
#define MACHINE_PREFAULT_H

/*
 * DOC: theory of operation
 *
 * After an update guest RAM is mapped in a process that has never touched it, so each page's
 * first use by the guest is a fault. A thread goes through the RAM before, in pieces of
 * a few MiB, and has the kernel map what is there. Only what was ever written is looked at, and
 * of that only what is in memory: sparse memory stays sparse, and what is on a disk or swapped
 * out stays there. Where KVM can, a piece then goes into the tables by which the
 * processor translates the guest's addresses, too, as long as no vCPU runs.
 *
 * Nothing depends on it: what it does not come to, or what fails, is mapped on first use.
 */

#include <sched.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "host/loop.h"
#include "machine/memmap.h"

struct prefault;

struct prefault_config {
	const struct memmap *mem; /* not owned; must outlive the thread     */
	struct loop *loop;
	cpu_set_t busy; /* processors to leave to the guest    */
	int vcpu_fd;    /* one that is not run while the thread is not held; -1: none */
	/* Called on the loop's thread when all is done; may end it. NULL: nobody cares. */
	void (*done)(void *opaque);
	void *opaque;
};

/*
 * Starts the thread, which has less right to a processor than others: a guest runs, here or in
 * the old process. The caller owns the result.
 */
int prefault_start(struct prefault **out, const struct prefault_config *cfg, struct err *e);
/*
 * Holds the thread; returns when it rests, after the piece it is at, a fraction of a
 * millisecond. What it still has to do when it goes on, it does without a vCPU. No matter if
 * it has ended.
 */
void prefault_hold(struct prefault *p);
/* From now on the guest runs on @busy. */
void prefault_continue(struct prefault *p, const cpu_set_t *busy);
/* Ends the thread, wherever it is, and frees. NULL: nothing. The loop's thread, as for all. */
void prefault_end(struct prefault *p);

#endif
