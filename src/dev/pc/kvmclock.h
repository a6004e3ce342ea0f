/* SPDX-License-Identifier: MIT */
/* The paravirtual clock (kvmclock), which KVM keeps. */
#ifndef DEV_PC_KVMCLOCK_H
#define DEV_PC_KVMCLOCK_H

/*
 * DOC: theory of operation
 *
 * A guest's kvmclock counts on while the guest is stopped, as a clock does.
 * Over an update it must have advanced by exactly the host time that passed
 * between capture and apply, and it must never step back. Which host clock can
 * tell that time depends on where the state arrives:
 *
 * - On the same boot of the host (boot ids agree), CLOCK_BOOTTIME can always tell.
 *   Reading it here and setting the clock afterwards would lose the microseconds
 *   in between. If the capture came with a realtime stamp that KVM took together
 *   with the clock, and CLOCK_REALTIME was not set meanwhile (both clocks agree
 *   about the elapsed time to 1 ms), KVM itself adds the time from that stamp to
 *   the moment of setting.
 * - On another boot or host only CLOCK_REALTIME is left. It is used when it has
 *   advanced; otherwise the clock goes on where it was captured.
 */

#include <linux/kvm.h>
#include <stdint.h>

#include "base/err.h"
#include "host/hostid.h"
#include "machine/device.h"
#include "machine/time_shift.h"

/* Guest-visible (clock_ns), and the host clocks at the moment it was read. */
struct kvmclock_state {
	uint64_t clock_ns;    /* the guest's clock                                   */
	uint64_t realtime_ns; /* CLOCK_REALTIME; read by KVM with KVM_CLOCK_REALTIME  */
	uint64_t boottime_ns; /* CLOCK_BOOTTIME                                      */
	uint64_t host_tsc;    /* with KVM_CLOCK_HOST_TSC, else 0                     */
	uint64_t flags;       /* KVM_CLOCK_* as captured                             */
	uint8_t boot_id[HOST_BOOT_ID_BYTES];
};

extern const struct device_class kvmclock_class;

/*
 * What the clock of @s reads @now by the rules above, and so what KVM_SET_CLOCK is told if it
 * cannot add realtime itself. *@by_kvm: it can and should.
 */
uint64_t kvmclock_value_now(const struct kvmclock_state *s, const struct host_time *now,
			    bool *by_kvm);

/* Adds the state of the VM's clock to the machine. */
int kvmclock_create(struct vm *vm, struct err *e);

#endif
