/* SPDX-License-Identifier: MIT */
/* The main stream with the guest's memory in it: written and read piece by piece. */
#ifndef STATE_STREAM_RAM_H
#define STATE_STREAM_RAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/err.h"
#include "state/snapshot.h"

/* What has gone through so far; another thread may look at it any time. */
struct stream_progress {
	_Atomic uint64_t bytes;        /* of the stream                  */
	_Atomic uint64_t pages_normal; /* with their contents            */
	_Atomic uint64_t pages_zero;   /* as a mark only                 */
	_Atomic uint64_t pages_left;   /* not written or read yet        */
};

/* Where a stream goes to. */
struct stream_sink {
	/* Writes all @n pieces, or fails. They may be changed. */
	int (*writev)(void *opaque, struct iovec *iov, int n, struct err *e);
	/*
	 * The first byte of @ram at or after @offset that may be other than zero, and in
	 * *@end where that run ends; @ram->size if there is none. So memory that was never
	 * touched is not touched now. NULL: all of it may be.
	 */
	uint64_t (*next_data)(void *opaque, const struct snapshot_ram *ram, uint64_t offset,
			      uint64_t *end);
	void *opaque;
};

/* Where a stream comes from. */
struct stream_source {
	/* Reads up to @room bytes; *@got is 0 at the end only. */
	int (*read)(void *opaque, void *p, size_t room, size_t *got, struct err *e);
	void *opaque;
};

/*
 * Writes the filled items of @s and, of all blocks that are not in place, every page.
 * The guest must be stopped. Takes a fixed amount of memory. @p starts zeroed.
 */
int stream_write(const struct snapshot *s, const struct stream_sink *sink,
		 struct stream_progress *p, struct err *e);

/*
 * Reads such a stream up to its end. Pages are put in place as they come; the
 * items are complete and verified, as by stream_decode(), when this returns 0. After a
 * failure the memory of the blocks that are not in place holds anything.
 */
int stream_read(struct snapshot *s, const struct stream_source *source, struct stream_progress *p,
		struct err *e);

#endif
