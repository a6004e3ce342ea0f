/* SPDX-License-Identifier: MIT */
/* Processes: replacing this one's program, watching another one, inheriting descriptors. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
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
