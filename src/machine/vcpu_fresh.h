/* SPDX-License-Identifier: MIT */
/* What of a vCPU's state need not be set, since a vCPU that was just made has it. */
#ifndef MACHINE_VCPU_FRESH_H
#define MACHINE_VCPU_FRESH_H

#include <stdbool.h>
#include <stdint.h>

#include "machine/vcpu_state.h"

/*
 * @fresh is what the vCPU had when it was made, and nothing was set since but the pieces that
 * come before in vcpu_state_set(). NULL: not known, everything is to be set.
 */
bool vcpu_fresh_has_xcrs(const struct vcpu_state *fresh, const struct vcpu_state *s);
bool vcpu_fresh_has_debugregs(const struct vcpu_state *fresh, const struct vcpu_state *s);
bool vcpu_fresh_has_tsc_khz(const struct vcpu_state *fresh, const struct vcpu_state *s);
/*
 * MSR @i of @s: only for those that stand for themselves, such as machine-check banks and memory
 * types. Setting others has effects, or changes with another piece of state.
 */
bool vcpu_fresh_has_msr(const struct vcpu_state *fresh, const struct vcpu_state *s, uint32_t i);

/* The guest of @s has told KVM where to write the time for its clock. */
bool vcpu_state_has_kvmclock(const struct vcpu_state *s);

#endif
