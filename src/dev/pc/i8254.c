/* SPDX-License-Identifier: MIT */
/* The 8254 interval timer, which KVM keeps. */
#include <errno.h>

#include "base/log.h"
#include "base/util.h"
#include "dev/pc/i8254.h"
#include "host/kvm.h"
#include "machine/vm.h"

enum {
	COUNT_MAX = 65536,
	MODE_NONE = 0xff, /* not programmed since reset */
	CHANNEL_SPEAKER = 2,
};

static const struct vs_field channel_fields[] = {
	VS_FIELD_RANGE(struct i8254_channel_state, count, 0, COUNT_MAX),
	VS_FIELD(struct i8254_channel_state, latched_count),
	VS_FIELD(struct i8254_channel_state, count_latched),
	VS_FIELD(struct i8254_channel_state, status_latched),
	VS_FIELD(struct i8254_channel_state, status),
	VS_FIELD(struct i8254_channel_state, read_state),
	VS_FIELD(struct i8254_channel_state, write_state),
	VS_FIELD(struct i8254_channel_state, write_latch),
	VS_FIELD(struct i8254_channel_state, rw_mode),
	VS_FIELD(struct i8254_channel_state, mode),
	VS_FIELD(struct i8254_channel_state, bcd),
	VS_FIELD(struct i8254_channel_state, gate),
	VS_FIELD(struct i8254_channel_state, count_load_time),
	VS_END,
};

static const struct vs_desc channel_desc = {
	.name = "i8254/channel",
	.version = 1,
	.min_version = 1,
	.size = sizeof(struct i8254_channel_state),
	.fields = channel_fields,
};

static const struct vs_field i8254_fields[] = {
	VS_STRUCT_ARRAY(struct i8254_state, channels, &channel_desc),
	VS_FIELD_RANGE(struct i8254_state, flags, 0, UINT32_MAX),
	VS_END,
};

static const struct vs_desc i8254_desc = {
	.name = "i8254",
	.version = 1,
	.min_version = 1,
	.size = sizeof(struct i8254_state),
	.fields = i8254_fields,
};

static struct i8254_channel_state channel_from_kvm(const struct kvm_pit_channel_state *k)
{
	return (struct i8254_channel_state){
		.count = k->count,
		.latched_count = k->latched_count,
		.count_latched = k->count_latched,
		.status_latched = k->status_latched,
		.status = k->status,
		.read_state = k->read_state,
		.write_state = k->write_state,
		.write_latch = k->write_latch,
		.rw_mode = k->rw_mode,
		.mode = k->mode,
		.bcd = k->bcd,
		.gate = k->gate,
		.count_load_time = k->count_load_time,
	};
}

static struct kvm_pit_channel_state channel_to_kvm(const struct i8254_channel_state *s)
{
	return (struct kvm_pit_channel_state){
		.count = s->count,
		.latched_count = s->latched_count,
		.count_latched = s->count_latched,
		.status_latched = s->status_latched,
		.status = s->status,
		.read_state = s->read_state,
		.write_state = s->write_state,
		.write_latch = s->write_latch,
		.rw_mode = s->rw_mode,
		.mode = s->mode,
		.bcd = s->bcd,
		.gate = s->gate,
		.count_load_time = s->count_load_time,
	};
}

static int i8254_capture(const struct device *d, void *state, struct err *e)
{
	struct i8254_state *s = state;
	struct kvm_pit_state2 k;
	int r = kvm_get_pit2(d->vm->vm_fd, &k, e);

	if (r < 0)
		return r;
	for (unsigned int i = 0; i < I8254_NR_CHANNELS; i++)
		s->channels[i] = channel_from_kvm(&k.channels[i]);
	s->flags = k.flags;
	return 0;
}

static int i8254_apply(struct device *d, const void *state, struct err *e)
{
	const struct i8254_state *s = state;
	struct kvm_pit_state2 k = { .flags = (uint32_t)s->flags };
	int r;

	for (unsigned int i = 0; i < I8254_NR_CHANNELS; i++)
		k.channels[i] = channel_to_kvm(&s->channels[i]);
	r = kvm_set_pit2(d->vm->vm_fd, &k, e);
	return r < 0 ? r : 0;
}

static void i8254_reset(struct device *d)
{
	struct i8254_state s = { 0 };
	struct err e;

	for (unsigned int i = 0; i < I8254_NR_CHANNELS; i++) {
		s.channels[i].mode = MODE_NONE;
		s.channels[i].gate = i != CHANNEL_SPEAKER;
		s.channels[i].count = COUNT_MAX;
	}
	if (i8254_apply(d, &s, &e))
		log_error("cannot reset the interval timer: %s", e.msg);
}

static void i8254_destroy(struct device *d)
{
	free(d);
}

const struct device_class i8254_class = {
	.name = "i8254",
	.state = &i8254_desc,
	.in_kvm = true,
	.capture = i8254_capture,
	.apply = i8254_apply,
	.reset = i8254_reset,
	.destroy = i8254_destroy,
};

int i8254_create(struct vm *vm, struct err *e)
{
	struct device *d = calloc(1, sizeof(*d));

	if (!d)
		return err_set(e, ENOMEM, "no memory for the interval timer");
	device_add(vm, d, &i8254_class);
	return 0;
}
