/* SPDX-License-Identifier: MIT */
/* Sockets, and messages that carry descriptors. */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/util.h"
#include "host/clock.h"
#include "host/resolve.h"
#include "host/sock.h"

static int unix_address(const char *path, struct sockaddr_un *sa, struct err *e)
{
	*sa = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (!path[0])
		return err_set(e, EINVAL, "invalid Unix socket address");
	if (strlen(path) >= sizeof(sa->sun_path))
		return err_set(e, ENAMETOOLONG,
			       "UNIX socket path '%s' is too long: the kernel allows %zu bytes",
			       path, sizeof(sa->sun_path) - 1);
	memcpy(sa->sun_path, path, strlen(path) + 1);
	return 0;
}

/* A socket file that nobody listens at is a leftover and goes away. */
static void remove_leftover(const struct sockaddr_un *sa)
{
	/* Non-blocking: a full backlog must not make us wait, it shows that somebody listens. */
	AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct stat st;

	if (fd < 0 || lstat(sa->sun_path, &st) < 0 || !S_ISSOCK(st.st_mode))
		return;
	if (connect(fd, (const struct sockaddr *)sa, sizeof(*sa)) < 0 && errno == ECONNREFUSED)
		unlink(sa->sun_path);
}

int sock_listen_unix(const char *path, struct err *e)
{
	AUTO_CLOSE int fd = -1;
	struct sockaddr_un sa;
	int r;

	r = unix_address(path, &sa, e);
	if (r)
		return r;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_set_errno(e, "cannot create a UNIX socket");
	remove_leftover(&sa);
	/* The file takes the socket's mode, less the umask. */
	if (fchmod(fd, 0600) < 0 || bind(fd, (const struct sockaddr *)&sa, sizeof(sa)) < 0)
		return err_set_errno(e, "Failed to bind socket to %s", path);
	if (listen(fd, 4) < 0) {
		err_set_errno(e, "Failed to listen on socket %s", path);
		unlink(path);
		return -e->code;
	}
	return take_fd(&fd);
}

int sock_connect_unix(const char *path, struct err *e)
{
	AUTO_CLOSE int fd = -1;
	struct sockaddr_un sa;
	int r;

	r = unix_address(path, &sa, e);
	if (r)
		return r;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_set_errno(e, "cannot create a UNIX socket");
	if (connect(fd, (const struct sockaddr *)&sa, sizeof(sa)) < 0)
		return err_set_errno(e, "Failed to connect to '%s'", path);
	return take_fd(&fd);
}

/* Tries each address the name stands for until one works. */
static int open_inet(const char *host, const char *port, bool server, struct err *e)
{
	struct addrinfo *list, *a;
	int fd = -1, one = 1, r, saved = 0;

	r = resolve_inet(host, port, server, RESOLVE_MS, &list, e);
	if (r)
		return r;
	for (a = list; a; a = a->ai_next) {
		fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);
		if (fd < 0) {
			saved = errno;
			continue;
		}
		if (server) {
			setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
			r = bind(fd, a->ai_addr, a->ai_addrlen);
			if (!r)
				r = listen(fd, 4);
		} else {
			r = connect(fd, a->ai_addr, a->ai_addrlen);
		}
		if (!r)
			break;
		saved = errno;
		close_fd(&fd);
	}
	freeaddrinfo(list);
	if (fd < 0)
		return err_set_code(e, saved, "Failed to %s '%s:%s'",
				    server ? "listen on" : "connect to", host, port);
	return fd;
}

int sock_listen_inet(const char *host, const char *port, struct err *e)
{
	return open_inet(host, port, true, e);
}

int sock_connect_inet(const char *host, const char *port, struct err *e)
{
	return open_inet(host, port, false, e);
}

int sock_accept(int fd, struct err *e)
{
	int c;

	do {
		c = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
	} while (c < 0 && errno == EINTR);
	return c < 0 ? err_set_errno(e, "cannot accept a connection") : c;
}

int sock_check_listening(int fd, struct err *e)
{
	socklen_t n = sizeof(int);
	int listening = 0;

	if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &n) < 0)
		return err_set_errno(e, "descriptor %d is not a socket", fd);
	if (!listening)
		return err_set(e, EINVAL, "descriptor %d is not a listening socket", fd);
	return 0;
}

int sock_check_connected(int fd, struct err *e)
{
	struct sockaddr_storage sa;
	socklen_t n = sizeof(sa);

	if (getpeername(fd, (struct sockaddr *)&sa, &n) < 0)
		return err_set_errno(e, "descriptor %d is not a connected socket", fd);
	return 0;
}

bool sock_is_unix(int fd)
{
	socklen_t n = sizeof(int);
	int domain = 0;

	return !getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &n) && domain == AF_UNIX;
}

int sock_get_port(int fd, char *port, size_t n, struct err *e)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	int r;

	if (getsockname(fd, (struct sockaddr *)&sa, &len) < 0)
		return err_set_errno(e, "cannot learn the address of a socket");
	r = getnameinfo((struct sockaddr *)&sa, len, NULL, 0, port, (socklen_t)n, NI_NUMERICSERV);
	return r ? err_set(e, EINVAL, "cannot learn the port of a socket: %s", gai_strerror(r)) : 0;
}

int sock_peer(int fd, pid_t *pid, uid_t *uid, struct err *e)
{
	struct ucred cred;
	socklen_t n = sizeof(cred);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &n) < 0)
		return err_set_errno(e, "cannot learn who is at the other end of the socket");
	*pid = cred.pid;
	*uid = cred.uid;
	return 0;
}

bool sock_has_input(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, 0) > 0;
}

void sock_set_blocking(int fd, int blocking)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags >= 0)
		fcntl(fd, F_SETFL, blocking ? flags & ~O_NONBLOCK : flags | O_NONBLOCK);
}

void sock_shutdown(int fd)
{
	shutdown(fd, SHUT_RDWR);
}

void sock_set_nodelay(int fd)
{
	int one = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

/* Waits until @events or an error is there. */
static int wait_for(int fd, short events, uint64_t deadline_ns, struct err *e)
{
	struct pollfd p = { .fd = fd, .events = events };
	int r;

	do {
		uint64_t now = clock_boottime_ns();
		uint64_t left = deadline_ns > now ? deadline_ns - now : 0;

		r = poll(&p, 1, (int)MIN((left + 999999) / 1000000, UINT64_C(0x7fffffff)));
	} while (r < 0 && errno == EINTR);
	if (r < 0)
		return err_set_errno(e, "cannot wait for the peer");
	return r ? 0 : err_set(e, ETIMEDOUT, "the peer does not answer in time");
}

int sock_send_all(int fd, const void *p, size_t n, int pass_fd, uint64_t deadline_ns, struct err *e)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	const uint8_t *at = p;

	while (n) {
		struct iovec iov = { .iov_base = (void *)at, .iov_len = n };
		struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
		ssize_t w;

		if (pass_fd >= 0) {
			struct cmsghdr *c;

			msg.msg_control = control.bytes;
			msg.msg_controllen = sizeof(control.bytes);
			c = CMSG_FIRSTHDR(&msg);
			c->cmsg_level = SOL_SOCKET;
			c->cmsg_type = SCM_RIGHTS;
			c->cmsg_len = CMSG_LEN(sizeof(int));
			memcpy(CMSG_DATA(c), &pass_fd, sizeof(int));
		}
		w = sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (w < 0 && errno == EINTR)
			continue;
		if (w < 0 && errno == EAGAIN) {
			int r = wait_for(fd, POLLOUT, deadline_ns, e);

			if (r)
				return r;
			continue;
		}
		if (w < 0)
			return err_set_errno(e, "Unable to write to socket");
		pass_fd = -1;
		at += w;
		n -= (size_t)w;
	}
	return 0;
}

/* Takes one descriptor out of a received message; any more are closed and refused. */
static int take_passed_fd(struct msghdr *msg, int *got_fd, struct err *e)
{
	int r = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		size_t n;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
			if (*got_fd < 0) {
				*got_fd = fd;
			} else {
				close(fd);
				r = err_set(e, EINVAL,
					    "the peer sent more descriptors than announced");
			}
		}
	}
	if (!r && msg->msg_flags & MSG_CTRUNC)
		r = err_set(e, EINVAL, "the peer sent more descriptors than fit");
	return r;
}

int sock_recv_all(int fd, void *p, size_t n, int *got_fd, uint64_t deadline_ns, struct err *e)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(4 * sizeof(int))];
	} control;
	uint8_t *at = p;
	int r;

	while (n) {
		struct iovec iov = { .iov_base = at, .iov_len = n };
		struct msghdr msg = {
			.msg_iov = &iov,
			.msg_iovlen = 1,
			.msg_control = control.bytes,
			.msg_controllen = sizeof(control.bytes),
		};
		ssize_t got = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0 && errno == EAGAIN) {
			r = wait_for(fd, POLLIN, deadline_ns, e);
			if (r)
				return r;
			continue;
		}
		if (got < 0)
			return err_set_errno(e, "Unable to read from socket");
		if (got == 0)
			return err_set(e, ECONNRESET, "the peer closed the connection");
		r = take_passed_fd(&msg, got_fd, e);
		if (r)
			return r;
		at += got;
		n -= (size_t)got;
	}
	return 0;
}
