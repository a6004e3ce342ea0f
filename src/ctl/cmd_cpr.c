/* SPDX-License-Identifier: MIT */
/* The one-shot update commands: cprsave, cprload. */
#include <string.h>

#include "ctl/commands.h"
#include "ctl/monitor.h"

static const char *const cprsave_modes[] = { "reboot", "restart", NULL };

static const struct schema_member cprsave_args[] = {
	{ "file", SCHEMA_STR, .optional = false },
	{ "mode", SCHEMA_ENUM, .optional = false, .values = cprsave_modes },
	{ .name = NULL },
};

static const struct schema_member cprload_args[] = {
	{ "file", SCHEMA_STR, .optional = false },
	{ .name = NULL },
};

static int cprsave(struct ctl *ctl, json_t *args, json_t **ret, struct err *e)
{
	const char *mode = json_string_value(json_object_get(args, "mode"));

	(void)ret;
	return migration_cprsave(ctl->config.migration,
				 json_string_value(json_object_get(args, "file")),
				 strcmp(mode, "restart") ? CPRSAVE_REBOOT : CPRSAVE_RESTART, e);
}

static int cprload(struct ctl *ctl, json_t *args, json_t **ret, struct err *e)
{
	(void)ret;
	return migration_cprload(ctl->config.migration,
				 json_string_value(json_object_get(args, "file")), e);
}

const struct command cpr_commands[] = {
	{ .name = "cprsave", .args = cprsave_args, .run = cprsave },
	{ .name = "cprload", .args = cprload_args, .run = cprload },
	{ .name = NULL },
};
