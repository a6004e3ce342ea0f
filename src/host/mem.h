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
 * Likewise, sealed only if @seal, of huge pages if @hugetlb: of @page_size bytes, or of the
 * host's usual size if that is 0.
 */
int mem_create_memfd_with(const char *name, uint64_t size, bool seal, bool hugetlb,
			  uint64_t page_size, struct err *e);
/* A new POSIX shared memory object of @size zero bytes that has no name any more. */
int mem_create_shm(uint64_t size, struct err *e);

/*
 * Opens @path (created with mode 0600 if missing; a directory gets an unlinked
 * file in it) and makes sure that it has @size bytes: an empty file is grown, a
 * smaller one is refused. @readonly: it must be there and long enough, and the descriptor
 * is for reading. Returns the descriptor; *@created: the file was missing. After a failure
 * it is missing again.
 */
int mem_open_file(const char *path, uint64_t size, bool readonly, bool *created, struct err *e);
/* True if @path is now the name of the file that @fd is. */
bool mem_is_file(int fd, const char *path);

/* Fails unless @fd has at least @size bytes. @what names it in the message. */
int mem_check_size(int fd, uint64_t size, const char *what, struct err *e);
/* Bytes of a page of @fd's memory: more than 4096 on hugetlbfs. -1: of anonymous memory. */
uint64_t mem_page_size(int fd);

/* Maps [0, size) of @fd for reading and writing. mem_unmap() undoes it. */
int mem_map(int fd, uint64_t size, bool share, void **out, struct err *e);
void mem_unmap(void *p, uint64_t size);

/* How guest RAM is mapped. */
struct mem_mapping {
	int fd; /* -1: private anonymous memory */
	uint64_t offset;
	uint64_t size;
	uint64_t align; /* of the host address: 0 or a power of 2 */
	bool share;
	bool readonly;
	bool reserve; /* account for all of it now, so that touching it cannot fail later */
	bool merge;   /* may be merged with equal pages (KSM)              */
	bool dump;    /* part of core dumps                                */
	bool huge;    /* of huge pages where the host's settings let who asks have them */
};

/* As mem_map(). -ENOMEM names huge pages where they are what is short. */
int mem_map_ram(const struct mem_mapping *how, void **out, struct err *e);

/* Gives every page its memory now. -ENOMEM, -EFAULT: what a touch by the guest would have met. */
int mem_populate(void *p, uint64_t size, struct err *e);
/*
 * Maps into this process what of [@p, @p + @size), a mapping of @fd, is in the host's memory:
 * nothing is read from a disk or from swap for it. Of huge pages those that are not there are
 * made, so there this is for data (mem_next_data()). Pages that may be written need no fault to
 * be written then, and are not dirtied now.
 */
int mem_map_present(int fd, void *p, uint64_t size, struct err *e);

#define MEM_HUGE_PAGE (2 << 20)

/* Whether @fd's file is in memory: a memfd, or on tmpfs, and not of huge pages anyway. */
bool mem_is_tmpfs(int fd);
/* Whether the host's settings let a program have huge pages that it asks for. */
bool mem_may_make_huge(void);
/*
 * Gathers the MEM_HUGE_PAGE bytes at @p, aligned, a shared mapping of a file in memory, into one
 * huge page and maps it here; fast if it is one already. Whoever uses them meanwhile
 * waits. -ENODATA: a part of them is not in memory. -ENOMEM: the host has no huge page free.
 */
int mem_make_huge(void *p, struct err *e);
/* Gives the memory back, contents lost, also in the file. Fails where that cannot be done. */
int mem_discard(void *p, uint64_t size, struct err *e);

/*
 * Takes [offset, offset + size) of a file for the machine that has @fd open; -EBUSY if
 * another one has it. The lock belongs to the open file, so whoever is handed the descriptor,
 * or inherits it, has it too, and it ends with the last of them or by mem_unlock(). What is
 * no regular file has no lock and is no error.
 */
int mem_lock(int fd, uint64_t offset, uint64_t size, struct err *e);
void mem_unlock(int fd, uint64_t offset, uint64_t size);

/* A mark that a machine has had the file: its time of modification, ns, and setting that to now. */
uint64_t mem_stamp(int fd);
void mem_touch(int fd);

/*
 * The first byte at or after @offset of the @size bytes of @fd that was ever written, and
 * in *@end where that run of bytes ends; @size if there is none. Looks at no page.
 */
uint64_t mem_next_data(int fd, uint64_t size, uint64_t offset, uint64_t *end);

/*
 * True if some of the @n bytes at @offset of @fd may have been written. Unlike mem_next_data()
 * it takes no longer in a long run of data, whose end Linux finds page by page.
 */
bool mem_has_data(int fd, uint64_t offset, uint64_t n);

/*
 * The largest guest RAM this host can address, bytes: what its processors' physical
 * address width allows, at most what fits a process. RAM is given page by page on first
 * use, so it may be more than the host has.
 */
uint64_t mem_guest_max(void);

#endif
