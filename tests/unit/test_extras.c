/* SPDX-License-Identifier: MIT */
/* What crosses beside the machine: descriptors, and members of the configuration. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/util.h"
#include "fd_count.h"
#include "host/file.h"
#include "update/extras.h"
#include "update/handover.h"

struct thing {
	struct extra extra;
	int fd;
	bool fails;
};

struct fixture {
	struct migration m;
	struct thing one, two;
	struct cpr_state state;
	unsigned int fds;
};

static int gather(void *opaque, struct cpr_state *s, json_t **out, struct err *e)
{
	struct thing *t = opaque;
	int r = cpr_state_add_fd(s, t->extra.key, 0, t->fd, e);

	if (!r)
		r = cpr_state_add_made_fd(s, t->extra.key, 1, file_create_memfd("x", "", 0, e), e);
	if (!r && t->fails)
		r = err_set(e, EIO, "it cannot be read");
	if (!r)
		*out = json_pack("[s, b]", "x", 1);
	return r;
}

static void add(struct fixture *f, struct thing *t, const char *key)
{
	struct err e;

	*t = (struct thing){
		.extra = {
			.key = key,
			.gather = gather,
			.opaque = t,
		},
		.fd = file_create_memfd(key, "", 0, &e),
	};
	extras_register(&f->m, &t->extra);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->fds = fd_count();
	list_init(&f->m.extras);
	add(f, &f->one, "one");
	add(f, &f->two, "two");
	cpr_state_init(&f->state);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	unsigned int now;

	cpr_state_forget(&f->state);
	close_fd(&f->one.fd);
	close_fd(&f->two.fd);
	now = fd_count() - f->fds;
	free(f);
	return now ? -1 : 0;
}

static void members_are_found_again(void **state)
{
	struct fixture *f = *state;
	struct err e;
	json_t *j;

	assert_int_equal(extras_gather(&f->m, EXTRAS_ALL, "{\"a\":1}", &f->state, &e), 0);
	assert_string_equal(f->state.config, "{\"a\":1,\"one\":[\"x\",true],\"two\":[\"x\",true]}");
	assert_int_equal(f->state.nr_fds, 4);
	assert_int_equal(extras_find(&f->state, "two", &j, &e), 0);
	assert_int_equal(json_array_size(j), 2);
	json_decref(j);
	assert_int_equal(extras_find(&f->state, "three", &j, &e), 0);
	assert_null(j);
	f->state.config[0] = '[';
	assert_int_equal(extras_find(&f->state, "two", &j, &e), -EPROTO);
}

static void what_cannot_be_gathered_is_named_and_leaks_nothing(void **state)
{
	struct fixture *f = *state;
	struct err e;

	f->two.fails = true;
	assert_int_equal(extras_gather(&f->m, EXTRAS_ALL, "{\"a\":1}", &f->state, &e), -EIO);
	assert_string_equal(e.msg,
			    "what belongs to 'two' cannot be handed over: it cannot be read");
	assert_null(f->state.config);
}

static void what_is_early_goes_alone_when_it_is_asked_for(void **state)
{
	struct fixture *f = *state;
	struct err e;

	assert_int_equal(extras_check_dispensable(&f->m, "p", &e), 0);
	f->two.extra.early = true;
	assert_int_equal(extras_gather(&f->m, EXTRAS_EARLY, "{\"a\":1}", &f->state, &e), 0);
	assert_string_equal(f->state.config, "{\"a\":1,\"two\":[\"x\",true]}");
	assert_int_equal(f->state.nr_fds, 2);
	assert_int_equal(cpr_state_find_fd(&f->state, "one", 0), -1);
	assert_int_equal(extras_check_dispensable(&f->m, "p", &e), -EOPNOTSUPP);
	assert_string_equal(e.msg,
			    "'p' is of a release that cannot take over what belongs to 'two'");
}

static void releases_without_extras_are_recognised(void **state)
{
	char path[] = "/tmp/test-extras-XXXXXX";
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	/* No Baton at all, but it may start one. */
	assert_true(extras_are_known_to(path));
	assert_true(extras_are_known_to("sh"));
	assert_int_equal(write(fd, EXEC_STATE_NAME, strlen(EXEC_STATE_NAME)),
			 strlen(EXEC_STATE_NAME));
	assert_false(extras_are_known_to(path));
	assert_true(extras_are_known_to("/proc/self/exe"));
	close(fd);
	unlink(path);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(members_are_found_again),
		TEST(what_is_early_goes_alone_when_it_is_asked_for),
		TEST(what_cannot_be_gathered_is_named_and_leaks_nothing),
		TEST(releases_without_extras_are_recognised),
	};

	return cmocka_run_group_tests_name("extras", tests, NULL, NULL);
}
