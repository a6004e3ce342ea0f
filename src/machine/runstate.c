/* SPDX-License-Identifier: MIT */
/* Run states of a machine and the allowed changes between them. */
#include <stdint.h>
#include <string.h>

#include "base/util.h"
#include "machine/runstate.h"

#define TO(s) (1u << RUNSTATE_##s)

/* Per state: its name and where it may go. */
static const struct {
	const char *name;
	uint32_t to;
} table[RUNSTATE_COUNT] = {
	[RUNSTATE_PRELAUNCH] = { "prelaunch", TO(RUNNING) | TO(FINISH_MIGRATE) | TO(INMIGRATE) |
						      TO(SUSPENDED) | TO(INTERNAL_ERROR) },
	[RUNSTATE_INMIGRATE] = { "inmigrate",
				 TO(INTERNAL_ERROR) | TO(PAUSED) | TO(RUNNING) | TO(SHUTDOWN) |
					 TO(SUSPENDED) | TO(FINISH_MIGRATE) | TO(PRELAUNCH) |
					 TO(POSTMIGRATE) | TO(IO_ERROR) | TO(WATCHDOG) },
	[RUNSTATE_RUNNING] = { "running", TO(INTERNAL_ERROR) | TO(PAUSED) | TO(FINISH_MIGRATE) |
						  TO(SHUTDOWN) | TO(SUSPENDED) | TO(IO_ERROR) |
						  TO(WATCHDOG) },
	[RUNSTATE_IO_ERROR] = { "io-error", TO(RUNNING) | TO(FINISH_MIGRATE) | TO(PAUSED) |
						    TO(PRELAUNCH) | TO(INTERNAL_ERROR) },
	[RUNSTATE_PAUSED] = { "paused", TO(RUNNING) | TO(FINISH_MIGRATE) | TO(POSTMIGRATE) |
						TO(PRELAUNCH) | TO(SUSPENDED) |
						TO(INTERNAL_ERROR) },
	[RUNSTATE_SUSPENDED] = { "suspended", TO(RUNNING) | TO(FINISH_MIGRATE) | TO(PRELAUNCH) |
						      TO(PAUSED) | TO(SHUTDOWN) |
						      TO(INTERNAL_ERROR) },
	[RUNSTATE_FINISH_MIGRATE] = { "finish-migrate", TO(RUNNING) | TO(PAUSED) | TO(POSTMIGRATE) |
								TO(PRELAUNCH) | TO(INTERNAL_ERROR) |
								TO(SHUTDOWN) | TO(SUSPENDED) |
								TO(IO_ERROR) | TO(WATCHDOG) },
	[RUNSTATE_POSTMIGRATE] = { "postmigrate", TO(RUNNING) | TO(FINISH_MIGRATE) | TO(PRELAUNCH) |
							  TO(SUSPENDED) },
	[RUNSTATE_SHUTDOWN] = { "shutdown", TO(PAUSED) | TO(FINISH_MIGRATE) | TO(PRELAUNCH) },
	[RUNSTATE_INTERNAL_ERROR] = { "internal-error",
				      TO(PAUSED) | TO(FINISH_MIGRATE) | TO(PRELAUNCH) },
	[RUNSTATE_WATCHDOG] = { "watchdog", TO(RUNNING) | TO(FINISH_MIGRATE) | TO(PRELAUNCH) |
						    TO(PAUSED) | TO(INTERNAL_ERROR) },
};

const char *runstate_name(enum runstate s)
{
	return table[s].name;
}

bool runstate_parse(const char *name, enum runstate *out)
{
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		if (!strcmp(table[i].name, name)) {
			*out = (enum runstate)i;
			return true;
		}
	}
	return false;
}

bool runstate_may_change(enum runstate from, enum runstate to)
{
	return table[from].to & (1u << to);
}

bool runstate_is_live(enum runstate s)
{
	return s == RUNSTATE_RUNNING || s == RUNSTATE_SUSPENDED;
}

enum runstate runstate_after_start(bool was_suspended)
{
	return was_suspended ? RUNSTATE_SUSPENDED : RUNSTATE_RUNNING;
}

bool runstate_remember_suspended(enum runstate from, enum runstate to, bool was_suspended)
{
	switch (to) {
	case RUNSTATE_RUNNING:
	case RUNSTATE_SUSPENDED:
	case RUNSTATE_PRELAUNCH:
		/* In these the state itself says all. */
		return false;
	default:
		return was_suspended || from == RUNSTATE_SUSPENDED;
	}
}
