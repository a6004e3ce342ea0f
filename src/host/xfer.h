/* SPDX-License-Identifier: MIT */
/* Moving many bytes to or from a file, socket or pipe on a thread of its own. */
#ifndef HOST_XFER_H
#define HOST_XFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "base/err.h"

/*
 * A descriptor that ends a transfer: once xfer_cancel() was called on it, all that wait
 * below return -ECANCELED. Owned by the caller.
 */
int xfer_cancel_create(struct err *e);
void xfer_cancel(int cancel_fd);

enum {
	XFER_NO_LIMIT = -1 /* for a limit in milliseconds */
};

/*
 * Writes all @n pieces to @fd, which is made non-blocking unless it is a regular file, from
 * its position on. @iov is changed. @what names it in errors. -ETIMEDOUT if no byte could be
 * written for @stall_ms. Any thread.
 */
int xfer_writev(int fd, int cancel_fd, int stall_ms, struct iovec *iov, int n, const char *what,
		struct err *e);
/* Reads up to @room bytes, waiting for ever; *@got is 0 at the end only. Likewise. */
int xfer_read(int fd, int cancel_fd, void *p, size_t room, size_t *got, const char *what,
	      struct err *e);

/* Sets the position of a file; fails for what has none. */
int xfer_seek(int fd, uint64_t offset, const char *what, struct err *e);
/* The bytes are on the disk when it returns; no matter for what is no file. */
int xfer_sync(int fd, const char *what, struct err *e);
/* No more bytes will be written; a reader at the other end sees the end. For sockets. */
void xfer_end(int fd);

/*
 * Runs the program @argv[0] (searched in PATH) with its standard input (@to_child) or output
 * connected to *@fd, which the caller owns; no other descriptor of ours but standard ones
 * is open in it. It leads a process group of its own. Returns the process id, to be given
 * to xfer_wait_child() once.
 */
pid_t xfer_spawn(char *const *argv, bool to_child, int *fd, struct err *e);
/*
 * Runs the program @argv[0] (searched in PATH) with environment @envp. Of our descriptors the standard ones
 * and @fds are open in it, under their numbers. Likewise.
 */
pid_t xfer_spawn_with(char *const *argv, char *const *envp, const int *fds, size_t n,
		      struct err *e);
/* A pipe: returns the end to read from, and puts the other in *@to_write. The caller's, both. */
int xfer_pipe(int *to_write, struct err *e);
/* Whether @fd is an end of a pipe that can be written to. */
bool xfer_is_pipe(int fd);
/* What is in a pipe by now, up to @room bytes: returns how many. */
size_t xfer_take(int fd, void *p, size_t room);
/* Kills the group of such a child that has not been waited for, and what it has started with it. */
void xfer_kill_group(pid_t pid);
/*
 * Kills it too, and waits for 0.1 s. False: it sleeps in the kernel and cannot end now; process_reap()
 * takes it off later.
 */
bool xfer_kill_child(pid_t pid);
/*
 * Waits until the child has ended; kills it and its group after a cancel (-ECANCELED) or
 * @limit_ms (-ETIMEDOUT). Fails unless it ended with status 0. @what names it.
 */
int xfer_wait_child(pid_t pid, int cancel_fd, int limit_ms, const char *what, struct err *e);

#endif
