/* SPDX-License-Identifier: MIT */
/* The table of commands that QMP offers and HMP is made of. */
#include <errno.h>
#include <string.h>

#include "base/util.h"
#include "ctl/commands.h"

static const struct command *const tables[] = {
	monitor_commands, machine_commands, migration_commands, cpr_commands,
	fd_commands,      object_commands,  device_commands,    trace_commands,
	net_commands,     block_commands,   pci_commands,       display_commands,
};

const struct command *command_find(const char *name)
{
	const struct command *c;

	for (size_t i = 0; i < ARRAY_SIZE(tables); i++) {
		for (c = tables[i]; c->name; c++) {
			if (!strcmp(c->name, name))
				return c;
		}
	}
	return NULL;
}

void command_for_each(void (*fn)(const struct command *c, void *arg), void *arg)
{
	const struct command *c;

	for (size_t i = 0; i < ARRAY_SIZE(tables); i++) {
		for (c = tables[i]; c->name; c++)
			fn(c, arg);
	}
}

int command_run(const struct command *c, struct ctl *ctl, json_t *args, json_t **ret, struct err *e)
{
	const struct schema own_args = { .member = c->args };
	const struct schema *schema = c->schema ? c->schema : c->args ? &own_args : &schema_empty;
	json_t *value = NULL;
	json_t *own = NULL;
	int r = 0;

	if (!args) {
		own = json_object();
		args = own;
	}
	if (!args)
		return err_set(e, ENOMEM, "out of memory");
	if (!c->own_check)
		r = schema_check(schema, args, e);
	if (r == 0)
		r = c->run(ctl, args, &value, e);
	json_decref(own);
	if (r < 0) {
		json_decref(value);
		return r;
	}
	*ret = value ? value : json_object();
	return *ret ? 0 : err_set(e, ENOMEM, "out of memory");
}

int command_run_named(struct ctl *ctl, const char *name, json_t *args, json_t **ret, struct err *e)
{
	json_t *value = NULL;
	int r;

	r = command_run(command_find(name), ctl, args, &value, e);
	json_decref(args);
	if (r == 0 && ret)
		*ret = value;
	else
		json_decref(value);
	return r;
}
