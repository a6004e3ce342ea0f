/* SPDX-License-Identifier: MIT */
/* A process that has a rescue armed becomes another program, whatever happens to it. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/util.h"
#include "host/clock.h"
#include "host/process.h"
#include "host/rescue.h"

enum {
	RESCUED = 42, /* status of the program, which also checks the reason and the descriptor */
	NOT_RESCUED = 1,
};

static char why[sizeof("WHY=") + 80] = "WHY=";
static char wanted[sizeof("WANTED=") + 80] = "WANTED=";
static char descriptor[32];
static char script[] =
	"case \"$WHY\" in *\"$WANTED\"*) : <&$FD && exit 42;; esac; echo \"$WHY\" >&2; exit 3";
static char *const argv[] = { (char[]){ "sh" }, (char[]){ "-c" }, script, NULL };
static char *const envp[] = { why, wanted, descriptor, NULL };

/* In a child: what it does after this is what is tested. */
static void arm(const char *reason, uint64_t in_ns)
{
	static int fds[1];
	const struct rlimit no_core = { 0, 0 };
	struct rescue r = {
		.program = open("/bin/sh", O_RDONLY | O_CLOEXEC),
		.argv = (char **)argv,
		.envp = (char **)envp,
		.fds = fds,
		.nr_fds = 1,
		.why = why + strlen("WHY="),
		.room = sizeof(why) - strlen("WHY="),
		.deadline_ns = in_ns ? clock_boottime_ns() + in_ns : 0,
		.late = "too late",
	};
	struct err e;

	setrlimit(RLIMIT_CORE, &no_core);
	/* The shell knows numbers of one digit. */
	fds[0] = dup3(r.program, 9, O_CLOEXEC);
	snprintf(descriptor, sizeof(descriptor), "FD=%d", fds[0]);
	snprintf(wanted, sizeof(wanted), "WANTED=%s", reason);
	if (rescue_arm(&r, &e))
		_exit(NOT_RESCUED);
}

/* How a child ends that does @what: its status, or a signal's number, negative. */
static int end_of(void (*what)(void))
{
	static const int crashes[] = PROCESS_CRASH_SIGNALS;
	pid_t pid = fork();
	int status;

	if (!pid) {
		/* Not for the library of the tests. */
		for (size_t i = 0; i < ARRAY_SIZE(crashes); i++)
			signal(crashes[i], SIG_DFL);
		what();
		_exit(NOT_RESCUED);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static void use_no_address(void)
{
	static volatile uintptr_t nowhere = 8;

	*(volatile int *)nowhere = 1;
}

static void crash_main(void)
{
	arm("SIGSEGV", 0);
	use_no_address();
}

static void abort_main(void)
{
	arm("SIGABRT", 0);
	abort();
}

static void *crash_thread(void *arg)
{
	use_no_address();
	return arg;
}

static void crash_another(void)
{
	pthread_t thread;
	struct err e;

	arm("SIGSEGV", 0);
	if (!process_start_thread(&thread, "crash", crash_thread, NULL, &e))
		pthread_join(thread, NULL);
}

static volatile bool enough;

static int deeper(const volatile char *above)
{
	volatile char here[4096];

	here[0] = above ? above[0] : 1;
	return enough ? 0 : deeper(here) + here[0];
}

static void use_up_stack(void)
{
	const struct rlimit small = { 1 << 20, 1 << 20 };

	setrlimit(RLIMIT_STACK, &small);
	arm("SIGSEGV", 0);
	deeper(NULL);
}

static void miss_deadline(void)
{
	arm("too late", 20000000);
	for (;;)
		pause();
}

static void miss_deadline_that_has_passed(void)
{
	arm("too late", 1);
	for (;;)
		pause();
}

static void ask_for_it(void)
{
	struct err e;

	arm("because", 5000000000);
	rescue_go("because", &e);
}

static void ask_after_the_end(void)
{
	struct err e;

	arm("because", 0);
	rescue_end();
	rescue_go("because", &e);
}

static void ask_with_a_long_reason(void)
{
	char text[500];
	struct err e;

	memset(text, 'x', sizeof(text));
	text[sizeof(text) - 1] = '\0';
	arm("xxxxxxxx", 0);
	rescue_go(text, &e);
}

static void crash_after_the_end(void)
{
	arm("", 10000000);
	rescue_end();
	rescue_release();
	clock_sleep_ns(50000000);
	use_no_address();
}

static void crash_between_end_and_release(void)
{
	arm("", 0);
	rescue_end();
	use_no_address();
}

static void be_late_after_the_end(void)
{
	arm("", 10000000);
	rescue_end();
	clock_sleep_ns(50000000);
	rescue_release();
	_exit(7);
}

static void crash_in_a_child(void)
{
	int status = 0;
	pid_t pid;

	arm("", 0);
	pid = fork();
	if (!pid)
		use_no_address();
	waitpid(pid, &status, 0);
	_exit(WIFSIGNALED(status) ? 7 : NOT_RESCUED);
}

/* Nothing can be executed: it goes on as if nothing had been armed, late but alive. */
static void have_no_program(void)
{
	struct rescue r = {
		.program = -1,
		.argv = (char **)argv,
		.envp = (char **)envp,
		.why = why,
		.room = 1,
		.deadline_ns = clock_boottime_ns(),
		.late = "",
	};
	struct err e;

	if (rescue_arm(&r, &e))
		_exit(NOT_RESCUED);
	clock_sleep_ns(10000000);
	/* Waits until the thread has given up. */
	if (rescue_go("", &e) != -EINVAL)
		_exit(NOT_RESCUED);
	rescue_end();
	rescue_release();
	_exit(7);
}

static void end_without_an_armed_one(void)
{
	struct err e;

	rescue_end();
	rescue_release();
	_exit(rescue_go("", &e) == -ENOENT ? 7 : NOT_RESCUED);
}

static void test_ways_that_lead_there(void **state)
{
	(void)state;
	assert_int_equal(end_of(crash_main), RESCUED);
	assert_int_equal(end_of(abort_main), RESCUED);
	assert_int_equal(end_of(crash_another), RESCUED);
	assert_int_equal(end_of(use_up_stack), RESCUED);
	assert_int_equal(end_of(miss_deadline), RESCUED);
	assert_int_equal(end_of(miss_deadline_that_has_passed), RESCUED);
	assert_int_equal(end_of(ask_for_it), RESCUED);
	assert_int_equal(end_of(ask_after_the_end), RESCUED);
	assert_int_equal(end_of(ask_with_a_long_reason), RESCUED);
}

static void test_nothing_leads_there_after_the_end(void **state)
{
	(void)state;
	assert_int_equal(end_of(crash_after_the_end), -SIGSEGV);
	assert_int_equal(end_of(crash_between_end_and_release), -SIGSEGV);
	assert_int_equal(end_of(be_late_after_the_end), 7);
	assert_int_equal(end_of(end_without_an_armed_one), 7);
}

static void test_child_is_not_rescued(void **state)
{
	(void)state;
	assert_int_equal(end_of(crash_in_a_child), 7);
}

static void test_program_that_cannot_be_executed(void **state)
{
	(void)state;
	assert_int_equal(end_of(have_no_program), 7);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ways_that_lead_there),
		cmocka_unit_test(test_nothing_leads_there_after_the_end),
		cmocka_unit_test(test_child_is_not_rescued),
		cmocka_unit_test(test_program_that_cannot_be_executed),
	};

	return cmocka_run_group_tests_name("rescue", tests, NULL, NULL);
}
