/* SPDX-License-Identifier: MIT */
/* What the human monitor's `info` shows, made of the answers of QMP. */
#include <string.h>

#include "base/json_memory.h"
#include "base/util.h"
#include "ctl/cmd_block.h"
#include "ctl/cmd_trace.h"
#include "ctl/hmp.h"
#include "ctl/hmp_call.h"
#include "ctl/monitor.h"
#include "ctl/objects.h"
#include "machine/device_type.h"
#include "machine/vm.h"

static const char *str(json_t *o, const char *name)
{
	const char *s = json_string_value(json_object_get(o, name));

	return s ? s : "";
}

static long long num(json_t *o, const char *name)
{
	return json_integer_value(json_object_get(o, name));
}

static void info_status(struct hmp_call *c, char *rest)
{
	json_t *o = hmp_qmp(c, "query-status", NULL);
	bool running = json_is_true(json_object_get(o, "running"));
	const char *status = str(o, "status");

	(void)rest;
	hmp_print(c, "VM status: %s", running ? "running" : "paused");
	if (!running && strcmp(status, "paused"))
		hmp_print(c, " (%s)", status);
	hmp_print(c, "\n");
	json_decref(o);
}

static void info_migrate(struct hmp_call *c, char *rest)
{
	json_t *o = hmp_qmp(c, "query-migrate", NULL);
	json_t *pause, *phase, *reason, *counter;
	const char *name;
	size_t i;

	if (*rest && strcmp(rest, "-a")) {
		hmp_bad_args(c, "info", "migrate", "unsupported option");
		json_decref(o);
		return;
	}
	json_array_foreach(json_object_get(o, "blocked-reasons"), i, reason)
		hmp_print(c, "%s%s\n", i ? "  " : "Outgoing migration blocked:\n  ",
			  json_string_value(reason));
	if (json_object_get(o, "status")) {
		hmp_print(c, "Status: %s", str(o, "status"));
		if (json_object_get(o, "error-desc"))
			hmp_print(c, " (%s)", str(o, "error-desc"));
		hmp_print(c, "\n");
	}
	if (json_object_get(o, "total-time")) {
		hmp_print(c, "Time (ms): total=%lld, setup=%lld", num(o, "total-time"),
			  num(o, "setup-time"));
		if (json_object_get(o, "downtime"))
			hmp_print(c, ", down=%lld", num(o, "downtime"));
		hmp_print(c, "\n");
	}
	pause = json_object_get(o, "pause");
	if (pause) {
		hmp_print(c, "Pause (us): %lld", num(pause, "downtime-us"));
		json_array_foreach(json_object_get(pause, "phases"), i, phase)
			hmp_print(c, ", %s=%lld", str(phase, "name"), num(phase, "us"));
		hmp_print(c, "\n");
	}
	json_object_foreach(*rest ? json_object_get(o, "ram") : NULL, name, counter)
		hmp_print(c, "ram %s: %lld\n", name, (long long)json_number_value(counter));
	json_decref(o);
}

static void info_parameters(struct hmp_call *c, char *rest)
{
	json_t *o = hmp_qmp(c, "query-migrate-parameters", NULL);
	const char *name;
	json_t *v, *item;
	size_t i;

	(void)rest;
	json_object_foreach(o, name, v)
	{
		hmp_print(c, "%s:", name);
		if (json_is_string(v) && *json_string_value(v))
			hmp_print(c, " %s", json_string_value(v));
		else if (json_is_string(v))
			hmp_print(c, " ''");
		else if (json_is_integer(v))
			hmp_print(c, " %lld", (long long)json_integer_value(v));
		else if (json_is_boolean(v))
			hmp_print(c, " %s", json_is_true(v) ? "on" : "off");
		else if (json_is_array(v) && !json_array_size(v))
			hmp_print(c, " ");
		json_array_foreach(v, i, item) hmp_print(c, " %s", json_string_value(item));
		hmp_print(c, "\n");
	}
	json_decref(o);
}

static void info_capabilities(struct hmp_call *c, char *rest)
{
	json_t *list = hmp_qmp(c, "query-migrate-capabilities", NULL);
	json_t *v;
	size_t i;

	(void)rest;
	json_array_foreach(list, i, v)
		hmp_print(c, "%s: %s\n", str(v, "capability"),
			  json_is_true(json_object_get(v, "state")) ? "on" : "off");
	json_decref(list);
}

static void info_cpus(struct hmp_call *c, char *rest)
{
	json_t *list = hmp_qmp(c, "query-cpus-fast", NULL);
	json_t *v;
	size_t i;

	(void)rest;
	json_array_foreach(list, i, v)
		hmp_print(c, "%c CPU #%lld: thread_id=%lld\n", i == c->cpu ? '*' : ' ',
			  num(v, "cpu-index"), num(v, "thread-id"));
	json_decref(list);
}

static void info_version(struct hmp_call *c, char *rest)
{
	json_t *o = hmp_qmp(c, "query-version", NULL);
	json_t *v = json_object_get(o, "qemu");

	(void)rest;
	hmp_print(c, "%lld.%lld.%lld (%s)\n", num(v, "major"), num(v, "minor"), num(v, "micro"),
		  str(o, "package"));
	json_decref(o);
}

static void info_kvm(struct hmp_call *c, char *rest)
{
	json_t *o = hmp_qmp(c, "query-kvm", NULL);

	(void)rest;
	hmp_print(c, "kvm support: %s\n",
		  json_is_true(json_object_get(o, "enabled")) ? "enabled" : "disabled");
	json_decref(o);
}

static void info_name(struct hmp_call *c, char *rest)
{
	json_t *o = hmp_qmp(c, "query-name", NULL);

	(void)rest;
	if (json_object_get(o, "name"))
		hmp_print(c, "%s\n", str(o, "name"));
	json_decref(o);
}

static void info_uuid(struct hmp_call *c, char *rest)
{
	json_t *o = hmp_qmp(c, "query-uuid", NULL);

	(void)rest;
	hmp_print(c, "%s\n", str(o, "UUID"));
	json_decref(o);
}

static const char *yes_no(json_t *o, const char *name)
{
	return json_is_true(json_object_get(o, name)) ? "true" : "false";
}

static void info_chardev(struct hmp_call *c, char *rest)
{
	json_t *list = hmp_qmp(c, "query-chardev", NULL);
	json_t *v;
	size_t i;

	(void)rest;
	json_array_foreach(list, i, v)
		hmp_print(c, "%s: filename=%s\n", str(v, "label"), str(v, "filename"));
	json_decref(list);
}

static void info_memdev(struct hmp_call *c, char *rest)
{
	json_t *list = hmp_qmp(c, "query-memdev", NULL);
	json_t *v, *node;
	size_t i, j;

	(void)rest;
	json_array_foreach(list, i, v)
	{
		hmp_print(c, "memory backend: %s\n", str(v, "id"));
		hmp_print(c, "  size:  %lld\n", num(v, "size"));
		hmp_print(c, "  merge: %s\n", yes_no(v, "merge"));
		hmp_print(c, "  dump: %s\n", yes_no(v, "dump"));
		hmp_print(c, "  prealloc: %s\n", yes_no(v, "prealloc"));
		hmp_print(c, "  share: %s\n", yes_no(v, "share"));
		hmp_print(c, "  reserve: %s\n", yes_no(v, "reserve"));
		hmp_print(c, "  policy: %s\n  host nodes:", str(v, "policy"));
		json_array_foreach(json_object_get(v, "host-nodes"), j, node)
			hmp_print(c, " %lld", (long long)json_integer_value(node));
		hmp_print(c, "\n");
	}
	json_decref(list);
}

/* The list of what this machine cannot have yet. */
static void info_memory_devices(struct hmp_call *c, char *rest)
{
	(void)rest;
	json_decref(hmp_qmp(c, "query-memory-devices", NULL));
}

/* The tree is told parents first. */
static void info_qom_tree(struct hmp_call *c, char *rest)
{
	json_t *tree = objects_tree(c->ctl);
	const char *path, *slash;
	size_t n = strlen(rest);
	int depth, top = -1;
	json_t *o;

	if (n && rest[n - 1] == '/')
		rest[--n] = '\0';
	json_object_foreach(tree, path, o)
	{
		if (n && (strncmp(path, rest, n) || (path[n] && path[n] != '/')))
			continue;
		for (depth = 0, slash = path; path[1] && (slash = strchr(slash, '/')); slash++)
			depth++;
		if (top < 0)
			top = depth;
		hmp_print(c, "%*s%s (%s)\n", 2 * (depth - top), "",
			  depth == top ? path : strrchr(path, '/'), objects_type(o));
	}
	if (top < 0)
		hmp_print(c, "Path '%s' could not be resolved.\n", rest);
	json_decref(tree);
}

/* Each device that was asked for, with its properties. */
static void info_qtree(struct hmp_call *c, char *rest)
{
	struct list *pos, *tmp;

	(void)rest;
	list_for_each(pos, tmp, &c->ctl->config.vm->devices) {
		const struct device *d = CONTAINER_OF(pos, struct device, link);
		json_t *o = d->spec ? device_to_json(d) : NULL, *v;
		const char *name;

		if (d->spec)
			hmp_print(c, "dev: %s, id \"%s\"\n", d->spec->type->driver, d->id);
		json_object_foreach(o, name, v)
		{
			AUTO_FREE char *text = json_text(v, JSON_ENCODE_ANY);

			if (strcmp(name, "driver") && strcmp(name, "id"))
				hmp_print(c, "  %s = %s\n", name, text ? text : "?");
		}
		json_decref(o);
	}
}

static void info_trace_events(struct hmp_call *c, char *rest)
{
	hmp_info_trace_events(rest, c->out);
}

static const struct {
	const char *name;
	const char *args;
	void (*run)(struct hmp_call *c, char *rest);
	const char *help;
} infos[] = {
	{ "block", "[NAME]", hmp_info_block, "show block devices" },
	{ "chardev", "", info_chardev, "show character devices" },
	{ "cpus", "", info_cpus, "show the virtual CPUs" },
	{ "kvm", "", info_kvm, "show whether KVM is used" },
	{ "memdev", "", info_memdev, "show memory backends" },
	{ "memory-devices", "", info_memory_devices, "show memory devices" },
	{ "migrate", "[-a]", info_migrate, "show the last update; -a: all counters" },
	{ "migrate_capabilities", "", info_capabilities, "show migration capabilities" },
	{ "migrate_parameters", "", info_parameters, "show migration parameters" },
	{ "name", "", info_name, "show the machine's name" },
	{ "network", "", hmp_info_network, "show network back ends" },
	{ "pci", "", hmp_info_pci, "show the devices on the PCI buses" },
	{ "qom-tree", "[PATH]", info_qom_tree, "show the tree of objects" },
	{ "qtree", "", info_qtree, "show the devices that were asked for" },
	{ "status", "", info_status, "show the run state" },
	{ "trace-events", "[PATTERN]", info_trace_events, "show which trace events are on" },
	{ "uuid", "", info_uuid, "show the machine's UUID" },
	{ "version", "", info_version, "show the version" },
};

const char *hmp_info_name(size_t i)
{
	return i < ARRAY_SIZE(infos) ? infos[i].name : NULL;
}

bool hmp_info_help(struct hmp_call *c, const char *what)
{
	bool found = false;

	for (size_t i = 0; i < ARRAY_SIZE(infos); i++) {
		if (what && strcmp(infos[i].name, what))
			continue;
		hmp_print(c, "info %s%s%s -- %s\n", infos[i].name, *infos[i].args ? " " : "",
			  infos[i].args, infos[i].help);
		found = true;
	}
	return found;
}

void hmp_info(struct hmp_call *c, char *rest)
{
	const char *what = hmp_next_word(&rest);

	if (!*what) {
		hmp_info_help(c, NULL);
		return;
	}
	for (size_t i = 0; i < ARRAY_SIZE(infos); i++) {
		if (strcmp(infos[i].name, what))
			continue;
		if (*rest && !*infos[i].args)
			hmp_bad_args(c, "info", what, "extraneous characters at the end of line");
		else
			infos[i].run(c, rest);
		return;
	}
	hmp_print(c, "unknown command: 'info %s'\n", what);
}
