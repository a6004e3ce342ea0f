/* SPDX-License-Identifier: MIT */
/* fw_cfg through its ports and its command block; boot order. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/util.h"
#include "dev/pc/fw_cfg.h"
#include "machine/boot_order.h"
#include "machine/layout.h"
#include "machine/vm.h"

#define PORT_SELECT LAYOUT_PORT_FW_CFG
#define PORT_DATA   (LAYOUT_PORT_FW_CFG + 1)
#define PORT_DMA    (LAYOUT_PORT_FW_CFG + 4)
#define COMMAND     0x2000
#define ROM_AT      0x300000

enum {
	C_ERROR = 1,
	C_READ = 2,
	C_SKIP = 4,
	C_SELECT = 8,
	C_WRITE = 16,
	DIRECTORY = 0x19,
};

static const struct fw_cfg_file files[] = {
	{ "etc/one", "first file", 10, false },
	{ "etc/acpi/tables", "a table", 7, true },
	{ "opt/empty", NULL, 0, false },
	{ "opt/two", "2", 1, false },
};

struct fixture {
	struct vm vm; /* ports and memory only */
	struct fw_cfg f;
};

static void init_machine(struct fixture *f, const struct ram_source *source)
{
	const struct fw_cfg_config cfg = { .files = files, .nr_files = ARRAY_SIZE(files) };
	struct ram_config ram = { .name = "ram0", .size = 2 * MIB, .share = true };
	struct ram_block *b;
	struct err e;

	memset(f, 0, sizeof(*f));
	f->vm.nr_vcpus = 2;
	list_init(&f->vm.boot_order);
	iobus_init(&f->vm.pio);
	assert_int_equal(ram_block_create(&b, &ram, -1, &e), 0);
	memmap_init(&f->vm.mem, b);
	ram.name = "rom";
	ram.size = 4096;
	assert_int_equal(ram_block_create(&b, &ram, -1, &e), 0);
	b->readonly = true;
	assert_int_equal(memmap_add_block(&f->vm.mem, b, ROM_AT, &e), 0);
	f->vm.mem.source = source;
	if (fw_cfg_init(&f->f, &f->vm, source ? &(struct fw_cfg_config){ 0 } : &cfg, &e))
		fail_msg("%s", e.msg);
	assert_int_equal(iobus_add(&f->vm.pio, &f->f.h.ports, &e), 0);
	assert_int_equal(iobus_add(&f->vm.pio, &f->f.h.dma, &e), 0);
	if (!source)
		fw_cfg_class.reset(&f->f.dev);
}

static int setup(void **state)
{
	struct fixture *f = malloc(sizeof(*f));

	init_machine(f, NULL);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	memmap_fini(&f->vm.mem);
	free(f);
	return 0;
}

static void select_key(struct fixture *f, uint16_t key)
{
	iobus_write(&f->vm.pio, PORT_SELECT, &key, 2);
}

static uint8_t next(struct fixture *f)
{
	uint8_t v;

	iobus_read(&f->vm.pio, PORT_DATA, &v, 1);
	return v;
}

static uint32_t next_be32(struct fixture *f)
{
	uint32_t v = 0;

	for (int i = 0; i < 4; i++)
		v = v << 8 | next(f);
	return v;
}

static void next_bytes(struct fixture *f, void *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		((uint8_t *)p)[i] = next(f);
}

static uint8_t *ram(struct fixture *f, gpa_t gpa)
{
	return memmap_host_ptr(&f->vm.mem, gpa, 1);
}

/* Looks a file up as a guest does; 0: there is none. */
static uint16_t find_file(struct fixture *f, const char *name, uint32_t *size)
{
	uint32_t n;

	select_key(f, DIRECTORY);
	n = next_be32(f);
	for (uint32_t i = 0; i < n; i++) {
		uint32_t bytes = next_be32(f), key = next_be32(f) >> 16;
		char entry[56];

		next_bytes(f, entry, sizeof(entry));
		if (strcmp(entry, name))
			continue;
		*size = bytes;
		return (uint16_t)key;
	}
	return 0;
}

static void check_file(struct fixture *f, const char *name, const char *data, uint32_t bytes)
{
	uint32_t size = 0;
	char got[256];

	select_key(f, find_file(f, name, &size));
	assert_int_equal(size, bytes);
	next_bytes(f, got, bytes);
	assert_memory_equal(got, data, bytes);
	assert_int_equal(next(f), 0);
}

static void set_be(uint8_t *p, uint64_t v, int bytes)
{
	while (bytes--) {
		p[bytes] = (uint8_t)v;
		v >>= 8;
	}
}

static void write_dma_port(struct fixture *f, uint64_t at)
{
	uint8_t reg[8];

	set_be(reg, at, 8);
	iobus_write(&f->vm.pio, PORT_DMA, reg, 4);
	iobus_write(&f->vm.pio, PORT_DMA + 4, reg + 4, 4);
}

/* Has a command carried out; its control word then. */
static uint32_t command(struct fixture *f, uint32_t control, uint32_t n, uint64_t to)
{
	uint8_t *c = ram(f, COMMAND);

	set_be(c, control, 4);
	set_be(c + 4, n, 4);
	set_be(c + 8, to, 8);
	write_dma_port(f, COMMAND);
	return (uint32_t)c[0] << 24 | c[1] << 16 | c[2] << 8 | c[3];
}

static void every_byte_of_the_state_is_in_the_table(void **state)
{
	struct err e;

	(void)state;
	assert_int_equal(vs_audit(fw_cfg_class.state, &e), 0);
}

static void guest_finds_signature_machine_and_files(void **state)
{
	struct fixture *f = *state;
	uint32_t size;
	char text[4];

	select_key(f, 0);
	next_bytes(f, text, 4);
	assert_memory_equal(text, "QEMU", 4);
	select_key(f, 1);
	assert_int_equal(next(f), 3);
	select_key(f, 3);
	next(f), next(f);
	assert_int_equal(next(f), 2 * MIB >> 16);
	select_key(f, 5);
	assert_int_equal(next(f), 2);
	check_file(f, "etc/one", "first file", 10);
	check_file(f, "etc/acpi/tables", "a table", 7);
	check_file(f, "opt/empty", "", 0);
	check_file(f, "opt/two", "2", 1);
	assert_int_equal(find_file(f, "etc/none", &size), 0);
}

static void items_that_are_not_there_read_as_zeros(void **state)
{
	struct fixture *f = *state;

	for (uint32_t key = 0x40; key <= 0xffff; key += 0x3f) {
		select_key(f, (uint16_t)key);
		assert_int_equal(next(f), 0);
	}
}

static void accesses_of_other_sizes_change_nothing(void **state)
{
	struct fixture *f = *state;
	uint32_t v = 0;

	select_key(f, 0);
	iobus_write(&f->vm.pio, PORT_SELECT, &v, 1);
	iobus_read(&f->vm.pio, PORT_SELECT, &v, 2);
	assert_int_equal(v, 0xffff);
	iobus_write(&f->vm.pio, PORT_DATA, "x", 1);
	assert_int_equal(next(f), 'Q');
}

static void command_copies_an_item_and_zeros_behind_it(void **state)
{
	struct fixture *f = *state;
	uint32_t size, key = find_file(f, "etc/one", &size);

	memset(ram(f, 0x3000), 0xee, 0x2000);
	/* Over the end of a page. */
	assert_int_equal(command(f, key << 16 | C_SELECT | C_READ, 20, 0x3ffa), 0);
	assert_memory_equal(ram(f, 0x3ffa), "first file\0\0\0\0\0\0\0\0\0\0", 20);
	assert_int_equal(*ram(f, 0x3ff9), 0xee);
	assert_int_equal(*ram(f, 0x400e), 0xee);
}

static void skip_and_ports_share_the_place_in_the_item(void **state)
{
	struct fixture *f = *state;
	uint32_t size, key = find_file(f, "etc/one", &size);

	select_key(f, (uint16_t)key);
	assert_int_equal(command(f, C_SKIP, 6, 0), 0);
	assert_int_equal(next(f), 'f');
	assert_int_equal(command(f, C_READ, 2, 0x3000), 0);
	assert_memory_equal(ram(f, 0x3000), "il", 2);
	assert_int_equal(command(f, C_SKIP, UINT32_MAX, 0), 0);
	assert_int_equal(command(f, C_SKIP, UINT32_MAX, 0), 0);
	assert_int_equal(next(f), 0);
}

static void commands_on_memory_that_is_none_fail(void **state)
{
	struct fixture *f = *state;
	static const uint64_t bad[] = { 2 * MIB,         2 * MIB - 4, UINT64_MAX,
					UINT64_MAX - 15, ROM_AT,      0xc0000000 };

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(command(f, C_SELECT | C_READ, 16, bad[i]), C_ERROR);
		/* The block itself: nowhere to answer, and nothing happens. */
		write_dma_port(f, bad[i]);
	}
	assert_int_equal(*ram(f, ROM_AT), 0);
	assert_int_equal(command(f, C_SELECT | C_READ, 0x40000000, 0), C_ERROR);
	assert_int_equal(command(f, C_SELECT | C_READ, UINT32_MAX, 0x1000), C_ERROR);
	assert_int_equal(command(f, C_SELECT | C_WRITE, 1, 0x1000), C_ERROR);
	assert_int_equal(f->f.s.dma_addr, 0);
}

static void dma_register_says_who_it_is(void **state)
{
	struct fixture *f = *state;
	char text[8];

	iobus_read(&f->vm.pio, PORT_DMA, text, 4);
	iobus_read(&f->vm.pio, PORT_DMA + 4, text + 4, 4);
	assert_memory_equal(text, "QEMU CFG", 8);
}

/* The blocks of the fixture in @opaque, as another process has them. */
static uint64_t kept_size(void *opaque, const char *name)
{
	const struct ram_block *b = memmap_find_block(opaque, name);

	return b && b->kept ? b->size : 0;
}

static int take_kept(void *opaque, const struct ram_config *cfg, struct ram_block **out,
		     struct err *e)
{
	return ram_block_create(out, cfg, dup(memmap_find_block(opaque, cfg->name)->fd), e);
}

static void transfer_state(const struct fixture *from, struct fixture *to)
{
	const struct vs_desc *d = fw_cfg_class.state;
	AUTO_BUF wire = { 0 };
	struct fw_cfg_state s;
	struct cursor c;
	struct err e;

	vs_encode(d, &from->f.s, &wire, NULL);
	cursor_init(&c, wire.data, wire.len);
	assert_int_equal(vs_decode(d, d->version, &c, &s, &e), 0);
	assert_int_equal(fw_cfg_class.fits(&to->f.dev, &s, &e), 0);
	to->f.s = s;
	fw_cfg_class.loaded(&to->f.dev);
}

static void reading_goes_on_in_the_same_files_after_an_update(void **state)
{
	struct fixture *f = *state, *to = malloc(sizeof(*to));
	const struct ram_source source = {
		.size = kept_size, .take = take_kept, .opaque = &f->vm.mem, .share = true
	};
	uint32_t size, high = 0;
	const struct ram_block *a = NULL, *b = NULL;

	select_key(f, find_file(f, "etc/one", &size));
	assert_int_equal(next(f), 'f');
	init_machine(to, &source);
	/* Half of an address was written. */
	iobus_write(&f->vm.pio, PORT_DMA, "\0\0\0\1", 4);
	transfer_state(f, to);
	assert_int_equal(next(to), 'i');
	iobus_write(&to->vm.pio, PORT_DMA + 4, &high, 4);
	check_file(to, "etc/acpi/tables", "a table", 7);
	check_file(to, "opt/two", "2", 1);
	/* Both have the same blocks in the same order. */
	do {
		a = memmap_next_block(&f->vm.mem, a);
		b = memmap_next_block(&to->vm.mem, b);
		assert_int_equal(!a, !b);
		if (a)
			assert_string_equal(a->name, b->name);
	} while (a);
	memmap_fini(&to->vm.mem);
	free(to);
}

static void damaged_directory_is_refused(void **state)
{
	struct fixture *f = *state;
	struct fw_cfg_state s = { 0 };
	uint8_t *p = f->f.h.block->host, saved[512];
	struct err e;

	memcpy(saved, p, sizeof(saved));
	set_be(p, 0, 4);
	assert_int_equal(fw_cfg_class.fits(&f->f.dev, &s, &e), -EINVAL);
	set_be(p, 0xffffffff, 4);
	assert_int_equal(fw_cfg_class.fits(&f->f.dev, &s, &e), -EINVAL);
	memcpy(p, saved, sizeof(saved));
	set_be(p + 4, 0xfffffff0, 4);
	assert_int_equal(fw_cfg_class.fits(&f->f.dev, &s, &e), -EINVAL);
	memcpy(p, saved, sizeof(saved));
	memset(p + 12, 'x', 56);
	assert_int_equal(fw_cfg_class.fits(&f->f.dev, &s, &e), -EINVAL);
	/* What the machine knows by itself is still there. */
	fw_cfg_class.loaded(&f->f.dev);
	select_key(f, 0);
	assert_int_equal(next(f), 'Q');
	memcpy(p, saved, sizeof(saved));
	assert_int_equal(fw_cfg_class.fits(&f->f.dev, &s, &e), 0);
	srandom(7);
	for (int i = 0; i < 20000; i++) {
		memcpy(p, saved, sizeof(saved));
		for (int j = 0; j < 3; j++)
			p[random() % 400] = (uint8_t)random();
		if (!fw_cfg_class.fits(&f->f.dev, &s, &e))
			fw_cfg_class.loaded(&f->f.dev);
		command(f, 0x200000 | C_SELECT | C_READ, 4096, 0x3000);
	}
}

static void files_that_cannot_be_are_refused(void **state)
{
	static const struct fw_cfg_file same[] = { { "opt/a", "", 0, false },
						   { "opt/a", "", 0, false } };
	static const struct fw_cfg_file large = { "opt/a", "", UINT32_MAX, false };
	static const struct fw_cfg_file order = { "bootorder", "", 0, false };
	const struct fw_cfg_config bad[] = { { same, 2 }, { &large, 1 }, { &order, 1 } };
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct fw_cfg other = { .dev.vm = &f->vm };
		struct err e;

		assert_true(fw_cfg_init(&other, &f->vm, &bad[i], &e) < 0);
		assert_true(strlen(e.msg) > 10);
	}
}

static void boot_order_is_by_index_and_new_at_each_reset(void **state)
{
	struct boot_entry a = { .index = 0 }, b = { .index = 0 }, c = { .index = 0 };
	struct fixture *f = *state;
	struct err e;

	check_file(f, "bootorder", "", 0);
	assert_int_equal(boot_order_add(&f->vm, &a, 7, "/second", &e), 0);
	assert_int_equal(boot_order_add(&f->vm, &b, 1, "/first", &e), 0);
	assert_int_equal(boot_order_add(&f->vm, &c, 7, "/none", &e), -EEXIST);
	assert_int_equal(boot_order_add(&f->vm, &c, BOOT_INDEX_NONE, "/none", &e), 0);
	check_file(f, "bootorder", "", 0);
	fw_cfg_class.reset(&f->f.dev);
	check_file(f, "bootorder", "/first\n/second", 15);
	boot_order_del(&b);
	boot_order_del(&c);
	fw_cfg_class.reset(&f->f.dev);
	check_file(f, "bootorder", "/second", 8);
	boot_order_del(&a);
	boot_order_del(&a);
}

static void boot_order_beyond_its_room_is_cut_at_a_line(void **state)
{
	struct boot_entry *list = calloc(64, sizeof(*list));
	struct fixture *f = *state;
	char path[150], text[4096];
	uint32_t size, key;
	struct err e;

	memset(path, 'p', sizeof(path) - 1);
	path[sizeof(path) - 1] = 0;
	for (int i = 0; i < 64; i++)
		assert_int_equal(boot_order_add(&f->vm, &list[i], i, path, &e), 0);
	fw_cfg_class.reset(&f->f.dev);
	key = find_file(f, "bootorder", &size);
	assert_int_equal(size, 4096 / 150 * 150);
	select_key(f, (uint16_t)key);
	next_bytes(f, text, size);
	assert_int_equal(text[149], '\n');
	assert_int_equal(text[size - 1], 0);
	assert_int_equal(strlen(text), size - 1);
	free(list);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(every_byte_of_the_state_is_in_the_table),
		TEST(guest_finds_signature_machine_and_files),
		TEST(items_that_are_not_there_read_as_zeros),
		TEST(accesses_of_other_sizes_change_nothing),
		TEST(command_copies_an_item_and_zeros_behind_it),
		TEST(skip_and_ports_share_the_place_in_the_item),
		TEST(commands_on_memory_that_is_none_fail),
		TEST(dma_register_says_who_it_is),
		TEST(reading_goes_on_in_the_same_files_after_an_update),
		TEST(damaged_directory_is_refused),
		TEST(files_that_cannot_be_are_refused),
		TEST(boot_order_is_by_index_and_new_at_each_reset),
		TEST(boot_order_beyond_its_room_is_cut_at_a_line),
	};

	return cmocka_run_group_tests_name("fw_cfg", tests, NULL, NULL);
}
