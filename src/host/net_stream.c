/* SPDX-License-Identifier: MIT */
/* Network back ends on a stream socket: server, client, or passt's. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "host/clock.h"
#include "host/dial.h"
#include "host/net_impl.h"
#include "host/sock.h"

/*
 * DOC: theory of operation
 *
 * On the socket each frame stands behind its length, four bytes big-endian. What was read and
 * is not yet a whole frame, or one that the guest had no room for, waits in @in; the rest of a
 * frame that the socket took a part of waits in @out and goes first. Both are part of the
 * guest's state: the next image gets the socket with all the kernel has, and these bytes.
 *
 * A server has one client at a time. A client with reconnect-ms connects again.
 */

enum {
	PREFIX = 4,
	/* Monitors and the guest's devices wait meanwhile. */
	CONNECT_MS = 3000,
	PASST_MS = 10000,
	MAX_PARTS = 1024,
};

#define MS_NS UINT64_C(1000000)

struct stream {
	struct net *net;
	uint8_t in[NET_BYTES_MAX], out[NET_BYTES_MAX];
	uint32_t in_pos, in_len, out_pos, out_len; /* bytes are at [pos, len) */
	uint32_t last;                             /* bytes of the last frame, with its length */
	int server_fd;                             /* -1: a client            */
	struct loop_fd server_watch;
	bool has_file; /* the server's file is ours to remove              */
	uint64_t file_dev, file_ino;
	struct dial *dial; /* NULL: connects once                          */
	int dial_fd;       /* the attempt, or -1                           */
	struct loop_fd dial_watch;
	struct loop_timer again;
	bool failed; /* the last attempt, which has been said              */
	char address[400];
};

static struct net_queue *connection(struct net *n)
{
	return &n->queues[0];
}

static uint64_t socket_number(int fd)
{
	struct stat st;

	return fd >= 0 && !fstat(fd, &st) ? st.st_ino : 0;
}

static void forget_bytes(struct stream *s)
{
	s->in_pos = s->in_len = s->out_pos = s->out_len = s->last = 0;
}

static void watch_for_peer(struct stream *s);

static void set_peer(struct stream *s, int fd)
{
	struct net *n = s->net;

	sock_set_blocking(fd, 0);
	sock_set_nodelay(fd);
	forget_bytes(s);
	s->failed = false;
	net_set_fd(connection(n), fd);
	watch_for_peer(s);
	if (n->told)
		n->told(n->told_opaque, s->address);
}

static void disconnect(struct stream *s, const char *why)
{
	struct net *n = s->net;
	struct net_queue *q = connection(n);
	bool blocked = q->blocked;
	int fd = q->fd;

	if (fd < 0)
		return;
	log_warn("netdev '%s': %s", n->config.id, why);
	q->blocked = false;
	net_set_fd(q, -1);
	close_fd(&fd);
	forget_bytes(s);
	if (n->told)
		n->told(n->told_opaque, NULL);
	/* Frames are dropped from now on, those that wait included. */
	if (blocked && n->front)
		n->front->writable(n->front_opaque, 0);
	if (s->dial && n->config.reconnect_ms)
		loop_timer_set(n->loop, &s->again,
			       clock_boottime_ns() + n->config.reconnect_ms * MS_NS);
	watch_for_peer(s);
}

static void attempt_failed(struct stream *s, const struct err *e)
{
	struct net *n = s->net;

	if (!s->failed)
		log_warn("netdev '%s': %s; it is tried again", n->config.id, e->msg);
	s->failed = true;
	loop_timer_set(n->loop, &s->again,
		       clock_boottime_ns() + MAX(n->config.reconnect_ms, UINT64_C(1)) * MS_NS);
}

static void dial_ready(void *opaque, uint32_t events);

static void watch_attempt(struct stream *s)
{
	struct err e;

	if (!loop_fd_add(s->net->loop, &s->dial_watch, s->dial_fd, EPOLLOUT, dial_ready, s, &e))
		return;
	close_fd(&s->dial_fd);
	attempt_failed(s, &e);
}

static void dial_ready(void *opaque, uint32_t events)
{
	struct stream *s = opaque;
	struct err e;
	int r;

	(void)events;
	loop_fd_del(s->net->loop, &s->dial_watch);
	r = dial_finish(s->dial, &s->dial_fd, &e);
	if (r == -EINPROGRESS)
		watch_attempt(s);
	else if (r)
		attempt_failed(s, &e);
	else
		set_peer(s, take_fd(&s->dial_fd));
}

static void try_to_connect(void *opaque)
{
	struct stream *s = opaque;
	bool pending;
	struct err e;
	int fd;

	/* The guest stands still: run_changed() goes on. */
	if (!s->net->running || connection(s->net)->fd >= 0)
		return;
	fd = dial_start(s->dial, &pending, &e);
	if (fd < 0) {
		attempt_failed(s, &e);
	} else if (pending) {
		s->dial_fd = fd;
		watch_attempt(s);
	} else {
		set_peer(s, fd);
	}
}

static void server_ready(void *opaque, uint32_t events)
{
	struct stream *s = opaque;
	struct err e;
	int fd;

	(void)events;
	fd = sock_accept(s->server_fd, &e);
	if (fd >= 0)
		set_peer(s, fd);
	else if (e.code != EAGAIN && e.code != ECONNABORTED)
		log_warn("netdev '%s': %s", s->net->config.id, e.msg);
}

/* A server looks for a client, while it has none and the guest runs. */
static void watch_for_peer(struct stream *s)
{
	bool want = s->net->running && s->server_fd >= 0 && connection(s->net)->fd < 0;
	struct err e;

	if (!want)
		loop_fd_del(s->net->loop, &s->server_watch);
	else if (s->server_watch.fd < 0 && loop_fd_add(s->net->loop, &s->server_watch, s->server_fd,
						       EPOLLIN, server_ready, s, &e))
		log_error("netdev '%s': %s", s->net->config.id, e.msg);
}

static void run_changed(struct net *n)
{
	struct stream *s = n->own;

	watch_for_peer(s);
	if (!n->running) {
		loop_timer_cancel(&s->again);
		loop_fd_del(n->loop, &s->dial_watch);
	} else if (s->dial_fd >= 0) {
		watch_attempt(s);
	} else if (s->dial) {
		try_to_connect(s);
	}
}

static uint32_t frame_length(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static bool has_frame(const struct net *n)
{
	const struct stream *s = n->own;
	uint32_t have = s->in_len - s->in_pos;

	return have >= PREFIX && have - PREFIX >= frame_length(s->in + s->in_pos);
}

/* Copies to @iov what it has room for. */
static void scatter(const struct iovec *iov, int cnt, const uint8_t *p, size_t n)
{
	for (int i = 0; i < cnt && n; i++) {
		size_t part = MIN(n, iov[i].iov_len);

		memcpy(iov[i].iov_base, p, part);
		p += part;
		n -= part;
	}
}

/* False if there is nothing more to read now. */
static bool fill(struct stream *s)
{
	int fd = connection(s->net)->fd;
	ssize_t r;

	if (fd < 0)
		return false;
	memmove(s->in, s->in + s->in_pos, s->in_len - s->in_pos);
	s->in_len -= s->in_pos;
	s->in_pos = 0;
	do
		r = recv(fd, s->in + s->in_len, sizeof(s->in) - s->in_len, MSG_DONTWAIT);
	while (r < 0 && errno == EINTR);
	if (r > 0) {
		s->in_len += (uint32_t)r;
		return true;
	}
	if (!r)
		disconnect(s, "the peer has closed the connection");
	else if (errno != EAGAIN)
		disconnect(s, "the connection is broken");
	return false;
}

static ssize_t receive_stream(struct net *n, unsigned int queue, const struct iovec *iov, int cnt)
{
	struct stream *s = n->own;
	uint32_t len;

	(void)queue;
	for (;;) {
		if (s->in_len - s->in_pos >= PREFIX &&
		    frame_length(s->in + s->in_pos) > NET_MAX_FRAME) {
			disconnect(s, "the peer announces a frame that is too long: it does not "
				      "speak this protocol");
			return -EAGAIN;
		}
		if (!has_frame(n)) {
			if (!fill(s))
				return -EAGAIN;
			continue;
		}
		len = frame_length(s->in + s->in_pos);
		if (len < NET_MIN_FRAME)
			n->stats.rx_dropped++;
		else
			scatter(iov, cnt, s->in + s->in_pos + PREFIX, len);
		s->in_pos += PREFIX + len;
		if (len >= NET_MIN_FRAME) {
			s->last = PREFIX + len;
			return len;
		}
	}
}

/* Its bytes are still there: they go when the buffer is filled next. */
static void put_back(struct net *n)
{
	struct stream *s = n->own;

	s->in_pos -= s->last;
	s->last = 0;
}

/* True if nothing is left to be sent. */
static bool flush(struct net *n)
{
	struct stream *s = n->own;
	ssize_t r;

	while (s->out_pos < s->out_len) {
		r = send(connection(n)->fd, s->out + s->out_pos, s->out_len - s->out_pos,
			 MSG_DONTWAIT | MSG_NOSIGNAL);
		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0 && errno != EAGAIN)
			disconnect(s, "the connection is broken");
		if (r < 0)
			return connection(n)->fd < 0;
		s->out_pos += (uint32_t)r;
	}
	s->out_pos = s->out_len = 0;
	return true;
}

/* Keeps what the socket did not take, from byte @skip on. */
static void keep_rest(struct stream *s, const struct iovec *iov, int cnt, size_t skip)
{
	s->out_pos = s->out_len = 0;
	for (int i = 0; i < cnt; i++) {
		size_t from = MIN(skip, iov[i].iov_len), part = iov[i].iov_len - from;

		skip -= from;
		memcpy(s->out + s->out_len, (const uint8_t *)iov[i].iov_base + from, part);
		s->out_len += (uint32_t)part;
	}
}

static int send_stream(struct net *n, unsigned int queue, const struct iovec *iov, int cnt)
{
	struct stream *s = n->own;
	size_t bytes = net_iov_bytes(iov, cnt);
	uint8_t prefix[PREFIX] = { (uint8_t)(bytes >> 24), (uint8_t)(bytes >> 16),
				   (uint8_t)(bytes >> 8), (uint8_t)bytes };
	struct iovec parts[MAX_PARTS] = { { prefix, PREFIX } };
	struct msghdr msg = { .msg_iov = parts, .msg_iovlen = (size_t)cnt + 1 };
	ssize_t r;

	(void)queue;
	if (bytes > NET_MAX_FRAME || cnt >= MAX_PARTS)
		return -EMSGSIZE;
	if (!flush(n))
		return -EAGAIN;
	if (connection(n)->fd < 0)
		return -ENOTCONN;
	memcpy(parts + 1, iov, (size_t)cnt * sizeof(*iov));
	do
		r = sendmsg(connection(n)->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (r < 0 && errno == EINTR);
	if (r < 0 && errno == EAGAIN)
		return -EAGAIN;
	if (r < 0) {
		disconnect(s, "the connection is broken");
		return -ENOTCONN;
	}
	if ((size_t)r < bytes + PREFIX) {
		/* The front end need not wait for this, but for room for the next one. */
		keep_rest(s, parts, cnt + 1, (size_t)r);
		connection(n)->blocked = true;
		net_update_watch(connection(n));
	}
	return 0;
}

static void stream_failed(struct net *n, unsigned int queue)
{
	(void)queue;
	disconnect(n->own, "the connection is broken");
}

static void describe(const struct net *n, char *buf, size_t size)
{
	const struct stream *s = n->own;

	snprintf(buf, size, "type=%s,%s%s%s", n->config.kind == NET_PASST ? "passt" : "stream",
		 s->address, s->server_fd >= 0 ? ",server=on" : "",
		 n->queues[0].fd < 0 ? ",disconnected" : "");
}

static void give(const struct net *n, struct net_given *out)
{
	const struct stream *s = n->own;

	out->listen_fd = s->server_fd;
	if (s->has_file) {
		out->file_dev = s->file_dev;
		out->file_ino = s->file_ino;
	}
}

static void save(const struct net *n, struct net_bytes *out)
{
	const struct stream *s = n->own;

	out->connection = socket_number(n->queues[0].fd);
	if (!out->connection)
		return;
	out->in_len = s->in_len - s->in_pos;
	out->out_len = s->out_len - s->out_pos;
	memcpy(out->in, s->in + s->in_pos, out->in_len);
	memcpy(out->out, s->out + s->out_pos, out->out_len);
}

static void load(struct net *n, const struct net_bytes *b)
{
	struct stream *s = n->own;

	forget_bytes(s);
	connection(n)->blocked = false;
	if (!n->given || !b->connection || b->connection != socket_number(connection(n)->fd))
		return;
	s->in_len = b->in_len;
	s->out_len = b->out_len;
	memcpy(s->in, b->in, b->in_len);
	memcpy(s->out, b->out, b->out_len);
	connection(n)->blocked = b->out_len;
}

static void close_stream(struct net *n, bool moved)
{
	struct stream *s = n->own;
	struct stat st;

	loop_fd_del(n->loop, &s->server_watch);
	loop_fd_del(n->loop, &s->dial_watch);
	loop_timer_cancel(&s->again);
	/* The path may be another process's by now; then it stays. */
	if (!moved && s->has_file && !lstat(n->config.path, &st) && st.st_dev == s->file_dev &&
	    st.st_ino == s->file_ino)
		unlink(n->config.path);
	close_fd(&s->server_fd);
	close_fd(&s->dial_fd);
	dial_destroy(s->dial);
	free(s);
}

static const struct net_ops stream_ops = {
	.send = send_stream,
	.receive = receive_stream,
	.put_back = put_back,
	.flush = flush,
	.has_frame = has_frame,
	.failed = stream_failed,
	.run_changed = run_changed,
	.describe = describe,
	.give = give,
	.save = save,
	.load = load,
	.close = close_stream,
};

static void name_address(struct stream *s)
{
	const struct net_config *c = &s->net->config;

	if (c->kind == NET_PASST)
		snprintf(s->address, sizeof(s->address), "passt");
	else if (c->address == NET_UNIX)
		snprintf(s->address, sizeof(s->address), "unix:%s%s", c->path,
			 c->abstract ? ",abstract=on" : "");
	else if (c->address == NET_INET)
		snprintf(s->address, sizeof(s->address), "tcp:%s:%s", c->host, c->port);
	else
		snprintf(s->address, sizeof(s->address), "fd:%d", c->fd);
}

static int note_file(struct stream *s, const char *path, struct err *e)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		return err_set_errno(e, "cannot look at '%s'", path);
	s->has_file = true;
	s->file_dev = st.st_dev;
	s->file_ino = st.st_ino;
	return 0;
}

static int open_server(struct stream *s, struct err *e)
{
	const struct net_config *c = &s->net->config;
	const struct net_given *given = c->given;
	int r;

	if (given && given->listen_fd >= 0) {
		r = sock_check_listening(given->listen_fd, e);
		if (r)
			return r;
		s->server_fd = given->listen_fd;
		s->has_file = given->file_ino;
		s->file_dev = given->file_dev;
		s->file_ino = given->file_ino;
	} else if (c->address == NET_FD) {
		r = sock_check_listening(c->fd, e);
		if (r)
			return r;
		s->server_fd = c->fd;
	} else if (c->address == NET_INET) {
		s->server_fd = sock_listen_inet(c->host, c->port, e);
	} else if (c->abstract) {
		s->server_fd = dial_listen_abstract(c->path, e);
	} else {
		s->server_fd = sock_listen_unix(c->path, e);
		r = s->server_fd < 0 ? 0 : note_file(s, c->path, e);
		if (r)
			return r;
	}
	if (s->server_fd < 0)
		return s->server_fd;
	sock_set_blocking(s->server_fd, 0);
	return 0;
}

static int create_dial(struct stream *s, struct err *e)
{
	const struct net_config *c = &s->net->config;

	if (c->address == NET_UNIX)
		return dial_create_unix(&s->dial, c->path, c->abstract, e);
	return dial_create_inet(&s->dial, c->host, c->port, e);
}

static int open_client(struct stream *s, struct err *e)
{
	const struct net_config *c = &s->net->config;
	struct dial *once;
	int r, fd;

	if (c->address == NET_FD && c->given)
		return 0;
	if (c->address == NET_FD) {
		r = sock_check_connected(c->fd, e);
		if (!r)
			set_peer(s, c->fd);
		return r;
	}
	/* What is handed over is worth more than the way to the next connection. */
	if (c->reconnect_ms)
		return create_dial(s, e);
	if (c->given)
		return 0;
	r = create_dial(s, e);
	if (r)
		return r;
	once = TAKE_PTR(s->dial);
	fd = dial_wait(once, CONNECT_MS, e);
	dial_destroy(once);
	if (fd < 0)
		return fd;
	set_peer(s, fd);
	return 0;
}

/* The connection of the image before, if it had one. */
static int take_peer(struct stream *s, struct err *e)
{
	const struct net_given *given = s->net->config.given;
	int fd = given && given->nr_fds ? given->fds[0] : -1, r;

	if (fd < 0)
		return 0;
	r = sock_check_connected(fd, e);
	/* A peer that has gone meanwhile is seen when the socket is read. */
	if (r && e->code != ENOTCONN)
		return r;
	if (r)
		close_fd(&s->net->config.given->fds[0]);
	else
		net_set_fd(connection(s->net), fd);
	return 0;
}

/* Starts passt with one end of a pair; it goes to the background by itself, and ends with us. */
static int start_passt(struct stream *s, struct err *e)
{
	struct net_config *c = &s->net->config;
	AUTO_CLOSE int ours = -1, theirs = -1;
	char *argv[NET_MAX_PASST_ARGS + 4], *word = c->passt, number[16];
	unsigned int nr = 0;
	int ends[2], r;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
		return err_set_errno(e, "cannot create a pair of sockets");
	ours = ends[0];
	theirs = ends[1];
	snprintf(number, sizeof(number), "%d", theirs);
	argv[nr++] = c->path[0] ? c->path : (char *)"passt";
	argv[nr++] = (char *)"--fd";
	argv[nr++] = number;
	for (unsigned int i = 0; i < c->nr_passt; i++, word += strlen(word) + 1)
		argv[nr++] = word;
	argv[nr] = NULL;
	r = net_run_command(argv, theirs, PASST_MS, e);
	if (!r)
		set_peer(s, take_fd(&ours));
	return r;
}

static int open_kind(struct stream *s, bool passt, struct err *e)
{
	const struct net_config *c = &s->net->config;
	int r;

	if (passt)
		r = c->given ? 0 : start_passt(s, e);
	else
		r = c->server ? open_server(s, e) : open_client(s, e);
	return r ? r : take_peer(s, e);
}

static int open_with(struct net *n, bool passt, struct err *e)
{
	struct stream *s = calloc(1, sizeof(*s));
	struct net_queue *q = connection(n);
	const struct net_given *given = n->config.given;
	int r;

	if (!s)
		return err_set(e, ENOMEM, "no memory for a connection");
	n->ops = &stream_ops;
	n->own = s;
	s->net = n;
	s->server_fd = s->dial_fd = -1;
	s->server_watch.fd = s->dial_watch.fd = -1;
	loop_timer_init(&s->again, try_to_connect, s);
	name_address(s);
	r = open_kind(s, passt, e);
	if (!r)
		return 0;
	/* What others have opened stays theirs. */
	if (s->server_fd == n->config.fd || (given && s->server_fd == given->listen_fd))
		s->server_fd = -1;
	if (q->fd == n->config.fd || (given && given->nr_fds && q->fd == given->fds[0]))
		q->fd = -1;
	close_fd(&q->fd);
	/* So does the address of a server that was handed over. */
	close_stream(n, given != NULL);
	return r;
}

int net_open_stream(struct net *n, struct err *e)
{
	return open_with(n, false, e);
}

int net_open_passt(struct net *n, struct err *e)
{
	return open_with(n, true, e);
}
