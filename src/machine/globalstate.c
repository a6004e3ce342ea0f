/* SPDX-License-Identifier: MIT */
/* The run state as it travels: QEMU's globalstate section, a state without a device. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "machine/globalstate.h"

static const struct vs_field global_state_fields[] = {
	VS_FIELD_RANGE(struct global_state, size, 1, SIZEOF_FIELD(struct global_state, runstate)),
	VS_BUFFER(struct global_state, runstate),
	VS_FIELD(struct global_state, has_vm_was_suspended),
	VS_FIELD(struct global_state, vm_was_suspended),
	VS_BUFFER(struct global_state, unused),
	VS_END,
};

static int check_global_state(const void *state, struct err *e)
{
	const struct global_state *g = state;
	enum runstate s;

	if (g->runstate[g->size - 1] || strlen((const char *)g->runstate) != g->size - 1 ||
	    !runstate_parse((const char *)g->runstate, &s))
		return err_set(e, EINVAL, "the state names a run state that is unknown here");
	/* These are never saved: a guest could not leave them again. */
	if (s == RUNSTATE_INMIGRATE || s == RUNSTATE_FINISH_MIGRATE || s == RUNSTATE_POSTMIGRATE)
		return err_set(e, EINVAL,
			       "the state names run state '%s', which no guest is saved in",
			       runstate_name(s));
	return 0;
}

const struct vs_desc global_state_desc = {
	.name = "globalstate",
	.version = 1,
	.min_version = 1,
	.size = sizeof(struct global_state),
	.fields = global_state_fields,
	.check = check_global_state,
};

void global_state_set(struct global_state *g, enum runstate s, bool was_suspended)
{
	const char *name = runstate_name(s);

	*g = (struct global_state){
		.has_vm_was_suspended = true,
		.vm_was_suspended = was_suspended,
		.size = (uint32_t)strlen(name) + 1,
	};
	memcpy(g->runstate, name, g->size);
}

enum runstate global_state_get(const struct global_state *g, bool *was_suspended)
{
	enum runstate s = RUNSTATE_PAUSED;

	/* check_global_state() has parsed it before. */
	runstate_parse((const char *)g->runstate, &s);
	*was_suspended =
		s == RUNSTATE_SUSPENDED || (g->has_vm_was_suspended && g->vm_was_suspended);
	return s;
}
