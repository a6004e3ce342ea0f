/* SPDX-License-Identifier: MIT */
/* The table of commands that QMP offers and HMP is made of. */
#ifndef CTL_COMMANDS_H
#define CTL_COMMANDS_H

#include <jansson.h>

#include "base/err.h"
#include "ctl/schema.h"

struct ctl;

/* The code of an error that clients are to see as class DeviceNotFound; no errno value. */
#define COMMAND_NO_DEVICE 10000

/*
 * A handler gets arguments that passed its schema. It returns 0 and may put an
 * owned value in *@ret (left NULL it means an empty object), or fills @e.
 */
struct command {
	const char *name;
	const struct schema_member *args;    /* ends with a NULL name; NULL: none */
	const struct schema *schema;         /* in place of @args, for arguments with a tag */
	const struct schema_member *returns; /* its name is no matter; NULL: an empty object */
	/* The handler checks the arguments itself, against another table. */
	bool own_check;
	/* Main loop's thread, machine lock held. @args stays the caller's. */
	int (*run)(struct ctl *ctl, json_t *args, json_t **ret, struct err *e);
};

/* Each file of handlers has one table, which ends with a NULL name. */
extern const struct command fd_commands[];
extern const struct command machine_commands[];
extern const struct command migration_commands[];
extern const struct command cpr_commands[];
extern const struct command monitor_commands[];
extern const struct command trace_commands[];
extern const struct command object_commands[];
extern const struct command net_commands[];
extern const struct command block_commands[];
extern const struct command device_commands[];
extern const struct command pci_commands[];
extern const struct command display_commands[];

/* NULL if there is none. */
const struct command *command_find(const char *name);
/* Calls @fn for each command, in no particular order. */
void command_for_each(void (*fn)(const struct command *c, void *arg), void *arg);

/*
 * Checks @args, an object or NULL, and runs the command. *@ret is owned by the caller and
 * never NULL on success.
 */
int command_run(const struct command *c, struct ctl *ctl, json_t *args, json_t **ret,
		struct err *e);

/* command_run() by name, for our own use; @args is released. @ret may be NULL. */
int command_run_named(struct ctl *ctl, const char *name, json_t *args, json_t **ret, struct err *e);

#endif
