/* SPDX-License-Identifier: MIT */
/*
 * netload.c - the smallest TCP peer that a network card can be measured with.
 *
 * 192.0.2.2 answers ARP and takes one TCP connection at a time: port 7 sends back what comes, port 9 takes
 * it and sends nothing, port 19 sends zeros without end. As an ordinary guest it leaves checksums and the
 * cutting of long segments to the card. What comes out of order is dropped, and what was lost is sent
 * again from there; on a tap little is.
 */
#include "virtio_drv.h"

#define VECTOR  0x51
#define RINGS   0x400000ul
#define TX_AT   0x500000ul
#define TX_SLOT 0x1000ul
#define RX_AT   0x1000000ul
#define RX_SLOT 0x1000ul
#define ZEROS   0x2000000ul
#define SIZE    256
#define TX_NR   64
#define BARS    0xd0000000ul

#define HEADER   12 /* of the card, before each frame */
#define ETH      14
#define IP       20
#define TCP      20
#define ALL      (ETH + IP + TCP)
#define MSS      1460u
#define BURST    (40 * MSS) /* of one segment that the card cuts */
#define FLIGHT   (512u << 10)
#define WINDOW   65535u
#define SHIFT    7
#define PATIENCE 500000000ul /* TSC cycles without an answer, then what is missing goes again */

#define F_CSUM       (1ul << 0)
#define F_GUEST_CSUM (1ul << 1)
#define F_MAC        (1ul << 5)
#define F_GUEST_TSO4 (1ul << 7)
#define F_HOST_TSO4  (1ul << 11)
#define F_MRG        (1ul << 15)

#define NEEDS_CSUM 1
#define GSO_TCPV4  1

#define FIN 1
#define SYN 2
#define RST 4
#define PSH 8
#define ACK 16

#define PORT_ECHO    7
#define PORT_DISCARD 9
#define PORT_CHARGEN 19

const uint64_t guest_kind = ABI_KIND_NET;

/* Where things are in a frame; all numbers in network order. */
struct frame {
	uint8_t flags, gso_type;
	uint16_t hdr_len, gso_size, csum_start, csum_offset, num_buffers;
	uint8_t to[6], from[6];
	uint8_t type[2];
	uint8_t ip[IP];
	uint8_t tcp[TCP];
	uint8_t rest[];
} __attribute__((packed));

struct segment {
	uint32_t seq, ack, window, len;
	uint16_t from, to;
	uint8_t flags;
	const uint8_t *data;
};

static struct vd dev;
static struct vq rx, tx;
static uint8_t free_slots[TX_NR];
static unsigned int nr_free;
static uint8_t own_mac[6];
static const uint8_t own_ip[4] = { 192, 0, 2, 2 };

/* The connection. */
static struct {
	bool open, ack_due;
	uint8_t mac[6], ip[4];
	uint16_t port, service;
	uint32_t rcv_nxt, snd_una, snd_nxt, window;
	unsigned int shift;
	uint64_t heard;
} tcb;

/* The frame that is coming, whose first part has the headers. */
static uint8_t head[RX_SLOT];
static uint32_t have, head_have;
static unsigned int parts_left;

static volatile struct abi_net *body(void)
{
	return abi_body();
}

static uint16_t get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)get16(p) << 16 | get16(p + 2);
}

static void put16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static void put32(uint8_t *p, uint32_t v)
{
	put16(p, v >> 16);
	put16(p + 2, v);
}

static bool differ4(const uint8_t *a, const uint8_t *b)
{
	return get32(a) != get32(b);
}

static uint32_t sum(const uint8_t *p, unsigned int n)
{
	uint32_t s = 0;

	for (unsigned int i = 0; i < n; i += 2)
		s += get16(p + i);
	return s;
}

static uint16_t fold(uint32_t s)
{
	while (s >> 16)
		s = (s & 0xffff) + (s >> 16);
	return (uint16_t)s;
}

static void offer(uint64_t slot)
{
	const struct vq_buf buf = { RX_AT + slot * RX_SLOT, RX_SLOT };

	if (!vq_add(&rx, &buf, 0, 1, slot))
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

static struct frame *frame_of(unsigned int slot)
{
	return (struct frame *)(TX_AT + slot * TX_SLOT);
}

/* A slot for a frame; waits for the card if all are under way. */
static unsigned int take_slot(void)
{
	while (!nr_free) {
		vq_kick(&tx);
		reclaim();
	}
	return free_slots[--nr_free];
}

/* The frame in @slot, of @len bytes behind the card's header, and @zeros more. */
static void transmit(unsigned int slot, uint32_t len, uint32_t zeros)
{
	const struct vq_buf bufs[2] = {
		{ TX_AT + slot * TX_SLOT, HEADER + len },
		{ ZEROS, zeros },
	};

	if (!vq_add(&tx, bufs, zeros ? 2 : 1, 0, slot))
		abi_head()->errors++;
}

/* Sends a segment with @len bytes from @data, or zeros if that is NULL, and what we have seen. */
static void send(uint32_t seq, uint8_t flags, const uint8_t *data, uint32_t len)
{
	unsigned int slot = take_slot(), tcp_len = TCP + (flags & SYN ? 8 : 0);
	struct frame *f = frame_of(slot);

	memset(f, 0, sizeof(*f) + 8);
	f->flags = NEEDS_CSUM;
	f->csum_start = ETH + IP;
	f->csum_offset = 16;
	if (len > MSS) {
		f->gso_type = GSO_TCPV4;
		f->hdr_len = ALL;
		f->gso_size = MSS;
	}
	memcpy(f->to, tcb.mac, 6);
	memcpy(f->from, own_mac, 6);
	f->type[0] = 8;
	f->ip[0] = 0x45;
	put16(f->ip + 2, IP + tcp_len + len);
	f->ip[8] = 64;
	f->ip[9] = 6;
	memcpy(f->ip + 12, own_ip, 4);
	memcpy(f->ip + 16, tcb.ip, 4);
	put16(f->ip + 10, (uint16_t)~fold(sum(f->ip, IP)));
	put16(f->tcp, tcb.service);
	put16(f->tcp + 2, tcb.port);
	put32(f->tcp + 4, seq);
	put32(f->tcp + 8, tcb.rcv_nxt);
	f->tcp[12] = (uint8_t)(tcp_len / 4 << 4);
	f->tcp[13] = flags;
	put16(f->tcp + 14, WINDOW);
	/* The card adds the rest to the sum of the addresses. */
	put16(f->tcp + 16, fold(sum(f->ip + 12, 8) + 6 + tcp_len + len));
	if (flags & SYN) {
		static const uint8_t options[8] = { 2, 4, MSS >> 8, MSS & 0xff, 1, 3, 3, SHIFT };

		memcpy(f->rest, options, sizeof(options));
	}
	if (data)
		memcpy(f->rest, data, len);
	transmit(slot, ETH + IP + tcp_len + (data ? len : 0), data ? 0 : len);
	tcb.ack_due = false;
}

static void answer_arp(const struct frame *f)
{
	static const uint8_t reply[] = { 0, 1, 8, 0, 6, 4, 0, 2 };
	const uint8_t *asks = f->ip; /* the ARP packet begins where IP would */
	unsigned int slot;
	struct frame *r;
	uint8_t *p;

	if (asks[7] != 1 || differ4(asks + 24, own_ip))
		return;
	slot = take_slot();
	r = frame_of(slot);
	memset(r, 0, HEADER + 60);
	memcpy(r->to, f->from, 6);
	memcpy(r->from, own_mac, 6);
	r->type[0] = 8;
	r->type[1] = 6;
	p = r->ip;
	memcpy(p, reply, sizeof(reply));
	memcpy(p + 8, own_mac, 6);
	memcpy(p + 14, own_ip, 4);
	memcpy(p + 18, asks + 8, 10);
	transmit(slot, 60, 0);
}

/* The peer's window is in units of 2 to the power of what its SYN says. */
static unsigned int shift_of(const uint8_t *options, unsigned int n)
{
	unsigned int i = 0;

	while (i < n && options[i]) {
		if (options[i] == 3)
			return options[i + 2] & 15;
		i += options[i] == 1 ? 1 : options[i + 1] ? options[i + 1] : n;
	}
	return 0;
}

static void accept(const struct frame *f, const struct segment *s, unsigned int nr_options)
{
	memcpy(tcb.mac, f->from, 6);
	memcpy(tcb.ip, f->ip + 12, 4);
	tcb.port = s->from;
	tcb.service = s->to;
	tcb.shift = shift_of(f->rest, nr_options);
	tcb.window = s->window;
	tcb.rcv_nxt = s->seq + 1;
	tcb.snd_una = tcb.snd_nxt = 1001;
	tcb.heard = rdtsc();
	tcb.open = true;
	send(1000, SYN | ACK, NULL, 0);
}

static void take_data(const struct segment *s)
{
	if (s->seq != tcb.rcv_nxt) {
		body()->lost++;
		tcb.ack_due = true;
		return;
	}
	tcb.rcv_nxt += s->len;
	body()->rx_frames += s->len;
	tcb.ack_due = true;
	if (tcb.service != PORT_ECHO || !s->len)
		return;
	send(tcb.snd_nxt, ACK | PSH, s->data, s->len);
	tcb.snd_nxt += s->len;
}

static void take_segment(const struct frame *f, const struct segment *s)
{
	if (s->flags & SYN) {
		accept(f, s, (f->tcp[12] >> 4) * 4 - TCP);
		return;
	}
	if (!tcb.open || s->from != tcb.port || s->to != tcb.service)
		return;
	if (s->flags & RST) {
		tcb.open = false;
		return;
	}
	if ((int32_t)(s->ack - tcb.snd_una) > 0) {
		tcb.snd_una = s->ack;
		tcb.heard = rdtsc();
		if ((int32_t)(tcb.snd_una - tcb.snd_nxt) > 0)
			tcb.snd_nxt = tcb.snd_una;
	}
	tcb.window = s->window << tcb.shift;
	if (s->len)
		take_data(s);
	if (s->flags & FIN && s->seq + s->len == tcb.rcv_nxt) {
		tcb.rcv_nxt++;
		send(tcb.snd_nxt, FIN | ACK, NULL, 0);
		tcb.open = false;
	}
}

/* The frame whose begin is in head. */
static void handle(void)
{
	const struct frame *f = (const struct frame *)head;
	unsigned int tcp_len = (f->tcp[12] >> 4) * 4;
	uint32_t total = get16(f->ip + 2);
	struct segment s;

	if (get16(f->type) == 0x0806) {
		answer_arp(f);
		return;
	}
	if (get16(f->type) != 0x0800 || f->ip[0] != 0x45 || f->ip[9] != 6 ||
	    differ4(f->ip + 16, own_ip) || tcp_len < TCP || total < IP + tcp_len ||
	    have < HEADER + ETH + total) {
		body()->others++;
		return;
	}
	s = (struct segment){
		.seq = get32(f->tcp + 4),
		.ack = get32(f->tcp + 8),
		.window = get16(f->tcp + 14),
		.len = total - IP - tcp_len,
		.from = get16(f->tcp),
		.to = get16(f->tcp + 2),
		.flags = f->tcp[13],
		.data = head + HEADER + ETH + IP + tcp_len,
	};
	if (s.to == PORT_ECHO && have > head_have)
		abi_head()->errors++;
	else
		take_segment(f, &s);
}

static void take_part(uint64_t slot, uint32_t len)
{
	const uint8_t *p = (const uint8_t *)(RX_AT + slot * RX_SLOT);

	if (len > RX_SLOT || (!parts_left && len < HEADER))
		abi_head()->errors++;
	if (!parts_left) {
		parts_left = p[10] | p[11] << 8;
		have = 0;
		/* What is not echoed is not looked at. */
		head_have = len < 2 * MSS ? len : 2 * MSS;
		memcpy(head, p, head_have);
	}
	have += len;
	offer(slot);
	if (parts_left && !--parts_left)
		handle();
}

/* Zeros, as many as may be under way. */
static void generate(void)
{
	uint32_t limit = tcb.window < FLIGHT ? tcb.window : FLIGHT;

	if (!tcb.open || tcb.service != PORT_CHARGEN)
		return;
	if (tcb.snd_nxt != tcb.snd_una && rdtsc() - tcb.heard > PATIENCE) {
		tcb.snd_nxt = tcb.snd_una;
		tcb.heard = rdtsc();
		body()->doubled++;
	}
	while (nr_free > TX_NR / 2 && tcb.snd_nxt - tcb.snd_una + BURST <= limit) {
		send(tcb.snd_nxt, ACK, NULL, BURST);
		tcb.snd_nxt += BURST;
	}
}

static void receive(void)
{
	uint64_t slot;
	uint32_t len;

	while (vq_collect(&rx, &slot, &len))
		take_part(slot, len);
	reclaim();
	generate();
	if (tcb.open && tcb.ack_due)
		send(tcb.snd_nxt, ACK, NULL, 0);
	vq_kick(&rx);
	vq_kick(&tx);
}

static bool begin(void)
{
	uint64_t wanted = F_CSUM | F_GUEST_CSUM | F_MAC | F_GUEST_TSO4 | F_HOST_TSO4 | F_MRG |
			  VD_F_EVENT_IDX | VD_F_INDIRECT;
	unsigned int i;

	if (!vd_find(&dev, VD_ID_NET, 0) || !vd_start(&dev, BARS, wanted) ||
	    !vd_queue(&dev, &rx, 0, SIZE, RINGS, VECTOR) ||
	    !vd_queue(&dev, &tx, 1, SIZE, RINGS + VQ_BYTES, 0))
		return false;
	/* A card that cuts no segments could not be compared with one that does. */
	if (!(dev.features & F_HOST_TSO4) || !(dev.features & F_GUEST_TSO4))
		abi_head()->errors++;
	for (i = 0; i < 6; i++)
		own_mac[i] = (uint8_t)vd_config(&dev, i, 1);
	vd_ready(&dev);
	for (i = 0; i < TX_NR; i++)
		free_slots[nr_free++] = (uint8_t)i;
	for (i = 0; i < SIZE; i++)
		offer(i);
	vq_kick(&rx);
	return true;
}

void guest_main(void)
{
	uint64_t seen = 0;

	lapic_enable();
	idt_set(VECTOR, isr_count);
	memset((void *)ZEROS, 0, BURST);
	body()->found = begin();
	guest_ready();
	for (;;) {
		uint64_t irqs = *(volatile uint64_t *)&isr_counter;

		abi_head()->heartbeat++;
		if (request_poll())
			request_done(0);
		if (!body()->found)
			continue;
		if (nr_free < TX_NR) {
			reclaim();
			generate();
			vq_kick(&tx);
		}
		if (irqs == seen)
			continue;
		seen = irqs;
		body()->irqs = irqs;
		do
			receive();
		while (vq_want_interrupt(&rx));
	}
}
