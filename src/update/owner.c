/* SPDX-License-Identifier: MIT */
/* The owner word: which process may run the guest. */
#include <errno.h>

#include "base/trace.h"
#include "base/util.h"
#include "host/mem.h"
#include "update/owner.h"

enum {
	OWNER_PAGE_BYTES = 4096,
	OWNER_MAGIC = 0x42744f77
};

struct owner_page {
	uint32_t magic;
	uint32_t word;
	struct owner_times times;
	struct owner_state state;
	struct owner_places places;
	struct owner_deadline deadline;
};

int owner_create(struct owner *o, struct err *e)
{
	AUTO_CLOSE int fd = mem_create_memfd(OWNER_FD_NAME, OWNER_PAGE_BYTES, e);
	void *p;
	int r;

	if (fd < 0)
		return fd;
	r = mem_map(fd, OWNER_PAGE_BYTES, true, &p, e);
	if (r)
		return r;
	o->page = p;
	o->page->magic = OWNER_MAGIC;
	__atomic_store_n(&o->page->word, OWNER_OLD, __ATOMIC_SEQ_CST);
	o->fd = take_fd(&fd);
	return 0;
}

int owner_open(struct owner *o, int fd, struct err *e)
{
	struct owner_page *page;
	void *p;
	int r;

	r = mem_check_size(fd, OWNER_PAGE_BYTES, "owner word", e);
	if (!r)
		r = mem_map(fd, OWNER_PAGE_BYTES, true, &p, e);
	if (r)
		return r;
	page = p;
	if (page->magic != OWNER_MAGIC) {
		mem_unmap(p, OWNER_PAGE_BYTES);
		return err_set(e, EINVAL, "the page that came for the owner word is none");
	}
	o->page = page;
	o->fd = fd;
	return 0;
}

void owner_fini(struct owner *o)
{
	if (o->page)
		mem_unmap(o->page, OWNER_PAGE_BYTES);
	o->page = NULL;
	close_fd(&o->fd);
}

static bool swap(struct owner *o, uint32_t from, uint32_t to)
{
	return __atomic_compare_exchange_n(&o->page->word, &from, to, false, __ATOMIC_SEQ_CST,
					   __ATOMIC_SEQ_CST);
}

bool owner_offer(struct owner *o)
{
	bool done = swap(o, OWNER_OLD, OWNER_OFFERED);

	trace_owner_offer(done);
	return done;
}

bool owner_take_back(struct owner *o)
{
	bool done = swap(o, OWNER_OFFERED, OWNER_OLD);

	trace_owner_take_back(done);
	return done;
}

bool owner_claim(struct owner *o)
{
	bool done = swap(o, OWNER_OFFERED, OWNER_NEW);

	trace_owner_claim(done);
	return done;
}

enum owner_side owner_get(const struct owner *o)
{
	return (enum owner_side)__atomic_load_n(&o->page->word, __ATOMIC_SEQ_CST);
}

struct owner_state *owner_state(struct owner *o)
{
	return &o->page->state;
}

struct owner_places *owner_places(struct owner *o)
{
	return &o->page->places;
}

struct owner_deadline *owner_deadline(struct owner *o)
{
	return &o->page->deadline;
}

void owner_busy(const struct owner *o, cpu_set_t *out)
{
	const struct owner_places *p = &o->page->places;

	CPU_ZERO(out);
	for (size_t i = 0; i < ARRAY_SIZE(p->cpu); i++) {
		unsigned int place = p->cpu[i];

		if (place && place <= CPU_SETSIZE)
			CPU_SET(place - 1, out);
	}
}

struct owner_times *owner_times(struct owner *o)
{
	return &o->page->times;
}

const uint32_t *owner_word(const struct owner *o)
{
	return &o->page->word;
}
