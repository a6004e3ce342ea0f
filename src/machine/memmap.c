/* SPDX-License-Identifier: MIT */
/* Guest RAM: the blocks it consists of, and where the guest sees them. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/util.h"
#include "host/mem.h"
#include "machine/memmap.h"

static void add_range(struct memmap *m, gpa_t gpa, uint64_t size, struct ram_block *b,
		      uint64_t offset)
{
	m->ranges[m->nr_ranges++] =
		(struct mem_range){ .gpa = gpa, .size = size, .block = b, .offset = offset };
}

void memmap_init(struct memmap *m, struct ram_block *ram)
{
	uint64_t low = MIN(ram->size, LAYOUT_LOW_RAM_MAX);

	*m = (struct memmap){ .ram = ram, .blocks = { ram }, .nr_blocks = 1 };
	ram->in_guest = true;
	ram->gpa = 0;
	add_range(m, 0, low, ram, 0);
	if (ram->size > low)
		add_range(m, LAYOUT_HIGH_RAM, ram->size - low, ram, low);
}

void memmap_discard(struct memmap *m)
{
	struct err e;

	for (unsigned int i = 0; i < m->nr_blocks; i++) {
		const struct ram_block *b = m->blocks[i];

		if (b->options.discard_data && b->share && mem_discard(b->host, b->size, &e))
			log_warn("RAM block '%s': %s", b->name, e.msg);
	}
}

void memmap_fini(struct memmap *m)
{
	for (unsigned int i = 0; i < m->nr_blocks; i++)
		ram_block_destroy(m->blocks[i]);
	*m = (struct memmap){ 0 };
}

int memmap_add_unused_block(struct memmap *m, struct ram_block *b, struct err *e)
{
	if (memmap_find_block(m, b->name))
		return err_set(e, EEXIST, "two RAM blocks have the name '%s'", b->name);
	if (m->nr_blocks == RAM_MAX_BLOCKS)
		return err_set(e, E2BIG, "RAM block '%s' is one too many: %d are possible", b->name,
			       RAM_MAX_BLOCKS);
	b->in_guest = false;
	m->blocks[m->nr_blocks++] = b;
	return 0;
}

int memmap_add_movable_block(struct memmap *m, struct ram_block *b, struct err *e)
{
	int r = memmap_add_unused_block(m, b, e);

	if (r)
		return r;
	b->in_guest = b->movable = true;
	b->gpa = 0;
	return 0;
}

int memmap_add_block(struct memmap *m, struct ram_block *b, gpa_t gpa, struct err *e)
{
	const struct memmap old = *m;
	gpa_t end = gpa + b->size;
	bool placed = false;
	int r;

	if (gpa % 4096 || end <= gpa)
		return err_set(e, EINVAL, "RAM block '%s' of %llu bytes cannot be at %#llx",
			       b->name, (unsigned long long)b->size, (unsigned long long)gpa);
	/* One for the block, and one for a range that it cuts in two. */
	if (m->nr_ranges + 2 > MEM_MAX_RANGES)
		return err_set(e, E2BIG, "guest memory is in too many pieces for RAM block '%s'",
			       b->name);
	r = memmap_add_unused_block(m, b, e);
	if (r)
		return r;
	b->in_guest = true;
	b->gpa = gpa;
	m->nr_ranges = 0;
	for (unsigned int i = 0; i < old.nr_ranges; i++) {
		const struct mem_range *o = &old.ranges[i];
		gpa_t o_end = o->gpa + o->size;

		if (o->gpa < gpa)
			add_range(m, o->gpa, MIN(o_end, gpa) - o->gpa, o->block, o->offset);
		if (!placed && o_end > gpa) {
			add_range(m, gpa, b->size, b, 0);
			placed = true;
		}
		if (o_end > end) {
			gpa_t from = MAX(o->gpa, end);

			add_range(m, from, o_end - from, o->block, o->offset + (from - o->gpa));
		}
	}
	if (!placed)
		add_range(m, gpa, b->size, b, 0);
	return 0;
}

uint64_t memmap_preserved_size(const struct memmap *m, const char *name)
{
	return m->source ? m->source->size(m->source->opaque, name) : 0;
}

int memmap_make_block(const struct memmap *m, const char *name, uint64_t size,
		      struct ram_block **out, struct err *e)
{
	const struct ram_source *source = m->source;
	const struct ram_config cfg = {
		.name = name,
		.size = size,
		.backend = RAM_BACKEND_RAM,
		.share = !source || source->share,
	};
	struct ram_block *b;
	int r;

	if (memmap_preserved_size(m, name))
		r = source->take(source->opaque, &cfg, &b, e);
	else
		r = ram_block_create(&b, &cfg, -1, e);
	if (r)
		return r;
	b->kept = true;
	*out = b;
	return 0;
}

struct ram_block *memmap_find_block(const struct memmap *m, const char *name)
{
	for (unsigned int i = 0; i < m->nr_blocks; i++)
		if (!strcmp(m->blocks[i]->name, name))
			return m->blocks[i];
	return NULL;
}

static unsigned int index_after(const struct memmap *m, const struct ram_block *prev)
{
	unsigned int i = 0;

	while (prev && i < m->nr_blocks && m->blocks[i++] != prev)
		;
	return i;
}

struct ram_block *memmap_next_block(const struct memmap *m, const struct ram_block *prev)
{
	for (unsigned int i = index_after(m, prev); i < m->nr_blocks; i++)
		if (m->blocks[i]->in_guest || m->blocks[i]->kept)
			return m->blocks[i];
	return NULL;
}

struct ram_block *memmap_next_backend(const struct memmap *m, const struct ram_block *prev)
{
	for (unsigned int i = index_after(m, prev); i < m->nr_blocks; i++)
		if (m->blocks[i]->is_backend)
			return m->blocks[i];
	return NULL;
}

static bool has_lock(const struct ram_block *b)
{
	return b->backend == RAM_BACKEND_FILE && b->share && !b->readonly && b->fd >= 0;
}

int memmap_lock(const struct memmap *m, struct err *e)
{
	const struct ram_block *b = NULL;
	int r;

	while ((b = memmap_next_block(m, b))) {
		r = has_lock(b) ? mem_lock(b->fd, b->options.offset, b->size, e) : 0;
		if (r) {
			memmap_unlock(m);
			return err_prefix(e, "RAM block '%s' in '%s'", b->name, b->path);
		}
	}
	return 0;
}

void memmap_unlock(const struct memmap *m)
{
	const struct ram_block *b = NULL;

	while ((b = memmap_next_block(m, b)))
		if (has_lock(b))
			mem_unlock(b->fd, b->options.offset, b->size);
}

void memmap_touch(const struct memmap *m)
{
	const struct ram_block *b = NULL;

	while ((b = memmap_next_block(m, b)))
		if (has_lock(b))
			mem_touch(b->fd);
}

uint64_t memmap_stamp(const struct memmap *m)
{
	const struct ram_block *b = NULL;
	uint64_t stamp = 0;

	while ((b = memmap_next_block(m, b)))
		if (has_lock(b))
			stamp = stamp * 31 + mem_stamp(b->fd);
	return stamp;
}

static const struct mem_range *find_range(const struct memmap *m, gpa_t gpa, uint64_t len)
{
	for (unsigned int i = 0; i < m->nr_ranges; i++) {
		const struct mem_range *r = &m->ranges[i];

		if (gpa >= r->gpa && gpa - r->gpa < r->size && len <= r->size - (gpa - r->gpa))
			return r;
	}
	return NULL;
}

void *memmap_host_ptr(const struct memmap *m, gpa_t gpa, uint64_t len)
{
	const struct mem_range *r = find_range(m, gpa, len);

	return r ? r->block->host + r->offset + (gpa - r->gpa) : NULL;
}

void *memmap_writable_ptr(const struct memmap *m, gpa_t gpa, uint64_t len)
{
	const struct mem_range *r = find_range(m, gpa, len);

	return r && !r->block->readonly ? r->block->host + r->offset + (gpa - r->gpa) : NULL;
}

int memmap_write(const struct memmap *m, gpa_t gpa, const void *p, uint64_t len, struct err *e)
{
	void *host = memmap_host_ptr(m, gpa, len);

	if (!host)
		return err_set(e, EFAULT, "guest memory %#llx..%#llx is not RAM",
			       (unsigned long long)gpa, (unsigned long long)(gpa + len));
	memcpy(host, p, len);
	return 0;
}

int memmap_read(const struct memmap *m, gpa_t gpa, void *p, uint64_t len, struct err *e)
{
	const void *host = memmap_host_ptr(m, gpa, len);

	if (!host)
		return err_set(e, EFAULT, "guest memory %#llx..%#llx is not RAM",
			       (unsigned long long)gpa, (unsigned long long)(gpa + len));
	memcpy(p, host, len);
	return 0;
}
