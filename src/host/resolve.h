/* SPDX-License-Identifier: MIT */
/* Addresses of hosts by name, without waiting for a name server for ever. */
#ifndef HOST_RESOLVE_H
#define HOST_RESOLVE_H

#include <netdb.h>
#include <stdbool.h>

#include "base/err.h"

enum {
	RESOLVE_MS = 5000 /* what a caller that has no better idea allows */
};

/*
 * The stream addresses that @host and @port, names or numbers, stand for; an empty @host is
 * this host, and with @server each address of it. Numbers are no matter of time; a name is
 * looked up on a thread of its own, for which the caller waits at most @limit_ms. Returns
 * the list in *@list, for freeaddrinfo(). -ETIMEDOUT, or -EINVAL if there is no such name;
 * a thread whose answer comes too late ends by itself. Any thread.
 */
int resolve_inet(const char *host, const char *port, bool server, int limit_ms,
		 struct addrinfo **list, struct err *e);

#endif
