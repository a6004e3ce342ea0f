/* SPDX-License-Identifier: MIT */
/* Descriptors that monitor clients pass: names, sets, and that none is leaked. */
#include "fake_machine.h"

#include <fcntl.h>
#include <stdlib.h>

#include "ctl/monitor.h"
#include "fd_count.h"

struct fd_test {
	struct fake f;
	struct buf text;
	unsigned int before, fds; /* open without the machine, and with it */
};

static int set_up(void **state)
{
	struct fd_test *t = calloc(1, sizeof(*t));
	struct err e = ERR_INIT;

	t->before = fd_count();
	fake_init(&t->f);
	t->fds = fd_count();
	assert_int_equal(ctl_add_qmp(t->f.ctl, &t->f.chr, &e), 0);
	fake_type(&t->f, "{'execute':'qmp_capabilities'}");
	fake_output(&t->f, &t->text);
	*state = t;
	return 0;
}

static int tear_down(void **state)
{
	struct fd_test *t = *state;

	fake_fini(&t->f);
	buf_fini(&t->text);
	assert_int_equal(fd_count(), t->before);
	free(t);
	return 0;
}

/* The descriptor comes with the next bytes. */
static int pass(struct fd_test *t)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	t->f.chr.front->passed(t->f.chr.opaque, &fd, 1);
	return fd;
}

static void expect(struct fd_test *t, const char *in, const char *want)
{
	fake_type(&t->f, in);
	if (!strstr(fake_output(&t->f, &t->text), want))
		fail_msg("no \"%s\" in \"%s\"", want, (char *)t->text.data);
}

#define OK  "{\"return\": {}}"
#define ERR "\"class\": \"GenericError\", \"desc\": "

static void a_name_is_given_taken_and_closed(void **state)
{
	struct fd_test *t = *state;
	struct session *s;
	struct err e;
	int fd;

	expect(t, "{'execute':'getfd','arguments':{'fdname':'a'}}",
	       ERR "\"No file descriptor supplied via SCM_RIGHTS\"");
	fd = pass(t);
	expect(t, "{'execute':'getfd','arguments':{'fdname':'a'}}", OK);
	assert_true(fcntl(fd, F_GETFD) >= 0);
	/* Another one of that name takes its place. */
	pass(t);
	expect(t, "{'execute':'getfd','arguments':{'fdname':'a'}}", OK);
	assert_int_equal(fd_count(), t->fds + 1);
	expect(t, "{'execute':'closefd','arguments':{'fdname':'a'}}", OK);
	assert_int_equal(fd_count(), t->fds);
	expect(t, "{'execute':'closefd','arguments':{'fdname':'a'}}",
	       ERR "\"File descriptor named 'a' not found\"");
	pass(t);
	expect(t, "{'execute':'getfd','arguments':{'fdname':'1a'}}",
	       ERR "\"Parameter 'fdname' expects a name not starting with a digit\"");
	assert_int_equal(fd_count(), t->fds);

	/* A command takes one by its name, but only while it runs for that monitor. */
	fd = pass(t);
	expect(t, "{'execute':'getfd','arguments':{'fdname':'m'}}", OK);
	assert_int_equal(monitor_take_fd(t->f.ctl, "m", &e), -ENOENT);
	assert_string_equal(e.msg, "File descriptor named 'm' has not been found");
	s = t->f.chr.opaque;
	t->f.ctl->current = s;
	assert_int_equal(monitor_take_fd(t->f.ctl, "m", &e), fd);
	assert_int_equal(monitor_take_fd(t->f.ctl, "m", &e), -ENOENT);
	t->f.ctl->current = NULL;
	close(fd);
}

static void each_request_gets_its_own_in_a_row(void **state)
{
	struct fd_test *t = *state;
	int first = pass(t), second;

	fake_type(&t->f, "{'execute':'add-fd','arguments':{'opaque':'x y'}}");
	second = pass(t);
	fake_type(&t->f, "{'execute':'add-fd'}");
	fake_output(&t->f, &t->text);
	fake_type(&t->f, "{'execute':'query-fdsets'}");
	fake_output(&t->f, &t->text);
	{
		char want[256];

		snprintf(want, sizeof(want),
			 "{\"return\": [{\"fdset-id\": 0, \"fds\": [{\"fd\": %d, \"opaque\": "
			 "\"x y\"}]}, {\"fdset-id\": 1, \"fds\": [{\"fd\": %d}]}]}\r\n",
			 first, second);
		assert_string_equal((char *)t->text.data, want);
	}
	/* One that nobody claimed makes room for those that come later. */
	pass(t);
	expect(t, "{'execute':'query-status'}", "running");
	second = pass(t);
	assert_int_equal(fd_count(), t->fds + 3);
	expect(t, "{'execute':'add-fd','arguments':{'fdset-id':7}}", "\"fdset-id\": 7");
	expect(t, "{'execute':'add-fd','arguments':{'fdset-id':7}}",
	       ERR "\"No file descriptor supplied via SCM_RIGHTS\"");
	expect(t, "{'execute':'add-fd','arguments':{'fdset-id':-7}}", "\"error\"");
}

static void sets_are_taken_apart(void **state)
{
	struct fd_test *t = *state;
	char line[128];
	int fd[3];

	for (int i = 0; i < 3; i++) {
		fd[i] = pass(t);
		expect(t, "{'execute':'add-fd','arguments':{'fdset-id':3}}", "\"fdset-id\": 3");
	}
	snprintf(line, sizeof(line), "{'execute':'remove-fd','arguments':{'fdset-id':3,'fd':%d}}",
		 fd[1]);
	expect(t, line, OK);
	assert_int_equal(fcntl(fd[1], F_GETFD), -1);
	snprintf(line, sizeof(line), ERR "\"File descriptor named 'fdset-id:3, fd:%d' not found\"",
		 fd[1]);
	{
		char again[128];

		snprintf(again, sizeof(again),
			 "{'execute':'remove-fd','arguments':{'fdset-id':3,'fd':%d}}", fd[1]);
		expect(t, again, line);
	}
	expect(t, "{'execute':'remove-fd','arguments':{'fdset-id':3,'fd':99999999999}}",
	       "not found");
	expect(t, "{'execute':'remove-fd','arguments':{'fdset-id':3}}", OK);
	assert_int_equal(fd_count(), t->fds);
	expect(t, "{'execute':'remove-fd','arguments':{'fdset-id':3}}",
	       ERR "\"File descriptor named 'fdset-id:3' not found\"");
	expect(t, "{'execute':'query-fdsets'}", "{\"return\": []}");
}

static void a_client_that_goes_leaves_none_behind(void **state)
{
	struct fd_test *t = *state;

	pass(t);
	fake_type(&t->f, "{'execute':'getfd','arguments':{'fdname':'a'}}");
	pass(t);
	fake_type(&t->f, "{'execute':'add-fd'}");
	pass(t);
	assert_int_equal(fd_count(), t->fds + 3);
	t->f.chr.front->connected(t->f.chr.opaque, false);
	assert_int_equal(fd_count(), t->fds);
}

static void their_number_is_bounded(void **state)
{
	struct fd_test *t = *state;
	char line[128];

	for (int i = 0; i < 3 * CHARDEV_MAX_PASSED; i++)
		pass(t);
	assert_true(fd_count() <= t->fds + CHARDEV_MAX_PASSED);
	for (int i = 0; i < FD_STORE_MAX_NAMES; i++) {
		pass(t);
		snprintf(line, sizeof(line), "{'execute':'getfd','arguments':{'fdname':'n%d'}}", i);
		expect(t, line, OK);
	}
	pass(t);
	expect(t, "{'execute':'getfd','arguments':{'fdname':'more'}}", "no more than 64");
	for (int i = 0; i < FD_SETS_MAX_FDS; i++) {
		pass(t);
		expect(t, "{'execute':'add-fd','arguments':{'fdset-id':1}}", "\"fd\"");
	}
	pass(t);
	expect(t, "{'execute':'add-fd'}", "no more than 128");
	assert_int_equal(fd_count(), t->fds + FD_STORE_MAX_NAMES + FD_SETS_MAX_FDS);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_name_is_given_taken_and_closed),
		TEST(each_request_gets_its_own_in_a_row),
		TEST(sets_are_taken_apart),
		TEST(a_client_that_goes_leaves_none_behind),
		TEST(their_number_is_bounded),
	};

	return cmocka_run_group_tests_name("fd", tests, NULL, NULL);
}
