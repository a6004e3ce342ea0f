/* SPDX-License-Identifier: MIT */
/* Character devices that people type at: standard input and output, pseudo-terminals. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "host/chardev_impl.h"
#include "host/clock.h"
#include "host/tty.h"

/*
 * DOC: theory of operation
 *
 * Standard input is put in raw mode only if it is a terminal; then the escape key is ours.
 *
 * Of a pseudo-terminal we have the master. The kernel tells that the last user of the slave
 * has gone (end of input), but not that one has come, so that is asked a few times a
 * second, and only while nobody is there.
 */

enum {
	ESCAPE = 1, /* Ctrl-a */
};

#define PTY_POLL_NS UINT64_C(100000000)

/* A terminal's settings, to be put back; lives as long as the process, for the exit handler. */
struct saved_tty {
	int fd; /* -1: put back */
	bool signals;
	struct termios old;
};

static void restore_tty(struct saved_tty *t)
{
	if (t->fd >= 0)
		tcsetattr(t->fd, TCSANOW, &t->old);
	t->fd = -1;
}

/* Raw, except that output keeps its newline translation. */
static int make_raw(struct saved_tty *t, struct err *e)
{
	struct termios raw = t->old;

	cfmakeraw(&raw);
	raw.c_oflag |= OPOST;
	if (t->signals)
		raw.c_lflag |= ISIG;
	if (tcsetattr(STDIN_FILENO, TCSANOW, &raw) < 0)
		return err_set_errno(e, "cannot set the terminal to raw mode");
	t->fd = STDIN_FILENO;
	return 0;
}

static void suspend_stdio(struct chardev *c, bool suspend)
{
	struct err e;

	if (!c->tty)
		return;
	if (suspend)
		restore_tty(c->own);
	else if (make_raw(c->own, &e))
		log_error("%s", e.msg);
}

static void give_stdio(const struct chardev *c, struct chardev_given *out)
{
	const struct saved_tty *t = c->own;

	if (!t)
		return;
	out->has_tty = true;
	out->tty = (struct chardev_tty){
		.iflag = t->old.c_iflag,
		.oflag = t->old.c_oflag,
		.cflag = t->old.c_cflag,
		.lflag = t->old.c_lflag,
	};
	memcpy(out->tty.cc, t->old.c_cc, MIN(sizeof(out->tty.cc), sizeof(t->old.c_cc)));
}

/* What the terminal was like before an earlier image made it raw. */
static void take_tty(struct termios *old, const struct chardev_tty *t)
{
	old->c_iflag = t->iflag;
	old->c_oflag = t->oflag;
	old->c_cflag = t->cflag;
	old->c_lflag = t->lflag;
	memcpy(old->c_cc, t->cc, MIN(sizeof(t->cc), sizeof(old->c_cc)));
}

static void restore_tty_at_exit(int status, void *arg)
{
	(void)status;
	restore_tty(arg);
}

static int set_raw(struct chardev *c, const struct chardev_config *config, struct err *e)
{
	struct saved_tty *t = malloc(sizeof(*t));

	if (!t)
		return err_set(e, ENOMEM, "no memory for the terminal's settings");
	t->fd = -1;
	t->signals = config->signals;
	if (tcgetattr(STDIN_FILENO, &t->old) < 0 || on_exit(restore_tty_at_exit, t)) {
		free(t);
		return err_set(e, EIO, "cannot read the terminal's settings");
	}
	if (config->given && config->given->has_tty)
		take_tty(&t->old, &config->given->tty);
	c->own = t;
	c->tty = true;
	return make_raw(t, e);
}

static size_t filter_escapes(struct chardev *c, uint8_t *p, size_t n)
{
	size_t kept = 0;

	for (size_t i = 0; i < n; i++) {
		uint8_t b = p[i];

		if (!c->escaped && b == ESCAPE) {
			c->escaped = true;
			continue;
		}
		if (c->escaped && b == 'x' && c->quit)
			c->quit(c->quit_opaque);
		if (!c->escaped || b == ESCAPE)
			p[kept++] = b;
		c->escaped = false;
	}
	return kept;
}

/* The exit handler keeps the block itself. */
static void close_stdio(struct chardev *c)
{
	if (c->own)
		restore_tty(c->own);
}

static const struct chardev_ops stdio_ops = { .close = close_stdio };

static const struct chardev_ops stdio_tty_ops = {
	.filter = filter_escapes,
	.suspend = suspend_stdio,
	.give = give_stdio,
	.close = close_stdio,
};

int chardev_open_stdio(struct chardev *c, const struct chardev_config *config, struct err *e)
{
	bool tty = isatty(STDIN_FILENO);
	int r;

	c->ops = tty ? &stdio_tty_ops : &stdio_ops;
	c->in_fd = STDIN_FILENO;
	c->out_fd = STDOUT_FILENO;
	r = chardev_set_name(c, e, "stdio");
	return r || !tty ? r : set_raw(c, config, e);
}

struct pty {
	struct chardev *c;
	int master;
	struct loop_timer poll; /* [l] */
};

static void poll_pty(void *opaque)
{
	struct pty *p = opaque;

	if (tty_has_peer(p->master)) {
		chardev_set_peer(p->c, p->master);
		chardev_update(p->c);
	} else {
		loop_timer_set(p->c->loop, &p->poll, clock_boottime_ns() + PTY_POLL_NS);
	}
}

static void pty_gone(struct chardev *c, int fd)
{
	struct pty *p = c->own;

	(void)fd;
	loop_timer_set(c->loop, &p->poll, clock_boottime_ns() + PTY_POLL_NS);
}

static ssize_t write_pty(struct chardev *c, const void *p, size_t n)
{
	return write(c->out_fd, p, n);
}

static void close_pty(struct chardev *c)
{
	struct pty *p = c->own;

	if (!p)
		return;
	loop_timer_cancel(&p->poll);
	close_fd(&p->master);
	free(p);
}

static void give_pty(const struct chardev *c, struct chardev_given *out)
{
	const struct pty *p = c->own;

	out->own_fd = p->master;
	snprintf(out->path, sizeof(out->path), "%s", c->name + strlen("pty:"));
}

static const struct chardev_ops pty_ops = {
	.give = give_pty,
	.write = write_pty,
	.gone = pty_gone,
	.close = close_pty,
};

int chardev_open_pty(struct chardev *c, const struct chardev_config *config, struct err *e)
{
	struct pty *p = calloc(1, sizeof(*p));
	const struct chardev_given *given = config->given;
	char path[64];
	int r;

	if (!p)
		return err_set(e, ENOMEM, "no memory for a pseudo-terminal");
	c->ops = &pty_ops;
	c->own = p;
	c->duplex = true;
	c->tty = true;
	p->c = c;
	p->master = -1;
	loop_timer_init(&p->poll, poll_pty, p);
	if (given && given->own_fd >= 0) {
		p->master = take_fd(&config->given->own_fd);
		r = chardev_set_name(c, e, "pty:%s", given->path);
	} else {
		r = tty_open_pair(&p->master, NULL, path, sizeof(path), e);
		if (!r)
			r = chardev_set_name(c, e, "pty:%s", path);
	}
	if (r)
		return r;
	/* If they have gone since, reading tells. */
	if (given && given->peer)
		chardev_set_peer(c, p->master);
	else
		loop_timer_set(c->loop, &p->poll, 0);
	return 0;
}
