/* SPDX-License-Identifier: MIT */
/* Moving bytes on a thread: stalls, cancels, and commands that do not end. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/util.h"
#include "fd_count.h"
#include "host/xfer.h"

enum {
	MANY = 4 << 20, /* more than a socket takes that nobody reads */
};

struct fixture {
	int cancel, ours, theirs;
	unsigned int fds; /* open before the test */
	char *bytes;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	int pair[2];
	struct err e;

	f->fds = fd_count();
	f->cancel = xfer_cancel_create(&e);
	if (f->cancel < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		return -1;
	f->ours = pair[0];
	f->theirs = pair[1];
	f->bytes = calloc(1, MANY);
	signal(SIGPIPE, SIG_IGN);
	alarm(60);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	unsigned int fds;

	close_fd(&f->cancel);
	close_fd(&f->ours);
	close_fd(&f->theirs);
	free(f->bytes);
	fds = fd_count() - f->fds;
	free(f);
	return fds ? -1 : 0;
}

static void a_write_of_which_nothing_is_taken_fails_at_its_limit(void **state)
{
	struct fixture *f = *state;
	struct iovec iov = { f->bytes, MANY };
	struct err e;

	assert_int_equal(xfer_writev(f->ours, f->cancel, 30, &iov, 1, "a socket", &e), -ETIMEDOUT);
	assert_string_equal(e.msg, "Unable to write to a socket: it has taken no byte for 0.03 s");
}

/* Takes all that is sent, in small pieces, so that it lasts many limits. */
static pid_t start_slow_reader(const struct fixture *f)
{
	pid_t pid = fork();
	char piece[64 << 10];

	if (pid)
		return pid;
	close(f->ours);
	while (read(f->theirs, piece, sizeof(piece)) > 0)
		poll(NULL, 0, 10);
	_exit(0);
}

static void a_write_that_is_slow_but_moves_is_no_stall(void **state)
{
	struct fixture *f = *state;
	struct iovec iov = { f->bytes, MANY };
	pid_t pid = start_slow_reader(f);
	struct err e;

	close_fd(&f->theirs);
	assert_int_equal(xfer_writev(f->ours, f->cancel, 300, &iov, 1, "a socket", &e), 0);
	close_fd(&f->ours);
	waitpid(pid, NULL, 0);
}

static void a_cancel_ends_a_write_at_once(void **state)
{
	struct fixture *f = *state;
	struct iovec iov = { f->bytes, MANY };
	struct err e;

	xfer_cancel(f->cancel);
	assert_int_equal(xfer_writev(f->ours, f->cancel, XFER_NO_LIMIT, &iov, 1, "a socket", &e),
			 -ECANCELED);
}

static pid_t run(const char *line, int *fd)
{
	char *argv[] = { "sh", "-c", (char *)line, NULL };
	struct err e;
	pid_t pid = xfer_spawn(argv, false, fd, &e);

	assert_true(pid > 0);
	return pid;
}

static void a_command_that_does_not_end_is_killed_with_what_it_started(void **state)
{
	struct fixture *f = *state;
	AUTO_CLOSE int fd = -1;
	char text[16] = "";
	struct pollfd p;
	struct err e;
	pid_t pid;

	pid = run("sleep 1000 & echo started; wait", &fd);
	assert_true(read(fd, text, sizeof(text)) > 0);
	assert_int_equal(xfer_wait_child(pid, f->cancel, 20, "exec:it", &e), -ETIMEDOUT);
	assert_string_equal(e.msg, "exec:it has not ended within 0.02 s and was killed");
	/* The other process had our pipe too. */
	p = (struct pollfd){ .fd = fd, .events = POLLIN };
	assert_int_equal(poll(&p, 1, 10000), 1);
	assert_int_equal(read(fd, text, sizeof(text)), 0);
}

static void the_end_of_a_command_is_told(void **state)
{
	static const struct {
		const char *line, *text;
	} cases[] = {
		{ "exit 0", NULL },
		{ "exit 3", "exec:it ended with status 3" },
		{ "kill -9 $$", "exec:it was ended by signal 9" },
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		AUTO_CLOSE int fd = -1;
		pid_t pid = run(cases[i].line, &fd);
		struct err e;
		int r = xfer_wait_child(pid, f->cancel, 30000, "exec:it", &e);

		assert_int_equal(r, cases[i].text ? -EPIPE : 0);
		if (r)
			assert_string_equal(e.msg, cases[i].text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		TEST(a_write_of_which_nothing_is_taken_fails_at_its_limit),
		TEST(a_write_that_is_slow_but_moves_is_no_stall),
		TEST(a_cancel_ends_a_write_at_once),
		TEST(a_command_that_does_not_end_is_killed_with_what_it_started),
		TEST(the_end_of_a_command_is_told),
	};

	return cmocka_run_group_tests_name("xfer", tests, NULL, NULL);
}
