/* SPDX-License-Identifier: MIT */
/* The 8254 interval timer, which KVM keeps. */
#ifndef DEV_PC_I8254_H
#define DEV_PC_I8254_H

/*
 * DOC: theory of operation
 *
 * When its state is set, KVM starts every counter anew from its full count: the
 * load times it reports cannot be given back. The periodic interrupt of channel 0
 * therefore comes one whole period after the state was applied. Everything else,
 * latched values and half-written counts included, is as it was.
 */

#include <stdint.h>

#include "base/err.h"
#include "machine/device.h"

#define I8254_NR_CHANNELS 3

/* Meaning as in struct kvm_pit_channel_state. */
struct i8254_channel_state {
	uint32_t count; /* initial count, 0..65536                    */
	uint16_t latched_count;
	uint8_t count_latched;
	uint8_t status_latched;
	uint8_t status;
	uint8_t read_state;
	uint8_t write_state;
	uint8_t write_latch;
	uint8_t rw_mode;
	uint8_t mode;
	uint8_t bcd;
	uint8_t gate;
	int64_t count_load_time; /* ns, host's CLOCK_MONOTONIC; see above      */
};

/* Guest-visible. */
struct i8254_state {
	struct i8254_channel_state channels[I8254_NR_CHANNELS];
	uint64_t flags; /* KVM_PIT_FLAGS_*: the speaker gate */
};

extern const struct device_class i8254_class;

/* Adds the state of the VM's timer to the machine. */
int i8254_create(struct vm *vm, struct err *e);

#endif
