/* SPDX-License-Identifier: MIT */
/* The countdown timer against a made-up clock: exact for ever, saved and loaded mid-period. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/util.h"
#include "machine/ptimer.h"

#define NEVER  UINT64_MAX
#define SECOND UINT64_C(1000000000)

/* A process: a clock that tests turn, and one timer. */
struct world {
	uint64_t now, alarm;
	struct ptimer_clock clock;
	struct ptimer_state s;
	struct ptimer t;
	uint64_t expiries, calls;
	void (*then)(struct world *w);
};

static uint64_t world_now(void *opaque)
{
	return ((struct world *)opaque)->now;
}

static void world_set(void *opaque, uint64_t at)
{
	((struct world *)opaque)->alarm = at;
}

static void world_cancel(void *opaque)
{
	((struct world *)opaque)->alarm = NEVER;
}

static void world_expired(void *opaque, uint64_t n)
{
	struct world *w = opaque;

	assert_true(n > 0);
	w->expiries += n;
	w->calls++;
	if (w->then)
		w->then(w);
}

static void begin(struct world *w, uint64_t now)
{
	*w = (struct world){ .now = now, .alarm = NEVER };
	w->clock = (struct ptimer_clock){ world_now, world_set, world_cancel, w };
	ptimer_init(&w->t, &w->s, &w->clock, world_expired, w);
	ptimer_run_changed(&w->t, true);
}

/* Turns the clock to @to, ringing on time. */
static void turn(struct world *w, uint64_t to)
{
	while (w->alarm <= to) {
		w->now = MAX(w->now, w->alarm);
		w->alarm = NEVER;
		ptimer_alarm(&w->t);
	}
	w->now = to;
}

static void a_periodic_timer_counts_down_and_goes_on(void **state)
{
	struct world w;

	(void)state;
	begin(&w, 5000);
	ptimer_set_period_ns(&w.t, 100000);
	ptimer_set_limit(&w.t, 10, true);
	assert_int_equal(ptimer_get_count(&w.t), 10);
	assert_false(ptimer_is_running(&w.t));
	ptimer_start(&w.t, false);
	assert_true(ptimer_is_running(&w.t));
	assert_int_equal(w.alarm, 1005000);
	turn(&w, 5000 + 99999);
	assert_int_equal(ptimer_get_count(&w.t), 10);
	turn(&w, 5000 + 100000);
	assert_int_equal(ptimer_get_count(&w.t), 9);
	turn(&w, 5000 + 999999);
	assert_int_equal(ptimer_get_count(&w.t), 1);
	assert_int_equal(w.expiries, 0);
	turn(&w, 5000 + 1000000);
	assert_int_equal(ptimer_get_count(&w.t), 10);
	assert_int_equal(w.expiries, 1);
	turn(&w, 5000 + 3500000);
	assert_int_equal(ptimer_get_count(&w.t), 5);
	assert_int_equal(w.expiries, 3);
	assert_int_equal(w.calls, 3);
}

static void a_one_shot_timer_ends_at_zero(void **state)
{
	struct world w;

	(void)state;
	begin(&w, 0);
	ptimer_set_freq(&w.t, 1000);
	ptimer_set_limit(&w.t, 7, false);
	ptimer_set_count(&w.t, 3);
	ptimer_start(&w.t, true);
	turn(&w, 2999999);
	assert_int_equal(ptimer_get_count(&w.t), 1);
	assert_int_equal(w.expiries, 0);
	turn(&w, 3000000);
	assert_int_equal(ptimer_get_count(&w.t), 0);
	assert_int_equal(w.expiries, 1);
	assert_false(ptimer_is_running(&w.t));
	assert_int_equal(w.alarm, NEVER);
	turn(&w, SECOND);
	assert_int_equal(w.expiries, 1);
	/* From 0 it starts at its limit. */
	ptimer_start(&w.t, true);
	assert_int_equal(ptimer_get_count(&w.t), 7);
	assert_int_equal(w.alarm, SECOND + 7000000);
}

/* 3.579545 MHz, whose tick is no whole number of nanoseconds. */
static void no_rounding_adds_up(void **state)
{
	const uint32_t hz = 3579545;
	struct world w;

	(void)state;
	begin(&w, 12345);
	ptimer_set_freq(&w.t, hz);
	ptimer_set_limit(&w.t, hz, true);
	ptimer_start(&w.t, false);
	/* Whole seconds to the nanosecond, after a day, however often it is looked at. */
	for (uint64_t s = 1; s <= 86400; s++) {
		assert_int_equal(w.alarm, 12345 + s * SECOND);
		turn(&w, w.alarm);
		if (s % 97 == 0)
			assert_int_equal(ptimer_get_count(&w.t), hz);
		/* A second look at the mode changes nothing, phase included. */
		ptimer_start(&w.t, false);
	}
	assert_int_equal(w.expiries, 86400);
	/* So after 100 years that nobody looked. */
	ptimer_run_changed(&w.t, false);
	assert_int_equal(w.alarm, NEVER);
	w.now += 3155760000 * SECOND;
	assert_int_equal(ptimer_get_count(&w.t), hz);
	ptimer_run_changed(&w.t, true);
	assert_int_equal(w.expiries, 86400 + UINT64_C(3155760000));
	assert_int_equal(w.calls, 86401);
}

static void a_change_of_limit_holds_from_the_next_period(void **state)
{
	struct world w;

	(void)state;
	begin(&w, 0);
	ptimer_set_freq(&w.t, 3000);
	ptimer_set_limit(&w.t, 30, true);
	ptimer_start(&w.t, false);
	turn(&w, 3500000);
	assert_int_equal(ptimer_get_count(&w.t), 20);
	/* In the middle of a tick, which goes on. */
	ptimer_set_limit(&w.t, 3, false);
	assert_int_equal(ptimer_get_count(&w.t), 20);
	assert_int_equal(w.alarm, 10000000);
	turn(&w, 12000000);
	assert_int_equal(w.expiries, 3);
	ptimer_set_limit(&w.t, 300, true);
	assert_int_equal(w.alarm, 112000000);
	ptimer_set_limit(&w.t, 0, true);
	assert_false(ptimer_is_running(&w.t));
	assert_int_equal(w.alarm, NEVER);
	ptimer_start(&w.t, false);
	assert_false(ptimer_is_running(&w.t));
}

static void stop_keeps_the_count(void **state)
{
	struct world w;

	(void)state;
	begin(&w, 0);
	ptimer_set_period_ns(&w.t, 100000);
	ptimer_set_limit(&w.t, 10, true);
	ptimer_start(&w.t, false);
	turn(&w, 430000);
	ptimer_stop(&w.t);
	assert_int_equal(w.alarm, NEVER);
	turn(&w, SECOND);
	assert_int_equal(ptimer_get_count(&w.t), 6);
	ptimer_start(&w.t, false);
	assert_int_equal(w.alarm, SECOND + 600000);
	ptimer_set_period_ns(&w.t, 200000);
	assert_int_equal(w.alarm, SECOND + 1200000);
	ptimer_set_count(&w.t, 0);
	assert_int_equal(ptimer_get_count(&w.t), 10);
	assert_int_equal(w.expiries, 0);
}

static void stop_when_it_expires(struct world *w)
{
	ptimer_stop(&w->t);
}

static void halve(struct world *w)
{
	ptimer_set_limit(&w->t, w->s.limit / 2, true);
}

static void the_handler_may_change_the_timer(void **state)
{
	struct world w;

	(void)state;
	begin(&w, 0);
	w.then = stop_when_it_expires;
	ptimer_set_limit(&w.t, 50000, true);
	ptimer_start(&w.t, false);
	turn(&w, SECOND);
	assert_int_equal(w.calls, 1);
	assert_false(ptimer_is_running(&w.t));

	begin(&w, 0);
	w.then = halve;
	ptimer_set_period_ns(&w.t, 20000);
	ptimer_set_limit(&w.t, 8, true);
	ptimer_start(&w.t, false);
	turn(&w, SECOND);
	/* 8, 4, 2, 1, and then there is no limit. */
	assert_int_equal(w.calls, 4);
	assert_false(ptimer_is_running(&w.t));
}

static void a_greedy_timer_does_not_wake_the_host_for_each_expiry(void **state)
{
	struct world w;

	(void)state;
	begin(&w, 0);
	ptimer_set_period_ns(&w.t, 1);
	ptimer_set_limit(&w.t, 1, true);
	ptimer_start(&w.t, false);
	turn(&w, 1000000);
	ptimer_sync(&w.t);
	assert_int_equal(w.expiries, 1000000);
	assert_in_range(w.calls, 1, 1000000 / PTIMER_MIN_ALARM_NS + 1);
}

static void save(const struct world *w, struct buf *out)
{
	vs_encode(&ptimer_state_desc, &w->s, out, NULL);
}

/* As a device does: a timer set up as new, its state replaced, then the guest runs. */
static void load(struct world *w, uint64_t now, const struct buf *b, int64_t rebase)
{
	struct cursor in;
	struct err e;

	begin(w, now);
	ptimer_run_changed(&w->t, false);
	cursor_init(&in, b->data, b->len);
	assert_int_equal(vs_decode(&ptimer_state_desc, 1, &in, &w->s, &e), 0);
	ptimer_rebase(&w->s, rebase);
	ptimer_loaded(&w->t);
	assert_int_equal(w->alarm, NEVER);
	ptimer_run_changed(&w->t, true);
}

static void a_timer_saved_mid_period_goes_on_without_drift(void **state)
{
	const uint32_t hz = 7000003;
	struct world stay, move[2];
	uint64_t expiries = 0;

	(void)state;
	begin(&stay, 777);
	ptimer_set_freq(&stay.t, hz);
	ptimer_set_limit(&stay.t, 50000, true);
	ptimer_set_count(&stay.t, 333);
	ptimer_start(&stay.t, false);
	move[0] = stay;
	move[0].clock.opaque = move[0].t.opaque = &move[0];
	move[0].t.s = &move[0].s;
	move[0].t.clock = &move[0].clock;
	/* Moved 500 times, at odd moments, with pauses in which time goes on. */
	for (unsigned int i = 0; i < 500; i++) {
		struct world *old = &move[i % 2], *new = &move[1 - i % 2];
		AUTO_BUF b = { 0 };

		turn(old, old->now + 12345678 + i * 1013);
		ptimer_run_changed(&old->t, false);
		save(old, &b);
		expiries += old->expiries;
		load(new, old->now + (i % 3) * 9999999, &b, 0);
		turn(&stay, new->now);
		assert_int_equal(ptimer_get_count(&new->t), ptimer_get_count(&stay.t));
		assert_int_equal(new->alarm, MAX(stay.alarm, new->now + PTIMER_MIN_ALARM_NS));
		assert_int_equal(expiries + new->expiries, stay.expiries);
	}
	assert_true(stay.expiries > 500);
}

static void an_expiry_that_fell_between_save_and_load_is_delivered(void **state)
{
	struct world old, new;
	AUTO_BUF b = { 0 };

	(void)state;
	begin(&old, 0);
	ptimer_set_limit(&old.t, 1000000, true);
	ptimer_start(&old.t, true);
	turn(&old, 400000);
	ptimer_run_changed(&old.t, false);
	save(&old, &b);
	load(&new, 5000000, &b, 0);
	assert_int_equal(new.expiries, 1);
	assert_false(ptimer_is_running(&new.t));
	assert_int_equal(old.expiries, 0);
	/* Saved again, it is not delivered again. */
	b.len = 0;
	ptimer_run_changed(&new.t, false);
	save(&new, &b);
	load(&old, 6000000, &b, 0);
	assert_int_equal(old.expiries, 0);
}

static void a_state_from_another_clock_is_rebased(void **state)
{
	struct world old, new;
	AUTO_BUF b = { 0 };

	(void)state;
	begin(&old, 90 * SECOND);
	ptimer_set_limit(&old.t, 1000000, true);
	ptimer_start(&old.t, false);
	turn(&old, 90 * SECOND + 250000);
	ptimer_run_changed(&old.t, false);
	save(&old, &b);
	/* The host was started anew; the clock shows 5 s. */
	load(&new, 5 * SECOND, &b, -(int64_t)(85 * SECOND) - 250000);
	assert_int_equal(ptimer_get_count(&new.t), 750000);
	assert_int_equal(new.alarm, 5 * SECOND + 750000);
	assert_int_equal(new.expiries, 0);
}

/* States that no timer writes: nothing but a refusal or a timer that works comes of them. */
static void a_hostile_state_does_no_harm(void **state)
{
	static const uint64_t odd[] = {
		0, 1, 2, 1000, UINT32_MAX, UINT64_MAX / 2, UINT64_MAX - 1, UINT64_MAX
	};
	unsigned int seed = 1;

	(void)state;
	for (unsigned int i = 0; i < 20000; i++) {
		uint64_t v[6];
		struct world w;

		begin(&w, SECOND);
		ptimer_run_changed(&w.t, false);
		for (unsigned int k = 0; k < ARRAY_SIZE(v); k++)
			v[k] = odd[(unsigned int)rand_r(&seed) % ARRAY_SIZE(odd)];
		w.s = (struct ptimer_state){ .limit = v[0],
					     .count = v[1],
					     .rate_num = MAX(v[2], UINT64_C(1)),
					     .start_ns = v[3],
					     .phase = v[4],
					     .fired = v[5],
					     .rate_den = (uint32_t)MAX(v[0] ^ i, UINT64_C(1)) };
		w.s.rate_den = MAX(w.s.rate_den, 1u);
		w.s.mode = (uint32_t)rand_r(&seed) % 3;
		ptimer_loaded(&w.t);
		ptimer_run_changed(&w.t, true);
		for (unsigned int k = 0; k < 10 && w.alarm != NEVER; k++) {
			assert_true(w.alarm >= w.now + PTIMER_MIN_ALARM_NS);
			w.now = w.alarm;
			w.alarm = NEVER;
			ptimer_alarm(&w.t);
		}
		ptimer_get_count(&w.t);
		ptimer_set_limit(&w.t, v[5], i & 1);
		ptimer_start(&w.t, i & 2);
		ptimer_set_freq(&w.t, (uint32_t)v[0]);
		ptimer_stop(&w.t);
	}
}

static void the_state_is_described_whole(void **state)
{
	struct ptimer_state got;
	AUTO_BUF b = { 0 };
	struct cursor in;
	struct world w;
	struct err e;

	(void)state;
	assert_int_equal(vs_audit(&ptimer_state_desc, &e), 0);
	begin(&w, 0);
	w.s.mode = PTIMER_ONE_SHOT + 1;
	save(&w, &b);
	cursor_init(&in, b.data, b.len);
	assert_true(vs_decode(&ptimer_state_desc, 1, &in, &got, &e) < 0);
	assert_non_null(strstr(e.msg, "field 'mode' of 'ptimer/state' is out of range"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_periodic_timer_counts_down_and_goes_on),
		cmocka_unit_test(a_one_shot_timer_ends_at_zero),
		cmocka_unit_test(no_rounding_adds_up),
		cmocka_unit_test(a_change_of_limit_holds_from_the_next_period),
		cmocka_unit_test(stop_keeps_the_count),
		cmocka_unit_test(the_handler_may_change_the_timer),
		cmocka_unit_test(a_greedy_timer_does_not_wake_the_host_for_each_expiry),
		cmocka_unit_test(a_timer_saved_mid_period_goes_on_without_drift),
		cmocka_unit_test(an_expiry_that_fell_between_save_and_load_is_delivered),
		cmocka_unit_test(a_state_from_another_clock_is_rebased),
		cmocka_unit_test(a_hostile_state_does_no_harm),
		cmocka_unit_test(the_state_is_described_whole),
	};

	return cmocka_run_group_tests_name("ptimer", tests, NULL, NULL);
}
