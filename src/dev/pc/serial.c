/* SPDX-License-Identifier: MIT */
/* The serial port: a 16550A UART between the guest and a character device. */
#include <errno.h>
#include <string.h>

#include "base/util.h"
#include "dev/pc/serial.h"
#include "machine/layout.h"
#include "machine/vm.h"

enum {
	IER_RX = 0x01,
	IER_THR = 0x02,
	IER_LINE = 0x04,
	IER_MODEM = 0x08,
	IER_MASK = 0x0f,

	IIR_NONE = 0x01,
	IIR_MODEM = 0x00,
	IIR_THR = 0x02,
	IIR_RX = 0x04,
	IIR_LINE = 0x06,
	IIR_TIMEOUT = 0x0c,
	IIR_FIFO_ON = 0xc0,

	FCR_ENABLE = 0x01,
	FCR_CLEAR_RX = 0x02,
	FCR_CLEAR_TX = 0x04,
	FCR_KEPT = 0xc9,

	LCR_DLAB = 0x80,

	MCR_DTR = 0x01,
	MCR_RTS = 0x02,
	MCR_OUT1 = 0x04,
	MCR_OUT2 = 0x08,
	MCR_LOOP = 0x10,
	MCR_MASK = 0x1f,

	LSR_DATA = 0x01,
	LSR_OVERRUN = 0x02,
	LSR_ERRORS = 0x1e,
	LSR_THR_EMPTY = 0x20,
	LSR_TX_IDLE = 0x40,

	MSR_DELTA_RI = 0x04, /* trailing edge only */
	MSR_DELTAS = 0x0f,
	MSR_CTS = 0x10,
	MSR_DSR = 0x20,
	MSR_RI = 0x40,
	MSR_DCD = 0x80,
};

static const struct serial_state serial_reset_state = { .dll = 12 };

static const struct vs_field serial_fields[] = {
	VS_BUFFER(struct serial_state, rx),
	VS_BUFFER(struct serial_state, tx),
	VS_FIELD_RANGE(struct serial_state, rx_count, 0, SERIAL_FIFO_BYTES),
	VS_FIELD_RANGE(struct serial_state, tx_count, 0, SERIAL_FIFO_BYTES),
	VS_FIELD(struct serial_state, dll),
	VS_FIELD(struct serial_state, dlm),
	VS_FIELD_RANGE(struct serial_state, ier, 0, IER_MASK),
	VS_FIELD(struct serial_state, fcr),
	VS_FIELD(struct serial_state, lcr),
	VS_FIELD_RANGE(struct serial_state, mcr, 0, MCR_MASK),
	VS_FIELD_RANGE(struct serial_state, lsr_errors, 0, LSR_ERRORS),
	VS_FIELD_RANGE(struct serial_state, msr_delta, 0, MSR_DELTAS),
	VS_FIELD(struct serial_state, scr),
	VS_FIELD(struct serial_state, thr_pending),
	VS_END,
};

static const struct vs_desc serial_desc = {
	.name = "serial",
	.version = 1,
	.min_version = 1,
	.size = sizeof(struct serial_state),
	.reset = &serial_reset_state,
	.fields = serial_fields,
};

static struct serial *to_serial(struct device *d)
{
	return CONTAINER_OF(d, struct serial, dev);
}

static unsigned int fifo_size(const struct serial_state *s)
{
	return s->fcr & FCR_ENABLE ? SERIAL_FIFO_BYTES : 1;
}

static unsigned int rx_trigger(const struct serial_state *s)
{
	static const uint8_t levels[] = { 1, 4, 8, 14 };

	return s->fcr & FCR_ENABLE ? levels[s->fcr >> 6] : 1;
}

/* What IIR says: the most urgent enabled cause. */
static uint8_t pending_cause(const struct serial_state *s)
{
	if ((s->ier & IER_LINE) && s->lsr_errors)
		return IIR_LINE;
	if ((s->ier & IER_RX) && s->rx_count)
		return s->rx_count >= rx_trigger(s) ? IIR_RX : IIR_TIMEOUT;
	if ((s->ier & IER_THR) && s->thr_pending)
		return IIR_THR;
	if ((s->ier & IER_MODEM) && s->msr_delta)
		return IIR_MODEM;
	return IIR_NONE;
}

/* OUT2 connects the chip's interrupt pin to the machine. */
static bool irq_level(const struct serial_state *s)
{
	return (s->mcr & MCR_OUT2) && pending_cause(s) != IIR_NONE;
}

/*
 * Drives the line on changes only: the other port on a shared line is left
 * alone, and a level told twice is no second edge to an IOAPIC that was loaded.
 */
static void update_irq(struct serial *sp)
{
	bool level = irq_level(&sp->s);

	if (level == sp->h.irq_level)
		return;
	sp->h.irq_level = level;
	irq_set(&sp->h.irq, level);
}

/* The modem lines as the guest sees them; a back end is a modem that is always ready. */
static uint8_t modem_lines(uint8_t mcr)
{
	if (!(mcr & MCR_LOOP))
		return MSR_CTS | MSR_DSR | MSR_DCD;
	return (mcr & MCR_RTS ? MSR_CTS : 0) | (mcr & MCR_DTR ? MSR_DSR : 0) |
	       (mcr & MCR_OUT1 ? MSR_RI : 0) | (mcr & MCR_OUT2 ? MSR_DCD : 0);
}

static void push_rx(struct serial_state *s, uint8_t byte)
{
	if (s->rx_count < fifo_size(s)) {
		s->rx[s->rx_count++] = byte;
		return;
	}
	s->lsr_errors |= LSR_OVERRUN;
	/* Without FIFO the new byte replaces the old one; with it the new one is lost. */
	if (!(s->fcr & FCR_ENABLE))
		s->rx[0] = byte;
}

static void flush_tx(struct serial *sp)
{
	struct serial_state *s = &sp->s;
	size_t n;

	if (!s->tx_count)
		return;
	n = chardev_write(sp->h.chr, s->tx, s->tx_count);
	s->tx_count -= n;
	memmove(s->tx, s->tx + n, s->tx_count);
	if (!s->tx_count)
		s->thr_pending = true;
}

static uint8_t read_data(struct serial *sp)
{
	struct serial_state *s = &sp->s;
	uint8_t v = s->rx[0];

	if (!s->rx_count)
		return 0;
	s->rx_count--;
	memmove(s->rx, s->rx + 1, s->rx_count);
	if (!(s->mcr & MCR_LOOP))
		chardev_accept_input(sp->h.chr);
	return v;
}

static void write_data(struct serial *sp, uint8_t v)
{
	struct serial_state *s = &sp->s;

	s->thr_pending = false;
	/* Lets the line fall, so that the next "empty" is an edge. */
	update_irq(sp);
	if (s->mcr & MCR_LOOP) {
		push_rx(s, v);
		s->thr_pending = true;
		return;
	}
	if (s->tx_count && s->tx_count >= fifo_size(s)) {
		/* The guest ignored "not empty": the register is overwritten, a FIFO drops. */
		if (!(s->fcr & FCR_ENABLE))
			s->tx[s->tx_count - 1] = v;
		return;
	}
	s->tx[s->tx_count++] = v;
	/* With older bytes waiting the back end is full; it will call writable(). */
	if (s->tx_count == 1)
		flush_tx(sp);
}

static void clear_rx(struct serial *sp)
{
	sp->s.rx_count = 0;
	chardev_accept_input(sp->h.chr);
}

static void clear_tx(struct serial_state *s)
{
	if (s->tx_count)
		s->thr_pending = true;
	s->tx_count = 0;
}

static void write_fcr(struct serial *sp, uint8_t v)
{
	struct serial_state *s = &sp->s;
	bool toggled = (v ^ s->fcr) & FCR_ENABLE;

	if (toggled || ((v & FCR_ENABLE) && (v & FCR_CLEAR_RX)))
		clear_rx(sp);
	if (toggled || ((v & FCR_ENABLE) && (v & FCR_CLEAR_TX)))
		clear_tx(s);
	/* The other bits count only together with the enable bit. */
	s->fcr = v & FCR_ENABLE ? v & FCR_KEPT : 0;
}

static void write_ier(struct serial_state *s, uint8_t v)
{
	/* Enabling the cause while the transmitter is empty raises it anew. */
	if ((v & ~s->ier & IER_THR) && !s->tx_count)
		s->thr_pending = true;
	s->ier = v & IER_MASK;
}

static void write_mcr(struct serial *sp, uint8_t v)
{
	struct serial_state *s = &sp->s;
	uint8_t before = modem_lines(s->mcr);
	uint8_t after = modem_lines(v);
	uint8_t changed = (before ^ after) >> 4;
	bool left_loop = (s->mcr & MCR_LOOP) && !(v & MCR_LOOP);

	if (after & MSR_RI)
		changed &= ~MSR_DELTA_RI;
	s->msr_delta |= changed;
	s->mcr = v & MCR_MASK;
	if (left_loop)
		chardev_accept_input(sp->h.chr);
}

static uint8_t read_iir(struct serial_state *s)
{
	uint8_t cause = pending_cause(s);

	if (cause == IIR_THR)
		s->thr_pending = false;
	return cause | (s->fcr & FCR_ENABLE ? IIR_FIFO_ON : 0);
}

static uint8_t read_lsr(struct serial_state *s)
{
	uint8_t v = s->lsr_errors;

	if (s->rx_count)
		v |= LSR_DATA;
	if (!s->tx_count)
		v |= LSR_THR_EMPTY | LSR_TX_IDLE;
	s->lsr_errors = 0;
	return v;
}

static uint8_t read_msr(struct serial_state *s)
{
	uint8_t v = modem_lines(s->mcr) | s->msr_delta;

	s->msr_delta = 0;
	return v;
}

static uint64_t serial_read(void *opaque, uint64_t offset, unsigned int size)
{
	struct serial *sp = opaque;
	struct serial_state *s = &sp->s;
	uint8_t v = 0;

	(void)size;
	switch (offset) {
	case SERIAL_DATA:
		v = s->lcr & LCR_DLAB ? s->dll : read_data(sp);
		break;
	case SERIAL_IER:
		v = s->lcr & LCR_DLAB ? s->dlm : s->ier;
		break;
	case SERIAL_IIR:
		v = read_iir(s);
		break;
	case SERIAL_LCR:
		v = s->lcr;
		break;
	case SERIAL_MCR:
		v = s->mcr;
		break;
	case SERIAL_LSR:
		v = read_lsr(s);
		break;
	case SERIAL_MSR:
		v = read_msr(s);
		break;
	case SERIAL_SCR:
		v = s->scr;
		break;
	}
	update_irq(sp);
	return v;
}

static void serial_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
	struct serial *sp = opaque;
	struct serial_state *s = &sp->s;
	uint8_t v = (uint8_t)value;

	(void)size;
	switch (offset) {
	case SERIAL_DATA:
		if (s->lcr & LCR_DLAB)
			s->dll = v;
		else
			write_data(sp, v);
		break;
	case SERIAL_IER:
		if (s->lcr & LCR_DLAB)
			s->dlm = v;
		else
			write_ier(s, v);
		break;
	case SERIAL_IIR:
		write_fcr(sp, v);
		break;
	case SERIAL_LCR:
		s->lcr = v;
		break;
	case SERIAL_MCR:
		write_mcr(sp, v);
		break;
	case SERIAL_SCR:
		s->scr = v;
		break;
	}
	update_irq(sp);
}

static size_t serial_room(void *opaque)
{
	const struct serial *sp = opaque;

	/* A stopped port must not change; in loopback the receiver is off the line. */
	if (!sp->h.running || (sp->s.mcr & MCR_LOOP) || sp->s.rx_count >= fifo_size(&sp->s))
		return 0;
	return fifo_size(&sp->s) - sp->s.rx_count;
}

static void serial_receive(void *opaque, const void *p, size_t n)
{
	struct serial *sp = opaque;

	for (size_t i = 0; i < n; i++)
		push_rx(&sp->s, ((const uint8_t *)p)[i]);
	update_irq(sp);
}

static void serial_writable(void *opaque)
{
	struct serial *sp = opaque;

	if (!sp->h.running)
		return;
	flush_tx(sp);
	update_irq(sp);
}

static const struct chardev_front serial_front = {
	.room = serial_room,
	.receive = serial_receive,
	.writable = serial_writable,
};

static void serial_loaded(struct device *d)
{
	struct serial *sp = to_serial(d);
	bool level = irq_level(&sp->s);

	if (level || sp->h.irq_level)
		irq_set(&sp->h.irq, level);
	sp->h.irq_level = level;
}

static void serial_run_changed(struct device *d, bool running)
{
	struct serial *sp = to_serial(d);

	sp->h.running = running;
	if (!running)
		return;
	serial_writable(sp);
	chardev_accept_input(sp->h.chr);
}

static void serial_reset(struct device *d)
{
	struct serial *sp = to_serial(d);

	sp->s = serial_reset_state;
	update_irq(sp);
	chardev_accept_input(sp->h.chr);
}

static void serial_destroy(struct device *d)
{
	struct serial *sp = to_serial(d);

	chardev_attach(sp->h.chr, NULL, NULL);
	free(sp);
}

const struct device_class serial_class = {
	.name = "serial",
	.state = &serial_desc,
	.state_offset = offsetof(struct serial, s),
	.loaded = serial_loaded,
	.run_changed = serial_run_changed,
	.reset = serial_reset,
	.destroy = serial_destroy,
};

void serial_init(struct serial *sp, struct irq irq, struct chardev *chr)
{
	sp->s = serial_reset_state;
	sp->h.irq = irq;
	sp->h.chr = chr;
	sp->h.region = (struct io_region){
		.name = "serial",
		.size = SERIAL_NR_REGS,
		.min_size = 1,
		.max_size = 1,
		.read = serial_read,
		.write = serial_write,
		.opaque = sp,
	};
	chardev_attach(chr, &serial_front, sp);
}

int serial_create(struct vm *vm, unsigned int index, struct chardev *chr, struct err *e)
{
	struct serial *sp = calloc(1, sizeof(*sp));
	int r;

	if (!sp)
		return err_set(e, ENOMEM, "no memory for serial port %u", index);
	serial_init(sp, vm_irq(vm, LAYOUT_IRQ_SERIAL(index)), chr);
	sp->h.region.base = LAYOUT_PORT_SERIAL(index);
	r = iobus_add(&vm->pio, &sp->h.region, e);
	if (r) {
		serial_destroy(&sp->dev);
		return r;
	}
	device_add(vm, &sp->dev, &serial_class);
	return 0;
}
