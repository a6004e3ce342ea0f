/* SPDX-License-Identifier: MIT */
/* Displays of the machine: what one can take a picture of. */
#include <string.h>

#include "base/util.h"
#include "machine/device.h"
#include "machine/display.h"
#include "machine/vm.h"

void display_add(struct vm *vm, struct display *d)
{
	list_add(&vm->displays, &d->link);
}

void display_del(struct display *d)
{
	list_del(&d->link);
}

struct display *display_find(const struct vm *vm, const char *id)
{
	struct list *pos, *tmp;

	list_for_each(pos, tmp, &vm->displays) {
		struct display *d = CONTAINER_OF(pos, struct display, link);

		if (!id || !strcmp(d->dev->id, id))
			return d;
	}
	return NULL;
}
