/* SPDX-License-Identifier: MIT */
/* What happens when a watchdog of the guest runs out. */
#include <string.h>

#include "machine/vm.h"
#include "machine/watchdog.h"

static const char *const names[] = {
	[WATCHDOG_RESET] = "reset",       [WATCHDOG_SHUTDOWN] = "shutdown",
	[WATCHDOG_POWEROFF] = "poweroff", [WATCHDOG_PAUSE] = "pause",
	[WATCHDOG_DEBUG] = "debug",       [WATCHDOG_NONE] = "none",
};

const char *watchdog_action_name(enum watchdog_action a)
{
	return names[a];
}

bool watchdog_action_parse(const char *name, enum watchdog_action *out)
{
	for (int a = 0; a < WATCHDOG_ACTIONS; a++)
		if (!strcmp(names[a], name)) {
			*out = (enum watchdog_action)a;
			return true;
		}
	return false;
}

void watchdog_expired(struct vm *vm)
{
	vm->watchdog_expired = true;
	loop_post(vm->loop, &vm->request_work);
}
