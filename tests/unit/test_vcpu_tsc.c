/* SPDX-License-Identifier: MIT */
/* What KVM is told of a vCPU's TSC: by a KVM that consists of one function. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>

#include "host/clock.h"
#include "machine/vcpu_state.h"

enum {
	MSR_TSC = 0x10,
	HOST_KHZ = 2000000,
	NO_VCPU = -1, /* reaches nobody but ioctl() below */
};

/* The one vCPU of it. */
struct fake_kvm {
	uint32_t khz;
	uint64_t offset;
	bool scales; /* by khz / HOST_KHZ; else it leaves the host's ticks as they are */
};

static struct fake_kvm kvm;

static uint64_t guest_tsc(void)
{
	uint64_t tsc = clock_tsc();

	if (kvm.scales)
		tsc = (uint64_t)((unsigned __int128)tsc * kvm.khz / HOST_KHZ);
	return tsc + kvm.offset;
}

static int get_msrs(struct kvm_msrs *m)
{
	for (uint32_t i = 0; i < m->nmsrs; i++)
		if (m->entries[i].index == MSR_TSC)
			m->entries[i].data = guest_tsc();
	return (int)m->nmsrs;
}

int ioctl(int fd, unsigned long request, ...)
{
	struct kvm_device_attr *attr;
	unsigned long arg;
	va_list ap;

	(void)fd;
	va_start(ap, request);
	arg = va_arg(ap, unsigned long);
	va_end(ap);
	attr = (struct kvm_device_attr *)arg;
	switch (request) {
	case KVM_GET_TSC_KHZ:
		return (int)kvm.khz;
	case KVM_SET_TSC_KHZ:
		kvm.khz = (uint32_t)arg;
		return 0;
	case KVM_GET_DEVICE_ATTR:
		memcpy((void *)(uintptr_t)attr->addr, &kvm.offset, sizeof(kvm.offset));
		return 0;
	case KVM_SET_DEVICE_ATTR:
		memcpy(&kvm.offset, (void *)(uintptr_t)attr->addr, sizeof(kvm.offset));
		return 0;
	case KVM_GET_MSRS:
		return get_msrs((struct kvm_msrs *)arg);
	case KVM_SET_MSRS:
		return (int)((struct kvm_msrs *)arg)->nmsrs;
	default:
		return 0;
	}
}

struct fixture {
	struct vcpu_caps caps;
	struct vcpu_state s;
	struct vcpu_apic_state a;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	if (!f)
		return -1;
	f->caps = (struct vcpu_caps){ .has_tsc_offset = true, .tsc_khz = HOST_KHZ };
	f->a.bus_ns = 1;
	kvm = (struct fake_kvm){ .khz = HOST_KHZ };
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	free(*state);
	return 0;
}

static void set(struct fixture *f, const struct time_shift *time)
{
	struct err e;

	assert_int_equal(vcpu_state_set(NO_VCPU, &f->caps, &f->s, &f->a, time, NULL, &e), 0);
}

static void get(struct fixture *f)
{
	struct err e;

	assert_int_equal(vcpu_state_get(NO_VCPU, &f->caps, &f->s, &e), 0);
}

static void on_the_same_boot_the_offset_is_kept(void **state)
{
	const struct time_shift none = { 0 };
	struct fixture *f = *state;

	kvm.offset = 4711;
	get(f);
	assert_int_equal(f->s.tsc_offset, 4711);
	kvm.offset = 0;
	set(f, &none);
	assert_int_equal(kvm.offset, 4711);
}

static void on_another_boot_the_shift_is_added(void **state)
{
	const struct time_shift shift = { .other_boot = true, .tsc = 0 - (uint64_t)100 };
	struct fixture *f = *state;

	kvm.offset = 4711;
	get(f);
	set(f, &shift);
	assert_int_equal(kvm.offset, 4611);
}

static void a_reset_leaves_the_tsc_alone(void **state)
{
	struct fixture *f = *state;

	get(f);
	kvm.offset = 4711;
	set(f, NULL);
	assert_int_equal(kvm.offset, 4711);
}

/* What was saved of the host is in guest ticks: offset and it are the guest's TSC. */
static void check_saved_tsc(struct fixture *f)
{
	uint64_t before = guest_tsc(), saved;

	get(f);
	saved = f->s.tsc_saved + f->s.tsc_offset;
	assert_true(saved >= before && saved <= guest_tsc());
}

static void the_saved_tsc_is_what_the_guest_saw(void **state)
{
	struct fixture *f = *state;

	kvm.offset = 0 - clock_tsc() / 2;
	check_saved_tsc(f);
	/* A frequency that differs by little, and that KVM leaves as it is. */
	kvm.khz = HOST_KHZ + 1;
	check_saved_tsc(f);
	kvm.khz = 3 * HOST_KHZ / 2;
	kvm.scales = true;
	check_saved_tsc(f);
}

/* All of it: saved on one host, loaded on another that scales and whose TSC is elsewhere. */
static void the_guests_tsc_goes_on_over_a_reboot(void **state)
{
	const struct host_time then = { .boottime_ns = 1000000000, .boot_id = { 1 } };
	struct host_time now = { .realtime_ns = 7000000000, .boot_id = { 2 } };
	struct fixture *f = *state;
	struct tsc_reading saved, here;
	struct time_shift shift;
	uint64_t guest;
	struct err e;

	f->s = (struct vcpu_state){ .tsc_khz = 3000000, .tsc_saved = 900, .tsc_offset = 100 };
	saved = (struct tsc_reading){ .boottime_ns = then.boottime_ns, .tsc = f->s.tsc_saved };
	now.boottime_ns = clock_boottime_ns();
	kvm.scales = true;
	assert_int_equal(vcpu_tsc_read(NO_VCPU, &f->caps, f->s.tsc_khz, &here, &e), 0);
	/* The instant of the reading, as far as it matters here. */
	here.boottime_ns = now.boottime_ns;
	shift = time_shift_find(&then, &now);
	time_shift_set_tsc(&shift, &saved, &here, f->s.tsc_khz);
	set(f, &shift);
	assert_int_equal(kvm.khz, 3000000);
	guest = here.tsc + kvm.offset;
	assert_int_equal(guest, 1000 + 7ull * 3000000 * 1000);
	assert_true(guest_tsc() > guest);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		TEST(on_the_same_boot_the_offset_is_kept),
		TEST(on_another_boot_the_shift_is_added),
		TEST(a_reset_leaves_the_tsc_alone),
		TEST(the_saved_tsc_is_what_the_guest_saw),
		TEST(the_guests_tsc_goes_on_over_a_reboot),
	};

	return cmocka_run_group_tests_name("vcpu_tsc", tests, NULL, NULL);
}
