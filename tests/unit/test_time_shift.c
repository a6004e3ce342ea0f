/* SPDX-License-Identifier: MIT */
/* Clocks of a state that is loaded on another boot of the host, or on the same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "machine/time_shift.h"
#include "machine/vcpu_apic.h"

#define MS UINT64_C(1000000)
#define S  (1000 * MS)

enum {
	KHZ = 2500000, /* of the guest's TSC: 2.5 ticks a nanosecond */
	APIC_LVTT = 0x320,
	APIC_TMICT = 0x380,
	APIC_TMCCT = 0x390,
	APIC_TDCR = 0x3e0,
	PERIODIC = 1 << 17,
	DIVIDE_BY_1 = 0xb,
};

/* A host that had been up for 100 days. */
static const struct host_time saved = {
	.realtime_ns = 1700000000 * S,
	.boottime_ns = 8640000 * S,
	.boot_id = { 1 },
};

/* And one that has been up for a minute, when an hour has gone. */
static const struct host_time rebooted = {
	.realtime_ns = 1700003600 * S,
	.boottime_ns = 60 * S,
	.boot_id = { 2 },
};

/* The saving host's TSC, which began with its uptime, 2 ms before the clocks were read. */
static const struct tsc_reading saved_tsc = {
	.boottime_ns = 8640000 * S - 2 * MS,
	.tsc = (8640000 * S - 2 * MS) / 2 * 5,
};

static struct time_shift shift_to(const struct host_time *now, uint64_t tsc)
{
	struct time_shift t = time_shift_find(&saved, now);
	const struct tsc_reading reading = { .boottime_ns = now->boottime_ns, .tsc = tsc };

	if (t.other_boot)
		time_shift_set_tsc(&t, &saved_tsc, &reading, KHZ);
	return t;
}

static void the_same_boot_needs_no_correction(void **state)
{
	struct host_time now = saved;
	struct time_shift t;

	(void)state;
	now.boottime_ns += 5 * S;
	/* Whatever became of the time of day. */
	now.realtime_ns -= 3600 * S;
	t = shift_to(&now, 12345);
	assert_false(t.other_boot);
	assert_int_equal(t.tsc, 0);
	assert_int_equal(time_shift_boottime(&t, now.boottime_ns), now.boottime_ns);
	assert_int_equal(host_time_elapsed_ns(&saved, &now), 5 * S);
}

static void the_guests_tsc_goes_on_by_the_time_it_was_away(void **state)
{
	const uint64_t offset = 0 - saved_tsc.tsc + 777, host_tsc = 60 * S / 2 * 5;
	struct time_shift t = shift_to(&rebooted, host_tsc);

	(void)state;
	assert_true(t.other_boot);
	/* It showed 777 when it was saved; 3,600.002 s have gone since. */
	assert_int_equal(host_tsc + offset + t.tsc, 777 + (3600 * S + 2 * MS) / 2 * 5);
}

static void the_tscs_of_all_vcpus_stay_as_far_apart_as_they_were(void **state)
{
	const uint64_t offsets[] = { 0 - saved_tsc.tsc, 0 - saved_tsc.tsc, 1000 - saved_tsc.tsc };
	struct time_shift t = shift_to(&rebooted, 60 * S);

	(void)state;
	assert_int_equal(offsets[0] + t.tsc, offsets[1] + t.tsc);
	assert_int_equal((offsets[2] + t.tsc) - (offsets[0] + t.tsc), 1000);
}

static void a_clock_that_was_set_back_does_not_set_the_guest_back(void **state)
{
	const uint64_t offset = 0 - saved_tsc.tsc + 777, host_tsc = 60 * S;
	struct host_time now = rebooted;
	struct time_shift t;

	(void)state;
	now.realtime_ns = saved.realtime_ns - 3600 * S;
	assert_int_equal(host_time_elapsed_ns(&saved, &now), 0);
	t = shift_to(&now, host_tsc);
	/* The 2 ms before the clocks were read are known even so. */
	assert_int_equal(host_tsc + offset + t.tsc, 777 + 2 * MS / 2 * 5);
	assert_int_equal(time_shift_boottime(&t, now.boottime_ns), saved.boottime_ns);
}

static void a_reading_from_the_future_counts_as_none(void **state)
{
	const struct tsc_reading late = { .boottime_ns = UINT64_MAX, .tsc = 5 };
	const struct tsc_reading now = { .boottime_ns = rebooted.boottime_ns, .tsc = 3 };
	struct time_shift t = time_shift_find(&saved, &rebooted);

	(void)state;
	time_shift_set_tsc(&t, &late, &now, UINT32_MAX);
	assert_int_equal(t.tsc, 2);
}

static void put(struct vcpu_apic_state *a, unsigned int reg, uint32_t v)
{
	memcpy(a->regs + reg, &v, sizeof(v));
}

/* A period of 4 s, of which 3 s were left 1 s before the clocks were read. */
static void the_lapic_timer_keeps_its_phase_over_a_reboot(void **state)
{
	struct time_shift t = shift_to(&rebooted, 0);
	struct vcpu_apic_state a = { .saved_ns = saved.boottime_ns - S, .bus_ns = 1 };
	uint32_t left;

	(void)state;
	put(&a, APIC_LVTT, PERIODIC | 0xec);
	put(&a, APIC_TDCR, DIVIDE_BY_1);
	put(&a, APIC_TMICT, (uint32_t)(4 * S));
	put(&a, APIC_TMCCT, (uint32_t)(3 * S));
	/* 3,601 s have gone since. */
	vcpu_apic_advance(&a, time_shift_boottime(&t, rebooted.boottime_ns));
	memcpy(&left, a.regs + APIC_TMCCT, sizeof(left));
	assert_int_equal(left, 2 * S);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_same_boot_needs_no_correction),
		cmocka_unit_test(the_guests_tsc_goes_on_by_the_time_it_was_away),
		cmocka_unit_test(the_tscs_of_all_vcpus_stay_as_far_apart_as_they_were),
		cmocka_unit_test(a_clock_that_was_set_back_does_not_set_the_guest_back),
		cmocka_unit_test(a_reading_from_the_future_counts_as_none),
		cmocka_unit_test(the_lapic_timer_keeps_its_phase_over_a_reboot),
	};

	return cmocka_run_group_tests_name("time_shift", tests, NULL, NULL);
}
