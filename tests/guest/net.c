/* SPDX-License-Identifier: MIT */
/*
 * net.c - a virtio network card: checks the frames that come and sends them back.
 *
 * A frame of type 0x88b5 holds its number, its length and a pattern that follows from the number. Each goes back
 * with addresses swapped, in order. Options: rxsize=N bytes of a buffer (default 2048), mode=irq|poll,
 * idx=off without event indices, mrg=off without merged buffers, flood=1: it sends numbered frames of type 0x88b6,
 * too, of size=N bytes; filter=1: only frames to its own address are wanted.
 */
#include "virtio_drv.h"

#define VECTOR  0x51
#define RINGS   0x400000ul
#define RX_AT   0x420000ul
#define TX_AT   0x480000ul
#define RX_SLOT 0x1000ul
#define TX_SLOT 0x4000ul
#define SIZE    64
#define TX_NR   32
#define BARS    0xd0000000ul

#define HEADER      12
#define NUM_BUFFERS 10
#define ETH         14
#define ECHO        0x88b5u
#define FLOOD       0x88b6u
#define SMALLEST    (ETH + 12)

#define F_MAC     (1ul << 5)
#define F_MRG     (1ul << 15)
#define F_STATUS  (1ul << 16)
#define F_CTRL_VQ (1ul << 17)
#define F_CTRL_RX (1ul << 18)

const uint64_t guest_kind = ABI_KIND_NET;

static struct vd dev;
static struct vq rx, tx, ctrl;
static uint8_t free_slots[TX_NR];
static unsigned int nr_free;
static uint32_t rx_bytes;
/* The frame that is being put together, in a slot of its own. */
static unsigned int slot_at, parts_left;
static uint32_t have;
static uint64_t next_number;

static volatile struct abi_net *body(void)
{
	return abi_body();
}

static uint8_t *tx_frame(unsigned int slot)
{
	return (uint8_t *)(TX_AT + slot * TX_SLOT + HEADER);
}

static void offer(uint64_t slot)
{
	const struct vq_buf buf = { RX_AT + slot * RX_SLOT, rx_bytes };

	if (!vq_add(&rx, &buf, 0, 1, slot))
		abi_head()->errors++;
}

static void send(unsigned int slot, uint32_t len)
{
	const uint64_t at = TX_AT + slot * TX_SLOT;
	const struct vq_buf bufs[2] = { { at, HEADER }, { at + HEADER, len } };

	memset((void *)at, 0, HEADER);
	if (!vq_add(&tx, bufs, 2, 0, slot))
		abi_head()->errors++;
}

static void reclaim(void)
{
	uint64_t slot;
	uint32_t len;

	while (vq_collect(&tx, &slot, &len)) {
		free_slots[nr_free++] = (uint8_t)slot;
		body()->tx_done++;
	}
}

static uint64_t get64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

/* Counts what is wrong with a numbered frame of @len bytes. */
static void judge(const uint8_t *p, uint32_t len)
{
	uint64_t number = get64(p + ETH), i;
	uint32_t said = (uint32_t)get64(p + ETH + 4 + 4);

	if (said != len)
		body()->damaged++;
	for (i = SMALLEST; i < len; i++)
		if (p[i] != (uint8_t)(number + i)) {
			body()->damaged++;
			break;
		}
	if (number < next_number)
		body()->doubled++;
	else
		body()->lost += number - next_number;
	next_number = number + 1;
	body()->rx_frames++;
}

/* The frame in slot_at is complete. */
static void handle(void)
{
	uint8_t *p = tx_frame(slot_at), mac[6];

	if (have < SMALLEST || (p[12] << 8 | p[13]) != ECHO) {
		body()->others++;
		free_slots[nr_free++] = (uint8_t)slot_at;
		return;
	}
	judge(p, have);
	memcpy(mac, p, 6);
	memcpy(p, p + 6, 6);
	memcpy(p + 6, mac, 6);
	send(slot_at, have);
}

static void take_part(uint64_t slot, uint32_t len)
{
	const uint8_t *p = (const uint8_t *)(RX_AT + slot * RX_SLOT);
	uint32_t skip = 0;

	if (!parts_left) {
		slot_at = free_slots[--nr_free];
		parts_left = p[NUM_BUFFERS] | p[NUM_BUFFERS + 1] << 8;
		have = 0;
		skip = HEADER;
		if (!parts_left || len < HEADER)
			abi_head()->errors++;
	}
	if (len > rx_bytes || have + len - skip > TX_SLOT - HEADER) {
		abi_head()->errors++;
	} else {
		memcpy(tx_frame(slot_at) + have, p + skip, len - skip);
		have += len - skip;
	}
	offer(slot);
	if (!--parts_left)
		handle();
}

static void receive(void)
{
	uint64_t slot;
	uint32_t len;

	while (parts_left || nr_free) {
		if (!vq_collect(&rx, &slot, &len))
			break;
		take_part(slot, len);
	}
	vq_kick(&rx);
	vq_kick(&tx);
}

static void set_mac(uint8_t *p)
{
	uint64_t mac = body()->mac;

	memset(p, 0xff, 6);
	memcpy(p + 6, &mac, 6);
}

static void flood(uint32_t size)
{
	/* Half of the slots are for what comes back. */
	while (nr_free > TX_NR / 2) {
		unsigned int slot = free_slots[--nr_free];
		uint64_t number = body()->flooded, i;
		uint8_t *p = tx_frame(slot);

		set_mac(p);
		p[12] = FLOOD >> 8;
		p[13] = FLOOD & 0xff;
		memcpy(p + ETH, &number, sizeof(number));
		memcpy(p + ETH + 8, &size, sizeof(size));
		for (i = SMALLEST; i < size; i++)
			p[i] = (uint8_t)(number + i);
		send(slot, size);
		body()->flooded++;
	}
	vq_kick(&tx);
}

/* Who has 192.0.2.1? Tell 192.0.2.2. */
static void ask_gateway(void)
{
	static const uint8_t arp[] = { 0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1 };
	unsigned int slot;
	uint8_t *p;

	if (!nr_free)
		return;
	slot = free_slots[--nr_free];
	p = tx_frame(slot);
	memset(p, 0, 60);
	set_mac(p);
	memcpy(p + 12, arp, sizeof(arp));
	memcpy(p + 22, p + 6, 6);
	p[28] = p[38] = 192;
	p[30] = p[40] = 2;
	p[31] = 2;
	p[41] = 1;
	send(slot, 60);
	vq_kick(&tx);
}

static void only_own_address(void)
{
	static const uint8_t promisc_off[] = { 0, 0, 0 };
	uint8_t *p = (uint8_t *)(RINGS + 4 * VQ_BYTES);
	const struct vq_buf bufs[2] = { { (uint64_t)p, 3 }, { (uint64_t)p + 8, 1 } };
	uint64_t cookie;
	uint32_t len;

	memcpy(p, promisc_off, 3);
	p[8] = 0xaa;
	vq_add(&ctrl, bufs, 1, 1, 0);
	vq_kick(&ctrl);
	while (!vq_collect(&ctrl, &cookie, &len))
		;
	body()->ack = *(volatile uint8_t *)(p + 8);
}

static bool begin(void)
{
	bool poll = option_is("mode", "poll"), filter = option_number("filter", 0);
	uint64_t wanted = F_MAC | F_STATUS | (option_is("mrg", "off") ? 0 : F_MRG) |
			  (option_is("idx", "off") ? 0 : VD_F_EVENT_IDX | VD_F_INDIRECT) |
			  (filter ? F_CTRL_VQ | F_CTRL_RX : 0);
	unsigned int i;

	if (!vd_find(&dev, VD_ID_NET, 0) || !vd_start(&dev, BARS, wanted) ||
	    !vd_queue(&dev, &rx, 0, SIZE, RINGS, poll ? 0 : VECTOR) ||
	    !vd_queue(&dev, &tx, 1, SIZE, RINGS + VQ_BYTES, 0))
		return false;
	if (filter && !vd_queue(&dev, &ctrl, 2, SIZE, RINGS + 2 * VQ_BYTES, 0))
		return false;
	for (i = 0; i < 6; i++)
		body()->mac |= (uint64_t)vd_config(&dev, i, 1) << 8 * i;
	body()->link = vd_config(&dev, 6, 2);
	vd_ready(&dev);
	for (i = 0; i < TX_NR; i++)
		free_slots[nr_free++] = (uint8_t)i;
	for (i = 0; i < SIZE; i++)
		offer(i);
	vq_kick(&rx);
	if (filter)
		only_own_address();
	return true;
}

static void serve_request(void)
{
	switch (request_poll()) {
	case 0:
		return;
	case ABI_REQUEST_LINK:
		body()->link = vd_config(&dev, 6, 2);
		break;
	case ABI_REQUEST_ARP:
		ask_gateway();
		break;
	}
	request_done(0);
}

void guest_main(void)
{
	uint32_t size = (uint32_t)option_number("size", 1000);
	bool poll = option_is("mode", "poll"), floods = option_number("flood", 0);
	uint64_t seen = 0;

	rx_bytes = (uint32_t)option_number("rxsize", 2048);
	lapic_enable();
	idt_set(VECTOR, isr_count);
	body()->found = begin();
	guest_ready();
	for (;;) {
		uint64_t irqs = *(volatile uint64_t *)&isr_counter;
		bool starved = !nr_free;

		abi_head()->heartbeat++;
		serve_request();
		if (!body()->found)
			continue;
		reclaim();
		if (floods)
			flood(size);
		/* Told by an interrupt only, unless frames were left: one that is lost shows. */
		if (!poll && irqs == seen && !(starved && nr_free) && body()->rx_frames)
			continue;
		seen = irqs;
		body()->irqs = irqs;
		do {
			receive();
			reclaim();
		} while (!poll && nr_free && vq_want_interrupt(&rx));
		body()->kicks = rx.kicks + tx.kicks;
	}
}
