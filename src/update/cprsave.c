/* SPDX-License-Identifier: MIT */
/* The one-shot forms of an update: cprsave. */
#include <errno.h>
#include <stdlib.h>

#include "base/util.h"
#include "host/process.h"
#include "machine/vm.h"
#include "update/handover.h"

#define WRAPPER "baton-exec"

/* Our own command line, with the wrapper as the program where there is one. */
static char **restart_command(char *const *argv)
{
	char **command;
	size_t n = 0;

	while (argv[n])
		n++;
	command = calloc(n + 1, sizeof(*command));
	for (size_t i = 0; command && i < n; i++)
		command[i] = argv[i];
	if (command && process_in_path(WRAPPER))
		command[0] = (char *)WRAPPER;
	return command;
}

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
	char **command = restart_command(m->argv);
	struct channel c;
	int r;

	if (!command)
		return err_set(e, ENOMEM, "no memory for a command line");
	r = channel_set_file(&c, file, e);
	if (!r)
		r = migration_check(m, mode, command, &c, NULL, e);
	if (r) {
		free(command);
		return r;
	}
	free(m->own_command);
	m->own_command = command;
	m->ignore_shared = any_reopenable(m->vm);
	m->wait_for_load = how == CPRSAVE_RESTART;
	m->quit_when_saved = how == CPRSAVE_REBOOT;
	return migration_begin(m, mode, command, &c, NULL, e);
}
