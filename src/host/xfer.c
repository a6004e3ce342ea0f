/* SPDX-License-Identifier: MIT */
/* Moving many bytes to or from a file, socket or pipe on a thread of its own. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/util.h"
#include "host/clock.h"
#include "host/xfer.h"

enum {
	KILL_POLLS = 100,
	KILL_INTERVAL_MS = 1,
};

extern char **environ;

int xfer_cancel_create(struct err *e)
{
	int fd = eventfd(0, EFD_CLOEXEC);

	return fd < 0 ? err_set_errno(e, "cannot create an eventfd") : fd;
}

void xfer_cancel(int cancel_fd)
{
	eventfd_write(cancel_fd, 1);
}

/* Until @fd is ready for @events, the transfer is cancelled, or the limit: -ETIMEDOUT, no text. */
static int wait_ready(int fd, short events, int cancel_fd, int limit_ms, const char *what,
		      struct err *e)
{
	uint64_t end = clock_boottime_ns() + (uint64_t)limit_ms * 1000000;
	struct pollfd p[2] = {
		{ .fd = cancel_fd, .events = POLLIN },
		{ .fd = fd, .events = events },
	};

	for (;;) {
		uint64_t now = clock_boottime_ns();
		int left = end > now ? (int)((end - now + 999999) / 1000000) : 0;
		int n = poll(p, ARRAY_SIZE(p), limit_ms == XFER_NO_LIMIT ? -1 : left);

		if (n < 0 && errno != EINTR)
			return err_set_errno(e, "cannot wait for %s", what);
		if (n > 0 && p[0].revents)
			return err_set(e, ECANCELED, "the transfer was cancelled");
		if (n > 0)
			return 0;
		if (n == 0)
			return -ETIMEDOUT;
	}
}

static void make_nonblocking(int fd)
{
	struct stat st;
	int flags;

	if (fstat(fd, &st) || S_ISREG(st.st_mode))
		return;
	flags = fcntl(fd, F_GETFL);
	if (flags >= 0 && !(flags & O_NONBLOCK))
		fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

/* Takes @n written bytes off the front; returns how many pieces are left. */
static int advance(struct iovec **iov, int count, size_t n)
{
	while (count && n >= (*iov)->iov_len) {
		n -= (*iov)->iov_len;
		(*iov)++;
		count--;
	}
	if (count) {
		(*iov)->iov_base = (char *)(*iov)->iov_base + n;
		(*iov)->iov_len -= n;
	}
	return count;
}

int xfer_writev(int fd, int cancel_fd, int stall_ms, struct iovec *iov, int n, const char *what,
		struct err *e)
{
	make_nonblocking(fd);
	n = advance(&iov, n, 0);
	while (n) {
		int r = wait_ready(fd, POLLOUT, cancel_fd, stall_ms, what, e);
		ssize_t w;

		if (r == -ETIMEDOUT)
			return err_set(e, ETIMEDOUT,
				       "Unable to write to %s: it has taken no byte for %g s", what,
				       stall_ms / 1e3);
		if (r)
			return r;
		w = writev(fd, iov, n);
		if (w < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (w < 0)
			return err_set_errno(e, "Unable to write to %s", what);
		n = advance(&iov, n, (size_t)w);
	}
	return 0;
}

int xfer_read(int fd, int cancel_fd, void *p, size_t room, size_t *got, const char *what,
	      struct err *e)
{
	make_nonblocking(fd);
	for (;;) {
		int r = wait_ready(fd, POLLIN, cancel_fd, XFER_NO_LIMIT, what, e);
		ssize_t n;

		if (r)
			return r;
		n = read(fd, p, room);
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n < 0)
			return err_set_errno(e, "Unable to read from %s", what);
		*got = (size_t)n;
		return 0;
	}
}

int xfer_seek(int fd, uint64_t offset, const char *what, struct err *e)
{
	if (lseek(fd, (off_t)offset, SEEK_SET) < 0)
		return err_set_errno(e, "cannot go to offset %llu of %s",
				     (unsigned long long)offset, what);
	return 0;
}

int xfer_sync(int fd, const char *what, struct err *e)
{
	if (fdatasync(fd) < 0 && errno != EINVAL && errno != EROFS)
		return err_set_errno(e, "Unable to write to %s", what);
	return 0;
}

void xfer_end(int fd)
{
	/* Fails for what is no socket, which is closed soon. */
	shutdown(fd, SHUT_WR);
}

/* @actions are used up. */
static int spawn(char *const *argv, char *const *envp, posix_spawn_file_actions_t *actions,
		 pid_t *pid)
{
	posix_spawnattr_t attr;
	sigset_t none, defaults;
	int r;

	sigemptyset(&none);
	sigemptyset(&defaults);
	sigaddset(&defaults, SIGPIPE);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &defaults);
	/* A group of its own, to be ended with what it has started. */
	posix_spawnattr_setpgroup(&attr, 0);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
						POSIX_SPAWN_SETPGROUP);
	r = posix_spawnp(pid, argv[0], actions, &attr, argv, envp);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(actions);
	return r;
}

int xfer_pipe(int *to_write, struct err *e)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) < 0)
		return err_set_errno(e, "cannot create a pipe");
	*to_write = ends[1];
	return ends[0];
}

pid_t xfer_spawn(char *const *argv, bool to_child, int *fd, struct err *e)
{
	AUTO_CLOSE int ours = -1, theirs = -1;
	posix_spawn_file_actions_t actions;
	int ends[2], r;
	pid_t pid;

	ends[0] = xfer_pipe(&ends[1], e);
	if (ends[0] < 0)
		return ends[0];
	ours = ends[to_child ? 1 : 0];
	theirs = ends[to_child ? 0 : 1];
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, theirs, to_child ? STDIN_FILENO : STDOUT_FILENO);
	r = spawn(argv, environ, &actions, &pid);
	if (r)
		return err_set_code(e, r, "cannot run '%s'", argv[0]);
	*fd = take_fd(&ours);
	return pid;
}

pid_t xfer_spawn_with(char *const *argv, char *const *envp, const int *fds, size_t n, struct err *e)
{
	posix_spawn_file_actions_t actions;
	pid_t pid;
	int r;

	posix_spawn_file_actions_init(&actions);
	/* To its own number: stays open. */
	for (size_t i = 0; i < n; i++)
		posix_spawn_file_actions_adddup2(&actions, fds[i], fds[i]);
	r = spawn(argv, envp, &actions, &pid);
	return r ? err_set_code(e, r, "cannot run '%s'", argv[0]) : pid;
}

bool xfer_is_pipe(int fd)
{
	struct stat st;
	int flags = fcntl(fd, F_GETFL);

	return flags >= 0 && (flags & O_ACCMODE) == O_WRONLY && !fstat(fd, &st) &&
	       S_ISFIFO(st.st_mode);
}

size_t xfer_take(int fd, void *p, size_t room)
{
	struct pollfd ready = { .fd = fd, .events = POLLIN };
	ssize_t n = poll(&ready, 1, 0) > 0 ? read(fd, p, room) : 0;

	return n > 0 ? (size_t)n : 0;
}

void xfer_kill_group(pid_t pid)
{
	/* Itself too: it may have left the group that it led. */
	kill(-pid, SIGKILL);
	kill(pid, SIGKILL);
}

bool xfer_kill_child(pid_t pid)
{
	xfer_kill_group(pid);
	for (int i = 0; i < KILL_POLLS; i++) {
		if (waitpid(pid, NULL, WNOHANG))
			return true;
		poll(NULL, 0, KILL_INTERVAL_MS);
	}
	return false;
}

int xfer_wait_child(pid_t pid, int cancel_fd, int limit_ms, const char *what, struct err *e)
{
	AUTO_CLOSE int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	int status = 0, r = 0;
	pid_t done;

	if (pidfd >= 0)
		r = wait_ready(pidfd, POLLIN, cancel_fd, limit_ms, what, e);
	if (r == -ETIMEDOUT)
		err_set(e, ETIMEDOUT, "%s has not ended within %g s and was killed", what,
			limit_ms / 1e3);
	if (r)
		xfer_kill_group(pid);
	while ((done = waitpid(pid, &status, 0)) < 0 && errno == EINTR)
		;
	if (r)
		return r;
	if (done < 0)
		return err_set_errno(e, "the end of %s is not known", what);
	if (WIFSIGNALED(status))
		return err_set(e, EPIPE, "%s was ended by signal %d", what, WTERMSIG(status));
	if (WEXITSTATUS(status))
		return err_set(e, EPIPE, "%s ended with status %d", what, WEXITSTATUS(status));
	return 0;
}
