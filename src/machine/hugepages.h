/* SPDX-License-Identifier: MIT */
/* Gathers guest RAM into huge pages, on a thread, while the guest runs. */
#ifndef MACHINE_HUGEPAGES_H
#define MACHINE_HUGEPAGES_H

/*
 * DOC: theory of operation
 *
 * What an update costs afterwards is faults: one for each page the guest uses, in the page
 * tables of the new process and in KVM's. With huge pages there are 512 times fewer. But Linux gives
 * shared memory huge pages of itself only if the host's shmem_enabled says so, which by default
 * it does not. Whoever asks for particular memory gets them all the same (MADV_COLLAPSE, Linux
 * 6.1; used from 6.12 on): pages that are there are copied into a huge one, in place of which the guest does not see
 * a difference.
 *
 * So from time to time a thread looks through RAM for pieces of 2 MiB of which every page is in
 * memory, and gathers them. Sparse memory stays sparse, what is swapped out stays there, and
 * no more memory is used than before. A piece takes a fraction of a millisecond, during
 * which the guest waits if it uses that very piece, and is followed by a rest. Scans become
 * rare where there is nothing to do, or where the host is short of huge pages. A host whose
 * transparent_hugepage/enabled is "never" is left alone.
 *
 * Nothing depends on it.
 */

#include <sched.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "host/loop.h"
#include "machine/memmap.h"

struct hugepages;

struct hugepages_config {
	const struct memmap *mem; /* not owned; outlives it */
	struct loop *loop;        /* likewise               */
	/*
	 * Whether a scan may begin now, else it is tried again later; and on which processors the
	 * guest runs, which are left to it. The loop's thread.
	 */
	bool (*may_scan)(void *opaque, cpu_set_t *busy);
	void *opaque;
	uint64_t first_ns; /* from now to the first scan */
};

/* The loop's thread, as for all. The caller owns the result. */
int hugepages_create(struct hugepages **out, const struct hugepages_config *cfg, struct err *e);
/* Ends a scan that is under way, after the piece it is at; there is no thread on return. */
void hugepages_rest(struct hugepages *h);
/* NULL: nothing. */
void hugepages_destroy(struct hugepages *h);

#endif
