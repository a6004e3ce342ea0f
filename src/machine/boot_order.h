/* SPDX-License-Identifier: MIT */
/* Which devices the firmware is to try, in which order: the property bootindex. */
#ifndef MACHINE_BOOT_ORDER_H
#define MACHINE_BOOT_ORDER_H

#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/list.h"

struct vm;

/* Not given: the device comes after those that have one. */
#define BOOT_INDEX_NONE UINT32_MAX
#define BOOT_PATH_MAX   160

/* Embedded in a device that firmware can boot from. */
struct boot_entry {
	struct list link;
	uint64_t index;           /* from 0 on; no two devices have the same */
	char path[BOOT_PATH_MAX]; /* Open Firmware path, as firmware finds the device by it */
};

/*
 * Adds a device that firmware finds by @path; with BOOT_INDEX_NONE does nothing. -EEXIST if
 * another device has the index. @b goes before the device does. Machine lock. The guest's firmware learns of
 * it when it next resets.
 */
int boot_order_add(struct vm *vm, struct boot_entry *b, uint64_t index, const char *path,
		   struct err *e);
/* Takes it off, if it was added; a zeroed one was not. */
void boot_order_del(struct boot_entry *b);
/*
 * Appends the list as firmware reads it: one path a line, in order, with a NUL at the end;
 * nothing if there is none.
 */
void boot_order_text(const struct vm *vm, struct buf *out);

#endif
