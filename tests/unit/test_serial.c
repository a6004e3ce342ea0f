/* SPDX-License-Identifier: MIT */
/* The serial port against a back end that takes as much as a test lets it. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/util.h"
#include "dev/pc/serial.h"

/* The back end; its functions stand in for host/chardev.c. */
struct chardev {
	const struct chardev_front *front;
	void *opaque;
	uint8_t out[256];
	size_t nr_out;
	size_t takes; /* bytes that the next writes accept */
	unsigned int accept_calls;
};

void chardev_attach(struct chardev *c, const struct chardev_front *front, void *opaque)
{
	c->front = front;
	c->opaque = opaque;
}

size_t chardev_write(struct chardev *c, const void *p, size_t n)
{
	n = MIN(n, c->takes);
	memcpy(c->out + c->nr_out, p, n);
	c->nr_out += n;
	c->takes -= n;
	return n;
}

void chardev_accept_input(struct chardev *c)
{
	c->accept_calls++;
}

/* These two for other devices, which are linked with the machine. */
bool chardev_is_connected(const struct chardev *c)
{
	return c->front;
}

bool chardev_is_held(const struct chardev *c)
{
	(void)c;
	return false;
}

struct fixture {
	struct serial sp;
	struct chardev chr;
	bool level;
	unsigned int edges; /* rising */
};

static void set_line(void *opaque, unsigned int line, bool level)
{
	struct fixture *f = opaque;

	assert_int_equal(line, 4);
	f->edges += level && !f->level;
	f->level = level;
}

static void init_port(struct fixture *f)
{
	*f = (struct fixture){ .chr.takes = 1000 };
	serial_init(&f->sp, (struct irq){ .set = set_line, .opaque = f, .line = 4 }, &f->chr);
	serial_class.reset(&f->sp.dev);
	serial_class.run_changed(&f->sp.dev, true);
}

static int setup(void **state)
{
	struct fixture *f = malloc(sizeof(*f));

	init_port(f);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	free(*state);
	return 0;
}

static uint8_t in(struct fixture *f, unsigned int reg)
{
	return (uint8_t)f->sp.h.region.read(&f->sp, reg, 1);
}

static void out(struct fixture *f, unsigned int reg, uint8_t v)
{
	f->sp.h.region.write(&f->sp, reg, 1, v);
}

/* Types as much of @text as there is room for; returns how much. */
static size_t type(struct fixture *f, const char *text)
{
	size_t n = MIN(strlen(text), f->chr.front->room(f->chr.opaque));

	if (n)
		f->chr.front->receive(f->chr.opaque, text, n);
	return n;
}

/* Carries the state over the wire into @to, as an update does. */
static void transfer(const struct fixture *from, struct fixture *to)
{
	const struct vs_desc *d = serial_class.state;
	AUTO_BUF wire = { 0 };
	struct serial_state s;
	struct cursor c;
	struct err e;

	vs_encode(d, &from->sp.s, &wire, NULL);
	assert_false(wire.failed);
	cursor_init(&c, wire.data, wire.len);
	assert_int_equal(vs_decode(d, d->version, &c, &s, &e), 0);
	to->sp.s = s;
	serial_class.loaded(&to->sp.dev);
}

static void every_byte_of_the_state_is_in_the_table(void **state)
{
	struct err e;

	(void)state;
	assert_int_equal(vs_audit(serial_class.state, &e), 0);
}

static void written_bytes_reach_the_back_end_in_order(void **state)
{
	struct fixture *f = *state;

	out(f, SERIAL_DATA, 'a');
	out(f, SERIAL_DATA, 'b');
	assert_int_equal(f->chr.nr_out, 2);
	assert_memory_equal(f->chr.out, "ab", 2);
	assert_int_equal(in(f, SERIAL_LSR), 0x60);
}

static void divisor_is_behind_the_latch_bit(void **state)
{
	struct fixture *f = *state;

	out(f, SERIAL_LCR, 0x83);
	assert_int_equal(in(f, SERIAL_DATA), 12);
	out(f, SERIAL_DATA, 1);
	out(f, SERIAL_IER, 2);
	assert_int_equal(in(f, SERIAL_DATA), 1);
	assert_int_equal(in(f, SERIAL_IER), 2);
	out(f, SERIAL_LCR, 3);
	assert_int_equal(in(f, SERIAL_IER), 0);
	assert_int_equal(in(f, SERIAL_LCR), 3);
	assert_int_equal(f->chr.nr_out, 0);
}

static void scratch_register_keeps_its_value(void **state)
{
	struct fixture *f = *state;

	out(f, SERIAL_SCR, 0xa5);
	assert_int_equal(in(f, SERIAL_SCR), 0xa5);
}

static void received_byte_interrupts_only_through_out2(void **state)
{
	struct fixture *f = *state;

	out(f, SERIAL_IER, 1);
	assert_int_equal(type(f, "xy"), 1); /* no FIFO: room for one */
	assert_false(f->level);
	out(f, SERIAL_MCR, 8);
	assert_true(f->level);
	assert_int_equal(in(f, SERIAL_IIR), 0x04);
	assert_int_equal(in(f, SERIAL_LSR), 0x61);
	assert_int_equal(in(f, SERIAL_DATA), 'x');
	assert_false(f->level);
	assert_int_equal(in(f, SERIAL_IIR), 0x01);
	assert_true(f->chr.accept_calls > 0);
}

static void fifo_tells_timeout_below_and_data_at_the_trigger_level(void **state)
{
	struct fixture *f = *state;

	out(f, SERIAL_IIR, 0x41); /* FIFO on, trigger level 4 */
	out(f, SERIAL_IER, 1);
	assert_int_equal(type(f, "abc"), 3);
	assert_int_equal(in(f, SERIAL_IIR), 0xcc);
	assert_int_equal(type(f, "d"), 1);
	assert_int_equal(in(f, SERIAL_IIR), 0xc4);
	assert_int_equal(type(f, "0123456789abcdef"), 12);
	assert_int_equal(type(f, "z"), 0);
	assert_int_equal(in(f, SERIAL_DATA), 'a');
	assert_int_equal(type(f, "zz"), 1);
}

static void fifo_reset_bits_empty_the_fifos(void **state)
{
	struct fixture *f = *state;

	out(f, SERIAL_IIR, 0x01);
	type(f, "abc");
	f->chr.takes = 0;
	out(f, SERIAL_DATA, 'x');
	assert_int_equal(in(f, SERIAL_LSR), 0x01);
	out(f, SERIAL_IIR, 0x03);
	assert_int_equal(in(f, SERIAL_LSR), 0x00);
	out(f, SERIAL_IIR, 0x05);
	assert_int_equal(in(f, SERIAL_LSR), 0x60);
}

static void transmitter_is_not_empty_until_the_back_end_took_all(void **state)
{
	struct fixture *f = *state;

	out(f, SERIAL_IIR, 0x01);
	out(f, SERIAL_IER, 2);
	out(f, SERIAL_MCR, 8);
	assert_int_equal(in(f, SERIAL_IIR), 0xc2);
	f->chr.takes = 2;
	for (int i = 0; i < 5; i++)
		out(f, SERIAL_DATA, (uint8_t)('0' + i));
	assert_int_equal(in(f, SERIAL_LSR), 0x00);
	assert_false(f->level);
	f->chr.takes = 2;
	f->chr.front->writable(f->chr.opaque);
	assert_int_equal(in(f, SERIAL_LSR), 0x00);
	assert_false(f->level);
	f->chr.takes = 100;
	f->chr.front->writable(f->chr.opaque);
	assert_int_equal(in(f, SERIAL_LSR), 0x60);
	assert_true(f->level);
	assert_int_equal(f->chr.nr_out, 5);
	assert_memory_equal(f->chr.out, "01234", 5);
}

static void transmitter_interrupt_is_an_edge_per_byte_and_ends_by_reading_iir(void **state)
{
	struct fixture *f = *state;
	unsigned int edges;

	out(f, SERIAL_MCR, 8);
	out(f, SERIAL_IER, 2);
	assert_true(f->level);
	edges = f->edges;
	out(f, SERIAL_DATA, 'a');
	assert_int_equal(f->edges, edges + 1);
	assert_int_equal(in(f, SERIAL_IIR), 0x02);
	assert_false(f->level);
	out(f, SERIAL_IER, 0);
	out(f, SERIAL_IER, 2);
	assert_int_equal(in(f, SERIAL_IIR), 0x02);
}

static void line_status_comes_before_data_before_transmitter(void **state)
{
	struct fixture *f = *state;

	out(f, SERIAL_IER, 0x0f);
	out(f, SERIAL_MCR, 0x10); /* loopback: CTS, DSR and DCD fall */
	out(f, SERIAL_DATA, 'a');
	out(f, SERIAL_DATA, 'b'); /* overrun */
	assert_int_equal(in(f, SERIAL_IIR), 0x06);
	assert_int_equal(in(f, SERIAL_LSR), 0x63);
	assert_int_equal(in(f, SERIAL_IIR), 0x04);
	assert_int_equal(in(f, SERIAL_DATA), 'b');
	assert_int_equal(in(f, SERIAL_IIR), 0x02);
	assert_int_equal(in(f, SERIAL_IIR), 0x00);
	assert_int_equal(in(f, SERIAL_MSR), 0x0b);
	assert_int_equal(in(f, SERIAL_IIR), 0x01);
	assert_int_equal(f->chr.nr_out, 0);
}

static void loopback_shows_the_modem_outputs_as_inputs(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(in(f, SERIAL_MSR), 0xb0);
	out(f, SERIAL_MCR, 0x1a); /* as a driver probes: RTS and OUT2 */
	assert_int_equal(in(f, SERIAL_MSR) & 0xf0, 0x90);
	out(f, SERIAL_MCR, 0x14);
	assert_int_equal(in(f, SERIAL_MSR) & 0xf0, 0x40);
	out(f, SERIAL_MCR, 0x10); /* ring indicator: its end is the event */
	assert_int_equal(in(f, SERIAL_MSR), 0x04);
	assert_int_equal(type(f, "x"), 0);
	out(f, SERIAL_MCR, 0x00);
	assert_int_equal(type(f, "x"), 1);
}

static void fifo_overrun_keeps_the_old_bytes(void **state)
{
	struct fixture *f = *state;

	out(f, SERIAL_IIR, 0x01);
	out(f, SERIAL_MCR, 0x10);
	for (int i = 0; i < 17; i++)
		out(f, SERIAL_DATA, (uint8_t)i);
	assert_int_equal(in(f, SERIAL_LSR), 0x63);
	assert_int_equal(in(f, SERIAL_LSR), 0x61);
	for (int i = 0; i < 16; i++)
		assert_int_equal(in(f, SERIAL_DATA), i);
	assert_int_equal(in(f, SERIAL_LSR), 0x60);
}

static void half_full_fifos_survive_a_transfer(void **state)
{
	struct fixture *f = *state, to;

	out(f, SERIAL_IIR, 0x01);
	type(f, "input");
	f->chr.takes = 3;
	for (const char *p = "output"; *p; p++)
		out(f, SERIAL_DATA, (uint8_t)*p);
	serial_class.run_changed(&f->sp.dev, false);
	init_port(&to);
	serial_class.run_changed(&to.sp.dev, false);
	transfer(f, &to);
	assert_int_equal(to.chr.nr_out, 0);
	serial_class.run_changed(&to.sp.dev, true);
	assert_memory_equal(f->chr.out, "out", 3);
	assert_int_equal(f->chr.nr_out, 3);
	assert_memory_equal(to.chr.out, "put", 3);
	assert_int_equal(to.chr.nr_out, 3);
	for (const char *p = "input"; *p; p++)
		assert_int_equal(in(&to, SERIAL_DATA), *p);
	assert_int_equal(in(&to, SERIAL_LSR), 0x60);
}

static void stopped_port_takes_and_gives_no_byte(void **state)
{
	struct fixture *f = *state;
	struct serial_state before;

	out(f, SERIAL_IIR, 0x01);
	f->chr.takes = 0;
	out(f, SERIAL_DATA, 'x');
	serial_class.run_changed(&f->sp.dev, false);
	before = f->sp.s;
	f->chr.takes = 100;
	f->chr.front->writable(f->chr.opaque);
	assert_int_equal(type(f, "abc"), 0);
	assert_memory_equal(&before, &f->sp.s, sizeof(before));
	assert_int_equal(f->chr.nr_out, 0);
	serial_class.run_changed(&f->sp.dev, true);
	assert_int_equal(f->chr.nr_out, 1);
	assert_int_equal(type(f, "abc"), 3);
}

static void interrupt_level_is_raised_after_load_without_being_saved(void **state)
{
	struct fixture *f = *state, to;

	out(f, SERIAL_IER, 1);
	out(f, SERIAL_MCR, 8);
	type(f, "a");
	assert_true(f->level);
	init_port(&to);
	assert_int_equal(to.edges, 0);
	transfer(f, &to);
	assert_true(to.level);
	assert_int_equal(to.edges, 1);
	assert_int_equal(in(&to, SERIAL_DATA), 'a');
	assert_false(to.level);
	assert_true(f->level);
}

static void load_lowers_a_line_that_was_high(void **state)
{
	struct fixture *f = *state, idle;

	out(f, SERIAL_IER, 1);
	out(f, SERIAL_MCR, 8);
	type(f, "a");
	init_port(&idle);
	transfer(&idle, f);
	assert_false(f->level);
}

static void served_transmitter_interrupt_does_not_come_back_after_load(void **state)
{
	struct fixture *f = *state, to;

	out(f, SERIAL_MCR, 8);
	out(f, SERIAL_IER, 2);
	assert_int_equal(in(f, SERIAL_IIR), 0x02);
	init_port(&to);
	transfer(f, &to);
	assert_false(to.level);
	assert_int_equal(in(&to, SERIAL_IIR), 0x01);
}

static void unread_status_bits_survive_a_transfer(void **state)
{
	struct fixture *f = *state, to;

	out(f, SERIAL_MCR, 0x10);
	out(f, SERIAL_DATA, 'a');
	out(f, SERIAL_DATA, 'b');
	init_port(&to);
	transfer(f, &to);
	assert_int_equal(in(&to, SERIAL_LSR), 0x63);
	assert_int_equal(in(&to, SERIAL_MSR), 0x0b);
	assert_int_equal(in(&to, SERIAL_MSR), 0x00);
}

static void overfull_fifo_in_a_state_is_refused(void **state)
{
	const struct vs_desc *d = serial_class.state;
	struct fixture *f = *state;
	AUTO_BUF wire = { 0 };
	struct serial_state s;
	struct cursor c;
	struct err e;

	f->sp.s.rx_count = 17;
	vs_encode(d, &f->sp.s, &wire, NULL);
	cursor_init(&c, wire.data, wire.len);
	assert_int_equal(vs_decode(d, d->version, &c, &s, &e), -EINVAL);
	assert_non_null(strstr(e.msg, "rx_count"));
}

static void fifo_count_of_a_loaded_state_without_fifo_stays_in_bounds(void **state)
{
	struct fixture *f = *state;

	f->sp.s.rx_count = f->sp.s.tx_count = 16;
	f->sp.s.fcr = 0;
	f->sp.s.mcr = 0x10;
	out(f, SERIAL_DATA, 'a');
	out(f, SERIAL_MCR, 0);
	f->chr.takes = 0;
	out(f, SERIAL_DATA, 'b');
	assert_int_equal(type(f, "x"), 0);
	assert_int_equal(f->sp.s.rx_count, 16);
	assert_int_equal(f->sp.s.tx_count, 16);
}

static void reset_lowers_the_line_and_forgets_bytes(void **state)
{
	struct fixture *f = *state;

	out(f, SERIAL_IER, 1);
	out(f, SERIAL_MCR, 8);
	type(f, "a");
	serial_class.reset(&f->sp.dev);
	assert_false(f->level);
	assert_int_equal(in(f, SERIAL_LSR), 0x60);
	assert_int_equal(in(f, SERIAL_IER), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(every_byte_of_the_state_is_in_the_table),
		TEST(written_bytes_reach_the_back_end_in_order),
		TEST(divisor_is_behind_the_latch_bit),
		TEST(scratch_register_keeps_its_value),
		TEST(received_byte_interrupts_only_through_out2),
		TEST(fifo_tells_timeout_below_and_data_at_the_trigger_level),
		TEST(fifo_reset_bits_empty_the_fifos),
		TEST(transmitter_is_not_empty_until_the_back_end_took_all),
		TEST(transmitter_interrupt_is_an_edge_per_byte_and_ends_by_reading_iir),
		TEST(line_status_comes_before_data_before_transmitter),
		TEST(loopback_shows_the_modem_outputs_as_inputs),
		TEST(fifo_overrun_keeps_the_old_bytes),
		TEST(half_full_fifos_survive_a_transfer),
		TEST(stopped_port_takes_and_gives_no_byte),
		TEST(interrupt_level_is_raised_after_load_without_being_saved),
		TEST(load_lowers_a_line_that_was_high),
		TEST(served_transmitter_interrupt_does_not_come_back_after_load),
		TEST(unread_status_bits_survive_a_transfer),
		TEST(overfull_fifo_in_a_state_is_refused),
		TEST(fifo_count_of_a_loaded_state_without_fifo_stays_in_bounds),
		TEST(reset_lowers_the_line_and_forgets_bytes),
	};

	return cmocka_run_group_tests_name("serial", tests, NULL, NULL);
}
