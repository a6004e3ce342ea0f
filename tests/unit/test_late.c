/* SPDX-License-Identifier: MIT */
/* What follows the guest to another process: asked for, given, taken, or missed without harm. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/util.h"
#include "fd_count.h"
#include "host/clock.h"
#include "host/file.h"
#include "update/extras.h"
#include "update/handover.h"
#include "update/late.h"

struct side {
	struct vm vm;
	struct migration *m;
	struct extra extra;
	unsigned int gives, givens, takes;
	bool fails, came;
	json_int_t wanted, value;
	int fd; /* what give() lends */
};

struct fixture {
	struct side old, new;
	unsigned int fds;
};

static int gather(void *opaque, struct cpr_state *s, json_t **out, struct err *e)
{
	(void)opaque, (void)s, (void)e;
	*out = json_true();
	return 0;
}

static int give(void *opaque, const json_t *wanted, struct cpr_state *s, json_t **out,
		struct err *e)
{
	struct side *side = opaque;

	side->gives++;
	side->wanted = json_integer_value(wanted);
	if (side->fails)
		return err_set(e, EIO, "it cannot be read");
	*out = json_integer(42);
	return cpr_state_add_fd(s, "thing:fd", 7, side->fd, e);
}

static void given(void *opaque, const json_t *wanted)
{
	struct side *side = opaque;

	side->givens++;
	side->wanted = json_integer_value(wanted);
}

static void take(void *opaque, const struct cpr_state *s, const json_t *value)
{
	struct side *side = opaque;

	side->takes++;
	side->value = json_integer_value(value);
	side->came = s && cpr_state_find_fd(s, "thing:fd", 7) >= 0;
}

static void setup_side(struct side *s, int sock)
{
	struct err e;

	pthread_mutex_init(&s->vm.lock, NULL);
	list_init(&s->vm.devices);
	pthread_mutex_lock(&s->vm.lock);
	assert_int_equal(loop_create(&s->vm.loop, &s->vm.lock, &e), 0);
	assert_int_equal(migration_create(&s->m, &s->vm, true, NULL, &e), 0);
	s->m->cpr_sock = sock;
	s->m->mode = MODE_CPR_TRANSFER;
	s->extra = (struct extra){
		.key = "thing",
		.early = true,
		.gather = gather,
		.give = give,
		.given = given,
		.take = take,
		.opaque = s,
	};
	extras_register(s->m, &s->extra);
	s->fd = file_create_memfd("thing", "x", 1, &e);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	int fds[2];

	f->fds = fd_count();
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	setup_side(&f->old, fds[0]);
	setup_side(&f->new, fds[1]);
	*state = f;
	alarm(60);
	return 0;
}

static void teardown_side(struct side *s)
{
	migration_destroy(s->m);
	close_fd(&s->fd);
	pthread_mutex_unlock(&s->vm.lock);
	loop_destroy(s->vm.loop);
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	unsigned int now;

	teardown_side(&f->old);
	teardown_side(&f->new);
	now = fd_count() - f->fds;
	free(f);
	return now ? -1 : 0;
}

/* From the new side to the old one. */
static void ask(struct fixture *f)
{
	AUTO_BUF payload = { 0 };
	enum wire_type type;
	struct err e;

	extras_want(f->new.m, "thing", json_integer(5));
	assert_int_equal(late_send_wants(f->new.m, &e), 0);
	assert_int_equal(wire_recv(f->old.m->cpr_sock, &type, &payload,
				   clock_boottime_ns() + 1000000000, &e),
			 0);
	assert_int_equal(type, WIRE_WANT);
	assert_int_equal(late_note_wants(f->old.m, payload.data, payload.len, &e), 0);
}

/* Until take() was called. */
static void run_new_side(struct fixture *f)
{
	struct err e;

	f->new.m->step = STEP_TAKE;
	f->new.m->incoming = true;
	assert_int_equal(late_take(f->new.m, &e), STEP_WAIT);
	for (int i = 0; i < 100 && !f->new.takes; i++)
		loop_run_once(f->new.vm.loop, 100);
	assert_int_equal(f->new.takes, 1);
	assert_null(f->new.m->wants);
	assert_int_equal(f->new.m->step, STEP_DONE);
}

static void what_is_asked_for_is_given_and_taken(void **state)
{
	struct fixture *f = *state;

	ask(f);
	late_give(f->old.m);
	assert_int_equal(f->old.gives, 1);
	assert_int_equal(f->old.wanted, 5);
	late_let_go(f->old.m);
	assert_int_equal(f->old.givens, 1);
	assert_null(f->old.m->wanted);
	/* What was lent is still open here. */
	assert_int_not_equal(lseek(f->old.fd, 0, SEEK_CUR), -1);
	run_new_side(f);
	assert_true(f->new.came);
	assert_int_equal(f->new.value, 42);
}

static void nothing_is_sent_or_waited_for_unless_it_is_asked_for(void **state)
{
	struct fixture *f = *state;
	struct err e;
	char c;

	assert_int_equal(late_send_wants(f->new.m, &e), 0);
	late_give(f->old.m);
	late_let_go(f->old.m);
	assert_int_equal(f->old.gives + f->old.givens, 0);
	assert_int_equal(recv(f->old.m->cpr_sock, &c, 1, MSG_DONTWAIT), -1);
	assert_int_equal(recv(f->new.m->cpr_sock, &c, 1, MSG_DONTWAIT), -1);
	assert_int_equal(late_take(f->new.m, &e), STEP_NEXT);
	assert_int_equal(f->new.takes, 0);
}

static void what_nobody_knows_is_not_given(void **state)
{
	struct fixture *f = *state;
	struct err e;

	assert_int_equal(late_note_wants(f->old.m, "{\"other\":1}", 11, &e), 0);
	late_give(f->old.m);
	late_let_go(f->old.m);
	assert_int_equal(f->old.gives + f->old.givens, 0);
}

static void an_old_side_that_fails_to_give_lets_go_all_the_same(void **state)
{
	struct fixture *f = *state;

	ask(f);
	f->old.fails = true;
	late_give(f->old.m);
	late_let_go(f->old.m);
	assert_int_equal(f->old.givens, 1);
	close_fd(&f->old.m->cpr_sock);
	run_new_side(f);
	assert_false(f->new.came);
}

static void a_second_state_that_is_none_does_no_harm(void **state)
{
	static const char *const all[] = { "", "x", "\0\1\0\0\0\0\0\014", "junk that is longer" };
	struct fixture *f = *state;

	(void)f;
	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		struct fixture *g;
		void *one;

		setup(&one);
		g = one;
		ask(g);
		assert_int_equal(write(g->old.m->cpr_sock, all[i], strlen(all[i])), strlen(all[i]));
		close_fd(&g->old.m->cpr_sock);
		run_new_side(g);
		assert_false(g->new.came);
		assert_int_equal(teardown(&one), 0);
	}
}

static void wants_that_are_none_are_refused(void **state)
{
	static const char *const all[] = {
		"", "[", "[]", "1", "null", "{\"a\":1,\"a\":2}", "{} {}"
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		struct err e = ERR_INIT;

		assert_int_equal(late_note_wants(f->old.m, all[i], strlen(all[i]), &e), -EPROTO);
		assert_string_equal(e.msg, "what the new side asks for is no JSON object");
		assert_null(f->old.m->wanted);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_is_asked_for_is_given_and_taken),
		TEST(nothing_is_sent_or_waited_for_unless_it_is_asked_for),
		TEST(what_nobody_knows_is_not_given),
		TEST(an_old_side_that_fails_to_give_lets_go_all_the_same),
		TEST(a_second_state_that_is_none_does_no_harm),
		TEST(wants_that_are_none_are_refused),
	};

	return cmocka_run_group_tests_name("late", tests, NULL, NULL);
}
