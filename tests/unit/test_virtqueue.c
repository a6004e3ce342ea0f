/* SPDX-License-Identifier: MIT */
/* Split virtqueues: what drivers may do, compared, and what they may not, refused once. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/util.h"
#include "virtq_driver.h"

enum {
	SIZE = 64,
	NEXT = VRING_DESC_F_NEXT,
	WRITE = VRING_DESC_F_WRITE,
	INDIRECT = VRING_DESC_F_INDIRECT,
	TABLES = 0x30000, /* where indirect tables are */
};

struct world {
	struct drv_memory mem;
	struct drv drv;
	struct virtqueue_state s;
	struct virtqueue q;
	struct iovec iov[VIRTQUEUE_MAX_SEGMENTS];
	struct virtq_chain c;
	struct err e;
	uint64_t seed;
};

static void begin(struct world *w, uint32_t size, bool event_idx)
{
	memset(w, 0, sizeof(*w));
	drv_memory_init(&w->mem);
	drv_init(&w->drv, &w->mem, size, event_idx);
	w->s = drv_state(&w->drv);
	w->q = (struct virtqueue){
		.mem = &w->mem.map,
		.s = &w->s,
		.max_size = VIRTQUEUE_MAX_SIZE,
		.event_idx = event_idx,
		.indirect = true,
	};
	w->c.iov = w->iov;
	w->seed = 1;
	assert_true(virtqueue_map(&w->q));
}

static void end(struct world *w)
{
	drv_memory_fini(&w->mem);
}

static uint32_t chance(struct world *w, uint32_t below)
{
	w->seed = w->seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(w->seed >> 33) % below;
}

static int pop(struct world *w)
{
	return virtqueue_pop(&w->q, &w->c, &w->e);
}

/* The ring is refused with exactly this sentence, and nothing more is said or taken afterwards. */
static void refused(struct world *w, const char *why)
{
	struct virtqueue_state before = w->s;

	assert_int_equal(pop(w), -EINVAL);
	assert_string_equal(w->e.msg, why);
	assert_int_equal(pop(w), 0);
	assert_false(virtqueue_has_avail(&w->q));
	assert_memory_equal(&before, &w->s, sizeof(before));
	assert_int_equal(w->q.in_flight, 0);
	end(w);
}

static void a_chain_is_taken_with_its_buffers_in_order(void **state)
{
	struct world w;
	uint8_t got[8];

	(void)state;
	begin(&w, SIZE, false);
	assert_int_equal(pop(&w), 0);
	assert_false(virtqueue_has_avail(&w.q));
	drv_set(&w.drv, 5, DRV_DATA, 3, NEXT, 9);
	drv_set(&w.drv, 9, DRV_DATA + 100, 4, NEXT, 2);
	drv_set(&w.drv, 2, DRV_DATA + 200, 5, WRITE, 0);
	memcpy(drv_ptr(&w.mem, DRV_DATA), "abc", 3);
	memcpy(drv_ptr(&w.mem, DRV_DATA + 100), "defg", 4);
	drv_offer(&w.drv, 5);
	assert_true(virtqueue_has_avail(&w.q));
	assert_int_equal(pop(&w), 1);
	assert_int_equal(w.c.head, 5);
	assert_int_equal(w.c.nr_out, 2);
	assert_int_equal(w.c.nr_in, 1);
	assert_int_equal(w.c.out_bytes, 7);
	assert_int_equal(w.c.in_bytes, 5);
	assert_int_equal(virtq_read(&w.c, 2, got, 8), 5);
	assert_memory_equal(got, "cdefg", 5);
	assert_int_equal(virtq_read(&w.c, 7, got, 8), 0);
	assert_int_equal(virtq_write(&w.c, 1, "wxyz!", 5), 4);
	assert_memory_equal(drv_ptr(&w.mem, DRV_DATA + 200), "\0wxyz", 5);
	assert_int_equal(w.q.in_flight, 1);
	virtqueue_push(&w.q, 5, 5);
	assert_int_equal(w.q.in_flight, 0);
	assert_int_equal(pop(&w), 0);
	end(&w);
}

static void a_chain_that_is_put_back_comes_again(void **state)
{
	struct world w;

	(void)state;
	begin(&w, SIZE, false);
	for (uint16_t i = 0; i < 2; i++) {
		drv_set(&w.drv, i, DRV_DATA, 3, 0, 0);
		drv_offer(&w.drv, i);
	}
	assert_int_equal(pop(&w), 1);
	assert_int_equal(pop(&w), 1);
	assert_int_equal(w.c.head, 1);
	virtqueue_unpop(&w.q);
	virtqueue_unpop(&w.q);
	virtqueue_unpop(&w.q);
	assert_int_equal(w.q.in_flight, 0);
	assert_int_equal(pop(&w), 1);
	assert_int_equal(w.c.head, 0);
	end(&w);
}

static void what_is_filled_is_seen_when_it_is_published(void **state)
{
	struct vring_used_elem u;
	struct world w;

	(void)state;
	begin(&w, SIZE, false);
	for (uint16_t i = 0; i < 3; i++) {
		drv_set(&w.drv, i, DRV_DATA, 3, WRITE, 0);
		drv_offer(&w.drv, i);
		assert_int_equal(pop(&w), 1);
		virtqueue_fill(&w.q, i, 10 + i);
		assert_false(drv_collect(&w.drv, &u));
	}
	virtqueue_publish(&w.q);
	for (uint16_t i = 0; i < 3; i++) {
		assert_true(drv_collect(&w.drv, &u));
		assert_int_equal(u.id, i);
		assert_int_equal(u.len, 10 + i);
	}
	assert_false(drv_collect(&w.drv, &u));
	/* What was never taken is not given back. */
	virtqueue_push(&w.q, 7, 1);
	assert_false(drv_collect(&w.drv, &u));
	end(&w);
}

static void a_driver_that_never_stops_is_left_for_a_while(void **state)
{
	struct world w;
	unsigned int n = 0;

	(void)state;
	begin(&w, SIZE, true);
	drv_set(&w.drv, 0, DRV_DATA, 3, WRITE, 0);
	drv_offer(&w.drv, 0);
	virtqueue_begin(&w.q);
	for (; pop(&w) > 0; n++) {
		virtqueue_push(&w.q, 0, 0);
		drv_offer(&w.drv, 0);
	}
	assert_int_equal(n, SIZE);
	assert_false(virtqueue_has_avail(&w.q));
	assert_true(virtqueue_end(&w.q));
	assert_true(virtqueue_has_avail(&w.q));
	virtqueue_begin(&w.q);
	assert_int_equal(pop(&w), 1);
	virtqueue_unpop(&w.q);
	assert_int_equal(pop(&w), 1);
	virtqueue_push(&w.q, 0, 0);
	assert_int_equal(pop(&w), 0);
	assert_false(virtqueue_end(&w.q));
	end(&w);
}

static void a_buffer_over_two_ranges_has_two_segments(void **state)
{
	struct world w;

	(void)state;
	begin(&w, SIZE, false);
	drv_set(&w.drv, 0, DRV_SPLIT - 3, 10, WRITE, 0);
	drv_offer(&w.drv, 0);
	assert_int_equal(pop(&w), 1);
	assert_int_equal(w.c.nr_in, 2);
	assert_int_equal(w.c.in_bytes, 10);
	assert_int_equal(virtq_write(&w.c, 0, "0123456789", 10), 10);
	for (unsigned int i = 0; i < 10; i++)
		assert_int_equal(*(uint8_t *)drv_ptr(&w.mem, DRV_SPLIT - 3 + i), '0' + i);
	end(&w);
}

static void rings_that_are_not_in_ram_are_not_mapped(void **state)
{
	static const struct {
		uint64_t desc, driver, device;
		uint32_t size;
	} bad[] = {
		{ DRV_DESC + 8, DRV_AVAIL, DRV_USED, SIZE },
		{ DRV_DESC, DRV_AVAIL + 1, DRV_USED, SIZE },
		{ DRV_DESC, DRV_AVAIL, DRV_USED + 2, SIZE },
		{ DRV_SPLIT - 16, DRV_AVAIL, DRV_USED, SIZE },
		{ DRV_DESC, DRV_SPLIT - 4, DRV_USED, SIZE },
		{ DRV_DESC, DRV_AVAIL, DRV_SPLIT - 4, SIZE },
		{ 0x40000000, DRV_AVAIL, DRV_USED, SIZE },
		{ DRV_DESC, UINT64_MAX - 1, DRV_USED, SIZE },
		{ DRV_DESC, DRV_AVAIL, UINT64_MAX - 3, SIZE },
		{ DRV_DESC, DRV_AVAIL, DRV_ROM, SIZE },
		{ DRV_DESC, DRV_AVAIL, DRV_USED, 0 },
		{ DRV_DESC, DRV_AVAIL, DRV_USED, 3 },
		{ DRV_DESC, DRV_AVAIL, DRV_USED, 2 * VIRTQUEUE_MAX_SIZE },
	};
	struct world w;

	(void)state;
	begin(&w, SIZE, false);
	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++) {
		w.s.desc = bad[i].desc;
		w.s.driver = bad[i].driver;
		w.s.device = bad[i].device;
		w.s.size = bad[i].size;
		assert_false(virtqueue_map(&w.q));
		assert_int_equal(pop(&w), 0);
		assert_false(virtqueue_has_avail(&w.q));
		assert_false(virtqueue_wants_interrupt(&w.q));
		virtqueue_set_notification(&w.q, true);
		virtqueue_push(&w.q, 0, 0);
	}
	w.s = drv_state(&w.drv);
	w.s.enabled = false;
	assert_false(virtqueue_map(&w.q));
	w.s.enabled = true;
	assert_true(virtqueue_map(&w.q));
	/* A descriptor table may be in memory that can only be read. */
	w.s.desc = DRV_ROM;
	assert_true(virtqueue_map(&w.q));
	end(&w);
}

static void an_index_too_far_ahead_is_refused_once(void **state)
{
	struct world w;

	(void)state;
	begin(&w, SIZE, false);
	w.drv.avail[1] = SIZE + 1;
	refused(&w, "65 chains are available in a ring of 64");
	begin(&w, SIZE, false);
	w.drv.avail[1] = 0xffff;
	refused(&w, "65535 chains are available in a ring of 64");
}

static void one_chain_offered_for_ever_does_not_pile_up(void **state)
{
	struct world w;

	(void)state;
	begin(&w, SIZE, false);
	drv_set(&w.drv, 0, DRV_DATA, 1, 0, 0);
	for (unsigned int i = 0; i < SIZE; i++) {
		drv_offer(&w.drv, 0);
		assert_int_equal(pop(&w), 1);
	}
	drv_offer(&w.drv, 0);
	assert_int_equal(pop(&w), -EINVAL);
	assert_string_equal(w.e.msg, "more chains are available than the ring has entries");
	end(&w);
}

static void chains_that_break_the_rules_are_refused(void **state)
{
	struct world w;

	(void)state;
	begin(&w, SIZE, false);
	drv_offer(&w.drv, SIZE);
	refused(&w, "descriptor 64 is not one of 64");

	begin(&w, SIZE, false);
	drv_set(&w.drv, 1, DRV_DATA, 1, NEXT, 0xffff);
	drv_offer(&w.drv, 1);
	refused(&w, "descriptor 65535 is not one of 64");

	begin(&w, SIZE, false);
	drv_set(&w.drv, 1, DRV_DATA, 1, NEXT, 1);
	drv_offer(&w.drv, 1);
	refused(&w, "a chain does not end");

	begin(&w, SIZE, false);
	drv_set(&w.drv, 1, DRV_DATA, 0, 0, 0);
	drv_offer(&w.drv, 1);
	refused(&w, "a buffer at 0x40000 has no bytes");

	begin(&w, SIZE, false);
	drv_set(&w.drv, 1, DRV_DATA, 1, NEXT | WRITE, 2);
	drv_set(&w.drv, 2, DRV_DATA, 1, 0, 0);
	drv_offer(&w.drv, 1);
	refused(&w, "a buffer to read follows one to write");

	begin(&w, SIZE, false);
	drv_set(&w.drv, 1, UINT64_MAX - 3, 16, 0, 0);
	drv_offer(&w.drv, 1);
	refused(&w, "a buffer of 16 bytes at 0xfffffffffffffffc is beyond any address");

	begin(&w, SIZE, false);
	drv_set(&w.drv, 1, DRV_RAM - 8, 16, 0, 0);
	drv_offer(&w.drv, 1);
	refused(&w, "a buffer of 16 bytes at 0xffff8 is not in RAM that can be read");

	begin(&w, SIZE, false);
	drv_set(&w.drv, 1, DRV_DATA, UINT32_MAX, WRITE, 0);
	drv_offer(&w.drv, 1);
	refused(&w, "a buffer of 4294967295 bytes at 0x40000 is not in RAM that can be written");

	begin(&w, SIZE, false);
	drv_set(&w.drv, 1, DRV_ROM, 16, WRITE, 0);
	drv_offer(&w.drv, 1);
	refused(&w, "a buffer of 16 bytes at 0x200000 is not in RAM that can be written");
}

static struct vring_desc *table(struct world *w)
{
	return drv_ptr(&w->mem, TABLES);
}

static void indirect_tables_that_break_the_rules_are_refused(void **state)
{
	struct world w;

	(void)state;
	begin(&w, SIZE, false);
	w.q.indirect = false;
	drv_set(&w.drv, 0, TABLES, 16, INDIRECT, 0);
	drv_offer(&w.drv, 0);
	refused(&w, "an indirect descriptor was not negotiated");

	begin(&w, SIZE, false);
	drv_set(&w.drv, 0, TABLES, 16, INDIRECT, 0);
	*table(&w) = (struct vring_desc){ TABLES, 16, INDIRECT, 0 };
	drv_offer(&w.drv, 0);
	refused(&w, "an indirect descriptor is in an indirect table");

	begin(&w, SIZE, false);
	drv_set(&w.drv, 0, TABLES, 16, INDIRECT | NEXT, 1);
	drv_offer(&w.drv, 0);
	refused(&w, "an indirect descriptor has one that follows");

	begin(&w, SIZE, false);
	drv_set(&w.drv, 0, TABLES, 24, INDIRECT, 0);
	drv_offer(&w.drv, 0);
	refused(&w, "an indirect table has 24 bytes");

	begin(&w, SIZE, false);
	drv_set(&w.drv, 0, TABLES, 0, INDIRECT, 0);
	drv_offer(&w.drv, 0);
	refused(&w, "an indirect table has 0 bytes");

	begin(&w, SIZE, false);
	drv_set(&w.drv, 0, DRV_RAM - 16, 32, INDIRECT, 0);
	drv_offer(&w.drv, 0);
	refused(&w, "an indirect table of 32 bytes at 0xffff0 is not in RAM");

	begin(&w, SIZE, false);
	drv_set(&w.drv, 0, TABLES, 32, INDIRECT, 0);
	table(&w)[0] = (struct vring_desc){ DRV_DATA, 1, NEXT, 1 };
	table(&w)[1] = (struct vring_desc){ DRV_DATA, 1, NEXT, 0 };
	drv_offer(&w.drv, 0);
	refused(&w, "a chain does not end");

	begin(&w, SIZE, false);
	drv_set(&w.drv, 0, TABLES, 32, INDIRECT, 0);
	table(&w)[0] = (struct vring_desc){ DRV_DATA, 1, NEXT, 2 };
	drv_offer(&w.drv, 0);
	refused(&w, "descriptor 2 is not one of 2");

	/* A table longer than any chain, all of it used. */
	begin(&w, SIZE, false);
	drv_set(&w.drv, 0, TABLES, 16 * (VIRTQUEUE_MAX_SEGMENTS + 1), INDIRECT, 0);
	for (uint16_t i = 0; i <= VIRTQUEUE_MAX_SEGMENTS; i++)
		table(&w)[i] = (struct vring_desc){ DRV_DATA, 1, NEXT, (uint16_t)(i + 1) };
	table(&w)[VIRTQUEUE_MAX_SEGMENTS].flags = 0;
	drv_offer(&w.drv, 0);
	refused(&w, "a chain does not end");

	begin(&w, SIZE, false);
	drv_set(&w.drv, 1, DRV_DATA, 1, NEXT, 0);
	drv_set(&w.drv, 0, TABLES, 16 * VIRTQUEUE_MAX_SEGMENTS, INDIRECT, 0);
	for (uint16_t i = 0; i < VIRTQUEUE_MAX_SEGMENTS; i++)
		table(&w)[i] = (struct vring_desc){ DRV_DATA, 1, NEXT, (uint16_t)(i + 1) };
	table(&w)[VIRTQUEUE_MAX_SEGMENTS - 1].flags = 0;
	drv_offer(&w.drv, 1);
	refused(&w, "a chain has more than 1026 buffers");
}

/* Device and driver at work with each other, told of the other's doings only where it was asked for. */
struct work {
	struct world w;
	uint64_t sum[SIZE];    /* of what the request at a head is to be answered with */
	uint32_t bytes[SIZE];  /* of the answer                                        */
	uint32_t answer[SIZE]; /* offset of it in the data                            */
	bool busy[SIZE];
	unsigned int offered, done, outstanding;
	bool kick, interrupt;
	uint16_t held[SIZE];
	struct virtq_chain chains[SIZE];
	unsigned int nr_held;
	unsigned int kicks, interrupts;
};

enum {
	SLOT = 4096 /* data of each head: half to read, half to write */
};

/* As Linux's driver would lay out: direct with one free descriptor only, or a table; or both. */
static void offer_one(struct work *k, uint16_t head)
{
	struct world *w = &k->w;
	struct vring_desc *t = (struct vring_desc *)drv_ptr(&w->mem, TABLES + head * 256);
	gpa_t data = DRV_DATA + (gpa_t)(head % 32) * SLOT + (head >= 32 ? 0x60000 : 0);
	unsigned int outs = 1 + chance(w, 3), ins = 1 + chance(w, 3), n = 0;
	uint32_t at = 0;

	k->sum[head] = 0;
	k->bytes[head] = 0;
	for (unsigned int i = 0; i < outs + ins; i++) {
		uint32_t len = 1 + chance(w, SLOT / 8);
		bool write = i >= outs;

		for (uint32_t b = 0; !write && b < len; b++) {
			uint8_t v = (uint8_t)chance(w, 256);

			*(uint8_t *)drv_ptr(&w->mem, data + at + b) = v;
			k->sum[head] = k->sum[head] * 31 + v;
		}
		t[n] = (struct vring_desc){ data + at, len, write ? WRITE : 0, 0 };
		if (write)
			k->bytes[head] += len;
		if (write && i == outs)
			k->answer[head] = (uint32_t)(data + at);
		at += len;
		n++;
	}
	for (unsigned int i = 0; i + 1 < n; i++) {
		t[i].flags |= NEXT;
		t[i].next = (uint16_t)(i + 1);
	}
	drv_set(&w->drv, head, TABLES + head * 256, n * 16, INDIRECT, 0);
	k->busy[head] = true;
	drv_offer(&w->drv, head);
	k->offered++;
	k->outstanding++;
}

static void driver_turn(struct work *k, unsigned int until)
{
	struct world *w = &k->w;
	struct vring_used_elem u;
	bool any = false;

	if (k->interrupt) {
		k->interrupt = false;
		k->interrupts++;
		do {
			while (drv_collect(&w->drv, &u)) {
				uint64_t want, got = 0;

				assert_true(u.id < SIZE && k->busy[u.id]);
				want = k->sum[u.id];
				assert_int_equal(u.len, MIN(k->bytes[u.id], 8u));
				for (uint32_t b = 0; b < u.len; b++)
					got |= (uint64_t) * (uint8_t *)drv_ptr(&w->mem,
									       k->answer[u.id] + b)
					       << 8 * b;
				if (u.len < 8)
					want &= (UINT64_C(1) << 8 * u.len) - 1;
				assert_true(want == got);
				k->busy[u.id] = false;
				k->done++;
				k->outstanding--;
			}
		} while (drv_want_interrupt(&w->drv));
	}
	for (uint16_t head = 0; head < SIZE && k->offered < until; head++) {
		if (k->busy[head] || chance(w, 4))
			continue;
		offer_one(k, head);
		any = true;
	}
	if (any && drv_must_kick(&w->drv)) {
		k->kick = true;
		k->kicks++;
	}
}

static void device_answer(struct work *k, unsigned int i)
{
	struct world *w = &k->w;
	struct virtq_chain *c = &k->chains[i];
	uint64_t sum = 0;
	size_t wrote;

	for (size_t b = 0; b < c->out_bytes; b++) {
		uint8_t v;

		assert_int_equal(virtq_read(c, b, &v, 1), 1);
		sum = sum * 31 + v;
	}
	wrote = virtq_write(c, 0, &sum, sizeof(sum));
	virtqueue_push(&w->q, c->head, (uint32_t)wrote);
	free(c->iov);
	k->chains[i] = k->chains[--k->nr_held];
}

static void device_turn(struct work *k)
{
	struct world *w = &k->w;
	bool pushed = false;
	int r = 0;

	if (k->kick) {
		k->kick = false;
		if (chance(w, 2))
			virtqueue_set_notification(&w->q, false);
		do {
			while ((r = pop(w)) > 0) {
				struct virtq_chain *c = &k->chains[k->nr_held++];
				size_t n = w->c.nr_out + w->c.nr_in;

				*c = w->c;
				c->iov = calloc(n, sizeof(*c->iov));
				memcpy(c->iov, w->c.iov, n * sizeof(*c->iov));
			}
			virtqueue_set_notification(&w->q, true);
		} while (r == 0 && virtqueue_has_avail(&w->q));
		assert_int_equal(r, 0);
	}
	assert_int_equal(w->q.in_flight, k->nr_held);
	while (k->nr_held && chance(w, 8)) {
		device_answer(k, chance(w, k->nr_held));
		pushed = true;
	}
	if (pushed && virtqueue_wants_interrupt(&w->q))
		k->interrupt = true;
}

/* Over several turns of the indices; nobody looks at a ring without being told. */
static void work_together(bool event_idx)
{
	struct work *k = calloc(1, sizeof(*k));
	unsigned int until = 200000, idle = 0;

	begin(&k->w, SIZE, event_idx);
	k->interrupt = true;
	while (k->done < until && idle < 10000) {
		unsigned int before = k->done + k->offered;

		if (chance(&k->w, 2))
			driver_turn(k, until);
		else
			device_turn(k);
		idle = k->done + k->offered == before ? idle + 1 : 0;
	}
	assert_int_equal(k->done, until);
	assert_int_equal(k->outstanding, 0);
	assert_int_equal(k->w.q.in_flight, 0);
	/* The whole point of an index of events: fewer of them. */
	if (event_idx)
		assert_true(k->kicks < until && k->interrupts < until);
	end(&k->w);
	free(k);
}

static void requests_are_answered_once_with_flags(void **state)
{
	(void)state;
	work_together(false);
}

static void requests_are_answered_once_with_event_indices(void **state)
{
	(void)state;
	work_together(true);
}

/* Two threads on one ring, each asleep until it is told: a missing barrier shows as a hang. */
struct race {
	struct world w;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool kick, interrupt, stop;
	unsigned int total;
};

static void race_wait(struct race *r, bool *flag)
{
	pthread_mutex_lock(&r->lock);
	while (!*flag && !r->stop)
		pthread_cond_wait(&r->cond, &r->lock);
	*flag = false;
	pthread_mutex_unlock(&r->lock);
}

static void race_tell(struct race *r, bool *flag)
{
	pthread_mutex_lock(&r->lock);
	*flag = true;
	pthread_cond_broadcast(&r->cond);
	pthread_mutex_unlock(&r->lock);
}

static void *race_device(void *opaque)
{
	struct race *r = opaque;
	struct world *w = &r->w;
	unsigned int n = 0;

	while (n < r->total) {
		race_wait(r, &r->kick);
		while (pop(w) > 0) {
			virtqueue_push(&w->q, w->c.head, 0);
			n++;
			if (virtqueue_wants_interrupt(&w->q))
				race_tell(r, &r->interrupt);
		}
	}
	return NULL;
}

static void no_notification_is_lost_between_two_threads(void **state)
{
	struct race r = { .lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER };
	unsigned int offered = 0, done = 0;
	struct vring_used_elem u;
	pthread_t t;

	(void)state;
	r.total = 100000;
	begin(&r.w, SIZE, true);
	for (uint16_t i = 0; i < SIZE; i++)
		drv_set(&r.w.drv, i, DRV_DATA, 1, 0, 0);
	assert_int_equal(pthread_create(&t, NULL, race_device, &r), 0);
	while (done < r.total) {
		while (offered < r.total && offered - done < 4) {
			drv_offer(&r.w.drv, (uint16_t)(offered++ % SIZE));
			if (drv_must_kick(&r.w.drv))
				race_tell(&r, &r.kick);
		}
		while (drv_collect(&r.w.drv, &u))
			done++;
		if (done < offered && !drv_want_interrupt(&r.w.drv))
			race_wait(&r, &r.interrupt);
	}
	pthread_join(t, NULL);
	assert_int_equal(r.w.q.in_flight, 0);
	end(&r.w);
}

static void a_reset_queue_has_nothing_and_offers_its_size(void **state)
{
	struct vring_used_elem u;
	struct world w;

	(void)state;
	begin(&w, SIZE, true);
	drv_set(&w.drv, 0, DRV_DATA, 1, 0, 0);
	drv_offer(&w.drv, 0);
	assert_int_equal(pop(&w), 1);
	virtqueue_reset(&w.q);
	assert_int_equal(w.s.size, VIRTQUEUE_MAX_SIZE);
	assert_int_equal(w.s.vector, 0xffff);
	assert_false(w.s.enabled);
	/* What comes late from a back end goes nowhere. */
	virtqueue_push(&w.q, 0, 1);
	assert_false(drv_collect(&w.drv, &u));
	assert_int_equal(pop(&w), 0);
	end(&w);
}

static void every_byte_of_a_queue_is_described(void **state)
{
	struct err e;

	(void)state;
	if (vs_audit(&virtqueue_state_desc, &e))
		fail_msg("%s", e.msg);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_chain_is_taken_with_its_buffers_in_order),
		cmocka_unit_test(a_chain_that_is_put_back_comes_again),
		cmocka_unit_test(what_is_filled_is_seen_when_it_is_published),
		cmocka_unit_test(a_driver_that_never_stops_is_left_for_a_while),
		cmocka_unit_test(a_buffer_over_two_ranges_has_two_segments),
		cmocka_unit_test(rings_that_are_not_in_ram_are_not_mapped),
		cmocka_unit_test(an_index_too_far_ahead_is_refused_once),
		cmocka_unit_test(one_chain_offered_for_ever_does_not_pile_up),
		cmocka_unit_test(chains_that_break_the_rules_are_refused),
		cmocka_unit_test(indirect_tables_that_break_the_rules_are_refused),
		cmocka_unit_test(requests_are_answered_once_with_flags),
		cmocka_unit_test(requests_are_answered_once_with_event_indices),
		cmocka_unit_test(no_notification_is_lost_between_two_threads),
		cmocka_unit_test(a_reset_queue_has_nothing_and_offers_its_size),
		cmocka_unit_test(every_byte_of_a_queue_is_described),
	};

	return cmocka_run_group_tests_name("virtqueue", tests, NULL, NULL);
}
