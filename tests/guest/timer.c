/* SPDX-License-Identifier: MIT */
/*
 * timer.c - counts interrupts of the local APIC's timer and compares them with
 * the TSC.
 *
 * Options: mode=periodic|oneshot|deadline, period=NANOSECONDS (the timer counts
 * nanoseconds here), period_tsc=CYCLES (the same period; from the host, which
 * knows the TSC's frequency).
 */
#include "guest.h"

#define VECTOR_TIMER 0x40
#define DIVIDE_BY_1  0xb
#define LVT_PERIODIC 0x20000u
#define LVT_DEADLINE 0x40000u
#define GAP_CYCLES   50000

const uint64_t guest_kind = ABI_KIND_TIMER;

struct watch {
	uint64_t prev;      /* TSC of the sample before */
	uint64_t gap;       /* time not seen since the newest interrupt */
	uint64_t gap_older; /* and in the interval before that */
};

static volatile struct abi_timer *timer(void)
{
	return abi_body();
}

static void timer_arm(volatile struct abi_timer *t)
{
	lapic_write(LAPIC_REG_TIMER_DIVIDE, DIVIDE_BY_1);
	switch (t->mode) {
	case 0:
		idt_set(VECTOR_TIMER, isr_count);
		lapic_write(LAPIC_REG_LVT_TIMER, LVT_PERIODIC | VECTOR_TIMER);
		lapic_write(LAPIC_REG_TIMER_INITIAL, (uint32_t)t->period_count);
		break;
	case 1:
		isr_argument = t->period_count;
		idt_set(VECTOR_TIMER, isr_oneshot);
		lapic_write(LAPIC_REG_LVT_TIMER, VECTOR_TIMER);
		lapic_write(LAPIC_REG_TIMER_INITIAL, (uint32_t)t->period_count);
		break;
	default:
		/* The handler sets the next deadline: cause the first run. */
		isr_argument = t->period_tsc;
		idt_set(VECTOR_TIMER, isr_deadline);
		lapic_send_self(VECTOR_TIMER);
		break;
	}
	t->arm_tsc = rdtsc();
}

/* An interrupt was noticed at TSC now. */
static void tick_seen(struct watch *w, uint64_t now)
{
	volatile struct abi_timer *t = timer();
	uint64_t slack = t->period_tsc / 4;
	uint64_t interval = now - t->last_tick_tsc;

	if (t->seen > 1) {
		if (interval < t->min_interval)
			t->min_interval = interval;
		if (interval > t->max_interval)
			t->max_interval = interval;
		if (interval + w->gap + w->gap_older + slack < t->period_tsc) {
			t->short_intervals++;
		}
		if (interval > t->period_tsc + w->gap + slack) {
			t->long_intervals++;
		}
	}
	t->last_tick_tsc = now;
	w->gap_older = w->gap;
	w->gap = 0;
}

static void timer_watch(struct watch *w)
{
	volatile struct abi_timer *t = timer();
	uint64_t now = rdtsc(), step = now - w->prev, count, extra;

	if (now < w->prev) {
		t->backward++;
		abi_head()->errors++;
		step = 0;
	} else if (step > GAP_CYCLES) {
		w->gap += step;
		t->gap_sum += step;
		if (step > t->gap_max)
			t->gap_max = step;
	}
	w->prev = now;
	count = *(volatile uint64_t *)&isr_counter;
	if (count != t->ticks) {
		/* Several in one step need a step of as many periods. */
		extra = count - t->ticks - 1;
		if (t->seen && step + t->period_tsc / 4 < extra * t->period_tsc) {
			t->short_intervals++;
		}
		t->seen++;
		tick_seen(w, now);
		t->ticks = count;
	}
	t->last_tsc = now;
}

void guest_main(void)
{
	volatile struct abi_timer *t = timer();
	struct watch w = { 0 };

	t->period_count = option_number("period", 10000000);
	t->period_tsc = option_number("period_tsc", t->period_count * 2);
	t->min_interval = ~0ul;
	if (option_is("mode", "oneshot"))
		t->mode = 1;
	lapic_enable();
	if (option_is("mode", "deadline")) {
		/* The APIC knows better than CPUID, which may be the host's. */
		lapic_write(LAPIC_REG_LVT_TIMER, LVT_DEADLINE | VECTOR_TIMER);
		if (lapic_read(LAPIC_REG_LVT_TIMER) & LVT_DEADLINE)
			t->mode = 2;
	}
	timer_arm(t);
	guest_ready();
	w.prev = rdtsc();
	for (;;) {
		timer_watch(&w);
		abi_head()->heartbeat++;
		if (request_poll())
			request_done(0);
	}
}
