/* SPDX-License-Identifier: MIT */
/* A block of guest RAM: its name, what it is made of, and its memory on the host. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/util.h"
#include "host/mem.h"
#include "machine/ram_block.h"

/* A block at least as large is aligned so that the host can use huge pages for it. */
#define HUGE_ALIGN (2 * MIB)

const char *ram_backend_name(enum ram_backend backend)
{
	static const char *const names[] = {
		[RAM_BACKEND_MEMFD] = "memory-backend-memfd",
		[RAM_BACKEND_FILE] = "memory-backend-file",
		[RAM_BACKEND_SHM] = "memory-backend-shm",
		[RAM_BACKEND_RAM] = "memory-backend-ram",
	};

	return names[backend];
}

/* The descriptor of new memory for the block; 0 with *fd untouched: it needs none. */
static int open_memory(const struct ram_config *c, int *fd, bool *created, struct err *e)
{
	const struct ram_options *o = &c->options;
	int r = 0;

	switch (c->backend) {
	case RAM_BACKEND_FILE:
		r = mem_open_file(c->path, o->offset + c->size, c->readonly, created, e);
		break;
	case RAM_BACKEND_SHM:
		r = mem_create_shm(c->size, e);
		break;
	case RAM_BACKEND_RAM:
		if (!c->share)
			return 0;
		r = mem_create_memfd(c->name, c->size, e);
		break;
	default:
		r = mem_create_memfd_with(c->name, c->size, !o->unsealed, o->hugetlb,
					  o->hugetlb_size, e);
		break;
	}
	if (r < 0)
		return r;
	*fd = r;
	return 0;
}

static int check_alignment(const struct ram_config *c, int fd, struct err *e)
{
	uint64_t page = mem_page_size(fd), align = c->options.align;

	if (align & (align - 1))
		return err_set(e, EINVAL, "alignment 0x%llx must be a power of two",
			       (unsigned long long)align);
	if (align % page)
		return err_set(e, EINVAL, "alignment 0x%llx must be multiples of page size 0x%llx",
			       (unsigned long long)align, (unsigned long long)page);
	if (align > GIB)
		return err_set(e, EINVAL, "alignment 0x%llx is more than 1 GiB",
			       (unsigned long long)align);
	if (c->options.offset % page)
		return err_set(e, EINVAL, "offset 0x%llx must be a multiple of page size 0x%llx",
			       (unsigned long long)c->options.offset, (unsigned long long)page);
	if (c->size % page)
		return err_set(e, EINVAL,
			       "memory size 0x%llx must be a multiple of the page size 0x%llx",
			       (unsigned long long)c->size, (unsigned long long)page);
	return 0;
}

static int map_memory(const struct ram_config *c, int fd, bool fresh, void **host, struct err *e)
{
	const struct ram_options *o = &c->options;
	uint64_t page = mem_page_size(fd);
	uint64_t least = c->size >= HUGE_ALIGN ? MAX(page, HUGE_ALIGN) : page;
	const struct mem_mapping m = {
		.fd = fd,
		.offset = o->offset,
		.size = c->size,
		.align = MAX(o->align, least),
		.share = c->share,
		.readonly = c->readonly,
		/* A guest that touches a huge page that is not there takes the process with it. */
		.reserve = o->reserve || page > 4096,
		.merge = o->merge,
		.dump = o->dump,
		.huge = page == 4096 && c->size >= HUGE_ALIGN,
	};
	int r = check_alignment(c, fd, e);

	if (!r)
		r = mem_map_ram(&m, host, e);
	/* What is preserved has its memory. */
	if (r || !o->prealloc || !fresh || c->readonly)
		return r;
	r = mem_populate(*host, c->size, e);
	if (r)
		mem_unmap(*host, c->size);
	return r;
}

static struct ram_block *new_block(const struct ram_config *c, struct err *e)
{
	struct ram_block *b = calloc(1, sizeof(*b));

	if (!b) {
		err_set(e, ENOMEM, "no memory for RAM block '%s'", c->name);
		return NULL;
	}
	snprintf(b->name, sizeof(b->name), "%s", c->name);
	snprintf(b->path, sizeof(b->path), "%s", c->path ? c->path : "");
	b->size = c->size;
	b->backend = c->backend;
	b->options = c->options;
	b->share = c->share;
	b->readonly = c->readonly;
	return b;
}

int ram_block_adopt(struct ram_block **out, const struct ram_config *c, int fd, void *host,
		    struct err *e)
{
	struct ram_block *b = new_block(c, e);

	if (!b)
		return -ENOMEM;
	b->fd = fd;
	b->host = host;
	b->borrowed = true;
	*out = b;
	return 0;
}

int ram_block_create(struct ram_block **out, const struct ram_config *c, int fd, struct err *e)
{
	struct ram_block *b = new_block(c, e);
	AUTO_CLOSE int own = -1;
	bool created = false;
	void *host;
	int r;

	if (!b)
		return -ENOMEM;
	if (c->options.offset > INT64_MAX || c->size > INT64_MAX - c->options.offset)
		r = err_set(e, EFBIG, "the file would be too large");
	else if (fd >= 0)
		r = mem_check_size(fd, c->options.offset + c->size, c->name, e);
	else
		r = open_memory(c, &own, &created, e);
	if (!r)
		r = map_memory(c, fd >= 0 ? fd : own, fd < 0, &host, e);
	if (r) {
		if (created)
			unlink(c->path);
		free(b);
		return err_prefix(e, "RAM block '%s'", c->name);
	}
	b->host = host;
	b->fresh = fd < 0 && c->backend != RAM_BACKEND_FILE;
	b->fd = fd >= 0 ? fd : take_fd(&own);
	*out = b;
	return 0;
}

void ram_block_destroy(struct ram_block *b)
{
	if (!b)
		return;
	if (!b->borrowed)
		mem_unmap(b->host, b->size);
	close_fd(&b->fd);
	free(b);
}

bool ram_block_is_preserved(const struct ram_block *b)
{
	return b->fd >= 0 && b->share;
}

bool ram_block_is_reopenable(const struct ram_block *b)
{
	return b->backend == RAM_BACKEND_FILE && b->share && mem_is_file(b->fd, b->path);
}
