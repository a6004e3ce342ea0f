/* SPDX-License-Identifier: MIT */
/* memfds, OFD locks, eventfds, sockets and timerfds live on over SCM_RIGHTS and over exec. */
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/wait.h>

#include "fact.h"

enum {
	MEMFD,
	LOCKED,
	EVENT,
	SOCKET,
	TIMER,
	NR_FDS,
	FIRST = 100 /* their numbers in the next program */
};

static int lock(int fd)
{
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	return fcntl(fd, F_OFD_SETLK, &l);
}

/* Through another open file of it; a lock of the same open file would be no obstacle. */
static int is_locked(int locked)
{
	char path[32];
	int fd, r;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", locked);
	fd = NEED(open(path, O_RDWR | O_CLOEXEC));
	r = lock(fd);
	close(fd);
	return r < 0;
}

static void check_all(const int *fds, int peer_told)
{
	char text[8] = "";
	uint64_t n = 0;

	CHECK(pread(fds[MEMFD], text, sizeof(text), 0) == 6 && !strcmp(text, "bytes"));
	CHECK(is_locked(fds[LOCKED]) && lock(fds[LOCKED]) == 0);
	CHECK(read(fds[EVENT], &n, sizeof(n)) == sizeof(n) && n == 3);
	CHECK(write(fds[EVENT], &n, sizeof(n)) == sizeof(n));
	CHECK(read(fds[SOCKET], text, sizeof(text)) == peer_told);
	/* It was armed before the hand-over. */
	CHECK(read(fds[TIMER], &n, sizeof(n)) == sizeof(n) && n >= 1);
}

static void send_fds(int sock, const int *fds)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(NR_FDS * sizeof(int))];
	} control = { 0 };
	struct iovec iov = { .iov_base = "x", .iov_len = 1 };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control.bytes,
			      .msg_controllen = sizeof(control.bytes) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(NR_FDS * sizeof(int));
	memcpy(CMSG_DATA(c), fds, NR_FDS * sizeof(int));
	NEED(sendmsg(sock, &msg, 0));
}

static void receive_fds(int sock, int *fds)
{
	char bytes[CMSG_SPACE(NR_FDS * sizeof(int))], byte;
	struct iovec iov = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = bytes,
			      .msg_controllen = sizeof(bytes) };

	NEED(recvmsg(sock, &msg, 0));
	CHECK(CMSG_FIRSTHDR(&msg) && !(msg.msg_flags & MSG_CTRUNC));
	memcpy(fds, CMSG_DATA(CMSG_FIRSTHDR(&msg)), NR_FDS * sizeof(int));
}

static void make_all(int *fds, int *peer)
{
	const struct itimerspec soon = { .it_value.tv_nsec = 20000000 };
	int pair[2];

	fds[MEMFD] = NEED(memfd_create("fact", MFD_CLOEXEC));
	NEED(write(fds[MEMFD], "bytes", 6));
	fds[LOCKED] = NEED(memfd_create("lock", MFD_CLOEXEC));
	NEED(lock(fds[LOCKED]));
	fds[EVENT] = NEED(eventfd(3, EFD_CLOEXEC));
	NEED(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
	fds[SOCKET] = pair[0];
	*peer = pair[1];
	fds[TIMER] = NEED(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC));
	NEED(timerfd_settime(fds[TIMER], 0, &soon, NULL));
}

/* The process that made them has ended: what is left of them is what was handed over. */
int main(int argc, char **argv)
{
	int fds[NR_FDS], peer, channel[2], status;
	pid_t pid;

	if (argc > 1) {
		for (int i = 0; i < NR_FDS; i++)
			fds[i] = FIRST + i;
		check_all(fds, 5);
		HOLDS("all five kinds passed through SCM_RIGHTS and then through exec");
	}
	NEED(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, channel));
	pid = NEED(fork());
	if (!pid) {
		make_all(fds, &peer);
		/* Said before the hand-over, read after it. */
		NEED(write(peer, "early", 5));
		send_fds(channel[1], fds);
		_exit(0);
	}
	receive_fds(channel[0], fds);
	NEED(waitpid(pid, &status, 0));
	CHECK(is_locked(fds[LOCKED]));
	for (int i = 0; i < NR_FDS; i++)
		NEED(dup2(fds[i], FIRST + i));
	execl("/proc/self/exe", argv[0], "again", NULL);
	SKIPS("exec: %s", strerror(errno));
}
