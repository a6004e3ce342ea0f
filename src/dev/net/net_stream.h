/* SPDX-License-Identifier: MIT */
/* What of a stream netdev is the guest's: the bytes between its network card and the socket. */
#ifndef DEV_NET_NET_STREAM_H
#define DEV_NET_NET_STREAM_H

#include "base/err.h"
#include "host/net.h"
#include "machine/device.h"

struct vm;

/* Frames, or parts of frames, that were read or are not yet written: struct net_bytes. */
struct net_stream {
	struct device dev;
	struct {
		struct net *net; /* [c] not owned */
	} h;
};

extern const struct device_class net_stream_class;

/*
 * Puts the bytes of @net, a stream or passt called @id, on the machine's list. From then on the
 * back end moves while the guest runs, and stands still while it does not. device_remove()
 * before @net is closed.
 */
int net_stream_create(struct vm *vm, const char *id, struct net *net, struct device **out,
		      struct err *e);

#endif
