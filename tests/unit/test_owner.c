/* SPDX-License-Identifier: MIT */
/* The owner word: its swaps, and that of two racing sides exactly one wins. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/util.h"
#include "host/clock.h"
#include "host/mem.h"
#include "update/owner.h"

enum {
	ROUNDS = 20000
};

/* The word in the page: the tests rewind it, which the interface does not allow. */
static uint32_t *find_word(const struct owner *o)
{
	uint32_t *p = (uint32_t *)o->page;

	for (size_t i = 0; i < 1024; i++)
		if (p[i] == OWNER_OLD)
			return &p[i];
	fail_msg("the page does not hold the word");
	return NULL;
}

static void word_changes_only_along_its_three_edges(void **state)
{
	struct owner o = OWNER_INIT;
	struct err e;

	(void)state;
	assert_int_equal(owner_create(&o, &e), 0);
	assert_int_equal(owner_get(&o), OWNER_OLD);
	assert_false(owner_claim(&o));
	assert_false(owner_take_back(&o));
	assert_int_equal(owner_get(&o), OWNER_OLD);

	assert_true(owner_offer(&o));
	assert_int_equal(owner_get(&o), OWNER_OFFERED);
	assert_false(owner_offer(&o));

	assert_true(owner_take_back(&o));
	assert_int_equal(owner_get(&o), OWNER_OLD);
	assert_false(owner_claim(&o));
	assert_false(owner_take_back(&o));

	assert_true(owner_offer(&o));
	assert_true(owner_claim(&o));
	assert_int_equal(owner_get(&o), OWNER_NEW);
	assert_false(owner_claim(&o));
	assert_false(owner_take_back(&o));
	assert_false(owner_offer(&o));
	assert_int_equal(owner_get(&o), OWNER_NEW);
	owner_fini(&o);
}

static void both_sides_see_one_page(void **state)
{
	struct owner old = OWNER_INIT, new = OWNER_INIT;
	struct err e;

	(void)state;
	assert_int_equal(owner_create(&old, &e), 0);
	assert_int_equal(owner_open(&new, dup(old.fd), &e), 0);
	assert_ptr_not_equal(old.page, new.page);
	assert_true(owner_offer(&old));
	owner_times(&old)->stop = 77;
	assert_int_equal(owner_get(&new), OWNER_OFFERED);
	assert_int_equal(owner_times(&new)->stop, 77);
	assert_true(owner_claim(&new));
	assert_false(owner_take_back(&old));
	/* The page outlives the side that made it. */
	owner_fini(&old);
	assert_int_equal(owner_get(&new), OWNER_NEW);
	owner_fini(&new);
	owner_fini(&new);
}

static void what_is_no_owner_page_is_refused_and_stays_the_callers(void **state)
{
	struct owner o = OWNER_INIT;
	struct err e;
	int fds[2], fd;

	(void)state;
	fd = mem_create_memfd("zeros", 4096, &e);
	assert_true(fd >= 0);
	assert_int_equal(owner_open(&o, fd, &e), -EINVAL);
	assert_string_equal(e.msg, "the page that came for the owner word is none");
	close(fd);
	fd = mem_create_memfd("short", 64, &e);
	assert_true(fd >= 0);
	assert_int_equal(owner_open(&o, fd, &e), -EINVAL);
	assert_int_equal(close(fd), 0);
	assert_int_equal(pipe(fds), 0);
	assert_true(owner_open(&o, fds[0], &e) < 0);
	assert_int_equal(close(fds[0]), 0);
	close(fds[1]);
	assert_int_equal(o.fd, -1);
	assert_null(o.page);
}

/* What two racers share; in memory that a forked process sees too. */
struct race {
	uint32_t at[2];    /* how often each side came to meet() */
	uint64_t start[2]; /* TSC at which each could begin the round */
	uint8_t took_back[ROUNDS];
	uint8_t claimed[ROUNDS];
	uint32_t after[ROUNDS];
};

static struct race *race_create(void)
{
	struct race *r =
		mmap(NULL, sizeof(*r), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	assert_ptr_not_equal(r, MAP_FAILED);
	return r;
}

static void race_destroy(struct race *r)
{
	munmap(r, sizeof(*r));
}

/*
 * Waits until both sides are here for the @n-th time. Spinning, since a side that
 * sleeps wakes up long after the other went on, and then there is no race.
 */
static void meet(struct race *r, unsigned int side, uint32_t n)
{
	unsigned int spins = 0;

	__atomic_store_n(&r->at[side], n, __ATOMIC_SEQ_CST);
	while (__atomic_load_n(&r->at[!side], __ATOMIC_SEQ_CST) < n)
		if (++spins > 10000)
			sched_yield();
}

/*
 * Begins a round: both agree on an instant a little ahead and wait for it, so that their
 * swaps meet. @skew, in TSC ticks, lets either side come first at times.
 */
static void begin(struct race *r, unsigned int side, uint32_t round, unsigned int skew)
{
	uint64_t at;

	r->start[side] = clock_tsc() + 2000;
	meet(r, side, 2 * round + 1);
	at = MAX(r->start[0], r->start[1]) + skew;
	while (clock_tsc() < at)
		;
}

static void end(struct race *r, unsigned int side, uint32_t round)
{
	meet(r, side, 2 * round + 2);
}

static void run_new_side(struct race *r, struct owner *o)
{
	for (unsigned int i = 0; i < ROUNDS; i++) {
		begin(r, 0, i, i % 16 * 16);
		r->claimed[i] = owner_claim(o);
		end(r, 0, i);
	}
}

static void run_old_side(struct race *r, struct owner *o)
{
	uint32_t *word = find_word(o);

	for (unsigned int i = 0; i < ROUNDS; i++) {
		__atomic_store_n(word, OWNER_OFFERED, __ATOMIC_SEQ_CST);
		begin(r, 1, i, i / 16 % 16 * 16);
		r->took_back[i] = owner_take_back(o);
		end(r, 1, i);
		r->after[i] = owner_get(o);
	}
}

static void check_race(const struct race *r)
{
	for (unsigned int i = 0; i < ROUNDS; i++) {
		assert_int_equal(r->took_back[i] + r->claimed[i], 1);
		assert_int_equal(r->after[i], r->claimed[i] ? OWNER_NEW : OWNER_OLD);
	}
}

struct racer {
	struct race *race;
	struct owner *owner;
};

static void *new_side_thread(void *arg)
{
	struct racer *racer = arg;

	run_new_side(racer->race, racer->owner);
	return NULL;
}

static void of_two_racing_threads_exactly_one_wins(void **state)
{
	struct owner old = OWNER_INIT, new = OWNER_INIT;
	struct race *r = race_create();
	struct racer racer = { .race = r, .owner = &new };
	pthread_t t;
	struct err e;

	(void)state;
	assert_int_equal(owner_create(&old, &e), 0);
	assert_int_equal(owner_open(&new, dup(old.fd), &e), 0);
	assert_int_equal(pthread_create(&t, NULL, new_side_thread, &racer), 0);
	run_old_side(r, &old);
	pthread_join(t, NULL);
	check_race(r);
	race_destroy(r);
	owner_fini(&old);
	owner_fini(&new);
}

static void of_two_racing_processes_exactly_one_wins(void **state)
{
	struct owner old = OWNER_INIT, new = OWNER_INIT;
	struct race *r = race_create();
	struct err e;
	int status;
	pid_t pid;

	(void)state;
	assert_int_equal(owner_create(&old, &e), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		alarm(60);
		if (owner_open(&new, dup(old.fd), &e))
			_exit(1);
		run_new_side(r, &new);
		_exit(0);
	}
	run_old_side(r, &old);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	check_race(r);
	race_destroy(r);
	owner_fini(&old);
}

static void the_places_of_vcpus_are_a_set_whatever_is_written_there(void **state)
{
	struct owner o = OWNER_INIT;
	struct owner_places *p;
	cpu_set_t busy;
	struct err e;

	(void)state;
	assert_int_equal(owner_create(&o, &e), 0);
	owner_busy(&o, &busy);
	assert_int_equal(CPU_COUNT(&busy), 0);
	p = owner_places(&o);
	p->cpu[0] = 3 + 1;
	p->cpu[1] = 3 + 1;
	p->cpu[VM_MAX_VCPUS - 1] = CPU_SETSIZE;
	p->cpu[2] = CPU_SETSIZE + 1;
	p->cpu[4] = UINT16_MAX;
	owner_busy(&o, &busy);
	assert_int_equal(CPU_COUNT(&busy), 2);
	assert_true(CPU_ISSET(3, &busy));
	assert_true(CPU_ISSET(CPU_SETSIZE - 1, &busy));
	owner_fini(&o);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(word_changes_only_along_its_three_edges),
		cmocka_unit_test(both_sides_see_one_page),
		cmocka_unit_test(what_is_no_owner_page_is_refused_and_stays_the_callers),
		cmocka_unit_test(the_places_of_vcpus_are_a_set_whatever_is_written_there),
		cmocka_unit_test(of_two_racing_threads_exactly_one_wins),
		cmocka_unit_test(of_two_racing_processes_exactly_one_wins),
	};

	/* A racer whose partner is gone would wait for ever. */
	alarm(100);
	return cmocka_run_group_tests_name("owner", tests, NULL, NULL);
}
