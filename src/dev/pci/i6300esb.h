/* SPDX-License-Identifier: MIT */
/* A watchdog: the timer of Intel's 6300ESB, as a PCI function. */
#ifndef DEV_PCI_I6300ESB_H
#define DEV_PCI_I6300ESB_H

/*
 * DOC: theory of operation
 *
 * The timer counts down in two stages, each from a preload of 20 bits, ticks of 30 ns times 2^15 or 2^5. The
 * guest feeds it by a write that begins stage 1 again. At the end of stage 1 nothing
 * happens but that stage 2 begins; at the end of that the machine does what -action watchdog= says, and the
 * timer is off as after a reset, but for a bit that tells the guest's next system why it was reset.
 *
 * Registers are behind BAR 0; a write to one counts only after 0x80 and then 0x86 were
 * written to the reload register:
 *	0x00	preload of stage 1
 *	0x04	preload of stage 2
 *	0x0c	reload: bit 8 feeds; bit 9: ran out, writing 1 clears it; reads as bits 9 and 12
 * In configuration space: 0x60 configuration (bit 2: fast ticks, bit 5: no action), 0x68 lock (bit
 * 0: locked until reset, bit 1: runs, bit 2: begins again for ever).
 *
 * Time passes for it only while the guest runs: when it stops, the time is noted, and when
 * it goes on, here or elsewhere, the count begins later by as much.
 */

#include "dev/pci/pci.h"
#include "machine/ptimer.h"
#include "machine/ptimer_loop.h"

/* Guest-visible. */
struct i6300esb_state {
	struct pci_state pci;
	struct ptimer_state timer;
	uint64_t paused_ns; /* of the timer's clock, when the guest stopped; 0: it runs    */
	uint32_t preload1;  /* 20 bits, reset value all ones                             */
	uint32_t preload2;
	uint32_t stage;   /* 1 or 2, of what is counted                                  */
	uint32_t unlock;  /* how many of the two steps were taken: 0 to 2                */
	uint32_t lock;    /* the lock register                                           */
	uint32_t ran_out; /* 1 since the timer has run out, also over a reset            */
};

struct i6300esb_host {
	struct pci_function pci;
	struct ptimer timer;              /* [m] */
	struct ptimer_loop loop;          /* [m] */
	const struct ptimer_clock *clock; /* [c] */
};

struct i6300esb {
	struct device dev;
	struct i6300esb_state s;
	struct i6300esb_host h;
};

extern const struct device_class i6300esb_class;
extern const struct device_type i6300esb_type;

#endif
