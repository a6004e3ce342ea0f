/* SPDX-License-Identifier: MIT */
/* What both boot protocols share: the images, where things go, the memory map. */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/util.h"
#include "boot/source.h"
#include "host/file.h"
#include "host/process.h"

#define SOURCE_PAGE 4096

/* A Linux boot sector: its signature, and the magic of the header behind it. */
#define SOURCE_BOOT_FLAG_OFFSET 0x1fe
#define SOURCE_HDRS_OFFSET      0x202
#define SOURCE_PROBE_BYTES      0x206

int source_file_open(struct source_file *f, const char *path, int given, struct err *e)
{
	int ret;

	f->path = strdup(path);
	if (!f->path)
		return err_set(e, ENOMEM, "cannot open '%s': out of memory", path);
	ret = file_open_ro(path, &f->fd, e);
	if (ret && given > 0) {
		ret = process_dup_fd(given, e);
		f->fd = MAX(ret, -1);
		ret = MIN(ret, 0);
	}
	if (ret)
		return ret;
	return source_file_refresh(f, e);
}

void source_file_close(struct source_file *f)
{
	close_fd(&f->fd);
	free(f->path);
	f->path = NULL;
}

int source_file_refresh(struct source_file *f, struct err *e)
{
	int ret = file_size(f->fd, f->path, &f->size, e);

	if (ret)
		return ret;
	if (!f->size)
		return err_set(e, EINVAL, "cannot boot from '%s': the file is empty", f->path);
	return 0;
}

int source_file_read(const struct source_file *f, uint64_t offset, void *p, size_t n, struct err *e)
{
	return file_read_at(f->fd, f->path, offset, p, n, e);
}

int source_file_load(const struct source_file *f, uint64_t offset, uint64_t n,
		     const struct memmap *m, gpa_t gpa, struct err *e)
{
	void *p;

	if (!n)
		return 0;
	p = memmap_host_ptr(m, gpa, n);
	if (!p)
		return err_set(e, EFAULT,
			       "cannot load '%s': its %" PRIu64 " bytes at 0x%" PRIx64
			       " are not all guest RAM",
			       f->path, n, gpa);
	return source_file_read(f, offset, p, (size_t)n, e);
}

struct source_magic {
	const char *bytes;
	uint8_t len;
	const char *what;
};

static bool source_is_text(const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!isprint(p[i]) && !isspace(p[i]))
			return false;
	return true;
}

/* A guess for people who named the wrong file. */
static const char *source_describe(const uint8_t *p, size_t n)
{
	static const struct source_magic magics[] = {
		{ "MZ", 2, "an EFI program without a Linux setup header" },
		{ "\x1f\x8b", 2, "gzip-compressed data" },
		{ "\x28\xb5\x2f\xfd", 4, "zstd-compressed data" },
		{ "\xfd\x37zXZ", 5, "xz-compressed data" },
		{ "\x02!L\x18", 4, "lz4-compressed data" },
		{ "\x04\x22M\x18", 4, "lz4-compressed data" },
		{ "070701", 6, "a cpio archive, as initial RAM disks are" },
		{ "QFI\xfb", 4, "a qcow2 disk image" },
		{ "!<arch>\n", 8, "an archive or Debian package" },
		{ "#!", 2, "a script" },
		{ "QEVM", 4, "the saved state of a machine" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(magics); i++)
		if (n >= magics[i].len && !memcmp(p, magics[i].bytes, magics[i].len))
			return magics[i].what;
	if (n >= SOURCE_BOOT_FLAG_OFFSET + 2 && p[SOURCE_BOOT_FLAG_OFFSET] == 0x55 &&
	    p[SOURCE_BOOT_FLAG_OFFSET + 1] == 0xaa)
		return "a boot sector or disk image without a Linux setup header";
	if (source_is_text(p, n))
		return "text";
	return "something else";
}

int source_detect(const struct source *s, enum source_kind *kind, struct err *e)
{
	uint8_t head[SOURCE_PROBE_BYTES] = { 0 };
	size_t n = MIN(s->kernel.size, sizeof(head));
	int ret;

	ret = source_file_read(&s->kernel, 0, head, n, e);
	if (ret)
		return ret;
	if (n >= 4 && !memcmp(head,
			      "\x7f"
			      "ELF",
			      4)) {
		*kind = SOURCE_PVH;
		return 0;
	}
	if (n == sizeof(head) && !memcmp(head + SOURCE_BOOT_FLAG_OFFSET, "\x55\xaa", 2) &&
	    !memcmp(head + SOURCE_HDRS_OFFSET, "HdrS", 4)) {
		*kind = SOURCE_BZIMAGE;
		return 0;
	}
	return err_set(e, ENOEXEC,
		       "cannot boot '%s': it is no kernel, neither a Linux bzImage nor an ELF file "
		       "with a PVH entry, but looks like %s",
		       s->kernel.path, source_describe(head, n));
}

uint64_t source_low_end(uint64_t ram_size)
{
	return MIN(ram_size, LAYOUT_LOW_RAM_MAX);
}

int source_place_initrd(const struct source *s, gpa_t floor, gpa_t limit, gpa_t *gpa, struct err *e)
{
	gpa_t end = MIN(limit, source_low_end(s->ram_size));
	uint64_t size = s->initrd.size;

	if (!s->initrd.path) {
		*gpa = 0;
		return 0;
	}
	floor = align_up(floor, SOURCE_PAGE);
	if (end < floor || size > end - floor || ((end - size) & ~(gpa_t)(SOURCE_PAGE - 1)) < floor)
		return err_set(e, ENOSPC,
			       "initrd '%s' is too large: it has %" PRIu64 " bytes (%" PRIu64
			       " MiB), and of %" PRIu64 " MiB of guest RAM %" PRIu64
			       " bytes (%" PRIu64 " MiB) are left for it beside the kernel",
			       s->initrd.path, size, size / MIB, s->ram_size / MIB,
			       end < floor ? 0 : end - floor,
			       end < floor ? 0 : (end - floor) / MIB);
	*gpa = (end - size) & ~(gpa_t)(SOURCE_PAGE - 1);
	return 0;
}

int source_check_cmdline(const struct source *s, uint64_t max, struct err *e)
{
	uint64_t n = strlen(s->append);

	max = MIN(max, SOURCE_CMDLINE_MAX);
	if (n > max)
		return err_set(e, E2BIG,
			       "kernel command line is too long: it has %" PRIu64
			       " characters, and '%s' takes at most %" PRIu64,
			       n, s->kernel.path, max);
	return 0;
}

int source_load_cmdline(const struct source *s, const struct memmap *m, struct err *e)
{
	return memmap_write(m, SOURCE_CMDLINE, s->append, strlen(s->append) + 1, e);
}

int source_load_gdt(const struct memmap *m, bool long_mode, struct err *e)
{
	uint8_t gdt[VCPU_ENTRY_GDT_BYTES];

	vcpu_entry_gdt(long_mode, gdt);
	return memmap_write(m, SOURCE_GDT, gdt, sizeof(gdt), e);
}

unsigned int source_memory_map(uint64_t ram_size, struct source_map_entry map[SOURCE_MAP_MAX])
{
	const gpa_t host_pages_end = LAYOUT_TSS + 3 * SOURCE_PAGE;
	uint64_t low_end = source_low_end(ram_size);
	unsigned int n = 0;

	map[n++] = (struct source_map_entry){ 0, LAYOUT_EBDA, SOURCE_MAP_RAM };
	map[n++] = (struct source_map_entry){ LAYOUT_EBDA, LAYOUT_LEGACY_END - LAYOUT_EBDA,
					      SOURCE_MAP_RESERVED };
	map[n++] = (struct source_map_entry){ LAYOUT_LEGACY_END, low_end - LAYOUT_LEGACY_END,
					      SOURCE_MAP_RAM };
	map[n++] = (struct source_map_entry){ LAYOUT_IDENTITY_MAP,
					      host_pages_end - LAYOUT_IDENTITY_MAP,
					      SOURCE_MAP_RESERVED };
	if (ram_size > low_end)
		map[n++] = (struct source_map_entry){ LAYOUT_HIGH_RAM, ram_size - low_end,
						      SOURCE_MAP_RAM };
	return n;
}
