/* SPDX-License-Identifier: MIT */
/* Memory of the host: shared memory objects, files and their mappings. */
#ifndef HOST_MEM_H
#define HOST_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/*
 * A new shared memory object of @size zero bytes that nobody can resize
 * (sealed). @name shows as memfd:NAME in /proc. Returns its descriptor, owned
 * by the caller.
 */
int mem_create_memfd(const char *name, uint64_t size, struct err *e);

/*
 * Opens @path (created with mode 0600 if missing; a directory gets an unlinked
 * file in it) and makes sure that it has @size bytes: an empty file is grown, a
 * smaller one is refused. Returns the descriptor.
 */
int mem_open_file(const char *path, uint64_t size, struct err *e);

/* Fails unless @fd has at least @size bytes. @what names it in the message. */
int mem_check_size(int fd, uint64_t size, const char *what, struct err *e);

/* Maps [0, size) of @fd for reading and writing. mem_unmap() undoes it. */
int mem_map(int fd, uint64_t size, bool share, void **out, struct err *e);
void mem_unmap(void *p, uint64_t size);

/*
 * The first byte at or after @offset of the @size bytes of @fd that was ever written, and
 * in *@end where that run of bytes ends; @size if there is none. Looks at no page.
 */
uint64_t mem_next_data(int fd, uint64_t size, uint64_t offset, uint64_t *end);

/* Whether @path still names the file that @fd has open. */
bool mem_is_at(int fd, const char *path);

/*
 * The largest guest RAM this host can address, bytes: what its processors' physical
 * address width allows, at most what fits a process. RAM is given page by page on first
 * use, so it may be more than the host has.
 */
uint64_t mem_guest_max(void);

#endif
