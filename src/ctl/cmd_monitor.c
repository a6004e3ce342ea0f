/* SPDX-License-Identifier: MIT */
/* QMP commands about the monitor itself. */
#include <errno.h>

#include "base/buf.h"
#include "base/util.h"
#include "ctl/commands.h"
#include "ctl/hmp.h"
#include "ctl/monitor.h"

static const char *const qmp_capability_names[] = { "oob", NULL };

static const struct schema_member capabilities_args[] = {
	{ "enable", SCHEMA_ENUMLIST, .optional = true, .values = qmp_capability_names },
	{ .name = NULL },
};

static const struct schema_member hmp_args[] = {
	{ "command-line", SCHEMA_STR, .optional = false },
	{ "cpu-index", SCHEMA_UINT, .optional = true },
	{ .name = NULL },
};

/* The session does what is left to do: it starts taking other commands. */
static int qmp_capabilities(struct ctl *ctl, json_t *args, json_t **ret, struct err *e)
{
	(void)ctl;
	(void)ret;
	if (json_array_size(json_object_get(args, "enable")))
		return err_set(e, EINVAL, "Capability oob not available");
	return 0;
}

static int query_version(struct ctl *ctl, json_t *args, json_t **ret, struct err *e)
{
	(void)ctl;
	(void)args;
	(void)e;
	*ret = json_pack("{s:{s:i, s:i, s:i}, s:s}", "qemu", "major", CTL_QEMU_MAJOR, "minor",
			 CTL_QEMU_MINOR, "micro", CTL_QEMU_MICRO, "package", "baton-" CTL_VERSION);
	return 0;
}

static void add_name(const struct command *c, void *arg)
{
	json_array_append_new(arg, json_pack("{s:s}", "name", c->name));
}

static int query_commands(struct ctl *ctl, json_t *args, json_t **ret, struct err *e)
{
	(void)ctl;
	(void)args;
	(void)e;
	*ret = json_array();
	command_for_each(add_name, *ret);
	return 0;
}

static int human_monitor_command(struct ctl *ctl, json_t *args, json_t **ret, struct err *e)
{
	AUTO_BUF out = { 0 };

	hmp_run_line(ctl, json_string_value(json_object_get(args, "command-line")), &out, NULL);
	if (out.failed)
		return err_set(e, ENOMEM, "out of memory");
	*ret = json_stringn((const char *)out.data, out.len);
	if (!*ret)
		*ret = json_string("");
	return 0;
}

const struct command monitor_commands[] = {
	{ .name = "qmp_capabilities", .args = capabilities_args, .run = qmp_capabilities },
	{ .name = "query-version", .run = query_version },
	{ .name = "query-commands", .run = query_commands },
	{ .name = "human-monitor-command", .args = hmp_args, .run = human_monitor_command },
	{ .name = NULL },
};
