/* SPDX-License-Identifier: MIT */
/*
 * ports.c - prints numbered lines on each port of a virtio-serial and echoes the lines it receives.
 *
 * Lines are those of serial.c. A port is opened when the device announces it, unless closed=1, and
 * printed to while somebody is at its other end; a console always. What cannot be printed now waits, so that
 * no line is left out.
 * Options: every=CYCLES between lines of a port, closed=1, rx=BYTES of a buffer (default 64).
 */
#include "virtio_drv.h"

#define F_MULTIPORT  2ul
#define BARS         0xd0000000ul
#define RINGS        0x400000ul
#define BUFFERS      0x500000ul /* per port: receive, then send */
#define PORT_BYTES   0x10000ul
#define SEND_OFFSET  0x8000ul
#define SLOT         512u
#define SLOTS        8
#define CONTROL      0x600000ul
#define CONTROL_SLOT 512u
#define DIGITS       8
#define LINE_MAX     200
#define BACKLOG      4096

#define EV_DEVICE_READY 0
#define EV_ADD          1
#define EV_REMOVE       2
#define EV_READY        3
#define EV_CONSOLE      4
#define EV_OPEN         6
#define EV_NAME         7

const uint64_t guest_kind = ABI_KIND_PORTS;

struct message {
	uint32_t id;
	uint16_t event, value;
};

struct port {
	struct vq rx, tx;
	char line[LINE_MAX];
	unsigned int length;
	char backlog[BACKLOG]; /* to be printed */
	unsigned int waiting;
	uint64_t next;
};

static struct vd dev;
static struct vq control_in, control_out;
static struct port ports[ABI_PORTS];
static unsigned int nr_ports;
static uint32_t rx_bytes;

static volatile struct abi_ports *body(void)
{
	return abi_body();
}

/* Buffers of a queue: which of its slots are free. */
static uint8_t in_use[2 * ABI_PORTS + 4][SLOTS];

static bool send(struct vq *q, uint64_t base, uint32_t slot_bytes, const void *p, uint32_t n)
{
	uint64_t slot;

	for (slot = 0; slot < SLOTS; slot++) {
		struct vq_buf buf = { base + slot * slot_bytes, n };

		if (in_use[q->index][slot])
			continue;
		memcpy((void *)buf.gpa, p, n);
		if (!vq_add(q, &buf, 1, 0, slot))
			return false;
		in_use[q->index][slot] = 1;
		vq_kick(q);
		return true;
	}
	return false;
}

static void collect_sent(struct vq *q)
{
	uint64_t slot;
	uint32_t len;

	while (vq_collect(q, &slot, &len))
		in_use[q->index][slot] = 0;
}

static void receive_into(struct vq *q, uint64_t base, uint32_t bytes, uint64_t slot)
{
	const struct vq_buf buf = { base + slot * SLOT, bytes };

	if (!vq_add(q, &buf, 0, 1, slot))
		abi_head()->errors++;
}

static void say(uint32_t id, uint16_t event, uint16_t value)
{
	const struct message m = { id, event, value };

	while (!send(&control_out, CONTROL + SLOTS * CONTROL_SLOT, CONTROL_SLOT, &m, sizeof(m)))
		collect_sent(&control_out);
}

static void open_port(uint32_t id, bool open)
{
	body()->port[id].is_open = open;
	say(id, EV_OPEN, open);
}

static void heard(const struct message *m, uint32_t len)
{
	volatile struct abi_port *p = &body()->port[m->id];
	uint32_t i;

	if (m->id >= nr_ports || len < sizeof(*m)) {
		body()->unknown++;
		return;
	}
	switch (m->event) {
	case EV_ADD:
		p->added++;
		say(m->id, EV_READY, 1);
		if (!option_number("closed", 0))
			open_port(m->id, true);
		break;
	case EV_REMOVE:
		p->removed++;
		p->host_open = 0;
		break;
	case EV_CONSOLE:
		p->console = m->value;
		break;
	case EV_OPEN:
		p->host_open = m->value;
		if (m->value)
			p->opened++;
		else
			p->closed++;
		break;
	case EV_NAME:
		p->name_bytes = len - (uint32_t)sizeof(*m);
		for (i = 0; i < p->name_bytes && i < sizeof(p->name); i++)
			((volatile uint8_t *)p->name)[i] = ((const uint8_t *)(m + 1))[i];
		break;
	default:
		body()->unknown++;
	}
}

static void listen(void)
{
	uint64_t slot;
	uint32_t len;

	collect_sent(&control_out);
	while (vq_collect(&control_in, &slot, &len)) {
		heard((const struct message *)(CONTROL + slot * SLOT), len);
		receive_into(&control_in, CONTROL, SLOT, slot);
	}
	vq_kick(&control_in);
}

static void print(struct port *p, const char *text, unsigned int n)
{
	if (p->waiting + n > BACKLOG) {
		abi_head()->errors++;
		return;
	}
	memcpy(p->backlog + p->waiting, text, n);
	p->waiting += n;
}

static void echo(struct port *p, volatile struct abi_port *a, char c)
{
	a->rx_bytes++;
	if (c != '\n') {
		if (p->length < LINE_MAX)
			p->line[p->length++] = c;
		return;
	}
	print(p, "E ", 2);
	print(p, p->line, p->length);
	print(p, "\n", 1);
	a->rx_lines++;
	p->length = 0;
}

/* Takes no more than there is room for the echo of. */
static void receive(struct port *p, volatile struct abi_port *a, uint64_t base)
{
	uint64_t slot;
	uint32_t len, i;

	while (p->waiting < BACKLOG / 2 && vq_collect(&p->rx, &slot, &len)) {
		if (!len || len > rx_bytes)
			abi_head()->errors++;
		for (i = 0; i < len; i++)
			echo(p, a, ((volatile char *)(base + slot * SLOT))[i]);
		receive_into(&p->rx, base, rx_bytes, slot);
	}
	vq_kick(&p->rx);
}

static void print_number(struct port *p, uint64_t n)
{
	char text[DIGITS + 3];
	unsigned int i;

	text[0] = 'L';
	text[1] = ' ';
	for (i = 0; i < DIGITS; i++, n /= 10)
		text[1 + DIGITS - i] = (char)('0' + n % 10);
	text[DIGITS + 2] = '\n';
	print(p, text, sizeof(text));
}

/* In pieces of odd sizes, so that they end anywhere in a line. */
static void transmit(struct port *p, uint64_t base)
{
	unsigned int n = p->waiting < 37 ? p->waiting : 37, i;

	collect_sent(&p->tx);
	if (!n || !send(&p->tx, base + SEND_OFFSET, SLOT, p->backlog, n))
		return;
	p->waiting -= n;
	for (i = 0; i < p->waiting; i++)
		p->backlog[i] = p->backlog[i + n];
}

static void serve(unsigned int id, uint64_t every)
{
	volatile struct abi_port *a = &body()->port[id];
	uint64_t base = BUFFERS + id * PORT_BYTES;
	struct port *p = &ports[id];

	receive(p, a, base);
	if (a->is_open && a->host_open && rdtsc() >= p->next && p->waiting < BACKLOG / 4) {
		print_number(p, a->lines++);
		p->next = rdtsc() + every;
	}
	transmit(p, base);
}

static bool set_up_queue(struct vq *q, uint16_t index)
{
	return vd_queue(&dev, q, index, SLOTS, RINGS + index * (uint64_t)VQ_BYTES, 0);
}

static void set_up(void)
{
	unsigned int i, slot;
	bool ok;

	memset(in_use, 0, sizeof(in_use));
	if (!vd_start(&dev, BARS, F_MULTIPORT | VD_F_EVENT_IDX))
		return;
	body()->max_ports = vd_config(&dev, 4, 4);
	nr_ports = body()->max_ports < ABI_PORTS ? (unsigned int)body()->max_ports : ABI_PORTS;
	ok = set_up_queue(&control_in, 2) && set_up_queue(&control_out, 3);
	for (i = 0; ok && i < nr_ports; i++) {
		ok = set_up_queue(&ports[i].rx, (uint16_t)(i ? 2 * i + 2 : 0)) &&
		     set_up_queue(&ports[i].tx, (uint16_t)(i ? 2 * i + 3 : 1));
		for (slot = 0; ok && slot < SLOTS; slot++)
			receive_into(&ports[i].rx, BUFFERS + i * PORT_BYTES, rx_bytes, slot);
		body()->port[i].is_open = body()->port[i].host_open = 0;
	}
	if (!ok)
		return;
	for (slot = 0; slot < SLOTS; slot++)
		receive_into(&control_in, CONTROL, SLOT, slot);
	vd_ready(&dev);
	for (i = 0; i < nr_ports; i++)
		vq_kick(&ports[i].rx);
	vq_kick(&control_in);
	say(~0u, EV_DEVICE_READY, 1);
}

static void say_nonsense(void)
{
	static const uint32_t ids[] = { 0, 1, 3, 4, 15, 16, 17, 0x7fffffff, 0xffffffff };
	uint16_t event, value;
	unsigned int i;

	for (i = 0; i < sizeof(ids) / sizeof(*ids); i++)
		for (event = 0; event < 12; event++)
			for (value = 0; value < 3; value += 2)
				/* What would mean something is left out. */
				if (event != EV_DEVICE_READY && event != EV_OPEN &&
				    event != EV_READY)
					say(ids[i], event, value);
	for (i = 1; i < sizeof(struct message); i++)
		while (!send(&control_out, CONTROL + SLOTS * CONTROL_SLOT, CONTROL_SLOT, ids, i))
			collect_sent(&control_out);
	say(0x1234, EV_OPEN, 1);
	say(0x1234, EV_READY, 1);
	say(0, EV_DEVICE_READY, 0);
	say(0, EV_READY, 0);
}

static void obey(unsigned int operation)
{
	unsigned int id = operation & 15;

	if (operation == ABI_REQUEST_BAD_MESSAGES)
		say_nonsense();
	else if (operation == ABI_REQUEST_RESET_PORTS)
		set_up();
	else if (id < nr_ports && (operation & ~15u) == ABI_REQUEST_OPEN_PORT)
		open_port(id, true);
	else if (id < nr_ports && (operation & ~15u) == ABI_REQUEST_CLOSE_PORT)
		open_port(id, false);
	request_done(0);
}

void guest_main(void)
{
	uint64_t every = option_number("every", 2000000);
	unsigned int i, operation;

	rx_bytes = (uint32_t)option_number("rx", 64);
	body()->found = vd_find(&dev, VD_ID_CONSOLE, 0);
	if (body()->found)
		set_up();
	guest_ready();
	for (;;) {
		abi_head()->heartbeat++;
		operation = request_poll();
		if (operation)
			obey(operation);
		if (!body()->found)
			continue;
		listen();
		for (i = 0; i < nr_ports; i++)
			serve(i, every);
		/* A look at the register is an exit; this is often enough. */
		if (abi_head()->heartbeat % 65536 == 0)
			body()->broken = vd_is_broken(&dev);
	}
}
