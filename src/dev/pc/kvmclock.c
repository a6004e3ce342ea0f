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
#define AGREE_NS UINT64_C(1000000)

struct kvmclock {
	struct device dev;
	uint8_t boot_id[HOST_BOOT_ID_BYTES]; /* [c] */
};

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

/* How far a clock advanced; 0 if it went back. */
static uint64_t elapsed(uint64_t then, uint64_t now)
{
	return now > then ? now - then : 0;
}

uint64_t kvmclock_value_now(const struct kvmclock_state *s, const struct kvmclock_host_time *now,
			    bool *by_kvm)
{
	uint64_t real = elapsed(s->realtime_ns, now->realtime_ns);
	uint64_t boot = elapsed(s->boottime_ns, now->boottime_ns);

	if (memcmp(s->boot_id, now->boot_id, sizeof(s->boot_id))) {
		*by_kvm = true;
		return s->clock_ns + real;
	}
	*by_kvm = (s->flags & KVM_CLOCK_REALTIME) &&
		  (real > boot ? real - boot : boot - real) <= AGREE_NS;
	return s->clock_ns + boot;
}

static int kvmclock_capture(const struct device *d, void *state, struct err *e)
{
	const struct kvmclock *c = CONTAINER_OF(d, const struct kvmclock, dev);
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
	memcpy(s->boot_id, c->boot_id, sizeof(s->boot_id));
	return 0;
}

static int kvmclock_apply(struct device *d, const void *state, struct err *e)
{
	const struct kvmclock *c = CONTAINER_OF(d, struct kvmclock, dev);
	const struct kvmclock_state *s = state;
	struct kvmclock_host_time now = {
		.realtime_ns = clock_realtime_ns(),
		.boottime_ns = clock_boottime_ns(),
	};
	struct kvm_clock_data k = { .flags = KVM_CLOCK_REALTIME };
	bool by_kvm;
	int r;

	memcpy(now.boot_id, c->boot_id, sizeof(now.boot_id));
	kvmclock_value_now(s, &now, &by_kvm);
	if (by_kvm) {
		k.clock = s->clock_ns;
		k.realtime = s->realtime_ns;
		r = kvm_set_clock(d->vm->vm_fd, &k, e);
		/* Kernels before 5.16 do not know the flag. */
		if (r != -EINVAL)
			return r < 0 ? r : 0;
	}
	now.realtime_ns = clock_realtime_ns();
	now.boottime_ns = clock_boottime_ns();
	k = (struct kvm_clock_data){ .clock = kvmclock_value_now(s, &now, &by_kvm) };
	r = kvm_set_clock(d->vm->vm_fd, &k, e);
	return r < 0 ? r : 0;
}

static void kvmclock_destroy(struct device *d)
{
	free(CONTAINER_OF(d, struct kvmclock, dev));
}

/* No reset: the clock tells time since the machine was created. */
const struct device_class kvmclock_class = {
	.name = "kvmclock",
	.state = &kvmclock_desc,
	.in_kvm = true,
	.capture = kvmclock_capture,
	.apply = kvmclock_apply,
	.destroy = kvmclock_destroy,
};

int kvmclock_create(struct vm *vm, const uint8_t boot_id[HOST_BOOT_ID_BYTES], struct err *e)
{
	struct kvmclock *c = calloc(1, sizeof(*c));

	if (!c)
		return err_set(e, ENOMEM, "no memory for the clock");
	memcpy(c->boot_id, boot_id, sizeof(c->boot_id));
	device_add(vm, &c->dev, &kvmclock_class);
	return 0;
}
