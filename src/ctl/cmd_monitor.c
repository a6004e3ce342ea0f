/* SPDX-License-Identifier: MIT */
/* QMP commands about the monitor itself. */
#include <errno.h>

#include "base/buf.h"
#include "base/util.h"
#include "ctl/commands.h"
#include "ctl/hmp.h"
#include "ctl/introspect.h"
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

static const struct schema_member triple_members[] = {
	SCHEMA_MEMBER("major", SCHEMA_INT),
	SCHEMA_MEMBER("minor", SCHEMA_INT),
	SCHEMA_MEMBER("micro", SCHEMA_INT),
	{ .name = NULL },
};
static const struct schema triple = { .member = triple_members };
static const struct schema_member version_members[] = {
	{ "qemu", SCHEMA_STRUCT, .members = &triple },
	SCHEMA_MEMBER("package", SCHEMA_STR),
	{ .name = NULL },
};
static const struct schema version = { .member = version_members };
static const struct schema_member version_ret =
	SCHEMA_MEMBER(NULL, SCHEMA_STRUCT, .members = &version);

static const struct schema_member command_members[] = {
	SCHEMA_MEMBER("name", SCHEMA_STR),
	{ .name = NULL },
};
static const struct schema command_info = { .member = command_members };
static const struct schema_member commands_ret =
	SCHEMA_MEMBER(NULL, SCHEMA_LIST, .members = &command_info);

static const struct schema_member schema_ret =
	SCHEMA_MEMBER(NULL, SCHEMA_LIST, .members = &introspect_schema);
static const struct schema_member hmp_ret = SCHEMA_MEMBER(NULL, SCHEMA_STR);

/* The session does what is left to do: it starts taking other commands. */
static int qmp_capabilities(struct ctl *ctl, json_t *args, json_t **ret, struct err *e)
{
	(void)ctl;
	(void)args;
	(void)ret;
	(void)e;
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

static int query_qmp_schema(struct ctl *ctl, json_t *args, json_t **ret, struct err *e)
{
	(void)ctl;
	(void)args;
	*ret = introspect_build();
	return *ret ? 0 : err_set(e, ENOMEM, "out of memory");
}

static int human_monitor_command(struct ctl *ctl, json_t *args, json_t **ret, struct err *e)
{
	json_t *cpu = json_object_get(args, "cpu-index");
	AUTO_BUF out = { 0 };

	if (cpu && json_integer_value(cpu) >= ctl->config.vm->nr_vcpus)
		return err_set(e, EINVAL, "Parameter 'cpu-index' expects a CPU number");
	hmp_run_line_on(ctl, json_string_value(json_object_get(args, "command-line")),
			(unsigned int)json_integer_value(cpu), &out, NULL);
	if (out.failed)
		return err_set(e, ENOMEM, "out of memory");
	*ret = json_stringn((const char *)out.data, out.len);
	if (!*ret)
		*ret = json_string("");
	return 0;
}

const struct command monitor_commands[] = {
	{ .name = "qmp_capabilities", .args = capabilities_args, .run = qmp_capabilities },
	{ .name = "query-version", .returns = &version_ret, .run = query_version },
	{ .name = "query-commands", .returns = &commands_ret, .run = query_commands },
	{ .name = "query-qmp-schema", .returns = &schema_ret, .run = query_qmp_schema },
	{ .name = "human-monitor-command",
	  .args = hmp_args,
	  .returns = &hmp_ret,
	  .run = human_monitor_command },
	{ .name = NULL },
};
