/* SPDX-License-Identifier: MIT */
/* Port and memory-mapped I/O: which device answers at which address. */
#include <errno.h>
#include <string.h>

#include "base/util.h"
#include "machine/iobus.h"

void iobus_init(struct io_bus *bus)
{
	list_init(&bus->regions);
	bus->unclaimed = 0;
}

int iobus_add(struct io_bus *bus, struct io_region *r, struct err *e)
{
	struct list *pos, *tmp;

	list_for_each(pos, tmp, &bus->regions) {
		const struct io_region *o = CONTAINER_OF(pos, struct io_region, link);

		if (r->base < o->base + o->size && o->base < r->base + r->size)
			return err_set(e, EEXIST, "'%s' at %#llx overlaps '%s' at %#llx", r->name,
				       (unsigned long long)r->base, o->name,
				       (unsigned long long)o->base);
	}
	list_add(&bus->regions, &r->link);
	return 0;
}

void iobus_del(struct io_bus *bus, struct io_region *r)
{
	(void)bus;
	list_del(&r->link);
}

static struct io_region *find_region(struct io_bus *bus, uint64_t addr, unsigned int size)
{
	struct list *pos, *tmp;

	list_for_each(pos, tmp, &bus->regions) {
		struct io_region *r = CONTAINER_OF(pos, struct io_region, link);

		if (r->exact_size ? addr == r->base && size == r->exact_size
				  : addr >= r->base && addr - r->base < r->size)
			return r;
	}
	bus->unclaimed++;
	return NULL;
}

/* The size of the next piece of an access of @left bytes at @offset, or 0 if none fits. */
static unsigned int piece(const struct io_region *r, uint64_t offset, unsigned int left)
{
	unsigned int n = MIN(left, (unsigned int)r->max_size);

	if (r->exact_size)
		return r->exact_size;
	if (n > r->size - offset)
		n = (unsigned int)(r->size - offset);
	while (n & (n - 1))
		n &= n - 1;
	return n < r->min_size ? 0 : n;
}

void iobus_read(struct io_bus *bus, uint64_t addr, void *data, unsigned int size)
{
	uint8_t *p = data;

	memset(data, 0xff, size);
	while (size) {
		struct io_region *r = find_region(bus, addr, size);
		unsigned int n = r ? piece(r, addr - r->base, size) : 0;
		uint64_t v;

		if (!n)
			return;
		v = r->read(r->opaque, addr - r->base, n);
		memcpy(p, &v, n);
		addr += n;
		p += n;
		size -= n;
	}
}

void iobus_write(struct io_bus *bus, uint64_t addr, const void *data, unsigned int size)
{
	const uint8_t *p = data;

	while (size) {
		struct io_region *r = find_region(bus, addr, size);
		unsigned int n = r ? piece(r, addr - r->base, size) : 0;
		uint64_t v = 0;

		if (!n)
			return;
		memcpy(&v, p, n);
		r->write(r->opaque, addr - r->base, n, v);
		addr += n;
		p += n;
		size -= n;
	}
}
