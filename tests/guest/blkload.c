/* SPDX-License-Identifier: MIT */
/*
 * blkload.c - keeps a virtio-blk disk busy with requests of one kind, for measuring.
 *
 * Options: load=randread|randwrite|read|write (default randread), size=N bytes of a request (default
 * 4096, at most 256 KiB), qd=N requests under way (default 1), blocks=N of that size that are used
 * (default: the whole disk). Each request has memory of its own; nothing is compared, only a request's
 * status is looked at. A request that came back is replaced at once.
 */
#include "virtio_drv.h"

#define VECTOR   0x51
#define RINGS    0x400000ul
#define SLOTS    0x500000ul
#define SLOT     0x1000ul
#define DATA     0x1000000ul
#define DATA_MAX 0x40000ul
#define BARS     0xd0000000ul
#define SIZE     256
#define QD_MAX   64
#define SECTOR   512u

#define T_IN  0u
#define T_OUT 1u

const uint64_t guest_kind = ABI_KIND_BLK;

/* At the begin of a slot's memory. */
struct memory {
	uint32_t type, priority;
	uint64_t sector;
	volatile uint8_t status;
};

static struct vd dev;
static struct vq queue;
static uint64_t qd, bytes, blocks, next, seed = 88172645463325252ul;
static uint32_t type;
static bool random;

static volatile struct abi_blk *body(void)
{
	return abi_body();
}

static struct memory *memory_of(uint64_t i)
{
	return (struct memory *)(SLOTS + i * SLOT);
}

/* A block number; of random ones the same row in every run. */
static uint64_t choose(void)
{
	if (!random)
		return next++ % blocks;
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed % blocks;
}

static void submit(uint64_t i)
{
	struct memory *m = memory_of(i);
	struct vq_buf bufs[3] = {
		{ (uint64_t)m, 16 },
		{ DATA + i * DATA_MAX, (uint32_t)bytes },
		{ (uint64_t)&m->status, 1 },
	};
	unsigned int out = type == T_IN ? 1 : 2;

	m->type = type;
	m->sector = choose() * (bytes / SECTOR);
	m->status = 0xff;
	if (!vq_add(&queue, bufs, out, 3 - out, i))
		abi_head()->errors++;
	body()->asked++;
}

static bool answered(void)
{
	bool any = false;
	uint64_t i;
	uint32_t len;

	while (vq_collect(&queue, &i, &len)) {
		if (memory_of(i)->status) {
			body()->bad_status++;
			body()->last_status = memory_of(i)->status;
		}
		body()->answered++;
		submit(i);
		any = true;
	}
	vq_kick(&queue);
	return any;
}

static bool start(void)
{
	body()->found = vd_find(&dev, VD_ID_BLOCK, 0);
	if (!body()->found || !vd_start(&dev, BARS, VD_F_EVENT_IDX | VD_F_INDIRECT) ||
	    !vd_queue(&dev, &queue, 0, SIZE, RINGS, VECTOR))
		return false;
	vd_ready(&dev);
	body()->features = dev.features;
	body()->capacity = vd_config(&dev, 0, 4);
	return true;
}

static bool read_options(void)
{
	qd = option_number("qd", 1);
	bytes = option_number("size", 4096);
	random = !option_is("load", "read") && !option_is("load", "write");
	type = option_is("load", "randwrite") || option_is("load", "write") ? T_OUT : T_IN;
	return qd && qd <= QD_MAX && bytes && bytes <= DATA_MAX && !(bytes % SECTOR);
}

void guest_main(void)
{
	bool works = read_options();
	uint64_t seen = 0, i;

	lapic_enable();
	idt_set(VECTOR, isr_count);
	works = works && start();
	if (works)
		blocks = option_number("blocks", body()->capacity * SECTOR / bytes);
	if (!works || !blocks) {
		works = false;
		abi_head()->errors++;
	}
	body()->blocks = blocks;
	for (i = 0; works && i < qd; i++)
		submit(i);
	if (works)
		vq_kick(&queue);
	guest_ready();
	for (;;) {
		uint64_t irqs = *(volatile uint64_t *)&isr_counter;

		abi_head()->heartbeat++;
		if (request_poll())
			request_done(0);
		if (!works || irqs == seen)
			continue;
		seen = irqs;
		body()->irqs = irqs;
		do
			answered();
		while (vq_want_interrupt(&queue));
	}
}
