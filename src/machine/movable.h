/* SPDX-License-Identifier: MIT */
/* RAM blocks that appear and move in the guest's memory while it runs: memory of devices. */
#ifndef MACHINE_MOVABLE_H
#define MACHINE_MOVABLE_H

/*
 * DOC: theory of operation
 *
 * Such a block is registered by memmap_add_movable_block() and preserved as every block is. Where
 * the guest sees it, if at all, is up to the guest, and known by the device that maps it: it is
 * in none of the ranges of struct memmap, so no look-up of guest memory finds it, and nothing
 * but the vCPUs reaches it by guest-physical address.
 *
 * In KVM it has a slot, whose number follows from its place among such blocks. An image that adopts
 * a machine finds the slots as they are, and what its devices map while they load their state is
 * only noted.
 */

#include "base/err.h"
#include "machine/layout.h"

struct ram_block;
struct vm;

/*
 * Lets the guest see @b at [@gpa, @gpa + its size), page-aligned, where nothing else is; no longer
 * where it was. On failure, KVM's reason, it is nowhere. vCPUs may run; any thread,
 * machine lock.
 */
int movable_map(struct vm *vm, struct ram_block *b, gpa_t gpa, struct err *e);
/* The guest does not see it any more. No matter if it did not. As above. */
void movable_unmap(struct vm *vm, struct ram_block *b);

#endif
