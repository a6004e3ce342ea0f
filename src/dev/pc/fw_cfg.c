/* SPDX-License-Identifier: MIT */
/* fw_cfg: files the machine gives to its firmware and to the guest's system. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/util.h"
#include "dev/pc/fw_cfg.h"
#include "machine/boot_order.h"
#include "machine/layout.h"
#include "machine/vm.h"

enum {
	PORT_SELECT = 0,
	PORT_DATA = 1,
	NR_PORTS = 2,
	DMA_PORTS = 8,
	DMA_OFFSET = 4, /* of the DMA register from the selector's port */

	KEY_SIGNATURE = 0x00,
	KEY_ID = 0x01,
	KEY_UUID = 0x02,
	KEY_RAM_SIZE = 0x03,
	KEY_NR_CPUS = 0x05,
	KEY_MAX_CPUS = 0x0f,
	KEY_DIRECTORY = 0x19,
	KEY_FIRST_FILE = 0x20,
	KEY_IRQ0_OVERRIDE = 0x8002, /* the timer is on pin 2, as the MADT says */

	ID_PORTS = 1 << 0,
	ID_DMA = 1 << 1,

	DMA_ERROR = 1 << 0,
	DMA_READ = 1 << 1,
	DMA_SKIP = 1 << 2,
	DMA_SELECT = 1 << 3,
	DMA_WRITE = 1 << 4,
	DMA_KEY_SHIFT = 16,
	DMA_BLOCK_BYTES = 16,

	FILE_ALIGN = 8,
	ENTRY_BYTES = 64,
	ENTRY_KEY = 4,
	ENTRY_NAME = 8,
	COUNT_BYTES = 4,

	BOOT_ORDER_ROOM = 4096,
};

#define BOOT_ORDER    "bootorder"
#define DMA_SIGNATURE UINT64_C(0x51454d5520434647) /* "QEMU CFG" */
#define PAGE          UINT64_C(4096)

static const struct vs_field fw_cfg_fields[] = {
	VS_FIELD(struct fw_cfg_state, dma_addr),
	VS_FIELD(struct fw_cfg_state, offset),
	VS_FIELD_RANGE(struct fw_cfg_state, key, 0, 0xffff),
	VS_END,
};

static const struct vs_desc fw_cfg_desc = {
	.name = "fw_cfg",
	.version = 1,
	.min_version = 1,
	.size = sizeof(struct fw_cfg_state),
	.fields = fw_cfg_fields,
};

static struct fw_cfg *to_fw_cfg(struct device *d)
{
	return CONTAINER_OF(d, struct fw_cfg, dev);
}

static uint64_t get_be(const uint8_t *p, unsigned int bytes)
{
	uint64_t v = 0;

	while (bytes--)
		v = v << 8 | *p++;
	return v;
}

static void put_be(uint8_t *p, uint64_t v, unsigned int bytes)
{
	while (bytes--) {
		p[bytes] = (uint8_t)v;
		v >>= 8;
	}
}

static const struct fw_cfg_item *find_item(const struct fw_cfg *f, uint32_t key)
{
	for (unsigned int i = 0; i < f->h.nr_items; i++)
		if (f->h.items[i].key == key)
			return &f->h.items[i];
	return NULL;
}

static void select_item(struct fw_cfg *f, uint32_t key)
{
	f->s.key = key;
	f->s.offset = 0;
}

/* What is left of the selected item, in place; 0 bytes at its end and of one that is not there. */
static uint32_t rest(const struct fw_cfg *f, const uint8_t **p)
{
	const struct fw_cfg_item *item = find_item(f, f->s.key);

	if (!item || f->s.offset >= item->size)
		return 0;
	*p = item->data + f->s.offset;
	return item->size - f->s.offset;
}

static void advance(struct fw_cfg *f, uint64_t n)
{
	f->s.offset = (uint32_t)MIN(f->s.offset + n, (uint64_t)UINT32_MAX);
}

static uint64_t port_read(void *opaque, uint64_t offset, unsigned int size)
{
	struct fw_cfg *f = opaque;
	const uint8_t *p;
	uint8_t v = 0;

	/* The selector is write-only. */
	if (offset != PORT_DATA || size != 1)
		return UINT64_MAX;
	if (rest(f, &p)) {
		v = *p;
		advance(f, 1);
	}
	return v;
}

static void port_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
	/* Items cannot be written. */
	if (offset == PORT_SELECT && size == 2)
		select_item(opaque, (uint32_t)value);
}

/* Copies @n bytes of the selected item to the guest, zeros beyond its end; false: no RAM there. */
static bool copy_out(struct fw_cfg *f, gpa_t to, uint64_t n)
{
	const struct memmap *mem = &f->dev.vm->mem;

	while (n) {
		uint64_t piece = MIN(n, PAGE - to % PAGE), have;
		uint8_t *host = memmap_writable_ptr(mem, to, piece);
		const uint8_t *p = NULL;

		if (!host)
			return false;
		have = MIN(piece, (uint64_t)rest(f, &p));
		if (have)
			memcpy(host, p, have);
		memset(host + have, 0, piece - have);
		advance(f, have);
		to += piece;
		n -= piece;
	}
	return true;
}

/* Carries out the control block @c; what its control word is to be then. */
static uint32_t run_command(struct fw_cfg *f, const uint8_t c[DMA_BLOCK_BYTES])
{
	uint32_t control = (uint32_t)get_be(c, 4), n = (uint32_t)get_be(c + 4, 4);
	gpa_t to = get_be(c + 8, 8);

	if (control & DMA_SELECT)
		select_item(f, control >> DMA_KEY_SHIFT);
	if (control & DMA_READ)
		return n <= FW_CFG_MAX_BYTES && copy_out(f, to, n) ? 0 : DMA_ERROR;
	if (control & DMA_WRITE)
		return DMA_ERROR;
	if (control & DMA_SKIP)
		advance(f, n);
	return 0;
}

static void run_dma(struct fw_cfg *f)
{
	const struct memmap *mem = &f->dev.vm->mem;
	gpa_t at = f->s.dma_addr;
	uint8_t c[DMA_BLOCK_BYTES], *host;

	f->s.dma_addr = 0;
	/* Without memory for an answer there is nobody to tell. */
	host = memmap_writable_ptr(mem, at, sizeof(c));
	if (!host)
		return;
	memcpy(c, host, sizeof(c));
	put_be(c, run_command(f, c), 4);
	memcpy(host, c, 4);
}

/* The register is big-endian, the bus little-endian. */
static uint64_t dma_read(void *opaque, uint64_t offset, unsigned int size)
{
	uint64_t v = 0;

	(void)opaque;
	for (unsigned int i = 0; i < size; i++)
		v |= (DMA_SIGNATURE >> 8 * (DMA_PORTS - 1 - (offset + i) % DMA_PORTS) & 0xff)
		     << 8 * i;
	return v;
}

static void dma_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
	struct fw_cfg *f = opaque;
	uint8_t reg[DMA_PORTS];

	if (offset % size || offset + size > DMA_PORTS)
		return;
	put_be(reg, f->s.dma_addr, DMA_PORTS);
	for (unsigned int i = 0; i < size; i++)
		reg[offset + i] = (uint8_t)(value >> 8 * i);
	f->s.dma_addr = get_be(reg, DMA_PORTS);
	/* Its low half completes the address. */
	if (offset + size == DMA_PORTS)
		run_dma(f);
}

static void add_item(struct fw_cfg *f, uint32_t key, const uint8_t *data, uint32_t size)
{
	f->h.items[f->h.nr_items++] =
		(struct fw_cfg_item){ .key = key, .data = data, .size = size };
}

static void add_fixed(struct fw_cfg *f, uint32_t key, uint64_t v, unsigned int bytes)
{
	uint8_t *p = f->h.fixed[f->h.nr_items];

	memset(p, 0, sizeof(f->h.fixed[0]));
	for (unsigned int i = 0; i < MIN(bytes, 8u); i++)
		p[i] = (uint8_t)(v >> 8 * i);
	add_item(f, key, p, bytes);
}

static void block_name(const char *file, char out[RAM_BLOCK_NAME_MAX])
{
	snprintf(out, RAM_BLOCK_NAME_MAX, "/rom@%.*s", FW_CFG_NAME_BYTES - 1, file);
}

/* A file, where the directory in the block says it is. */
struct place {
	const struct ram_block *block;
	const char *name;
	uint8_t *entry;
	uint64_t offset;
	uint32_t size;
	uint32_t key;
};

static int bad_directory(const char *why, struct err *e)
{
	return err_set(e, EINVAL, "RAM block '" FW_CFG_BLOCK "' has no valid directory: %s", why);
}

static uint32_t count_files(const struct ram_block *b)
{
	return (uint32_t)get_be(b->host, COUNT_BYTES);
}

static uint8_t *entry_at(const struct ram_block *b, uint32_t i)
{
	return b->host + COUNT_BYTES + (size_t)i * ENTRY_BYTES;
}

/* The block came from elsewhere: an old machine, or a state. */
static int check_directory(const struct ram_block *b, struct err *e)
{
	uint32_t n = count_files(b);

	if (!n || n > FW_CFG_MAX_FILES || COUNT_BYTES + n * ENTRY_BYTES > b->size)
		return bad_directory("the number of files is wrong", e);
	for (uint32_t i = 0; i < n; i++) {
		const uint8_t *entry = entry_at(b, i);

		if (!memchr(entry + ENTRY_NAME, 0, FW_CFG_NAME_BYTES))
			return bad_directory("a name does not end", e);
		if (get_be(entry + ENTRY_KEY, 2) != KEY_FIRST_FILE + i)
			return bad_directory("a file's key is wrong", e);
	}
	return 0;
}

/* Where the files are; a file whose block is there has its bytes in it. */
static int locate_files(const struct memmap *mem, const struct ram_block *b,
			struct place places[FW_CFG_MAX_FILES], struct err *e)
{
	uint32_t n = count_files(b);
	uint64_t at = align_up(COUNT_BYTES + (uint64_t)n * ENTRY_BYTES, FILE_ALIGN);
	int r = check_directory(b, e);

	if (r)
		return r;
	for (uint32_t i = 0; i < n; i++) {
		struct place *p = &places[i];
		char name[RAM_BLOCK_NAME_MAX];
		const struct ram_block *own;

		*p = (struct place){
			.block = b,
			.name = (char *)entry_at(b, i) + ENTRY_NAME,
			.entry = entry_at(b, i),
			.offset = at,
			.size = (uint32_t)get_be(entry_at(b, i), 4),
			.key = KEY_FIRST_FILE + i,
		};
		block_name(p->name, name);
		own = memmap_find_block(mem, name);
		if (own) {
			p->block = own;
			p->offset = 0;
		} else {
			at = align_up(at + p->size, FILE_ALIGN);
		}
		if (p->offset > p->block->size || p->size > p->block->size - p->offset)
			return bad_directory("a file does not fit", e);
	}
	return 0;
}

static void add_files(struct fw_cfg *f, const struct place *places, uint32_t n)
{
	const struct place *last = &places[n - 1];

	for (uint32_t i = 0; i < n; i++)
		add_item(f, places[i].key, places[i].block->host + places[i].offset,
			 places[i].size);
	add_item(f, KEY_DIRECTORY, f->h.block->host, COUNT_BYTES + n * ENTRY_BYTES);
	if (last->block != f->h.block || strcmp(last->name, BOOT_ORDER))
		return;
	f->h.boot_order = last->entry;
	f->h.boot_order_room =
		(uint32_t)MIN(last->block->size - last->offset, (uint64_t)BOOT_ORDER_ROOM);
}

/* All items, from the machine and from the blocks; on failure there are those of the machine. */
static int find_items(struct fw_cfg *f, struct err *e)
{
	struct place places[FW_CFG_MAX_FILES];
	const struct vm *vm = f->dev.vm;
	int r;

	f->h.nr_items = 0;
	f->h.boot_order = NULL;
	add_fixed(f, KEY_SIGNATURE, 0x554d4551, 4); /* "QEMU" */
	add_fixed(f, KEY_ID, ID_PORTS | ID_DMA, 4);
	add_fixed(f, KEY_UUID, 0, 16);
	add_fixed(f, KEY_RAM_SIZE, vm->mem.ram->size, 8);
	add_fixed(f, KEY_NR_CPUS, vm->nr_vcpus, 2);
	add_fixed(f, KEY_MAX_CPUS, vm->nr_vcpus, 2);
	add_fixed(f, KEY_IRQ0_OVERRIDE, 1, 4);
	r = locate_files(&vm->mem, f->h.block, places, e);
	if (!r)
		add_files(f, places, count_files(f->h.block));
	return r;
}

/* A block of the machine's own, which the memory map takes over. */
static int add_block(struct vm *vm, const char *name, uint64_t size, struct ram_block **out,
		     struct err *e)
{
	uint64_t old = memmap_preserved_size(&vm->mem, name);
	struct ram_block *b;
	int r;

	r = memmap_make_block(&vm->mem, name, old ? old : align_up(MAX(size, PAGE), PAGE), &b, e);
	if (r)
		return r;
	r = memmap_add_unused_block(&vm->mem, b, e);
	if (r)
		ram_block_destroy(b);
	else
		*out = b;
	return r;
}

/* What an old machine's directory names is in a block of its own, as far as it had one. */
static int take_blocks(struct vm *vm, const struct ram_block *directory, struct err *e)
{
	int r = check_directory(directory, e);

	for (uint32_t i = 0; !r && i < count_files(directory); i++) {
		char name[RAM_BLOCK_NAME_MAX];
		struct ram_block *b;

		block_name((char *)entry_at(directory, i) + ENTRY_NAME, name);
		if (memmap_preserved_size(&vm->mem, name) && !memmap_find_block(&vm->mem, name))
			r = add_block(vm, name, 0, &b, e);
	}
	return r;
}

static int check_files(const struct fw_cfg_config *cfg, struct err *e)
{
	uint64_t total = 0;

	/* One is the boot order's. */
	if (cfg->nr_files + 1 > FW_CFG_MAX_FILES)
		return err_set(e, E2BIG, "%u files for the firmware are too many: %d are possible",
			       cfg->nr_files, FW_CFG_MAX_FILES - 1);
	for (unsigned int i = 0; i < cfg->nr_files; i++) {
		const struct fw_cfg_file *file = &cfg->files[i];

		if (!*file->name || strlen(file->name) >= FW_CFG_NAME_BYTES)
			return err_set(e, EINVAL, "'%s' cannot be a file's name for the firmware",
				       file->name);
		for (unsigned int j = 0; j < i; j++)
			if (!strcmp(cfg->files[j].name, file->name))
				return err_set(e, EEXIST,
					       "two files for the firmware have the name '%s'",
					       file->name);
		if (!strcmp(file->name, BOOT_ORDER))
			return err_set(e, EEXIST, "the file '%s' is the machine's", file->name);
		total += align_up(file->size, FILE_ALIGN);
	}
	if (total > FW_CFG_MAX_BYTES)
		return err_set(e, EFBIG,
			       "the files for the firmware have %llu bytes; there is room for %llu",
			       (unsigned long long)total, (unsigned long long)FW_CFG_MAX_BYTES);
	return 0;
}

static void write_entry(uint8_t *block, unsigned int i, const char *name, uint32_t size)
{
	uint8_t *entry = block + COUNT_BYTES + i * ENTRY_BYTES;

	put_be(entry, size, 4);
	put_be(entry + ENTRY_KEY, KEY_FIRST_FILE + i, 2);
	memcpy(entry + ENTRY_NAME, name, strlen(name) + 1);
}

/* Makes the blocks and writes directory and files. */
static int write_files(struct fw_cfg *f, const struct fw_cfg_config *cfg, struct err *e)
{
	uint64_t at = align_up(COUNT_BYTES + (cfg->nr_files + 1) * ENTRY_BYTES, FILE_ALIGN);
	uint64_t size = at + BOOT_ORDER_ROOM;
	char name[RAM_BLOCK_NAME_MAX];
	struct ram_block *b;
	int r;

	for (unsigned int i = 0; i < cfg->nr_files; i++)
		if (!cfg->files[i].own_block)
			size += align_up(cfg->files[i].size, FILE_ALIGN);
	r = add_block(f->dev.vm, FW_CFG_BLOCK, size, &f->h.block, e);
	if (r)
		return r;
	f->h.block->fresh = false;
	put_be(f->h.block->host, cfg->nr_files + 1, COUNT_BYTES);
	for (unsigned int i = 0; i < cfg->nr_files; i++) {
		const struct fw_cfg_file *file = &cfg->files[i];

		write_entry(f->h.block->host, i, file->name, file->size);
		if (file->own_block) {
			block_name(file->name, name);
			r = add_block(f->dev.vm, name, file->size, &b, e);
			if (r)
				return r;
			b->fresh = false;
			memcpy(b->host, file->data, file->size);
			continue;
		}
		if (file->size)
			memcpy(f->h.block->host + at, file->data, file->size);
		at = align_up(at + file->size, FILE_ALIGN);
	}
	write_entry(f->h.block->host, cfg->nr_files, BOOT_ORDER, 0);
	return 0;
}

/* The device first, so that the order of blocks is the same on both sides: as in the directory. */
static int create_blocks(struct fw_cfg *f, const struct fw_cfg_config *cfg, struct err *e)
{
	struct vm *vm = f->dev.vm;
	int r = check_files(cfg, e);

	if (r)
		return r;
	if (!memmap_preserved_size(&vm->mem, FW_CFG_BLOCK))
		return write_files(f, cfg, e);
	r = add_block(vm, FW_CFG_BLOCK, 0, &f->h.block, e);
	return r ? r : take_blocks(vm, f->h.block, e);
}

/* The guest's reset is when firmware reads it; a list beyond its room is cut at a line. */
static void write_boot_order(struct fw_cfg *f)
{
	AUTO_BUF text = { 0 };
	struct fw_cfg_item *item;
	size_t n;

	if (!f->h.boot_order)
		return;
	boot_order_text(f->dev.vm, &text);
	n = text.failed ? 0 : text.len;
	while (n > f->h.boot_order_room)
		for (n--; n && text.data[n - 1] != '\n';)
			n--;
	if (n < text.len)
		log_warn("the firmware learns of a part of the devices with a bootindex only");
	item = (struct fw_cfg_item *)find_item(f, (uint32_t)get_be(f->h.boot_order + ENTRY_KEY, 2));
	item->size = (uint32_t)n;
	put_be(f->h.boot_order, n, 4);
	if (!n)
		return;
	memcpy((uint8_t *)item->data, text.data, n);
	((uint8_t *)item->data)[n - 1] = 0;
}

static void fw_cfg_reset(struct device *d)
{
	struct fw_cfg *f = to_fw_cfg(d);

	f->s = (struct fw_cfg_state){ 0 };
	write_boot_order(f);
}

/* The blocks may have come with the state, after the device was made. */
static int fw_cfg_fits(const struct device *d, const void *state, struct err *e)
{
	const struct fw_cfg *f = CONTAINER_OF(d, const struct fw_cfg, dev);
	struct place places[FW_CFG_MAX_FILES];

	(void)state;
	return locate_files(&d->vm->mem, f->h.block, places, e);
}

static void fw_cfg_loaded(struct device *d)
{
	struct err e;

	if (find_items(to_fw_cfg(d), &e))
		log_error("%s", e.msg);
}

static void fw_cfg_destroy(struct device *d)
{
	free(to_fw_cfg(d));
}

const struct device_class fw_cfg_class = {
	.name = "fw_cfg",
	.state = &fw_cfg_desc,
	.state_offset = offsetof(struct fw_cfg, s),
	.fits = fw_cfg_fits,
	.loaded = fw_cfg_loaded,
	.reset = fw_cfg_reset,
	.destroy = fw_cfg_destroy,
};

int fw_cfg_init(struct fw_cfg *f, struct vm *vm, const struct fw_cfg_config *cfg, struct err *e)
{
	int r;

	f->dev.vm = vm;
	f->h.ports = (struct io_region){
		.name = "fw_cfg",
		.base = LAYOUT_PORT_FW_CFG,
		.size = NR_PORTS,
		.min_size = 1,
		.max_size = 2,
		.read = port_read,
		.write = port_write,
		.opaque = f,
	};
	f->h.dma = (struct io_region){
		.name = "fw_cfg DMA",
		.base = LAYOUT_PORT_FW_CFG + DMA_OFFSET,
		.size = DMA_PORTS,
		.min_size = 1,
		.max_size = 4,
		.read = dma_read,
		.write = dma_write,
		.opaque = f,
	};
	r = create_blocks(f, cfg, e);
	return r ? r : find_items(f, e);
}

int fw_cfg_create(struct vm *vm, const struct fw_cfg_config *cfg, struct err *e)
{
	struct fw_cfg *f = calloc(1, sizeof(*f));
	int r;

	if (!f)
		return err_set(e, ENOMEM, "no memory for fw_cfg");
	r = fw_cfg_init(f, vm, cfg, e);
	if (!r)
		r = iobus_add(&vm->pio, &f->h.ports, e);
	if (!r) {
		r = iobus_add(&vm->pio, &f->h.dma, e);
		if (r)
			iobus_del(&vm->pio, &f->h.ports);
	}
	if (r) {
		free(f);
		return r;
	}
	device_add(vm, &f->dev, &fw_cfg_class);
	return 0;
}
