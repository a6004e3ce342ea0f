/* SPDX-License-Identifier: MIT */
/* A block of guest RAM: its name, what it is made of, and its memory on the host. */
#ifndef MACHINE_RAM_BLOCK_H
#define MACHINE_RAM_BLOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "machine/layout.h"

#define RAM_BLOCK_NAME_MAX 64

/* What a block is made of, by the name of its kind of memory backend. */
enum ram_backend {
	RAM_BACKEND_MEMFD,
	RAM_BACKEND_FILE,
	RAM_BACKEND_SHM,
	RAM_BACKEND_RAM, /* anonymous memory, or a memfd if it is shared */
	RAM_BACKEND_COUNT,
};

/* Properties of a memory backend that change how its memory is got, not what it is. */
struct ram_options {
	uint64_t offset;       /* RAM_BACKEND_FILE: where in the file it begins      */
	uint64_t align;        /* of the host address; 0: as suits the pages         */
	uint64_t hugetlb_size; /* bytes of a page; 0: the host's usual size          */
	bool hugetlb;          /* RAM_BACKEND_MEMFD: of huge pages                   */
	bool unsealed;         /* RAM_BACKEND_MEMFD: may be resized by who has it    */
	bool prealloc;         /* every page gets its memory at the start            */
	bool merge;            /* equal pages may be merged                          */
	bool dump;             /* part of core dumps                                 */
	bool reserve;          /* accounted for at the start                         */
	bool discard_data;     /* the contents are worth nothing when the guest ends */
};

/* What ram_block_create() is to make. */
struct ram_config {
	const char *name; /* copied */
	uint64_t size;
	enum ram_backend backend;
	const char *path; /* RAM_BACKEND_FILE: copied; else NULL */
	bool share;
	bool readonly; /* RAM_BACKEND_FILE: opened for reading; the host cannot write it either */
	struct ram_options options;
};

/*
 * One piece of guest memory that has a name and is preserved by it. The
 * descriptor is what survives an update; the mapping is made anew.
 */
struct ram_block {
	char name[RAM_BLOCK_NAME_MAX]; /* [c] backend id, or pc.ram                       */
	uint64_t size;                 /* [c] bytes, multiple of 4096                     */
	enum ram_backend backend;      /* [c]                                             */
	char path[4096];               /* [c] RAM_BACKEND_FILE: its mem-path, else empty  */
	struct ram_options options;    /* [c]                                             */
	bool share;                    /* [c] mapped shared: other processes see the RAM  */
	bool readonly;                 /* [c] the guest cannot write it, if KVM can do that */
	bool is_backend;               /* [c] an object people know, as query-memdev lists */
	bool in_guest;                 /* [c] the guest sees it, so it must be preserved  */
	bool kept;                     /* [c] preserved also while the guest does not see it */
	bool fresh;                    /* [m] nobody has written to it: all zero          */
	bool borrowed;                 /* [m] @host is another image's mapping: stays     */
	gpa_t gpa;                     /* [c] of its start, if in_guest and not movable   */
	bool movable;                  /* [c] the guest sees it where a device maps it    */
	bool mapped;                   /* [m] if movable: it is mapped                    */
	gpa_t mapped_at;               /* [m] if mapped: where                            */
	int fd;                        /* [c] owned; -1: memory without a descriptor      */
	uint8_t *host;                 /* [c] owned mapping of @size bytes                */
};

/* "memory-backend-memfd" and so on. */
const char *ram_backend_name(enum ram_backend backend);

/*
 * Creates a block: makes or opens its memory, or takes @fd if it is >= 0 (preserved
 * memory, ownership moves on success), checks the size and maps it. @out is owned by the
 * caller; ram_block_destroy() unmaps and closes. A file that had to be made is removed
 * again if the block cannot be made.
 */
int ram_block_create(struct ram_block **out, const struct ram_config *cfg, int fd, struct err *e);
/*
 * Likewise, of memory that this process has mapped at @host already; @fd is its descriptor, or
 * -1 if it has none, which is taken over on success. The mapping is not unmapped while
 * (*out)->borrowed, which is true at first.
 */
int ram_block_adopt(struct ram_block **out, const struct ram_config *cfg, int fd, void *host,
		    struct err *e);
void ram_block_destroy(struct ram_block *b);

/* Whether an update can leave the block where it is: by its descriptor, shared. */
bool ram_block_is_preserved(const struct ram_block *b);
/*
 * Whether a process that has no more than the command line finds this very memory again: a
 * shared file that is still at its path. What x-ignore-shared needs in mode cpr-reboot.
 */
bool ram_block_is_reopenable(const struct ram_block *b);

#endif
