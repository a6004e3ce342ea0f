/* SPDX-License-Identifier: MIT */
/* What the machine knows of a device: its class, its state table and its hooks. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "machine/device.h"
#include "machine/device_list.h"
#include "machine/vm.h"

/* The place of a device whose state is ours: before the first whose state is KVM's. */
static struct list *place_of(struct vm *vm, const struct device_class *class)
{
	struct list *pos = vm->devices.next;

	if (class->in_kvm)
		return &vm->devices;
	while (pos != &vm->devices && !CONTAINER_OF(pos, struct device, link)->class->in_kvm)
		pos = pos->next;
	return pos;
}

void device_add(struct vm *vm, struct device *d, const struct device_class *class)
{
	struct list *pos, *tmp;

	d->vm = vm;
	d->class = class;
	d->instance_id = 0;
	list_for_each(pos, tmp, &vm->devices) {
		const struct device *o = CONTAINER_OF(pos, struct device, link);

		if (!strcmp(o->class->name, class->name) && !strcmp(o->path, d->path) &&
		    o->instance_id >= d->instance_id)
			d->instance_id = o->instance_id + 1;
	}
	/* At the tail of a list that begins there. */
	list_add(place_of(vm, class), &d->link);
	/* What KVM keeps of an adopted machine is the guest's, not to be touched. */
	if (class->reset && !(vm->graft && class->in_kvm))
		class->reset(d);
}

void device_destroy(struct device *d)
{
	struct device_spec *spec = d->spec;

	list_del(&d->link);
	if (d->class->destroy)
		d->class->destroy(d);
	if (spec)
		free(spec->config);
	free(spec);
}

void device_remove(struct device *d)
{
	char object[DEVICE_OBJECT_MAX];
	struct vm *vm = d->vm;
	json_t *removed;

	d->leaving = vm->devices_held;
	if (d->leaving)
		return;
	/* The next image's command line may be the one that names it. */
	if (d->spec && !d->hotplugged) {
		removed = device_to_json(d);
		device_list_add_removed(vm, removed);
		json_decref(removed);
	}
	device_object_path(d, object, sizeof(object));
	device_destroy(d);
	vm_notify(vm, VM_EVENT_DEVICE_DELETED, object);
}

void device_unplug_failed(const struct device *d)
{
	char object[DEVICE_OBJECT_MAX];

	device_object_path(d, object, sizeof(object));
	vm_notify(d->vm, VM_EVENT_UNPLUG_ERROR, object);
}

void device_object_path(const struct device *d, char *out, size_t size)
{
	if (*d->id)
		snprintf(out, size, "/machine/peripheral/%s", d->id);
	else
		snprintf(out, size, "/machine/peripheral-anon/device[%u]", d->number);
}

struct device *device_find(const struct vm *vm, const char *id)
{
	for (const struct list *pos = vm->devices.next; pos != &vm->devices; pos = pos->next) {
		struct device *d = CONTAINER_OF(pos, struct device, link);

		if (*id && !strcmp(d->id, id))
			return d;
	}
	return NULL;
}

void device_idstr(const struct device *d, char *out, size_t size)
{
	snprintf(out, size, "%s%s%s", d->path, *d->path ? "/" : "", d->class->name);
}

int device_quiesce_all(struct vm *vm, uint64_t deadline_ns, struct err *e)
{
	int r = 0;

	for (const struct list *pos = vm->devices.next; !r && pos != &vm->devices;
	     pos = pos->next) {
		struct device *d = CONTAINER_OF(pos, struct device, link);

		if (d->class->quiesce)
			r = d->class->quiesce(d, deadline_ns, e);
		if (r)
			return err_prefix(e, "device '%s' cannot be brought to rest",
					  *d->id ? d->id : d->class->name);
	}
	return 0;
}

bool device_class_is_migratable(const struct device_class *class)
{
	return class->state ? !class->state->unmigratable : class->stateless;
}

size_t device_blockers(const struct vm *vm, const char **names, size_t max)
{
	size_t n = 0;

	for (const struct list *pos = vm->devices.next; pos != &vm->devices; pos = pos->next) {
		const struct device *d = CONTAINER_OF(pos, struct device, link);

		if (device_class_is_migratable(d->class))
			continue;
		if (n < max)
			names[n] = d->class->name;
		n++;
	}
	return n;
}

int device_class_check_migratable(const struct device_class *class, struct err *e)
{
	if (device_class_is_migratable(class))
		return 0;
	return err_set(e, EOPNOTSUPP,
		       "Device %s is not migratable, but --only-migratable was specified",
		       class->name);
}

int device_check_all_migratable(const struct vm *vm, struct err *e)
{
	int r = 0;

	for (const struct list *pos = vm->devices.next; !r && pos != &vm->devices; pos = pos->next)
		r = device_class_check_migratable(CONTAINER_OF(pos, struct device, link)->class, e);
	return r;
}

void *device_state(const struct device *d)
{
	return (char *)d + d->class->state_offset;
}
