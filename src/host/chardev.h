/* SPDX-License-Identifier: MIT */
/* Character device back ends: where the bytes of a serial port go and come from. */
#ifndef HOST_CHARDEV_H
#define HOST_CHARDEV_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "host/loop.h"

struct chardev;

/*
 * The front end, i.e. the device. A back end keeps no bytes of its own, so none
 * can be lost in an update: it reads no more than @room allows and takes no more
 * than the host accepts at once.
 */
struct chardev_front {
	size_t (*room)(void *opaque);                           /* bytes receive() would take now */
	void (*receive)(void *opaque, const void *p, size_t n); /* n <= room()                   */
	void (*writable)(void *opaque);                         /* a short write may be repeated  */
	/* A peer has connected or gone; NULL: no matter. stdio is connected from the start. */
	void (*connected)(void *opaque, bool yes);
};

/*
 * Opens the back end that @spec names: `null`, `none`, `stdio`, `file:PATH` (truncated
 * unless `,append=on`), `unix:PATH[,server=on|off][,wait=on|off]` or `tcp:HOST:PORT[,...]`
 * likewise (server: one client at a time, a later one waits its turn; wait=on blocks until
 * the first is there). Main thread. The caller owns the result. A terminal on standard
 * input is put in raw mode and restored by chardev_close() and at exit; there the escape
 * Ctrl-a x calls @quit (may be NULL), Ctrl-a Ctrl-a sends one Ctrl-a.
 */
int chardev_open(struct chardev **out, struct loop *loop, const char *spec,
		 void (*quit)(void *opaque), void *quit_opaque, struct err *e);
/* Flushes nothing (there is nothing), closes and frees; NULL is allowed. */
void chardev_close(struct chardev *c);

/*
 * Connects the front end; one per back end, NULL takes it off. @front and @opaque are not
 * owned. Callbacks come on the loop's thread, with its lock; connected(true) is called from
 * here if a peer is there already. After end of file on standard input of stdio
 * connected(false) is called and writing goes on.
 */
void chardev_attach(struct chardev *c, const struct chardev_front *front, void *opaque);

/*
 * Writes up to @n bytes without blocking and returns how many went; fewer than @n
 * means the front end's writable() will be called when more may. With no peer
 * connected bytes are accepted and dropped, as a serial line does; so they are after the
 * peer of stdio has closed its end. Any thread, with the loop's lock held.
 */
size_t chardev_write(struct chardev *c, const void *p, size_t n);

/* The front end has room again after room() was 0. Any thread, with the loop's lock held. */
void chardev_accept_input(struct chardev *c);

/* What it is, e.g. `unix:/run/vm.sock,server=on`; owned by @c. */
const char *chardev_name(const struct chardev *c);

/* Puts the terminal's own mode back, or raw mode again; no matter for anything else. */
void chardev_suspend_tty(struct chardev *c, bool suspend);

/* Input comes from a terminal in raw mode: what is typed shows only if it is echoed. */
bool chardev_is_tty(const struct chardev *c);

#endif
