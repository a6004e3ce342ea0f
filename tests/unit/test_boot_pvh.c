/* SPDX-License-Identifier: MIT */
/* PVH kernels: good ELF files land where they say, hostile ones are refused. */
#include <elf.h>

#include "boot/pvh.h"
#include "boot_fixture.h"

#define RAM        (64 * MIB)
#define LOAD_GPA   (2 * MIB)
#define LOAD_BYTES 64
#define BSS_BYTES  8192
#define ENTRY      (LOAD_GPA + 16)

/* An ELF file of one loadable segment and one note segment. */
struct image64 {
	Elf64_Ehdr h;
	Elf64_Phdr load;
	Elf64_Phdr note;
	struct {
		uint32_t name_bytes, bytes, type;
		char name[4];
		uint64_t entry;
	} pvh;
	uint8_t text[LOAD_BYTES];
};

struct image32 {
	Elf32_Ehdr h;
	Elf32_Phdr note;
	Elf32_Phdr load;
	struct {
		uint32_t name_bytes, bytes, type;
		char name[4];
		uint32_t entry;
	} pvh;
	uint8_t text[LOAD_BYTES];
};

static void image64_init(struct image64 *k)
{
	*k = (struct image64){
		.h.e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT },
		.h.e_type = ET_EXEC,
		.h.e_machine = EM_X86_64,
		.h.e_version = EV_CURRENT,
		.h.e_phoff = offsetof(struct image64, load),
		.h.e_phentsize = sizeof(Elf64_Phdr),
		.h.e_phnum = 2,
		.load.p_type = PT_LOAD,
		.load.p_offset = offsetof(struct image64, text),
		.load.p_vaddr = UINT64_C(0xffffffff80000000),
		.load.p_paddr = LOAD_GPA,
		.load.p_filesz = LOAD_BYTES,
		.load.p_memsz = LOAD_BYTES + BSS_BYTES,
		.note.p_type = PT_NOTE,
		.note.p_offset = offsetof(struct image64, pvh),
		.note.p_filesz = sizeof(k->pvh),
		.note.p_memsz = sizeof(k->pvh),
		.note.p_align = 4,
		.pvh = { 4, 8, 18, "Xen", ENTRY },
	};
	memset(k->text, 0x90, sizeof(k->text));
}

static void image32_init(struct image32 *k)
{
	*k = (struct image32){
		.h.e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS32, ELFDATA2LSB, EV_CURRENT },
		.h.e_type = ET_EXEC,
		.h.e_machine = EM_386,
		.h.e_version = EV_CURRENT,
		.h.e_phoff = offsetof(struct image32, note),
		.h.e_phentsize = sizeof(Elf32_Phdr),
		.h.e_phnum = 2,
		.load.p_type = PT_LOAD,
		.load.p_offset = offsetof(struct image32, text),
		.load.p_paddr = LOAD_GPA,
		.load.p_filesz = LOAD_BYTES,
		.load.p_memsz = LOAD_BYTES + BSS_BYTES,
		.note.p_type = PT_NOTE,
		.note.p_offset = offsetof(struct image32, pvh),
		.note.p_filesz = sizeof(k->pvh),
		.pvh = { 4, 4, 18, "Xen", ENTRY },
	};
	memset(k->text, 0x90, sizeof(k->text));
}

static void check_load(const char *path, uint64_t ram_size)
{
	static const uint8_t zeros[BSS_BYTES];
	char append[] = "hello";
	struct fixture_file initrd;
	struct vcpu_entry entry;
	struct err e = ERR_INIT;
	const uint8_t *info, *map;
	uint8_t *text, *module;
	uint64_t ram = 0;
	struct memmap m;
	struct source s;
	struct pvh p;

	fixture_file_init(&initrd, "RAMDISK", 7);
	fixture_ram_init(&m, ram_size);
	fixture_source_init(&s, path, initrd.path, append, ram_size);
	text = memmap_host_ptr(&m, LOAD_GPA, LOAD_BYTES + BSS_BYTES);
	memset(text, 0xcc, LOAD_BYTES + BSS_BYTES); /* what the guest before a reset left */
	if (pvh_plan(&s, &p, &e) || pvh_load(&p, &s, &m, LAYOUT_ACPI_TABLES, &entry, &e))
		fail_msg("%s", e.msg);
	assert_int_equal(text[0], 0x90);
	assert_int_equal(text[LOAD_BYTES - 1], 0x90);
	assert_memory_equal(text + LOAD_BYTES, zeros, BSS_BYTES);
	assert_false(entry.long_mode);
	assert_int_equal(entry.rip, ENTRY);
	info = memmap_host_ptr(&m, entry.rbx, 56);
	assert_non_null(info);
	assert_int_equal(fixture_get_le(info, 4), 0x336ec578);
	assert_int_equal(fixture_get_le(info + 4, 4), 1);
	assert_int_equal(fixture_get_le(info + 12, 4), 1);
	module = memmap_host_ptr(&m, fixture_get_le(info + 16, 8), 32);
	assert_int_equal(fixture_get_le(module + 8, 8), 7);
	assert_memory_equal(memmap_host_ptr(&m, fixture_get_le(module, 8), 7), "RAMDISK", 7);
	assert_string_equal(memmap_host_ptr(&m, fixture_get_le(info + 24, 8), 6), append);
	assert_int_equal(fixture_get_le(info + 32, 8), LAYOUT_ACPI_TABLES);
	map = memmap_host_ptr(&m, fixture_get_le(info + 40, 8), 24 * 5);
	for (unsigned int i = 0; i < fixture_get_le(info + 48, 4); i++)
		if (fixture_get_le(map + 24 * i + 16, 4) == 1)
			ram += fixture_get_le(map + 24 * i + 8, 8);
	assert_int_equal(ram, ram_size - (LAYOUT_LEGACY_END - LAYOUT_EBDA));
	fixture_source_fini(&s);
	memmap_fini(&m);
	close(initrd.fd);
}

static void elf_of_64_bits_lands_where_it_says(void **state)
{
	struct fixture_file f;
	struct image64 k;

	(void)state;
	image64_init(&k);
	fixture_file_init(&f, &k, sizeof(k));
	check_load(f.path, RAM);
	check_load(f.path, 5 * GIB);
	close(f.fd);
}

static void elf_of_32_bits_lands_where_it_says(void **state)
{
	struct fixture_file f;
	struct image32 k;

	(void)state;
	image32_init(&k);
	fixture_file_init(&f, &k, sizeof(k));
	check_load(f.path, RAM);
	close(f.fd);
}

static void every_truncated_prefix_is_refused(void **state)
{
	struct fixture_file f;
	struct image64 k;
	struct err e;

	(void)state;
	image64_init(&k);
	fixture_file_init(&f, &k, sizeof(k));
	for (size_t n = sizeof(k); n-- > 0;) {
		fixture_file_resize(&f, n);
		if (!fixture_try(&(struct boot_config){ .kernel = f.path }, RAM, &e))
			fail_msg("a prefix of %zu bytes was accepted", n);
	}
	close(f.fd);
}

static void refuse(struct image64 *k, const char *text)
{
	struct fixture_file f;

	fixture_file_init(&f, k, sizeof(*k));
	fixture_refused(&(struct boot_config){ .kernel = f.path }, RAM, text);
	close(f.fd);
	image64_init(k);
}

static void hostile_headers_are_refused_by_name(void **state)
{
	struct image64 k;

	(void)state;
	image64_init(&k);
	k.h.e_ident[EI_DATA] = ELFDATA2MSB;
	refuse(&k, "not little-endian");
	k.h.e_ident[EI_CLASS] = 7;
	refuse(&k, "neither of 32 nor of 64 bits");
	k.h.e_machine = EM_AARCH64;
	refuse(&k, "another processor");
	k.h.e_type = ET_REL;
	refuse(&k, "not an executable");
	k.h.e_phnum = 0;
	refuse(&k, "no program headers");
	k.h.e_phnum = UINT16_MAX;
	refuse(&k, "65535 program headers");
	k.h.e_phentsize = 1;
	refuse(&k, "1 bytes instead of 56");
	k.h.e_phoff = UINT64_MAX - 8;
	refuse(&k, "beyond the end of the file");
	k.h.e_phoff = sizeof(k) - 4;
	refuse(&k, "program header 0");
}

static void hostile_segments_are_refused_by_name(void **state)
{
	static const gpa_t taken[] = { 0, 0x500, 0x7000, 0x2ffff, LAYOUT_EBDA, 0xe0000, 0xfffff };
	struct image64 k;

	(void)state;
	image64_init(&k);
	k.load.p_offset = UINT64_MAX;
	refuse(&k, "ends beyond the file");
	k.load.p_offset = 1;
	k.load.p_filesz = k.load.p_memsz = UINT64_MAX;
	refuse(&k, "ends beyond the file");
	k.load.p_memsz = LOAD_BYTES - 1;
	refuse(&k, "more bytes in the file");
	k.load.p_memsz = UINT64_MAX;
	refuse(&k, "does not fit");
	k.load.p_memsz = RAM;
	refuse(&k, "64 MiB) at 0x200000");
	k.load.p_paddr = RAM;
	refuse(&k, "does not fit");
	k.load.p_paddr = UINT64_MAX - 16;
	refuse(&k, "does not fit");
	k.load.p_paddr = LAYOUT_HIGH_RAM;
	refuse(&k, "does not fit");
	k.load.p_paddr = LAYOUT_LAPIC;
	refuse(&k, "does not fit");
	for (size_t i = 0; i < ARRAY_SIZE(taken); i++) {
		k.load.p_paddr = taken[i];
		refuse(&k, "overlaps");
	}
	k.load.p_paddr = LAYOUT_EBDA - LOAD_BYTES;
	refuse(&k, "overlaps");
	k.load.p_type = PT_NULL;
	refuse(&k, "in none of its segments");
}

static void hostile_notes_are_refused_by_name(void **state)
{
	struct image64 k;

	(void)state;
	image64_init(&k);
	k.note.p_type = PT_NULL;
	refuse(&k, "no PVH entry note");
	k.pvh.type = 17;
	refuse(&k, "no PVH entry note");
	k.pvh.name[0] = 'x';
	refuse(&k, "no PVH entry note");
	k.pvh.name_bytes = UINT32_MAX;
	refuse(&k, "runs beyond");
	k.pvh.bytes = UINT32_MAX;
	refuse(&k, "runs beyond");
	k.pvh.bytes = 9;
	refuse(&k, "runs beyond");
	k.pvh.bytes = 2;
	refuse(&k, "neither 4 nor 8 bytes");
	k.note.p_filesz = 4;
	refuse(&k, "runs beyond");
	k.note.p_filesz = 0;
	refuse(&k, "no PVH entry note");
	k.note.p_offset = UINT64_MAX - 4;
	refuse(&k, "ends beyond the file");
	k.pvh.entry = LOAD_GPA - 1;
	refuse(&k, "in none of its segments");
	k.pvh.entry = LOAD_GPA + LOAD_BYTES + BSS_BYTES;
	refuse(&k, "in none of its segments");
	k.pvh.entry = ENTRY | UINT64_C(1) << 32;
	refuse(&k, "in none of its segments");
}

static void absurdly_large_notes_are_refused(void **state)
{
	struct fixture_file f;
	struct image64 k;

	(void)state;
	image64_init(&k);
	k.note.p_filesz = GIB;
	fixture_file_init(&f, &k, sizeof(k));
	fixture_file_resize(&f, 2 * GIB);
	fixture_refused(&(struct boot_config){ .kernel = f.path }, RAM,
			"its notes have 1073741824");
	close(f.fd);
}

static void initrd_must_fit_beside_the_kernel(void **state)
{
	struct fixture_file f, initrd;
	struct boot_config cfg;
	struct image64 k;
	struct err e;

	(void)state;
	image64_init(&k);
	k.load.p_memsz = 4 * MIB;
	fixture_file_init(&f, &k, sizeof(k));
	fixture_file_init(&initrd, "x", 1);
	cfg = (struct boot_config){ .kernel = f.path, .initrd = initrd.path };
	fixture_file_resize(&initrd, RAM - 6 * MIB);
	assert_int_equal(fixture_try(&cfg, RAM, &e), 0);
	fixture_file_resize(&initrd, RAM - 6 * MIB + 1);
	fixture_refused(&cfg, RAM, "initrd '/proc/self/fd");
	close(f.fd);
	close(initrd.fd);
}

static void random_header_bytes_do_no_harm(void **state)
{
	const size_t head = offsetof(struct image64, text);
	char append[] = "x";
	uint64_t seed = 1;
	struct fixture_file f;
	struct memmap m;
	struct source s;
	struct image64 k;
	unsigned int loaded = 0;

	(void)state;
	image64_init(&k);
	fixture_file_init(&f, &k, sizeof(k));
	fixture_ram_init(&m, 8 * MIB);
	fixture_source_init(&s, f.path, NULL, append, 8 * MIB);
	for (unsigned int i = 0; i < 20000; i++) {
		struct err e = ERR_INIT;
		struct vcpu_entry entry;
		struct pvh p;
		uint8_t byte;

		seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
		byte = (uint8_t)(seed >> 56);
		if (i % 4 == 0)
			fixture_file_patch(&f, 0, &k, head);
		fixture_file_patch(&f, (seed >> 33) % head, &byte, 1);
		if (pvh_plan(&s, &p, &e))
			continue;
		assert_int_equal(pvh_load(&p, &s, &m, LAYOUT_ACPI_TABLES, &entry, &e), 0);
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
		cmocka_unit_test(elf_of_64_bits_lands_where_it_says),
		cmocka_unit_test(elf_of_32_bits_lands_where_it_says),
		cmocka_unit_test(every_truncated_prefix_is_refused),
		cmocka_unit_test(hostile_headers_are_refused_by_name),
		cmocka_unit_test(hostile_segments_are_refused_by_name),
		cmocka_unit_test(hostile_notes_are_refused_by_name),
		cmocka_unit_test(absurdly_large_notes_are_refused),
		cmocka_unit_test(initrd_must_fit_beside_the_kernel),
		cmocka_unit_test(random_header_bytes_do_no_harm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
