/* SPDX-License-Identifier: MIT */
/* Finding, reading and setting a vCPU's MSRs, with a KVM of one function that counts its calls. */
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

#include "base/util.h"
#include "machine/vcpu_state.h"

enum {
	NO_KVM = -1, /* reaches nobody but ioctl() below */
	MSR_TSC = 0x10,
	MSR_TSC_DEADLINE = 0x6e0,
	FIRST = 0x10000, /* of the MSRs that only this KVM knows */
	MSR_MC0 = 0x400,
	MSR_KVM_SYSTEM_TIME = 0x4b564d01,
	NR_LISTED = 200,   /* with those of Baton, more than one call takes */
	MOST_A_CALL = 255, /* as in Linux */
	UNREADABLE_EVERY = 50,
};

/* Values by index; an MSR of the list above, or one of the architecture's. */
struct fake_kvm {
	unsigned int gets, sets, set_xcrs, set_debugregs, get_khz, kvmclock_ctrls;
	bool has_all; /* XCRs and debug registers, too */
	bool set_mc0;
	bool unreadable;  /* every 50th of FIRST.. */
	uint32_t refused; /* cannot be set; 0: none */
	uint64_t values[NR_LISTED], deadline, other;
};

static struct fake_kvm kvm;

static uint64_t *value_of(uint32_t index)
{
	if (index >= FIRST && index < FIRST + NR_LISTED)
		return &kvm.values[index - FIRST];
	return index == MSR_TSC_DEADLINE ? &kvm.deadline : &kvm.other;
}

static bool readable(uint32_t index)
{
	return !kvm.unreadable || index < FIRST || (index - FIRST) % UNREADABLE_EVERY;
}

static int get_msrs(struct kvm_msrs *m)
{
	kvm.gets++;
	if (m->nmsrs > MOST_A_CALL) {
		errno = E2BIG;
		return -1;
	}
	for (uint32_t i = 0; i < m->nmsrs; i++) {
		if (!readable(m->entries[i].index))
			return (int)i;
		m->entries[i].data = *value_of(m->entries[i].index);
	}
	return (int)m->nmsrs;
}

static int set_msrs(const struct kvm_msrs *m)
{
	if (m->nmsrs > MOST_A_CALL) {
		errno = E2BIG;
		return -1;
	}
	for (uint32_t i = 0; i < m->nmsrs; i++) {
		kvm.sets++;
		kvm.set_mc0 |= m->entries[i].index == MSR_MC0;
		if (kvm.refused && m->entries[i].index == kvm.refused)
			return (int)i;
		*value_of(m->entries[i].index) = m->entries[i].data;
	}
	return (int)m->nmsrs;
}

static int list_msrs(struct kvm_msr_list *list)
{
	bool fits = list->nmsrs >= NR_LISTED + 2;

	list->nmsrs = NR_LISTED + 2;
	if (!fits) {
		errno = E2BIG;
		return -1;
	}
	/* The deadline first, though it has to be set last. */
	list->indices[0] = MSR_TSC_DEADLINE;
	list->indices[1] = MSR_TSC;
	for (uint32_t i = 0; i < NR_LISTED; i++)
		list->indices[2 + i] = FIRST + i;
	return 0;
}

int ioctl(int fd, unsigned long request, ...)
{
	void *arg;
	va_list ap;

	(void)fd;
	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);
	switch (request) {
	case KVM_GET_MSR_INDEX_LIST:
		return list_msrs(arg);
	case KVM_GET_MSRS:
		return get_msrs(arg);
	case KVM_SET_MSRS:
		return set_msrs(arg);
	case KVM_SET_XCRS:
		kvm.set_xcrs++;
		return 0;
	case KVM_SET_DEBUGREGS:
		kvm.set_debugregs++;
		return 0;
	case KVM_KVMCLOCK_CTRL:
		kvm.kvmclock_ctrls++;
		return 0;
	case KVM_GET_XCRS:
		((struct kvm_xcrs *)arg)->nr_xcrs = 1;
		return 0;
	case KVM_CHECK_EXTENSION:
		if (kvm.has_all && ((long)arg == KVM_CAP_XCRS || (long)arg == KVM_CAP_DEBUGREGS))
			return 1;
		return (long)arg == KVM_CAP_XSAVE || (long)arg == KVM_CAP_IMMEDIATE_EXIT;
	case KVM_GET_TSC_KHZ:
		kvm.get_khz++;
		return 1000000;
	case KVM_GET_DEVICE_ATTR:
		errno = ENXIO;
		return -1;
	default:
		return 0;
	}
}

struct fixture {
	struct vcpu_caps caps;
	struct vcpu_state state;
	struct vcpu_apic_state apic;
};

static int set_up(void **state)
{
	kvm = (struct fake_kvm){ .other = 7 };
	*state = calloc(1, sizeof(struct fixture));
	return *state ? 0 : -1;
}

static int tear_down(void **state)
{
	free(*state);
	return 0;
}

static bool has_msr(const struct vcpu_caps *caps, uint32_t index)
{
	unsigned int found = 0;

	for (uint32_t i = 0; i < caps->nr_msrs; i++)
		found += caps->msrs[i] == index;
	assert_true(found <= 1);
	return found;
}

static void some_hundred_msrs_are_found_with_a_few_calls(void **state)
{
	struct fixture *f = *state;
	struct err e;

	assert_int_equal(vcpu_caps_probe(&f->caps, NO_KVM, NO_KVM, NO_KVM, &e), 0);
	assert_true(f->caps.nr_msrs > MOST_A_CALL);
	assert_true(kvm.gets <= 3);
	for (uint32_t i = 0; i < NR_LISTED; i++)
		assert_true(has_msr(&f->caps, FIRST + i));
	assert_false(has_msr(&f->caps, MSR_TSC));
	assert_int_equal(f->caps.msrs[f->caps.nr_msrs - 1], MSR_TSC_DEADLINE);
}

static void an_msr_that_cannot_be_read_is_left_out_and_the_next_is_not(void **state)
{
	struct fixture *f = *state;
	struct err e;

	kvm.unreadable = true;
	assert_int_equal(vcpu_caps_probe(&f->caps, NO_KVM, NO_KVM, NO_KVM, &e), 0);
	for (uint32_t i = 0; i < NR_LISTED; i++)
		assert_int_equal(has_msr(&f->caps, FIRST + i), i % UNREADABLE_EVERY != 0);
	assert_true(kvm.gets <= 3 + NR_LISTED / UNREADABLE_EVERY);
}

static void more_msrs_than_one_call_takes_are_saved_and_loaded(void **state)
{
	struct fixture *f = *state;
	struct err e;

	assert_int_equal(vcpu_caps_probe(&f->caps, NO_KVM, NO_KVM, NO_KVM, &e), 0);
	for (uint32_t i = 0; i < NR_LISTED; i++)
		kvm.values[i] = 0x1000 + i;
	kvm.deadline = 99;
	assert_int_equal(vcpu_state_get(NO_KVM, &f->caps, &f->state, &e), 0);
	assert_int_equal(f->state.nr_msrs, f->caps.nr_msrs);
	memset(kvm.values, 0, sizeof(kvm.values));
	kvm.deadline = 0;
	assert_int_equal(vcpu_state_set(NO_KVM, &f->caps, &f->state, &f->apic, NULL, NULL, &e), 0);
	for (uint32_t i = 0; i < NR_LISTED; i++)
		assert_int_equal(kvm.values[i], 0x1000 + i);
	assert_int_equal(kvm.deadline, 99);
}

static void a_value_that_kvm_refuses_fails_by_name_unless_it_is_there(void **state)
{
	struct fixture *f = *state;
	struct err e;

	assert_int_equal(vcpu_caps_probe(&f->caps, NO_KVM, NO_KVM, NO_KVM, &e), 0);
	kvm.values[NR_LISTED - 1] = 5;
	assert_int_equal(vcpu_state_get(NO_KVM, &f->caps, &f->state, &e), 0);
	kvm.refused = FIRST + NR_LISTED - 1;
	assert_int_equal(vcpu_state_set(NO_KVM, &f->caps, &f->state, &f->apic, NULL, NULL, &e), 0);
	kvm.values[NR_LISTED - 1] = 6;
	assert_int_equal(vcpu_state_set(NO_KVM, &f->caps, &f->state, &f->apic, NULL, NULL, &e),
			 -EIO);
	assert_non_null(strstr(e.msg, "KVM refuses the value 0x5 for MSR 0x100c7"));
}

static void an_msr_that_is_gone_fails_by_name(void **state)
{
	struct fixture *f = *state;
	struct err e;

	assert_int_equal(vcpu_caps_probe(&f->caps, NO_KVM, NO_KVM, NO_KVM, &e), 0);
	kvm.unreadable = true;
	assert_int_equal(vcpu_state_get(NO_KVM, &f->caps, &f->state, &e), -EIO);
	assert_non_null(strstr(e.msg, "MSR 0x10000 cannot be read any more"));
}

/* A guest's state of which all is as in the vCPU it is loaded into. */
static void get_both(struct fixture *f, struct vcpu_state *fresh)
{
	struct err e;

	kvm.has_all = true;
	assert_int_equal(vcpu_caps_probe(&f->caps, NO_KVM, NO_KVM, NO_KVM, &e), 0);
	assert_int_equal(vcpu_state_get(NO_KVM, &f->caps, &f->state, &e), 0);
	*fresh = f->state;
	kvm.sets = kvm.get_khz = 0;
}

static void what_a_fresh_vcpu_has_is_not_set_again(void **state)
{
	const struct time_shift no_shift = { 0 };
	struct fixture *f = *state;
	AUTO_FREE struct vcpu_state *fresh = calloc(1, sizeof(*fresh));
	struct err e;

	get_both(f, fresh);
	assert_int_equal(
		vcpu_state_set(NO_KVM, &f->caps, &f->state, &f->apic, &no_shift, fresh, &e), 0);
	assert_int_equal(kvm.set_xcrs + kvm.set_debugregs + kvm.kvmclock_ctrls + kvm.get_khz, 0);
	/* Those of the list and the TSC; not the 156 machine-check banks and memory types. */
	assert_int_equal(kvm.sets, NR_LISTED + 2);
	assert_false(kvm.set_mc0);
}

static void what_differs_from_a_fresh_vcpu_is_set(void **state)
{
	const struct time_shift no_shift = { 0 };
	struct fixture *f = *state;
	AUTO_FREE struct vcpu_state *fresh = calloc(1, sizeof(*fresh));
	struct err e;

	get_both(f, fresh);
	f->state.xcrs[0].value = 3;
	f->state.db[2] = 0x1000;
	for (uint32_t i = 0; i < f->state.nr_msrs; i++) {
		if (f->state.msrs[i].index == MSR_MC0)
			f->state.msrs[i].value = 11;
		if (f->state.msrs[i].index == FIRST)
			f->state.msrs[i] = (struct vcpu_msr){ MSR_KVM_SYSTEM_TIME, 0x5001 };
	}
	assert_int_equal(
		vcpu_state_set(NO_KVM, &f->caps, &f->state, &f->apic, &no_shift, fresh, &e), 0);
	assert_true(kvm.set_mc0);
	assert_int_equal(kvm.set_xcrs, 1);
	assert_int_equal(kvm.set_debugregs, 1);
	assert_int_equal(kvm.kvmclock_ctrls, 1);
	fresh->tsc_khz++;
	assert_int_equal(
		vcpu_state_set(NO_KVM, &f->caps, &f->state, &f->apic, &no_shift, fresh, &e), 0);
	assert_int_equal(kvm.get_khz, 1);
}

static void everything_is_set_if_nothing_is_known(void **state)
{
	const struct time_shift no_shift = { 0 };
	struct fixture *f = *state;
	AUTO_FREE struct vcpu_state *fresh = calloc(1, sizeof(*fresh));
	struct err e;

	get_both(f, fresh);
	assert_int_equal(vcpu_state_set(NO_KVM, &f->caps, &f->state, &f->apic, &no_shift, NULL, &e),
			 0);
	assert_int_equal(kvm.set_xcrs, 1);
	assert_int_equal(kvm.set_debugregs, 1);
	assert_int_equal(kvm.sets, f->state.nr_msrs + 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(some_hundred_msrs_are_found_with_a_few_calls),
		TEST(an_msr_that_cannot_be_read_is_left_out_and_the_next_is_not),
		TEST(more_msrs_than_one_call_takes_are_saved_and_loaded),
		TEST(a_value_that_kvm_refuses_fails_by_name_unless_it_is_there),
		TEST(an_msr_that_is_gone_fails_by_name),
		TEST(what_a_fresh_vcpu_has_is_not_set_again),
		TEST(what_differs_from_a_fresh_vcpu_is_set),
		TEST(everything_is_set_if_nothing_is_known),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
