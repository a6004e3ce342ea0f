/* SPDX-License-Identifier: MIT */
/* Migration channels: where an update's streams go to and come from. */
#ifndef UPDATE_CHANNEL_H
#define UPDATE_CHANNEL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

enum channel_type {
	CHANNEL_MAIN, /* device state                              */
	CHANNEL_CPR,  /* descriptors, configuration, acknowledgement */
};

enum channel_transport {
	TRANSPORT_UNIX,
	TRANSPORT_INET,
	TRANSPORT_FD, /* an inherited listening socket or file, by number */
	TRANSPORT_FILE,
	TRANSPORT_EXEC, /* a command's standard input or output             */
};

/* Plain data; copying it is fine. */
struct channel {
	enum channel_type type;
	enum channel_transport transport;
	char path[108]; /* TRANSPORT_UNIX: path; TRANSPORT_FD: the number or name */
	int fd;         /* TRANSPORT_FD: what a name stands for, borrowed; else not used   */
	char host[256]; /* TRANSPORT_INET                                         */
	char port[32];  /* TRANSPORT_INET: number or service name                 */
	/* TRANSPORT_FILE: its path. TRANSPORT_EXEC: nr_args words, each with its NUL. */
	char file[4096];
	unsigned int nr_args;
	bool abstract;   /* TRANSPORT_UNIX: a name, not a path                     */
	uint64_t offset; /* TRANSPORT_FILE: where the state starts, bytes          */
};

/*
 * Parses a migration URI (`tcp:HOST:PORT`, `unix:PATH`, `fd:N`, `exec:COMMAND`,
 * `file:PATH[,offset=N]`) as a main channel. -EINVAL with the text QEMU's users
 * know for what is no URI.
 */
int channel_parse_uri(const char *uri, struct channel *out, struct err *e);

/* A main channel to or from the file @path. -EINVAL, -ENAMETOOLONG. */
int channel_set_file(struct channel *c, const char *path, struct err *e);
/* Makes the command of an exec channel of @n words. -ENAMETOOLONG if it does not fit. */
int channel_set_args(struct channel *c, const char *const *args, size_t n, struct err *e);

/*
 * Trace points of a main channel: on the way out with the result of opening it and, if that
 * is an error, its text; on the way in when it is open. @ioc is for the line only.
 */
void channel_trace_outgoing(const struct channel *c, const void *ioc, int r, const struct err *e);
void channel_trace_incoming(const struct channel *c, const void *ioc);

/* The address as a URI, for messages. @n bytes of @buf are enough at 4200. */
const char *channel_text(const struct channel *c, char *buf, size_t n);

#endif
