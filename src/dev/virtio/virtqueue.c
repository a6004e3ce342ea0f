/* SPDX-License-Identifier: MIT */
/* Split virtqueues (virtio 1.2, section 2.7): the device's side of a ring in guest memory. */
#include <errno.h>
#include <linux/virtio_ring.h>
#include <string.h>

#include "base/util.h"
#include "dev/virtio/virtqueue.h"

enum {
	RING_FLAGS = 0, /* of both rings                    */
	RING_IDX = 2,
	RING_ENTRIES = 4,
	DESC_BYTES = 16,
	USED_BYTES = 8, /* of an entry                      */
	NO_VECTOR = 0xffff,
};

static const struct vs_field virtqueue_fields[] = {
	VS_FIELD(struct virtqueue_state, desc),
	VS_FIELD(struct virtqueue_state, driver),
	VS_FIELD(struct virtqueue_state, device),
	VS_FIELD_RANGE(struct virtqueue_state, size, 0, VIRTQUEUE_MAX_SIZE),
	VS_FIELD(struct virtqueue_state, vector),
	VS_FIELD(struct virtqueue_state, last_avail),
	VS_FIELD(struct virtqueue_state, used),
	VS_FIELD(struct virtqueue_state, signalled),
	VS_FIELD(struct virtqueue_state, signalled_valid),
	VS_FIELD(struct virtqueue_state, enabled),
	VS_FIELD(struct virtqueue_state, reserved),
	VS_END,
};

const struct vs_desc virtqueue_state_desc = {
	.name = "virtio/queue",
	.version = 1,
	.min_version = 1,
	.size = sizeof(struct virtqueue_state),
	.fields = virtqueue_fields,
};

static uint16_t load16(const void *p)
{
	return __atomic_load_n((const uint16_t *)p, __ATOMIC_RELAXED);
}

static void store16(void *p, uint16_t v)
{
	__atomic_store_n((uint16_t *)p, v, __ATOMIC_RELAXED);
}

static uint16_t avail_idx(const struct virtqueue *q)
{
	return __atomic_load_n((const uint16_t *)(q->avail + RING_IDX), __ATOMIC_ACQUIRE);
}

/* Where each side says at which index of the other it wants to be told: behind the ring's entries. */
static const uint8_t *used_event(const struct virtqueue *q)
{
	return q->avail + RING_ENTRIES + 2 * (size_t)q->s->size;
}

static uint8_t *avail_event(const struct virtqueue *q)
{
	return q->used + RING_ENTRIES + USED_BYTES * (size_t)q->s->size;
}

/*
 * The host address of @gpa, and in *@len how many of its bytes follow one another on the host; NULL if
 * the device cannot reach it. Nearly all addresses are in the range the last one was in.
 */
static void *reach(struct virtqueue *q, gpa_t gpa, bool write, uint64_t *len)
{
	const struct memmap *m = q->mem;
	unsigned int i = q->hint;

	for (unsigned int tried = 0; tried <= m->nr_ranges; tried++) {
		if (i < m->nr_ranges) {
			const struct mem_range *r = &m->ranges[i];
			uint64_t offset = gpa - r->gpa;

			if (gpa >= r->gpa && offset < r->size) {
				if (write && r->block->readonly)
					return NULL;
				q->hint = i;
				*len = MIN(*len, r->size - offset);
				return r->block->host + r->offset + offset;
			}
		}
		i = tried;
	}
	return NULL;
}

/* As reach(), all of it or nothing. */
static void *reach_all(struct virtqueue *q, gpa_t gpa, bool write, uint64_t len)
{
	uint64_t got = len;
	void *p = reach(q, gpa, write, &got);

	return got == len ? p : NULL;
}

void virtqueue_unmap(struct virtqueue *q)
{
	q->desc = NULL;
	q->avail = NULL;
	q->used = NULL;
}

bool virtqueue_map(struct virtqueue *q)
{
	const struct virtqueue_state *s = q->s;
	uint64_t n = s->size;

	virtqueue_unmap(q);
	q->silent = false;
	q->broken = false;
	if (!s->enabled || !n || (n & (n - 1)) || n > q->max_size)
		return false;
	if (s->desc % 16 || s->driver % 2 || s->device % 4)
		return false;
	q->desc = reach_all(q, s->desc, false, DESC_BYTES * n);
	q->avail = reach_all(q, s->driver, false, RING_ENTRIES + 2 * n + 2);
	q->used = reach_all(q, s->device, true, RING_ENTRIES + USED_BYTES * n + 2);
	if (q->desc && q->avail && q->used)
		return true;
	virtqueue_unmap(q);
	return false;
}

void virtqueue_reset(struct virtqueue *q)
{
	*q->s = (struct virtqueue_state){ .size = q->max_size, .vector = NO_VECTOR };
	virtqueue_unmap(q);
	q->in_flight = 0;
	q->silent = false;
	q->broken = false;
}

bool virtqueue_has_avail(const struct virtqueue *q)
{
	if (q->limited && !q->budget)
		return false;
	return q->avail && !q->broken && avail_idx(q) != q->s->last_avail;
}

void virtqueue_begin(struct virtqueue *q)
{
	q->limited = true;
	q->budget = q->s->size;
}

bool virtqueue_end(struct virtqueue *q)
{
	q->limited = false;
	return !q->budget && virtqueue_has_avail(q);
}

void virtqueue_set_notification(struct virtqueue *q, bool on)
{
	uint16_t flags;

	if (!q->used)
		return;
	q->silent = !on;
	if (q->event_idx) {
		/* Off needs nothing: the index asked for stays behind. */
		if (on)
			store16(avail_event(q), q->s->last_avail);
	} else {
		flags = on ? 0 : VRING_USED_F_NO_NOTIFY;
		store16(q->used + RING_FLAGS, flags);
	}
	/* The driver sees this before it is asked whether there is more: one of us notices. */
	if (on)
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

uint16_t virtqueue_nr_avail(const struct virtqueue *q)
{
	return virtqueue_has_avail(q) ? (uint16_t)(avail_idx(q) - q->s->last_avail) : 0;
}

uint16_t virtqueue_await_more(struct virtqueue *q)
{
	if (!q->used)
		return 0;
	q->silent = false;
	if (q->event_idx)
		store16(avail_event(q), avail_idx(q));
	else
		store16(q->used + RING_FLAGS, 0);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return virtqueue_nr_avail(q);
}

/*
 * How many chains there are to take. When there is none the driver has been asked to notify,
 * and was looked at once more.
 */
static uint16_t count_avail(struct virtqueue *q)
{
	uint16_t n = (uint16_t)(avail_idx(q) - q->s->last_avail);

	if (n || q->silent || !q->event_idx)
		return n;
	if (load16(avail_event(q)) == q->s->last_avail)
		return 0;
	virtqueue_set_notification(q, true);
	return (uint16_t)(avail_idx(q) - q->s->last_avail);
}

/* A walk along a chain: where its descriptors are, and how far it may go. */
struct walk {
	const uint8_t *table;
	uint32_t entries, left;
	bool indirect;
};

/* Copies descriptor @index of the table before anybody looks at it; guest memory may be changing. */
static void copy_desc(const struct walk *w, uint32_t index, struct vring_desc *out)
{
	memcpy(out, w->table + DESC_BYTES * (size_t)index, sizeof(*out));
	/* What was copied is not read again. */
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	__asm__ volatile("" : : : "memory");
}

static int add_segments(struct virtqueue *q, struct virtq_chain *c, const struct vring_desc *d,
			struct err *e)
{
	bool write = d->flags & VRING_DESC_F_WRITE;
	gpa_t gpa = d->addr;
	uint64_t left = d->len;

	if (!left)
		return err_set(e, EINVAL, "a buffer at %#llx has no bytes",
			       (unsigned long long)gpa);
	if (!write && c->nr_in)
		return err_set(e, EINVAL, "a buffer to read follows one to write");
	if (gpa + left < gpa)
		return err_set(e, EINVAL, "a buffer of %u bytes at %#llx is beyond any address",
			       d->len, (unsigned long long)d->addr);
	while (left) {
		uint64_t len = left;
		void *p = reach(q, gpa, write, &len);

		if (!p)
			return err_set(e, EINVAL,
				       "a buffer of %u bytes at %#llx is not in RAM that can be %s",
				       d->len, (unsigned long long)d->addr,
				       write ? "written" : "read");
		if (c->nr_out + c->nr_in == VIRTQUEUE_MAX_SEGMENTS)
			return err_set(e, EINVAL, "a chain has more than %d buffers",
				       VIRTQUEUE_MAX_SEGMENTS);
		c->iov[c->nr_out + c->nr_in] = (struct iovec){ .iov_base = p, .iov_len = len };
		*(write ? &c->nr_in : &c->nr_out) += 1;
		*(write ? &c->in_bytes : &c->out_bytes) += len;
		gpa += len;
		left -= len;
	}
	return 0;
}

static int enter_indirect(struct virtqueue *q, struct walk *w, const struct vring_desc *d,
			  struct err *e)
{
	const uint8_t *table;

	if (!q->indirect)
		return err_set(e, EINVAL, "an indirect descriptor was not negotiated");
	if (w->indirect)
		return err_set(e, EINVAL, "an indirect descriptor is in an indirect table");
	if (d->flags & VRING_DESC_F_NEXT)
		return err_set(e, EINVAL, "an indirect descriptor has one that follows");
	if (!d->len || d->len % DESC_BYTES)
		return err_set(e, EINVAL, "an indirect table has %u bytes", d->len);
	table = reach_all(q, d->addr, false, d->len);
	if (!table)
		return err_set(e, EINVAL, "an indirect table of %u bytes at %#llx is not in RAM",
			       d->len, (unsigned long long)d->addr);
	*w = (struct walk){
		.table = table,
		.entries = d->len / DESC_BYTES,
		.left = MIN(d->len / DESC_BYTES, (uint32_t)VIRTQUEUE_MAX_SEGMENTS),
		.indirect = true,
	};
	return 0;
}

static int walk_chain(struct virtqueue *q, struct virtq_chain *c, struct err *e)
{
	struct walk w = { .table = q->desc, .entries = q->s->size, .left = q->s->size };
	uint32_t index = c->head;

	for (;;) {
		struct vring_desc d;
		int r;

		if (index >= w.entries)
			return err_set(e, EINVAL, "descriptor %u is not one of %u", index,
				       w.entries);
		if (!w.left--)
			return err_set(e, EINVAL, "a chain does not end");
		copy_desc(&w, index, &d);
		if (d.flags & VRING_DESC_F_INDIRECT) {
			r = enter_indirect(q, &w, &d, e);
			index = 0;
		} else {
			r = add_segments(q, c, &d, e);
			if (!r && !(d.flags & VRING_DESC_F_NEXT))
				return 0;
			index = d.next;
		}
		if (r)
			return r;
	}
}

static int take(struct virtqueue *q, struct virtq_chain *c, uint16_t ahead, struct err *e)
{
	const struct virtqueue_state *s = q->s;
	struct iovec *iov = c->iov;
	uint16_t slot = s->last_avail & (s->size - 1);

	if (ahead > s->size)
		return err_set(e, EINVAL, "%u chains are available in a ring of %u", ahead,
			       s->size);
	if (q->in_flight >= s->size)
		return err_set(e, EINVAL, "more chains are available than the ring has entries");
	*c = (struct virtq_chain){
		.iov = iov,
		.head = load16(q->avail + RING_ENTRIES + 2 * (size_t)slot),
	};
	return walk_chain(q, c, e);
}

int virtqueue_pop(struct virtqueue *q, struct virtq_chain *c, struct err *e)
{
	uint16_t ahead;
	int r;

	if (!q->avail || q->broken)
		return 0;
	ahead = count_avail(q);
	if (!ahead)
		return 0;
	if (q->limited && !q->budget)
		return 0;
	r = take(q, c, ahead, e);
	if (r) {
		q->broken = true;
		return r;
	}
	q->budget--;
	q->s->last_avail++;
	q->in_flight++;
	return 1;
}

void virtqueue_unpop(struct virtqueue *q)
{
	if (!q->in_flight)
		return;
	q->s->last_avail--;
	q->in_flight--;
	q->budget++;
}

void virtqueue_set_aside(struct virtqueue *q)
{
	if (q->in_flight)
		q->in_flight--;
}

int virtqueue_take_again(struct virtqueue *q, uint16_t head, struct virtq_chain *c, struct err *e)
{
	struct iovec *iov = c->iov;
	int r;

	if (!q->avail || q->broken)
		return 0;
	*c = (struct virtq_chain){ .iov = iov, .head = head };
	r = walk_chain(q, c, e);
	if (r) {
		q->broken = true;
		return r;
	}
	q->in_flight++;
	return 1;
}

void virtqueue_fill(struct virtqueue *q, uint16_t head, uint32_t bytes)
{
	const struct vring_used_elem elem = { .id = head, .len = bytes };

	if (!q->in_flight)
		return;
	q->in_flight--;
	if (!q->used)
		return;
	memcpy(q->used + RING_ENTRIES + USED_BYTES * (size_t)(q->s->used & (q->s->size - 1)), &elem,
	       sizeof(elem));
	q->s->used++;
}

void virtqueue_publish(struct virtqueue *q)
{
	if (q->used)
		__atomic_store_n((uint16_t *)(q->used + RING_IDX), q->s->used, __ATOMIC_RELEASE);
}

void virtqueue_push(struct virtqueue *q, uint16_t head, uint32_t bytes)
{
	virtqueue_fill(q, head, bytes);
	virtqueue_publish(q);
}

bool virtqueue_wants_interrupt(struct virtqueue *q)
{
	struct virtqueue_state *s = q->s;
	uint16_t old = s->signalled;
	bool valid = s->signalled_valid;

	if (!q->avail)
		return false;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!q->event_idx)
		return !(load16(q->avail + RING_FLAGS) & VRING_AVAIL_F_NO_INTERRUPT);
	s->signalled = s->used;
	s->signalled_valid = true;
	return !valid || vring_need_event(load16(used_event(q)), s->used, old);
}

/* Copies what of [offset, offset + n) lies in @nr entries of @iov; the larger of @in, @out is NULL. */
static size_t copy_iov(const struct iovec *iov, unsigned int nr, size_t offset, uint8_t *in,
		       const uint8_t *out, size_t n)
{
	size_t done = 0;

	for (unsigned int i = 0; i < nr && done < n; i++) {
		uint8_t *base = iov[i].iov_base;
		size_t len = iov[i].iov_len;

		if (offset >= len) {
			offset -= len;
			continue;
		}
		len = MIN(len - offset, n - done);
		if (in)
			memcpy(in + done, base + offset, len);
		else
			memcpy(base + offset, out + done, len);
		done += len;
		offset = 0;
	}
	return done;
}

size_t virtq_read(const struct virtq_chain *c, size_t offset, void *p, size_t n)
{
	return copy_iov(c->iov, c->nr_out, offset, p, NULL, n);
}

size_t virtq_write(const struct virtq_chain *c, size_t offset, const void *p, size_t n)
{
	return copy_iov(c->iov + c->nr_out, c->nr_in, offset, NULL, p, n);
}
