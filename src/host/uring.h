/* SPDX-License-Identifier: MIT */
/* Asynchronous file I/O by io_uring, its completions on the event loop. */
#ifndef HOST_URING_H
#define HOST_URING_H

/*
 * DOC: theory of operation
 *
 * Operations are put together during a round of the event loop and submitted by one system call
 * before it waits. The loop watches the ring itself, which is readable while there are
 * completions.
 *
 * The ring is created when the first operation is submitted, not before: an image that
 * takes a guest over in the pause of an exec makes none in it, and one that may yet give the guest
 * back has nothing in flight. So each image has a ring of its own, and what an update needs is that
 * the old one's is empty, which whoever owns the operations waits for (uring_wait()).
 *
 * Where the kernel does not let this process use io_uring (kernel.io_uring_disabled, a seccomp
 * filter of a container, locked memory on old kernels), operations are carried out one
 * by one in the loop, at the same point of the round, and the log says so once.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/err.h"
#include "base/list.h"
#include "host/loop.h"

struct uring;

/* Who has operations under way; is told after each batch of completions with some of its own. */
struct uring_user {
	struct list link;
	bool touched;
	void (*batch_done)(void *opaque);
	void *opaque;
};

enum uring_kind {
	URING_NOP,
	URING_READV,
	URING_WRITEV,
	URING_FDATASYNC,
	URING_FALLOCATE, /* @flags: mode, @offset, @length */
};

/* One operation, embedded in its user's struct, which outlives it. */
struct uring_op {
	enum uring_kind kind;
	int fd;
	uint64_t offset, length;
	const struct iovec *iov; /* of at most IOV_MAX entries; stays until done() */
	unsigned int nr_iov;
	uint32_t flags; /* RWF_* of a write, mode of fallocate */
	bool blocks;    /* the file system would make the submitter wait, whatever it promises */
	struct uring_user *user;
	/* @result: what the system call would have returned, or -errno. Machine lock. */
	void (*done)(struct uring_op *op, int64_t result);
	struct list link; /* private */
};

/* Costs nothing yet, see above. The loop outlives it. */
int uring_create(struct uring **out, struct loop *loop, struct err *e);
/* Nothing is in flight. NULL is allowed. */
void uring_destroy(struct uring *u);

void uring_user_init(struct uring_user *user, void (*batch_done)(void *opaque), void *opaque);

/* Queues @op. The loop's thread. done() is never called before this returns. */
void uring_queue(struct uring *u, struct uring_op *op);
/*
 * Submits what is queued and handles completions, waiting for one until @deadline_ns
 * (clock_boottime_ns(); UINT64_MAX: no limit). False if there was none until then. Any
 * thread with the machine lock.
 */
bool uring_wait(struct uring *u, uint64_t deadline_ns);
/* Operations queued or in flight. */
unsigned int uring_in_flight(const struct uring *u);
/* For tests: operations are carried out in the loop, as where io_uring is not permitted. */
void uring_make_synchronous(struct uring *u);

#endif
