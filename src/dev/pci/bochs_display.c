/* SPDX-License-Identifier: MIT */
/* bochs-display: a linear framebuffer, without VGA. */
#include <errno.h>
#include <stdio.h>

#include "base/util.h"
#include "dev/pci/bochs_display.h"
#include "machine/vm.h"

enum {
	VENDOR_BOCHS = 0x1234,
	DEVICE_BOCHS = 0x1111,
	SUBVENDOR = 0x1af4,
	SUBSYSTEM = 0x1100,
	REVISION = 2,
	CLASS_DISPLAY_OTHER = 0x038000,

	MMIO_BYTES = 0x1000,
	MMIO_VBE = 0x500,
	MMIO_QEXT = 0x600,
	QEXT_BYTES = 8,
	QEXT_ENDIAN = MMIO_QEXT + 4,

	VBE_ID5 = 0xb0c5,
	VBE_ENABLED = 1 << 0,

	MIN_PIXELS = 64, /* either way */
};

#define BIG_ENDIAN_MARK    0xbebebebeu
#define LITTLE_ENDIAN_MARK 0x1e1e1e1eu

static const struct vs_field bochs_fields[] = {
	VS_STRUCT(struct bochs_state, pci, &pci_state_desc),
	VS_ARRAY(struct bochs_state, vbe),
	VS_FIELD_RANGE(struct bochs_state, big_endian, 0, 1),
	VS_END,
};

static const struct vs_desc bochs_desc = {
	.name = "bochs-display",
	.version = 1,
	.min_version = 1,
	.size = sizeof(struct bochs_state),
	.fields = bochs_fields,
};

static struct bochs_display *to_bochs(struct device *d)
{
	return CONTAINER_OF(d, struct bochs_display, dev);
}

int bochs_look(const struct bochs_state *s, const uint8_t *vram, uint64_t bytes,
	       struct picture *out, struct err *e)
{
	uint64_t x = s->vbe[BOCHS_XRES], y = s->vbe[BOCHS_YRES], pixel = s->vbe[BOCHS_BPP] / 8;
	uint64_t stride = MAX((uint64_t)s->vbe[BOCHS_VIRT_WIDTH], x) * pixel;
	uint64_t from = s->vbe[BOCHS_X_OFFSET] * pixel + s->vbe[BOCHS_Y_OFFSET] * stride;

	if (!(s->vbe[BOCHS_ENABLE] & VBE_ENABLED))
		return err_set(e, ENODATA, "the guest has not turned the display on");
	if (s->vbe[BOCHS_BPP] != 16 && s->vbe[BOCHS_BPP] != 32)
		return err_set(e, EINVAL,
			       "the guest has set %u bits per pixel; 16 and 32 can be shown",
			       s->vbe[BOCHS_BPP]);
	if (x < MIN_PIXELS || y < MIN_PIXELS)
		return err_set(e, EINVAL,
			       "the guest has set %llu by %llu pixels; the least is %d by %d",
			       (unsigned long long)x, (unsigned long long)y, MIN_PIXELS,
			       MIN_PIXELS);
	/* The last row ends with its last pixel. */
	if (from + stride * (y - 1) + x * pixel > bytes)
		return err_set(e, EINVAL,
			       "the guest has set %llu by %llu pixels in rows of %llu bytes from "
			       "%llu on, which is more than the display's %llu bytes",
			       (unsigned long long)x, (unsigned long long)y,
			       (unsigned long long)stride, (unsigned long long)from,
			       (unsigned long long)bytes);
	*out = (struct picture){
		.width = (uint32_t)x,
		.height = (uint32_t)y,
		.stride = stride,
		.format = pixel == 2      ? PICTURE_RGB565
			  : s->big_endian ? PICTURE_BGRX8888
					  : PICTURE_XRGB8888,
		.pixels = vram + from,
	};
	return 0;
}

static int look(void *opaque, struct picture *out, struct err *e)
{
	const struct bochs_display *b = opaque;

	return bochs_look(&b->s, b->h.vram->host, b->h.vram->size, out, e);
}

static uint64_t read_vbe(const struct bochs_display *b, uint64_t index)
{
	if (index == BOCHS_ID)
		return VBE_ID5;
	if (index == BOCHS_MEMORY_64K)
		return b->h.vram->size / (64 * KIB);
	return index < BOCHS_NR_STORED ? b->s.vbe[index] : UINT64_MAX;
}

uint64_t bochs_read(void *opaque, uint64_t offset, unsigned int size)
{
	const struct bochs_display *b = opaque;
	uint64_t v = 0;

	if (offset < MMIO_VBE) {
		for (unsigned int i = 0; i < size; i++)
			if (b->h.has_edid && offset + i < EDID_BYTES)
				v |= (uint64_t)b->h.edid[offset + i] << 8 * i;
		return v;
	}
	if (offset < MMIO_QEXT)
		return size == 2 && offset % 2 == 0 ? read_vbe(b, (offset - MMIO_VBE) / 2)
						    : UINT64_MAX;
	if (size != 4)
		return UINT64_MAX;
	if (offset == MMIO_QEXT)
		return QEXT_BYTES;
	if (offset == QEXT_ENDIAN)
		return b->s.big_endian ? BIG_ENDIAN_MARK : LITTLE_ENDIAN_MARK;
	return UINT64_MAX;
}

void bochs_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
	struct bochs_display *b = opaque;
	uint64_t index = (offset - MMIO_VBE) / 2;

	if (offset >= MMIO_VBE && offset < MMIO_QEXT && size == 2 && offset % 2 == 0) {
		if (index > BOCHS_ID && index < BOCHS_NR_STORED)
			b->s.vbe[index] = (uint16_t)value;
	} else if (offset == QEXT_ENDIAN && size == 4) {
		if (value == BIG_ENDIAN_MARK || value == LITTLE_ENDIAN_MARK)
			b->s.big_endian = value == BIG_ENDIAN_MARK;
	}
}

static int bochs_fits(const struct device *d, const void *state, struct err *e)
{
	const struct bochs_display *b = CONTAINER_OF(d, struct bochs_display, dev);
	const struct bochs_state *s = state;

	return pci_check_state(&b->h.pci, &s->pci, e);
}

static void bochs_loaded(struct device *d)
{
	pci_loaded(&to_bochs(d)->h.pci);
}

/* The memory keeps what is in it, as memory does. */
static void bochs_reset(struct device *d)
{
	struct bochs_display *b = to_bochs(d);

	for (unsigned int i = 0; i < BOCHS_NR_STORED; i++)
		b->s.vbe[i] = 0;
	b->s.big_endian = 0;
	pci_reset(&b->h.pci);
}

static void bochs_destroy(struct device *d)
{
	struct bochs_display *b = to_bochs(d);

	display_del(&b->h.display);
	pci_function_fini(&b->h.pci);
	free(b);
}

const struct device_class bochs_display_class = {
	.name = "bochs-display",
	.state = &bochs_desc,
	.state_offset = offsetof(struct bochs_display, s),
	.fits = bochs_fits,
	.loaded = bochs_loaded,
	.reset = bochs_reset,
	.destroy = bochs_destroy,
};

/* The block is named after the device's place, which the configuration has on both sides. */
static int add_vram(struct bochs_display *b, uint64_t bytes, struct err *e)
{
	struct vm *vm = b->h.pci.vm;
	char name[RAM_BLOCK_NAME_MAX];
	struct ram_block *block;
	int r;

	snprintf(name, sizeof(name), "%s/bochs-display-vram", b->dev.path);
	r = memmap_make_block(&vm->mem, name, bytes, &block, e);
	if (r)
		return r;
	r = memmap_add_movable_block(&vm->mem, block, e);
	if (r) {
		ram_block_destroy(block);
		return r;
	}
	/* The guest writes to it unseen. */
	block->fresh = false;
	b->h.vram = block;
	return 0;
}

static uint64_t round_up_to_power(uint64_t v)
{
	uint64_t power = 1;

	while (power < v)
		power <<= 1;
	return power;
}

static int bochs_create(struct vm *vm, const struct device_config *config, struct device **out,
			struct err *e)
{
	static const struct pci_ident ident = {
		.vendor = VENDOR_BOCHS,
		.device = DEVICE_BOCHS,
		.subsystem_vendor = SUBVENDOR,
		.subsystem = SUBSYSTEM,
		.revision = REVISION,
		.class_code = CLASS_DISPLAY_OTHER,
	};
	const struct bochs_config *c = (const struct bochs_config *)config;
	struct bochs_display *b = calloc(1, sizeof(*b));
	struct io_region region = {
		.name = "bochs-display",
		.min_size = 1,
		.max_size = 4,
		.read = bochs_read,
		.write = bochs_write,
		.opaque = b,
	};
	int r;

	if (!b)
		return err_set(e, ENOMEM, "no memory for a display");
	r = pci_function_init(&b->h.pci, vm, &b->dev, &b->s.pci, config, &ident, e);
	if (!r)
		r = add_vram(b, round_up_to_power(c->vgamem), e);
	if (r) {
		pci_function_fini(&b->h.pci);
		free(b);
		return r;
	}
	pci_add_ram_bar(&b->h.pci, 0, PCI_BAR_MEM32, b->h.vram);
	pci_add_bar(&b->h.pci, 2, PCI_BAR_MEM32, MMIO_BYTES, &region);
	b->h.has_edid = c->edid;
	edid_build(b->h.edid, (uint32_t)c->xres, (uint32_t)c->yres);
	b->h.display = (struct display){ .dev = &b->dev, .look = look, .opaque = b };
	display_add(vm, &b->h.display);
	device_add(vm, &b->dev, &bochs_display_class);
	*out = &b->dev;
	return 0;
}

static const struct prop bochs_props[] = {
	{ .name = "vgamem",
	  .kind = PROP_SIZE,
	  .offset = offsetof(struct bochs_config, vgamem),
	  .min = 4 * MIB,
	  .max = 256 * MIB,
	  .initial = 16 * MIB,
	  .help = "bytes of display memory, rounded up to a power of two" },
	{ .name = "edid",
	  .kind = PROP_BOOL,
	  .offset = offsetof(struct bochs_config, edid),
	  .initial = true,
	  .help = "the monitor says what it is" },
	{ .name = "xres",
	  .kind = PROP_UINT,
	  .offset = offsetof(struct bochs_config, xres),
	  .min = EDID_MIN_X,
	  .max = EDID_MAX,
	  .initial = 1280,
	  .help = "pixels in a row of the monitor's native mode" },
	{ .name = "yres",
	  .kind = PROP_UINT,
	  .offset = offsetof(struct bochs_config, yres),
	  .min = EDID_MIN_Y,
	  .max = EDID_MAX,
	  .initial = 800,
	  .help = "rows" },
	{ .name = NULL },
};

static const struct device_class *const bochs_classes[] = { &bochs_display_class, NULL };

const struct device_type bochs_display_type = {
	.driver = "bochs-display",
	.bus = "PCI",
	.help = "framebuffer",
	.config_size = sizeof(struct bochs_config),
	.props = bochs_props,
	.classes = bochs_classes,
	.create = bochs_create,
	.unplug = pci_request_unplug,
};
