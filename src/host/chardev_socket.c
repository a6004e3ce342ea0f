/* SPDX-License-Identifier: MIT */
/* Character devices on sockets: servers, and clients that connect again. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "host/chardev_impl.h"
#include "host/clock.h"
#include "host/dial.h"
#include "host/sock.h"

/*
 * DOC: theory of operation
 *
 * A server has a listening socket that is looked at only while there is no client; the
 * kernel's queue keeps those that come meanwhile.
 *
 * A client whose connection may come from another process later waits for it, held, and
 * connects if it is released without.
 *
 * A client that need not succeed at once has a `struct dial`. While there is no peer either
 * an attempt runs (dial_fd) or the timer for the next one. Of a row of failures the first
 * is logged.
 */

enum {
	CONNECT_TIMEOUT_MS = 20000,
	RETRY_MS = 20,
};

#define MS_NS UINT64_C(1000000)

struct chardev_socket {
	struct chardev *c;
	bool delay;
	bool passes_fds; /* a UNIX socket */
	bool by_number;  /* CHARDEV_FD: the next image has its number from the command line */
	/* A server. */
	int server_fd;               /* -1: a client                    */
	struct loop_fd server_watch; /* [l]                             */
	char *unlink_path;           /* [c] the server's file, or NULL  */
	dev_t unlink_dev;            /* [c] what was made there         */
	ino_t unlink_ino;
	/* A client. */
	struct dial *dial; /* NULL: connects once   */
	int dial_fd;       /* the attempt, or -1    */
	struct loop_fd dial_watch;
	struct loop_timer again;
	uint64_t reconnect_ns;   /* 0: never                              */
	uint64_t retry_until_ns; /* before this a refusal is no end       */
	bool failed;             /* the last attempt, which has been said */
	bool postponed;          /* while held: who is connected may still come */
	uint32_t retry_ms;       /* of what is postponed                   */
};

static ssize_t read_plain(struct chardev *c, void *p, size_t n)
{
	return recv(c->in_fd, p, n, MSG_DONTWAIT);
}

/* Bytes, and descriptors with them. */
static ssize_t read_unix(struct chardev *c, void *p, size_t n)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(CHARDEV_MAX_PASSED * sizeof(int))];
	} control;
	struct iovec iov = { .iov_base = p, .iov_len = n };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes),
	};
	int fds[CHARDEV_MAX_PASSED];
	ssize_t got = recvmsg(c->in_fd, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);

	if (got < 0)
		return got;
	for (struct cmsghdr *m = CMSG_FIRSTHDR(&msg); m; m = CMSG_NXTHDR(&msg, m)) {
		size_t count;

		if (m->cmsg_level != SOL_SOCKET || m->cmsg_type != SCM_RIGHTS)
			continue;
		count = (m->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		memcpy(fds, CMSG_DATA(m), MIN(count, ARRAY_SIZE(fds)) * sizeof(int));
		chardev_pass(c, fds, MIN(count, ARRAY_SIZE(fds)));
	}
	/* The kernel has closed those there was no room for. */
	if (msg.msg_flags & MSG_CTRUNC)
		log_warn("%s: the peer sent more than %d descriptors at once, the rest is closed",
			 c->name, CHARDEV_MAX_PASSED);
	return got;
}

static ssize_t read_socket(struct chardev *c, void *p, size_t n)
{
	const struct chardev_socket *s = c->own;

	return s->passes_fds ? read_unix(c, p, n) : read_plain(c, p, n);
}

static ssize_t write_socket(struct chardev *c, const void *p, size_t n)
{
	return send(c->out_fd, p, n, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void set_peer(struct chardev_socket *s, int fd)
{
	if (!s->delay)
		sock_set_nodelay(fd);
	s->failed = false;
	chardev_set_peer(s->c, fd);
}

static void attempt_failed(struct chardev_socket *s, const struct err *e)
{
	uint64_t now = clock_boottime_ns();
	bool retry = now < s->retry_until_ns;

	if (!retry && !s->failed)
		log_warn("%s: %s%s", s->c->name, e->msg,
			 s->reconnect_ns ? "; it is tried again" : "");
	s->failed = !retry;
	if (retry)
		loop_timer_set(s->c->loop, &s->again, now + RETRY_MS * MS_NS);
	else if (s->reconnect_ns)
		loop_timer_set(s->c->loop, &s->again, now + s->reconnect_ns);
}

static void dial_ready(void *opaque, uint32_t events);

static void watch_attempt(struct chardev_socket *s)
{
	struct err e;

	if (!loop_fd_add(s->c->loop, &s->dial_watch, s->dial_fd, EPOLLOUT, dial_ready, s, &e))
		return;
	close_fd(&s->dial_fd);
	attempt_failed(s, &e);
}

static void dial_ready(void *opaque, uint32_t events)
{
	struct chardev_socket *s = opaque;
	struct err e;
	int r;

	(void)events;
	loop_fd_del(s->c->loop, &s->dial_watch);
	r = dial_finish(s->dial, &s->dial_fd, &e);
	if (r == -EINPROGRESS) {
		watch_attempt(s);
	} else if (r) {
		attempt_failed(s, &e);
	} else {
		set_peer(s, take_fd(&s->dial_fd));
		chardev_update(s->c);
	}
}

static void try_to_connect(void *opaque)
{
	struct chardev_socket *s = opaque;
	bool pending;
	struct err e;
	int fd;

	fd = dial_start(s->dial, &pending, &e);
	if (fd < 0) {
		attempt_failed(s, &e);
	} else if (pending) {
		s->dial_fd = fd;
		watch_attempt(s);
	} else {
		set_peer(s, fd);
		chardev_update(s->c);
	}
}

static void socket_gone(struct chardev *c, int fd)
{
	struct chardev_socket *s = c->own;

	close_fd(&fd);
	if (s->reconnect_ns)
		loop_timer_set(c->loop, &s->again, clock_boottime_ns() + s->reconnect_ns);
}

static void server_ready(void *opaque, uint32_t events)
{
	struct chardev *c = opaque;
	struct chardev_socket *s = c->own;
	struct err e;
	int fd;

	(void)events;
	fd = sock_accept(s->server_fd, &e);
	if (fd >= 0)
		set_peer(s, fd);
	else if (e.code != EAGAIN && e.code != ECONNABORTED)
		log_warn("%s: %s", c->name, e.msg);
	chardev_update(c);
}

static void update_socket(struct chardev *c)
{
	struct chardev_socket *s = c->own;

	if (s->server_fd >= 0)
		chardev_watch(c, &s->server_watch, s->server_fd, c->in_fd < 0 ? EPOLLIN : 0,
			      server_ready);
	if (!s->postponed)
		return;
	s->postponed = false;
	s->retry_until_ns = clock_boottime_ns() + s->retry_ms * MS_NS;
	if (c->in_fd < 0)
		try_to_connect(s);
}

static bool socket_has_ended(const struct chardev *c)
{
	char byte;
	ssize_t n = recv(c->in_fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);

	return n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
}

static void take_peer(struct chardev *c, int fd)
{
	set_peer(c->own, fd);
}

/* The path may be another process's by now; then it stays. */
static void unlink_server(const struct chardev_socket *s)
{
	struct stat st;

	if (s->unlink_path && !s->c->held && !lstat(s->unlink_path, &st) &&
	    st.st_dev == s->unlink_dev && st.st_ino == s->unlink_ino)
		unlink(s->unlink_path);
}

static void close_socket(struct chardev *c)
{
	struct chardev_socket *s = c->own;

	close_fd(&c->in_fd);
	if (!s)
		return;
	loop_fd_del(c->loop, &s->server_watch);
	loop_fd_del(c->loop, &s->dial_watch);
	loop_timer_cancel(&s->again);
	unlink_server(s);
	close_fd(&s->server_fd);
	close_fd(&s->dial_fd);
	dial_destroy(s->dial);
	free(s->unlink_path);
	free(s);
}

static void give_socket(const struct chardev *c, struct chardev_given *out)
{
	const struct chardev_socket *s = c->own;

	if (!s->by_number)
		out->listen_fd = s->server_fd;
	if (!s->by_number || s->server_fd >= 0)
		out->peer_fd = c->in_fd;
	out->has_file = s->unlink_path;
	out->file_dev = s->unlink_dev;
	out->file_ino = s->unlink_ino;
}

static const struct chardev_ops socket_ops = {
	.read = read_socket,
	.write = write_socket,
	.gone = socket_gone,
	.update = update_socket,
	.has_ended = socket_has_ended,
	.take_peer = take_peer,
	.give = give_socket,
	.close = close_socket,
};

/* Remembers the socket's file, so that only this one is removed. */
static int note_path(struct chardev_socket *s, const char *path, struct err *e)
{
	struct stat st;

	s->unlink_path = strdup(path);
	if (!s->unlink_path)
		return err_set(e, ENOMEM, "no memory for the path '%s'", path);
	if (lstat(path, &st) < 0)
		return err_set_errno(e, "cannot look at '%s'", path);
	s->unlink_dev = st.st_dev;
	s->unlink_ino = st.st_ino;
	return 0;
}

static int await_client(struct chardev_socket *s, struct err *e)
{
	int fd;

	log_info("waiting for a connection on %s", s->c->name);
	fd = sock_accept(s->server_fd, e);
	if (fd < 0)
		return fd;
	set_peer(s, fd);
	return 0;
}

/* Port 0 is any; the name says which. */
static int name_server(struct chardev *c, const struct chardev_config *config, struct err *e)
{
	struct chardev_socket *s = c->own;
	char port[16];
	int r;

	if (config->kind == CHARDEV_UNIX)
		return chardev_set_name(c, e, "unix:%s%s,server=on", config->path,
					config->abstract ? ",abstract=on" : "");
	if (config->kind == CHARDEV_FD)
		return chardev_set_name(c, e, "fd:%d,server=on", config->fd);
	r = sock_get_port(s->server_fd, port, sizeof(port), e);
	return r ? r : chardev_set_name(c, e, "tcp:%s:%s,server=on", config->host, port);
}

/* The listening socket of an earlier image, which has its place already. */
static int take_server(struct chardev_socket *s, const struct chardev_config *config, struct err *e)
{
	struct chardev_given *given = config->given;
	int r = sock_check_listening(given->listen_fd, e);

	if (r)
		return r;
	if (given->has_file) {
		s->unlink_path = strdup(config->path);
		if (!s->unlink_path)
			return err_set(e, ENOMEM, "no memory for the path '%s'", config->path);
		s->unlink_dev = given->file_dev;
		s->unlink_ino = given->file_ino;
	}
	s->server_fd = take_fd(&given->listen_fd);
	return 0;
}

static int listen_at(struct chardev *c, const struct chardev_config *config, struct err *e)
{
	struct chardev_socket *s = c->own;
	int r = 0;

	if (config->kind == CHARDEV_FD) {
		r = sock_check_listening(config->fd, e);
		s->server_fd = r ? -1 : config->fd;
	} else if (config->kind == CHARDEV_TCP) {
		r = s->server_fd = sock_listen_inet(config->host, config->port, e);
	} else if (config->abstract) {
		r = s->server_fd = dial_listen_abstract(config->path, e);
	} else {
		r = s->server_fd = sock_listen_unix(config->path, e);
		if (r >= 0)
			r = note_path(s, config->path, e);
		/* Nobody would know that it is ours to remove. */
		if (r < 0 && s->server_fd >= 0)
			unlink(config->path);
	}
	return r < 0 ? r : 0;
}

static int open_server(struct chardev *c, const struct chardev_config *config, struct err *e)
{
	struct chardev_socket *s = c->own;
	struct chardev_given *given = config->given;
	int r;

	if (given && given->listen_fd >= 0)
		r = take_server(s, config, e);
	else
		r = listen_at(c, config, e);
	if (!r)
		r = name_server(c, config, e);
	if (!r && given && given->peer_fd >= 0) {
		set_peer(s, take_fd(&given->peer_fd));
	} else if (!r && config->wait && !given) {
		sock_set_blocking(s->server_fd, 1);
		r = await_client(s, e);
	}
	if (!r)
		sock_set_blocking(s->server_fd, 0);
	return r;
}

static int create_dial(struct chardev_socket *s, const struct chardev_config *config, struct err *e)
{
	int r;

	if (config->kind == CHARDEV_TCP)
		r = dial_create_inet(&s->dial, config->host, config->port, e);
	else
		r = dial_create_unix(&s->dial, config->path, config->abstract, e);
	s->reconnect_ns = r ? 0 : config->reconnect_ms * MS_NS;
	return r;
}

/* An earlier image's connection, which is worth more than the way to the next one. */
static void take_connection(struct chardev_socket *s, const struct chardev_config *config)
{
	struct err e;

	if (config->reconnect_ms && create_dial(s, config, &e))
		log_warn("%s: %s; when this connection ends it is not made again", s->c->name,
			 e.msg);
	set_peer(s, take_fd(&config->given->peer_fd));
}

static int open_client(struct chardev *c, const struct chardev_config *config, struct err *e)
{
	struct chardev_socket *s = c->own;
	int fd, r;

	if (config->kind == CHARDEV_FD) {
		r = sock_check_connected(config->fd, e);
		if (!r)
			r = chardev_set_name(c, e, "fd:%d", config->fd);
		if (!r)
			set_peer(s, config->fd);
		return r;
	}
	if (config->kind == CHARDEV_TCP)
		r = chardev_set_name(c, e, "tcp:%s:%s", config->host, config->port);
	else
		r = chardev_set_name(c, e, "unix:%s%s", config->path,
				     config->abstract ? ",abstract=on" : "");
	if (!r && config->given && config->given->peer_fd >= 0) {
		take_connection(s, config);
		return 0;
	}
	if (!r)
		r = create_dial(s, config, e);
	if (r)
		return r;
	if (config->given && config->given->later) {
		s->postponed = true;
		s->retry_ms = config->retry_ms;
		return 0;
	}
	if (config->retry_ms)
		s->retry_until_ns = clock_boottime_ns() + config->retry_ms * MS_NS;
	if (s->reconnect_ns || s->retry_until_ns) {
		try_to_connect(s);
		return 0;
	}
	fd = dial_wait(s->dial, CONNECT_TIMEOUT_MS, e);
	if (fd < 0)
		return fd;
	set_peer(s, fd);
	return 0;
}

int chardev_open_socket(struct chardev *c, const struct chardev_config *config, struct err *e)
{
	struct chardev_socket *s = calloc(1, sizeof(*s));

	if (!s)
		return err_set(e, ENOMEM, "no memory for a socket");
	c->ops = &socket_ops;
	c->own = s;
	c->duplex = true;
	s->c = c;
	s->delay = config->delay;
	s->by_number = config->kind == CHARDEV_FD;
	s->passes_fds = config->kind == CHARDEV_UNIX ||
			(config->kind == CHARDEV_FD && sock_is_unix(config->fd));
	s->server_fd = s->dial_fd = -1;
	s->server_watch.fd = s->dial_watch.fd = -1;
	loop_timer_init(&s->again, try_to_connect, s);
	return config->server ? open_server(c, config, e) : open_client(c, config, e);
}
