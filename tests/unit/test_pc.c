/* SPDX-License-Identifier: MIT */
/* The list of devices, the reset ports, and the rules of the paravirtual clock. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/list.h"
#include "base/util.h"
#include "dev/pc/kvmclock.h"
#include "dev/pc/pc.h"
#include "dev/pc/reset.h"
#include "host/hostid.h"
#include "machine/vm.h"

#define MS UINT64_C(1000000)

static void every_byte_of_every_class_is_in_its_table(void **state)
{
	struct err e;

	(void)state;
	for (unsigned int i = 0; pc_classes[i]; i++) {
		const struct device_class *c = pc_classes[i];

		assert_non_null(c->destroy);
		assert_true(c->stateless == !c->state);
		assert_true(!c->capture == !c->apply);
		if (c->state && vs_audit(c->state, &e))
			fail_msg("%s", e.msg);
		if (c->state)
			assert_string_equal(c->state->name, c->name);
		for (unsigned int j = 0; j < i; j++)
			assert_string_not_equal(pc_classes[j]->name, c->name);
	}
}

static void boot_id_is_stable_and_not_zero(void **state)
{
	static const uint8_t zero[HOST_BOOT_ID_BYTES];
	uint8_t a[HOST_BOOT_ID_BYTES], b[HOST_BOOT_ID_BYTES];
	struct err e;

	(void)state;
	assert_int_equal(host_boot_id(a, &e), 0);
	assert_int_equal(host_boot_id(b, &e), 0);
	assert_memory_equal(a, b, sizeof(a));
	assert_memory_not_equal(a, zero, sizeof(a));
}

static void ignore_request(void *opaque)
{
	(void)opaque;
}

/* A machine with the reset ports only. */
static int setup_machine(void **state)
{
	struct vm *vm = calloc(1, sizeof(*vm));
	struct err e;

	pthread_mutex_init(&vm->lock, NULL);
	assert_int_equal(loop_create(&vm->loop, &vm->lock, &e), 0);
	loop_work_init(&vm->request_work, ignore_request, vm);
	iobus_init(&vm->pio);
	list_init(&vm->devices);
	assert_int_equal(reset_create(vm, &e), 0);
	*state = vm;
	return 0;
}

static int teardown_machine(void **state)
{
	struct vm *vm = *state;

	reset_class.destroy(CONTAINER_OF(vm->devices.next, struct device, link));
	loop_work_cancel(vm->loop, &vm->request_work);
	loop_destroy(vm->loop);
	pthread_mutex_destroy(&vm->lock);
	free(vm);
	return 0;
}

static uint8_t in(struct vm *vm, uint16_t port)
{
	uint8_t v;

	iobus_read(&vm->pio, port, &v, 1);
	return v;
}

/* Whether the write asked for a reset. */
static bool out_resets(struct vm *vm, uint16_t port, uint8_t v)
{
	vm->reset_requested = false;
	iobus_write(&vm->pio, port, &v, 1);
	return vm->reset_requested;
}

static void each_reset_port_resets_only_when_told_to(void **state)
{
	struct vm *vm = *state;

	assert_false(out_resets(vm, 0xcf9, 0x02));
	assert_int_equal(in(vm, 0xcf9), 0x02);
	assert_true(out_resets(vm, 0xcf9, 0x06));
	assert_true(out_resets(vm, 0xcf9, 0x0e));
	assert_int_equal(in(vm, 0x64), 0);
	assert_int_equal(in(vm, 0x60), 0);
	assert_false(out_resets(vm, 0x64, 0xaa));
	assert_false(out_resets(vm, 0x60, 0xfe));
	assert_true(out_resets(vm, 0x64, 0xfe));
	assert_int_equal(in(vm, 0x92), 0x02);
	assert_false(out_resets(vm, 0x92, 0x00));
	assert_int_equal(in(vm, 0x92), 0x00);
	assert_true(out_resets(vm, 0x92, 0x01));
}

/* Captured at 5 s on a host 100 s after its boot, at 1000 s of real time. */
static const struct kvmclock_state captured = {
	.clock_ns = 5000 * MS,
	.boottime_ns = 100000 * MS,
	.realtime_ns = 1000000 * MS,
	.flags = KVM_CLOCK_REALTIME,
	.boot_id = { 1 },
};

static uint64_t value_after(uint8_t boot, uint64_t boot_ns, int64_t real_ns, bool *by_kvm)
{
	const struct host_time now = {
		.boottime_ns = captured.boottime_ns + boot_ns,
		.realtime_ns = captured.realtime_ns + (uint64_t)real_ns,
		.boot_id = { boot },
	};

	return kvmclock_value_now(&captured, &now, by_kvm);
}

static void clock_advances_by_the_time_that_passed_on_the_same_boot(void **state)
{
	bool by_kvm;

	(void)state;
	assert_int_equal(value_after(1, 7 * MS, 7 * MS + 999000, &by_kvm), 5007 * MS);
	assert_true(by_kvm);
}

static void realtime_that_was_set_meanwhile_is_not_believed(void **state)
{
	bool by_kvm;

	(void)state;
	assert_int_equal(value_after(1, 7 * MS, 3600000 * MS, &by_kvm), 5007 * MS);
	assert_false(by_kvm);
	assert_int_equal(value_after(1, 7 * MS, -3600000 * (int64_t)MS, &by_kvm), 5007 * MS);
	assert_false(by_kvm);
}

static void clock_without_realtime_stamp_goes_by_boottime(void **state)
{
	struct kvmclock_state s = captured;
	struct host_time now = {
		.boottime_ns = s.boottime_ns + 3 * MS,
		.realtime_ns = s.realtime_ns + 3 * MS,
		.boot_id = { 1 },
	};
	bool by_kvm;

	(void)state;
	s.flags = 0;
	assert_int_equal(kvmclock_value_now(&s, &now, &by_kvm), 5003 * MS);
	assert_false(by_kvm);
}

static void another_boot_goes_by_realtime_but_never_back(void **state)
{
	bool by_kvm;

	(void)state;
	assert_int_equal(value_after(2, 0, 60000 * MS, &by_kvm), 65000 * MS);
	assert_true(by_kvm);
	assert_int_equal(value_after(2, 90000 * MS, -5 * (int64_t)MS, &by_kvm), 5000 * MS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_byte_of_every_class_is_in_its_table),
		cmocka_unit_test(boot_id_is_stable_and_not_zero),
		cmocka_unit_test_setup_teardown(each_reset_port_resets_only_when_told_to,
						setup_machine, teardown_machine),
		cmocka_unit_test(clock_advances_by_the_time_that_passed_on_the_same_boot),
		cmocka_unit_test(realtime_that_was_set_meanwhile_is_not_believed),
		cmocka_unit_test(clock_without_realtime_stamp_goes_by_boottime),
		cmocka_unit_test(another_boot_goes_by_realtime_but_never_back),
	};

	return cmocka_run_group_tests_name("pc", tests, NULL, NULL);
}
