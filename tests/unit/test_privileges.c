/* SPDX-License-Identifier: MIT */
/* Giving up privileges: verified, for all threads, and known to the next image. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/util.h"
#include "host/privileges.h"
#include "main/run_with_options.h"

enum {
	SOMEBODY = 54321,
	SOME_GROUP = 54322,
};

static void only_as_root(void)
{
	if (!geteuid())
		return;
	print_message("SKIPPED: ONLY ROOT CAN BECOME SOMEBODY ELSE\n");
	skip();
}

/* The result of @fn, from 0 to 99, in a child that ends. */
static int in_child(int (*fn)(void))
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (!pid)
		_exit(fn());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void *run_as_thread(void *arg)
{
	int *r = arg;

	/* Waits until the main thread has dropped privileges. */
	while (!__atomic_load_n(r, __ATOMIC_ACQUIRE))
		usleep(1000);
	*r = geteuid() == SOMEBODY && getegid() == SOME_GROUP && !getgroups(0, NULL) &&
			     seteuid(0) && prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1
		     ? 0
		     : 7;
	return NULL;
}

static int become_somebody(void)
{
	struct privileges p = { .user = "54321:54322" };
	gid_t some[] = { 4, 5 };
	pthread_t t;
	struct err e;
	int word = 0;

	if (setgroups(2, some) || privileges_prepare(&p, &e))
		return 1;
	if (pthread_create(&t, NULL, run_as_thread, &word))
		return 2;
	if (privileges_drop(&p, &e)) {
		fprintf(stderr, "%s\n", e.msg);
		return 3;
	}
	__atomic_store_n(&word, 1, __ATOMIC_RELEASE);
	pthread_join(t, NULL);
	if (word)
		return word;
	if (prctl(PR_GET_DUMPABLE))
		return 4;
	return setuid(0) && setgid(0) && setgroups(0, NULL) ? 0 : 5;
}

static void all_threads_become_that_user_for_good(void **state)
{
	(void)state;
	only_as_root();
	assert_int_equal(in_child(become_somebody), 0);
}

static int leave_root_directory(void)
{
	struct privileges p = { .user = "54321:54322", .root = "privileges-test" };
	struct stat st;
	struct err e;

	if (privileges_prepare(&p, &e))
		return 1;
	if (privileges_drop(&p, &e)) {
		fprintf(stderr, "%s\n", e.msg);
		return 2;
	}
	if (!stat("/etc", &st) || stat("/inside", &st) || stat("/../inside", &st))
		return 3;
	return chroot(".") ? 0 : 4;
}

static int leave_with_an_open_directory(void)
{
	struct privileges p = { .user = "54321:54322", .root = "privileges-test" };
	int fd = open("/", O_RDONLY | O_DIRECTORY);
	struct err e;

	if (fd < 0 || privileges_prepare(&p, &e))
		return 1;
	return privileges_drop(&p, &e) == -EPERM && strstr(e.msg, "directory") ? 0 : 2;
}

static void only_what_is_in_the_new_root_can_be_found(void **state)
{
	int fd;

	(void)state;
	only_as_root();
	assert_int_equal(mkdir("privileges-test", 0755), 0);
	fd = open("privileges-test/inside", O_CREAT | O_WRONLY, 0644);
	close(fd);
	fd = in_child(leave_root_directory);
	if (!fd)
		fd = in_child(leave_with_an_open_directory) ? 50 : 0;
	unlink("privileges-test/inside");
	rmdir("privileges-test");
	assert_int_equal(fd, 0);
}

/* What an image before would have done, and what this one asks for. */
static int ask_again(void)
{
	struct privileges p = { .user = "54321:54322" };
	struct privileges same = { .user = "54321:54322" }, also = { .user = "54321:054322" };
	struct privileges other = { .user = "54321:54323" }, root = { .root = "/tmp" };
	struct privileges nothing = { .user = NULL };
	struct err e;

	if (privileges_are_dropped(getpid()) || privileges_check(&same, getpid(), &e) != -EPERM)
		return 1;
	if (privileges_prepare(&p, &e) || privileges_drop(&p, &e))
		return 2;
	if (!privileges_are_dropped(getpid()) || privileges_are_dropped(getpid() + 1))
		return 3;
	if (privileges_check(&same, getpid(), &e) || privileges_check(&also, getpid(), &e) ||
	    privileges_check(&nothing, getpid(), &e))
		return 4;
	if (privileges_check(&other, getpid(), &e) != -EPERM || !strstr(e.msg, "for good"))
		return 5;
	if (privileges_check(&root, getpid(), &e) != -EPERM)
		return 6;
	/* A mark that says what is not so. */
	setenv("BATON_RUN_WITH", "1\n54321\n54322\n1\n2\nx\n", 1);
	if (privileges_are_dropped(getpid()) || privileges_are_dropped(1))
		return 7;
	setenv("BATON_RUN_WITH", "rubbish", 1);
	return privileges_are_dropped(getpid()) ? 8 : 0;
}

static void the_next_image_may_ask_for_the_same_and_for_nothing_else(void **state)
{
	(void)state;
	only_as_root();
	assert_int_equal(in_child(ask_again), 0);
}

static int stay_who_i_am(void)
{
	struct privileges p = { .user = "54321:54322" };
	struct err e;

	if (setgroups(0, NULL) || setresgid(SOME_GROUP, SOME_GROUP, SOME_GROUP) ||
	    setresuid(SOMEBODY, SOMEBODY, SOMEBODY))
		return 1;
	if (privileges_prepare(&p, &e) || privileges_drop(&p, &e))
		return 2;
	p.user = "54320:54320";
	return privileges_prepare(&p, &e) || privileges_drop(&p, &e) != -EPERM ? 3 : 0;
}

static void who_is_that_user_already_need_not_be_root(void **state)
{
	(void)state;
	only_as_root();
	assert_int_equal(in_child(stay_who_i_am), 0);
}

static int find_users(void)
{
	static const char *const bad[] = {
		"no-such-user", "0:1",  "root",         "1:",           ":1",
		"1:2:3",        "-1:2", "4294967295:1", "1:4294967295", "99999999999999999999:1"
	};
	struct privileges p = { .user = "nobody" };
	struct err e;

	if (privileges_prepare(&p, &e) || p.uid != 65534 || p.gid != 65534)
		return 1;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		p.user = bad[i];
		if (!privileges_prepare(&p, &e) || !strstr(e.msg, bad[i])) {
			fprintf(stderr, "%s: %s\n", bad[i], e.msg);
			return 2;
		}
	}
	return 0;
}

static void users_are_found_and_root_is_none(void **state)
{
	(void)state;
	assert_int_equal(in_child(find_users), 0);
}

static void options_are_read_and_bad_ones_named(void **state)
{
	static const char *const bad[] = {
		"", "user", "user=", "chroot=x", "chroot=", "colour=red", "async-teardown=maybe"
	};
	struct run_with_options o = { .text = "" };
	struct err e;

	(void)state;
	assert_false(run_with_options_given(&o));
	assert_int_equal(run_with_options_parse(&o, "async-teardown=off", &e), 0);
	assert_false(run_with_options_given(&o));
	assert_int_equal(run_with_options_parse(&o, "chroot=/srv/jail,user=1:2", &e), 0);
	assert_true(run_with_options_given(&o));
	assert_string_equal(o.privileges.user, "1:2");
	assert_string_equal(o.privileges.root, "/srv/jail");
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(run_with_options_parse(&o, bad[i], &e), -EINVAL);
	assert_int_equal(run_with_options_parse(&o, "async-teardown=on", &e), -ENOTSUP);
}

static void a_command_that_asks_for_something_else_is_refused(void **state)
{
	char *same[] = { "/bin/true", "-m", "64M", NULL };
	char *other[] = { "/bin/true", "-run-with", "user=1:2", "-S", NULL };
	char *cut[] = { "/bin/true", "-run-with", NULL };
	struct err e;

	(void)state;
	assert_int_equal(run_with_options_check_command(same, &e), 0);
	assert_int_equal(run_with_options_check_command(cut, &e), 0);
	assert_int_equal(run_with_options_check_command(other, &e), -EPERM);
	assert_non_null(strstr(e.msg, "cpr-transfer"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_threads_become_that_user_for_good),
		cmocka_unit_test(only_what_is_in_the_new_root_can_be_found),
		cmocka_unit_test(the_next_image_may_ask_for_the_same_and_for_nothing_else),
		cmocka_unit_test(who_is_that_user_already_need_not_be_root),
		cmocka_unit_test(users_are_found_and_root_is_none),
		cmocka_unit_test(options_are_read_and_bad_ones_named),
		cmocka_unit_test(a_command_that_asks_for_something_else_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
