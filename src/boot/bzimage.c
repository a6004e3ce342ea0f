/* SPDX-License-Identifier: MIT */
/* The 64-bit Linux boot protocol. */
#include <asm/bootparam.h>
#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <string.h>

#include "base/util.h"
#include "boot/bzimage.h"

/*
 * Facts from the kernel's Documentation/arch/x86/boot.rst. The header ends where
 * the jump at 0x200 goes, which newer kernels move further than we know.
 */
#define BZ_SECTOR              512
#define BZ_HEADER_OFFSET       0x1f1
#define BZ_JUMP_BASE           0x202
#define BZ_HEADER_END_MIN      0x264 /* init_size, the last field needed, is part of it */
#define BZ_DEFAULT_SETUP_SECTS 4
#define BZ_VERSION_MIN         0x020c
#define BZ_LOADER_UNASSIGNED   0xff
#define BZ_ENTRY64             0x200
#define BZ_VIDEO_MODE_NORMAL   0xffff
#define BZ_SYSSIZE_UNIT        16

/* Page tables: one top level, one level of GiB, four of 2 MiB pages. */
#define BZ_PAGE         4096
#define BZ_NR_GIB       4
#define BZ_ENTRIES      512
#define BZ_PTE_TABLE    UINT64_C(0x03) /* present, writable       */
#define BZ_PTE_LARGE    UINT64_C(0x83) /* present, writable, 2 MiB */
#define BZ_LARGE_SHIFT  21
#define BZ_TABLES_PAGES (2 + BZ_NR_GIB)

_Static_assert(sizeof(struct boot_params) == BZ_PAGE, "the zero page is a page");
_Static_assert(SOURCE_PAGE_TABLES + BZ_TABLES_PAGES * BZ_PAGE <= SOURCE_CMDLINE,
	       "page tables end before the command line");

static int bzimage_read_header(const struct source *s, struct setup_header *h, uint32_t *bytes,
			       struct err *e)
{
	const char *path = s->kernel.path;
	uint8_t jump;
	uint32_t n;
	int ret;

	*h = (struct setup_header){ 0 };
	ret = source_file_read(&s->kernel, BZ_JUMP_BASE - 1, &jump, 1, e);
	if (!ret) {
		n = BZ_JUMP_BASE + jump - BZ_HEADER_OFFSET;
		n = MIN(n, (uint32_t)sizeof(*h));
		ret = source_file_read(&s->kernel, BZ_HEADER_OFFSET, h, n, e);
	}
	if (ret)
		return err_prefix(e, "cannot boot '%s': the setup header is cut off", path);
	if (h->version < BZ_VERSION_MIN)
		return err_set(
			e, ENOEXEC,
			"cannot boot '%s': it speaks Linux boot protocol %u.%02u, and at least "
			"%u.%02u is needed",
			path, h->version >> 8, h->version & 0xffu, BZ_VERSION_MIN >> 8,
			BZ_VERSION_MIN & 0xffu);
	if (n < BZ_HEADER_END_MIN - BZ_HEADER_OFFSET)
		return err_set(
			e, ENOEXEC,
			"cannot boot '%s': its setup header of %u bytes is too short for boot "
			"protocol %u.%02u",
			path, n, h->version >> 8, h->version & 0xffu);
	if (!(h->xloadflags & XLF_KERNEL_64) || !(h->loadflags & LOADED_HIGH))
		return err_set(e, ENOEXEC,
			       "cannot boot '%s': it has no 64-bit entry, as a 32-bit kernel",
			       path);
	*bytes = n;
	return 0;
}

static int bzimage_check_size(const struct source *s, const struct setup_header *h,
			      struct bzimage *z, struct err *e)
{
	uint64_t sects = h->setup_sects ? h->setup_sects : BZ_DEFAULT_SETUP_SECTS;

	z->setup_bytes = (sects + 1) * BZ_SECTOR;
	z->payload_bytes = (uint64_t)h->syssize * BZ_SYSSIZE_UNIT;
	if (z->payload_bytes <= BZ_ENTRY64)
		return err_set(e, ENOEXEC,
			       "cannot boot '%s': its header says that the kernel has %" PRIu64
			       " bytes, fewer than lie before its entry",
			       s->kernel.path, z->payload_bytes);
	if (s->kernel.size < z->setup_bytes || s->kernel.size - z->setup_bytes < z->payload_bytes)
		return err_set(e, ENODATA,
			       "cannot boot '%s': the file is cut off; it has %" PRIu64
			       " bytes of %" PRIu64,
			       s->kernel.path, s->kernel.size, z->setup_bytes + z->payload_bytes);
	return 0;
}

/*
 * The kernel runs at its preferred address or above, wherever it is loaded, so a
 * lower place saves nothing; it is loaded where it runs.
 */
static int bzimage_place_kernel(const struct source *s, const struct setup_header *h,
				struct bzimage *z, gpa_t *end, struct err *e)
{
	uint64_t low_end = source_low_end(s->ram_size);
	uint64_t room = MAX(z->payload_bytes, (uint64_t)h->init_size);
	uint64_t align = h->kernel_alignment;
	gpa_t load = MAX((gpa_t)h->pref_address, (gpa_t)LAYOUT_LEGACY_END);

	if (h->relocatable_kernel) {
		if (!align || align & (align - 1))
			return err_set(e, ENOEXEC,
				       "cannot boot '%s': its alignment 0x%" PRIx64
				       " is no power of two",
				       s->kernel.path, align);
		if (load <= low_end)
			load = align_up(load, align);
	} else if (load != h->pref_address) {
		return err_set(e, ENOEXEC,
			       "cannot boot '%s': it must be loaded at 0x%" PRIx64
			       ", which is below 1 MiB",
			       s->kernel.path, (uint64_t)h->pref_address);
	}
	if (load > low_end || room > low_end - load)
		return err_set(e, ENOSPC,
			       "kernel '%s' does not fit: it needs %" PRIu64 " bytes (%" PRIu64
			       " MiB) from 0x%" PRIx64 ", and guest RAM (%" PRIu64
			       " MiB) ends at 0x%" PRIx64 " there",
			       s->kernel.path, room, room / MIB, load, s->ram_size / MIB, low_end);
	z->load = load;
	*end = load + room;
	return 0;
}

int bzimage_plan(const struct source *s, struct bzimage *out, struct err *e)
{
	struct setup_header h;
	struct bzimage z = { 0 };
	gpa_t end = 0;
	int ret;

	ret = bzimage_read_header(s, &h, &z.header_bytes, e);
	if (ret)
		return ret;
	ret = bzimage_check_size(s, &h, &z, e);
	if (ret)
		return ret;
	ret = bzimage_place_kernel(s, &h, &z, &end, e);
	if (ret)
		return ret;
	ret = source_check_cmdline(s, h.cmdline_size, e);
	if (ret)
		return ret;
	ret = source_place_initrd(s, end, (gpa_t)h.initrd_addr_max + 1, &z.initrd, e);
	if (ret)
		return ret;
	*out = z;
	return 0;
}

static int bzimage_load_zero_page(const struct bzimage *z, const struct source *s,
				  const struct memmap *m, gpa_t rsdp, struct err *e)
{
	struct source_map_entry map[SOURCE_MAP_MAX];
	struct boot_params bp = { 0 };
	int ret;

	ret = source_file_read(&s->kernel, BZ_HEADER_OFFSET, &bp.hdr, z->header_bytes, e);
	if (ret)
		return ret;
	bp.hdr.vid_mode = BZ_VIDEO_MODE_NORMAL;
	bp.hdr.type_of_loader = BZ_LOADER_UNASSIGNED;
	bp.hdr.ext_loader_type = 0;
	bp.hdr.ext_loader_ver = 0;
	bp.hdr.code32_start = (uint32_t)z->load;
	bp.hdr.ramdisk_image = (uint32_t)z->initrd;
	bp.hdr.ramdisk_size = z->initrd ? (uint32_t)s->initrd.size : 0;
	bp.hdr.cmd_line_ptr = (uint32_t)SOURCE_CMDLINE;
	bp.hdr.setup_data = 0;
	bp.acpi_rsdp_addr = rsdp;
	bp.e820_entries = (uint8_t)source_memory_map(s->ram_size, map);
	for (unsigned int i = 0; i < bp.e820_entries; i++) {
		bp.e820_table[i].addr = map[i].gpa;
		bp.e820_table[i].size = map[i].size;
		bp.e820_table[i].type = map[i].type;
	}
	return memmap_write(m, SOURCE_ZERO_PAGE, &bp, sizeof(bp), e);
}

static int bzimage_load_page_tables(const struct memmap *m, struct err *e)
{
	uint64_t table[BZ_ENTRIES] = { 0 };
	gpa_t gpa = SOURCE_PAGE_TABLES;
	int ret;

	table[0] = (gpa + BZ_PAGE) | BZ_PTE_TABLE;
	ret = memmap_write(m, gpa, table, sizeof(table), e);
	if (ret)
		return ret;
	gpa += BZ_PAGE;
	for (unsigned int i = 0; i < BZ_NR_GIB; i++)
		table[i] = (gpa + (i + 1) * BZ_PAGE) | BZ_PTE_TABLE;
	ret = memmap_write(m, gpa, table, sizeof(table), e);
	for (unsigned int i = 0; i < BZ_NR_GIB && !ret; i++) {
		gpa += BZ_PAGE;
		for (uint64_t k = 0; k < BZ_ENTRIES; k++)
			table[k] = (i * BZ_ENTRIES + k) << BZ_LARGE_SHIFT | BZ_PTE_LARGE;
		ret = memmap_write(m, gpa, table, sizeof(table), e);
	}
	return ret;
}

int bzimage_load(const struct bzimage *z, const struct source *s, const struct memmap *m,
		 gpa_t rsdp, struct vcpu_entry *entry, struct err *e)
{
	int ret;

	ret = source_file_load(&s->kernel, z->setup_bytes, z->payload_bytes, m, z->load, e);
	if (ret)
		return ret;
	if (z->initrd) {
		ret = source_file_load(&s->initrd, 0, s->initrd.size, m, z->initrd, e);
		if (ret)
			return ret;
	}
	ret = source_load_cmdline(s, m, e);
	if (ret)
		return ret;
	ret = bzimage_load_zero_page(z, s, m, rsdp, e);
	if (ret)
		return ret;
	ret = bzimage_load_page_tables(m, e);
	if (ret)
		return ret;
	ret = source_load_gdt(m, true, e);
	if (ret)
		return ret;
	*entry = (struct vcpu_entry){
		.long_mode = true,
		.rip = z->load + BZ_ENTRY64,
		.rsp = SOURCE_STACK_TOP,
		.rsi = SOURCE_ZERO_PAGE,
		.cr3 = SOURCE_PAGE_TABLES,
		.gdt = SOURCE_GDT,
	};
	return 0;
}
