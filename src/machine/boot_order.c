/* SPDX-License-Identifier: MIT */
/* Which devices the firmware is to try, in which order: the property bootindex. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "machine/boot_order.h"
#include "machine/vm.h"

int boot_order_add(struct vm *vm, struct boot_entry *b, uint64_t index, const char *path,
		   struct err *e)
{
	struct list *pos, *tmp, *before = &vm->boot_order;

	if (index == BOOT_INDEX_NONE)
		return 0;
	if (strlen(path) >= sizeof(b->path))
		return err_set(e, ENAMETOOLONG, "the path '%s' is too long for firmware", path);
	list_for_each(pos, tmp, &vm->boot_order) {
		const struct boot_entry *o = CONTAINER_OF(pos, struct boot_entry, link);

		if (o->index == index)
			return err_set(e, EEXIST, "The bootindex %llu has already been used",
				       (unsigned long long)index);
		if (o->index > index) {
			before = pos;
			break;
		}
	}
	b->index = index;
	snprintf(b->path, sizeof(b->path), "%s", path);
	list_add(before, &b->link);
	return 0;
}

void boot_order_del(struct boot_entry *b)
{
	if (b->link.next)
		list_del(&b->link);
	b->link.next = NULL;
}

void boot_order_text(const struct vm *vm, struct buf *out)
{
	struct list *pos, *tmp;
	bool first = true;

	list_for_each(pos, tmp, &vm->boot_order) {
		if (!first)
			buf_put_u8(out, '\n');
		buf_put_str(out, CONTAINER_OF(pos, struct boot_entry, link)->path);
		first = false;
	}
	if (!first)
		buf_put_u8(out, 0);
}
