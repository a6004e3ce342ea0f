/* SPDX-License-Identifier: MIT */
/* Guest RAM: its blocks, their memory on the host, and where the guest sees them. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "host/mem.h"
#include "machine/memmap.h"

int ram_block_create(struct ram_block **out, const char *name, uint64_t size,
		     enum ram_backend backend, const char *path, bool share, int fd, struct err *e)
{
	struct ram_block *b = calloc(1, sizeof(*b));
	AUTO_CLOSE int own = -1;
	void *host;
	int r;

	if (!b)
		return err_set(e, ENOMEM, "no memory for RAM block '%s'", name);
	snprintf(b->name, sizeof(b->name), "%s", name);
	snprintf(b->path, sizeof(b->path), "%s", path ? path : "");
	b->size = size;
	b->backend = backend;
	b->share = share;
	if (fd >= 0)
		r = mem_check_size(fd, size, name, e);
	else if (backend == RAM_BACKEND_FILE)
		r = own = mem_open_file(path, size, e);
	else
		r = own = mem_create_memfd(name, size, e);
	if (r >= 0)
		r = mem_map(fd >= 0 ? fd : own, size, share, &host, e);
	if (r < 0) {
		free(b);
		return err_prefix(e, "RAM block '%s'", name);
	}
	b->host = host;
	b->fresh = fd < 0 && backend == RAM_BACKEND_MEMFD;
	b->fd = fd >= 0 ? fd : take_fd(&own);
	*out = b;
	return 0;
}

void ram_block_destroy(struct ram_block *b)
{
	if (!b)
		return;
	mem_unmap(b->host, b->size);
	close_fd(&b->fd);
	free(b);
}

void memmap_init(struct memmap *m, struct ram_block *ram)
{
	uint64_t low = MIN(ram->size, LAYOUT_LOW_RAM_MAX);

	m->ram = ram;
	m->ranges[0] = (struct mem_range){ .gpa = 0, .size = low, .block = ram, .offset = 0 };
	m->nr_ranges = 1;
	if (ram->size > low) {
		m->ranges[1] = (struct mem_range){
			.gpa = LAYOUT_HIGH_RAM,
			.size = ram->size - low,
			.block = ram,
			.offset = low,
		};
		m->nr_ranges = 2;
	}
}

void memmap_fini(struct memmap *m)
{
	ram_block_destroy(m->ram);
	*m = (struct memmap){ 0 };
}

void *memmap_host_ptr(const struct memmap *m, gpa_t gpa, uint64_t len)
{
	for (unsigned int i = 0; i < m->nr_ranges; i++) {
		const struct mem_range *r = &m->ranges[i];

		if (gpa >= r->gpa && gpa - r->gpa < r->size && len <= r->size - (gpa - r->gpa))
			return r->block->host + r->offset + (gpa - r->gpa);
	}
	return NULL;
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
