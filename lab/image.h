/* SPDX-License-Identifier: MIT */
/* The guest's disk as others on the host see it: locked while the guest lives, whole afterwards. */
#ifndef LAB_IMAGE_H
#define LAB_IMAGE_H

#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

/* A process that tries to lock the image all the time, as a second user of it would. */
struct opener {
	pid_t pid; /* 0: none */
	struct opener_counts *counts;
};

/* Shared with that process. */
struct opener_counts {
	_Atomic uint64_t tries, successes, errors;
};

/* One try, without a process: 0 if the image could be locked, -EAGAIN if others have it. */
int image_try_lock(const char *path, struct err *e);

int opener_start(struct opener *o, const char *path, struct err *e);
/* Ends the process; the counts stay readable until opener_free(). */
void opener_stop(struct opener *o);
void opener_free(struct opener *o);

/*
 * What e2fsck says of the file system that begins at that byte, without changing it: 0 if it is
 * clean.
 */
int image_check_fs(const char *path, int offset, struct err *e);

/*
 * Take the guest's files out of the image into a directory below @dir and verify them with the
 * program guestload: how many there were, and the sum of their generations.
 */
int image_check_files(const char *path, int offset, const char *guestload, const char *dir,
		      uint64_t *files, uint64_t *bad, uint64_t *sum, struct err *e);

#endif
