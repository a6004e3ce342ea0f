/* SPDX-License-Identifier: MIT */
/* Unit tests: the LAPIC timer goes on while its vCPU is moved. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "machine/vcpu_apic.h"

enum {
	TMR = 0x180,
	IRR = 0x200,
	LVTT = 0x320,
	TMICT = 0x380,
	TMCCT = 0x390,
	TDCR = 0x3e0,

	ONESHOT = 0 << 17,
	PERIODIC = 1 << 17,
	DEADLINE = 2 << 17,
	MASKED = 1 << 16,
	VECTOR = 0xec,
	DIVIDE_BY_1 = 0xb,
	DIVIDE_BY_16 = 0x3,
	SAVED_NS = 1000000,
};

static uint32_t get(const struct vcpu_apic_state *a, unsigned int reg)
{
	uint32_t v;

	memcpy(&v, a->regs + reg, sizeof(v));
	return v;
}

static void put(struct vcpu_apic_state *a, unsigned int reg, uint32_t v)
{
	memcpy(a->regs + reg, &v, sizeof(v));
}

static struct vcpu_apic_state timer(uint32_t lvtt, uint32_t initial, uint32_t current)
{
	struct vcpu_apic_state a = { .saved_ns = SAVED_NS, .bus_ns = 1 };

	put(&a, LVTT, lvtt | VECTOR);
	put(&a, TDCR, DIVIDE_BY_1);
	put(&a, TMICT, initial);
	put(&a, TMCCT, current);
	return a;
}

static int requested(const struct vcpu_apic_state *a)
{
	return get(a, IRR + VECTOR / 32 * 0x10) >> VECTOR % 32 & 1;
}

static void a_count_goes_on_by_the_time_gone(void **state)
{
	struct vcpu_apic_state a = timer(PERIODIC, 1000, 700);

	(void)state;
	vcpu_apic_advance(&a, SAVED_NS + 300);
	assert_int_equal(get(&a, TMCCT), 400);
	assert_int_equal(get(&a, TMICT), 1000);
	assert_false(requested(&a));
}

static void the_divider_and_the_bus_cycle_count(void **state)
{
	struct vcpu_apic_state a = timer(PERIODIC, 1000, 700);

	(void)state;
	put(&a, TDCR, DIVIDE_BY_16);
	a.bus_ns = 10;
	vcpu_apic_advance(&a, SAVED_NS + 160 * 300);
	assert_int_equal(get(&a, TMCCT), 400);
}

static void a_period_that_ran_out_is_requested_and_keeps_its_phase(void **state)
{
	struct vcpu_apic_state a = timer(PERIODIC, 1000, 700);

	(void)state;
	vcpu_apic_advance(&a, SAVED_NS + 950);
	assert_int_equal(get(&a, TMCCT), 750);
	assert_true(requested(&a));
}

static void many_periods_are_one_interrupt_in_phase(void **state)
{
	struct vcpu_apic_state a = timer(PERIODIC, 1000, 700);

	(void)state;
	vcpu_apic_advance(&a, SAVED_NS + 700 + 5 * 1000 + 1);
	assert_int_equal(get(&a, TMCCT), 999);
	assert_true(requested(&a));
	assert_int_equal(get(&a, IRR), 0);
}

static void a_period_that_ends_now_starts_anew(void **state)
{
	struct vcpu_apic_state a = timer(PERIODIC, 1000, 700);

	(void)state;
	vcpu_apic_advance(&a, SAVED_NS + 700);
	assert_int_equal(get(&a, TMCCT), 1000);
	assert_true(requested(&a));
}

static void a_masked_timer_requests_nothing(void **state)
{
	struct vcpu_apic_state a = timer(PERIODIC | MASKED, 1000, 700);

	(void)state;
	vcpu_apic_advance(&a, SAVED_NS + 950);
	assert_int_equal(get(&a, TMCCT), 750);
	assert_false(requested(&a));
}

static void a_one_shot_that_ran_out_fires_once_and_is_off(void **state)
{
	struct vcpu_apic_state a = timer(ONESHOT, 1000, 700);

	(void)state;
	put(&a, TMR + VECTOR / 32 * 0x10, 1u << VECTOR % 32);
	vcpu_apic_advance(&a, SAVED_NS + 700);
	assert_int_equal(get(&a, TMCCT), 0);
	assert_int_equal(get(&a, TMICT), 0);
	assert_true(requested(&a));
	/* Edge-triggered. */
	assert_int_equal(get(&a, TMR + VECTOR / 32 * 0x10), 0);
}

static void a_one_shot_that_had_fired_does_not_fire_again(void **state)
{
	struct vcpu_apic_state a = timer(ONESHOT, 1000, 0);

	(void)state;
	vcpu_apic_advance(&a, SAVED_NS + 5000);
	assert_int_equal(get(&a, TMICT), 0);
	assert_false(requested(&a));
}

static void a_deadline_timer_and_a_stopped_one_are_left_alone(void **state)
{
	struct vcpu_apic_state a = timer(DEADLINE, 1000, 700), b = timer(PERIODIC, 0, 0), was;

	(void)state;
	was = a;
	vcpu_apic_advance(&a, SAVED_NS + 5000);
	assert_memory_equal(&a, &was, sizeof(a));
	was = b;
	vcpu_apic_advance(&b, SAVED_NS + 5000);
	assert_memory_equal(&b, &was, sizeof(b));
}

static void a_clock_that_is_behind_does_not_turn_the_count_back(void **state)
{
	struct vcpu_apic_state a = timer(PERIODIC, 1000, 700);

	(void)state;
	vcpu_apic_advance(&a, SAVED_NS - 500);
	assert_int_equal(get(&a, TMCCT), 700);
}

static void an_expiry_between_two_readings_shows(void **state)
{
	struct vcpu_apic_state a = timer(PERIODIC, 1000, 10), b = timer(PERIODIC, 1000, 990);
	struct vcpu_apic_state c = timer(ONESHOT, 1000, 10), d = timer(ONESHOT, 1000, 0);

	(void)state;
	assert_true(vcpu_apic_timer_expired(&a, &b));
	assert_false(vcpu_apic_timer_expired(&b, &a));
	assert_true(vcpu_apic_timer_expired(&c, &d));
	assert_false(vcpu_apic_timer_expired(&d, &d));
	assert_true(vcpu_apic_timer_counts(&a));
	assert_true(vcpu_apic_timer_counts(&d));
	b = timer(DEADLINE, 1000, 10);
	assert_false(vcpu_apic_timer_counts(&b));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_count_goes_on_by_the_time_gone),
		cmocka_unit_test(the_divider_and_the_bus_cycle_count),
		cmocka_unit_test(a_period_that_ran_out_is_requested_and_keeps_its_phase),
		cmocka_unit_test(many_periods_are_one_interrupt_in_phase),
		cmocka_unit_test(a_period_that_ends_now_starts_anew),
		cmocka_unit_test(a_masked_timer_requests_nothing),
		cmocka_unit_test(a_one_shot_that_ran_out_fires_once_and_is_off),
		cmocka_unit_test(a_one_shot_that_had_fired_does_not_fire_again),
		cmocka_unit_test(a_deadline_timer_and_a_stopped_one_are_left_alone),
		cmocka_unit_test(a_clock_that_is_behind_does_not_turn_the_count_back),
		cmocka_unit_test(an_expiry_between_two_readings_shows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
