/* SPDX-License-Identifier: MIT */
/* The 64-bit Linux boot protocol. */
#ifndef BOOT_BZIMAGE_H
#define BOOT_BZIMAGE_H

#include <stdint.h>

#include "base/err.h"
#include "boot/source.h"

/* Where the parts of a checked bzImage go. */
struct bzimage {
	uint64_t setup_bytes;   /* boot sector and real-mode code, not loaded         */
	uint64_t payload_bytes; /* the kernel behind it                               */
	uint32_t header_bytes;  /* of the setup header, from offset 0x1f1             */
	gpa_t load;             /* where the kernel is loaded and runs                */
	gpa_t initrd;           /* 0: none                                            */
};

/*
 * Checks the kernel, the RAM disk and the command line against the RAM. Reads the
 * kernel's header; touches no guest RAM.
 */
int bzimage_plan(const struct source *s, struct bzimage *out, struct err *e);

/*
 * Loads what bzimage_plan() accepted into guest RAM, vCPUs paused, and fills @entry. @rsdp
 * is where the caller puts the ACPI tables. After a failure RAM is partly written.
 */
int bzimage_load(const struct bzimage *z, const struct source *s, const struct memmap *m,
		 gpa_t rsdp, struct vcpu_entry *entry, struct err *e);

#endif
