/* SPDX-License-Identifier: MIT */
/* A driver that does what the bytes say with a ring, and a device that must stay within its memory. */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "dev/virtio/virtqueue.h"
#include "fuzz.h"

enum {
	RAM = 0x10000, /* in two ranges, the second of which lies first on the host */
	SPLIT = 0xc000,
	ROM = 0x20000,
	ROM_BYTES = 0x1000,
	HELD = 64,
};

/* What the bytes can have happen. */
enum op {
	OP_POKE,  /* the driver writes to memory                            */
	OP_DESC,  /* likewise, a whole descriptor at once                   */
	OP_OFFER, /* an entry of the available ring, and its index          */
	OP_POP,
	OP_POP_ALL, /* as devices do, with a budget                           */
	OP_PUSH,
	OP_UNPOP,
	OP_NOTIFY,
	OP_MAP,
	OP_RESET,
	OP_COUNT,
};

struct world {
	struct memmap map;
	struct ram_block ram, rom;
	struct virtqueue_state s;
	struct virtqueue q;
	struct iovec iov[VIRTQUEUE_MAX_SEGMENTS];
	uint16_t held[HELD];
	unsigned int nr_held;
};

static void *guest(struct world *w, gpa_t gpa, uint64_t len)
{
	return memmap_host_ptr(&w->map, gpa, len);
}

/* All of it is memory that the device may use so: the sanitizer sees the rest. */
static void use_chain(const struct world *w, const struct virtq_chain *c)
{
	uint64_t in = 0, out = 0;
	uint8_t data[32];

	MUST(c->nr_out + c->nr_in > 0 && c->nr_out + c->nr_in <= VIRTQUEUE_MAX_SEGMENTS);
	for (unsigned int i = 0; i < c->nr_out + c->nr_in; i++) {
		uint8_t *p = c->iov[i].iov_base;
		size_t n = c->iov[i].iov_len;
		bool ram = p >= w->ram.host && p + n <= w->ram.host + RAM;
		bool rom = p >= w->rom.host && p + n <= w->rom.host + ROM_BYTES;

		MUST(n > 0 && (ram || rom));
		if (i >= c->nr_out) {
			MUST(ram);
			p[0] ^= 1;
			p[n - 1] ^= 1;
			in += n;
		} else {
			out += n;
		}
	}
	MUST(in == c->in_bytes && out == c->out_bytes);
	MUST(virtq_read(c, 0, data, sizeof(data)) == MIN(out, sizeof(data)));
	MUST(virtq_read(c, out, data, 1) == 0);
	MUST(virtq_write(c, in - MIN(in, 1u), data, sizeof(data)) == MIN(in, 1u));
}

/* 1 if a chain was taken. */
static int pop(struct world *w)
{
	struct virtq_chain c = { .iov = w->iov };
	struct virtqueue_state before = w->s;
	unsigned int in_flight = w->q.in_flight;
	struct err e = ERR_INIT;
	int r;

	if (w->nr_held == HELD)
		return 0;
	r = virtqueue_pop(&w->q, &c, &e);
	if (r > 0) {
		MUST(w->q.in_flight == in_flight + 1 && in_flight < w->s.size);
		MUST((uint16_t)(before.last_avail + 1) == w->s.last_avail);
		use_chain(w, &c);
		w->held[w->nr_held++] = c.head;
		return 1;
	}
	MUST(w->q.in_flight == in_flight && !memcmp(&before, &w->s, sizeof(before)));
	MUST(!r || (r == -EINVAL && e.msg[0]));
	/* Said once. */
	if (r)
		MUST(!virtqueue_pop(&w->q, &c, &e) && !virtqueue_has_avail(&w->q));
	return 0;
}

static void pop_all(struct world *w)
{
	unsigned int n = 0;

	virtqueue_begin(&w->q);
	while (pop(w))
		n++;
	MUST(n <= w->s.size || !w->q.avail);
	if (virtqueue_end(&w->q))
		MUST(n == w->s.size);
}

static void push(struct world *w, struct fuzz_bytes *b)
{
	uint16_t used = w->s.used;
	unsigned int i;

	if (!w->nr_held)
		return;
	i = fuzz_u8(b) % w->nr_held;
	virtqueue_push(&w->q, w->held[i], fuzz_u32(b));
	w->held[i] = w->held[--w->nr_held];
	MUST(w->s.used == (uint16_t)(used + !!w->q.used));
	virtqueue_wants_interrupt(&w->q);
}

/* Its places come from the driver, or from a state. */
static void map(struct world *w, struct fuzz_bytes *b)
{
	uint8_t how = fuzz_u8(b);

	w->s.size = how & 0x10 ? fuzz_u16(b) : 1u << (how & 0xf);
	w->s.enabled = true;
	w->s.desc = how & 0x20 ? fuzz_u64(b) : fuzz_u16(b) & 0xfff0;
	w->s.driver = how & 0x40 ? fuzz_u64(b) : fuzz_u16(b) & 0xfffe;
	w->s.device = how & 0x80 ? fuzz_u64(b) : fuzz_u16(b) & 0xfffc;
	w->s.last_avail = fuzz_u16(b);
	w->s.used = fuzz_u16(b);
	w->q.in_flight = 0;
	w->nr_held = 0;
	virtqueue_map(&w->q);
}

static void poke(struct world *w, gpa_t gpa, const void *p, size_t n)
{
	void *to = guest(w, gpa, n);

	if (to)
		memcpy(to, p, n);
}

static void offer(struct world *w, struct fuzz_bytes *b)
{
	uint16_t idx = w->s.last_avail, head = fuzz_u8(b), n = fuzz_u8(b);

	/* What is in flight is behind; a few more than that, or far too many. */
	idx = (uint16_t)(idx + (n & 0x80 ? n << 8 : n & 7));
	poke(w, w->s.driver + 2, &idx, 2);
	poke(w, w->s.driver + 4 + 2 * (uint64_t)(w->s.last_avail & (w->s.size - 1)), &head, 2);
}

static void write_desc(struct world *w, struct fuzz_bytes *b)
{
	struct {
		uint64_t addr;
		uint32_t len;
		uint16_t flags, next;
	} d;
	uint8_t at = fuzz_u8(b), how = fuzz_u8(b);

	d.addr = how & 0x10 ? fuzz_u64(b) : fuzz_u16(b) | (uint64_t)(how & 0x20) << 12;
	d.len = how & 0x40 ? fuzz_u32(b) : fuzz_u8(b);
	d.flags = how & 0x80 ? fuzz_u16(b) : how & 7;
	d.next = fuzz_u8(b);
	poke(w, w->s.desc + 16 * (uint64_t)at, &d, sizeof(d));
}

static void step(struct world *w, struct fuzz_bytes *b)
{
	uint8_t data[16];
	uint16_t at;

	switch ((enum op)(fuzz_u8(b) % OP_COUNT)) {
	case OP_POKE:
		at = fuzz_u16(b);
		poke(w, at, data, fuzz_take(b, data, 1 + at % sizeof(data)));
		break;
	case OP_DESC:
		write_desc(w, b);
		break;
	case OP_OFFER:
		offer(w, b);
		break;
	case OP_POP:
		pop(w);
		break;
	case OP_POP_ALL:
		pop_all(w);
		break;
	case OP_PUSH:
		push(w, b);
		break;
	case OP_UNPOP:
		virtqueue_unpop(&w->q);
		w->nr_held -= !!w->nr_held;
		break;
	case OP_NOTIFY:
		virtqueue_set_notification(&w->q, fuzz_u8(b) & 1);
		virtqueue_has_avail(&w->q);
		break;
	case OP_MAP:
		map(w, b);
		break;
	case OP_RESET:
	case OP_COUNT:
		virtqueue_reset(&w->q);
		w->nr_held = 0;
		break;
	}
	MUST(w->q.in_flight == w->nr_held);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_bytes b = { data, size };
	struct world *w = calloc(1, sizeof(*w));
	uint8_t how = fuzz_u8(&b);

	w->ram = (struct ram_block){ .size = RAM, .host = calloc(1, RAM), .in_guest = true };
	w->rom = (struct ram_block){
		.size = ROM_BYTES, .host = calloc(1, ROM_BYTES), .in_guest = true, .readonly = true
	};
	w->map.ranges[0] = (struct mem_range){ 0, SPLIT, &w->ram, RAM - SPLIT };
	w->map.ranges[1] = (struct mem_range){ SPLIT, RAM - SPLIT, &w->ram, 0 };
	w->map.ranges[2] = (struct mem_range){ ROM, ROM_BYTES, &w->rom, 0 };
	w->map.nr_ranges = 3;
	w->q = (struct virtqueue){
		.mem = &w->map,
		.s = &w->s,
		.max_size = VIRTQUEUE_MAX_SIZE,
		.event_idx = how & 1,
		.indirect = how & 2,
	};
	virtqueue_reset(&w->q);
	map(w, &b);
	while (b.left)
		step(w, &b);
	free(w->ram.host);
	free(w->rom.host);
	free(w);
	return 0;
}
