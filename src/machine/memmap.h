/* SPDX-License-Identifier: MIT */
/* Guest RAM: the blocks it consists of, and where the guest sees them. */
#ifndef MACHINE_MEMMAP_H
#define MACHINE_MEMMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "machine/layout.h"
#include "machine/ram_block.h"

enum {
	RAM_MAX_BLOCKS = 32, /* of a machine: main RAM, backends, tables   */
	MEM_MAX_RANGES = 32,
};

/* A run of guest-physical addresses backed by a part of a block. */
struct mem_range {
	gpa_t gpa;
	uint64_t size;
	struct ram_block *block; /* not owned */
	uint64_t offset;         /* in the block */
};

/*
 * Where memory of the machine's own comes from: firmware, tables, display memory. The old
 * machine's is taken by its name and never made anew.
 */
struct ram_source {
	/* Bytes of the old machine's block of that name; 0: it has none, or there is no old one. */
	uint64_t (*size)(void *opaque, const char *name);
	/* As ram_block_create(), of the old machine's memory of that name. */
	int (*take)(void *opaque, const struct ram_config *cfg, struct ram_block **out,
		    struct err *e);
	void *opaque;
	bool share; /* what is made anew can be preserved: aux-ram-share */
};

/* All members [c] once the machine is built. */
struct memmap {
	struct ram_block *ram;                    /* main RAM, one of @blocks             */
	struct ram_block *blocks[RAM_MAX_BLOCKS]; /* owned; names are distinct            */
	unsigned int nr_blocks;
	struct mem_range ranges[MEM_MAX_RANGES]; /* ascending, without overlap           */
	unsigned int nr_ranges;
	/* Not owned; NULL: there is no old machine, and what is made can be preserved. */
	const struct ram_source *source;
};

/* Lays main RAM out around the hole below 4 GiB; takes ownership of @ram. */
void memmap_init(struct memmap *m, struct ram_block *ram);
/* Drops the contents of blocks with discard-data=on, files included. The guest has ended. */
void memmap_discard(struct memmap *m);
/* Destroys the blocks. No vCPU may run any more. */
void memmap_fini(struct memmap *m);

/*
 * Puts @b at [@gpa, @gpa + its size), page-aligned, on top of what the guest saw there.
 * Before the machine is built. Takes ownership of @b on success; -EEXIST if a block has its
 * name, -E2BIG, -EINVAL for an address it cannot be at.
 */
int memmap_add_block(struct memmap *m, struct ram_block *b, gpa_t gpa, struct err *e);
/* Registers a block that the guest does not see. Otherwise as memmap_add_block(). */
int memmap_add_unused_block(struct memmap *m, struct ram_block *b, struct err *e);

/*
 * Registers one that a device lets the guest see where and when the guest wants it
 * (machine/movable.h); it is preserved as those that the guest always sees. Otherwise as above.
 */
int memmap_add_movable_block(struct memmap *m, struct ram_block *b, struct err *e);

/* Bytes of the block of that name which the old machine hands over; 0: there is none. */
uint64_t memmap_preserved_size(const struct memmap *m, const char *name);
/*
 * Makes a block of the machine's own, or takes what the old machine has under that name, whose
 * bytes then are what the guest knows (out->fresh is false). It is preserved, whether or not the
 * guest sees it,
 * and is not yet registered: the caller owns it. Whoever fills a fresh one clears @fresh.
 */
int memmap_make_block(const struct memmap *m, const char *name, uint64_t size,
		      struct ram_block **out, struct err *e);

/* The block of that name, or NULL. */
struct ram_block *memmap_find_block(const struct memmap *m, const char *name);
/*
 * Walks the blocks the guest sees and those of the machine's own, main RAM first: the one
 * after @prev, the first for NULL; NULL at the end. These are what an update must keep.
 */
struct ram_block *memmap_next_block(const struct memmap *m, const struct ram_block *prev);
/*
 * Walks the memory backends in the same way, those that the guest does not see included.
 * What query-memdev lists; plain -m counts as one, 'pc.ram'. Any thread.
 */
struct ram_block *memmap_next_backend(const struct memmap *m, const struct ram_block *prev);

/*
 * Takes all shared files the guest sees for this machine, or none: -EBUSY names the block
 * that another machine uses. To be held whenever the guest may run or is booted; a process
 * that is handed the descriptors has it as well, one that opens the files anew has not.
 */
int memmap_lock(const struct memmap *m, struct err *e);
void memmap_unlock(const struct memmap *m);

/*
 * Marks these files as had by this machine, which holds the lock and is about to run; and a
 * number that changes when another one does so.
 */
void memmap_touch(const struct memmap *m);
uint64_t memmap_stamp(const struct memmap *m);

/*
 * The host address of [gpa, gpa + len), or NULL unless all of it is RAM in one
 * range. Valid as long as the machine. The guest may change the bytes any time:
 * copy once, then check, then use.
 */
void *memmap_host_ptr(const struct memmap *m, gpa_t gpa, uint64_t len);

/*
 * Likewise for what a device writes on the guest's behalf: NULL also where the guest itself
 * cannot write.
 */
void *memmap_writable_ptr(const struct memmap *m, gpa_t gpa, uint64_t len);

/* Copies to or from guest RAM; -EFAULT names the range that is not RAM. */
int memmap_write(const struct memmap *m, gpa_t gpa, const void *p, uint64_t len, struct err *e);
int memmap_read(const struct memmap *m, gpa_t gpa, void *p, uint64_t len, struct err *e);

#endif
