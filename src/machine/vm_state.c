/* SPDX-License-Identifier: MIT */
/* The machine's state: listing, saving and loading it as a snapshot. */
#include <errno.h>
#include <string.h>

#include "base/util.h"
#include "machine/device.h"
#include "machine/time_shift.h"
#include "machine/vcpu.h"
#include "machine/vcpu_state.h"
#include "machine/vm.h"

static bool is_in(const struct device_class *class, enum vm_state_scope scope)
{
	return class->state && (scope == VM_STATE_ALL || !class->in_kvm);
}

static int save_device(const struct device *d, void *state, struct err *e)
{
	if (d->class->capture)
		return d->class->capture(d, state, e);
	memcpy(state, device_state(d), d->class->state->size);
	return 0;
}

/* Who looks at the list is to see whether the item would be sent. */
static int list_optional(const struct device *d, struct snapshot_item *it, struct err *e)
{
	it->optional = d->class->optional;
	it->dispensable = d->newly_added && d->vm->foreign;
	return it->optional || it->dispensable ? save_device(d, it->state, e) : 0;
}

/*
 * The order is that of loading. vCPUs come before the interrupt controllers,
 * whose pending interrupts go to the LAPICs; other devices come before them
 * too (device_add()), so that re-raised lines do not look like new edges.
 */
int vm_list_state(struct vm *vm, enum vm_state_scope scope, struct snapshot *s, struct err *e)
{
	unsigned int nr_vcpus = scope == VM_STATE_ALL ? vm->nr_vcpus : 0;
	const struct ram_block *b = NULL;
	struct list *pos, *tmp;
	const char *blocker;
	int r = 0;

	while (!r && (b = memmap_next_block(&vm->mem, b))) {
		r = snapshot_add_ram(s, b->name, b->size, e);
		if (!r) {
			s->rams[s->nr_rams - 1].gpa = b->gpa;
			s->rams[s->nr_rams - 1].host = b->host;
		}
	}
	for (unsigned int i = 0; !r && i < nr_vcpus; i++) {
		r = snapshot_add(s, vcpu_state_desc.name, i, &vcpu_state_desc, e);
		if (!r)
			r = snapshot_add(s, vcpu_apic_state_desc.name, i, &vcpu_apic_state_desc, e);
	}
	if (r)
		return r;
	if (device_blockers(vm, &blocker, 1))
		return err_set(e, EOPNOTSUPP, "State blocked by non-migratable device '%s'",
			       blocker);
	list_for_each(pos, tmp, &vm->devices) {
		const struct device *d = CONTAINER_OF(pos, struct device, link);
		char idstr[sizeof(s->items->idstr)];

		if (!is_in(d->class, scope))
			continue;
		device_idstr(d, idstr, sizeof(idstr));
		r = snapshot_add(s, idstr, d->instance_id, d->class->state, e);
		if (!r && d->class->alias)
			r = snapshot_add_alias(s, d->class->alias, d->instance_id, e);
		if (!r)
			r = list_optional(d, &s->items[s->nr_items - 1], e);
		if (r)
			return r;
	}
	return 0;
}

/* vCPU items come in pairs at the head of the list, see vm_list_state(). */
static void *vcpu_item(const struct snapshot *s, const struct vcpu *v, const struct vs_desc *desc)
{
	size_t i = 2 * (size_t)vcpu_index(v) + (desc == &vcpu_apic_state_desc);

	return s->items[i].state;
}

static int save_vcpu(struct vcpu *v, void *arg, struct err *e)
{
	struct snapshot *s = arg;

	return vcpu_save(v, vcpu_item(s, v, &vcpu_state_desc),
			 vcpu_item(s, v, &vcpu_apic_state_desc), e);
}

struct load {
	const struct snapshot *s;
	struct time_shift time;
};

static int load_vcpu(struct vcpu *v, void *arg, struct err *e)
{
	const struct load *load = arg;

	return vcpu_load(v, vcpu_item(load->s, v, &vcpu_state_desc),
			 vcpu_item(load->s, v, &vcpu_apic_state_desc), &load->time, e);
}

/* One reading for all vCPUs, so that their TSCs stay equal: vCPU 0's. */
static int set_tsc_shift(struct vcpu *v, void *arg, struct err *e)
{
	struct load *load = arg;
	const struct vcpu_state *s = vcpu_item(load->s, v, &vcpu_state_desc);
	const struct vcpu_apic_state *a = vcpu_item(load->s, v, &vcpu_apic_state_desc);
	const struct tsc_reading saved = { .boottime_ns = a->saved_ns, .tsc = s->tsc_saved };
	struct tsc_reading now;
	int r;

	if (vcpu_index(v))
		return 0;
	r = vcpu_read_tsc(v, s->tsc_khz, &now, e);
	if (!r)
		time_shift_set_tsc(&load->time, &saved, &now, s->tsc_khz);
	return r;
}

/* Without a device that tells when it was captured, it was on this boot. */
static int find_time_shift(struct vm *vm, struct load *load, struct err *e)
{
	const struct host_time now = host_time_now(vm->boot_id);
	struct host_time saved = now;
	struct list *pos, *tmp;

	list_for_each(pos, tmp, &vm->devices) {
		const struct device *d = CONTAINER_OF(pos, struct device, link);
		const struct snapshot_item *item =
			d->class->captured_at
				? snapshot_find(load->s, d->class->name, d->instance_id)
				: NULL;

		if (item)
			d->class->captured_at(item->state, &saved);
	}
	load->time = time_shift_find(&saved, &now);
	return load->time.other_boot ? vcpu_run_on_all(vm, set_tsc_shift, load, e) : 0;
}

static int load_device(struct device *d, void *state, struct err *e)
{
	int r = 0;

	if (d->class->apply)
		r = d->class->apply(d, state, e);
	else
		memcpy(device_state(d), state, d->class->state->size);
	if (!r && d->class->loaded)
		d->class->loaded(d);
	return r;
}

static int check_device(struct device *d, void *state, struct err *e)
{
	return d->class->fits ? d->class->fits(d, state, e) : 0;
}

static int save_device_item(struct device *d, void *state, struct err *e)
{
	return save_device(d, state, e);
}

/* Calls @fn for each device that has state, with its item. */
static int each_device(struct vm *vm, enum vm_state_scope scope, struct snapshot *s,
		       int (*fn)(struct device *d, void *state, struct err *e), struct err *e)
{
	size_t i = scope == VM_STATE_ALL ? 2 * (size_t)vm->nr_vcpus : 0;
	struct list *pos, *tmp;
	int r;

	list_for_each(pos, tmp, &vm->devices) {
		struct device *d = CONTAINER_OF(pos, struct device, link);
		void *state;

		if (!is_in(d->class, scope))
			continue;
		if (i >= s->nr_items)
			return err_set(e, EINVAL, "the state list lacks device '%s' %u",
				       d->class->name, d->instance_id);
		/* Each into its own: the list was made before, and nothing may have come or gone. */
		if (s->items[i].desc != d->class->state ||
		    s->items[i].instance_id != d->instance_id)
			return err_set(e, EINVAL, "the state list has '%s' %u for device '%s' %u",
				       s->items[i].idstr, s->items[i].instance_id, d->class->name,
				       d->instance_id);
		state = s->items[i++].state;
		r = fn(d, state, e);
		if (r)
			return err_prefix(e, "device '%s' %u", d->class->name, d->instance_id);
	}
	return 0;
}

int vm_save_state(struct vm *vm, enum vm_state_scope scope, struct snapshot *s, struct err *e)
{
	int r = scope == VM_STATE_ALL ? vcpu_run_on_all(vm, save_vcpu, s, e) : 0;

	return r ? r : each_device(vm, scope, s, save_device_item, e);
}

int vm_load_state(struct vm *vm, enum vm_state_scope scope, struct snapshot *s, struct err *e)
{
	struct load load = { .s = s };
	int r = each_device(vm, scope, s, check_device, e);

	if (!r && scope == VM_STATE_ALL)
		r = find_time_shift(vm, &load, e);
	if (!r && scope == VM_STATE_ALL)
		r = vcpu_run_on_all(vm, load_vcpu, &load, e);
	return r ? r : each_device(vm, scope, s, load_device, e);
}

int vm_list_kept(unsigned int nr_vcpus, struct snapshot *s, struct err *e)
{
	int r = 0;

	for (unsigned int i = 0; !r && i < nr_vcpus; i++) {
		r = snapshot_add(s, vcpu_caps_desc.name, i, &vcpu_caps_desc, e);
		if (!r)
			r = snapshot_add(s, vcpu_state_desc.name, i, &vcpu_state_desc, e);
		if (!r)
			r = snapshot_add(s, vcpu_apic_state_desc.name, i, &vcpu_apic_state_desc, e);
	}
	return r;
}

void vm_save_kept(const struct vm *vm, struct snapshot *s)
{
	for (unsigned int i = 0; i < vm->nr_vcpus; i++)
		vcpu_save_kept(vm->vcpus[i], s->items[3 * i].state, s->items[3 * i + 1].state,
			       s->items[3 * i + 2].state);
}
