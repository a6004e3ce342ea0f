/* SPDX-License-Identifier: MIT */
/* A vCPU's local APIC as state, and the time its timer counts while it is moved. */
#ifndef MACHINE_VCPU_APIC_H
#define MACHINE_VCPU_APIC_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "machine/time_shift.h"
#include "state/vmstate.h"

enum {
	VCPU_LAPIC_BYTES = 1024
};

struct vcpu_apic_state {
	uint8_t regs[VCPU_LAPIC_BYTES]; /* the register page, 16 bytes a register */
	uint64_t saved_ns; /* host CLOCK_BOOTTIME when saved; 0: time does not go on  */
	uint32_t bus_ns;   /* nanoseconds per APIC bus cycle                          */
	uint32_t reserved; /* zero */
};

extern const struct vs_desc vcpu_apic_state_desc;

/*
 * Reads the register page of a vCPU that is not in the guest, on its own thread. @bus_ns:
 * nanoseconds per APIC bus cycle of this VM. A timer that ran out since the vCPU left
 * the guest may be pending in KVM and not show, see vcpu_save().
 */
int vcpu_apic_get(int vcpu_fd, uint32_t bus_ns, struct vcpu_apic_state *a, struct err *e);

/*
 * Sets it, before the MSRs (the TSC deadline needs the timer mode). @time: the timer counted
 * on since the state was saved, see vcpu_apic_advance(); NULL: it did not.
 */
int vcpu_apic_set(int vcpu_fd, const struct vcpu_apic_state *a, const struct time_shift *time,
		  struct err *e);

/* The timer is in one-shot or periodic mode and has been started. */
bool vcpu_apic_timer_counts(const struct vcpu_apic_state *a);
/* Such a timer ran out between two readings. */
bool vcpu_apic_timer_expired(const struct vcpu_apic_state *before,
			     const struct vcpu_apic_state *after);

/*
 * Advances a one-shot or periodic count to @now_ns (CLOCK_BOOTTIME of the saving host), as real hardware would
 * have counted, and requests the interrupt if it ran out; several periods that ran out
 * are one interrupt, and the phase is kept. A one-shot that has run out gets an initial
 * count of 0, since KVM would fire it again when it is set.
 */
void vcpu_apic_advance(struct vcpu_apic_state *a, uint64_t now_ns);

#endif
