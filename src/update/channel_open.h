/* SPDX-License-Identifier: MIT */
/* Opening the sockets and descriptors that migration channels name. */
#ifndef UPDATE_CHANNEL_OPEN_H
#define UPDATE_CHANNEL_OPEN_H

#include "update/channel.h"

/*
 * Connects to a socket of the channel, waiting at most some seconds, or for TRANSPORT_FD
 * checks that @given, which stays the caller's, is a connected one and duplicates it. Returns
 * the descriptor, the caller's. -ENOTSUP for a channel that is no socket.
 */
int channel_connect(const struct channel *c, int given, struct err *e);

/* Listens at the channel; for TRANSPORT_FD at the inherited socket of that number. Likewise. */
int channel_listen(const struct channel *c, struct err *e);
/* Removes the name that channel_listen() has made, if it is a file. */
void channel_unlink(const struct channel *c);

/* The inherited descriptor of that number; fails if it is no number, or not open. */
int channel_inherited_fd(const struct channel *c, struct err *e);

#endif
