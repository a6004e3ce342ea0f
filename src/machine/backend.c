/* SPDX-License-Identifier: MIT */
/* Back ends by name: what -drive, -netdev and -chardev make and a device is connected to. */
#include <errno.h>
#include <string.h>

#include "base/util.h"
#include "machine/backend.h"
#include "machine/vm.h"

static const char *const kind_names[BACKEND_KINDS] = {
	[BACKEND_DRIVE] = "drive",
	[BACKEND_NET] = "netdev",
	[BACKEND_CHARDEV] = "chardev",
};

const char *backend_kind_name(enum backend_kind kind)
{
	return kind_names[kind];
}

struct backend *backend_find(const struct vm *vm, enum backend_kind kind, const char *id)
{
	for (const struct list *pos = vm->backends.next; pos != &vm->backends; pos = pos->next) {
		struct backend *b = CONTAINER_OF(pos, struct backend, link);

		if (b->kind == kind && !strcmp(b->id, id))
			return b;
	}
	return NULL;
}

int backend_add(struct vm *vm, struct backend *b, struct err *e)
{
	if (backend_find(vm, b->kind, b->id))
		return err_set(e, EEXIST, "Duplicate ID '%s' for %s", b->id, kind_names[b->kind]);
	b->user = NULL;
	list_add(&vm->backends, &b->link);
	return 0;
}

void backend_del(struct backend *b)
{
	if (b->link.next)
		list_del(&b->link);
}

int backend_claim(struct vm *vm, enum backend_kind kind, const char *id, const char *user,
		  struct backend **out, struct err *e)
{
	struct backend *b = backend_find(vm, kind, id);

	if (!b)
		return err_set(e, ENOENT, "there is no %s '%s'", kind_names[kind], id);
	if (b->user)
		return err_set(e, EBUSY, "%s '%s' is used by device '%s' already", kind_names[kind],
			       id, b->user);
	b->user = user;
	*out = b;
	return 0;
}

void backend_release(struct backend *b)
{
	b->user = NULL;
}
