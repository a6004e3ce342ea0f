/* SPDX-License-Identifier: MIT */
/* The ACPI registers, through the port bus of a machine without vCPUs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "dev/pc/acpi_pm.h"
#include "machine/layout.h"
#include "machine/vm.h"

#define PORT_STATUS  LAYOUT_PORT_ACPI_PM
#define PORT_ENABLE  (LAYOUT_PORT_ACPI_PM + 2)
#define PORT_CONTROL LAYOUT_PORT_ACPI_CNT

struct fixture {
	struct vm vm; /* ports, loop and requests only */
	struct acpi_pm pm;
	bool level;
};

static void set_line(void *opaque, unsigned int line, bool level)
{
	struct fixture *f = opaque;

	assert_int_equal(line, 9);
	f->level = level;
}

static void ignore_request(void *opaque)
{
	(void)opaque;
}

static void init_machine(struct fixture *f)
{
	struct err e;

	memset(f, 0, sizeof(*f));
	pthread_mutex_init(&f->vm.lock, NULL);
	assert_int_equal(loop_create(&f->vm.loop, &f->vm.lock, &e), 0);
	loop_work_init(&f->vm.request_work, ignore_request, f);
	iobus_init(&f->vm.pio);
	f->pm.dev.vm = &f->vm;
	acpi_pm_init(&f->pm, (struct irq){ .set = set_line, .opaque = f, .line = 9 });
	assert_int_equal(iobus_add(&f->vm.pio, &f->pm.h.event, &e), 0);
	assert_int_equal(iobus_add(&f->vm.pio, &f->pm.h.control, &e), 0);
	acpi_pm_class.reset(&f->pm.dev);
}

static void fini_machine(struct fixture *f)
{
	loop_work_cancel(f->vm.loop, &f->vm.request_work);
	loop_destroy(f->vm.loop);
	pthread_mutex_destroy(&f->vm.lock);
}

static int setup(void **state)
{
	struct fixture *f = malloc(sizeof(*f));

	init_machine(f);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	fini_machine(*state);
	free(*state);
	return 0;
}

static uint16_t in(struct fixture *f, uint16_t port)
{
	uint16_t v;

	iobus_read(&f->vm.pio, port, &v, sizeof(v));
	return v;
}

static void out(struct fixture *f, uint16_t port, uint16_t v)
{
	iobus_write(&f->vm.pio, port, &v, sizeof(v));
}

static void transfer(const struct fixture *from, struct fixture *to)
{
	const struct vs_desc *d = acpi_pm_class.state;
	AUTO_BUF wire = { 0 };
	struct acpi_pm_state s;
	struct cursor c;
	struct err e;

	vs_encode(d, &from->pm.s, &wire, NULL);
	cursor_init(&c, wire.data, wire.len);
	assert_int_equal(vs_decode(d, d->version, &c, &s, &e), 0);
	to->pm.s = s;
	acpi_pm_class.loaded(&to->pm.dev);
}

static void every_byte_of_the_state_is_in_the_table(void **state)
{
	struct err e;

	(void)state;
	assert_int_equal(vs_audit(acpi_pm_class.state, &e), 0);
}

static void power_button_interrupts_if_enabled_until_it_is_cleared(void **state)
{
	struct fixture *f = *state;

	acpi_pm_power_button(&f->pm.dev);
	assert_int_equal(in(f, PORT_STATUS), 0x100);
	assert_false(f->level);
	out(f, PORT_ENABLE, 0x120);
	assert_int_equal(in(f, PORT_ENABLE), 0x120);
	assert_true(f->level);
	out(f, PORT_STATUS, 0x020);
	assert_true(f->level);
	out(f, PORT_STATUS, 0x100);
	assert_false(f->level);
	assert_int_equal(in(f, PORT_STATUS), 0);
}

static void acpi_mode_is_always_on(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(in(f, PORT_CONTROL), 1);
	out(f, PORT_CONTROL, 0);
	assert_int_equal(in(f, PORT_CONTROL), 1);
}

static void entering_s5_asks_for_shutdown(void **state)
{
	struct fixture *f = *state;

	out(f, PORT_CONTROL, LAYOUT_SLP_TYP_S5 << 10);
	assert_false(f->vm.shutdown_requested);
	out(f, PORT_CONTROL, LAYOUT_SLP_TYP_S5 << 10 | 1 << 13);
	assert_true(f->vm.shutdown_requested);
	/* SLP_EN is write-only. */
	assert_int_equal(in(f, PORT_CONTROL), LAYOUT_SLP_TYP_S5 << 10 | 1);
}

static void other_sleep_types_do_nothing(void **state)
{
	struct fixture *f = *state;

	for (uint16_t type = 0; type < 8; type++)
		if (type != LAYOUT_SLP_TYP_S5)
			out(f, PORT_CONTROL, (uint16_t)(type << 10 | 1 << 13));
	assert_false(f->vm.shutdown_requested);
}

static void pressed_button_interrupts_after_load(void **state)
{
	struct fixture *f = *state, to;

	out(f, PORT_ENABLE, 0x100);
	acpi_pm_power_button(&f->pm.dev);
	init_machine(&to);
	transfer(f, &to);
	assert_true(to.level);
	assert_int_equal(in(&to, PORT_STATUS), 0x100);
	out(&to, PORT_STATUS, 0x100);
	assert_false(to.level);
	fini_machine(&to);
}

static void reset_clears_events_and_lowers_the_line(void **state)
{
	struct fixture *f = *state;

	out(f, PORT_ENABLE, 0x100);
	acpi_pm_power_button(&f->pm.dev);
	acpi_pm_class.reset(&f->pm.dev);
	assert_false(f->level);
	assert_int_equal(in(f, PORT_STATUS), 0);
	assert_int_equal(in(f, PORT_ENABLE), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(every_byte_of_the_state_is_in_the_table),
		TEST(power_button_interrupts_if_enabled_until_it_is_cleared),
		TEST(acpi_mode_is_always_on),
		TEST(entering_s5_asks_for_shutdown),
		TEST(other_sleep_types_do_nothing),
		TEST(pressed_button_interrupts_after_load),
		TEST(reset_clears_events_and_lowers_the_line),
	};

	return cmocka_run_group_tests_name("acpi_pm", tests, NULL, NULL);
}
