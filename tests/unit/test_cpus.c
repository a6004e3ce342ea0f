/* SPDX-License-Identifier: MIT */
/* Where threads run: kept to a processor and away from others, as far as they may run there. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "host/cpus.h"

/* What the process may use at the start of each test. */
static cpu_set_t all;

static int look(void **state)
{
	(void)state;
	return sched_getaffinity(0, sizeof(all), &all);
}

static int restore(void **state)
{
	(void)state;
	return sched_setaffinity(0, sizeof(all), &all);
}

static void assert_may_run(pid_t tid, const cpu_set_t *where)
{
	cpu_set_t now;

	assert_int_equal(sched_getaffinity(tid, sizeof(now), &now), 0);
	assert_true(CPU_EQUAL(&now, where));
}

static int last_of(const cpu_set_t *set)
{
	int cpu = CPU_SETSIZE - 1;

	while (!CPU_ISSET(cpu, set))
		cpu--;
	return cpu;
}

static void a_pinned_thread_runs_there_until_it_is_let_go(void **state)
{
	int cpu = last_of(&all);
	cpu_set_t was, one;

	(void)state;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	assert_true(cpus_pin(getpid(), cpu, &was));
	assert_may_run(0, &one);
	assert_int_equal(sched_getcpu(), cpu);
	assert_int_equal(cpus_of_thread(getpid()), cpu);
	cpus_unpin(getpid(), &was);
	assert_may_run(0, &all);
}

static void a_processor_it_may_not_use_is_no_place(void **state)
{
	const int wrong[] = { -1, INT32_MIN, CPU_SETSIZE, INT32_MAX, CPU_SETSIZE - 1 };
	cpu_set_t was;

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		if (wrong[i] == last_of(&all))
			continue;
		assert_false(cpus_pin(getpid(), wrong[i], &was));
		assert_may_run(0, &all);
	}
}

static void what_is_busy_is_avoided_if_anything_else_is_left(void **state)
{
	cpu_set_t busy, rest;

	(void)state;
	CPU_ZERO(&busy);
	assert_true(cpus_besides(&busy, &rest));
	assert_true(CPU_EQUAL(&rest, &all));
	assert_false(cpus_besides(&all, &rest));
	cpus_avoid(&all);
	assert_may_run(0, &all);
	/* One that this process may not use anyway changes nothing. */
	CPU_SET(CPU_SETSIZE - 1, &busy);
	assert_true(cpus_besides(&busy, &rest));
	assert_true(CPU_COUNT(&rest) >= CPU_COUNT(&all) - 1);
	if (CPU_COUNT(&all) < 2)
		skip();
	CPU_ZERO(&busy);
	CPU_SET(last_of(&all), &busy);
	cpus_avoid(&busy);
	assert_int_not_equal(sched_getcpu(), last_of(&all));
}

static void *move_twice(void *opaque)
{
	cpu_set_t busy, now;
	int *failures = opaque;

	for (int cpu = last_of(&all), i = 0; i < 2; i++) {
		CPU_ZERO(&busy);
		CPU_SET(cpu, &busy);
		cpus_avoid(&busy);
		if (sched_getaffinity(0, sizeof(now), &now) ||
		    CPU_COUNT(&now) != CPU_COUNT(&all) - 1 || CPU_ISSET(cpu, &now))
			*failures += 1;
		cpu = last_of(&now);
	}
	return NULL;
}

/* The second time counts from what the main thread may use, not from what the first left. */
static void a_thread_can_move_again(void **state)
{
	int failures = 0;
	pthread_t t;

	(void)state;
	if (CPU_COUNT(&all) < 2)
		skip();
	assert_int_equal(pthread_create(&t, NULL, move_twice, &failures), 0);
	pthread_join(t, NULL);
	assert_int_equal(failures, 0);
	assert_may_run(0, &all);
}

static pid_t sleeper;
static pthread_mutex_t asleep = PTHREAD_MUTEX_INITIALIZER;

static void *sleep_on_lock(void *opaque)
{
	(void)opaque;
	pthread_setname_np(pthread_self(), "R) R 1 2 3");
	__atomic_store_n(&sleeper, (pid_t)syscall(SYS_gettid), __ATOMIC_RELEASE);
	pthread_mutex_lock(&asleep);
	pthread_mutex_unlock(&asleep);
	return NULL;
}

static void one_that_sleeps_is_nowhere(void **state)
{
	int cpu = 0;
	pthread_t t;

	(void)state;
	pthread_mutex_lock(&asleep);
	assert_int_equal(pthread_create(&t, NULL, sleep_on_lock, NULL), 0);
	for (int i = 0; i < 5000 && cpu >= 0; i++) {
		pid_t tid = __atomic_load_n(&sleeper, __ATOMIC_ACQUIRE);

		usleep(1000);
		cpu = tid ? cpus_of_thread(tid) : 0;
	}
	pthread_mutex_unlock(&asleep);
	pthread_join(t, NULL);
	assert_int_equal(cpu, -1);
	assert_int_equal(cpus_of_thread(sleeper), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_pinned_thread_runs_there_until_it_is_let_go, look,
						restore),
		cmocka_unit_test_setup_teardown(a_processor_it_may_not_use_is_no_place, look,
						restore),
		cmocka_unit_test_setup_teardown(what_is_busy_is_avoided_if_anything_else_is_left,
						look, restore),
		cmocka_unit_test_setup_teardown(a_thread_can_move_again, look, restore),
		cmocka_unit_test_setup_teardown(one_that_sleeps_is_nowhere, look, restore),
	};

	return cmocka_run_group_tests_name("cpus", tests, NULL, NULL);
}
