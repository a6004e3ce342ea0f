/* SPDX-License-Identifier: MIT */
/* What of a vCPU's state need not be set, since a vCPU that was just made has it. */
#include <stddef.h>
#include <string.h>

#include "base/util.h"
#include "machine/vcpu_fresh.h"

enum {
	MSR_KVM_SYSTEM_TIME = 0x12,
	MSR_KVM_SYSTEM_TIME_NEW = 0x4b564d01,
	SYSTEM_TIME_ENABLED = 1,
};

bool vcpu_fresh_has_xcrs(const struct vcpu_state *fresh, const struct vcpu_state *s)
{
	return fresh && fresh->nr_xcrs == s->nr_xcrs &&
	       !memcmp(fresh->xcrs, s->xcrs, s->nr_xcrs * sizeof(s->xcrs[0]));
}

bool vcpu_fresh_has_debugregs(const struct vcpu_state *fresh, const struct vcpu_state *s)
{
	return fresh && !memcmp(fresh->db, s->db, sizeof(s->db)) && fresh->dr6 == s->dr6 &&
	       fresh->dr7 == s->dr7;
}

bool vcpu_fresh_has_tsc_khz(const struct vcpu_state *fresh, const struct vcpu_state *s)
{
	return fresh && fresh->tsc_khz == s->tsc_khz;
}

static bool stands_for_itself(uint64_t index)
{
	static const struct {
		uint32_t first, last;
	} ranges[] = {
		{ 0x200, 0x20f }, /* MTRRs, variable                  */
		{ 0x250, 0x26f }, /* MTRRs, fixed                     */
		{ 0x2ff, 0x2ff }, /* MTRRs, default                   */
		{ 0x400, 0x47f }, /* machine-check banks              */
		{ 0x480, 0x4ff }, /* capabilities of virtualization   */
	};

	for (size_t i = 0; i < ARRAY_SIZE(ranges); i++)
		if (index >= ranges[i].first && index <= ranges[i].last)
			return true;
	return false;
}

bool vcpu_fresh_has_msr(const struct vcpu_state *fresh, const struct vcpu_state *s, uint32_t i)
{
	return fresh && i < fresh->nr_msrs && fresh->msrs[i].index == s->msrs[i].index &&
	       fresh->msrs[i].value == s->msrs[i].value && stands_for_itself(s->msrs[i].index);
}

bool vcpu_state_has_kvmclock(const struct vcpu_state *s)
{
	for (uint32_t i = 0; i < s->nr_msrs; i++)
		if ((s->msrs[i].index == MSR_KVM_SYSTEM_TIME ||
		     s->msrs[i].index == MSR_KVM_SYSTEM_TIME_NEW) &&
		    s->msrs[i].value & SYSTEM_TIME_ENABLED)
			return true;
	return false;
}
