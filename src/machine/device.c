/* SPDX-License-Identifier: MIT */
/* What the machine knows of a device: its class, its state table and its hooks. */
#include <string.h>

#include "base/util.h"
#include "machine/device.h"
#include "machine/vm.h"

void device_add(struct vm *vm, struct device *d, const struct device_class *class)
{
	struct list *pos, *tmp;

	d->vm = vm;
	d->class = class;
	d->instance_id = 0;
	list_for_each(pos, tmp, &vm->devices) {
		const struct device *o = CONTAINER_OF(pos, struct device, link);

		if (!strcmp(o->class->name, class->name))
			d->instance_id++;
	}
	list_add(&vm->devices, &d->link);
	if (class->reset)
		class->reset(d);
}

void *device_state(const struct device *d)
{
	return (char *)d + d->class->state_offset;
}
