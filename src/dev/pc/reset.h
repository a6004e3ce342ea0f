/* SPDX-License-Identifier: MIT */
/* The ways a PC resets itself: port 0xcf9, the keyboard controller, port 0x92. */
#ifndef DEV_PC_RESET_H
#define DEV_PC_RESET_H

/*
 * DOC: theory of operation
 *
 * There is no keyboard. The controller's ports read as one that is idle and has
 * no data, so that the reset command can be given; other commands do nothing.
 * A20 is always on; its bit only reads back.
 */

#include <stdint.h>

#include "base/err.h"
#include "machine/device.h"
#include "machine/iobus.h"

/* Guest-visible. */
struct reset_state {
	uint8_t control; /* port 0xcf9: bits 1 and 3, what kind of reset       */
	uint8_t port92;  /* system control port A; reset value 2: A20 is on     */
};

struct reset_host {
	struct io_region kbd_data; /* [c] */
	struct io_region kbd_cmd;  /* [c] */
	struct io_region port92;   /* [c] */
	struct io_region control;  /* [c] */
};

struct reset {
	struct device dev;
	struct reset_state s;
	struct reset_host h;
};

extern const struct device_class reset_class;

/* Adds the ports to the machine. Before the machine first runs. On failure nothing is added. */
int reset_create(struct vm *vm, struct err *e);

#endif
