/* SPDX-License-Identifier: MIT */
/* The real-time clock on host clocks that the test moves. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/util.h"
#include "dev/pc/rtc.h"
#include "dev/pc/rtc_time.h"
#include "host/clock.h"

#define NS_PER_S  UINT64_C(1000000000)
#define NS_PER_MS UINT64_C(1000000)

/* 2026-07-05, a Sunday, 21:08:09 UTC. */
#define SOME_TIME_S UINT64_C(1783285689)

/* The host's clocks; the functions stand in for host/clock.c, so they can have no context. */
static struct {
	uint64_t boottime;
	uint64_t realtime;
} host;

uint64_t clock_boottime_ns(void)
{
	return host.boottime;
}

uint64_t clock_realtime_ns(void)
{
	return host.realtime;
}

uint64_t clock_tsc(void)
{
	return host.boottime;
}

struct fixture {
	pthread_mutex_t lock;
	struct loop *loop;
	struct rtc rtc;
	bool level;
	unsigned int edges; /* rising */
};

static void set_line(void *opaque, unsigned int line, bool level)
{
	struct fixture *f = opaque;

	assert_int_equal(line, 8);
	f->edges += level && !f->level;
	f->level = level;
}

static void init_clock(struct fixture *f)
{
	struct err e;

	memset(f, 0, sizeof(*f));
	pthread_mutex_init(&f->lock, NULL);
	pthread_mutex_lock(&f->lock);
	assert_int_equal(loop_create(&f->loop, &f->lock, &e), 0);
	rtc_init(&f->rtc, (struct irq){ .set = set_line, .opaque = f, .line = 8 }, f->loop);
	rtc_class.reset(&f->rtc.dev);
}

static void fini_clock(struct fixture *f)
{
	loop_timer_cancel(&f->rtc.h.timer);
	loop_work_cancel(f->loop, &f->rtc.h.rearm);
	loop_destroy(f->loop);
	pthread_mutex_unlock(&f->lock);
	pthread_mutex_destroy(&f->lock);
}

static int setup(void **state)
{
	struct fixture *f = malloc(sizeof(*f));

	host.boottime = 1000 * NS_PER_S;
	host.realtime = SOME_TIME_S * NS_PER_S;
	init_clock(f);
	rtc_class.run_changed(&f->rtc.dev, true);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	fini_clock(*state);
	free(*state);
	return 0;
}

static uint8_t in(struct fixture *f, unsigned int reg)
{
	f->rtc.h.region.write(&f->rtc, 0, 1, reg);
	return (uint8_t)f->rtc.h.region.read(&f->rtc, 1, 1);
}

static void out(struct fixture *f, unsigned int reg, uint8_t v)
{
	f->rtc.h.region.write(&f->rtc, 0, 1, reg);
	f->rtc.h.region.write(&f->rtc, 1, 1, v);
}

/* Lets host time pass, and the loop see it. */
static void pass(struct fixture *f, uint64_t ns)
{
	host.boottime += ns;
	host.realtime += ns;
	loop_run_once(f->loop, 0);
}

static void transfer(const struct fixture *from, struct fixture *to)
{
	const struct vs_desc *d = rtc_class.state;
	AUTO_BUF wire = { 0 };
	struct rtc_state s;
	struct cursor c;
	struct err e;

	vs_encode(d, &from->rtc.s, &wire, NULL);
	assert_false(wire.failed);
	cursor_init(&c, wire.data, wire.len);
	assert_int_equal(vs_decode(d, d->version, &c, &s, &e), 0);
	to->rtc.s = s;
	rtc_class.loaded(&to->rtc.dev);
}

static void assert_time(struct fixture *f, const char *bytes)
{
	static const uint8_t regs[] = { RTC_CENTURY, RTC_YEAR,    RTC_MONTH,   RTC_DAY,
					RTC_HOURS,   RTC_MINUTES, RTC_SECONDS, RTC_WEEKDAY };

	for (size_t i = 0; i < sizeof(regs); i++)
		assert_int_equal(in(f, regs[i]), (uint8_t)bytes[i]);
}

static void every_byte_of_the_state_is_in_the_table(void **state)
{
	struct err e;

	(void)state;
	assert_int_equal(vs_audit(rtc_class.state, &e), 0);
}

static void time_is_the_hosts_in_each_format(void **state)
{
	struct fixture *f = *state;

	assert_time(f, "\x20\x26\x07\x05\x21\x08\x09\x01");
	out(f, RTC_B, 0x00);
	assert_time(f, "\x20\x26\x07\x05\x89\x08\x09\x01");
	out(f, RTC_B, 0x06);
	assert_time(f, "\x14\x1a\x07\x05\x15\x08\x09\x01");
	out(f, RTC_B, 0x04);
	assert_time(f, "\x14\x1a\x07\x05\x89\x08\x09\x01");
	pass(f, 3 * NS_PER_S);
	assert_int_equal(in(f, RTC_SECONDS), 12);
}

static void midnight_and_noon_are_twelve_in_12_hour_mode(void **state)
{
	uint8_t cmos[RTC_CMOS_BYTES] = { 0 };

	(void)state;
	rtc_encode_time(0, 0, cmos);
	assert_int_equal(cmos[RTC_HOURS], 0x12);
	rtc_encode_time(12 * 3600, 0, cmos);
	assert_int_equal(cmos[RTC_HOURS], 0x92);
}

static void time_and_registers_convert_both_ways_over_three_centuries(void **state)
{
	uint8_t cmos[RTC_CMOS_BYTES];

	(void)state;
	for (int64_t t = INT64_C(-2208988800); t < INT64_C(7258118400); t += 86400 * 3 + 7919) {
		for (uint8_t b = 0; b < 8; b += 2) {
			rtc_encode_time(t, b, cmos);
			assert_int_equal(rtc_decode_time(b, cmos), t);
		}
	}
}

static void nonsense_in_the_time_registers_becomes_some_time(void **state)
{
	uint8_t cmos[RTC_CMOS_BYTES];

	(void)state;
	for (unsigned int v = 0; v < 256; v++) {
		memset(cmos, (int)v, sizeof(cmos));
		for (uint8_t b = 0; b < 8; b += 2) {
			int64_t t = rtc_decode_time(b, cmos);

			assert_true(t >= INT64_C(-2208988800) && t < INT64_C(7258118400));
		}
	}
}

static void time_set_by_the_guest_goes_on_from_there(void **state)
{
	static const uint8_t regs[][2] = { { RTC_SECONDS, 0x50 }, { RTC_MINUTES, 0x59 },
					   { RTC_HOURS, 0x23 },   { RTC_DAY, 0x28 },
					   { RTC_MONTH, 0x02 },   { RTC_YEAR, 0x24 },
					   { RTC_CENTURY, 0x20 } };
	struct fixture *f = *state, to;

	out(f, RTC_B, 0x82);
	for (size_t i = 0; i < ARRAY_SIZE(regs); i++)
		out(f, regs[i][0], regs[i][1]);
	pass(f, 5 * NS_PER_S);
	assert_int_equal(in(f, RTC_SECONDS), 0x50);
	out(f, RTC_B, 0x02);
	pass(f, 10 * NS_PER_S);
	assert_time(f, "\x20\x24\x02\x29\x00\x00\x00\x05");
	init_clock(&to);
	transfer(f, &to);
	pass(&to, 1 * NS_PER_S);
	assert_time(&to, "\x20\x24\x02\x29\x00\x00\x01\x05");
	fini_clock(&to);
}

static void set_clock_stays_still_over_a_transfer(void **state)
{
	struct fixture *f = *state, to;

	out(f, RTC_B, 0x82);
	out(f, RTC_MINUTES, 0x33);
	init_clock(&to);
	transfer(f, &to);
	pass(&to, 100 * NS_PER_S);
	assert_time(&to, "\x20\x26\x07\x05\x21\x33\x09\x01");
	out(&to, RTC_B, 0x02);
	assert_time(&to, "\x20\x26\x07\x05\x21\x33\x09\x01");
	fini_clock(&to);
}

static void single_register_can_be_written_while_the_clock_runs(void **state)
{
	struct fixture *f = *state;

	out(f, RTC_HOURS, 0x05);
	assert_time(f, "\x20\x26\x07\x05\x05\x08\x09\x01");
	pass(f, NS_PER_S);
	assert_time(f, "\x20\x26\x07\x05\x05\x08\x10\x01");
}

static void first_update_comes_half_a_second_after_the_divider_is_released(void **state)
{
	struct fixture *f = *state;

	pass(f, 300 * NS_PER_MS);
	out(f, RTC_B, 0x82);
	out(f, RTC_A, 0x76);
	out(f, RTC_SECONDS, 0x20);
	out(f, RTC_B, 0x02);
	pass(f, 3 * NS_PER_S);
	assert_int_equal(in(f, RTC_SECONDS), 0x20);
	out(f, RTC_A, 0x26);
	pass(f, 499 * NS_PER_MS);
	assert_int_equal(in(f, RTC_SECONDS), 0x20);
	pass(f, 2 * NS_PER_MS);
	assert_int_equal(in(f, RTC_SECONDS), 0x21);
}

static void update_in_progress_shows_just_before_the_second(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(in(f, RTC_A), 0x26);
	pass(f, NS_PER_S - 100000);
	assert_int_equal(in(f, RTC_A), 0xa6);
	pass(f, 100000);
	assert_int_equal(in(f, RTC_A), 0x26);
}

static void flags_can_be_polled_with_no_timer_armed(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(in(f, RTC_C), 0);
	pass(f, NS_PER_S);
	assert_false(f->rtc.h.timer.armed);
	assert_int_equal(in(f, RTC_C), 0x50);
	assert_int_equal(in(f, RTC_C), 0);
	assert_int_equal(f->edges, 0);
}

static void update_interrupt_comes_each_second_once_acknowledged(void **state)
{
	struct fixture *f = *state;

	pass(f, 250 * NS_PER_MS);
	out(f, RTC_B, 0x12);
	for (unsigned int i = 1; i <= 3; i++) {
		pass(f, 700 * NS_PER_MS);
		assert_false(f->level);
		pass(f, 300 * NS_PER_MS);
		assert_int_equal(f->edges, i);
		assert_int_equal(in(f, RTC_C) & 0x90, 0x90);
		assert_false(f->level);
		loop_run_once(f->loop, 0);
	}
	pass(f, 10 * NS_PER_S);
	assert_false(f->rtc.h.timer.armed); /* not acknowledged: nothing to wait for */
}

static void periodic_interrupt_has_the_rate_of_register_a(void **state)
{
	struct fixture *f = *state;

	out(f, RTC_A, 0x2a); /* 64 Hz */
	out(f, RTC_B, 0x42);
	for (unsigned int i = 0; i < 1000; i++) {
		pass(f, NS_PER_MS);
		if (f->level)
			in(f, RTC_C);
	}
	assert_in_range(f->edges, 63, 65);
}

static void period_ends_are_where_a_new_period_is_counted(void **state)
{
	(void)state;
	for (uint8_t rate = 1; rate < 16; rate++) {
		int64_t n = rtc_periods((int64_t)(SOME_TIME_S * NS_PER_S) + 12345, rate);
		int64_t end = rtc_period_end(n + 1, rate);

		assert_int_equal(rtc_periods(end, rate), n + 1);
		assert_int_equal(rtc_periods(end - 1, rate), n);
	}
}

static void alarm_interrupt_comes_at_its_second(void **state)
{
	struct fixture *f = *state;

	out(f, RTC_SECONDS_ALARM, 0x10);
	out(f, RTC_MINUTES_ALARM, 0x09);
	out(f, RTC_HOURS_ALARM, 0xff);
	out(f, RTC_B, 0x22);
	loop_run_once(f->loop, 0);
	pass(f, 60 * NS_PER_S);
	assert_false(f->level);
	pass(f, 1 * NS_PER_S);
	assert_true(f->level);
	assert_int_equal(in(f, RTC_C) & 0xa0, 0xa0);
	loop_run_once(f->loop, 0);
	pass(f, 3599 * NS_PER_S);
	assert_false(f->level);
	pass(f, 1 * NS_PER_S);
	assert_true(f->level);
}

static void alarm_that_matches_nothing_never_comes(void **state)
{
	uint8_t cmos[RTC_CMOS_BYTES] = { [RTC_SECONDS_ALARM] = 0x61 };

	(void)state;
	assert_int_equal(rtc_next_alarm(0, RTC_B_24H, cmos), RTC_NEVER);
	cmos[RTC_SECONDS_ALARM] = 0;
	assert_int_equal(rtc_next_alarm(0, RTC_B_24H, cmos), 86400);
	assert_int_equal(rtc_next_alarm(-1, RTC_B_24H, cmos), 0);
}

static void alarm_set_before_a_transfer_comes_after_it(void **state)
{
	struct fixture *f = *state, to;

	out(f, RTC_SECONDS_ALARM, 0x15);
	out(f, RTC_MINUTES_ALARM, 0xc0);
	out(f, RTC_HOURS_ALARM, 0xc0);
	out(f, RTC_B, 0x22);
	pass(f, 2 * NS_PER_S);
	rtc_class.run_changed(&f->rtc.dev, false);
	assert_false(f->rtc.h.timer.armed);
	init_clock(&to);
	transfer(f, &to);
	assert_false(to.rtc.h.timer.armed);
	rtc_class.run_changed(&to.rtc.dev, true);
	pass(&to, 3 * NS_PER_S);
	assert_false(to.level);
	pass(&to, 1 * NS_PER_S);
	assert_true(to.level);
	fini_clock(&to);
}

static void alarm_that_fell_into_the_pause_comes_when_the_guest_runs(void **state)
{
	struct fixture *f = *state, to;

	out(f, RTC_SECONDS_ALARM, 0x10);
	out(f, RTC_MINUTES_ALARM, 0xc0);
	out(f, RTC_HOURS_ALARM, 0xc0);
	out(f, RTC_B, 0x22);
	rtc_class.run_changed(&f->rtc.dev, false);
	init_clock(&to);
	transfer(f, &to);
	pass(&to, 5 * NS_PER_S);
	assert_false(to.level);
	rtc_class.run_changed(&to.rtc.dev, true);
	assert_true(to.level);
	assert_int_equal(to.edges, 1);
	fini_clock(&to);
}

static void pending_interrupt_is_raised_after_load(void **state)
{
	struct fixture *f = *state, to;

	out(f, RTC_B, 0x12);
	pass(f, 2 * NS_PER_S);
	pass(f, 0);
	assert_true(f->level);
	init_clock(&to);
	transfer(f, &to);
	assert_true(to.level);
	assert_int_equal(in(&to, RTC_C) & 0x90, 0x90);
	assert_false(to.level);
	fini_clock(&to);
}

static void periodic_interrupt_goes_on_after_load(void **state)
{
	struct fixture *f = *state, to;

	out(f, RTC_A, 0x2f); /* 2 Hz */
	out(f, RTC_B, 0x42);
	pass(f, 100 * NS_PER_MS);
	init_clock(&to);
	transfer(f, &to);
	rtc_class.run_changed(&to.rtc.dev, true);
	pass(&to, 399 * NS_PER_MS);
	assert_false(to.level);
	pass(&to, 1 * NS_PER_MS);
	assert_true(to.level);
	fini_clock(&to);
}

static void stopped_clock_state_does_not_change(void **state)
{
	struct fixture *f = *state;
	struct rtc_state before;

	out(f, RTC_B, 0x72);
	loop_run_once(f->loop, 0);
	rtc_class.run_changed(&f->rtc.dev, false);
	before = f->rtc.s;
	pass(f, 100 * NS_PER_S);
	assert_memory_equal(&before, &f->rtc.s, sizeof(before));
}

static void host_clock_set_back_makes_no_events(void **state)
{
	struct fixture *f = *state;

	in(f, RTC_C);
	host.realtime -= 3600 * NS_PER_S;
	assert_int_equal(in(f, RTC_C), 0);
	pass(f, NS_PER_S);
	assert_int_equal(in(f, RTC_C), 0x50);
}

static void reset_keeps_time_and_memory_and_disables_interrupts(void **state)
{
	struct fixture *f = *state;

	out(f, 0x40, 0x5a);
	out(f, RTC_HOURS, 0x03);
	out(f, RTC_B, 0x12);
	pass(f, NS_PER_S);
	pass(f, NS_PER_S);
	assert_true(f->level);
	rtc_class.reset(&f->rtc.dev);
	assert_false(f->level);
	assert_int_equal(in(f, RTC_B), 0x02);
	assert_int_equal(in(f, 0x40), 0x5a);
	assert_int_equal(in(f, RTC_HOURS), 0x03);
	assert_int_equal(in(f, RTC_D), 0x80);
}

static void extreme_states_are_refused_or_harmless(void **state)
{
	const struct vs_desc *d = rtc_class.state;
	struct fixture *f = *state;
	AUTO_BUF wire = { 0 };
	struct rtc_state s;
	struct cursor c;
	struct err e;

	f->rtc.s.offset_ns = INT64_MAX;
	vs_encode(d, &f->rtc.s, &wire, NULL);
	cursor_init(&c, wire.data, wire.len);
	assert_int_equal(vs_decode(d, d->version, &c, &s, &e), -EINVAL);
	for (int64_t offset = -9; offset <= 9; offset += 3) {
		f->rtc.s.offset_ns = offset * (int64_t)(NS_PER_S * NS_PER_S);
		memset(f->rtc.s.cmos, 0xff, sizeof(f->rtc.s.cmos));
		f->rtc.s.cmos[RTC_A] = 0x23;
		f->rtc.s.cmos[RTC_B] = 0x70;
		rtc_class.loaded(&f->rtc.dev);
		in(f, RTC_C);
		in(f, RTC_YEAR);
		out(f, RTC_YEAR, 0xff);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(every_byte_of_the_state_is_in_the_table),
		TEST(time_is_the_hosts_in_each_format),
		TEST(midnight_and_noon_are_twelve_in_12_hour_mode),
		TEST(time_and_registers_convert_both_ways_over_three_centuries),
		TEST(nonsense_in_the_time_registers_becomes_some_time),
		TEST(time_set_by_the_guest_goes_on_from_there),
		TEST(set_clock_stays_still_over_a_transfer),
		TEST(single_register_can_be_written_while_the_clock_runs),
		TEST(first_update_comes_half_a_second_after_the_divider_is_released),
		TEST(update_in_progress_shows_just_before_the_second),
		TEST(flags_can_be_polled_with_no_timer_armed),
		TEST(update_interrupt_comes_each_second_once_acknowledged),
		TEST(periodic_interrupt_has_the_rate_of_register_a),
		TEST(period_ends_are_where_a_new_period_is_counted),
		TEST(alarm_interrupt_comes_at_its_second),
		TEST(alarm_that_matches_nothing_never_comes),
		TEST(alarm_set_before_a_transfer_comes_after_it),
		TEST(alarm_that_fell_into_the_pause_comes_when_the_guest_runs),
		TEST(pending_interrupt_is_raised_after_load),
		TEST(periodic_interrupt_goes_on_after_load),
		TEST(stopped_clock_state_does_not_change),
		TEST(host_clock_set_back_makes_no_events),
		TEST(reset_keeps_time_and_memory_and_disables_interrupts),
		TEST(extreme_states_are_refused_or_harmless),
	};

	return cmocka_run_group_tests_name("rtc", tests, NULL, NULL);
}
