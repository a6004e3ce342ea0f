/* SPDX-License-Identifier: MIT */
/* Connecting to a socket without waiting for the answer. */
#ifndef HOST_DIAL_H
#define HOST_DIAL_H

#include <stdbool.h>

#include "base/err.h"

struct dial;

/*
 * Notes where to connect to. A host's name is looked up here, once, which may take
 * RESOLVE_MS; an empty one is this host. The caller owns the result. Any thread, as all here.
 */
int dial_create_unix(struct dial **out, const char *path, bool abstract, struct err *e);
int dial_create_inet(struct dial **out, const char *host, const char *port, struct err *e);
/* NULL is allowed. */
void dial_destroy(struct dial *d);

/*
 * Begins an attempt. Returns a descriptor that does not wait, close-on-exec and the caller's;
 * *@pending says that it becomes writable when the outcome is known.
 */
int dial_start(struct dial *d, bool *pending, struct err *e);

/*
 * The outcome of *@fd: 0 if it is connected. Otherwise *@fd is closed and the next address of
 * the host tried: -EINPROGRESS, without a text, if *@fd is to be waited for again; else
 * *@fd is -1.
 */
int dial_finish(struct dial *d, int *fd, struct err *e);

/* dial_start() and dial_finish() with waiting, at most @timeout_ms. */
int dial_wait(struct dial *d, int timeout_ms, struct err *e);

/* Listens at the abstract UNIX name; returns the descriptor, close-on-exec. */
int dial_listen_abstract(const char *name, struct err *e);

#endif
