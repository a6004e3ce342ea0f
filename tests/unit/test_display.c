/* SPDX-License-Identifier: MIT */
/* bochs-display: registers, what is shown whatever they say, EDID; pictures as files. */
#include <zlib.h>

#include "ctl/picture_file.h"
#include "dev/pci/bochs_display.h"
#include "pci_fixture.h"

#define DEVFN (2 << 3)
#define BASE  UINT64_C(0xe1000000)
#define VBE   (BASE + 0x500)
#define VRAM  (4 * MIB)

struct fixture {
	struct pci_fixture pci;
	struct bochs_display *b;
};

static int setup(void **state)
{
	struct fixture *f = malloc(sizeof(*f));
	struct bochs_config config = {
		.device.addr = DEVFN, .vgamem = VRAM - 1, .edid = true, .xres = 1280, .yres = 800
	};
	struct device *d;
	struct err e;

	pci_fixture_init(&f->pci);
	list_init(&f->pci.vm.displays);
	if (bochs_display_type.create(&f->pci.vm, &config.device, &d, &e))
		fail_msg("%s", e.msg);
	f->b = CONTAINER_OF(d, struct bochs_display, dev);
	bochs_display_class.reset(d);
	cfg_set(&f->pci, DEVFN, PCI_BAR0 + 8, 4, BASE);
	cfg_set(&f->pci, DEVFN, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	pci_fixture_fini(&f->pci);
	for (unsigned int i = 0; i < f->pci.vm.mem.nr_blocks; i++)
		ram_block_destroy(f->pci.vm.mem.blocks[i]);
	free(f);
	return 0;
}

static void set(struct fixture *f, unsigned int reg, uint16_t v)
{
	bus_set(&f->pci.vm.mmio, VBE + 2 * reg, 2, v);
}

static uint64_t get(struct fixture *f, unsigned int reg)
{
	return bus_get(&f->pci.vm.mmio, VBE + 2 * reg, 2);
}

static void set_mode(struct fixture *f, uint16_t x, uint16_t y, uint16_t bpp)
{
	set(f, BOCHS_XRES, x);
	set(f, BOCHS_YRES, y);
	set(f, BOCHS_BPP, bpp);
	set(f, BOCHS_ENABLE, 0x41);
}

static int look(struct fixture *f, struct picture *p, struct err *e)
{
	const struct display *d = display_find(&f->pci.vm, NULL);

	return d->look(d->opaque, p, e);
}

static void every_byte_of_the_state_is_in_the_table(void **state)
{
	struct err e;

	(void)state;
	assert_int_equal(vs_audit(bochs_display_class.state, &e), 0);
}

static void guest_finds_the_display_and_its_memory(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(cfg_get(&f->pci, DEVFN, 0, 4), 0x11111234);
	assert_int_equal(cfg_get(&f->pci, DEVFN, 8, 4), 0x03800002);
	assert_int_equal(get(f, BOCHS_ID) & 0xfff0, 0xb0c0);
	assert_int_equal(get(f, BOCHS_MEMORY_64K), VRAM / 65536);
	assert_int_equal(bus_get(&f->pci.vm.mmio, BASE + 0x600, 4), 8);
	assert_int_equal(bus_get(&f->pci.vm.mmio, BASE + 0x604, 4), 0x1e1e1e1e);
	assert_non_null(memmap_find_block(&f->pci.vm.mem, "0000:00:02.0/bochs-display-vram"));
}

static void registers_keep_what_is_written_but_constants(void **state)
{
	struct fixture *f = *state;

	for (unsigned int reg = 0; reg < 32; reg++)
		set(f, reg, (uint16_t)(0x1230 + reg));
	for (unsigned int reg = BOCHS_XRES; reg < BOCHS_NR_STORED; reg++)
		assert_int_equal(get(f, reg), 0x1230 + reg);
	assert_int_equal(get(f, BOCHS_ID), 0xb0c5);
	assert_int_equal(get(f, BOCHS_MEMORY_64K), VRAM / 65536);
	assert_int_equal(get(f, 20), 0xffff);
	bus_set(&f->pci.vm.mmio, VBE + 2 * BOCHS_XRES, 1, 7);
	bus_set(&f->pci.vm.mmio, VBE + 2 * BOCHS_XRES + 1, 2, 7);
	assert_int_equal(get(f, BOCHS_XRES), 0x1231);
	bus_set(&f->pci.vm.mmio, BASE + 0x604, 4, 0xbebebebe);
	assert_int_equal(bus_get(&f->pci.vm.mmio, BASE + 0x604, 4), 0xbebebebe);
	bus_set(&f->pci.vm.mmio, BASE + 0x604, 4, 5);
	assert_int_equal(bus_get(&f->pci.vm.mmio, BASE + 0x604, 4), 0xbebebebe);
}

static void picture_is_where_the_registers_say(void **state)
{
	struct fixture *f = *state;
	const uint8_t *vram = f->b->h.vram->host;
	struct picture p;
	struct err e;

	assert_int_equal(look(f, &p, &e), -ENODATA);
	set_mode(f, 640, 480, 32);
	assert_int_equal(look(f, &p, &e), 0);
	assert_int_equal(p.width, 640);
	assert_int_equal(p.height, 480);
	assert_int_equal(p.stride, 640 * 4);
	assert_int_equal(p.format, PICTURE_XRGB8888);
	assert_ptr_equal(p.pixels, vram);
	set(f, BOCHS_VIRT_WIDTH, 1024);
	set(f, BOCHS_X_OFFSET, 10);
	set(f, BOCHS_Y_OFFSET, 20);
	assert_int_equal(look(f, &p, &e), 0);
	assert_int_equal(p.stride, 1024 * 4);
	assert_ptr_equal(p.pixels, vram + 20 * 4096 + 40);
	set(f, BOCHS_BPP, 16);
	assert_int_equal(look(f, &p, &e), 0);
	assert_int_equal(p.format, PICTURE_RGB565);
	assert_ptr_equal(p.pixels, vram + 20 * 2048 + 20);
}

static void the_last_pixel_may_be_the_last_byte_and_not_more(void **state)
{
	struct fixture *f = *state;
	struct picture p;
	struct err e;

	set_mode(f, 1024, 1024, 32);
	assert_int_equal(look(f, &p, &e), 0);
	set(f, BOCHS_X_OFFSET, 1);
	assert_int_equal(look(f, &p, &e), -EINVAL);
	set(f, BOCHS_X_OFFSET, 0);
	set(f, BOCHS_YRES, 1025);
	assert_int_equal(look(f, &p, &e), -EINVAL);
	assert_non_null(strstr(e.msg, "more than the display's 4194304 bytes"));
}

static void whatever_the_guest_sets_nothing_beyond_the_memory_is_read(void **state)
{
	static const uint16_t some[] = { 0, 1, 63, 64, 65, 640, 1024, 4095, 32768, 65535 };
	struct fixture *f = *state;
	const uint8_t *vram = f->b->h.vram->host;
	unsigned int shown = 0;

	srandom(11);
	for (int i = 0; i < 200000; i++) {
		struct picture p;
		struct err e;

		for (unsigned int reg = BOCHS_XRES; reg < BOCHS_NR_STORED; reg++)
			set(f, reg, random() % 3 ? some[random() % 10] : (uint16_t)random());
		if (random() % 4)
			set(f, BOCHS_BPP, random() % 2 ? 16 : 32);
		if (look(f, &p, &e)) {
			assert_true(strlen(e.msg) > 10);
			continue;
		}
		shown++;
		assert_true(p.pixels >= vram);
		assert_true(p.pixels + p.stride * (p.height - 1) +
				    (uint64_t)p.width * (p.format == PICTURE_RGB565 ? 2 : 4) <=
			    vram + VRAM);
	}
	assert_true(shown > 100);
}

static void reset_turns_it_off(void **state)
{
	struct fixture *f = *state;
	struct picture p;
	struct err e;

	set_mode(f, 640, 480, 32);
	bochs_display_class.reset(&f->b->dev);
	assert_int_equal(look(f, &p, &e), -ENODATA);
}

static void monitor_describes_its_native_mode(void **state)
{
	static const uint32_t modes[][2] = {
		{ 1280, 800 }, { 320, 200 }, { 1920, 1080 }, { 3840, 2160 }, { 4095, 4095 }
	};
	struct fixture *f = *state;

	assert_int_equal(bus_get(&f->pci.vm.mmio, BASE, 4), 0xffffff00);
	assert_int_equal(bus_get(&f->pci.vm.mmio, BASE + 4, 4), 0x00ffffff);
	assert_int_equal(bus_get(&f->pci.vm.mmio, BASE + 128, 4), 0);
	for (size_t i = 0; i < ARRAY_SIZE(modes); i++) {
		uint8_t d[EDID_BYTES], sum = 0, *t = d + 54;
		uint64_t frame, clock;

		edid_build(d, modes[i][0], modes[i][1]);
		for (int k = 0; k < EDID_BYTES; k++)
			sum = (uint8_t)(sum + d[k]);
		assert_int_equal(sum, 0);
		assert_int_equal(t[2] | (t[4] & 0xf0) << 4, modes[i][0]);
		assert_int_equal(t[5] | (t[7] & 0xf0) << 4, modes[i][1]);
		frame = (modes[i][0] + t[3]) * (uint64_t)(modes[i][1] + t[6]);
		clock = (t[0] | t[1] << 8) * UINT64_C(10000);
		assert_in_range(clock / frame, 29, 60);
	}
}

/* A little picture in each form. */
static void pictures_keep_their_colours(void **state)
{
	static const uint8_t le[] = { 1, 2, 3, 0, 250, 251, 252, 0 };
	static const uint8_t be[] = { 0, 3, 2, 1, 0, 252, 251, 250 };
	static const uint8_t rgb565[] = { 0x1f, 0xf8, 0xe0, 0x07 };
	const struct {
		enum picture_format format;
		const uint8_t *pixels;
		uint8_t rgb[6];
	} cases[] = {
		{ PICTURE_XRGB8888, le, { 3, 2, 1, 252, 251, 250 } },
		{ PICTURE_BGRX8888, be, { 3, 2, 1, 252, 251, 250 } },
		{ PICTURE_RGB565, rgb565, { 255, 0, 255, 0, 255, 0 } },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct picture p = { .width = 2,
					   .height = 1,
					   .stride = 8,
					   .format = cases[i].format,
					   .pixels = cases[i].pixels };
		AUTO_BUF b = { 0 };
		struct err e;

		assert_int_equal(picture_put_ppm(&p, &b, &e), 0);
		assert_int_equal(b.len, 11 + 6);
		assert_memory_equal(b.data, "P6\n2 1\n255\n", 11);
		assert_memory_equal(b.data + 11, cases[i].rgb, 6);
	}
}

static uint32_t be32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | p[1] << 16 | p[2] << 8 | p[3];
}

/* Reads it as any program would: chunks with their sums, and what was compressed. */
static void a_png_has_the_pixels_of_the_ppm(void **state)
{
	enum {
		X = 300,
		Y = 200
	};
	uint32_t *pixels = calloc(X * Y, 4);
	uint8_t *rows = malloc(Y * (1 + 3 * X));
	const struct picture p = {
		.width = X, .height = Y, .stride = 4 * X, .pixels = (uint8_t *)pixels
	};
	uLongf n = Y * (1 + 3 * X);
	AUTO_BUF png = { 0 }, ppm = { 0 };
	unsigned int chunks = 0;
	struct err e;

	(void)state;
	srandom(5);
	for (int i = 0; i < X * Y; i++)
		pixels[i] = i < X * Y / 2 ? (uint32_t)random() : 0xff00ff;
	assert_int_equal(picture_put_png(&p, &png, &e), 0);
	assert_int_equal(picture_put_ppm(&p, &ppm, &e), 0);
	assert_memory_equal(png.data, "\x89PNG\r\n\x1a\n", 8);
	for (size_t at = 8; at < png.len; chunks++) {
		const uint8_t *c = png.data + at;
		uint32_t len = be32(c);

		assert_true(at + 12 + len <= png.len);
		assert_int_equal(be32(c + 8 + len), crc32(crc32(0, NULL, 0), c + 4, len + 4));
		if (!memcmp(c + 4, "IHDR", 4)) {
			assert_int_equal(be32(c + 8), X);
			assert_int_equal(be32(c + 12), Y);
			assert_memory_equal(c + 16, "\x08\x02\0\0\0", 5);
		}
		if (!memcmp(c + 4, "IDAT", 4))
			assert_int_equal(uncompress(rows, &n, c + 8, len), Z_OK);
		at += 12 + len;
	}
	assert_int_equal(chunks, 3);
	assert_int_equal(n, Y * (1 + 3 * X));
	for (int y = 0; y < Y; y++) {
		assert_int_equal(rows[y * (1 + 3 * X)], 0);
		assert_memory_equal(rows + y * (1 + 3 * X) + 1,
				    ppm.data + (ppm.len - Y * 3 * X) + y * 3 * X, 3 * X);
	}
	free(pixels);
	free(rows);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(every_byte_of_the_state_is_in_the_table),
		TEST(guest_finds_the_display_and_its_memory),
		TEST(registers_keep_what_is_written_but_constants),
		TEST(picture_is_where_the_registers_say),
		TEST(the_last_pixel_may_be_the_last_byte_and_not_more),
		TEST(whatever_the_guest_sets_nothing_beyond_the_memory_is_read),
		TEST(reset_turns_it_off),
		TEST(monitor_describes_its_native_mode),
		cmocka_unit_test(pictures_keep_their_colours),
		cmocka_unit_test(a_png_has_the_pixels_of_the_ppm),
	};

	return cmocka_run_group_tests_name("display", tests, NULL, NULL);
}
