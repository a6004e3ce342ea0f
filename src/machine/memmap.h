/* SPDX-License-Identifier: MIT */
/* Guest RAM: its blocks, their memory on the host, and where the guest sees them. */
#ifndef MACHINE_MEMMAP_H
#define MACHINE_MEMMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "machine/layout.h"

#define RAM_BLOCK_NAME_MAX 64

enum ram_backend {
	RAM_BACKEND_MEMFD,
	RAM_BACKEND_FILE,
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
	bool share;                    /* [c] mapped shared: other processes see the RAM  */
	bool fresh;                    /* [m] nobody has written to it: all zero          */
	int fd;                        /* [c] owned                                       */
	uint8_t *host;                 /* [c] owned mapping of @size bytes                */
};

/* A run of guest-physical addresses backed by a part of a block. */
struct mem_range {
	gpa_t gpa;
	uint64_t size;
	struct ram_block *block; /* not owned */
	uint64_t offset;         /* in the block */
};

struct memmap {
	struct ram_block *ram;      /* main RAM, owned        */
	struct mem_range ranges[2]; /* below and above 4 GiB  */
	unsigned int nr_ranges;
};

/*
 * Creates a block: makes (memfd) or opens (file) its memory, or takes @fd if it
 * is >= 0 (preserved memory, ownership moves on success), checks the size and
 * maps it. @out is owned by the caller; ram_block_destroy() unmaps and closes.
 */
int ram_block_create(struct ram_block **out, const char *name, uint64_t size,
		     enum ram_backend backend, const char *path, bool share, int fd, struct err *e);
void ram_block_destroy(struct ram_block *b);

/* Lays main RAM out around the hole below 4 GiB; takes ownership of @ram. */
void memmap_init(struct memmap *m, struct ram_block *ram);
/* Destroys the RAM block. No vCPU may run any more. */
void memmap_fini(struct memmap *m);

/*
 * The host address of [gpa, gpa + len), or NULL unless all of it is RAM in one
 * range. Valid as long as the machine. The guest may change the bytes any time:
 * copy once, then check, then use.
 */
void *memmap_host_ptr(const struct memmap *m, gpa_t gpa, uint64_t len);

/* Copies to or from guest RAM; -EFAULT names the range that is not RAM. */
int memmap_write(const struct memmap *m, gpa_t gpa, const void *p, uint64_t len, struct err *e);
int memmap_read(const struct memmap *m, gpa_t gpa, void *p, uint64_t len, struct err *e);

#endif
