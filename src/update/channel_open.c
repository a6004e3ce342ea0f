/* SPDX-License-Identifier: MIT */
/* Opening the sockets and descriptors that migration channels name. */
#include <errno.h>
#include <unistd.h>

#include "base/parse.h"
#include "base/util.h"
#include "host/dial.h"
#include "host/process.h"
#include "host/sock.h"
#include "update/channel_open.h"

enum {
	CONNECT_MS = 5000,
};

static int connect_by_dial(const struct channel *c, struct err *e)
{
	struct dial *d;
	int r = c->transport == TRANSPORT_UNIX ? dial_create_unix(&d, c->path, c->abstract, e)
					       : dial_create_inet(&d, c->host, c->port, e);

	if (r)
		return r;
	r = dial_wait(d, CONNECT_MS, e);
	dial_destroy(d);
	if (r < 0)
		return r;
	sock_set_blocking(r, 1);
	sock_set_nodelay(r);
	return r;
}

int channel_connect(const struct channel *c, int given, struct err *e)
{
	int r;

	switch (c->transport) {
	case TRANSPORT_UNIX:
	case TRANSPORT_INET:
		return connect_by_dial(c, e);
	case TRANSPORT_FD:
		r = sock_check_connected(given, e);
		return r ? r : process_dup_fd(given, e);
	default:
		return err_set(e, ENOTSUP, "this kind of channel is no socket");
	}
}

int channel_inherited_fd(const struct channel *c, struct err *e)
{
	uint64_t number;
	int r = parse_uint(c->path, INT32_MAX, &number, e);

	if (!r)
		r = process_check_fd((int)number, e);
	return r ? err_prefix(e, "fd:%s", c->path) : (int)number;
}

int channel_listen(const struct channel *c, struct err *e)
{
	int fd, r;

	switch (c->transport) {
	case TRANSPORT_UNIX:
		return c->abstract ? dial_listen_abstract(c->path, e)
				   : sock_listen_unix(c->path, e);
	case TRANSPORT_INET:
		return sock_listen_inet(c->host, c->port, e);
	case TRANSPORT_FD:
		fd = channel_inherited_fd(c, e);
		r = fd < 0 ? fd : sock_check_listening(fd, e);
		return r ? r : fd;
	default:
		return err_set(e, ENOTSUP, "this kind of channel is no socket");
	}
}

void channel_unlink(const struct channel *c)
{
	if (c->transport == TRANSPORT_UNIX && !c->abstract)
		unlink(c->path);
}
