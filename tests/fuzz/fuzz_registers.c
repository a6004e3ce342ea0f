/* SPDX-License-Identifier: MIT */
/* A guest that does what the bytes say with fw_cfg, whose files may be damaged, and bochs-display. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "dev/pc/fw_cfg.h"
#include "dev/pci/bochs_display.h"
#include "fuzz.h"
#include "machine/layout.h"
#include "machine/vm.h"

enum {
	RAM = 0x10000,
	ROM = 0x20000,
	ROM_BYTES = 0x1000,
	VRAM = 0x40000,
	MARK = 0xa5,
};

/* What the bytes can have happen. */
enum op {
	OP_IN,
	OP_OUT,
	OP_COMMAND, /* a control block, and its address in the port */
	OP_DAMAGE,  /* the files are other ones after a load        */
	OP_RESET,
	OP_MMIO_READ,
	OP_MMIO_WRITE,
	OP_LOOK,
	OP_COUNT,
};

struct world {
	struct vm vm;
	struct fw_cfg f;
	struct bochs_display b;
	struct ram_block ram, rom, vram;
};

static uint64_t no_size(void *opaque, const char *name)
{
	(void)opaque;
	(void)name;
	return 0;
}

/* Private memory: no descriptor to make for each input. */
static const struct ram_source source = { .size = no_size };

static void command(struct world *w, struct fuzz_bytes *b)
{
	uint32_t at = fuzz_u32(b) % (RAM + 64), high = fuzz_u8(b) == 1;
	uint8_t low[4] = { (uint8_t)(at >> 24), (uint8_t)(at >> 16), (uint8_t)(at >> 8),
			   (uint8_t)at };

	if (at <= RAM - 16)
		fuzz_take(b, w->ram.host + at, 16);
	iobus_write(&w->vm.pio, LAYOUT_PORT_FW_CFG + 4, &high, 4);
	iobus_write(&w->vm.pio, LAYOUT_PORT_FW_CFG + 8, low, 4);
	MUST(!w->f.s.dma_addr);
	/* Done, or failed, and nothing else. */
	if (!high && at <= RAM - 16)
		MUST(!w->ram.host[at] && !w->ram.host[at + 1] && !w->ram.host[at + 2] &&
		     w->ram.host[at + 3] <= 1);
}

static void damage(struct world *w, struct fuzz_bytes *b)
{
	uint8_t *p = w->f.h.block->host, saved[1024];
	struct err e = ERR_INIT;
	struct fw_cfg_state s = w->f.s;

	memcpy(saved, p, sizeof(saved));
	for (unsigned int n = fuzz_u8(b) % 8; n; n--)
		p[fuzz_u16(b) % sizeof(saved)] = fuzz_u8(b);
	if (!fw_cfg_class.fits(&w->f.dev, &s, &e)) {
		fw_cfg_class.loaded(&w->f.dev);
		return;
	}
	MUST(e.msg[0]);
	memcpy(p, saved, sizeof(saved));
}

static void look(struct world *w)
{
	struct err e = ERR_INIT;
	struct picture p;
	uint64_t pixel;

	if (bochs_look(&w->b.s, w->vram.host, w->vram.size, &p, &e)) {
		MUST(e.msg[0]);
		return;
	}
	pixel = p.format == PICTURE_RGB565 ? 2 : 4;
	/* The sanitizer looks at the corners. */
	MUST(p.width && p.height);
	(void)*(volatile const uint8_t *)p.pixels;
	(void)*(volatile const uint8_t *)(p.pixels + p.stride * (p.height - 1) + p.width * pixel -
					  1);
	MUST(p.pixels + p.stride * (p.height - 1) + p.width * pixel <= w->vram.host + VRAM);
}

static void step(struct world *w, struct fuzz_bytes *b)
{
	uint64_t v = 0, at;
	unsigned int size;

	switch (fuzz_u8(b) % OP_COUNT) {
	case OP_IN:
		at = fuzz_u8(b) % 16;
		iobus_read(&w->vm.pio, LAYOUT_PORT_FW_CFG + at, &v, 1u << fuzz_u8(b) % 3);
		break;
	case OP_OUT:
		at = fuzz_u8(b) % 16;
		v = fuzz_u32(b);
		iobus_write(&w->vm.pio, LAYOUT_PORT_FW_CFG + at, &v, 1u << fuzz_u8(b) % 3);
		break;
	case OP_COMMAND:
		command(w, b);
		break;
	case OP_DAMAGE:
		damage(w, b);
		break;
	case OP_RESET:
		fw_cfg_class.reset(&w->f.dev);
		break;
	case OP_MMIO_READ:
		size = 1u << fuzz_u8(b) % 3;
		bochs_read(&w->b, fuzz_u16(b) % 0x1000, size);
		break;
	case OP_MMIO_WRITE:
		size = 1u << fuzz_u8(b) % 3;
		at = fuzz_u8(b);
		at = at < 32 ? 0x500 + at : 0x5f0 + at % 32;
		v = fuzz_u16(b);
		bochs_write(&w->b, at, size, v);
		break;
	default:
		look(w);
		break;
	}
	/* Nobody writes where the guest cannot. */
	MUST(w->rom.host[0] == MARK && w->rom.host[ROM_BYTES - 1] == MARK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct fw_cfg_file files[] = {
		{ "etc/one", "first file", 10, false },
		{ "etc/acpi/tables", "a table", 7, true },
		{ "opt/empty", "", 0, false },
	};
	const struct fw_cfg_config cfg = { files, ARRAY_SIZE(files) };
	struct fuzz_bytes b = { data, size };
	struct world *w = calloc(1, sizeof(*w));
	struct err e;

	w->ram = (struct ram_block){ .size = RAM, .host = calloc(1, RAM), .in_guest = true };
	w->rom = (struct ram_block){
		.size = ROM_BYTES, .host = malloc(ROM_BYTES), .in_guest = true, .readonly = true
	};
	w->vram = (struct ram_block){ .size = VRAM, .host = calloc(1, VRAM) };
	memset(w->rom.host, MARK, ROM_BYTES);
	w->vm.mem = (struct memmap){
		.ram = &w->ram,
		.ranges = { { 0, RAM, &w->ram, 0 }, { ROM, ROM_BYTES, &w->rom, 0 } },
		.nr_ranges = 2,
		.source = &source,
	};
	list_init(&w->vm.boot_order);
	iobus_init(&w->vm.pio);
	w->b.h.vram = &w->vram;
	w->b.h.has_edid = true;
	edid_build(w->b.h.edid, 640, 480);
	MUST(!fw_cfg_init(&w->f, &w->vm, &cfg, &e));
	MUST(!iobus_add(&w->vm.pio, &w->f.h.ports, &e));
	MUST(!iobus_add(&w->vm.pio, &w->f.h.dma, &e));
	while (b.left)
		step(w, &b);
	for (unsigned int i = 0; i < w->vm.mem.nr_blocks; i++)
		ram_block_destroy(w->vm.mem.blocks[i]);
	free(w->ram.host);
	free(w->rom.host);
	free(w->vram.host);
	free(w);
	return 0;
}
