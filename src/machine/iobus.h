/* SPDX-License-Identifier: MIT */
/* Port and memory-mapped I/O: which device answers at which address. */
#ifndef MACHINE_IOBUS_H
#define MACHINE_IOBUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/list.h"

/*
 * A range of addresses a device answers at, embedded in the device. Callbacks
 * run under the machine lock. The bus enforces the access sizes: a wider access
 * is split into @max_size pieces, little-endian; a narrower one than @min_size
 * reads as ones and writes nothing. An access belongs to the region of its first
 * byte; only what is left beyond its end goes on to the next one.
 */
struct io_region {
	struct list link;
	const char *name;
	uint64_t base;
	uint64_t size;
	uint8_t min_size; /* 1, 2, 4 or 8 */
	uint8_t max_size;
	/*
	 * Not 0: takes only accesses of this size that begin at @base, and these whoever has the
	 * addresses behind. For registers that share an address, as a PC's at port 0xcf8.
	 */
	uint8_t exact_size;
	uint64_t (*read)(void *opaque, uint64_t offset, unsigned int size);
	void (*write)(void *opaque, uint64_t offset, unsigned int size, uint64_t value);
	void *opaque;
};

struct io_bus {
	struct list regions;
	uint64_t unclaimed; /* accesses nobody answered; guest misbehaviour or probing */
};

void iobus_init(struct io_bus *bus);
/* -EEXIST names the region that is in the way. @r is not owned and must outlive the bus. */
int iobus_add(struct io_bus *bus, struct io_region *r, struct err *e);
/* Takes @r, which was added, off the bus. */
void iobus_del(struct io_bus *bus, struct io_region *r);
/* Addresses nobody claims read as all ones. @size is 1, 2, 4 or 8. */
void iobus_read(struct io_bus *bus, uint64_t addr, void *data, unsigned int size);
void iobus_write(struct io_bus *bus, uint64_t addr, const void *data, unsigned int size);

#endif
