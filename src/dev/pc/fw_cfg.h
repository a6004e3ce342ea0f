/* SPDX-License-Identifier: MIT */
/* fw_cfg: files the machine gives to its firmware and to the guest's system. */
#ifndef DEV_PC_FW_CFG_H
#define DEV_PC_FW_CFG_H

/*
 * DOC: theory of operation
 *
 * The guest writes a selector to port 0x510 and reads the item byte by byte from port 0x511,
 * or it hands over a control block in its memory by writing the address, big-endian, to ports
 * 0x514 and 0x518: the device then selects, skips or copies by itself and clears the block's control word. The
 * interface is documented in QEMU's docs/specs/fw_cfg.
 *
 * Item 0x19 is the directory of files, whose items are 0x20 and up. Directory and
 * files stand in RAM blocks of the machine's own, which an update preserves: what a file
 * says was settled when the guest was started, and neither command line nor files on the
 * host are looked at again.
 *	/rom@fw_cfg	the directory as the guest reads it, then the files in that order, each
 *			at a multiple of 8; the last one, bootorder, has the rest for itself
 *	/rom@NAME	a file with a block of its own
 * "bootorder" is written anew at each reset: devices may have been plugged.
 *
 * No file can be written, and reads beyond an item's end give zeros.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "machine/device.h"
#include "machine/iobus.h"

enum {
	FW_CFG_MAX_FILES = 48,
	FW_CFG_NAME_BYTES = 56, /* with the NUL */
	FW_CFG_NR_FIXED = 8,
};

#define FW_CFG_BLOCK "/rom@fw_cfg"
/* Of all files together; also of what one command may copy. */
#define FW_CFG_MAX_BYTES (UINT64_C(16) << 20)

struct fw_cfg_file {
	const char *name; /* e.g. etc/e820 */
	const void *data;
	uint32_t size;
	bool own_block;
};

struct fw_cfg_config {
	const struct fw_cfg_file *files; /* copied */
	unsigned int nr_files;
};

/* Guest-visible; the items are in RAM blocks. */
struct fw_cfg_state {
	uint64_t dma_addr; /* what was written of it so far           */
	uint32_t offset;   /* in the selected item                    */
	uint32_t key;      /* the selected item                       */
};

struct fw_cfg_item {
	uint32_t key;
	uint32_t size;
	const uint8_t *data; /* in a block, or in @fixed below */
};

struct fw_cfg_host {
	struct io_region ports;  /* [c] selector and data                     */
	struct io_region dma;    /* [c]                                       */
	struct ram_block *block; /* [c] FW_CFG_BLOCK, the memory map's        */
	struct fw_cfg_item items[FW_CFG_NR_FIXED + FW_CFG_MAX_FILES]; /* [m]   */
	unsigned int nr_items;                                        /* [m] */
	uint8_t fixed[FW_CFG_NR_FIXED][16]; /* [c] contents of small items    */
	uint8_t *boot_order;                /* [m] where that file is, NULL: nowhere */
	uint32_t boot_order_room;           /* [m]                           */
};

struct fw_cfg {
	struct device dev;
	struct fw_cfg_state s;
	struct fw_cfg_host h;
};

extern const struct device_class fw_cfg_class;

/*
 * Adds the device to the machine, and the blocks with the files or, if there is an old
 * machine, the blocks it hands over. Before the machine first runs. On failure the device is not added;
 * blocks are the memory map's.
 */
int fw_cfg_create(struct vm *vm, const struct fw_cfg_config *cfg, struct err *e);

/* Sets a zeroed device up on @vm without a bus. For fw_cfg_create() and tests. */
int fw_cfg_init(struct fw_cfg *f, struct vm *vm, const struct fw_cfg_config *cfg, struct err *e);

#endif
