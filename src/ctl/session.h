/* SPDX-License-Identifier: MIT */
/* The bytes of a monitor connection: input that waits, output that was not taken yet. */
#ifndef CTL_SESSION_H
#define CTL_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "ctl/fd_store.h"
#include "host/chardev.h"

/* With more unsent output than this no further input is taken or handled. */
#define SESSION_MAX_UNSENT ((size_t)1 << 20)

struct session;

struct session_ops {
	/* A peer has come (everything of an earlier one is forgotten) or gone. */
	void (*connected)(void *opaque, bool yes);
	/*
	 * Handles at most one request of the @n > 0 bytes at @p and says how many bytes
	 * it took. False: input has to wait for session_resume().
	 */
	bool (*process)(void *opaque, const void *p, size_t n, size_t *used);
};

struct session {
	struct chardev *chr; /* not owned                                               */
	const struct session_ops *ops;
	void *opaque;
	struct fd_store fds; /* what the peer has sent                               */
	bool connected;
	struct buf in;  /* received, not handled                                   */
	struct buf out; /* to be sent, from out_pos                                */
	size_t out_pos;
	bool busy;           /* process() runs; it does not call itself                 */
	bool stalled;        /* room() said 0, the back end waits to be told            */
	uint64_t generation; /* counts peers coming and going                           */
};

/*
 * Attaches to @chr, which outlives the session; connected(true) may come from
 * here. Main loop's thread, as all here.
 */
void session_start(struct session *s, struct chardev *chr, const struct session_ops *ops,
		   void *opaque);
/* Sends what the host takes at once and frees the buffers. */
void session_stop(struct session *s);

/* Queues bytes and sends what the host takes at once. */
void session_put(struct session *s, const void *p, size_t n);
size_t session_unsent(const struct session *s);
/* Goes on with input that process() had left. */
void session_resume(struct session *s);

#endif
