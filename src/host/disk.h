/* SPDX-License-Identifier: MIT */
/* Images of disks: raw files and block devices, with their locks, read and written asynchronously. */
#ifndef HOST_DISK_H
#define HOST_DISK_H

/*
 * DOC: theory of operation
 *
 * A disk is an open file. Its size is fixed when it is opened, in units of 512 bytes, the last one
 * filled up with zeros; a file that becomes shorter later gives errors to who reads what is
 * gone, and cannot be handed over in an update.
 *
 * Locks. QEMU guards images by open-file-description locks on single bytes, one for each kind of use,
 * and so does this: byte 100 + n is locked, shared, by who needs permission n, byte 200 + n by who
 * does not let others have it. After locking, the opposite bytes are looked at. So whoever
 * comes second finds the first. The locks belong to the open file: they go along
 * with the descriptor, into another program or process, and end with its last duplicate.
 *
 * Requests are the device's, with the guest's memory in place as far as the file allows: with
 * O_DIRECT memory may have to be aligned, and what is not goes through a buffer.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/err.h"
#include "host/uring.h"

enum {
	DISK_SECTOR = 512,
	DISK_PATH_MAX = 4096,
	DISK_NAME_MAX = 64,
	DISK_SERIAL_MAX = 21, /* with the NUL */
};

enum disk_locking {
	DISK_LOCK_AUTO, /* where the file system can */
	DISK_LOCK_ON,
	DISK_LOCK_OFF,
};

/* What a device does about an error of the host, unless it is told itself. */
enum disk_on_error {
	DISK_ERROR_AUTO, /* report; for writes: enospc                 */
	DISK_ERROR_REPORT,
	DISK_ERROR_IGNORE,
	DISK_ERROR_ENOSPC, /* stop if there is no space, else report     */
	DISK_ERROR_STOP,
};

/* What can be locked; the numbers are ours. */
enum disk_lock_bit {
	DISK_LOCK_READ = 1 << 0,     /* reads, and relies on what it reads */
	DISK_LOCK_WRITE = 1 << 1,    /* writes                             */
	DISK_LOCK_NO_WRITE = 1 << 2, /* lets nobody else write             */
};

/* The file must be of that kind. */
enum disk_driver {
	DISK_ANY,
	DISK_FILE,
	DISK_DEVICE,
};

struct disk_config {
	char name[DISK_NAME_MAX]; /* for messages */
	char path[DISK_PATH_MAX];
	enum disk_driver driver;
	bool read_only;
	bool auto_read_only;  /* read-only if it cannot be written                */
	bool direct;          /* O_DIRECT                                        */
	bool no_flush;        /* the guest's flushes do nothing (cache=unsafe)    */
	bool writethrough;    /* what devices on it begin with: each write is flushed */
	bool unmap;           /* discard=unmap                                   */
	bool share;           /* force-share: others may write; read-only         */
	bool any_name;        /* a given file counts, whatever is at its path by now      */
	bool format_is_known; /* format=raw was said: nothing else is looked for  */
	enum disk_locking locking;
	enum disk_on_error rerror, werror;
	char serial[DISK_SERIAL_MAX];
};

struct disk {
	struct disk_config config;    /* [c] but as disk_open() says                          */
	int fd;                       /* [c] owned                                            */
	bool is_device;               /* [c] a block device                                   */
	bool blocks;                  /* [c] on a file system whose submitters wait           */
	uint64_t bytes;               /* [m] as promised; a multiple of DISK_SECTOR            */
	uint32_t logical_block;       /* [c] of the host's device; 512 for files               */
	uint32_t physical_block;      /* [c]                                                  */
	uint32_t align;               /* [c] of offsets and lengths: 1 without O_DIRECT        */
	uint32_t align_memory;        /* [c] likewise                                         */
	uint32_t locks;               /* [m] enum disk_lock_bit: what is locked             */
	bool lacks_zero, lacks_punch; /* [m] what fallocate() cannot do here               */
	/* [c] Given open: its locks are another owner's too, until the guest runs here. */
	bool inherited;
	struct uring *uring; /* [c] not owned */
	struct uring_user user;
	unsigned int in_flight; /* [m] requests */
	bool failed, no_space;  /* [m] the guest was stopped for an error, of what kind */
	const struct disk_front *front;
	void *opaque;
};

/* Who uses a disk. Machine lock. */
struct disk_front {
	void (*batch_done)(void *opaque); /* after a batch of completions, some of them its own */
	void (*resized)(void *opaque);    /* disk.bytes has changed                             */
};

/*
 * Opens the image. With @fd >= 0, which is taken over on success, that is the open file, of an
 * earlier owner: it is checked to be what @config says, and nothing of it is changed, locks
 * included. Does not lock. -EMEDIUMTYPE for an image in another format than raw, with the cure.
 */
int disk_open(struct disk *d, const struct disk_config *config, int fd, struct uring *u,
	      struct err *e);
/* Nothing is in flight. */
void disk_close(struct disk *d);

/*
 * Takes the locks for reading and, unless it is read-only, writing; with @share_write others may
 * write too. What is locked already and not needed any more is unlocked. -EAGAIN if others stand
 * in the way, with the kind of use, and nothing has changed; -EOPNOTSUPP if they cannot be had, with
 * locking=on.
 */
int disk_lock(struct disk *d, bool share_write, struct err *e);
/* The locks disk_lock() would take, as in disk.locks; 0 with locking=off. */
uint32_t disk_wanted_locks(const struct disk *d, bool share_write);

/* Bytes it occupies on the host; 0 for a device. */
uint64_t disk_allocated(const struct disk *d);
/* -ENODATA with both sizes if the image is shorter than was promised. */
int disk_check_size(const struct disk *d, struct err *e);
/*
 * Makes it @bytes long, in the file too if it is one, and tells who uses it; a multiple of
 * DISK_SECTOR. Requests beyond a new end that are in flight fail, or make the file longer again.
 */
int disk_resize(struct disk *d, uint64_t bytes, struct err *e);

enum disk_op {
	DISK_READ,
	DISK_WRITE,
	DISK_FLUSH,
	DISK_DISCARD,
	DISK_ZERO,
};

/* One request, embedded in its user's struct, which outlives it. */
struct disk_request {
	enum disk_op op;
	uint64_t offset, bytes;
	struct iovec *iov; /* changed on the way; reads and writes: of @bytes together */
	unsigned int nr_iov;
	bool unmap; /* DISK_ZERO: blocks need not stay allocated */
	bool sync;  /* done() means that it is on stable storage */
	/* 0 or -errno. Machine lock; never before disk_submit() returns. */
	void (*done)(struct disk_request *r, int result);
	/* private */
	struct disk *disk;
	struct uring_op io;
	uint64_t finished; /* bytes */
	int error;
	void *buffer; /* in place of memory that is not aligned; owned */
	struct iovec piece;
	uint8_t attempt;
	bool syncing;
};

/* Starts @r. Whatever is wrong with it is told by done(). */
void disk_submit(struct disk *d, struct disk_request *r);
/* Who is told from now on; NULL: nobody. */
void disk_attach(struct disk *d, const struct disk_front *front, void *opaque);
/* Waits until nothing is in flight; -ETIMEDOUT with what is. Machine lock, any thread. */
int disk_drain(struct disk *d, uint64_t deadline_ns, struct err *e);

#endif
