/* SPDX-License-Identifier: MIT */
/* The countdown timer on the clock of a real machine: the host's, with an event loop. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "host/clock.h"
#include "machine/ptimer_loop.h"

struct real {
	struct ptimer_loop clock;
	struct ptimer_state s;
	struct ptimer t;
	uint64_t expiries;
};

static void real_expired(void *opaque, uint64_t n)
{
	((struct real *)opaque)->expiries += n;
}

static void the_event_loop_rings_it(void **state)
{
	pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	uint64_t start, end;
	struct loop *loop;
	struct real r = { 0 };
	struct err e;

	(void)state;
	pthread_mutex_lock(&lock);
	assert_int_equal(loop_create(&loop, &lock, &e), 0);
	ptimer_init(&r.t, &r.s, &r.clock.clock, real_expired, &r);
	ptimer_loop_init(&r.clock, loop, &r.t);
	ptimer_run_changed(&r.t, true);
	ptimer_set_freq(&r.t, 1000000);
	ptimer_set_limit(&r.t, 1000, true);
	start = clock_boottime_ns();
	ptimer_start(&r.t, false);
	while (r.expiries < 20)
		loop_run_once(loop, 1000);
	end = clock_boottime_ns();
	/* Never too early; how late is the host's affair. */
	assert_true(end - start >= 20 * 1000000);
	ptimer_stop(&r.t);
	assert_in_range(r.expiries, 20, (clock_boottime_ns() - start) / 1000000);
	loop_run_once(loop, 0);
	assert_false(r.clock.alarm.armed);
	ptimer_loop_fini(&r.clock);
	loop_destroy(loop);
	pthread_mutex_unlock(&lock);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_event_loop_rings_it),
	};

	return cmocka_run_group_tests_name("ptimer_loop", tests, NULL, NULL);
}
