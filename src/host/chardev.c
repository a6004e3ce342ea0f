/* SPDX-License-Identifier: MIT */
/* Character device back ends: where the bytes of a serial port go and come from. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "base/log.h"
#include "base/parse.h"
#include "base/util.h"
#include "host/chardev.h"
#include "host/clock.h"
#include "host/sock.h"

/*
 * DOC: theory of operation
 *
 * A back end is at most three descriptors: one to read, one to write, one to
 * listen at. Bytes are read when the front end has room for them and written
 * when it offers them; what does not fit stays where it is, in the kernel or
 * in the front end. Descriptors that are not waited for are not in the event
 * loop at all: a peer that hung up would report that for ever.
 *
 * Front ends call from any thread, the event loop is for its own; so all
 * changes of what is waited for happen in update_watches(), which other
 * threads have run by posting @work.
 *
 * A front end that takes nothing for a while (the guest is stopped, or hangs)
 * would lock the operator's escape key in behind the bytes typed before it. On a
 * terminal such bytes are read and dropped after a while, as on a line whose
 * receiver is off.
 */

enum {
	ESCAPE = 1, /* Ctrl-a */
	READ_MAX = 4096,
	/* A pipe that polls writable takes so many bytes without blocking (PIPE_BUF). */
	WRITE_MAX = 4096,
};

#define STALL_NS UINT64_C(500000000)

/* A terminal's settings, to be put back; lives as long as the process, for the exit handler. */
struct saved_tty {
	int fd; /* -1: put back */
	struct termios old;
};

struct chardev {
	struct loop *loop;                 /* [c]                                        */
	char *name;                        /* [c]                                        */
	const struct chardev_front *front; /* [m] NULL: not attached                     */
	void *opaque;
	int in_fd;          /* -1: nothing to read from                          */
	int out_fd;         /* -1: bytes are dropped; a socket's is in_fd        */
	bool is_socket;     /* [c]                                               */
	bool owns_fds;      /* [c] in_fd and out_fd are to be closed             */
	bool in_ended;      /* [m] nothing more will come                        */
	bool in_waiting;    /* [m] the loop tells when bytes come                */
	bool in_unpollable; /* [m] a regular file: always readable               */
	bool out_blocked;   /* [m] the front end waits for writable()            */
	bool out_broken;    /* [m] reported; bytes are dropped                   */
	int server_fd;      /* [c] listening socket, or -1                       */
	char *unlink_path;  /* [c] the server's, or NULL                         */
	dev_t unlink_dev;   /* [c] the file that was made there                  */
	ino_t unlink_ino;
	struct loop_fd in_watch;     /* [l] also output, for a socket                     */
	struct loop_fd out_watch;    /* [l]                                               */
	struct loop_fd server_watch; /* [l]                                              */
	struct loop_work work;       /* update_watches()                                  */
	struct saved_tty *tty;       /* [c] NULL unless in_fd is a terminal in raw mode   */
	bool escaped;                /* [l] the last byte was the escape                  */
	bool stalled;                /* [l] the front end had no room for long            */
	struct loop_timer stall;     /* [l]                                               */
	void (*quit)(void *opaque);  /* [c]                                               */
	void *quit_opaque;
};

static void update_watches(void *opaque);

static size_t front_room(const struct chardev *c)
{
	return c->front ? c->front->room(c->opaque) : 0;
}

static void tell_connected(struct chardev *c, bool yes)
{
	if (c->front && c->front->connected)
		c->front->connected(c->opaque, yes);
}

/* The peer of a socket is gone; the next one may come. */
static void drop_client(struct chardev *c)
{
	loop_fd_del(c->loop, &c->in_watch);
	close_fd(&c->in_fd);
	c->out_fd = -1;
	c->out_broken = false;
	if (c->out_blocked && c->front) {
		c->out_blocked = false;
		c->front->writable(c->opaque);
	}
	c->out_blocked = false;
	tell_connected(c, false);
}

static void input_ended(struct chardev *c)
{
	if (c->is_socket) {
		drop_client(c);
		return;
	}
	c->in_ended = true;
	tell_connected(c, false);
}

/* Takes the escapes of a terminal out of the @n bytes at @p; returns how many are left. */
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

/* One read; false if there is nothing more now. */
static bool read_input(struct chardev *c)
{
	uint8_t bytes[READ_MAX];
	size_t room = front_room(c);
	bool drop = !room && c->stalled;
	ssize_t n;

	if (!room && !drop)
		return false;
	n = read(c->in_fd, bytes, drop ? sizeof(bytes) : MIN(room, sizeof(bytes)));
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (n <= 0) {
		input_ended(c);
		return false;
	}
	if (c->tty)
		n = (ssize_t)filter_escapes(c, bytes, (size_t)n);
	if (n && !drop)
		c->front->receive(c->opaque, bytes, (size_t)n);
	return true;
}

static void in_ready(void *opaque, uint32_t events)
{
	struct chardev *c = opaque;

	if (c->is_socket && (events & EPOLLOUT) && c->out_blocked) {
		c->out_blocked = false;
		c->front->writable(c->opaque);
	}
	if ((events & ~(uint32_t)EPOLLOUT) && c->in_fd >= 0)
		read_input(c);
	update_watches(c);
}

static void out_ready(void *opaque, uint32_t events)
{
	struct chardev *c = opaque;

	(void)events;
	c->out_blocked = false;
	if (c->front)
		c->front->writable(c->opaque);
	update_watches(c);
}

static void server_ready(void *opaque, uint32_t events)
{
	struct chardev *c = opaque;
	struct err e;
	int fd;

	(void)events;
	fd = sock_accept(c->server_fd, &e);
	if (fd >= 0) {
		sock_set_nodelay(fd);
		c->in_fd = c->out_fd = fd;
		c->out_broken = false;
		tell_connected(c, true);
	} else if (e.code != EAGAIN && e.code != ECONNABORTED) {
		log_warn("%s: %s", c->name, e.msg);
	}
	update_watches(c);
}

static void stall_expired(void *opaque)
{
	struct chardev *c = opaque;

	c->stalled = !front_room(c);
	update_watches(c);
}

/* Waits for @events of @fd, none meaning not at all; false if it cannot be waited for. */
static bool watch(struct chardev *c, struct loop_fd *w, int fd, uint32_t events,
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
	if (e.code != EPERM)
		log_error("%s: %s", c->name, e.msg);
	return false;
}

static bool wants_input(struct chardev *c)
{
	bool room;

	if (c->in_fd < 0 || c->in_ended)
		return false;
	room = front_room(c);
	if (room) {
		c->stalled = false;
		loop_timer_cancel(&c->stall);
	} else if (c->tty && !c->stalled && !c->stall.armed) {
		loop_timer_set(c->loop, &c->stall, clock_boottime_ns() + STALL_NS);
	}
	return room || c->stalled;
}

/* Makes the loop wait for exactly what can be used now. The loop's thread. */
static void update_watches(void *opaque)
{
	struct chardev *c = opaque;
	uint32_t in, out;

	/* A regular file has always something; take it as long as there is room. */
	while (c->in_unpollable && wants_input(c) && read_input(c))
		;
	in = wants_input(c) && !c->in_unpollable ? EPOLLIN : 0;
	c->in_waiting = in;
	out = c->out_blocked ? EPOLLOUT : 0;
	if (c->is_socket) {
		watch(c, &c->in_watch, c->in_fd, in | out, in_ready);
	} else {
		if (!watch(c, &c->in_watch, c->in_fd, in, in_ready)) {
			c->in_unpollable = true;
			loop_post(c->loop, &c->work);
		}
		/* What cannot be waited for never blocks. */
		watch(c, &c->out_watch, c->out_fd, out, out_ready);
	}
	if (c->server_fd >= 0)
		watch(c, &c->server_watch, c->server_fd, c->in_fd < 0 ? EPOLLIN : 0, server_ready);
}

static void output_failed(struct chardev *c)
{
	/* A peer that went away is normal; its end is noticed by reading. */
	if (!c->out_broken && !c->is_socket)
		log_warn("%s: cannot write, output is dropped: %m", c->name);
	c->out_broken = true;
}

static ssize_t write_some(struct chardev *c, const void *p, size_t n)
{
	struct pollfd ready = { .fd = c->out_fd, .events = POLLOUT };
	ssize_t w;

	do {
		if (c->is_socket) {
			w = send(c->out_fd, p, n, MSG_DONTWAIT | MSG_NOSIGNAL);
		} else if (poll(&ready, 1, 0) == 0) {
			/* The descriptor is shared with others, so it is left blocking. */
			errno = EAGAIN;
			w = -1;
		} else {
			w = write(c->out_fd, p, MIN(n, (size_t)WRITE_MAX));
		}
	} while (w < 0 && errno == EINTR);
	return w;
}

size_t chardev_write(struct chardev *c, const void *p, size_t n)
{
	size_t done = 0;

	while (done < n) {
		ssize_t w;

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

bool chardev_is_tty(const struct chardev *c)
{
	return c->tty;
}

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
	if (tcsetattr(STDIN_FILENO, TCSANOW, &raw) < 0)
		return err_set_errno(e, "cannot set the terminal to raw mode");
	t->fd = STDIN_FILENO;
	return 0;
}

void chardev_suspend_tty(struct chardev *c, bool suspend)
{
	struct err e;

	if (!c->tty)
		return;
	if (suspend)
		restore_tty(c->tty);
	else if (make_raw(c->tty, &e))
		log_error("%s", e.msg);
}

static void restore_tty_at_exit(int status, void *arg)
{
	(void)status;
	restore_tty(arg);
}

static int set_raw(struct chardev *c, struct err *e)
{
	c->tty = malloc(sizeof(*c->tty));
	if (!c->tty)
		return err_set(e, ENOMEM, "no memory for the terminal's settings");
	c->tty->fd = -1;
	if (tcgetattr(STDIN_FILENO, &c->tty->old) < 0 || on_exit(restore_tty_at_exit, c->tty)) {
		free(TAKE_PTR(c->tty));
		return err_set(e, EIO, "cannot read the terminal's settings");
	}
	return make_raw(c->tty, e);
}

static int open_stdio(struct chardev *c, struct err *e)
{
	c->in_fd = STDIN_FILENO;
	c->out_fd = STDOUT_FILENO;
	return isatty(STDIN_FILENO) ? set_raw(c, e) : 0;
}

/* The value of option @key in @opts (`key=value,...`), a switch, if it is there. */
static int take_switch(const char *opts, const char *key, bool *out, struct err *e)
{
	size_t n = strlen(key);

	for (const char *p = opts; p; p = strchr(p, ',')) {
		char value[16];
		size_t len;

		p += *p == ',';
		if (strncmp(p, key, n) || (p[n] && p[n] != '=' && p[n] != ','))
			continue;
		if (p[n] != '=') {
			*out = true;
			return 0;
		}
		len = strcspn(p + n + 1, ",");
		if (len >= sizeof(value))
			return err_set(e, EINVAL, "'%s' wants 'on' or 'off'", key);
		memcpy(value, p + n + 1, len);
		value[len] = '\0';
		return parse_bool(value, out, e) ? err_prefix(e, "'%s'", key) : 0;
	}
	return 0;
}

/* Fails on the first option in @opts that is not one of @known, which ends with NULL. */
static int check_options(const char *opts, const char *const *known, struct err *e)
{
	for (const char *p = opts; p && *p;) {
		size_t n = strcspn(p, "=,"), i = 0;

		while (known[i] && (strlen(known[i]) != n || strncmp(p, known[i], n)))
			i++;
		if (!known[i])
			return err_set(e, EINVAL, "Invalid parameter '%.*s'", (int)n, p);
		p += strcspn(p, ",");
		p += *p == ',';
	}
	return 0;
}

static int open_file(struct chardev *c, const char *path, const char *opts, struct err *e)
{
	static const char *const known[] = { "append", NULL };
	bool append = false;
	int r = check_options(opts, known, e);

	if (!r)
		r = take_switch(opts, "append", &append, e);
	if (r)
		return r;
	/* Two processes write in turn during an update, so each adds at the end. */
	c->out_fd =
		open(path,
		     O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY | (append ? 0 : O_TRUNC),
		     0666);
	if (c->out_fd < 0)
		return err_set_errno(e, "Unable to open file %s", path);
	c->owns_fds = true;
	return 0;
}

/* Remembers the socket's file, so that only this one is removed. */
static int note_path(struct chardev *c, const char *path, struct err *e)
{
	struct stat st;

	c->unlink_path = strdup(path);
	if (!c->unlink_path)
		return err_set(e, ENOMEM, "no memory for the path '%s'", path);
	if (lstat(path, &st) < 0)
		return err_set_errno(e, "cannot look at '%s'", path);
	c->unlink_dev = st.st_dev;
	c->unlink_ino = st.st_ino;
	return 0;
}

static int await_client(struct chardev *c, struct err *e)
{
	log_info("waiting for a connection on %s", c->name);
	c->in_fd = sock_accept(c->server_fd, e);
	if (c->in_fd < 0)
		return c->in_fd;
	sock_set_nodelay(c->in_fd);
	c->out_fd = c->in_fd;
	return 0;
}

/* Splits `HOST:PORT` or `[HOST]:PORT` in place. */
static int split_address(char *address, char **host, char **port, struct err *e)
{
	char *colon = strrchr(address, ':');
	size_t n;

	if (!colon || !colon[1])
		return err_set(e, EINVAL, "address '%s' is not HOST:PORT", address);
	*colon = '\0';
	*port = colon + 1;
	*host = address;
	n = strlen(address);
	if (n >= 2 && address[0] == '[' && address[n - 1] == ']') {
		address[n - 1] = '\0';
		*host = address + 1;
	}
	return 0;
}

static int open_socket(struct chardev *c, bool is_unix, char *address, const char *opts,
		       struct err *e)
{
	static const char *const known[] = { "server", "wait", NULL };
	bool server = false, wait = true;
	char *host = NULL, *port = NULL;
	int r = check_options(opts, known, e), fd;

	if (!r)
		r = take_switch(opts, "server", &server, e);
	if (!r)
		r = take_switch(opts, "wait", &wait, e);
	if (!r && !is_unix)
		r = split_address(address, &host, &port, e);
	if (r)
		return r;
	c->is_socket = true;
	c->owns_fds = true;
	if (!server) {
		fd = is_unix ? sock_connect_unix(address, e) : sock_connect_inet(host, port, e);
		if (fd < 0)
			return fd;
		sock_set_nodelay(fd);
		c->in_fd = c->out_fd = fd;
		return 0;
	}
	fd = is_unix ? sock_listen_unix(address, e) : sock_listen_inet(host, port, e);
	if (fd < 0)
		return fd;
	c->server_fd = fd;
	r = is_unix ? note_path(c, address, e) : 0;
	if (!r && wait)
		r = await_client(c, e);
	sock_set_blocking(c->server_fd, 0);
	return r;
}

/* Whether the first @n characters of @spec name a kind that takes a path or address. */
static bool is_kind(const char *spec, size_t n)
{
	static const char *const kinds[] = { "file", "unix", "tcp" };

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (strlen(kinds[i]) == n && !strncmp(spec, kinds[i], n))
			return true;
	return false;
}

/* Splits `KIND:PATH,OPTIONS` and opens it. */
static int open_spec(struct chardev *c, const char *spec, struct err *e)
{
	const char *path = strchr(spec, ':'), *opts;
	AUTO_FREE char *copy = NULL;
	size_t kind = path ? (size_t)(path - spec) : strlen(spec);

	if (!strcmp(spec, "null") || !strcmp(spec, "none"))
		return 0;
	if (!strcmp(spec, "stdio"))
		return open_stdio(c, e);
	if (!path || !is_kind(spec, kind))
		return err_set(e, EINVAL, "'%s' is not a valid char driver", spec);
	path++;
	opts = strchr(path, ',');
	copy = opts ? strndup(path, (size_t)(opts - path)) : strdup(path);
	if (!copy)
		return err_set(e, ENOMEM, "no memory for the path in '%s'", spec);
	if (!copy[0])
		return err_set(e, EINVAL, "chardev: %.*s: no path given", (int)kind, spec);
	if (opts)
		opts++;
	if (spec[0] == 'f')
		return open_file(c, copy, opts, e);
	return open_socket(c, spec[0] == 'u', copy, opts, e);
}

int chardev_open(struct chardev **out, struct loop *loop, const char *spec,
		 void (*quit)(void *opaque), void *quit_opaque, struct err *e)
{
	struct chardev *c = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return err_set(e, ENOMEM, "no memory for character device '%s'", spec);
	c->loop = loop;
	c->in_fd = c->out_fd = c->server_fd = -1;
	c->in_watch.fd = c->out_watch.fd = c->server_watch.fd = -1;
	c->quit = quit;
	c->quit_opaque = quit_opaque;
	loop_work_init(&c->work, update_watches, c);
	loop_timer_init(&c->stall, stall_expired, c);
	c->name = strdup(spec);
	r = c->name ? open_spec(c, spec, e) : err_set(e, ENOMEM, "no memory for '%s'", spec);
	if (r < 0) {
		chardev_close(c);
		return r;
	}
	loop_post(loop, &c->work);
	*out = c;
	return 0;
}

/* The path may be another process's by now; then it stays. */
static void unlink_server(struct chardev *c)
{
	struct stat st;

	if (c->unlink_path && !lstat(c->unlink_path, &st) && st.st_dev == c->unlink_dev &&
	    st.st_ino == c->unlink_ino)
		unlink(c->unlink_path);
}

void chardev_close(struct chardev *c)
{
	if (!c)
		return;
	loop_work_cancel(c->loop, &c->work);
	loop_timer_cancel(&c->stall);
	loop_fd_del(c->loop, &c->in_watch);
	loop_fd_del(c->loop, &c->out_watch);
	loop_fd_del(c->loop, &c->server_watch);
	/* The exit handler keeps the block itself. */
	if (c->tty)
		restore_tty(c->tty);
	if (c->owns_fds) {
		if (c->out_fd != c->in_fd)
			close_fd(&c->out_fd);
		close_fd(&c->in_fd);
	}
	unlink_server(c);
	close_fd(&c->server_fd);
	free(c->unlink_path);
	free(c->name);
	free(c);
}
