/* SPDX-License-Identifier: MIT */
/* Character device back ends: where the bytes of a serial port or a monitor go and come from. */
#ifndef HOST_CHARDEV_H
#define HOST_CHARDEV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "host/loop.h"

/* So many descriptors may come along with one message of a peer; more are closed. */
#define CHARDEV_MAX_PASSED 16
/* Special characters of a terminal. */
#define CHARDEV_TTY_CC 32

struct chardev;

enum chardev_kind {
	CHARDEV_NULL,
	CHARDEV_STDIO,
	CHARDEV_FILE,
	CHARDEV_PTY,
	CHARDEV_UNIX,
	CHARDEV_TCP,
	CHARDEV_FD, /* a socket this process was started with */
};

/* A terminal's settings, in the kernel's numbers. */
struct chardev_tty {
	uint32_t iflag, oflag, cflag, lflag;
	uint8_t cc[CHARDEV_TTY_CC];
};

/*
 * An open device as one image of this program gives it to the next: chardev_get_given() lends
 * the descriptors, chardev_open() takes over those of its config. -1: there is none.
 */
struct chardev_given {
	int listen_fd; /* a server's                                          */
	int peer_fd;   /* of a socket: who is connected; not of CHARDEV_FD's client */
	int own_fd;    /* the open file, or a pseudo-terminal's master        */
	bool peer;     /* somebody is there                                   */
	bool later;    /* of a socket: who is connected comes with chardev_take_peer() */
	bool escaped;  /* of a terminal: the escape key was the last one      */
	char path[64]; /* of a pseudo-terminal                                */
	bool has_file; /* a server's socket file, which is removed at the end */
	uint64_t file_dev, file_ino;
	bool has_tty; /* stdio is a terminal, with these settings at first   */
	struct chardev_tty tty;
};

/* What to open. Members that a kind has no use for are ignored. */
struct chardev_config {
	enum chardev_kind kind;
	char path[4096];       /* file, unix                                               */
	char host[256];        /* tcp; empty: all addresses, or this host                   */
	char port[32];         /* tcp                                                      */
	int fd;                /* CHARDEV_FD; taken over, and left open in the next program */
	bool append;           /* file: what is there is kept                              */
	bool abstract;         /* unix: a name without a file                              */
	bool server;           /* sockets: listen instead of connecting                    */
	bool wait;             /* server: chardev_open() waits for the first client         */
	bool delay;            /* tcp: small writes may be held back                       */
	bool signals;          /* stdio: Ctrl-C and Ctrl-\ of a terminal are signals         */
	uint32_t reconnect_ms; /* client: tries again so long after each end, for ever; 0: no */
	uint32_t retry_ms;     /* client: how long the first connection may be refused       */
	/* Goes on with these descriptors, which are taken over, also on failure. NULL: opens. */
	struct chardev_given *given;
	bool held; /* nothing is read, written or accepted before chardev_release()          */
};

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
	/* The device was held until now; NULL: no matter. */
	void (*released)(void *opaque);
	/*
	 * Descriptors that came with the bytes that receive() gets next; the front end owns
	 * them, they are close-on-exec. n <= CHARDEV_MAX_PASSED. NULL: they are closed.
	 */
	void (*passed)(void *opaque, const int *fds, size_t n);
	/* connected(false) also comes while there is no room, if a socket has nothing more to read. */
	bool hears_hangup;
	/* Bytes that wait behind output which a peer left unread when it went are dropped. */
	bool drops_unanswered;
};

/*
 * Opens what @config says. Main thread. The caller owns the result.
 *
 * A file is truncated unless appended to. A server socket has one client at a time, a later
 * one waits its turn. A client socket connects before this returns, or else fails; with
 * reconnect_ms or retry_ms it does not wait but goes on trying on the loop. Host names are
 * looked up once, here. What is given, see @config, is neither opened nor waited for. A terminal on standard input is put in raw mode and restored by
 * chardev_close() and at exit; there the escape Ctrl-a x calls @quit (may be NULL), Ctrl-a
 * Ctrl-a sends one Ctrl-a. stdio is for one character device at a time.
 */
int chardev_open(struct chardev **out, struct loop *loop, const struct chardev_config *config,
		 void (*quit)(void *opaque), void *quit_opaque, struct err *e);
/*
 * What the next image needs to go on with @c. A client that is just being connected is not
 * among it: the next image connects anew.
 */
void chardev_get_given(const struct chardev *c, struct chardev_given *out);
/* Closes what is left in it. */
void chardev_close_given(struct chardev_given *given);
/*
 * The peer of a socket that was opened held, from another process; @fd is taken over. Before
 * chardev_release(), on the loop's thread, as the next ones.
 */
void chardev_take_peer(struct chardev *c, int fd);
/* Lets a device that was opened held go on; no matter for another one. */
void chardev_release(struct chardev *c);
bool chardev_is_held(const struct chardev *c);
/* Ends the connection to a socket's peer, if there is one. */
void chardev_disconnect(struct chardev *c);
/*
 * Another process has what chardev_get_given() lent: it is closed here, socket files stay, and
 * @c leads nowhere from now on.
 */
void chardev_let_go(struct chardev *c);

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

/* What it is, e.g. `unix:/run/vm.sock,server=on` or `pty:/dev/pts/3`; owned by @c. */
const char *chardev_name(const struct chardev *c);
/* A peer is there. What needs none, such as a file, is always connected. */
bool chardev_is_connected(const struct chardev *c);
/* A front end is attached. */
bool chardev_has_front(const struct chardev *c);

/* Puts the terminal's own mode back, or raw mode again; no matter for anything else. */
void chardev_suspend_tty(struct chardev *c, bool suspend);

/* Input comes from a terminal in raw mode: what is typed shows only if it is echoed. */
bool chardev_is_tty(const struct chardev *c);
/* It is the terminal this process was started on, of which TERM tells the kind. */
bool chardev_is_stdio(const struct chardev *c);
/* The size of its window in characters; 0 if it does not say. For a terminal only. */
void chardev_tty_size(const struct chardev *c, unsigned int *columns, unsigned int *rows);

#endif
