/* SPDX-License-Identifier: MIT */
/* Firmware: its file, its read-only memory, and the start of a guest in it. */
#ifndef BOOT_ROM_H
#define BOOT_ROM_H

/*
 * DOC: theory of operation
 *
 * The image ends at 4 GiB, where the processor begins, in a block of RAM of its own that
 * the guest can only read. The end of it stands in main RAM below 1 MiB too, where real mode
 * reaches it and firmware keeps variables: the guest may write there, and a reset copies
 * it from the block again. So the file is read once, when the guest is first
 * started: an update hands the block over, and what resets a guest later is what it was
 * started with.
 *
 * SeaBIOS looks for a bridge whose registers make 0xc0000-0xfffff writable; as it knows
 * none of ours it says so and goes on, and the memory is writable already.
 */

#include <stdint.h>

#include "base/err.h"
#include "boot/source.h"

struct memmap;

/* Its block of RAM. */
#define ROM_BLOCK "pc.bios"
/* Without -bios. */
#define ROM_DEFAULT "bios-256k.bin"

struct rom {
	struct source_file file; /* open while there is something to read from it */
	uint64_t size;           /* bytes of the block, a multiple of 64 KiB       */
};

/*
 * Opens the image @name: a file of that name or, if there is none and the name has no slash,
 * one where Debian installs firmware. Says what is wrong with it. rom_close() also after a failure.
 */
int rom_open(struct rom *rom, const char *name, struct err *e);
/* The block is an old machine's, with @size bytes. */
void rom_keep(struct rom *rom, uint64_t size);
/* Closes the file. */
void rom_close(struct rom *rom);

/*
 * Makes the block, fills it from the file unless it is an old machine's, and puts it into
 * the memory map @m, which owns it. Before the machine is built.
 */
int rom_add(struct rom *rom, struct memmap *m, struct err *e);

/*
 * The guest, whose vCPUs were just reset, starts in the firmware: copies the end of the
 * block to low memory. -ENOENT if the machine has none.
 */
int rom_start(const struct memmap *m, struct err *e);

#endif
