/* SPDX-License-Identifier: MIT */
/* Processes: replacing this one's program, watching another one, inheriting descriptors. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/util.h"
#include "host/process.h"

int process_exec(char *const *argv, struct err *e)
{
	sigset_t none, old;
	int r;

	/* Signals we block or ignore are no business of the next program. */
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, &old);
	signal(SIGPIPE, SIG_DFL);
	execvp(argv[0], argv);
	r = err_set_errno(e, "execvp %s failed", argv[0]);
	signal(SIGPIPE, SIG_IGN);
	sigprocmask(SIG_SETMASK, &old, NULL);
	return r;
}

/*
 * The child shares our memory, thread-local storage included: it must not touch
 * errno, so it calls the kernel directly, and it uses nothing of the C library.
 */
static long raw_call(long nr, long a, long b, long c)
{
	long r;

	__asm__ volatile("syscall"
			 : "=a"(r)
			 : "a"(nr), "D"(a), "S"(b), "d"(c)
			 : "rcx", "r11", "memory");
	return r;
}

enum {
	HOLDER_STACK_BYTES = 32 << 10,
	HOLDER_POLL_NS = 2000000,
	HOLDER_POLLS = 5000
};

/* Lies at the start of the child's stack; both live as long as the memory does. */
struct holder {
	int fd;
	const uint32_t *word;
	uint32_t value;
	long parent;
};

static int hold(void *arg)
{
	const struct holder *h = arg;
	const struct timespec pause = { .tv_nsec = HOLDER_POLL_NS };

	/* Whoever waits for one of our sockets to close shall not wait for the child. */
	if (h->fd > 0)
		raw_call(SYS_close_range, 0, h->fd - 1, 0);
	raw_call(SYS_close_range, (long)h->fd + 1, ~0u, 0);
	for (int i = 0; i < HOLDER_POLLS; i++) {
		if (__atomic_load_n(h->word, __ATOMIC_ACQUIRE) != h->value ||
		    raw_call(SYS_getppid, 0, 0, 0) != h->parent)
			break;
		raw_call(SYS_nanosleep, (long)&pause, 0, 0);
	}
	raw_call(SYS_exit_group, 0, 0, 0);
	return 0;
}

pid_t process_hold_memory(int fd, const uint32_t *word, uint32_t value, struct err *e)
{
	char *stack = malloc(HOLDER_STACK_BYTES);
	struct holder *h = (struct holder *)stack;
	pid_t pid;

	if (!stack)
		return err_set(e, ENOMEM, "no memory for a child's stack");
	*h = (struct holder){ .fd = fd, .word = word, .value = value, .parent = getpid() };
	/* The stack is never freed: the child uses it, and exec or the end of it takes it away. */
	pid = clone(hold, stack + HOLDER_STACK_BYTES, CLONE_VM | SIGCHLD, h);
	if (pid < 0) {
		pid = err_set_errno(e, "cannot start a child that holds the memory");
		free(stack);
	}
	return pid;
}

bool process_reap(pid_t pid)
{
	return waitpid(pid, NULL, WNOHANG | __WALL) != 0;
}

int process_keep_fd(int fd, bool keep, struct err *e)
{
	if (fcntl(fd, F_SETFD, keep ? 0 : FD_CLOEXEC) < 0)
		return err_set_errno(e, "cannot change descriptor %d", fd);
	return 0;
}

int process_check_fd(int fd, struct err *e)
{
	if (fcntl(fd, F_GETFD) < 0)
		return err_set_errno(e, "descriptor %d", fd);
	return 0;
}

int process_open_pidfd(pid_t pid, struct err *e)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);

	return fd < 0 ? err_set_errno(e, "cannot watch process %d", pid) : fd;
}

int process_write_pidfile(const char *path, struct err *e)
{
	AUTO_CLOSE int f = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	char text[24];
	int n;

	if (f < 0)
		return err_set_errno(e, "cannot create PID file %s", path);
	n = snprintf(text, sizeof(text), "%d\n", getpid());
	if (write(f, text, (size_t)n) != n)
		return err_set_errno(e, "cannot write PID file %s", path);
	return 0;
}

void process_die(void)
{
	kill(getpid(), SIGKILL);
}

void process_freeze(void)
{
	kill(getpid(), SIGSTOP);
}

int process_block_signals(int *fd, struct err *e)
{
	sigset_t set;
	int f;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	f = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (f < 0)
		return err_set_errno(e, "cannot watch for signals");
	*fd = f;
	return 0;
}

void process_read_signal(int fd)
{
	struct signalfd_siginfo info;

	/* Which one it is does not matter; that it is gone does. */
	while (read(fd, &info, sizeof(info)) == sizeof(info))
		;
}
