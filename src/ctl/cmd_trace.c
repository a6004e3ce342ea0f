/* SPDX-License-Identifier: MIT */
/* Commands that show, enable and disable trace events. */
#include <errno.h>
#include <string.h>

#include "base/trace.h"
#include "base/util.h"
#include "ctl/cmd_trace.h"
#include "ctl/commands.h"

static const struct schema_member get_args[] = {
	{ "name", SCHEMA_STR, .optional = false },
	{ .name = NULL },
};

static const char *const states[] = { "unavailable", "disabled", "enabled", NULL };
static const struct schema_member event_members[] = {
	SCHEMA_MEMBER("name", SCHEMA_STR),
	SCHEMA_MEMBER("state", SCHEMA_ENUM, .values = states),
	{ .name = NULL },
};
static const struct schema event_info = { .member = event_members };
static const struct schema_member events_ret =
	SCHEMA_MEMBER(NULL, SCHEMA_LIST, .members = &event_info);

static const struct schema_member set_args[] = {
	{ "name", SCHEMA_STR, .optional = false },
	{ "enable", SCHEMA_BOOL, .optional = false },
	{ "ignore-unavailable", SCHEMA_BOOL, .optional = true },
	{ .name = NULL },
};

/* A pattern may match nothing, a name has to exist. */
static int check_name(const char *name, struct err *e)
{
	for (unsigned int i = 0; i < TRACE_COUNT; i++)
		if (trace_glob(name, trace_name(i)))
			return 0;
	return trace_is_pattern(name) ? 0 : err_set(e, EINVAL, "unknown event \"%s\"", name);
}

static int get_state(struct ctl *ctl, json_t *args, json_t **ret, struct err *e)
{
	const char *name = json_string_value(json_object_get(args, "name"));
	int r = check_name(name, e);

	(void)ctl;
	if (r)
		return r;
	*ret = json_array();
	for (unsigned int i = 0; i < TRACE_COUNT; i++)
		if (trace_glob(name, trace_name(i)))
			json_array_append_new(
				*ret, json_pack("{s:s, s:s}", "name", trace_name(i), "state",
						trace_get(i) ? "enabled" : "disabled"));
	return 0;
}

/* All events are available in each build, so there is nothing to ignore. */
static int set_state(struct ctl *ctl, json_t *args, json_t **ret, struct err *e)
{
	const char *name = json_string_value(json_object_get(args, "name"));
	int r = check_name(name, e);

	(void)ctl;
	(void)ret;
	if (!r)
		trace_set(name, json_is_true(json_object_get(args, "enable")));
	return r;
}

const struct command trace_commands[] = {
	{ .name = "trace-event-get-state",
	  .args = get_args,
	  .returns = &events_ret,
	  .run = get_state },
	{ .name = "trace-event-set-state", .args = set_args, .run = set_state },
	{ .name = NULL },
};

/*
 * Users may name a vCPU at the end of a line; no event is of one vCPU only. False, and said
 * so, if @rest has one, or something else that has no place there.
 */
static bool check_end(const char *command, const char *name, char *rest, struct buf *out)
{
	const char *word = strsep(&rest, " \t");

	if (!word)
		return true;
	if (rest || word[strspn(word, "0123456789")])
		buf_printf(out, "%s: extraneous characters at the end of line\r\n", command);
	else
		buf_printf(out, "event \"%s\" is not vCPU-specific\r\n", name);
	return false;
}

void hmp_trace_event(char *rest, struct buf *out)
{
	const char *name = strsep(&rest, " \t"), *state;
	struct err e;

	if (!*name) {
		buf_printf(out, "trace-event: string expected\r\n");
		return;
	}
	if (rest)
		rest += strspn(rest, " \t");
	state = rest ? strsep(&rest, " \t") : "";
	if (rest)
		rest += strspn(rest, " \t");
	if (strcmp(state, "on") && strcmp(state, "off"))
		buf_printf(out, "trace-event: Expected 'on' or 'off'\r\n");
	else if (!check_end("trace-event", name, rest, out))
		return;
	else if (check_name(name, &e))
		buf_printf(out, "%s\r\n", e.msg);
	else
		trace_set(name, !strcmp(state, "on"));
}

void hmp_info_trace_events(char *rest, struct buf *out)
{
	const char *name = strsep(&rest, " \t");
	struct err e;

	if (!*name)
		name = "*";
	if (rest)
		rest += strspn(rest, " \t");
	if (!check_end("info trace-events", name, rest, out))
		return;
	if (check_name(name, &e))
		buf_printf(out, "%s\r\n", e.msg);
	for (unsigned int i = 0; i < TRACE_COUNT; i++)
		if (trace_glob(name, trace_name(i)))
			buf_printf(out, "%s : state %d\r\n", trace_name(i), trace_get(i));
}
