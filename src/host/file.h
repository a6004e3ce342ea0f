/* SPDX-License-Identifier: MIT */
/* Files: images the guest boots from, and the files a state is written to. */
#ifndef HOST_FILE_H
#define HOST_FILE_H

#include <stdbool.h>
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
 * Opens @path for writing a state, created with mode 0600 if missing, which *@created says.
 * What is there is kept until file_begin(). Never waits: a FIFO without a reader is an
 * error. Returns the descriptor.
 */
int file_create(const char *path, bool *created, struct err *e);
/* Whether @path is still the file behind @fd: what is written there will be found by that name. */
int file_check_name(int fd, const char *path, struct err *e);
/* Cuts the file off at @offset, where the state is to begin. No matter for what is no file. */
int file_begin(int fd, const char *path, uint64_t offset, struct err *e);
/*
 * Undoes file_begin() after a failure: cuts the file off again, or removes it if it was
 * @created here.
 */
void file_discard(int fd, const char *path, uint64_t offset, bool created);

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
