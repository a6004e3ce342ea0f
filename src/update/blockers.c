/* SPDX-License-Identifier: MIT */
/* What stands in the way of an update, found before the guest is touched. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "machine/device.h"
#include "machine/vm.h"
#include "update/blockers.h"

/*
 * DOC: theory of operation
 *
 * One table says who may object, and to which modes. An objection is not kept but asked
 * for when somebody wants to know, so it cannot be forgotten or outlive its cause.
 */

enum {
	IN_PLACE = 1 << MODE_CPR_TRANSFER | 1 << MODE_CPR_EXEC,
	ALL_MODES = IN_PLACE | 1 << MODE_NORMAL | 1 << MODE_CPR_REBOOT | 1 << MODE_CPR_GRAFT,
};

/* Where reasons are gathered. */
struct reasons {
	char **out;
	size_t n, max;
};

static void add(struct reasons *r, const char *fmt, const char *name)
	__attribute__((format(printf, 2, 0)));

static void add(struct reasons *r, const char *fmt, const char *name)
{
	if (r->n < r->max && asprintf(&r->out[r->n], fmt, name) >= 0)
		r->n++;
}

/* Where there is a stream, private RAM goes into it; a graft leaves it mapped. */
static void private_ram(const struct vm *vm, struct reasons *r)
{
	const struct ram_block *b = NULL;

	while ((b = memmap_next_block(&vm->mem, b)))
		if (!ram_block_is_preserved(b))
			add(r,
			    "Memory region %s is not compatible with CPR. share=on is required for "
			    "memory-backend objects, and aux-ram-share=on is required.",
			    b->name);
}

static void unmigratable_devices(const struct vm *vm, struct reasons *r)
{
	const char *names[BLOCKERS_MAX];
	size_t n = device_blockers(vm, names, ARRAY_SIZE(names));

	for (size_t i = 0; i < n && i < ARRAY_SIZE(names); i++)
		add(r, "non-migratable device: %s", names[i]);
}

static const struct {
	unsigned int modes; /* bits 1 << enum migration_mode */
	void (*list)(const struct vm *vm, struct reasons *r);
} sources[] = {
	{ ALL_MODES, unmigratable_devices },
	{ IN_PLACE, private_ram },
};

size_t blockers_list(const struct vm *vm, enum migration_mode mode, char **out, size_t max)
{
	struct reasons r = { .out = out, .max = max };

	for (size_t i = 0; i < ARRAY_SIZE(sources); i++)
		if (sources[i].modes & 1u << mode)
			sources[i].list(vm, &r);
	return r.n;
}

int blockers_check(const struct vm *vm, enum migration_mode mode, struct err *e)
{
	char *reasons[BLOCKERS_MAX], text[sizeof(e->msg)] = "";
	size_t n = blockers_list(vm, mode, reasons, ARRAY_SIZE(reasons)), used = 0;

	for (size_t i = 0; i < n; i++) {
		used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%s", i ? " " : "",
					 reasons[i]);
		used = MIN(used, sizeof(text) - 1);
		free(reasons[i]);
	}
	return n ? err_set(e, EBUSY, "%s", text) : 0;
}
