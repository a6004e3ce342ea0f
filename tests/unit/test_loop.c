/* SPDX-License-Identifier: MIT */
/* The event loop: descriptors, timers, and calls from other threads. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/util.h"
#include "host/clock.h"
#include "host/loop.h"

#define MS UINT64_C(1000000)

struct fixture {
	pthread_mutex_t lock;
	struct loop *loop;
	char log[64]; /* one letter per callback */
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct err e;

	pthread_mutex_init(&f->lock, NULL);
	pthread_mutex_lock(&f->lock);
	if (loop_create(&f->loop, &f->lock, &e))
		return -1;
	*state = f;
	/* A loop that misses its wake-up would wait for ever. */
	alarm(60);
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	loop_destroy(f->loop);
	pthread_mutex_unlock(&f->lock);
	pthread_mutex_destroy(&f->lock);
	free(f);
	return 0;
}

static void note(struct fixture *f, char c)
{
	size_t n = strlen(f->log);

	/* The lock is held in every callback. */
	assert_true(pthread_mutex_trylock(&f->lock) != 0);
	if (n + 1 < sizeof(f->log))
		f->log[n] = c;
}

/* A watched eventfd with a name. */
struct watch {
	struct fixture *f;
	struct loop_fd w;
	char name;
	uint32_t events;
	struct watch *removes; /* when it becomes ready */
};

static void on_ready(void *opaque, uint32_t events)
{
	struct watch *w = opaque;

	note(w->f, w->name);
	w->events = events;
	if (w->removes)
		loop_fd_del(w->f->loop, &w->removes->w);
}

static void watch(struct fixture *f, struct watch *w, char name, unsigned int value)
{
	struct err e;

	*w = (struct watch){ .f = f, .w = LOOP_FD_INIT, .name = name };
	assert_int_equal(loop_fd_add(f->loop, &w->w, eventfd(value, EFD_CLOEXEC), EPOLLIN, on_ready,
				     w, &e),
			 0);
}

/* Also of a watch that was removed: its descriptor is the test's. */
static void unwatch(struct watch *w, int fd)
{
	loop_fd_del(w->f->loop, &w->w);
	close(fd);
}

static void a_ready_descriptor_calls_back_until_it_is_drained(void **state)
{
	struct fixture *f = *state;
	struct watch a;
	uint64_t v;
	int fd;

	watch(f, &a, 'a', 0);
	fd = a.w.fd;
	loop_run_once(f->loop, 0);
	assert_string_equal(f->log, "");
	v = 1;
	assert_int_equal(write(fd, &v, 8), 8);
	loop_run_once(f->loop, -1);
	loop_run_once(f->loop, -1);
	assert_string_equal(f->log, "aa");
	assert_int_equal(a.events, EPOLLIN);
	assert_int_equal(read(fd, &v, 8), 8);
	loop_run_once(f->loop, 0);
	assert_string_equal(f->log, "aa");
	unwatch(&a, fd);
}

static void events_waited_for_can_change(void **state)
{
	struct fixture *f = *state;
	struct watch a;
	int fd;

	watch(f, &a, 'a', 1);
	fd = a.w.fd;
	loop_fd_set_events(f->loop, &a.w, 0);
	loop_run_once(f->loop, 0);
	assert_string_equal(f->log, "");
	loop_fd_set_events(f->loop, &a.w, EPOLLIN | EPOLLOUT);
	loop_run_once(f->loop, -1);
	assert_string_equal(f->log, "a");
	assert_int_equal(a.events, EPOLLIN | EPOLLOUT);
	unwatch(&a, fd);
	assert_int_equal(a.w.fd, -1);
	loop_fd_del(f->loop, &a.w);
	loop_fd_set_events(f->loop, &a.w, EPOLLIN);
	loop_run_once(f->loop, 0);
	assert_string_equal(f->log, "a");
}

static void a_watch_may_remove_itself(void **state)
{
	struct fixture *f = *state;
	struct watch a;
	int fd;

	watch(f, &a, 'a', 1);
	fd = a.w.fd;
	a.removes = &a;
	loop_run_once(f->loop, -1);
	loop_run_once(f->loop, 0);
	assert_string_equal(f->log, "a");
	unwatch(&a, fd);
}

static void a_watch_removed_by_another_of_its_round_is_not_called(void **state)
{
	struct fixture *f = *state;
	struct watch a, b;
	int fda, fdb;

	watch(f, &a, 'a', 1);
	watch(f, &b, 'b', 1);
	fda = a.w.fd;
	fdb = b.w.fd;
	/* Both are ready; whichever comes first removes the other. */
	a.removes = &b;
	b.removes = &a;
	loop_run_once(f->loop, -1);
	assert_int_equal(strlen(f->log), 1);
	loop_run_once(f->loop, 0);
	assert_int_equal(strlen(f->log), 2);
	assert_int_equal(f->log[0], f->log[1]);
	unwatch(&a, fda);
	unwatch(&b, fdb);
}

static void a_descriptor_that_cannot_be_watched_is_refused(void **state)
{
	struct fixture *f = *state;
	struct loop_fd w = LOOP_FD_INIT;
	struct err e;

	assert_true(loop_fd_add(f->loop, &w, -1, EPOLLIN, on_ready, NULL, &e) < 0);
	assert_string_equal(e.msg, "cannot watch descriptor -1: Bad file descriptor");
	assert_int_equal(w.fd, -1);
}

struct timer {
	struct fixture *f;
	struct loop_timer t;
	char name;
	unsigned int rearm; /* times */
	struct timer *cancels;
	uint64_t fired_ns;
};

static void on_expired(void *opaque)
{
	struct timer *t = opaque;

	note(t->f, t->name);
	t->fired_ns = clock_boottime_ns();
	assert_false(t->t.armed);
	if (t->rearm) {
		t->rearm--;
		loop_timer_set(t->f->loop, &t->t, t->fired_ns + MS);
	}
	if (t->cancels)
		loop_timer_cancel(&t->cancels->t);
}

static void timer_init(struct fixture *f, struct timer *t, char name)
{
	*t = (struct timer){ .f = f, .name = name };
	loop_timer_init(&t->t, on_expired, t);
}

static void timers_fire_in_order_and_not_early(void **state)
{
	uint64_t start = clock_boottime_ns();
	struct fixture *f = *state;
	struct timer a, b, c, d;

	timer_init(f, &a, 'a');
	timer_init(f, &b, 'b');
	timer_init(f, &c, 'c');
	timer_init(f, &d, 'd');
	loop_timer_set(f->loop, &c.t, start + 6 * MS);
	loop_timer_set(f->loop, &a.t, start + 2 * MS);
	loop_timer_set(f->loop, &d.t, start + 6 * MS);
	loop_timer_set(f->loop, &b.t, start + 4 * MS);
	while (strlen(f->log) < 4)
		loop_run_once(f->loop, -1);
	/* Those with the same deadline in the order in which they were set. */
	assert_string_equal(f->log, "abcd");
	assert_true(a.fired_ns >= start + 2 * MS);
	assert_true(b.fired_ns >= start + 4 * MS);
	assert_true(c.fired_ns >= start + 6 * MS);
	loop_run_once(f->loop, 0);
	assert_string_equal(f->log, "abcd");
}

static void a_past_deadline_fires_at_once(void **state)
{
	struct fixture *f = *state;
	struct timer a;

	timer_init(f, &a, 'a');
	loop_timer_set(f->loop, &a.t, 0);
	assert_true(a.t.armed);
	loop_run_once(f->loop, -1);
	assert_string_equal(f->log, "a");
}

static void a_timer_may_be_armed_again_from_its_callback(void **state)
{
	struct fixture *f = *state;
	struct timer a;

	timer_init(f, &a, 'a');
	a.rearm = 3;
	loop_timer_set(f->loop, &a.t, 0);
	while (strlen(f->log) < 4)
		loop_run_once(f->loop, -1);
	assert_false(a.t.armed);
	loop_run_once(f->loop, 5);
	assert_string_equal(f->log, "aaaa");
}

static void setting_again_moves_and_cancelling_stops_a_timer(void **state)
{
	struct fixture *f = *state;
	struct timer a, b, c;

	timer_init(f, &a, 'a');
	timer_init(f, &b, 'b');
	timer_init(f, &c, 'c');
	loop_timer_cancel(&a.t);
	loop_timer_set(f->loop, &a.t, clock_boottime_ns() + 3600000 * MS);
	loop_timer_set(f->loop, &b.t, 1);
	loop_timer_set(f->loop, &a.t, 2);
	loop_timer_set(f->loop, &c.t, 3);
	/* Of one round, the earlier cancels the later. */
	a.cancels = &c;
	loop_run_once(f->loop, -1);
	assert_string_equal(f->log, "ba");
	assert_false(c.t.armed);
	loop_timer_set(f->loop, &b.t, 0);
	loop_timer_cancel(&b.t);
	loop_timer_cancel(&b.t);
	loop_run_once(f->loop, 0);
	assert_string_equal(f->log, "ba");
}

struct call {
	struct fixture *f;
	struct loop_work w;
	char name;
	pthread_t thread;
	unsigned int count;
	unsigned int quit_at;
	unsigned int posts;
};

static void on_work(void *opaque)
{
	struct call *c = opaque;

	note(c->f, c->name);
	c->thread = pthread_self();
	c->count++;
	if (c->count == c->quit_at)
		loop_quit(c->f->loop);
}

static void call_init(struct fixture *f, struct call *c, char name)
{
	*c = (struct call){ .f = f, .name = name };
	loop_work_init(&c->w, on_work, c);
}

static void *post_thread(void *arg)
{
	struct call *c = arg;

	for (unsigned int i = 0; i < c->posts; i++) {
		/* Waits until the call before was taken, so that none coincide. */
		pthread_mutex_lock(&c->f->lock);
		while (c->count < i) {
			pthread_mutex_unlock(&c->f->lock);
			usleep(10);
			pthread_mutex_lock(&c->f->lock);
		}
		pthread_mutex_unlock(&c->f->lock);
		loop_post(c->f->loop, &c->w);
	}
	return NULL;
}

static void work_posted_from_another_thread_runs_on_the_loops(void **state)
{
	struct fixture *f = *state;
	struct call c;
	pthread_t t;

	call_init(f, &c, 'c');
	c.posts = c.quit_at = 50;
	assert_int_equal(pthread_create(&t, NULL, post_thread, &c), 0);
	/* Ends only if every post woke the loop. */
	loop_run(f->loop);
	pthread_mutex_unlock(&f->lock);
	pthread_join(t, NULL);
	pthread_mutex_lock(&f->lock);
	assert_int_equal(c.count, 50);
	assert_true(pthread_equal(c.thread, pthread_self()));
}

static void work_posted_twice_runs_once_and_in_order(void **state)
{
	struct fixture *f = *state;
	struct call a, b;

	call_init(f, &a, 'a');
	call_init(f, &b, 'b');
	loop_post(f->loop, &b.w);
	loop_post(f->loop, &a.w);
	loop_post(f->loop, &b.w);
	loop_run_once(f->loop, -1);
	loop_run_once(f->loop, 0);
	assert_string_equal(f->log, "ba");
	loop_post(f->loop, &b.w);
	loop_run_once(f->loop, -1);
	assert_string_equal(f->log, "bab");
}

static void on_endless_work(void *opaque)
{
	struct call *c = opaque;

	note(c->f, c->name);
	c->count++;
	loop_post(c->f->loop, &c->w);
}

static void work_that_posts_itself_again_leaves_descriptors_their_turn(void **state)
{
	struct fixture *f = *state;
	struct call c = { .f = f, .name = 'c' };
	struct watch w;

	loop_work_init(&c.w, on_endless_work, &c);
	loop_post(f->loop, &c.w);
	watch(f, &w, 'w', 3);
	for (unsigned int i = 1; i <= 3; i++) {
		loop_run_once(f->loop, -1);
		assert_int_equal(c.count, i);
	}
	assert_string_equal(f->log, "wcwcwc");
	loop_work_cancel(f->loop, &c.w);
	unwatch(&w, w.w.fd);
}

static void cancelled_work_does_not_run(void **state)
{
	struct fixture *f = *state;
	struct call a, b;

	call_init(f, &a, 'a');
	call_init(f, &b, 'b');
	loop_work_cancel(f->loop, &a.w);
	loop_post(f->loop, &a.w);
	loop_post(f->loop, &b.w);
	loop_work_cancel(f->loop, &a.w);
	loop_run_once(f->loop, -1);
	assert_string_equal(f->log, "b");
	loop_post(f->loop, &a.w);
	loop_run_once(f->loop, -1);
	assert_string_equal(f->log, "ba");
}

static void *quit_thread(void *arg)
{
	struct fixture *f = arg;

	/* Only when the loop waits is the lock to be had. */
	pthread_mutex_lock(&f->lock);
	loop_quit(f->loop);
	pthread_mutex_unlock(&f->lock);
	return NULL;
}

static void quit_ends_the_loop_from_any_thread(void **state)
{
	struct fixture *f = *state;
	pthread_t t;

	assert_int_equal(pthread_create(&t, NULL, quit_thread, f), 0);
	loop_run(f->loop);
	pthread_mutex_unlock(&f->lock);
	pthread_join(t, NULL);
	pthread_mutex_lock(&f->lock);
}

static void one_round_waits_no_longer_than_told(void **state)
{
	uint64_t start = clock_boottime_ns();
	struct fixture *f = *state;

	loop_run_once(f->loop, 3);
	assert_true(clock_boottime_ns() - start >= 3 * MS);
	assert_true(clock_boottime_ns() - start < 5000 * MS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_ready_descriptor_calls_back_until_it_is_drained,
						setup, teardown),
		cmocka_unit_test_setup_teardown(events_waited_for_can_change, setup, teardown),
		cmocka_unit_test_setup_teardown(a_watch_may_remove_itself, setup, teardown),
		cmocka_unit_test_setup_teardown(
			a_watch_removed_by_another_of_its_round_is_not_called, setup, teardown),
		cmocka_unit_test_setup_teardown(a_descriptor_that_cannot_be_watched_is_refused,
						setup, teardown),
		cmocka_unit_test_setup_teardown(timers_fire_in_order_and_not_early, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_past_deadline_fires_at_once, setup, teardown),
		cmocka_unit_test_setup_teardown(a_timer_may_be_armed_again_from_its_callback, setup,
						teardown),
		cmocka_unit_test_setup_teardown(setting_again_moves_and_cancelling_stops_a_timer,
						setup, teardown),
		cmocka_unit_test_setup_teardown(work_posted_from_another_thread_runs_on_the_loops,
						setup, teardown),
		cmocka_unit_test_setup_teardown(work_posted_twice_runs_once_and_in_order, setup,
						teardown),
		cmocka_unit_test_setup_teardown(
			work_that_posts_itself_again_leaves_descriptors_their_turn, setup,
			teardown),
		cmocka_unit_test_setup_teardown(cancelled_work_does_not_run, setup, teardown),
		cmocka_unit_test_setup_teardown(quit_ends_the_loop_from_any_thread, setup,
						teardown),
		cmocka_unit_test_setup_teardown(one_round_waits_no_longer_than_told, setup,
						teardown),
	};

	return cmocka_run_group_tests_name("loop", tests, NULL, NULL);
}
