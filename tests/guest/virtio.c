/* SPDX-License-Identifier: MIT */
/*
 * virtio.c - asks a virtio-rng for random bytes without pause, and checks each answer.
 *
 * As many requests as the queue takes are always with the device. A buffer is filled with a pattern
 * before; in an answer as many bytes as the device says have changed, and no others have.
 * Options: bytes=N of a buffer (default 64), mode=irq|poll, idx=off without event indices, moves=N:
 * after so many answers the registers are placed elsewhere. Without a device it says so and rests.
 */
#include "virtio_drv.h"

#define VECTOR     0x51
#define RINGS      0x400000ul
#define BUFFERS    0x410000ul
#define SLOT       0x1000ul
#define SIZE       8
#define PATTERN    0x5a
#define BARS       0xd0000000ul
#define BARS_OTHER 0xd1000000ul

const uint64_t guest_kind = ABI_KIND_VIRTIO;

static struct vd dev;
static struct vq queue;

static volatile struct abi_virtio *body(void)
{
	return abi_body();
}

static void ask(uint64_t slot, uint32_t bytes)
{
	const struct vq_buf buf = { BUFFERS + slot * SLOT, bytes };

	memset((void *)buf.gpa, PATTERN, SLOT);
	if (vq_add(&queue, &buf, 0, 1, slot))
		body()->asked++;
	else
		abi_head()->errors++;
}

/* Of sixteen random bytes one is different, but for once in 2^128 times. */
static void check(uint64_t slot, uint32_t len, uint32_t bytes)
{
	volatile uint8_t *p = (volatile uint8_t *)(BUFFERS + slot * SLOT);
	uint32_t i, same = 0;

	if (!len || len > bytes)
		body()->bad_length++;
	for (i = 0; i < SLOT; i++) {
		if (i < len)
			same += p[i] == PATTERN;
		else if (p[i] != PATTERN)
			body()->beyond++;
	}
	if (len >= 16 && same == len)
		body()->unwritten++;
	body()->bytes += len;
}

static void move_bars(uint64_t gpa)
{
	/* Queues and status stay; where they are seen changes. */
	vd_move(&dev, gpa);
	vq_moved(&queue);
	body()->moves++;
}

static void answered(uint32_t bytes, uint64_t moves)
{
	uint64_t slot;
	uint32_t len;

	while (vq_collect(&queue, &slot, &len)) {
		check(slot, len, bytes);
		body()->answered++;
		if (moves && body()->answered % moves == 0)
			move_bars(body()->moves & 1 ? BARS : BARS_OTHER);
		ask(slot, bytes);
	}
	vq_kick(&queue);
	body()->kicks = queue.kicks;
	body()->irqs = *(volatile uint64_t *)&isr_counter;
}

void guest_main(void)
{
	uint32_t bytes = (uint32_t)option_number("bytes", 64);
	uint64_t moves = option_number("moves", 0), seen = 0, slot;
	bool poll = option_is("mode", "poll");
	uint64_t wanted = option_is("idx", "off") ? 0 : VD_F_EVENT_IDX | VD_F_INDIRECT;

	lapic_enable();
	idt_set(VECTOR, isr_count);
	body()->found = vd_find(&dev, VD_ID_RNG, 0);
	if (body()->found && vd_start(&dev, BARS, wanted) &&
	    vd_queue(&dev, &queue, 0, SIZE, RINGS, poll ? 0 : VECTOR)) {
		vd_ready(&dev);
		for (slot = 0; slot < SIZE; slot++)
			ask(slot, bytes);
		vq_kick(&queue);
	}
	guest_ready();
	for (;;) {
		uint64_t irqs = *(volatile uint64_t *)&isr_counter;

		abi_head()->heartbeat++;
		if (request_poll())
			request_done(0);
		if (!body()->found)
			continue;
		/* Told by an interrupt only: one that is lost shows as the end of all answers. */
		if (!poll && irqs == seen && body()->answered)
			continue;
		seen = irqs;
		do
			answered(bytes, moves);
		while (!poll && vq_want_interrupt(&queue));
	}
}
