/* SPDX-License-Identifier: MIT */
/* Connecting to a socket without waiting for the answer. */
#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/util.h"
#include "host/clock.h"
#include "host/dial.h"
#include "host/resolve.h"

enum {
	MAX_ADDRESSES = 8,
	QUEUE_POLL_MS = 10,
};

struct address {
	struct sockaddr_storage sa;
	socklen_t len;
	int protocol;
};

struct dial {
	char *name; /* for messages */
	struct address addresses[MAX_ADDRESSES];
	size_t nr;
	size_t at; /* the one that is tried */
};

static int unix_address(struct address *a, const char *path, bool abstract, struct err *e)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	size_t n = strlen(path);

	if (!n)
		return err_set(e, EINVAL, "invalid Unix socket address");
	if (n >= sizeof(sa.sun_path))
		return err_set(e, ENAMETOOLONG,
			       "UNIX socket path '%.300s' is too long: the kernel allows %zu bytes",
			       path, sizeof(sa.sun_path) - 1);
	memcpy(sa.sun_path + abstract, path, n);
	memcpy(&a->sa, &sa, sizeof(sa));
	a->len = abstract ? (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + n)
			  : (socklen_t)sizeof(sa);
	a->protocol = 0;
	return 0;
}

static int allocate(struct dial **out, const char *name, const char *port, struct err *e)
{
	struct dial *d = calloc(1, sizeof(*d));
	int r = d ? asprintf(&d->name, "%s%s%s", name, port ? ":" : "", port ? port : "") : -1;

	if (r < 0) {
		free(d);
		return err_set(e, ENOMEM, "no memory to connect to '%s'", name);
	}
	*out = d;
	return 0;
}

int dial_create_unix(struct dial **out, const char *path, bool abstract, struct err *e)
{
	struct dial *d;
	int r = allocate(&d, path, NULL, e);

	if (r)
		return r;
	r = unix_address(&d->addresses[0], path, abstract, e);
	d->nr = 1;
	if (r)
		dial_destroy(d);
	else
		*out = d;
	return r;
}

int dial_create_inet(struct dial **out, const char *host, const char *port, struct err *e)
{
	struct addrinfo *list, *a;
	struct dial *d;
	int r = allocate(&d, host, port, e);

	if (r)
		return r;
	r = resolve_inet(host, port, false, RESOLVE_MS, &list, e);
	if (r) {
		dial_destroy(d);
		return r;
	}
	for (a = list; a && d->nr < MAX_ADDRESSES; a = a->ai_next) {
		struct address *to = &d->addresses[d->nr++];

		memcpy(&to->sa, a->ai_addr, a->ai_addrlen);
		to->len = a->ai_addrlen;
		to->protocol = a->ai_protocol;
	}
	freeaddrinfo(list);
	*out = d;
	return 0;
}

void dial_destroy(struct dial *d)
{
	if (!d)
		return;
	free(d->name);
	free(d);
}

/* Tries addresses from d->at on; @saved is why the one before failed. */
static int try_addresses(struct dial *d, int saved, bool *pending, struct err *e)
{
	for (; d->at < d->nr; d->at++) {
		const struct address *a = &d->addresses[d->at];
		AUTO_CLOSE int fd = socket(a->sa.ss_family,
					   SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, a->protocol);

		if (fd < 0) {
			saved = errno;
			continue;
		}
		*pending = false;
		if (!connect(fd, (const struct sockaddr *)&a->sa, a->len))
			return take_fd(&fd);
		saved = errno;
		if (saved == EINPROGRESS) {
			*pending = true;
			return take_fd(&fd);
		}
	}
	return err_set_code(e, saved, "Failed to connect to '%s'", d->name);
}

int dial_start(struct dial *d, bool *pending, struct err *e)
{
	d->at = 0;
	return try_addresses(d, ENOENT, pending, e);
}

int dial_finish(struct dial *d, int *fd, struct err *e)
{
	socklen_t n = sizeof(int);
	int error = 0, r;
	bool pending;

	if (getsockopt(*fd, SOL_SOCKET, SO_ERROR, &error, &n) < 0)
		error = errno;
	if (!error)
		return 0;
	close_fd(fd);
	d->at++;
	r = try_addresses(d, error, &pending, e);
	if (r < 0)
		return r;
	*fd = r;
	return pending ? -EINPROGRESS : 0;
}

int dial_wait(struct dial *d, int timeout_ms, struct err *e)
{
	uint64_t end = clock_boottime_ns() + (uint64_t)timeout_ms * 1000000;
	AUTO_CLOSE int fd = -1;
	bool pending;
	int r;

	/* A UNIX server's full queue is the one refusal that waiting may end. */
	while ((r = fd = dial_start(d, &pending, e)) == -EAGAIN && clock_boottime_ns() < end)
		poll(NULL, 0, QUEUE_POLL_MS);
	if (r < 0 || !pending)
		return r < 0 ? r : take_fd(&fd);
	do {
		struct pollfd p = { .fd = fd, .events = POLLOUT };
		uint64_t now = clock_boottime_ns();

		if (now >= end)
			return err_set_code(e, ETIMEDOUT, "Failed to connect to '%s'", d->name);
		if (poll(&p, 1, (int)((end - now) / 1000000 + 1)) <= 0)
			r = -EINPROGRESS;
		else
			r = dial_finish(d, &fd, e);
	} while (r == -EINPROGRESS);
	return r ? r : take_fd(&fd);
}

int dial_listen_abstract(const char *name, struct err *e)
{
	AUTO_CLOSE int fd = -1;
	struct address a;
	int r = unix_address(&a, name, true, e);

	if (r)
		return r;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_set_errno(e, "cannot create a UNIX socket");
	if (bind(fd, (const struct sockaddr *)&a.sa, a.len) < 0)
		return err_set_errno(e, "Failed to bind socket to abstract name '%s'", name);
	if (listen(fd, 4) < 0)
		return err_set_errno(e, "Failed to listen on abstract name '%s'", name);
	return take_fd(&fd);
}
