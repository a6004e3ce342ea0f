/* SPDX-License-Identifier: MIT */
/* Files: images the guest boots from, and the files a state is written to. */
#ifndef HOST_FILE_H
#define HOST_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/*
 * Opens the regular file @path for reading, close-on-exec. The caller owns the
 * descriptor. Never blocks: a FIFO, a device or a directory is refused by name.
 */
int file_open_ro(const char *path, int *fd, struct err *e);

/* The size in bytes now. @path is for the error text only, here and below. */
int file_size(int fd, const char *path, uint64_t *size, struct err *e);

/*
 * Reads exactly @n bytes at @offset. -ENODATA if the file ends before that; the
 * bytes at @p are then undefined. Leaves the file position alone. Any thread.
 */
int file_read_at(int fd, const char *path, uint64_t offset, void *p, size_t n, struct err *e);

/*
 * Opens @path for writing a state at @offset: created with mode 0600 if missing,
 * cut off at @offset, what is before it kept. Returns the descriptor.
 */
int file_create(const char *path, uint64_t offset, struct err *e);

/*
 * Undoes that after a failure: cuts the file off at @offset, or removes it if nothing was
 * before. What is no regular file is left alone.
 */
void file_discard(int fd, const char *path, uint64_t offset);

/*
 * Opens @path for lines to be appended, close-on-exec: a log. Made if missing, what is there
 * stays. Neither this nor writing to it blocks, should it be a pipe. Returns the descriptor.
 */
int file_open_log(const char *path, struct err *e);

/* Writes all @n bytes at @offset. */
int file_write_at(int fd, const char *path, uint64_t offset, const void *p, size_t n,
		  struct err *e);

/* A memory file with these bytes, close-on-exec. Returns the descriptor. */
int file_create_memfd(const char *name, const void *p, size_t n, struct err *e);

#endif
