/* SPDX-License-Identifier: MIT */
/* The paravirtual clock (kvmclock), which KVM keeps. */
#include <errno.h>
#include <string.h>

#include "base/util.h"
#include "dev/pc/kvmclock.h"
#include "host/clock.h"
#include "host/kvm.h"
#include "machine/vm.h"

/* Clocks that disagree by more were set, not read apart. */
#define AGREE_NS INT64_C(1000000)

static const struct vs_field kvmclock_fields[] = {
	VS_FIELD(struct kvmclock_state, clock_ns),
	VS_FIELD(struct kvmclock_state, realtime_ns),
	VS_FIELD(struct kvmclock_state, boottime_ns),
	VS_FIELD(struct kvmclock_state, host_tsc),
	VS_FIELD_RANGE(struct kvmclock_state, flags, 0, UINT32_MAX),
	VS_BUFFER(struct kvmclock_state, boot_id),
	VS_END,
};

static const struct vs_desc kvmclock_desc = {
	.name = "kvmclock",
	.version = 1,
	.min_version = 1,
	.size = sizeof(struct kvmclock_state),
	.fields = kvmclock_fields,
};

static struct host_time captured_at(const struct kvmclock_state *s)
{
	struct host_time t = { .realtime_ns = s->realtime_ns, .boottime_ns = s->boottime_ns };

	memcpy(t.boot_id, s->boot_id, sizeof(t.boot_id));
	return t;
}

uint64_t kvmclock_value_now(const struct kvmclock_state *s, const struct host_time *now,
			    bool *by_kvm)
{
	const struct host_time then = captured_at(s);
	uint64_t value = s->clock_ns + host_time_elapsed_ns(&then, now);
	uint64_t real = now->realtime_ns - then.realtime_ns;
	uint64_t boot = now->boottime_ns - then.boottime_ns;
	int64_t apart = (int64_t)(real - boot);

	if (memcmp(then.boot_id, now->boot_id, sizeof(then.boot_id)))
		*by_kvm = true;
	else
		*by_kvm =
			(s->flags & KVM_CLOCK_REALTIME) && apart <= AGREE_NS && apart >= -AGREE_NS;
	return value;
}

static int kvmclock_capture(const struct device *d, void *state, struct err *e)
{
	struct kvmclock_state *s = state;
	struct kvm_clock_data k = { 0 };
	uint64_t before = clock_boottime_ns();
	int r = kvm_get_clock(d->vm->vm_fd, &k, e);

	if (r < 0)
		return r;
	s->clock_ns = k.clock;
	s->realtime_ns = k.flags & KVM_CLOCK_REALTIME ? k.realtime : clock_realtime_ns();
	s->boottime_ns = before + (clock_boottime_ns() - before) / 2;
	s->host_tsc = k.flags & KVM_CLOCK_HOST_TSC ? k.host_tsc : 0;
	s->flags = k.flags;
	memcpy(s->boot_id, d->vm->boot_id, sizeof(s->boot_id));
	return 0;
}

static int kvmclock_apply(struct device *d, const void *state, struct err *e)
{
	const struct kvmclock_state *s = state;
	struct host_time now = host_time_now(d->vm->boot_id);
	struct kvm_clock_data k = { .flags = KVM_CLOCK_REALTIME };
	bool by_kvm;
	int r;

	kvmclock_value_now(s, &now, &by_kvm);
	if (by_kvm) {
		k.clock = s->clock_ns;
		k.realtime = s->realtime_ns;
		r = kvm_set_clock(d->vm->vm_fd, &k, e);
		/* Kernels before 5.16 do not know the flag. */
		if (r != -EINVAL)
			return r < 0 ? r : 0;
	}
	now = host_time_now(d->vm->boot_id);
	k = (struct kvm_clock_data){ .clock = kvmclock_value_now(s, &now, &by_kvm) };
	r = kvm_set_clock(d->vm->vm_fd, &k, e);
	return r < 0 ? r : 0;
}

static void kvmclock_captured_at(const void *state, struct host_time *t)
{
	*t = captured_at(state);
}

static void kvmclock_destroy(struct device *d)
{
	free(d);
}

/* No reset: the clock tells time since the machine was created. */
const struct device_class kvmclock_class = {
	.name = "kvmclock",
	.state = &kvmclock_desc,
	.in_kvm = true,
	.capture = kvmclock_capture,
	.apply = kvmclock_apply,
	.captured_at = kvmclock_captured_at,
	.destroy = kvmclock_destroy,
};

int kvmclock_create(struct vm *vm, struct err *e)
{
	struct device *d = calloc(1, sizeof(*d));

	if (!d)
		return err_set(e, ENOMEM, "no memory for the clock");
	device_add(vm, d, &kvmclock_class);
	return 0;
}
