/* SPDX-License-Identifier: MIT */
/* The human monitor's commands: lines to JSON arguments, JSON answers to text. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/parse.h"
#include "base/util.h"
#include "ctl/cmd_trace.h"
#include "ctl/commands.h"
#include "ctl/hmp.h"
#include "ctl/json.h"
#include "ctl/monitor.h"
#include "ctl/params_json.h"

/* One line that is being run. */
struct hmp_call {
	struct ctl *ctl;
	struct buf *out;
	char *rest; /* what follows `info WHAT`  */
	bool *wait; /* NULL: nobody can wait */
};

/* A command gets the rest of the line without blanks around it. */
struct hmp_command {
	const char *name;
	const char *alias; /* NULL: none          */
	const char *qmp;   /* runs this, no answer */
	void (*run)(struct hmp_call *c, char *rest);
	const char *args;
	const char *help;
};

static void print(struct hmp_call *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Each newline becomes CR LF. */
static void print(struct hmp_call *c, const char *fmt, ...)
{
	AUTO_FREE char *text = NULL;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (n < 0) {
		text = NULL;
		return;
	}
	for (const char *p = text; *p; p++) {
		if (*p == '\n')
			buf_put_u8(c->out, '\r');
		buf_put_u8(c->out, (uint8_t)*p);
	}
}

/* Runs a QMP command; an error is printed and NULL returned. @args is released. */
static json_t *run_qmp(struct hmp_call *c, const char *name, json_t *args)
{
	struct err e = ERR_INIT;
	json_t *ret;

	if (command_run_named(c->ctl, name, args, &ret, &e) == 0)
		return ret;
	print(c, "Error: %s\n", e.msg);
	return NULL;
}

static const char *str(json_t *o, const char *name)
{
	const char *s = json_string_value(json_object_get(o, name));

	return s ? s : "";
}

static long long num(json_t *o, const char *name)
{
	return json_integer_value(json_object_get(o, name));
}

static void info_status(struct hmp_call *c)
{
	json_t *o = run_qmp(c, "query-status", NULL);
	bool running = json_is_true(json_object_get(o, "running"));
	const char *status = str(o, "status");

	print(c, "VM status: %s", running ? "running" : "paused");
	if (!running && strcmp(status, "paused"))
		print(c, " (%s)", status);
	print(c, "\n");
	json_decref(o);
}

static void info_migrate(struct hmp_call *c)
{
	json_t *o = run_qmp(c, "query-migrate", NULL);
	json_t *pause, *phase, *reason;
	size_t i;

	json_array_foreach(json_object_get(o, "blocked-reasons"), i, reason)
		print(c, "%s%s\n", i ? "  " : "Outgoing migration blocked:\n  ",
		      json_string_value(reason));
	if (json_object_get(o, "status")) {
		print(c, "Status: %s", str(o, "status"));
		if (json_object_get(o, "error-desc"))
			print(c, " (%s)", str(o, "error-desc"));
		print(c, "\n");
	}
	if (json_object_get(o, "total-time")) {
		print(c, "Time (ms): total=%lld, setup=%lld", num(o, "total-time"),
		      num(o, "setup-time"));
		if (json_object_get(o, "downtime"))
			print(c, ", down=%lld", num(o, "downtime"));
		print(c, "\n");
	}
	pause = json_object_get(o, "pause");
	if (pause) {
		print(c, "Pause (us): %lld", num(pause, "downtime-us"));
		json_array_foreach(json_object_get(pause, "phases"), i, phase)
			print(c, ", %s=%lld", str(phase, "name"), num(phase, "us"));
		print(c, "\n");
	}
	json_decref(o);
}

static void info_parameters(struct hmp_call *c)
{
	json_t *o = run_qmp(c, "query-migrate-parameters", NULL);
	const char *name;
	json_t *v, *item;
	size_t i;

	json_object_foreach(o, name, v)
	{
		print(c, "%s:", name);
		if (json_is_string(v) && *json_string_value(v))
			print(c, " %s", json_string_value(v));
		else if (json_is_string(v))
			print(c, " ''");
		else if (json_is_integer(v))
			print(c, " %lld", (long long)json_integer_value(v));
		else if (json_is_boolean(v))
			print(c, " %s", json_is_true(v) ? "on" : "off");
		else if (json_is_array(v) && !json_array_size(v))
			print(c, " ");
		json_array_foreach(v, i, item) print(c, " %s", json_string_value(item));
		print(c, "\n");
	}
	json_decref(o);
}

static void info_capabilities(struct hmp_call *c)
{
	json_t *list = run_qmp(c, "query-migrate-capabilities", NULL);
	json_t *v;
	size_t i;

	json_array_foreach(list, i, v)
		print(c, "%s: %s\n", str(v, "capability"),
		      json_is_true(json_object_get(v, "state")) ? "on" : "off");
	json_decref(list);
}

static void info_cpus(struct hmp_call *c)
{
	json_t *list = run_qmp(c, "query-cpus-fast", NULL);
	json_t *v;
	size_t i;

	json_array_foreach(list, i, v) print(c, "%c CPU #%lld: thread_id=%lld\n", i ? ' ' : '*',
					     num(v, "cpu-index"), num(v, "thread-id"));
	json_decref(list);
}

static void info_version(struct hmp_call *c)
{
	json_t *o = run_qmp(c, "query-version", NULL);
	json_t *v = json_object_get(o, "qemu");

	print(c, "%lld.%lld.%lld (%s)\n", num(v, "major"), num(v, "minor"), num(v, "micro"),
	      str(o, "package"));
	json_decref(o);
}

static void info_kvm(struct hmp_call *c)
{
	json_t *o = run_qmp(c, "query-kvm", NULL);

	print(c, "kvm support: %s\n",
	      json_is_true(json_object_get(o, "enabled")) ? "enabled" : "disabled");
	json_decref(o);
}

static void info_name(struct hmp_call *c)
{
	json_t *o = run_qmp(c, "query-name", NULL);

	if (json_object_get(o, "name"))
		print(c, "%s\n", str(o, "name"));
	json_decref(o);
}

static void info_uuid(struct hmp_call *c)
{
	json_t *o = run_qmp(c, "query-uuid", NULL);

	print(c, "%s\n", str(o, "UUID"));
	json_decref(o);
}

static void info_trace_events(struct hmp_call *c)
{
	hmp_info_trace_events(c->rest, c->out);
}

static const struct {
	const char *name;
	void (*run)(struct hmp_call *c);
	const char *help;
} infos[] = {
	{ "status", info_status, "show the run state" },
	{ "migrate", info_migrate, "show the last update" },
	{ "migrate_parameters", info_parameters, "show migration parameters" },
	{ "migrate_capabilities", info_capabilities, "show migration capabilities" },
	{ "cpus", info_cpus, "show the virtual CPUs" },
	{ "version", info_version, "show the version" },
	{ "kvm", info_kvm, "show whether KVM is used" },
	{ "name", info_name, "show the machine's name" },
	{ "trace-events", info_trace_events, "show trace events and whether they are on" },
	{ "uuid", info_uuid, "show the machine's UUID" },
};

/* Cuts the first word off @*p and returns it, "" at the end. */
static char *next_word(char **p)
{
	char *word = *p + strspn(*p, " \t");
	char *end = word + strcspn(word, " \t");

	*p = end + strspn(end, " \t");
	*end = '\0';
	return word;
}

static void cmd_info(struct hmp_call *c, char *rest)
{
	const char *what = next_word(&rest);

	for (size_t i = 0; i < ARRAY_SIZE(infos); i++) {
		if (!strcmp(infos[i].name, what)) {
			c->rest = rest;
			infos[i].run(c);
			return;
		}
	}
	if (*what)
		print(c, "unknown command: 'info %s'\n", what);
	for (size_t i = 0; !*what && i < ARRAY_SIZE(infos); i++)
		print(c, "info %s -- %s\n", infos[i].name, infos[i].help);
}

static json_t *uri_args(const char *uri)
{
	json_t *args = json_pack("{s:s}", "uri", uri);

	/* A text that JSON cannot hold is no URI either. */
	return args ? args : json_pack("{s:s}", "uri", "");
}

static bool update_has_ended(struct hmp_call *c)
{
	struct migration_info info;

	migration_info(c->ctl->config.migration, &info);
	return info.status == MIGRATION_COMPLETED || info.status == MIGRATION_FAILED ||
	       info.status == MIGRATION_CANCELLED;
}

static void cmd_migrate(struct hmp_call *c, char *rest)
{
	bool detach = false;
	json_t *ret;
	char *word;

	for (word = next_word(&rest); *word == '-'; word = next_word(&rest)) {
		if (strcmp(word, "-d")) {
			print(c, "migrate: unsupported option %s\n", word);
			return;
		}
		detach = true;
	}
	if (!*word || *rest) {
		print(c, "migrate: %s\n",
		      *rest ? "extraneous characters at the end of line" : "string expected");
		return;
	}
	if (!detach && !c->wait) {
		print(c, "terminal does not allow synchronous migration, continuing detached\n");
		detach = true;
	}
	ret = run_qmp(c, "migrate", uri_args(word));
	if (ret && !detach)
		*c->wait = !update_has_ended(c);
	json_decref(ret);
}

static void cmd_migrate_incoming(struct hmp_call *c, char *rest)
{
	const char *uri = next_word(&rest);

	json_t *args;

	if (!*uri) {
		print(c, "migrate_incoming: string expected\n");
		return;
	}
	/* The operator is there and may try again. */
	args = uri_args(uri);
	json_object_set_new(args, "exit-on-error", json_false());
	json_decref(run_qmp(c, "migrate-incoming", args));
}

static void cmd_set_parameter(struct hmp_call *c, char *rest)
{
	const char *name = next_word(&rest);
	struct err e = ERR_INIT;
	json_t *value, *args;

	if (!*name || !*rest) {
		print(c, "migrate_set_parameter: string expected\n");
		return;
	}
	if (params_value_from_text(name, rest, &value, &e) < 0) {
		print(c, "Error: %s\n", e.msg);
		return;
	}
	args = json_object();
	json_object_set_new(args, name, value);
	json_decref(run_qmp(c, "migrate-set-parameters", args));
}

static void cmd_set_capability(struct hmp_call *c, char *rest)
{
	const char *name = next_word(&rest);
	const char *state = next_word(&rest);
	struct err e = ERR_INIT;
	bool on;

	if (!migration_cap_find(name)) {
		print(c, "Error: invalid parameter value: %s\n", name);
		return;
	}
	if (parse_bool(state, &on, &e) < 0) {
		print(c, "Error: %s\n", e.msg);
		return;
	}
	json_decref(run_qmp(c, "migrate-set-capabilities",
			    json_pack("{s:[{s:s, s:b}]}", "capabilities", "capability", name,
				      "state", on)));
}

static void cmd_trace_event(struct hmp_call *c, char *rest)
{
	hmp_trace_event(rest, c->out);
}

static void cmd_help(struct hmp_call *c, char *rest);

static const struct hmp_command commands[] = {
	{ "help", "?", NULL, cmd_help, "[COMMAND]", "show this list" },
	{ "info", NULL, NULL, cmd_info, "[WHAT]", "show something; without WHAT, what there is" },
	{ "stop", "s", "stop", NULL, "", "pause the guest" },
	{ "cont", "c", "cont", NULL, "", "let the guest run" },
	{ "quit", "q", "quit", NULL, "", "end this process" },
	{ "system_reset", NULL, "system_reset", NULL, "", "reset the machine" },
	{ "system_powerdown", NULL, "system_powerdown", NULL, "", "press the power button" },
	{ "system_wakeup", NULL, "system_wakeup", NULL, "", "wake the guest from sleep" },
	{ "migrate", NULL, NULL, cmd_migrate, "[-d] URI", "update or move; -d: do not wait" },
	{ "migrate_cancel", NULL, "migrate_cancel", NULL, "", "give the update up" },
	{ "migrate_incoming", NULL, NULL, cmd_migrate_incoming, "URI", "wait for the state" },
	{ "migrate_set_parameter", NULL, NULL, cmd_set_parameter, "NAME VALUE",
	  "set a migration parameter" },
	{ "migrate_set_capability", NULL, NULL, cmd_set_capability, "NAME on|off",
	  "set a migration capability" },
	{ "trace-event", NULL, NULL, cmd_trace_event, "NAME on|off",
	  "enable or disable trace events" },
};

const char *hmp_command_name(size_t i)
{
	return i < ARRAY_SIZE(commands) ? commands[i].name : NULL;
}

const char *hmp_info_name(size_t i)
{
	return i < ARRAY_SIZE(infos) ? infos[i].name : NULL;
}

static const struct hmp_command *find(const char *name)
{
	const struct hmp_command *k;

	for (k = commands; k < commands + ARRAY_SIZE(commands); k++) {
		if (!strcmp(k->name, name) || (k->alias && !strcmp(k->alias, name)))
			return k;
	}
	return NULL;
}

static void cmd_help(struct hmp_call *c, char *rest)
{
	const char *name = next_word(&rest);
	const struct hmp_command *only = *name ? find(name) : NULL;
	const struct hmp_command *k;

	if (*name && !only)
		print(c, "unknown command: '%s'\n", name);
	for (k = commands; k < commands + ARRAY_SIZE(commands); k++) {
		if (*name && k != only)
			continue;
		print(c, "%s%s%s%s%s -- %s\n", k->name, k->alias ? "|" : "",
		      k->alias ? k->alias : "", *k->args ? " " : "", k->args, k->help);
	}
}

void hmp_run_line(struct ctl *ctl, const char *line, struct buf *out, bool *wait)
{
	struct hmp_call c = { .ctl = ctl, .out = out, .wait = wait };
	const struct hmp_command *k;
	AUTO_FREE char *copy = strdup(line);
	const char *name;
	char *rest = copy;
	size_t n;

	if (!copy)
		return;
	for (n = strlen(copy); n && strchr(" \t\r\n", copy[n - 1]); n--)
		copy[n - 1] = '\0';
	name = next_word(&rest);
	if (!*name)
		return;
	k = find(name);
	if (!k)
		print(&c, "unknown command: '%s'\n", name);
	else if (k->qmp && *rest)
		print(&c, "%s: extraneous characters at the end of line\n", k->name);
	else if (k->qmp)
		json_decref(run_qmp(&c, k->qmp, NULL));
	else
		k->run(&c, rest);
}
