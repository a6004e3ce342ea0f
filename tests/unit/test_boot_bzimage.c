/* SPDX-License-Identifier: MIT */
/* Linux kernels are checked before a machine exists, and land where they ask to. */
#include <asm/bootparam.h>
#include <stdlib.h>

#include "boot/bzimage.h"
#include "boot_fixture.h"

/* A kernel of 4 KiB behind two sectors of setup, which wants 1 MiB at 16 MiB. */
#define SETUP_BYTES (3 * 512)
#define PAYLOAD     4096
#define IMAGE_BYTES (SETUP_BYTES + PAYLOAD)
#define PREF        (16 * MIB)
#define INIT_SIZE   (1 * MIB)
#define RAM         (64 * MIB)

struct image {
	uint8_t bytes[IMAGE_BYTES];
};

static struct setup_header *header(struct image *k)
{
	return (struct setup_header *)(k->bytes + 0x1f1);
}

static void image_init(struct image *k)
{
	struct setup_header *h = header(k);

	*k = (struct image){ { 0 } };
	for (size_t i = 0; i < PAYLOAD; i++)
		k->bytes[SETUP_BYTES + i] = (uint8_t)(i * 7 + 1);
	h->setup_sects = 2;
	h->syssize = PAYLOAD / 16;
	h->boot_flag = 0xaa55;
	h->jump = 0xeb | 0x6a << 8; /* the header ends at 0x26c */
	h->header = 0x53726448;
	h->version = 0x020f;
	h->loadflags = LOADED_HIGH;
	h->initrd_addr_max = 0x7fffffff;
	h->kernel_alignment = 2 * MIB;
	h->relocatable_kernel = 1;
	h->xloadflags = XLF_KERNEL_64;
	h->cmdline_size = 2047;
	h->setup_data = 0xdead; /* not ours to pass on */
	h->pref_address = PREF;
	h->init_size = INIT_SIZE;
}

static void good_kernel_is_accepted(void **state)
{
	struct fixture_file f;
	struct image k;
	struct err e;

	(void)state;
	image_init(&k);
	fixture_file_init(&f, &k, sizeof(k));
	if (fixture_try(&(struct boot_config){ .kernel = f.path }, RAM, &e))
		fail_msg("%s", e.msg);
	close(f.fd);
}

static void every_truncated_prefix_is_refused(void **state)
{
	struct fixture_file f;
	struct image k;
	struct err e;

	(void)state;
	image_init(&k);
	fixture_file_init(&f, &k, sizeof(k));
	for (size_t n = IMAGE_BYTES; n-- > 0;) {
		fixture_file_resize(&f, n);
		if (!fixture_try(&(struct boot_config){ .kernel = f.path }, RAM, &e))
			fail_msg("a prefix of %zu bytes was accepted", n);
	}
	close(f.fd);
}

static void refuse_image(struct image *k, const char *text)
{
	struct fixture_file f;

	fixture_file_init(&f, k, sizeof(*k));
	fixture_refused(&(struct boot_config){ .kernel = f.path }, RAM, text);
	close(f.fd);
}

static void unusable_headers_are_refused_by_name(void **state)
{
	struct image k;

	(void)state;
	image_init(&k);
	header(&k)->version = 0x020b;
	refuse_image(&k, "boot protocol 2.11");
	image_init(&k);
	header(&k)->xloadflags = 0;
	refuse_image(&k, "no 64-bit entry");
	image_init(&k);
	header(&k)->loadflags = 0;
	refuse_image(&k, "no 64-bit entry");
	image_init(&k);
	header(&k)->jump = 0xeb | 0x20 << 8;
	refuse_image(&k, "too short");
	image_init(&k);
	header(&k)->kernel_alignment = 3;
	refuse_image(&k, "power of two");
	image_init(&k);
	header(&k)->kernel_alignment = 0;
	refuse_image(&k, "power of two");
	image_init(&k);
	header(&k)->syssize = 0;
	refuse_image(&k, "before its entry");
	image_init(&k);
	header(&k)->syssize = UINT32_MAX;
	refuse_image(&k, "cut off");
	image_init(&k);
	header(&k)->relocatable_kernel = 0;
	header(&k)->pref_address = 0x10000;
	refuse_image(&k, "below 1 MiB");
	image_init(&k);
	header(&k)->header = 0;
	refuse_image(&k, "it is no kernel");
}

static void kernel_too_large_for_ram_is_refused_with_sizes(void **state)
{
	struct image k;

	(void)state;
	image_init(&k);
	header(&k)->init_size = 100 * MIB;
	refuse_image(&k, "100 MiB");
	header(&k)->init_size = UINT32_MAX;
	refuse_image(&k, "does not fit");
	image_init(&k);
	header(&k)->pref_address = UINT64_MAX - 4096;
	refuse_image(&k, "does not fit");
	header(&k)->pref_address = RAM;
	refuse_image(&k, "does not fit");
	header(&k)->pref_address = RAM - 4096;
	header(&k)->kernel_alignment = 1u << 31;
	refuse_image(&k, "does not fit");
}

static void files_that_are_no_kernel_are_described(void **state)
{
	static const struct {
		const char *bytes;
		const char *text;
	} cases[] = {
		{ "#!/bin/sh\n", "a script" },        { "just some words\n", "text" },
		{ "070701000000", "a cpio archive" }, { "MZ\x01\x02", "an EFI program" },
		{ "\x1f\x8b\x08", "gzip" },           { "\x01\x02\x03", "something else" },
	};
	uint8_t disk[4096] = { 0 };
	struct fixture_file f;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		fixture_file_init(&f, cases[i].bytes, strlen(cases[i].bytes));
		fixture_refused(&(struct boot_config){ .kernel = f.path }, RAM, cases[i].text);
		close(f.fd);
	}
	disk[510] = 0x55;
	disk[511] = 0xaa;
	fixture_file_init(&f, disk, sizeof(disk));
	fixture_refused(&(struct boot_config){ .kernel = f.path }, RAM, "a boot sector");
	close(f.fd);
	fixture_file_init(&f, NULL, 0);
	fixture_refused(&(struct boot_config){ .kernel = f.path }, RAM, "empty");
	close(f.fd);
}

static void paths_that_cannot_be_read_are_named(void **state)
{
	struct fixture_file f;
	struct image k;

	(void)state;
	fixture_refused(&(struct boot_config){ 0 }, RAM,
			"-kernel is required, or -bios and a disk to boot from");
	fixture_refused(&(struct boot_config){ .kernel = "/nonexistent/vmlinuz" }, RAM,
			"'/nonexistent/vmlinuz'");
	fixture_refused(&(struct boot_config){ .kernel = "/" }, RAM, "a directory");
	fixture_refused(&(struct boot_config){ .kernel = "/dev/null" }, RAM, "a device");
	image_init(&k);
	fixture_file_init(&f, &k, sizeof(k));
	fixture_refused(&(struct boot_config){ .kernel = f.path, .initrd = "/nonexistent/initrd" },
			RAM, "-initrd: Could not open '/nonexistent/initrd'");
	fixture_refused(&(struct boot_config){ .kernel = f.path }, MIB, "2 MiB");
	close(f.fd);
}

static void command_line_is_limited_by_the_kernel(void **state)
{
	static char line[70000];
	struct boot_config cfg = { .append = line };
	struct fixture_file f;
	struct image k;
	struct err e;

	(void)state;
	image_init(&k);
	fixture_file_init(&f, &k, sizeof(k));
	cfg.kernel = f.path;
	memset(line, 'x', 2047);
	assert_int_equal(fixture_try(&cfg, RAM, &e), 0);
	line[2047] = 'x';
	fixture_refused(&cfg, RAM, "2048 characters");
	header(&k)->cmdline_size = UINT32_MAX;
	fixture_file_patch(&f, 0, &k, sizeof(k));
	assert_int_equal(fixture_try(&cfg, RAM, &e), 0);
	memset(line, 'x', sizeof(line) - 1);
	fixture_refused(&cfg, RAM, "at most 65535");
	close(f.fd);
}

static void initrd_that_does_not_fit_is_refused_with_sizes(void **state)
{
	struct fixture_file f, initrd;
	struct boot_config cfg;
	struct image k;
	struct err e;

	(void)state;
	image_init(&k);
	fixture_file_init(&f, &k, sizeof(k));
	fixture_file_init(&initrd, "x", 1);
	cfg = (struct boot_config){ .kernel = f.path, .initrd = initrd.path };
	fixture_file_resize(&initrd, RAM - PREF - INIT_SIZE);
	assert_int_equal(fixture_try(&cfg, RAM, &e), 0);
	fixture_file_resize(&initrd, RAM - PREF - INIT_SIZE + 1);
	fixture_refused(&cfg, RAM, "too large: it has 49283073 bytes (47 MiB)");
	fixture_file_resize(&initrd, UINT64_C(1) << 40);
	fixture_refused(&cfg, RAM, "too large");
	/* The kernel's own limit counts too, also when it lies below the kernel. */
	fixture_file_resize(&initrd, 8 * MIB);
	header(&k)->initrd_addr_max = PREF + INIT_SIZE + 8 * MIB - 2;
	fixture_file_patch(&f, 0, &k, sizeof(k));
	fixture_refused(&cfg, RAM, "too large");
	header(&k)->initrd_addr_max = 4096;
	fixture_file_patch(&f, 0, &k, sizeof(k));
	fixture_refused(&cfg, RAM, "0 bytes (0 MiB) are left");
	close(f.fd);
	close(initrd.fd);
}

static void check_zero_page(const struct memmap *m, const struct bzimage *z, uint64_t initrd_bytes)
{
	const struct boot_params *bp = memmap_host_ptr(m, SOURCE_ZERO_PAGE, sizeof(*bp));
	uint64_t ram = 0, last = 0;

	assert_int_equal(bp->sentinel, 0);
	assert_int_equal(bp->hdr.type_of_loader, 0xff);
	assert_int_equal(bp->hdr.setup_data, 0);
	assert_int_equal(bp->hdr.header, 0x53726448);
	assert_int_equal(bp->hdr.ramdisk_image, z->initrd);
	assert_int_equal(bp->hdr.ramdisk_size, initrd_bytes);
	assert_int_equal(bp->hdr.cmd_line_ptr, SOURCE_CMDLINE);
	assert_int_equal(bp->acpi_rsdp_addr, LAYOUT_ACPI_TABLES);
	for (unsigned int i = 0; i < bp->e820_entries; i++) {
		assert_true(bp->e820_table[i].addr >= last);
		last = bp->e820_table[i].addr + bp->e820_table[i].size;
		if (bp->e820_table[i].type != 1)
			continue;
		ram += bp->e820_table[i].size;
		assert_non_null(memmap_host_ptr(m, bp->e820_table[i].addr, bp->e820_table[i].size));
	}
	assert_int_equal(ram, m->ram->size - (LAYOUT_LEGACY_END - LAYOUT_EBDA));
}

/* Walks the tables as a CPU does. */
static gpa_t translate(const struct memmap *m, gpa_t cr3, uint64_t va)
{
	const uint64_t *table = memmap_host_ptr(m, cr3, 4096);

	for (unsigned int shift = 39; shift > 21; shift -= 9) {
		uint64_t entry = table[va >> shift & 511];

		assert_int_equal(entry & 0x83, 3);
		table = memmap_host_ptr(m, entry & ~UINT64_C(0xfff), 4096);
		assert_non_null(table);
	}
	assert_int_equal(table[va >> 21 & 511] & 0x83, 0x83);
	return (table[va >> 21 & 511] & ~UINT64_C(0x1fffff)) | (va & 0x1fffff);
}

static void check_load(uint64_t ram_size)
{
	static const uint64_t vas[] = { 0, 0x7000, PREF + 0x200, 0xbfffffff, 0xffffffff };
	char append[] = "console=ttyS0";
	struct vcpu_entry entry;
	struct fixture_file f, initrd;
	struct err e = ERR_INIT;
	struct bzimage z;
	struct memmap m;
	struct source s;
	struct image k;

	image_init(&k);
	fixture_file_init(&f, &k, sizeof(k));
	fixture_file_init(&initrd, "RAMDISK", 7);
	fixture_ram_init(&m, ram_size);
	fixture_source_init(&s, f.path, initrd.path, append, ram_size);
	assert_int_equal(bzimage_plan(&s, &z, &e), 0);
	assert_int_equal(bzimage_load(&z, &s, &m, LAYOUT_ACPI_TABLES, &entry, &e), 0);
	assert_int_equal(z.load, PREF);
	assert_memory_equal(memmap_host_ptr(&m, PREF, PAYLOAD), k.bytes + SETUP_BYTES, PAYLOAD);
	assert_int_equal(z.initrd % 4096, 0);
	assert_int_equal(z.initrd, MIN(ram_size, 2 * GIB) - 4096);
	assert_memory_equal(memmap_host_ptr(&m, z.initrd, 7), "RAMDISK", 7);
	assert_string_equal(memmap_host_ptr(&m, SOURCE_CMDLINE, sizeof(append)), append);
	check_zero_page(&m, &z, 7);
	assert_true(entry.long_mode);
	assert_int_equal(entry.rip, PREF + 0x200);
	assert_int_equal(entry.rsi, SOURCE_ZERO_PAGE);
	for (size_t i = 0; i < ARRAY_SIZE(vas); i++)
		assert_int_equal(translate(&m, entry.cr3, vas[i]), vas[i]);
	fixture_source_fini(&s);
	memmap_fini(&m);
	close(f.fd);
	close(initrd.fd);
}

static void kernel_and_all_it_needs_are_in_ram(void **state)
{
	(void)state;
	check_load(RAM);
	check_load(5 * GIB); /* sparse: RAM on both sides of the hole */
}

static void random_header_bytes_do_no_harm(void **state)
{
	char append[] = "x";
	uint64_t seed = 1;
	struct fixture_file f;
	struct memmap m;
	struct source s;
	struct image k;
	unsigned int loaded = 0;

	(void)state;
	image_init(&k);
	fixture_file_init(&f, &k, sizeof(k));
	fixture_ram_init(&m, RAM);
	fixture_source_init(&s, f.path, NULL, append, RAM);
	for (unsigned int i = 0; i < 20000; i++) {
		struct err e = ERR_INIT;
		struct vcpu_entry entry;
		struct bzimage z;
		uint8_t byte;

		seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
		byte = (uint8_t)(seed >> 56);
		if (i % 4 == 0)
			fixture_file_patch(&f, 0, &k, SETUP_BYTES);
		fixture_file_patch(&f, 0x1f1 + (seed >> 33) % 0x80, &byte, 1);
		if (bzimage_plan(&s, &z, &e))
			continue;
		assert_int_equal(bzimage_load(&z, &s, &m, LAYOUT_ACPI_TABLES, &entry, &e), 0);
		loaded++;
	}
	assert_true(loaded > 100);
	fixture_source_fini(&s);
	memmap_fini(&m);
	close(f.fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_kernel_is_accepted),
		cmocka_unit_test(every_truncated_prefix_is_refused),
		cmocka_unit_test(unusable_headers_are_refused_by_name),
		cmocka_unit_test(kernel_too_large_for_ram_is_refused_with_sizes),
		cmocka_unit_test(files_that_are_no_kernel_are_described),
		cmocka_unit_test(paths_that_cannot_be_read_are_named),
		cmocka_unit_test(command_line_is_limited_by_the_kernel),
		cmocka_unit_test(initrd_that_does_not_fit_is_refused_with_sizes),
		cmocka_unit_test(kernel_and_all_it_needs_are_in_ram),
		cmocka_unit_test(random_header_bytes_do_no_harm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
