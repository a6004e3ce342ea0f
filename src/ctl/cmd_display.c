/* SPDX-License-Identifier: MIT */
/* Commands about displays and watchdogs: screendump, watchdog-set-action. */
#include <errno.h>
#include <string.h>

#include "base/util.h"
#include "ctl/commands.h"
#include "ctl/monitor.h"
#include "ctl/picture_file.h"
#include "host/file.h"
#include "machine/vm.h"
#include "machine/watchdog.h"

static const char *const formats[] = { "ppm", "png", NULL };
static const struct schema_member screendump_args[] = {
	{ "filename", SCHEMA_STR, .optional = false },
	{ "device", SCHEMA_STR, .optional = true },
	{ "head", SCHEMA_INT, .optional = true },
	{ "format", SCHEMA_ENUM, .optional = true, .values = formats },
	{ .name = NULL },
};

static const char *const actions[] = { "reset", "shutdown", "poweroff", "pause",
				       "debug", "none",     NULL };
static const struct schema_member watchdog_args[] = {
	{ "action", SCHEMA_ENUM, .optional = false, .values = actions },
	{ .name = NULL },
};

static int find_display(const struct ctl *ctl, json_t *args, struct display **out, struct err *e)
{
	const char *id = json_string_value(json_object_get(args, "device"));
	const json_t *head = json_object_get(args, "head");

	if (head && !id)
		return err_set(e, EINVAL, "'head' must be specified together with 'device'");
	*out = display_find(ctl->config.vm, id);
	if (!*out && id)
		return err_set(e, COMMAND_NO_DEVICE, "Device '%s' not found", id);
	if (!*out)
		return err_set(e, ENODEV, "There is no console to take a screendump from");
	if (json_integer_value(head))
		return err_set(e, EINVAL, "Device '%s' has one head, number 0", id);
	return 0;
}

/* A file of that name is replaced; what went wrong half-way is not left there. */
static int write_file(const char *path, const struct buf *b, struct err *e)
{
	AUTO_CLOSE int fd = -1;
	bool created;
	int r;

	r = fd = file_create(path, &created, e);
	if (r < 0)
		return r;
	r = file_begin(fd, path, 0, e);
	if (!r)
		r = file_write_at(fd, path, 0, b->data, b->len, e);
	if (r)
		file_discard(fd, path, 0, created);
	return r;
}

static int screendump(struct ctl *ctl, json_t *args, json_t **ret, struct err *e)
{
	const char *format = json_string_value(json_object_get(args, "format"));
	AUTO_BUF bytes = { 0 };
	struct display *d = NULL;
	struct picture p;
	int r;

	(void)ret;
	r = find_display(ctl, args, &d, e);
	if (!r)
		r = d->look(d->opaque, &p, e);
	if (!r)
		r = format && !strcmp(format, "png") ? picture_put_png(&p, &bytes, e)
						     : picture_put_ppm(&p, &bytes, e);
	if (r)
		return r;
	return write_file(json_string_value(json_object_get(args, "filename")), &bytes, e);
}

static int watchdog_set_action(struct ctl *ctl, json_t *args, json_t **ret, struct err *e)
{
	struct vm *vm = ctl->config.vm;

	(void)ret;
	(void)e;
	watchdog_action_parse(json_string_value(json_object_get(args, "action")),
			      &vm->watchdog_action);
	return 0;
}

const struct command display_commands[] = {
	{ .name = "screendump", .args = screendump_args, .run = screendump },
	{ .name = "watchdog-set-action", .args = watchdog_args, .run = watchdog_set_action },
	{ .name = NULL },
};
