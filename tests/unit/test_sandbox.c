/* SPDX-License-Identifier: MIT */
/* The sandbox: what is on the list works, what is not fails with EPERM, and nobody is killed. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/util.h"
#include "host/sandbox.h"
#include "main/sandbox_options.h"

/* Runs @fn in a child that has entered the sandbox; its result, or -1. */
static int in_sandbox(const struct sandbox_config *c, int (*fn)(void))
{
	pid_t pid = fork();
	struct err e;
	int status;

	assert_true(pid >= 0);
	if (!pid) {
		if (sandbox_enter(c, &e)) {
			fprintf(stderr, "%s\n", e.msg);
			_exit(99);
		}
		_exit(fn());
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int dangerous_calls(void)
{
	static const struct {
		long number, args[5];
	} calls[] = {
		{ SYS_mount, { (long)"none", (long)"/", 0, MS_REMOUNT, 0 } },
		{ SYS_ptrace, { PTRACE_TRACEME } },
		{ SYS_setuid, { 0 } },
		{ SYS_bpf, { 0 } },
		{ SYS_add_key, { 0 } },
		{ SYS_init_module, { 0 } },
		{ SYS_perf_event_open, { 0 } },
		{ SYS_unshare, { CLONE_NEWUSER } },
		{ SYS_clone, { CLONE_NEWUSER | SIGCHLD } },
		{ SYS_process_vm_readv, { 1 } },
	};

	for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
		const long *a = calls[i].args;

		/* The host would refuse some of them for their arguments, with other errors. */
		errno = 0;
		if (syscall(calls[i].number, a[0], a[1], a[2], a[3], a[4]) != -1 || errno != EPERM)
			return (int)i + 1;
	}
	return 0;
}

static void what_is_not_on_the_list_fails_and_kills_nobody(void **state)
{
	const struct sandbox_config c = { .no_spawn = false };

	(void)state;
	assert_int_equal(in_sandbox(&c, dangerous_calls), 0);
	assert_false(sandbox_allows(SYS_mount));
	assert_true(sandbox_allows(SYS_ioctl));
}

static void *return_argument(void *arg)
{
	return arg;
}

static int threads_and_programs(void)
{
	pthread_t t;
	void *back = NULL;
	pid_t pid;
	int status;

	if (pthread_create(&t, NULL, return_argument, &back) || pthread_join(t, &back))
		return 1;
	pid = fork();
	if (pid < 0)
		return errno == EPERM ? 2 : 3;
	if (!pid) {
		execl("/bin/true", "true", NULL);
		_exit(7);
	}
	if (waitpid(pid, &status, 0) != pid)
		return 4;
	return status ? 5 : 0;
}

static void programs_are_started_unless_that_is_denied_and_threads_always(void **state)
{
	const struct sandbox_config allow = { .no_spawn = false }, deny = { .no_spawn = true };

	(void)state;
	assert_int_equal(in_sandbox(&allow, threads_and_programs), 0);
	assert_int_equal(in_sandbox(&deny, threads_and_programs), 2);
}

static int is_entered(void)
{
	return sandbox_is_entered() ? 0 : 1;
}

/* A list that somebody else has put this process on is not ours. */
static void only_our_own_sandbox_counts_as_entered(void **state)
{
	const struct sandbox_config c = { .no_spawn = false };

	(void)state;
	assert_int_equal(in_sandbox(&c, is_entered), 0);
	assert_false(sandbox_is_entered());
	setenv("BATON_SANDBOX", "1", 1);
	assert_false(sandbox_is_entered());
	unsetenv("BATON_SANDBOX");
}

static int open_paths(void)
{
	int fd = open("sandbox-test/inside", O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0 || write(fd, "x", 1) != 1)
		return 1;
	fd = open("sandbox-outside", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd >= 0 || errno != EACCES)
		return 2;
	if (open("/etc/shadow", O_RDONLY | O_CLOEXEC) >= 0)
		return 3;
	if (open("/proc/self/maps", O_RDONLY | O_CLOEXEC) < 0)
		return 4;
	return unlink("sandbox-test/inside") ? 5 : 0;
}

static void only_given_paths_are_open(void **state)
{
	char path[4096];
	struct sandbox_config c = { .nr_paths = 1 };
	int r;

	(void)state;
	mkdir("sandbox-test", 0700);
	assert_non_null(realpath("sandbox-test", path));
	c.paths[0] = path;
	r = in_sandbox(&c, open_paths);
	rmdir("sandbox-test");
	if (r == 99) {
		print_message("SKIPPED: THIS KERNEL HAS NO LANDLOCK\n");
		skip();
	}
	assert_int_equal(r, 0);
}

static void a_path_that_is_not_there_is_named(void **state)
{
	const struct sandbox_config c = { .paths = { "/does/not/exist" }, .nr_paths = 1 };
	pid_t pid = fork();
	struct err e;
	int status;

	(void)state;
	if (!pid)
		_exit(sandbox_enter(&c, &e) == -ENOSYS ||
				      (e.code == ENOENT && strstr(e.msg, "/does/not/exist"))
			      ? 0
			      : 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void options_are_read_and_bad_ones_named(void **state)
{
	static const char *const bad[] = { "maybe",         "on,spawn=perhaps", "on,path=relative",
					   "on,colour=red", "on,spawn",         "on,path=" };
	struct sandbox_options o;
	struct err e;

	(void)state;
	assert_int_equal(sandbox_options_parse(&o, "on,spawn=deny,path=/a,path=/b/c", &e), 0);
	assert_true(o.on && o.config.no_spawn);
	assert_int_equal(o.config.nr_paths, 2);
	assert_string_equal(o.config.paths[1], "/b/c");
	assert_int_equal(sandbox_options_parse(&o, "off", &e), 0);
	assert_false(o.on);
	assert_int_equal(
		sandbox_options_parse(&o, "enable=on,obsolete=deny,elevateprivileges=children", &e),
		0);
	assert_true(o.on && !o.config.no_spawn);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(sandbox_options_parse(&o, bad[i], &e), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_not_on_the_list_fails_and_kills_nobody),
		cmocka_unit_test(programs_are_started_unless_that_is_denied_and_threads_always),
		cmocka_unit_test(only_our_own_sandbox_counts_as_entered),
		cmocka_unit_test(only_given_paths_are_open),
		cmocka_unit_test(a_path_that_is_not_there_is_named),
		cmocka_unit_test(options_are_read_and_bad_ones_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
