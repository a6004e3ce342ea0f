/* SPDX-License-Identifier: MIT */
/* What the machine tells its firmware: the files it finds in fw_cfg. */
#ifndef BOOT_ROM_FILES_H
#define BOOT_ROM_FILES_H

/*
 * DOC: theory of operation
 *
 * Firmware allocates memory for the ACPI tables itself. So the tables, which refer to each
 * other by address, come as a file etc/acpi/tables that was built for address 0, the
 * RSDP as a file of its own, and a script etc/table-loader says what to do with them: allocate,
 * add the address of a file to a number in another one, make a sum zero. The script is
 * derived from the tables, by following their pointers.
 *
 * A command is 128 bytes long, numbers little-endian: its number, then for
 *	1 allocate	file name (56), alignment u32, zone u8: 1 anywhere, 2 below 1 MiB
 *	2 add pointer	file with the number (56), file it points to (56), offset u32, size u8
 *	3 checksum	file (56), offset of the sum u32, first byte u32, how many u32
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

#define ROM_FILE_NAME_MAX 56
#define ROM_MAX_FILES     8

struct rom_file {
	const char *name; /* static string */
	struct buf data;
	bool own_block; /* to be kept in a RAM block of its own, as people know them */
};

struct rom_files {
	struct rom_file file[ROM_MAX_FILES];
	unsigned int nr;
};

struct rom_files_config {
	uint64_t ram_size;
	unsigned int nr_vcpus;
	unsigned int serial_mask; /* bit n: serial port n exists */
};

/* Builds them all; @out is to be freed also after a failure. Any thread. */
int rom_files_build(struct rom_files *out, const struct rom_files_config *cfg, struct err *e);
void rom_files_fini(struct rom_files *f);

/*
 * Splits @tables, from acpi_build() with base 0, into the tables without the RSDP's place, the RSDP and the
 * script. The outputs are empty buffers. -EINVAL if the tables are not as they should be.
 */
int rom_files_split_acpi(const struct buf *tables, struct buf *rsdp, struct buf *script,
			 struct err *e);

#endif
