/* SPDX-License-Identifier: MIT */
/* Kernels and firmware of any bytes, which may change while they are looked at. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/util.h"
#include "boot/acpi.h"
#include "boot/bzimage.h"
#include "boot/pvh.h"
#include "boot/rom.h"
#include "boot/rom_files.h"
#include "boot/source.h"
#include "fuzz.h"
#include "machine/memmap.h"

enum {
	RAM = 8 << 20,
	MAX_SPARSE = 4 << 20, /* what a file may have behind its bytes */
	MAX_PATCHES = 8,
};

/* What the first byte can choose; bits above say more. */
enum what {
	KERNEL,
	ROM,
	ACPI,
	WHATS,
};

enum {
	HAS_INITRD = 0x10,
	HAS_APPEND = 0x20,
	SPARSE = 0x40,
	CHANGES = 0x80,
};

/* Guest RAM, in which what one input leaves is of no interest to the next. */
static struct ram_block *ram(void)
{
	static struct ram_block block;

	if (!block.host) {
		block = (struct ram_block){ .size = RAM, .in_guest = true };
		block.host =
			mmap(NULL, RAM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		MUST(block.host != MAP_FAILED);
		strcpy(block.name, "pc.ram");
	}
	return &block;
}

static void check_refusal(int r, const struct err *e)
{
	if (r)
		MUST(r == -e->code && e->msg[0]);
}

static void open_image(struct source_file *f, const void *p, size_t n)
{
	f->fd = memfd_create("image", MFD_CLOEXEC);
	f->path = strdup("image");
	MUST(f->fd >= 0 && f->path && pwrite(f->fd, p, n, 0) == (ssize_t)n);
	f->size = n;
}

/* As boot_load(), up to the vCPU. */
static void load(struct source *s, const struct memmap *m, struct fuzz_bytes *changes)
{
	struct vcpu_entry entry;
	enum source_kind kind;
	struct bzimage bzimage;
	struct err e = ERR_INIT;
	struct pvh pvh;
	int r;

	r = source_file_refresh(&s->kernel, &e);
	if (!r)
		r = source_detect(s, &kind, &e);
	if (!r)
		r = kind == SOURCE_PVH ? pvh_plan(s, &pvh, &e) : bzimage_plan(s, &bzimage, &e);
	check_refusal(r, &e);
	if (r)
		return;
	for (unsigned int i = 0; changes->left && i < MAX_PATCHES; i++) {
		uint16_t at = fuzz_u16(changes), v = fuzz_u16(changes);

		if (at & 0x8000)
			MUST(!ftruncate(s->kernel.fd, at & 0x7fff));
		else
			MUST(pwrite(s->kernel.fd, &v, 1, at) == 1);
	}
	r = kind == SOURCE_PVH ? pvh_load(&pvh, s, m, LAYOUT_ACPI_TABLES, &entry, &e)
			       : bzimage_load(&bzimage, s, m, LAYOUT_ACPI_TABLES, &entry, &e);
	check_refusal(r, &e);
	/* The entry is where the kernel is, in the guest's memory. */
	if (!r)
		MUST(memmap_host_ptr(m, entry.rip, 1));
}

static void try_kernel(uint8_t how, struct fuzz_bytes *b)
{
	struct source s = { .kernel.fd = -1, .initrd.fd = -1, .ram_size = RAM };
	struct memmap m = { 0 };
	struct fuzz_bytes changes = { NULL, 0 };

	m.ranges[0] = (struct mem_range){ 0, RAM, ram(), 0 };
	m.nr_ranges = 1;
	if (how & CHANGES) {
		changes = (struct fuzz_bytes){ b->data, MIN(fuzz_u8(b) & 0x1fu, b->left) };
		changes.data = b->data;
		b->data += changes.left;
		b->left -= changes.left;
	}
	s.append = strdup(how & HAS_APPEND ? "console=ttyS0" : "");
	if (how & HAS_INITRD)
		open_image(&s.initrd, "RAMDISK", 7);
	open_image(&s.kernel, b->data, b->left);
	if (how & SPARSE)
		MUST(!ftruncate(s.kernel.fd, MAX_SPARSE));
	load(&s, &m, &changes);
	source_file_close(&s.kernel);
	source_file_close(&s.initrd);
	free(s.append);
}

static void try_rom(uint8_t how, struct fuzz_bytes *b)
{
	struct memmap m = { 0 };
	struct rom rom;
	struct source_file f = { .fd = -1 };
	struct err e = ERR_INIT;
	char path[64];
	int r;

	m.ranges[0] = (struct mem_range){ 0, RAM, ram(), 0 };
	m.nr_ranges = 1;
	open_image(&f, b->data, b->left);
	MUST(!ftruncate(f.fd, (off_t)(how >> 4) << (how & SPARSE ? 16 : 15)));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", f.fd);
	r = rom_open(&rom, path, &e);
	if (!r && how & CHANGES)
		MUST(!ftruncate(f.fd, 100));
	if (!r)
		r = rom_add(&rom, &m, &e);
	check_refusal(r, &e);
	r = rom_start(&m, &e);
	check_refusal(r, &e);
	rom_close(&rom);
	source_file_close(&f);
	for (unsigned int i = 0; i < m.nr_blocks; i++)
		ram_block_destroy(m.blocks[i]);
}

/* The tables that are split for the firmware, damaged: the script stays within its files. */
static void try_acpi(uint8_t how, struct fuzz_bytes *b)
{
	AUTO_BUF tables = { 0 };
	AUTO_BUF rsdp = { 0 };
	AUTO_BUF script = { 0 };
	struct err e = ERR_INIT;
	int r;

	if (how & HAS_INITRD) {
		buf_put(&tables, b->data, b->left);
	} else {
		MUST(!acpi_build(&tables, 0, 1 + (how >> 5), 1, RAM, &e));
		while (b->left) {
			uint16_t at = fuzz_u16(b);

			tables.data[at % tables.len] = fuzz_u8(b);
		}
	}
	r = rom_files_split_acpi(&tables, &rsdp, &script, &e);
	check_refusal(r, &e);
	if (!r)
		MUST(script.len % 128 == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_bytes b = { data, size };
	uint8_t how = fuzz_u8(&b);

	switch ((enum what)((how & 0xf) % WHATS)) {
	case KERNEL:
		try_kernel(how, &b);
		break;
	case ROM:
		try_rom(how, &b);
		break;
	default:
		try_acpi(how, &b);
		break;
	}
	return 0;
}
