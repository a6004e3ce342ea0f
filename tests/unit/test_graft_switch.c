/* SPDX-License-Identifier: MIT */
/* A thread's place in a program is taken over by another thread. */
#include <asm/prctl.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/util.h"
#include "host/graft_switch.h"

enum {
	ROUNDS = 200
};

static __thread int own_word;

/* What a thread is known by. */
struct identity {
	pthread_t self;
	pid_t tid;
	uint64_t mask, robust, robust_length, tid_address, fs;
	int word, error;
	int32_t cpu; /* of the restartable sequences area */
};

struct switch_test {
	struct graft_context c;
	uint32_t verdict;
	bool by_verdict;
	struct identity before, after; /* of the thread that left */
	pid_t entered;                 /* who goes on there */
	pthread_mutex_t robust;        /* held by the thread that left */
	int unlocked;                  /* what the thread was told that entered */
};

static int32_t rseq_cpu(void)
{
	const struct rseq *area;

	if (!__rseq_size)
		return sched_getcpu();
	area = (const void *)((uintptr_t)__builtin_thread_pointer() + (uintptr_t)__rseq_offset);
	return (int32_t)__atomic_load_n(&area->cpu_id, __ATOMIC_RELAXED);
}

static struct identity look(void)
{
	struct identity id = { .error = errno };

	id.self = pthread_self();
	id.tid = (pid_t)syscall(SYS_gettid);
	id.word = own_word;
	id.cpu = rseq_cpu();
	syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &id.mask, 8);
	syscall(SYS_get_robust_list, 0, &id.robust, &id.robust_length);
	prctl(PR_GET_TID_ADDRESS, &id.tid_address);
	syscall(SYS_arch_prctl, ARCH_GET_FS, &id.fs);
	return id;
}

static void check_same_place(const struct identity *a, const struct identity *b)
{
	assert_true(a->self == b->self);
	assert_int_equal(a->word, b->word);
	assert_int_equal(a->mask, b->mask);
	assert_int_equal(a->robust, b->robust);
	assert_int_equal(a->robust_length, b->robust_length);
	assert_int_equal(a->tid_address, b->tid_address);
	assert_int_equal(a->fs, b->fs);
	/* The kernel writes it, if it knows where. */
	assert_true(a->cpu >= 0);
	assert_true(b->cpu >= 0);
}

/* Its second half runs in another thread. */
static void *leaver(void *arg)
{
	struct switch_test *t = arg;
	double scale = 3.25;
	struct err e;
	sigset_t set;

	own_word = 4711;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	pthread_sigmask(SIG_SETMASK, &set, NULL);
	pthread_mutex_lock(&t->robust);
	errno = ENOTTY;
	t->before = look();
	if (graft_switch_prepare_out(&t->c, &e))
		return NULL;
	graft_switch_out(&t->c, t->by_verdict ? &t->verdict : NULL);
	t->after = look();
	t->unlocked = pthread_mutex_unlock(&t->robust);
	scale *= 2;
	return scale > 6 && scale < 7 ? t : NULL; /* NOLINT */
}

static void wait_left(const uint32_t *word)
{
	while (!__atomic_load_n(word, __ATOMIC_ACQUIRE))
		sched_yield();
}

static void *enterer(void *arg)
{
	struct switch_test *t = arg;
	struct graft_place own;

	own_word = 815;
	wait_left(t->by_verdict ? &t->verdict : &t->c.left);
	t->entered = (pid_t)syscall(SYS_gettid);
	graft_switch_prepare_in(&t->c, &own);
	graft_switch_in(&t->c);
}

static void init(struct switch_test *t, bool by_verdict)
{
	pthread_mutexattr_t attr;

	*t = (struct switch_test){ .by_verdict = by_verdict };
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(&t->robust, &attr);
	pthread_mutexattr_destroy(&attr);
}

static void go_over(struct switch_test *t)
{
	pthread_t a, b;
	void *result;

	assert_int_equal(pthread_create(&a, NULL, leaver, t), 0);
	assert_int_equal(pthread_create(&b, NULL, enterer, t), 0);
	/* It ends as the thread that it became; of the one that it was nothing ends. */
	assert_int_equal(pthread_join(a, &result), 0);
	assert_ptr_equal(result, t);
	assert_int_equal(pthread_detach(b), 0);
}

static void skip_with_sanitizers(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	print_message("SKIPPED: NOT WITH A SANITIZER\n");
	skip();
#endif
}

static void what_a_thread_is_goes_over_to_another(void **state)
{
	struct switch_test t;

	(void)state;
	skip_with_sanitizers();
	init(&t, false);
	go_over(&t);
	check_same_place(&t.before, &t.after);
	assert_int_equal(t.before.error, ENOTTY);
	assert_true(t.after.tid != t.before.tid);
	assert_int_equal(t.after.tid, t.entered);
	assert_int_equal(t.c.arrived, 1);
	assert_int_equal(t.after.word, 4711);
}

static void a_mutex_that_knows_its_owner_cannot_be_held_meanwhile(void **state)
{
	struct switch_test t;

	(void)state;
	skip_with_sanitizers();
	init(&t, false);
	go_over(&t);
	/* The thread id in it is that of a thread which has ended. */
	assert_int_equal(t.unlocked, EPERM);
	assert_int_equal(pthread_mutex_trylock(&t.robust), EBUSY);
}

static void the_verdict_is_new_when_the_last_one_leaves(void **state)
{
	struct switch_test t;

	(void)state;
	skip_with_sanitizers();
	init(&t, true);
	go_over(&t);
	assert_int_equal(t.verdict, GRAFT_NEW);
	check_same_place(&t.before, &t.after);
}

static void who_leaves_after_the_verdict_old_ends_its_process(void **state)
{
	struct graft_context c = { .left = 0 };
	uint32_t verdict = GRAFT_OLD;
	struct err e;
	int status;
	pid_t pid;

	(void)state;
	skip_with_sanitizers();
	pid = fork();
	if (!pid) {
		if (!graft_switch_prepare_out(&c, &e))
			graft_switch_out(&c, &verdict);
		_exit(7);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	assert_int_equal(verdict, GRAFT_OLD);
}

/* Where nobody has left, with all a context has. */
static void *place_of_nobody(void *arg)
{
	struct graft_context *c = arg;
	struct err e;

	if (!graft_switch_prepare_out(c, &e))
		graft_switch_out(c, NULL);
	return NULL;
}

static void who_does_not_enter_after_all_is_as_before(void **state)
{
	struct graft_context c = { .left = 0 };
	struct identity before, after;
	struct graft_place own;
	pthread_t other;

	(void)state;
	skip_with_sanitizers();
	assert_int_equal(pthread_create(&other, NULL, place_of_nobody, &c), 0);
	wait_left(&c.left);
	own_word = 99;
	for (int i = 0; i < ROUNDS; i++) {
		before = look();
		graft_switch_prepare_in(&c, &own);
		assert_int_not_equal(look().mask, before.mask);
		graft_switch_cancel_in(&own);
		after = look();
		check_same_place(&before, &after);
		assert_int_equal(after.tid, before.tid);
	}
}

static void a_thread_can_be_checked_at_any_time(void **state)
{
	struct identity before = look(), after;
	struct err e;

	(void)state;
	for (int i = 0; i < ROUNDS; i++)
		assert_int_equal(graft_switch_check(&e), 0);
	after = look();
	check_same_place(&before, &after);
}

static void threads_go_over_again_and_again(void **state)
{
	(void)state;
	skip_with_sanitizers();
	for (int i = 0; i < ROUNDS; i++) {
		struct switch_test t;

		init(&t, i % 2);
		go_over(&t);
		check_same_place(&t.before, &t.after);
		assert_int_equal(t.after.tid, t.entered);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_a_thread_is_goes_over_to_another),
		cmocka_unit_test(a_mutex_that_knows_its_owner_cannot_be_held_meanwhile),
		cmocka_unit_test(the_verdict_is_new_when_the_last_one_leaves),
		cmocka_unit_test(who_leaves_after_the_verdict_old_ends_its_process),
		cmocka_unit_test(who_does_not_enter_after_all_is_as_before),
		cmocka_unit_test(a_thread_can_be_checked_at_any_time),
		cmocka_unit_test(threads_go_over_again_and_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
