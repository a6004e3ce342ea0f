/* SPDX-License-Identifier: MIT */
/* What the kinds of character devices share; for src/host/chardev*.c only. */
#ifndef HOST_CHARDEV_IMPL_H
#define HOST_CHARDEV_IMPL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "host/chardev.h"
#include "host/loop.h"

/*
 * A kind of back end. Members are optional unless said otherwise; all but write() run on
 * the loop's thread.
 */
struct chardev_ops {
	/* read(2) by default. */
	ssize_t (*read)(struct chardev *c, void *p, size_t n);
	/* Never waits: -1 and EAGAIN. poll(2) and write(2) by default. Any thread. */
	ssize_t (*write)(struct chardev *c, const void *p, size_t n);
	/* Takes out what is not for the front end; returns how many bytes are left. */
	size_t (*filter)(struct chardev *c, uint8_t *p, size_t n);
	/*
	 * The peer has gone, and its descriptor @fd is not used any more; what becomes of it is
	 * for this function. Without it the input has ended for good.
	 */
	void (*gone)(struct chardev *c, int fd);
	/* Of sockets: the peer has gone, and there is nothing to read any more. */
	bool (*has_ended)(const struct chardev *c);
	/* Of sockets: a peer who came otherwise; @fd is taken over. */
	void (*take_peer)(struct chardev *c, int fd);
	/* Waits for what the kind itself wants to know now, such as the next client. */
	void (*update)(struct chardev *c);
	void (*suspend)(struct chardev *c, bool suspend);
	/* Fills in what the next image needs, beside `peer` and `escaped`. */
	void (*give)(const struct chardev *c, struct chardev_given *out);
	/*
	 * Frees c->own and closes in_fd and out_fd where they are the kind's. What a held device
	 * has is another image's or process's too, and no file of it is removed.
	 */
	void (*close)(struct chardev *c);
};

/* Takes all and says nothing. */
extern const struct chardev_ops chardev_null_ops;

struct chardev {
	struct loop *loop;                 /* [c]                                        */
	char *name;                        /* [c] set by the kind                        */
	const struct chardev_ops *ops;     /* [c]                                        */
	void *own;                         /* [c] the kind's                             */
	const struct chardev_front *front; /* [m] NULL: not attached                     */
	void *opaque;
	int in_fd;                  /* -1: nothing to read from                          */
	int out_fd;                 /* -1: bytes are dropped                             */
	bool duplex;                /* [c] both are one descriptor, of a peer that may go */
	bool tty;                   /* [c] input is typed                                */
	bool in_ended;              /* [m] nothing more will come                        */
	bool in_waiting;            /* [m] the loop tells when bytes come                */
	bool in_unpollable;         /* [m] a regular file: always readable               */
	bool out_blocked;           /* [m] the front end waits for writable()            */
	bool out_broken;            /* [m] reported; bytes are dropped                   */
	bool hung_up;               /* [m] the peer has gone, and left bytes             */
	struct loop_fd in_watch;    /* [l] also output, if duplex                        */
	struct loop_fd out_watch;   /* [l]                                               */
	struct loop_work work;      /* chardev_update()                                  */
	bool escaped;               /* [l] the last byte was the escape                  */
	bool stalled;               /* [l] the front end had no room for long            */
	bool held;                  /* [m] see chardev_release()                         */
	struct loop_timer stall;    /* [l]                                               */
	struct loop_timer again;    /* [l] chardev_update(), after a watch that failed   */
	void (*quit)(void *opaque); /* [c]                                               */
	void *quit_opaque;
};

/* Each opens its kind: sets ops, own, name and what else there is; @c is zero but for the loop. */
int chardev_open_null(struct chardev *c, const struct chardev_config *config, struct err *e);
int chardev_open_file(struct chardev *c, const struct chardev_config *config, struct err *e);
int chardev_open_stdio(struct chardev *c, const struct chardev_config *config, struct err *e);
int chardev_open_pty(struct chardev *c, const struct chardev_config *config, struct err *e);
int chardev_open_socket(struct chardev *c, const struct chardev_config *config, struct err *e);

/* Names the device; -ENOMEM. */
int chardev_set_name(struct chardev *c, struct err *e, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* A peer is there at @fd, both ways. Before chardev_attach() or on the loop's thread. */
void chardev_set_peer(struct chardev *c, int fd);

/* Makes the loop wait for exactly what can be used now. The loop's thread. */
void chardev_update(struct chardev *c);

/* Waits for @events of @fd, none meaning not at all; false if it cannot be waited for. */
bool chardev_watch(struct chardev *c, struct loop_fd *w, int fd, uint32_t events,
		   void (*ready)(void *, uint32_t));

/* Gives the front end descriptors that came, or closes them. */
void chardev_pass(struct chardev *c, const int *fds, size_t n);

#endif
