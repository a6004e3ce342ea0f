/* SPDX-License-Identifier: MIT */
/* Firmware: its file, its read-only memory, and the start of a guest in it. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "boot/rom.h"
#include "machine/memmap.h"

#define ROM_UNIT 0x10000u
/* From 0xff000000 on; below are the pages that KVM needs. */
#define ROM_MAX (UINT64_C(16) << 20)
/* How much of it is in main RAM too, from 0xc0000 on: SeaBIOS begins with code from there. */
#define ROM_LOW_MAX UINT64_C(0x40000)

/* Where an image that is named without a path is looked for. */
static const char *const rom_directories[] = { "/usr/share/seabios/", "/usr/share/qemu/" };

static int open_any(struct rom *rom, const char *name, struct err *e)
{
	int r = source_file_open(&rom->file, name, 0, e);

	for (size_t i = 0; r == -ENOENT && !strchr(name, '/') && i < ARRAY_SIZE(rom_directories);
	     i++) {
		char path[512];
		struct err ignored;

		snprintf(path, sizeof(path), "%s%s", rom_directories[i], name);
		source_file_close(&rom->file);
		if (!source_file_open(&rom->file, path, 0, &ignored))
			return 0;
		if (ignored.code != ENOENT) {
			*e = ignored;
			return -ignored.code;
		}
	}
	if (r == -ENOENT && !strchr(name, '/'))
		return err_prefix(e, "no firmware '%s' here, in %s or in %s", name,
				  rom_directories[0], rom_directories[1]);
	return r;
}

int rom_open(struct rom *rom, const char *name, struct err *e)
{
	uint64_t size;
	int r;

	*rom = (struct rom){ .file = { .fd = -1 } };
	r = open_any(rom, name, e);
	if (r)
		return r;
	size = rom->file.size;
	if (size % ROM_UNIT)
		return err_set(e, EINVAL,
			       "firmware '%s' has %" PRIu64
			       " bytes, which is not a multiple of 64 KiB",
			       rom->file.path, size);
	if (size > ROM_MAX)
		return err_set(e, EFBIG,
			       "firmware '%s' has %" PRIu64 " bytes; there is room for %" PRIu64,
			       rom->file.path, size, ROM_MAX);
	rom->size = size;
	return 0;
}

void rom_keep(struct rom *rom, uint64_t size)
{
	*rom = (struct rom){ .file = { .fd = -1 }, .size = size };
}

void rom_close(struct rom *rom)
{
	source_file_close(&rom->file);
}

int rom_add(struct rom *rom, struct memmap *m, struct err *e)
{
	struct ram_block *b;
	int r;

	if (!rom->size || rom->size % ROM_UNIT || rom->size > ROM_MAX)
		return err_set(e, EINVAL, "firmware of %" PRIu64 " bytes cannot be", rom->size);
	r = memmap_make_block(m, ROM_BLOCK, rom->size, &b, e);
	if (r)
		return r;
	if (rom->file.path && b->fresh) {
		r = source_file_read(&rom->file, 0, b->host, rom->size, e);
		b->fresh = false;
	}
	b->readonly = true;
	if (!r)
		r = memmap_add_block(m, b, LAYOUT_ROM_END - rom->size, e);
	if (r)
		ram_block_destroy(b);
	return r;
}

int rom_start(const struct memmap *m, struct err *e)
{
	const struct ram_block *b = memmap_find_block(m, ROM_BLOCK);
	uint64_t n;

	if (!b)
		return err_set(e, ENOENT, "this machine has no firmware");
	n = MIN(b->size, ROM_LOW_MAX);
	return memmap_write(m, LAYOUT_LEGACY_END - n, b->host + (b->size - n), n, e);
}
