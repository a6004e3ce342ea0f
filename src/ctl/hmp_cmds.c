/* SPDX-License-Identifier: MIT */
/* The human monitor's commands: lines to JSON arguments, JSON answers to text. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/parse.h"
#include "base/util.h"
#include "ctl/cmd_block.h"
#include "ctl/cmd_trace.h"
#include "ctl/commands.h"
#include "ctl/hmp.h"
#include "ctl/hmp_call.h"
#include "ctl/hmp_display.h"
#include "ctl/json.h"
#include "ctl/monitor.h"
#include "ctl/params_json.h"
#include "machine/device_type.h"

/* A command gets the rest of the line without blanks around it. */
struct hmp_command {
	const char *name;
	const char *alias; /* NULL: none          */
	const char *qmp;   /* runs this, no answer */
	void (*run)(struct hmp_call *c, char *rest);
	const char *args;
	const char *help;
};

void hmp_print(struct hmp_call *c, const char *fmt, ...)
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

json_t *hmp_qmp(struct hmp_call *c, const char *name, json_t *args)
{
	struct err e = ERR_INIT;
	json_t *ret;

	if (command_run_named(c->ctl, name, args, &ret, &e) == 0)
		return ret;
	hmp_print(c, "Error: %s\n", e.msg);
	return NULL;
}

char *hmp_next_word(char **p)
{
	char *word = *p + strspn(*p, " \t");
	char *end = word + strcspn(word, " \t");

	*p = end + strspn(end, " \t");
	*end = '\0';
	return word;
}

void hmp_bad_args(struct hmp_call *c, const char *command, const char *sub, const char *what)
{
	const char *blank = sub ? " " : "";

	sub = sub ? sub : "";
	hmp_print(c, "%s%s%s: %s\n", command, blank, sub, what);
	hmp_print(c, "Try \"help %s%s%s\" for more information\n", command, blank, sub);
}

/* The one word that @rest must be; NULL, and said so, if it is not. */
static char *one_word(struct hmp_call *c, const char *command, char *rest)
{
	char *word = hmp_next_word(&rest);

	if (*word && !*rest)
		return word;
	hmp_bad_args(c, command, NULL,
		     *word ? "extraneous characters at the end of line" : "string expected");
	return NULL;
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
	bool detach = false, graft;
	json_t *ret;
	char *word;

	for (word = hmp_next_word(&rest); *word == '-'; word = hmp_next_word(&rest)) {
		if (strcmp(word, "-d")) {
			hmp_bad_args(c, "migrate", NULL, "unsupported option");
			return;
		}
		detach = true;
	}
	graft = migration_params(c->ctl->config.migration)->mode == MODE_CPR_GRAFT;
	if ((!*word && !graft) || *rest) {
		hmp_bad_args(c, "migrate", NULL,
			     *rest ? "extraneous characters at the end of line"
				   : "string expected");
		return;
	}
	if (!detach && !c->wait) {
		hmp_print(c,
			  "terminal does not allow synchronous migration, continuing detached\n");
		detach = true;
	}
	ret = hmp_qmp(c, "migrate", *word ? uri_args(word) : json_object());
	if (ret && !detach)
		*c->wait = !update_has_ended(c);
	json_decref(ret);
}

static void cmd_migrate_incoming(struct hmp_call *c, char *rest)
{
	const char *uri = one_word(c, "migrate_incoming", rest);
	json_t *args;

	if (!uri)
		return;
	/* The operator is there and may try again. */
	args = uri_args(uri);
	json_object_set_new(args, "exit-on-error", json_false());
	json_decref(hmp_qmp(c, "migrate-incoming", args));
}

static void cmd_set_parameter(struct hmp_call *c, char *rest)
{
	const char *name = hmp_next_word(&rest);
	struct err e = ERR_INIT;
	json_t *value, *args;

	if (!*name || !*rest) {
		hmp_bad_args(c, "migrate_set_parameter", NULL, "string expected");
		return;
	}
	if (params_value_from_text(name, rest, &value, &e) < 0) {
		hmp_print(c, "Error: %s\n", e.msg);
		return;
	}
	args = json_object();
	json_object_set_new(args, name, value);
	json_decref(hmp_qmp(c, "migrate-set-parameters", args));
}

static void cmd_set_capability(struct hmp_call *c, char *rest)
{
	const char *name = hmp_next_word(&rest);
	const char *state = hmp_next_word(&rest);
	struct err e = ERR_INIT;
	bool on;

	if (!*state || *rest) {
		hmp_bad_args(c, "migrate_set_capability", NULL,
			     *rest ? "extraneous characters at the end of line"
				   : "string expected");
		return;
	}
	if (!migration_cap_find(name)) {
		hmp_print(c, "Error: invalid parameter value: %s\n", name);
		return;
	}
	if (parse_bool(state, &on, &e) < 0) {
		hmp_print(c, "Error: %s\n", e.msg);
		return;
	}
	json_decref(hmp_qmp(c, "migrate-set-capabilities",
			    json_pack("{s:[{s:s, s:b}]}", "capabilities", "capability", name,
				      "state", on)));
}

/* Runs QMP's command @qmp with the one argument @member, the rest of the line. */
static void run_with_word(struct hmp_call *c, const char *command, const char *qmp,
			  const char *member, char *rest)
{
	const char *word = one_word(c, command, rest);
	json_t *args;

	if (!word)
		return;
	args = json_pack("{s:s}", member, word);
	json_decref(hmp_qmp(c, qmp, args ? args : json_pack("{s:s}", member, "")));
}

static void cmd_migrate_continue(struct hmp_call *c, char *rest)
{
	run_with_word(c, "migrate_continue", "migrate-continue", "state", rest);
}

static void cmd_cprsave(struct hmp_call *c, char *rest)
{
	const char *file = hmp_next_word(&rest);
	const char *mode = hmp_next_word(&rest);

	if (!*mode || *rest) {
		hmp_bad_args(c, "cprsave", NULL,
			     *rest ? "extraneous characters at the end of line"
				   : "string expected");
		return;
	}
	json_decref(hmp_qmp(c, "cprsave", json_pack("{s:s, s:s}", "file", file, "mode", mode)));
}

static void cmd_cprload(struct hmp_call *c, char *rest)
{
	run_with_word(c, "cprload", "cprload", "file", rest);
}

static void cmd_object_del(struct hmp_call *c, char *rest)
{
	run_with_word(c, "object_del", "object-del", "id", rest);
}

static void cmd_device_del(struct hmp_call *c, char *rest)
{
	run_with_word(c, "device_del", "device_del", "id", rest);
}

static void cmd_netdev_del(struct hmp_call *c, char *rest)
{
	run_with_word(c, "netdev_del", "netdev_del", "id", rest);
}

static const struct schema_member *find_member(const struct schema *s, const char *name)
{
	const struct schema_member *found = NULL;

	for (size_t i = 0; s->member[i].name; i++) {
		if (!strcmp(s->member[i].name, name))
			return &s->member[i];
	}
	for (size_t i = 0; !found && s->tag && s->variants[i].value; i++)
		found = find_member(s->variants[i].members, name);
	return found;
}

/* The value of a typed member; an unknown one stays a string and is refused by name. */
static int typed_value(const struct schema_member *m, const char *text, json_t **out, struct err *e)
{
	uint64_t size;
	bool flag;
	int r = 0;

	if (m && m->type == SCHEMA_UINT) {
		r = parse_size(text, 1, &size, e);
		if (r == 0)
			*out = json_integer((json_int_t)size);
	} else if (m && m->type == SCHEMA_BOOL) {
		r = parse_bool(text, &flag, e);
		if (r == 0)
			*out = json_boolean(flag);
	} else {
		*out = json_string(text);
		if (!*out)
			r = err_set(e, EINVAL, "'%s' is not valid UTF-8", text);
	}
	return r;
}

/* `FIRST,key=value,...` as the arguments of QMP's @qmp, whose member @first FIRST is. */
static void run_with_pairs(struct hmp_call *c, const char *qmp, const char *first, char *rest)
{
	const struct command *k = command_find(qmp);
	const struct schema own_args = { .member = k->args };
	json_t *args = json_object();
	struct err e = ERR_INIT;
	const char *key = first;
	char *piece, *value;
	json_t *v = NULL;

	while ((piece = strsep(&rest, ","))) {
		value = strchr(piece, '=');
		if (value) {
			*value++ = '\0';
			key = piece;
		} else {
			value = key ? piece : "on";
			key = key ? key : piece;
		}
		if (typed_value(find_member(k->schema ? k->schema : &own_args, key), value, &v,
				&e) < 0) {
			hmp_print(c, "Error: Parameter '%s': %s\n", key, e.msg);
			json_decref(args);
			return;
		}
		json_object_set_new(args, key, v);
		key = NULL;
	}
	json_decref(hmp_qmp(c, qmp, args));
}

static void cmd_object_add(struct hmp_call *c, char *rest)
{
	if (*rest)
		run_with_pairs(c, "object-add", "qom-type", rest);
	else
		hmp_bad_args(c, "object_add", NULL, "string expected");
}

static void cmd_device_add(struct hmp_call *c, char *rest)
{
	json_t *args;
	struct err e;

	if (!*rest) {
		hmp_bad_args(c, "device_add", NULL, "string expected");
		return;
	}
	args = device_text_to_json(rest, &e);
	if (args)
		json_decref(hmp_qmp(c, "device_add", args));
	else
		hmp_print(c, "Error: %s\n", e.msg);
}

static void cmd_qom_list(struct hmp_call *c, char *rest)
{
	json_t *list, *v;
	size_t i;

	if (!*rest)
		rest = "/";
	list = hmp_qmp(c, "qom-list", json_pack("{s:s}", "path", rest));
	json_array_foreach(list, i, v)
		hmp_print(c, "%s (%s)\n", json_string_value(json_object_get(v, "name")),
			  json_string_value(json_object_get(v, "type")));
	json_decref(list);
}

static void cmd_qom_get(struct hmp_call *c, char *rest)
{
	const char *path = hmp_next_word(&rest);
	const char *property = hmp_next_word(&rest);
	AUTO_BUF text = { 0 };
	json_t *v;

	if (!*property || *rest) {
		hmp_bad_args(c, "qom-get", NULL,
			     *rest ? "extraneous characters at the end of line"
				   : "string expected");
		return;
	}
	v = hmp_qmp(c, "qom-get", json_pack("{s:s, s:s}", "path", path, "property", property));
	if (v) {
		json_put_text(&text, v);
		buf_put_u8(&text, 0);
		if (!text.failed)
			hmp_print(c, "%s\n", (char *)text.data);
	}
	json_decref(v);
}

static void cmd_trace_event(struct hmp_call *c, char *rest)
{
	hmp_trace_event(rest, c->out);
}

static void cmd_help(struct hmp_call *c, char *rest);

static const struct hmp_command commands[] = {
	{ "help", "?", NULL, cmd_help, "[COMMAND]", "show this list" },
	{ "info", NULL, NULL, hmp_info, "[WHAT]", "show something; without WHAT, what there is" },
	{ "stop", "s", "stop", NULL, "", "pause the guest" },
	{ "cont", "c", "cont", NULL, "", "let the guest run" },
	{ "quit", "q", "quit", NULL, "", "end this process" },
	{ "system_reset", NULL, "system_reset", NULL, "", "reset the machine" },
	{ "system_powerdown", NULL, "system_powerdown", NULL, "", "press the power button" },
	{ "system_wakeup", NULL, "system_wakeup", NULL, "", "wake the guest from sleep" },
	{ "migrate", NULL, NULL, cmd_migrate, "[-d] [URI]", "update or move; -d: do not wait" },
	{ "migrate_cancel", NULL, "migrate_cancel", NULL, "", "give the update up" },
	{ "migrate_incoming", NULL, NULL, cmd_migrate_incoming, "URI", "wait for the state" },
	{ "migrate_continue", NULL, NULL, cmd_migrate_continue, "STATE",
	  "go on with an update that waits in STATE" },
	{ "migrate_set_parameter", NULL, NULL, cmd_set_parameter, "NAME VALUE",
	  "set a migration parameter" },
	{ "migrate_set_capability", NULL, NULL, cmd_set_capability, "NAME on|off",
	  "set a migration capability" },
	{ "cprsave", NULL, NULL, cmd_cprsave, "FILE restart|reboot", "update in one step" },
	{ "cprload", NULL, NULL, cmd_cprload, "FILE", "load what cprsave has saved" },
	{ "object_add", NULL, NULL, cmd_object_add, "TYPE,id=ID[,KEY=VALUE...]",
	  "make a memory backend" },
	{ "object_del", NULL, NULL, cmd_object_del, "ID", "remove a memory backend" },
	{ "device_add", NULL, NULL, cmd_device_add, "DRIVER[,KEY=VALUE...]", "add a device" },
	{ "device_del", NULL, NULL, cmd_device_del, "ID", "remove a device" },
	{ "netdev_add", NULL, NULL, hmp_netdev_add, "TYPE,id=ID[,KEY=VALUE...]",
	  "add a network back end" },
	{ "netdev_del", NULL, NULL, cmd_netdev_del, "ID", "remove a network back end" },
	{ "set_link", NULL, NULL, hmp_set_link, "NAME on|off",
	  "plug a network cable, or unplug it" },
	{ "drive_add", NULL, NULL, hmp_drive_add, "0 file=PATH,if=none,id=ID[,KEY=VALUE...]",
	  "open a disk image for device_add" },
	{ "drive_del", NULL, NULL, hmp_drive_del, "ID", "close a disk image no device uses" },
	{ "block_resize", NULL, NULL, hmp_block_resize, "ID SIZE", "make a disk another size" },
	{ "screendump", NULL, NULL, hmp_screendump, "FILE [-f ppm|png] [DEVICE]",
	  "write a picture of what a display shows to FILE" },
	{ "watchdog_action", NULL, NULL, hmp_watchdog_action, "ACTION",
	  "what happens when a watchdog runs out" },
	{ "trace-event", NULL, NULL, cmd_trace_event, "NAME on|off",
	  "enable or disable trace events" },
	{ "qom-list", NULL, NULL, cmd_qom_list, "[PATH]", "list the properties of an object" },
	{ "qom-get", NULL, NULL, cmd_qom_get, "PATH PROPERTY", "show a property of an object" },
};

const char *hmp_command_name(size_t i)
{
	return i < ARRAY_SIZE(commands) ? commands[i].name : NULL;
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
	const char *name = hmp_next_word(&rest);
	const struct hmp_command *only = *name ? find(name) : NULL;
	const struct hmp_command *k;

	if (!strcmp(name, "info") && *rest) {
		name = hmp_next_word(&rest);
		if (!hmp_info_help(c, name))
			hmp_print(c, "unknown command: 'info %s'\n", name);
		return;
	}
	if (*name && !only)
		hmp_print(c, "unknown command: '%s'\n", name);
	for (k = commands; k < commands + ARRAY_SIZE(commands); k++) {
		if (*name && k != only)
			continue;
		hmp_print(c, "%s%s%s%s%s -- %s\n", k->name, k->alias ? "|" : "",
			  k->alias ? k->alias : "", *k->args ? " " : "", k->args, k->help);
	}
}

void hmp_run_line(struct ctl *ctl, const char *line, struct buf *out, bool *wait)
{
	hmp_run_line_on(ctl, line, 0, out, wait);
}

void hmp_run_line_on(struct ctl *ctl, const char *line, unsigned int cpu, struct buf *out,
		     bool *wait)
{
	struct hmp_call c = { .ctl = ctl, .out = out, .cpu = cpu, .wait = wait };
	const struct hmp_command *k;
	AUTO_FREE char *copy = strdup(line);
	const char *name;
	char *rest = copy;
	size_t n;

	if (!copy)
		return;
	for (n = strlen(copy); n && strchr(" \t\r\n", copy[n - 1]); n--)
		copy[n - 1] = '\0';
	name = hmp_next_word(&rest);
	if (!*name)
		return;
	k = find(name);
	if (!k)
		hmp_print(&c, "unknown command: '%s'\n", name);
	else if (k->qmp && *rest)
		hmp_bad_args(&c, k->name, NULL, "extraneous characters at the end of line");
	else if (k->qmp)
		json_decref(hmp_qmp(&c, k->qmp, NULL));
	else
		k->run(&c, rest);
}
