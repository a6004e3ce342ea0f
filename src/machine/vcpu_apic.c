/* SPDX-License-Identifier: MIT */
/* A vCPU's local APIC as state, and the time its timer counts while it is moved. */
#include <string.h>

#include "host/clock.h"
#include "host/kvm.h"
#include "machine/vcpu_apic.h"

enum {
	APIC_TMR = 0x180,
	APIC_IRR = 0x200,
	APIC_LVTT = 0x320,
	APIC_TMICT = 0x380,
	APIC_TMCCT = 0x390,
	APIC_TDCR = 0x3e0,
	APIC_LVTT_MASKED = 1 << 16,
	APIC_LVTT_MODE_SHIFT = 17,
	APIC_LVTT_MODE_MASK = 3,
	APIC_TIMER_PERIODIC = 1,
};

static const struct vs_field apic_fields[] = {
	VS_BUFFER(struct vcpu_apic_state, regs),
	VS_FIELD(struct vcpu_apic_state, saved_ns),
	VS_FIELD_RANGE(struct vcpu_apic_state, bus_ns, 1, 1000000),
	VS_FIELD(struct vcpu_apic_state, reserved),
	VS_END,
};

const struct vs_desc vcpu_apic_state_desc = {
	.name = "apic",
	.version = 1,
	.min_version = 1,
	.size = sizeof(struct vcpu_apic_state),
	.fields = apic_fields,
};

int vcpu_apic_get(int vcpu_fd, uint32_t bus_ns, struct vcpu_apic_state *a, struct err *e)
{
	int r = kvm_get_lapic(vcpu_fd, (struct kvm_lapic_state *)a->regs, e);

	a->saved_ns = clock_boottime_ns();
	a->bus_ns = bus_ns;
	return r;
}

static uint32_t lapic_reg(const uint8_t *regs, unsigned int reg)
{
	uint32_t v;

	memcpy(&v, regs + reg, sizeof(v));
	return v;
}

static void lapic_put(uint8_t *regs, unsigned int reg, uint32_t v)
{
	memcpy(regs + reg, &v, sizeof(v));
}

static uint32_t timer_mode(const uint8_t *regs)
{
	return lapic_reg(regs, APIC_LVTT) >> APIC_LVTT_MODE_SHIFT & APIC_LVTT_MODE_MASK;
}

bool vcpu_apic_timer_counts(const struct vcpu_apic_state *a)
{
	return timer_mode(a->regs) <= APIC_TIMER_PERIODIC && lapic_reg(a->regs, APIC_TMICT);
}

bool vcpu_apic_timer_expired(const struct vcpu_apic_state *before,
			     const struct vcpu_apic_state *after)
{
	uint32_t was = lapic_reg(before->regs, APIC_TMCCT);
	uint32_t is = lapic_reg(after->regs, APIC_TMCCT);

	return is > was || (was && !is);
}

/* Requests the timer's interrupt, as its expiry does. */
static void request_timer_interrupt(uint8_t *regs)
{
	uint32_t lvtt = lapic_reg(regs, APIC_LVTT), vector = lvtt & 0xff;
	unsigned int irr = APIC_IRR + vector / 32 * 0x10, tmr = APIC_TMR + vector / 32 * 0x10;

	if (lvtt & APIC_LVTT_MASKED || vector < 16)
		return;
	lapic_put(regs, irr, lapic_reg(regs, irr) | 1u << vector % 32);
	lapic_put(regs, tmr, lapic_reg(regs, tmr) & ~(1u << vector % 32));
}

void vcpu_apic_advance(struct vcpu_apic_state *a, uint64_t now_ns)
{
	static const uint8_t divide_shift[8] = { 1, 2, 3, 4, 5, 6, 7, 0 };
	uint8_t *regs = a->regs;
	uint32_t tdcr = lapic_reg(regs, APIC_TDCR);
	uint32_t initial = lapic_reg(regs, APIC_TMICT), current = lapic_reg(regs, APIC_TMCCT);
	uint64_t tick_ns = (uint64_t)a->bus_ns << divide_shift[(tdcr & 3) | (tdcr >> 1 & 4)];
	bool periodic = timer_mode(regs) == APIC_TIMER_PERIODIC;
	uint64_t gone = 0;

	if (!vcpu_apic_timer_counts(a))
		return;
	if (now_ns > a->saved_ns)
		gone = (now_ns - a->saved_ns) / tick_ns;
	if (gone < current) {
		lapic_put(regs, APIC_TMCCT, current - (uint32_t)gone);
	} else if (periodic) {
		request_timer_interrupt(regs);
		lapic_put(regs, APIC_TMCCT, initial - (uint32_t)((gone - current) % initial));
	} else {
		if (current)
			request_timer_interrupt(regs);
		lapic_put(regs, APIC_TMCCT, 0);
		lapic_put(regs, APIC_TMICT, 0);
	}
}

int vcpu_apic_set(int vcpu_fd, const struct vcpu_apic_state *a, const struct time_shift *time,
		  struct err *e)
{
	struct vcpu_apic_state now = *a;

	_Static_assert(sizeof(struct kvm_lapic_state) == VCPU_LAPIC_BYTES,
		       "the LAPIC page is 1 KiB");
	if (time)
		vcpu_apic_advance(&now, time_shift_boottime(time, clock_boottime_ns()));
	return kvm_set_lapic(vcpu_fd, (const struct kvm_lapic_state *)now.regs, e);
}
