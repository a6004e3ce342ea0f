/* SPDX-License-Identifier: MIT */
/* Character device back ends: what all kinds have in common. */
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "host/chardev_impl.h"
#include "host/clock.h"
#include "host/sock.h"
#include "host/tty.h"

/*
 * DOC: theory of operation
 *
 * A back end is a descriptor to read and one to write, or one for both. Bytes are
 * read when the front end has room for them and written when it offers them; what
 * does not fit stays where it is, in the kernel or in the front end. Descriptors that
 * are not waited for are not in the event loop at all: a peer that hung up would
 * report that for ever.
 *
 * Front ends call from any thread, the event loop is for its own; so all
 * changes of what is waited for happen in chardev_update(), which other
 * threads have run by posting @work.
 *
 * A front end that takes nothing for a while (the guest is stopped, or hangs)
 * would lock the operator's escape key in behind the bytes typed before it. Where there
 * is such a key, bytes are read and dropped after a while, as on a line whose
 * receiver is off.
 */

enum {
	READ_MAX = 4096,
	/* A pipe that polls writable takes so many bytes without blocking (PIPE_BUF). */
	WRITE_MAX = 4096,
};

#define STALL_NS UINT64_C(500000000)
#define AGAIN_NS UINT64_C(100000000)

static size_t front_room(const struct chardev *c)
{
	return c->front ? c->front->room(c->opaque) : 0;
}

static void tell_connected(struct chardev *c, bool yes)
{
	if (c->front && c->front->connected)
		c->front->connected(c->opaque, yes);
}

static void tell_writable(struct chardev *c)
{
	bool blocked = c->out_blocked;

	c->out_blocked = false;
	if (blocked && c->front)
		c->front->writable(c->opaque);
}

void chardev_set_peer(struct chardev *c, int fd)
{
	c->in_fd = c->out_fd = fd;
	c->out_broken = c->hung_up = false;
	tell_connected(c, true);
}

/* The peer is gone; the next one may come. */
static void drop_peer(struct chardev *c)
{
	int fd = c->in_fd;

	loop_fd_del(c->loop, &c->in_watch);
	c->in_fd = c->out_fd = -1;
	c->out_broken = false;
	c->ops->gone(c, fd);
	tell_connected(c, false);
	tell_writable(c);
}

static void input_ended(struct chardev *c)
{
	if (c->duplex) {
		drop_peer(c);
		return;
	}
	c->in_ended = true;
	tell_connected(c, false);
}

void chardev_pass(struct chardev *c, const int *fds, size_t n)
{
	if (!n)
		return;
	if (c->front && c->front->passed) {
		c->front->passed(c->opaque, fds, n);
		return;
	}
	for (size_t i = 0; i < n; i++)
		close(fds[i]);
}

/* One read; false if there is nothing more now. */
static bool read_input(struct chardev *c)
{
	uint8_t bytes[READ_MAX];
	size_t room = front_room(c);
	bool drop = !room && c->stalled;
	size_t max = drop ? sizeof(bytes) : MIN(room, sizeof(bytes));
	ssize_t n;

	if (!room && !drop)
		return false;
	n = c->ops->read ? c->ops->read(c, bytes, max) : read(c->in_fd, bytes, max);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (n <= 0) {
		input_ended(c);
		return false;
	}
	if (c->ops->filter)
		n = (ssize_t)c->ops->filter(c, bytes, (size_t)n);
	if (n && !drop)
		c->front->receive(c->opaque, bytes, (size_t)n);
	return true;
}

static void in_ready(void *opaque, uint32_t events)
{
	struct chardev *c = opaque;
	bool left = events & (EPOLLHUP | EPOLLERR);

	if (c->duplex && left && c->out_blocked && c->front && c->front->drops_unanswered)
		drop_peer(c);
	if (c->duplex && (events & EPOLLOUT))
		tell_writable(c);
	if (events & EPOLLRDHUP && c->in_fd >= 0 && !front_room(c)) {
		/* What is still to be read comes first, whenever there is room. */
		c->hung_up = !c->ops->has_ended(c);
		if (!c->hung_up)
			drop_peer(c);
	}
	if ((events & ~(uint32_t)EPOLLOUT) && c->in_fd >= 0)
		read_input(c);
	chardev_update(c);
}

static void out_ready(void *opaque, uint32_t events)
{
	struct chardev *c = opaque;

	(void)events;
	tell_writable(c);
	chardev_update(c);
}

static void stall_expired(void *opaque)
{
	struct chardev *c = opaque;

	c->stalled = !front_room(c);
	chardev_update(c);
}

bool chardev_watch(struct chardev *c, struct loop_fd *w, int fd, uint32_t events,
		   void (*ready)(void *, uint32_t))
{
	struct err e;

	if (!events || w->fd != fd)
		loop_fd_del(c->loop, w);
	if (!events)
		return true;
	if (w->fd >= 0) {
		loop_fd_set_events(c->loop, w, events);
		return true;
	}
	if (!loop_fd_add(c->loop, w, fd, events, ready, c, &e))
		return true;
	if (e.code == EPERM)
		return false;
	/* The host is short of something, which passes. */
	log_error("%s: %s; it is tried again", c->name, e.msg);
	loop_timer_set(c->loop, &c->again, clock_boottime_ns() + AGAIN_NS);
	return true;
}

/* Without room for input the end of it is waited for, where that is another event. */
static uint32_t wants_hangup(const struct chardev *c)
{
	return c->duplex && c->in_fd >= 0 && !c->held && !c->hung_up && c->ops->has_ended &&
			       c->front && c->front->hears_hangup
		       ? EPOLLRDHUP
		       : 0;
}

static bool wants_input(struct chardev *c)
{
	bool room;

	if (c->in_fd < 0 || c->in_ended || c->held)
		return false;
	room = front_room(c);
	if (room) {
		c->stalled = false;
		loop_timer_cancel(&c->stall);
	} else if (c->ops->filter && !c->stalled && !c->stall.armed) {
		loop_timer_set(c->loop, &c->stall, clock_boottime_ns() + STALL_NS);
	}
	return room || c->stalled;
}

void chardev_update(struct chardev *c)
{
	uint32_t in, out;

	/* A regular file has always something; take it as long as there is room. */
	while (c->in_unpollable && wants_input(c) && read_input(c))
		;
	in = wants_input(c) && !c->in_unpollable ? EPOLLIN : 0;
	c->in_waiting = in;
	out = c->out_blocked && !c->held ? EPOLLOUT : 0;
	if (c->duplex) {
		if (!in)
			in = wants_hangup(c);
		chardev_watch(c, &c->in_watch, c->in_fd, in | out, in_ready);
	} else {
		if (!chardev_watch(c, &c->in_watch, c->in_fd, in, in_ready)) {
			c->in_unpollable = true;
			loop_post(c->loop, &c->work);
		}
		/* What cannot be waited for never blocks. */
		chardev_watch(c, &c->out_watch, c->out_fd, out, out_ready);
	}
	if (c->ops->update && !c->held)
		c->ops->update(c);
}

static void run_update(void *opaque)
{
	chardev_update(opaque);
}

static void output_failed(struct chardev *c)
{
	if (!c->out_broken && !c->duplex)
		log_warn("%s: cannot write, output is dropped: %m", c->name);
	/* A peer that went away is normal; its end is noticed by reading, what it still said too. */
	if (!c->out_broken && c->duplex)
		sock_shutdown(c->out_fd);
	c->out_broken = true;
}

/* The descriptor is shared with others, so it is left blocking. */
static ssize_t poll_and_write(struct chardev *c, const void *p, size_t n)
{
	struct pollfd ready = { .fd = c->out_fd, .events = POLLOUT };
	int r = poll(&ready, 1, 0);

	if (r <= 0) {
		errno = r ? errno : EAGAIN;
		return -1;
	}
	return write(c->out_fd, p, MIN(n, (size_t)WRITE_MAX));
}

static ssize_t write_some(struct chardev *c, const void *p, size_t n)
{
	ssize_t w;

	do {
		w = c->ops->write ? c->ops->write(c, p, n) : poll_and_write(c, p, n);
	} while (w < 0 && errno == EINTR);
	return w;
}

size_t chardev_write(struct chardev *c, const void *p, size_t n)
{
	size_t done = 0;

	while (done < n) {
		ssize_t w;

		/* Whoever it is for may be still to come. */
		if (c->held) {
			c->out_blocked = true;
			return done;
		}
		if (c->out_fd < 0 || c->out_broken)
			return n;
		w = write_some(c, (const uint8_t *)p + done, n - done);
		if (w >= 0) {
			done += (size_t)w;
			continue;
		}
		if (errno == EAGAIN) {
			c->out_blocked = true;
			loop_post(c->loop, &c->work);
			return done;
		}
		output_failed(c);
	}
	return done;
}

void chardev_accept_input(struct chardev *c)
{
	/* Waiting already, or nothing to wait for: the usual case, kept cheap. */
	if (c->in_fd < 0 || c->in_ended || (c->in_waiting && !c->stalled))
		return;
	loop_post(c->loop, &c->work);
}

void chardev_attach(struct chardev *c, const struct chardev_front *front, void *opaque)
{
	c->front = front;
	c->opaque = opaque;
	if (c->in_fd >= 0 && !c->in_ended)
		tell_connected(c, true);
	loop_post(c->loop, &c->work);
}

const char *chardev_name(const struct chardev *c)
{
	return c->name;
}

bool chardev_is_connected(const struct chardev *c)
{
	return !c->duplex || c->in_fd >= 0;
}

bool chardev_has_front(const struct chardev *c)
{
	return c->front;
}

bool chardev_is_tty(const struct chardev *c)
{
	return c->tty;
}

bool chardev_is_stdio(const struct chardev *c)
{
	return c->in_fd == STDIN_FILENO;
}

void chardev_tty_size(const struct chardev *c, unsigned int *columns, unsigned int *rows)
{
	tty_get_size(c->in_fd, columns, rows);
}

void chardev_get_given(const struct chardev *c, struct chardev_given *out)
{
	*out = (struct chardev_given){
		.listen_fd = -1,
		.peer_fd = -1,
		.own_fd = -1,
		.peer = c->in_fd >= 0 && !c->in_ended,
		.escaped = c->escaped,
	};
	if (c->ops->give)
		c->ops->give(c, out);
}

void chardev_close_given(struct chardev_given *given)
{
	close_fd(&given->listen_fd);
	close_fd(&given->peer_fd);
	close_fd(&given->own_fd);
}

void chardev_take_peer(struct chardev *c, int fd)
{
	if (c->held && c->in_fd < 0 && c->ops->take_peer)
		c->ops->take_peer(c, fd);
	else
		close(fd);
}

void chardev_release(struct chardev *c)
{
	if (!c->held)
		return;
	c->held = false;
	tell_writable(c);
	if (c->front && c->front->released)
		c->front->released(c->opaque);
	chardev_update(c);
}

bool chardev_is_held(const struct chardev *c)
{
	return c->held;
}

void chardev_disconnect(struct chardev *c)
{
	if (c->duplex && c->in_fd >= 0)
		drop_peer(c);
}

void chardev_let_go(struct chardev *c)
{
	loop_timer_cancel(&c->stall);
	loop_timer_cancel(&c->again);
	loop_fd_del(c->loop, &c->in_watch);
	loop_fd_del(c->loop, &c->out_watch);
	c->held = true;
	if (c->ops->close)
		c->ops->close(c);
	c->ops = &chardev_null_ops;
	c->own = NULL;
	c->in_fd = c->out_fd = -1;
	c->held = c->tty = false;
	tell_connected(c, false);
	tell_writable(c);
}

void chardev_suspend_tty(struct chardev *c, bool suspend)
{
	if (c->ops->suspend)
		c->ops->suspend(c, suspend);
}

int chardev_set_name(struct chardev *c, struct err *e, const char *fmt, ...)
{
	char *name;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&name, fmt, ap);
	va_end(ap);
	if (n < 0)
		return err_set(e, ENOMEM, "no memory for a character device's name");
	free(c->name);
	c->name = name;
	return 0;
}

int chardev_open(struct chardev **out, struct loop *loop, const struct chardev_config *config,
		 void (*quit)(void *opaque), void *quit_opaque, struct err *e)
{
	static int (*const kinds[])(struct chardev *, const struct chardev_config *,
				    struct err *) = {
		[CHARDEV_NULL] = chardev_open_null,   [CHARDEV_STDIO] = chardev_open_stdio,
		[CHARDEV_FILE] = chardev_open_file,   [CHARDEV_PTY] = chardev_open_pty,
		[CHARDEV_UNIX] = chardev_open_socket, [CHARDEV_TCP] = chardev_open_socket,
		[CHARDEV_FD] = chardev_open_socket,
	};
	struct chardev *c = calloc(1, sizeof(*c));
	int r;

	if (!c) {
		if (config->given)
			chardev_close_given(config->given);
		return err_set(e, ENOMEM, "no memory for a character device");
	}
	c->loop = loop;
	c->held = config->held;
	c->in_fd = c->out_fd = -1;
	c->in_watch.fd = c->out_watch.fd = -1;
	c->quit = quit;
	c->quit_opaque = quit_opaque;
	loop_work_init(&c->work, run_update, c);
	loop_timer_init(&c->stall, stall_expired, c);
	loop_timer_init(&c->again, run_update, c);
	c->escaped = config->given && config->given->escaped;
	r = kinds[config->kind](c, config, e);
	/* What the kind has not taken. */
	if (config->given)
		chardev_close_given(config->given);
	if (r < 0) {
		chardev_close(c);
		return r;
	}
	loop_post(loop, &c->work);
	*out = c;
	return 0;
}

void chardev_close(struct chardev *c)
{
	if (!c)
		return;
	loop_work_cancel(c->loop, &c->work);
	loop_timer_cancel(&c->stall);
	loop_timer_cancel(&c->again);
	loop_fd_del(c->loop, &c->in_watch);
	loop_fd_del(c->loop, &c->out_watch);
	if (c->ops && c->ops->close)
		c->ops->close(c);
	free(c->name);
	free(c);
}
