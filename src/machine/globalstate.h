/* SPDX-License-Identifier: MIT */
/* The run state as it travels: QEMU's globalstate section, a state without a device. */
#ifndef MACHINE_GLOBALSTATE_H
#define MACHINE_GLOBALSTATE_H

#include <stdbool.h>
#include <stdint.h>

#include "machine/runstate.h"
#include "state/vmstate.h"

struct global_state {
	uint32_t size;        /* of the name with its NUL, 1..32                        */
	uint8_t runstate[32]; /* name of the run state before the stop for saving       */
	bool has_vm_was_suspended;
	bool vm_was_suspended; /* the guest was stopped while it was asleep             */
	uint8_t unused[66];    /* zeros                                                 */
};

extern const struct vs_desc global_state_desc;

/* Fills @g for a guest in @s, the run state before the stop for saving. */
void global_state_set(struct global_state *g, enum runstate s, bool was_suspended);
/*
 * The run state to come up in, from a @g that was decoded, and whether a start of the
 * stopped guest leads to suspended.
 */
enum runstate global_state_get(const struct global_state *g, bool *was_suspended);

#endif
