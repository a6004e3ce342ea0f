/* SPDX-License-Identifier: MIT */
/* ELF kernels with a PVH entry: 32-bit protected mode, start info in EBX. */
#ifndef BOOT_PVH_H
#define BOOT_PVH_H

#include <stdint.h>

#include "base/err.h"
#include "boot/source.h"

#define PVH_MAX_SEGMENTS 64

/* A loadable piece of the kernel; the part beyond @file_bytes is zeros. */
struct pvh_segment {
	uint64_t offset; /* in the file    */
	uint64_t file_bytes;
	gpa_t gpa;
	uint64_t bytes; /* in guest RAM   */
};

/* Where the parts of a checked ELF kernel go. */
struct pvh {
	struct pvh_segment segments[PVH_MAX_SEGMENTS];
	unsigned int nr_segments;
	uint32_t entry;
	gpa_t initrd; /* 0: none */
};

/*
 * Checks the kernel, the RAM disk and the command line against the RAM. Reads the
 * kernel's headers; touches no guest RAM.
 */
int pvh_plan(const struct source *s, struct pvh *out, struct err *e);

/* As bzimage_load(), for what pvh_plan() accepted. */
int pvh_load(const struct pvh *p, const struct source *s, const struct memmap *m, gpa_t rsdp,
	     struct vcpu_entry *entry, struct err *e);

#endif
