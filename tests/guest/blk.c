/* SPDX-License-Identifier: MIT */
/*
 * blk.c - writes numbered blocks to a virtio-blk disk without pause, reads them back and compares.
 *
 * Each slot has blocks of its own and one request under way: it writes a block with the next number, or
 * zeros, or flushes, and reads one of its blocks in between. What a block has to hold is noted in a table when
 * the device has said that it is written, and tests compare the image with the table. Options: qd=N slots
 * (default 16), blocks=N in all (default 512, of 4 KiB), queues=N, mode=irq|poll, idx=off without event
 * indices, split=off: buffers in one piece. A disk that is read-only is only read.
 */
#include "virtio_drv.h"

#define VECTOR   0x51
#define RINGS    0x400000ul
#define SLOTS    0x500000ul
#define SLOT     0x4000ul
#define TABLE    0x800000ul
#define BARS     0xd0000000ul
#define QUEUES   4
#define SIZE     256
#define QD_MAX   64
#define BYTES    4096u
#define SECTORS  (BYTES / 512)
#define F_RO     (1ul << 5)
#define F_FLUSH  (1ul << 9)
#define F_MQ     (1ul << 12)
#define F_ZEROES (1ul << 14)

#define T_IN     0u
#define T_OUT    1u
#define T_FLUSH  4u
#define T_GET_ID 8u
#define T_ZEROES 13u
#define C_QUEUES 34

const uint64_t guest_kind = ABI_KIND_BLK;

struct header {
	uint32_t type, priority;
	uint64_t sector;
};

struct range {
	uint64_t sector;
	uint32_t sectors, flags;
};

/* At the begin of a slot's memory; the block is a page further, and where it is read another one. */
struct memory {
	struct header header;
	struct range range;
	volatile uint8_t status;
};

struct slot {
	uint64_t turn, block, number;
	uint32_t type;
};

static struct vd dev;
static struct vq queues[QUEUES];
static struct slot slots[QD_MAX];
static uint32_t qd, nr_queues;
static uint64_t blocks;
static bool split;

static volatile struct abi_blk *body(void)
{
	return abi_body();
}

static struct memory *memory_of(uint64_t i)
{
	return (struct memory *)(SLOTS + i * SLOT);
}

static volatile uint64_t *block_of(uint64_t i)
{
	return (volatile uint64_t *)(SLOTS + i * SLOT + 0x1000);
}

static volatile uint64_t *entry(uint64_t block)
{
	return (volatile uint64_t *)TABLE + block;
}

/* Word @i of block @block in its version @number, which is 0 for zeros. */
static uint64_t word(uint64_t block, uint64_t number, uint64_t i)
{
	uint64_t x = block << 32 ^ number * 0x9e3779b97f4a7c15ul ^ i * 0xbf58476d1ce4e5b9ul;

	return number ? x ^ x >> 29 : 0;
}

static struct vq *queue_of(uint64_t i)
{
	return &queues[i % nr_queues];
}

/* Header, data in one piece or three, status. */
static void submit(uint64_t i, uint64_t data, uint32_t bytes, bool in)
{
	struct memory *m = memory_of(i);
	struct vq_buf bufs[5];
	unsigned int n = 0, out;

	m->header.type = slots[i].type;
	m->header.priority = 0;
	m->header.sector = slots[i].block * SECTORS;
	m->status = 0xff;
	bufs[n++] = (struct vq_buf){ (uint64_t)&m->header, sizeof(m->header) };
	if (split && bytes == BYTES) {
		bufs[n++] = (struct vq_buf){ data, 512 };
		bufs[n++] = (struct vq_buf){ data + 512, 1000 };
		bufs[n++] = (struct vq_buf){ data + 1512, BYTES - 1512 };
	} else if (bytes) {
		bufs[n++] = (struct vq_buf){ data, bytes };
	}
	out = in ? 1 : n;
	bufs[n++] = (struct vq_buf){ (uint64_t)&m->status, 1 };
	if (!vq_add(queue_of(i), bufs, out, n - out, i))
		abi_head()->errors++;
	body()->asked++;
}

static void start_write(uint64_t i)
{
	struct slot *s = &slots[i];
	volatile uint64_t *p = block_of(i);
	uint64_t k;

	s->type = T_OUT;
	s->number = body()->writes_asked + 1;
	body()->writes_asked = s->number;
	for (k = 0; k < BYTES / 8; k++)
		p[k] = word(s->block, s->number, k);
	submit(i, (uint64_t)p, BYTES, false);
}

static void start_zeroes(uint64_t i)
{
	struct slot *s = &slots[i];
	struct memory *m = memory_of(i);

	s->type = T_ZEROES;
	s->number = 0;
	m->range = (struct range){ s->block * SECTORS, SECTORS, 0 };
	submit(i, (uint64_t)&m->range, sizeof(m->range), false);
}

static void start_read(uint64_t i)
{
	volatile uint64_t *p = block_of(i);
	uint64_t k;

	slots[i].type = T_IN;
	for (k = 0; k < BYTES / 8; k++)
		p[k] = 0x5a5a5a5a5a5a5a5aul;
	submit(i, (uint64_t)p, BYTES, true);
}

/* Every other time a block is read, so each one is seen by a read at last. */
static void start_next(uint64_t i)
{
	struct slot *s = &slots[i];
	uint64_t turn = s->turn++, own = blocks / qd;

	s->block = i + qd * ((turn / 2 * 7 + turn % 2 * 3) % own);
	if (turn & 1 || dev.features & F_RO) {
		start_read(i);
	} else if (turn % 16 == 6 && dev.features & F_FLUSH) {
		s->type = T_FLUSH;
		submit(i, 0, 0, false);
	} else if (turn % 16 == 14 && dev.features & F_ZEROES) {
		start_zeroes(i);
	} else {
		start_write(i);
	}
}

static void check_block(uint64_t i)
{
	struct slot *s = &slots[i];
	volatile uint64_t *p = block_of(i);
	uint64_t number = *entry(s->block), k, bad = 0;

	for (k = 0; k < BYTES / 8; k++)
		bad += p[k] != word(s->block, number, k);
	if (!bad)
		return;
	body()->bad_blocks++;
	body()->bad_block = s->block;
	body()->bad_wanted = number;
	body()->bad_first = p[0];
}

static void finish(uint64_t i)
{
	struct slot *s = &slots[i];

	body()->answered++;
	if (memory_of(i)->status) {
		body()->bad_status++;
		body()->last_status = memory_of(i)->status;
	} else if (s->type == T_IN) {
		check_block(i);
		body()->reads++;
	} else if (s->type == T_FLUSH) {
		body()->flushes++;
	} else {
		*entry(s->block) = s->number;
		body()->writes++;
	}
}

static bool answered(void)
{
	bool any = false;
	uint64_t i;
	uint32_t len, q;

	for (q = 0; q < nr_queues; q++) {
		while (vq_collect(&queues[q], &i, &len)) {
			finish(i);
			start_next(i);
			any = true;
		}
		vq_kick(&queues[q]);
	}
	return any;
}

static void ask_serial(void)
{
	uint64_t i;
	uint32_t len;

	slots[0].type = T_GET_ID;
	slots[0].block = 0;
	memset((void *)block_of(0), 0, 24);
	submit(0, (uint64_t)block_of(0), 20, true);
	vq_kick(queue_of(0));
	while (!vq_collect(queue_of(0), &i, &len))
		;
	body()->answered++;
	if (memory_of(0)->status)
		body()->bad_status++;
	memcpy((void *)body()->serial, (void *)block_of(0), 24);
}

static bool start(bool poll)
{
	uint64_t wanted = F_RO | F_FLUSH | F_MQ | F_ZEROES;
	uint32_t q;

	if (!option_is("idx", "off"))
		wanted |= VD_F_EVENT_IDX | VD_F_INDIRECT;
	body()->found = vd_find(&dev, VD_ID_BLOCK, 0);
	if (!body()->found || !vd_start(&dev, BARS, wanted))
		return false;
	if (nr_queues > 1 && vd_config(&dev, C_QUEUES, 2) < nr_queues)
		nr_queues = 1;
	for (q = 0; q < nr_queues; q++)
		if (!vd_queue(&dev, &queues[q], (uint16_t)q, SIZE, RINGS + q * VQ_BYTES,
			      poll ? 0 : VECTOR))
			return false;
	vd_ready(&dev);
	return true;
}

void guest_main(void)
{
	bool poll = option_is("mode", "poll"), works;
	uint64_t seen = 0, i;
	uint32_t q;

	qd = (uint32_t)option_number("qd", 16);
	blocks = option_number("blocks", 512);
	nr_queues = (uint32_t)option_number("queues", 1);
	split = !option_is("split", "off");
	if (!qd || qd > QD_MAX || blocks < qd || !nr_queues || nr_queues > QUEUES) {
		abi_head()->errors++;
		qd = 1;
	}
	lapic_enable();
	idt_set(VECTOR, isr_count);
	memset((void *)TABLE, 0, blocks * 8);
	works = start(poll);
	body()->table_gpa = TABLE;
	body()->blocks = blocks;
	body()->features = dev.features;
	if (works) {
		body()->capacity = vd_config(&dev, 0, 4);
		ask_serial();
		for (i = 0; i < qd; i++)
			start_next(i);
		for (q = 0; q < nr_queues; q++)
			vq_kick(&queues[q]);
	}
	guest_ready();
	for (;;) {
		uint64_t irqs = *(volatile uint64_t *)&isr_counter;
		bool more;

		abi_head()->heartbeat++;
		if (request_poll())
			request_done(0);
		if (!works)
			continue;
		if (abi_head()->heartbeat % 65536 == 0) {
			body()->capacity = vd_config(&dev, 0, 4);
			body()->broken = vd_is_broken(&dev);
		}
		/* Told by an interrupt only: one that is lost shows as the end of all answers. */
		if (!poll && irqs == seen && body()->reads)
			continue;
		seen = irqs;
		body()->irqs = irqs;
		do {
			answered();
			more = false;
			for (q = 0; !poll && q < nr_queues; q++)
				more |= vq_want_interrupt(&queues[q]);
		} while (more);
	}
}
