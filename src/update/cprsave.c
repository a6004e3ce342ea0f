/* SPDX-License-Identifier: MIT */
/* The one-shot forms of an update: cprsave. */
#include "base/util.h"
#include "host/process.h"
#include "machine/vm.h"
#include "update/handover.h"

#define WRAPPER "baton-exec"

static bool any_reopenable(const struct vm *vm)
{
	const struct ram_block *b = NULL;

	while ((b = memmap_next_block(&vm->mem, b)))
		if (ram_block_is_reopenable(b))
			return true;
	return false;
}

int migration_cprsave(struct migration *m, const char *file, enum cprsave_mode how, struct err *e)
{
	enum migration_mode mode = how == CPRSAVE_RESTART ? MODE_CPR_EXEC : MODE_CPR_REBOOT;
	struct channel c;
	int r;

	r = channel_set_file(&c, file, e);
	if (!r)
		r = migration_check(m, mode, m->argv, &c, NULL, e);
	/* Our own command line, with the wrapper as the program where there is one. */
	if (!r)
		r = migration_set_command(m, m->argv, process_in_path(WRAPPER) ? WRAPPER : NULL, e);
	if (r)
		return r;
	m->ignore_shared = any_reopenable(m->vm);
	m->wait_for_load = how == CPRSAVE_RESTART;
	m->quit_when_saved = how == CPRSAVE_REBOOT;
	return migration_begin(m, mode, &c, NULL, e);
}
