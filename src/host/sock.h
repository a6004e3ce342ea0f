/* SPDX-License-Identifier: MIT */
/* Sockets, and messages that carry descriptors. */
#ifndef HOST_SOCK_H
#define HOST_SOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

/*
 * Listening sockets. A UNIX socket is made with mode 0600; a path left over by a process
 * that is gone is replaced, one that somebody listens at is not. The caller unlinks the
 * path. A host's name may take RESOLVE_MS to look up. Returns the descriptor, close-on-exec,
 * owned by the caller; so do the next ones.
 */
int sock_listen_unix(const char *path, struct err *e);
int sock_listen_inet(const char *host, const char *port, struct err *e);

/* Connect, blocking: to a TCP address for as long as the kernel tries. */
int sock_connect_unix(const char *path, struct err *e);
int sock_connect_inet(const char *host, const char *port, struct err *e);

/* Accepts one connection, blocking unless @fd is non-blocking (-EAGAIN). */
int sock_accept(int fd, struct err *e);

/* Checks that @fd is a listening socket, or one with a peer. */
int sock_check_listening(int fd, struct err *e);
int sock_check_connected(int fd, struct err *e);
/* Whether @fd is a UNIX socket, which can pass descriptors. */
bool sock_is_unix(int fd);
/* The port number that TCP socket @fd is bound to, as text of less than @n bytes. */
int sock_get_port(int fd, char *port, size_t n, struct err *e);

/* The process and effective user at the other end of a UNIX socket when it was connected. */
int sock_peer(int fd, pid_t *pid, uid_t *uid, struct err *e);

/* Bytes (or the end) can be read without waiting. */
bool sock_has_input(int fd);

/* Whether read and write wait. */
void sock_set_blocking(int fd, int blocking);
/* No waiting for more bytes before sending; no matter for a UNIX socket. */
void sock_set_nodelay(int fd);
/* Ends the connection, both ways; what the peer has sent can still be read. */
void sock_shutdown(int fd);

/*
 * Sends all @n bytes, waiting at most until @deadline_ns (CLOCK_BOOTTIME) for room;
 * @pass_fd, if >= 0, goes along with the first byte and stays the caller's. -ETIMEDOUT, or
 * the socket's error.
 */
int sock_send_all(int fd, const void *p, size_t n, int pass_fd, uint64_t deadline_ns,
		  struct err *e);

/*
 * Receives exactly @n bytes likewise; a descriptor that comes along is put in *@got_fd,
 * close-on-exec and the caller's, also on failure. It was -1 before or holds one already: a
 * second one is refused. -ECONNRESET if the peer closes first.
 */
int sock_recv_all(int fd, void *p, size_t n, int *got_fd, uint64_t deadline_ns, struct err *e);

#endif
