/* SPDX-License-Identifier: MIT */
/* A sample of RAM that is left in place, to know it again when the state is loaded. */
#ifndef UPDATE_RAM_SAMPLE_H
#define UPDATE_RAM_SAMPLE_H

#include "machine/memmap.h"
#include "state/snapshot.h"

enum {
	RAM_SAMPLE_PAGES = 1024, /* of a block, evenly spread; all if it has fewer */
};

/* What the section `baton-ram-sample` holds. */
struct ram_sample {
	uint32_t count;
	uint32_t reserved; /* 0 */
	struct ram_sample_block {
		uint8_t name[RAM_BLOCK_NAME_MAX]; /* with its NUL        */
		uint64_t xxh3;                    /* of the sampled pages */
	} blocks[RAM_MAX_BLOCKS];
};

extern const struct vs_desc ram_sample_desc;

/* Samples the blocks of @s that are in place. Nobody writes to them meanwhile. */
void ram_sample_take(struct ram_sample *out, const struct snapshot *s, const struct memmap *m);
/* Whether the blocks of @s that are in place hold what they held then; names one that does not. */
int ram_sample_check(const struct ram_sample *then, const struct snapshot *s,
		     const struct memmap *m, struct err *e);

/* The same for each block that the sample is of. */
int ram_sample_check_blocks(const struct ram_sample *then, const struct memmap *m, struct err *e);

#endif
