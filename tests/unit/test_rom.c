/* SPDX-License-Identifier: MIT */
/* Firmware: what is refused, where it stands, and what its loader makes of the ACPI tables. */
#include <errno.h>
#include <stdlib.h>

#include "boot/acpi.h"
#include "boot/rom.h"
#include "boot/rom_files.h"
#include "boot_fixture.h"

#define ROM_AT(size) (LAYOUT_ROM_END - (size))

/* An image of @size bytes whose 64-bit words are their own offsets, plus 1. */
static void make_image(struct fixture_file *f, uint64_t size)
{
	AUTO_BUF b = { 0 };

	for (uint64_t at = 0; at + 8 <= size; at += 8) {
		uint64_t v = at + 1;

		buf_put(&b, &v, 8);
	}
	while (b.len < size)
		buf_put_u8(&b, 0x5a);
	fixture_file_init(f, b.data, b.len);
}

static void refused(uint64_t size, const char *text)
{
	struct fixture_file f;
	struct rom rom;
	struct err e;

	make_image(&f, size);
	assert_true(rom_open(&rom, f.path, &e) < 0);
	rom_close(&rom);
	close(f.fd);
	if (!strstr(e.msg, text))
		fail_msg("expected '%s' in: %s", text, e.msg);
}

static void images_of_odd_sizes_are_refused(void **state)
{
	(void)state;
	refused(1, "not a multiple of 64 KiB");
	refused(0x10001, "not a multiple of 64 KiB");
	refused(0x1010000, "there is room for");
	refused(0, "empty");
}

static void missing_images_are_refused_with_where_they_were_looked_for(void **state)
{
	struct rom rom;
	struct err e;

	(void)state;
	assert_int_equal(rom_open(&rom, "no-such-firmware.bin", &e), -ENOENT);
	assert_non_null(strstr(e.msg, "/usr/share/seabios/"));
	rom_close(&rom);
	assert_int_equal(rom_open(&rom, "/no/such/firmware.bin", &e), -ENOENT);
	assert_null(strstr(e.msg, "seabios"));
	rom_close(&rom);
}

static void image_ends_at_4_gib_and_its_end_is_in_low_memory_after_each_start(void **state)
{
	static const uint64_t sizes[] = { 0x10000, 0x20000, 0x40000, 0x80000, 0x1000000 };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		uint64_t low = MIN(sizes[i], UINT64_C(0x40000)), word;
		struct fixture_file f;
		struct ram_block *b;
		struct memmap m;
		struct rom rom;
		struct err e;

		make_image(&f, sizes[i]);
		fixture_ram_init(&m, 2 * MIB);
		assert_int_equal(rom_open(&rom, f.path, &e), 0);
		assert_int_equal(rom_add(&rom, &m, &e), 0);
		rom_close(&rom);
		close(f.fd);
		b = memmap_find_block(&m, ROM_BLOCK);
		assert_non_null(b);
		assert_true(b->readonly);
		assert_int_equal(b->size, sizes[i]);
		assert_null(memmap_writable_ptr(&m, ROM_AT(sizes[i]), 1));
		assert_int_equal(memmap_read(&m, LAYOUT_ROM_END - 8, &word, 8, &e), 0);
		assert_int_equal(word, sizes[i] - 8 + 1);
		for (int start = 0; start < 2; start++) {
			assert_int_equal(rom_start(&m, &e), 0);
			assert_memory_equal(memmap_host_ptr(&m, LAYOUT_LEGACY_END - low, low),
					    memmap_host_ptr(&m, LAYOUT_ROM_END - low, low), low);
			/* Firmware keeps variables there; they do not last. */
			memset(memmap_writable_ptr(&m, LAYOUT_LEGACY_END - low, low), 0xee, low);
		}
		memmap_fini(&m);
	}
}

static uint64_t kept_size(void *opaque, const char *name)
{
	return strcmp(name, ROM_BLOCK) ? 0 : ((const struct ram_block *)opaque)->size;
}

static int take_kept(void *opaque, const struct ram_config *cfg, struct ram_block **out,
		     struct err *e)
{
	struct ram_block *b = opaque;

	return ram_block_create(out, cfg, dup(b->fd), e);
}

static void an_old_machines_image_is_not_read_anew(void **state)
{
	struct ram_block *old;
	const struct ram_config cfg = {
		.name = ROM_BLOCK, .size = 0x20000, .backend = RAM_BACKEND_RAM, .share = true
	};
	struct ram_source source = { .size = kept_size, .take = take_kept, .share = true };
	struct memmap m;
	struct rom rom;
	struct err e;

	(void)state;
	assert_int_equal(ram_block_create(&old, &cfg, -1, &e), 0);
	strcpy((char *)old->host, "from the old machine");
	fixture_ram_init(&m, 2 * MIB);
	source.opaque = old;
	m.source = &source;
	rom_keep(&rom, old->size);
	assert_int_equal(rom_add(&rom, &m, &e), 0);
	assert_string_equal(memmap_host_ptr(&m, ROM_AT(0x20000), 32), "from the old machine");
	memmap_fini(&m);
	ram_block_destroy(old);
}

static void machine_without_firmware_does_not_start_in_it(void **state)
{
	struct memmap m;
	struct err e;

	(void)state;
	fixture_ram_init(&m, 2 * MIB);
	assert_int_equal(rom_start(&m, &e), -ENOENT);
	memmap_fini(&m);
}

/* What a firmware does with the files: memory for each, then the script's commands in order. */
struct loaded {
	const char *name;
	uint64_t gpa; /* made up */
	uint8_t *data;
	size_t len;
};

static struct loaded *find_loaded(struct loaded *l, size_t n, const uint8_t *name)
{
	assert_non_null(memchr(name, 0, ROM_FILE_NAME_MAX));
	for (size_t i = 0; i < n; i++)
		if (!strcmp(l[i].name, (const char *)name))
			return &l[i];
	fail_msg("the script names '%s', which is no file", (const char *)name);
	return NULL;
}

static uint8_t sum(const uint8_t *p, size_t n)
{
	uint8_t s = 0;

	while (n--)
		s = (uint8_t)(s + *p++);
	return s;
}

static void run_script(const struct buf *script, struct loaded *l, size_t n)
{
	assert_int_equal(script->len % 128, 0);
	for (size_t at = 0; at < script->len; at += 128) {
		const uint8_t *c = script->data + at;
		struct loaded *to = find_loaded(l, n, c + 4);
		uint64_t offset, size, first, v;

		switch (fixture_get_le(c, 4)) {
		case 1:
			assert_int_equal(to->gpa, 0);
			v = fixture_get_le(c + 60, 4);
			assert_true(v && !(v & (v - 1)));
			assert_true(c[64] == 1 || c[64] == 2);
			to->gpa = c[64] == 1 ? 0x3fe0000 : 0xf5b00;
			break;
		case 2:
			offset = fixture_get_le(c + 116, 4);
			size = c[120];
			assert_true(size == 4 || size == 8);
			assert_true(offset + size <= to->len);
			assert_int_not_equal(find_loaded(l, n, c + 60)->gpa, 0);
			v = fixture_get_le(to->data + offset, size) +
			    find_loaded(l, n, c + 60)->gpa;
			for (uint64_t i = 0; i < size; i++)
				to->data[offset + i] = (uint8_t)(v >> 8 * i);
			break;
		case 3:
			offset = fixture_get_le(c + 60, 4);
			first = fixture_get_le(c + 64, 4);
			size = fixture_get_le(c + 68, 4);
			assert_true(offset < to->len && first + size <= to->len);
			to->data[offset] =
				(uint8_t)(to->data[offset] - sum(to->data + first, size));
			break;
		default:
			fail_msg("command %d is none", (int)fixture_get_le(c, 4));
		}
	}
}

/* A table at a guest's address; what sums up to 0 was not changed after its sum was made. */
static const uint8_t *table(const struct loaded *t, uint64_t gpa, const char *signature)
{
	const uint8_t *p = t->data + (gpa - t->gpa);

	assert_true(gpa >= t->gpa && gpa - t->gpa + 36 <= t->len);
	assert_memory_equal(p, signature, strlen(signature));
	assert_int_equal(sum(p, fixture_get_le(p + 4, 4)), 0);
	return p;
}

static void script_makes_valid_tables_of_the_files(void **state)
{
	const struct rom_files_config cfg = { .ram_size = 64 * MIB,
					      .nr_vcpus = 3,
					      .serial_mask = 3 };
	struct loaded l[3] = { { .name = "etc/acpi/tables" }, { .name = "etc/acpi/rsdp" } };
	const struct buf *script = NULL;
	const uint8_t *xsdt, *fadt = NULL;
	unsigned int nr_tables = 0;
	struct rom_files f;
	struct err e;

	(void)state;
	assert_int_equal(rom_files_build(&f, &cfg, &e), 0);
	for (unsigned int i = 0; i < f.nr; i++) {
		if (!strcmp(f.file[i].name, "etc/table-loader"))
			script = &f.file[i].data;
		for (int j = 0; j < 2; j++)
			if (!strcmp(f.file[i].name, l[j].name)) {
				l[j].data = f.file[i].data.data;
				l[j].len = f.file[i].data.len;
			}
	}
	assert_non_null(script);
	run_script(script, l, 2);
	assert_memory_equal(l[1].data, "RSD PTR ", 8);
	assert_int_equal(sum(l[1].data, 20), 0);
	assert_int_equal(sum(l[1].data, 36), 0);
	xsdt = table(&l[0], fixture_get_le(l[1].data + 24, 8), "XSDT");
	for (uint64_t at = 36; at < fixture_get_le(xsdt + 4, 4); at += 8) {
		const uint8_t *t = table(&l[0], fixture_get_le(xsdt + at, 8), "");

		nr_tables++;
		if (!memcmp(t, "FACP", 4))
			fadt = t;
	}
	assert_true(nr_tables >= 2);
	assert_non_null(fadt);
	table(&l[0], fixture_get_le(fadt + 140, 8), "DSDT");
	assert_int_equal(fixture_get_le(fadt + 40, 4), fixture_get_le(fadt + 140, 8));
	assert_memory_equal(l[0].data + (fixture_get_le(fadt + 36, 4) - l[0].gpa), "FACS", 4);
	assert_int_equal(fixture_get_le(fadt + 36, 4) % 64, 0);
	rom_files_fini(&f);
}

static void damaged_tables_make_no_script(void **state)
{
	(void)state;
	for (unsigned int seed = 1; seed < 4000; seed++) {
		AUTO_BUF tables = { 0 }, rsdp = { 0 }, script = { 0 };
		struct err e;

		assert_int_equal(acpi_build(&tables, 0, 1, 1, 64 * MIB, &e), 0);
		srandom(seed);
		for (int i = 0; i < 4; i++)
			tables.data[(size_t)random() % tables.len] = (uint8_t)random();
		if (seed % 4 == 0)
			tables.len = (size_t)random() % tables.len;
		/* Whatever comes: an error or a script, and nothing read outside (ASan). */
		rom_files_split_acpi(&tables, &rsdp, &script, &e);
		assert_int_equal(script.len % 128, 0);
	}
}

static void memory_map_has_all_ram_from_zero(void **state)
{
	const struct rom_files_config cfg = { .ram_size = 4 * GIB, .nr_vcpus = 1 };
	const struct buf *e820 = NULL;
	struct rom_files f;
	uint64_t ram = 0;
	struct err e;

	(void)state;
	assert_int_equal(rom_files_build(&f, &cfg, &e), 0);
	for (unsigned int i = 0; i < f.nr; i++) {
		assert_string_not_equal(f.file[i].name, "etc/sercon-port");
		if (!strcmp(f.file[i].name, "etc/e820"))
			e820 = &f.file[i].data;
	}
	assert_non_null(e820);
	assert_int_equal(fixture_get_le(e820->data, 8), 0);
	for (size_t at = 0; at < e820->len; at += 20)
		if (fixture_get_le(e820->data + at + 16, 4) == 1)
			ram += fixture_get_le(e820->data + at + 8, 8);
	assert_true(ram == cfg.ram_size);
	rom_files_fini(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(images_of_odd_sizes_are_refused),
		cmocka_unit_test(missing_images_are_refused_with_where_they_were_looked_for),
		cmocka_unit_test(image_ends_at_4_gib_and_its_end_is_in_low_memory_after_each_start),
		cmocka_unit_test(an_old_machines_image_is_not_read_anew),
		cmocka_unit_test(machine_without_firmware_does_not_start_in_it),
		cmocka_unit_test(script_makes_valid_tables_of_the_files),
		cmocka_unit_test(damaged_tables_make_no_script),
		cmocka_unit_test(memory_map_has_all_ram_from_zero),
	};

	return cmocka_run_group_tests_name("rom", tests, NULL, NULL);
}
