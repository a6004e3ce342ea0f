/* SPDX-License-Identifier: MIT */
/* What the machine tells its firmware: the files it finds in fw_cfg. */
#include <errno.h>
#include <string.h>

#include "base/util.h"
#include "boot/acpi.h"
#include "boot/rom_files.h"
#include "boot/source.h"
#include "machine/layout.h"

#define FILE_TABLES "etc/acpi/tables"
#define FILE_RSDP   "etc/acpi/rsdp"
#define FILE_LOADER "etc/table-loader"

enum {
	LOADER_COMMAND_BYTES = 128,
	LOADER_ALLOCATE = 1,
	LOADER_ADD_POINTER = 2,
	LOADER_CHECKSUM = 3,
	LOADER_ZONE_HIGH = 1,
	LOADER_ZONE_LOW = 2,

	TABLE_ALIGN = 64, /* what FACS wants is enough for all */
	TABLE_HEADER_BYTES = 36,
	TABLE_LENGTH = 4,
	TABLE_SUM = 9,

	RSDP_BYTES = 36,
	RSDP_SUM = 8,
	RSDP_SUM_BYTES = 20,
	RSDP_XSDT = 24,
	RSDP_LONG_SUM = 32,

	FADT_FACS = 36,
	FADT_DSDT = 40,
	FADT_X_FACS = 132,
	FADT_X_DSDT = 140,
	FADT_MIN_BYTES = 148,
};

static void put_le(struct buf *out, uint64_t v, unsigned int bytes)
{
	for (unsigned int i = 0; i < bytes; i++)
		buf_put_u8(out, (uint8_t)(v >> (8 * i)));
}

static uint64_t get_le(const uint8_t *p, unsigned int bytes)
{
	uint64_t v = 0;

	while (bytes--)
		v = v << 8 | p[bytes];
	return v;
}

static void put_name(struct buf *out, const char *name)
{
	char field[ROM_FILE_NAME_MAX] = { 0 };

	memcpy(field, name, MIN(strlen(name), sizeof(field) - 1));
	buf_put(out, field, sizeof(field));
}

static void end_command(struct buf *out)
{
	while (!out->failed && out->len % LOADER_COMMAND_BYTES)
		buf_put_u8(out, 0);
}

static void put_allocate(struct buf *out, const char *file, uint32_t align, uint8_t zone)
{
	put_le(out, LOADER_ALLOCATE, 4);
	put_name(out, file);
	put_le(out, align, 4);
	buf_put_u8(out, zone);
	end_command(out);
}

static void put_pointer(struct buf *out, const char *file, uint64_t offset, uint8_t size)
{
	put_le(out, LOADER_ADD_POINTER, 4);
	put_name(out, file);
	put_name(out, FILE_TABLES);
	put_le(out, offset, 4);
	buf_put_u8(out, size);
	end_command(out);
}

static void put_checksum(struct buf *out, const char *file, uint64_t offset, uint64_t first,
			 uint64_t bytes)
{
	put_le(out, LOADER_CHECKSUM, 4);
	put_name(out, file);
	put_le(out, offset, 4);
	put_le(out, first, 4);
	put_le(out, bytes, 4);
	end_command(out);
}

/* The bytes of the table at @at, with its header; 0 if there is none. */
static uint64_t table_bytes(const struct buf *tables, uint64_t at)
{
	uint64_t n;

	if (at < RSDP_BYTES || at > tables->len || tables->len - at < TABLE_HEADER_BYTES)
		return 0;
	n = get_le(tables->data + at + TABLE_LENGTH, 4);
	return n < TABLE_HEADER_BYTES || n > tables->len - at ? 0 : n;
}

/* A pointer that is there: what is 0 stays 0. */
static void put_pointer_if_set(struct buf *out, const struct buf *tables, uint64_t at, uint8_t size)
{
	if (get_le(tables->data + at, size))
		put_pointer(out, FILE_TABLES, at, size);
}

/* All pointers first and the sum last: it covers them. */
static int put_table(struct buf *out, const struct buf *tables, uint64_t at, struct err *e)
{
	uint64_t n = table_bytes(tables, at);

	if (!n)
		return err_set(e, EINVAL, "there is no ACPI table at offset 0x%llx",
			       (unsigned long long)at);
	if (memcmp(tables->data + at, "FACP", 4))
		return 0;
	if (n < FADT_MIN_BYTES)
		return err_set(e, EINVAL, "the FADT has only %llu bytes", (unsigned long long)n);
	put_pointer_if_set(out, tables, at + FADT_FACS, 4);
	put_pointer_if_set(out, tables, at + FADT_DSDT, 4);
	put_pointer_if_set(out, tables, at + FADT_X_FACS, 8);
	put_pointer_if_set(out, tables, at + FADT_X_DSDT, 8);
	put_checksum(out, FILE_TABLES, at + TABLE_SUM, at, n);
	return 0;
}

int rom_files_split_acpi(const struct buf *tables, struct buf *rsdp, struct buf *script,
			 struct err *e)
{
	uint64_t xsdt, n;
	int r;

	if (tables->len < RSDP_BYTES || memcmp(tables->data, "RSD PTR ", 8))
		return err_set(e, EINVAL, "the ACPI tables do not begin with an RSDP");
	xsdt = get_le(tables->data + RSDP_XSDT, 8);
	n = table_bytes(tables, xsdt);
	if (!n || memcmp(tables->data + xsdt, "XSDT", 4))
		return err_set(e, EINVAL, "the ACPI tables have no XSDT");
	put_allocate(script, FILE_RSDP, 16, LOADER_ZONE_LOW);
	put_allocate(script, FILE_TABLES, TABLE_ALIGN, LOADER_ZONE_HIGH);
	for (uint64_t at = xsdt + TABLE_HEADER_BYTES; at + 8 <= xsdt + n; at += 8) {
		r = put_table(script, tables, get_le(tables->data + at, 8), e);
		if (r)
			return r;
		put_pointer(script, FILE_TABLES, at, 8);
	}
	put_checksum(script, FILE_TABLES, xsdt + TABLE_SUM, xsdt, n);
	put_pointer(script, FILE_RSDP, RSDP_XSDT, 8);
	put_checksum(script, FILE_RSDP, RSDP_SUM, 0, RSDP_SUM_BYTES);
	put_checksum(script, FILE_RSDP, RSDP_LONG_SUM, 0, RSDP_BYTES);
	buf_put(rsdp, tables->data, RSDP_BYTES);
	if (script->failed || rsdp->failed)
		return err_set(e, ENOMEM, "no memory for the ACPI tables' script");
	return 0;
}

static struct buf *add_file(struct rom_files *f, const char *name, bool own_block)
{
	struct rom_file *file = &f->file[f->nr++];

	file->name = name;
	file->own_block = own_block;
	return &file->data;
}

/* The first entry reaches from 0 to the end of low RAM: the hole is the firmware's to declare. */
static void put_e820(struct buf *out, uint64_t ram_size)
{
	struct source_map_entry map[SOURCE_MAP_MAX];
	unsigned int n = source_memory_map(ram_size, map);

	for (unsigned int i = 0; i < n; i++) {
		if (map[i].gpa < LAYOUT_LEGACY_END)
			continue;
		if (map[i].gpa == LAYOUT_LEGACY_END) {
			map[i].gpa = 0;
			map[i].size += LAYOUT_LEGACY_END;
		}
		put_le(out, map[i].gpa, 8);
		put_le(out, map[i].size, 8);
		put_le(out, map[i].type, 4);
	}
}

int rom_files_build(struct rom_files *out, const struct rom_files_config *cfg, struct err *e)
{
	struct buf *tables, *rsdp, *script;
	int r;

	*out = (struct rom_files){ 0 };
	tables = add_file(out, FILE_TABLES, true);
	script = add_file(out, FILE_LOADER, true);
	rsdp = add_file(out, FILE_RSDP, true);
	r = acpi_build(tables, 0, cfg->nr_vcpus, cfg->serial_mask, cfg->ram_size, e);
	if (!r)
		r = rom_files_split_acpi(tables, rsdp, script, e);
	if (r)
		return r;
	/* Of use as a file of its own only. */
	memset(tables->data, 0, RSDP_BYTES);
	put_e820(add_file(out, "etc/e820", false), cfg->ram_size);
	/* Without a display the firmware's text goes there, and keys come from there. */
	if (cfg->serial_mask & 1)
		put_le(add_file(out, "etc/sercon-port", false), LAYOUT_PORT_SERIAL(0), 8);
	for (unsigned int i = 0; i < out->nr; i++)
		if (out->file[i].data.failed)
			return err_set(e, ENOMEM, "no memory for the firmware's files");
	return 0;
}

void rom_files_fini(struct rom_files *f)
{
	for (unsigned int i = 0; i < f->nr; i++)
		buf_fini(&f->file[i].data);
	f->nr = 0;
}
