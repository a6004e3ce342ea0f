/* SPDX-License-Identifier: MIT */
/* QMP commands about network back ends and the cable. */
#include <errno.h>
#include <string.h>

#include "base/util.h"
#include "ctl/cmd_net.h"
#include "ctl/commands.h"
#include "ctl/monitor.h"
#include "ctl/netdev_opts.h"
#include "ctl/netdevs.h"
#include "machine/device.h"

static const struct schema_member id_args[] = {
	SCHEMA_MEMBER("id", SCHEMA_STR),
	{ .name = NULL },
};

static const struct schema_member link_args[] = {
	SCHEMA_MEMBER("name", SCHEMA_STR),
	SCHEMA_MEMBER("up", SCHEMA_BOOL),
	{ .name = NULL },
};

/* Netdevs come and go with what the machine's state consists of: not while that is on its way. */
static int check_at_rest(struct ctl *ctl, const char *command, struct err *e)
{
	if (!ctl->config.netdevs)
		return err_set(e, ENOTSUP, "this machine has no netdevs");
	if (ctl->config.vm->foreign)
		return err_set(e, EBUSY, "%s not allowed: the guest is not here", command);
	return migration_check_plug(ctl->config.migration, command, e);
}

static int named_fd(void *opaque, const char *name, struct err *e)
{
	return monitor_take_fd(opaque, name, e);
}

int cmd_net_add(struct ctl *ctl, json_t *options, struct err *e)
{
	int r = check_at_rest(ctl, "netdev_add", e);

	if (!r)
		return netdevs_add(ctl->config.netdevs, options, named_fd, ctl, e);
	json_decref(options);
	return r;
}

static int netdev_add(struct ctl *ctl, json_t *args, json_t **ret, struct err *e)
{
	json_t *options;
	int r = netdev_flatten_json(args, &options, e);

	(void)ret;
	return r ? r : cmd_net_add(ctl, options, e);
}

static int netdev_del(struct ctl *ctl, json_t *args, json_t **ret, struct err *e)
{
	const char *id = json_string_value(json_object_get(args, "id"));
	int r = check_at_rest(ctl, "netdev_del", e);

	(void)ret;
	if (!r)
		r = netdevs_remove(ctl->config.netdevs, id, e);
	if (r == -ENOENT)
		e->code = COMMAND_NO_DEVICE;
	return r == -ENOENT ? -COMMAND_NO_DEVICE : r;
}

/* @name is a netdev's, or that of the device which uses it. */
static struct backend *find_link(const struct vm *vm, const char *name)
{
	struct backend *b = backend_find(vm, BACKEND_NET, name);

	for (const struct list *pos = vm->backends.next; !b && pos != &vm->backends;
	     pos = pos->next) {
		struct backend *o = CONTAINER_OF(pos, struct backend, link);

		if (o->kind == BACKEND_NET && o->user && !strcmp(o->user, name))
			b = o;
	}
	return b;
}

static int set_link(struct ctl *ctl, json_t *args, json_t **ret, struct err *e)
{
	const char *name = json_string_value(json_object_get(args, "name"));
	struct backend *b = find_link(ctl->config.vm, name);
	int r;

	(void)ret;
	if (!b)
		return err_set(e, COMMAND_NO_DEVICE, "Device '%s' not found", name);
	r = check_at_rest(ctl, "set_link", e);
	if (r)
		return r;
	net_set_link(b->object, json_is_true(json_object_get(args, "up")));
	return 0;
}

const struct command net_commands[] = {
	{ .name = "netdev_add", .schema = &netdev_schema, .own_check = true, .run = netdev_add },
	{ .name = "netdev_del", .args = id_args, .run = netdev_del },
	{ .name = "set_link", .args = link_args, .run = set_link },
	{ .name = NULL },
};
