/* SPDX-License-Identifier: MIT */
/* bochs-display: a linear framebuffer, without VGA. */
#ifndef DEV_PCI_BOCHS_DISPLAY_H
#define DEV_PCI_BOCHS_DISPLAY_H

/*
 * DOC: theory of operation
 *
 * BAR 0 is the display's memory, a RAM block of its own that updates preserve. BAR 2 has, from
 *	0x000	the monitor's EDID
 *	0x500	16-bit registers: the VBE extensions of Bochs (dispi), by index
 *	0x600	32-bit: how many bytes there are from here, and the order of bytes in a pixel
 * The interface is documented in QEMU's docs/specs/standard-vga. Nothing is drawn: whoever wants
 * a picture asks for it (machine/display.h).
 */

#include "dev/pci/edid.h"
#include "dev/pci/pci.h"
#include "machine/display.h"

/* Registers by index, docs/specs/standard-vga and Bochs' vbe.h. */
enum bochs_register {
	BOCHS_ID,
	BOCHS_XRES,
	BOCHS_YRES,
	BOCHS_BPP,
	BOCHS_ENABLE,
	BOCHS_BANK,
	BOCHS_VIRT_WIDTH,
	BOCHS_VIRT_HEIGHT,
	BOCHS_X_OFFSET,
	BOCHS_Y_OFFSET,
	BOCHS_NR_STORED,
	BOCHS_MEMORY_64K = BOCHS_NR_STORED, /* read-only */
};

/* Guest-visible, with the memory, which is in a RAM block. */
struct bochs_state {
	struct pci_state pci;
	uint16_t vbe[BOCHS_NR_STORED]; /* what was written, whatever that is; 0 is not used */
	uint32_t big_endian;           /* 1: pixels are                                 */
};

struct bochs_config {
	struct device_config device;
	uint64_t vgamem; /* bytes                    */
	bool edid;
	uint64_t xres, yres; /* what the monitor likes best */
};

struct bochs_host {
	struct pci_function pci;
	struct display display;
	struct ram_block *vram; /* [c] the memory map's       */
	bool has_edid;          /* [c]                        */
	uint8_t edid[EDID_BYTES];
};

struct bochs_display {
	struct device dev;
	struct bochs_state s;
	struct bochs_host h;
};

extern const struct device_class bochs_display_class;
extern const struct device_type bochs_display_type;

/* What is shown with these registers in @bytes of memory at @vram; -errno says why nothing is. */
int bochs_look(const struct bochs_state *s, const uint8_t *vram, uint64_t bytes,
	       struct picture *out, struct err *e);

/* Accesses of the guest to BAR 2. For tests, too; @opaque is the struct bochs_display. */
uint64_t bochs_read(void *opaque, uint64_t offset, unsigned int size);
void bochs_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value);

#endif
