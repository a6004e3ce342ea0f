/* SPDX-License-Identifier: MIT */
/* The control layer: its sessions, and the events they are told. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "ctl/drives.h"
#include "ctl/events.h"
#include "ctl/hmp.h"
#include "ctl/monitor.h"
#include "ctl/netdevs.h"
#include "ctl/objects.h"
#include "ctl/qmp.h"
#include "host/clock.h"

json_t *ctl_make_event(enum ctl_event which, json_t *data)
{
	uint64_t us = clock_realtime_ns() / 1000;
	json_t *event;

	event = json_pack("{s:{s:I, s:I}, s:s}", "timestamp", "seconds", (json_int_t)(us / 1000000),
			  "microseconds", (json_int_t)(us % 1000000), "event",
			  event_table[which].name);
	if (data)
		json_object_set_new(event, "data", data);
	return event;
}

/* Sends an event to all QMP sessions; @data may be NULL and is released. */
static void send_event(struct ctl *ctl, enum ctl_event which, json_t *data)
{
	json_t *event = ctl_make_event(which, data);
	struct list *pos, *tmp;

	list_for_each(pos, tmp, &ctl->qmps)
		qmp_send_event(CONTAINER_OF(pos, struct qmp, link), event);
	json_decref(event);
}

static json_t *reason_to_json(const char *reason)
{
	if (!reason)
		reason = "none";
	return json_pack("{s:b, s:s}", "guest", !strncmp(reason, "guest-", 6), "reason", reason);
}

/* @path: device_object_path(). */
static json_t *device_to_event(const char *path)
{
	static const char named[] = "/machine/peripheral/";
	json_t *data = json_pack("{s:s}", "path", path);

	if (!strncmp(path, named, strlen(named)))
		json_object_set_new(data, "device", json_string(path + strlen(named)));
	return data;
}

static void on_vm_event(void *opaque, enum vm_event event, const char *detail)
{
	struct ctl *ctl = opaque;

	switch (event) {
	case VM_EVENT_STOP:
		send_event(ctl, EVENT_STOP, NULL);
		break;
	case VM_EVENT_RESUME:
		send_event(ctl, EVENT_RESUME, NULL);
		break;
	case VM_EVENT_WAKEUP:
		send_event(ctl, EVENT_WAKEUP, NULL);
		break;
	case VM_EVENT_RESET:
		send_event(ctl, EVENT_RESET, reason_to_json(detail));
		break;
	case VM_EVENT_SHUTDOWN:
		send_event(ctl, EVENT_SHUTDOWN, reason_to_json(detail));
		break;
	case VM_EVENT_POWERDOWN:
		send_event(ctl, EVENT_POWERDOWN, NULL);
		break;
	case VM_EVENT_WATCHDOG:
		send_event(ctl, EVENT_WATCHDOG, json_pack("{s:s}", "action", detail));
		break;
	case VM_EVENT_DEVICE_DELETED:
		send_event(ctl, EVENT_DEVICE_DELETED, device_to_event(detail));
		break;
	case VM_EVENT_UNPLUG_ERROR:
		send_event(ctl, EVENT_DEVICE_UNPLUG_GUEST_ERROR, device_to_event(detail));
		break;
	case VM_EVENT_PORT_OPENED:
	case VM_EVENT_PORT_CLOSED:
		send_event(ctl, EVENT_VSERPORT_CHANGE,
			   json_pack("{s:b, s:s}", "open", event == VM_EVENT_PORT_OPENED, "id",
				     detail));
		break;
	}
}

static void on_disk_error(void *opaque, const struct vm_disk_error *error)
{
	struct ctl *ctl = opaque;
	const struct drive *d =
		ctl->config.drives ? drives_find(ctl->config.drives, error->drive) : NULL;
	const struct drive_option *o = d ? &d->option : NULL;

	send_event(ctl, EVENT_BLOCK_IO_ERROR,
		   json_pack("{s:s, s:s, s:s, s:s, s:b, s:s}", "device",
			     o && o->is_blockdev ? "" : error->drive, "node-name",
			     o && o->node_name[0] ? o->node_name : error->drive, "operation",
			     error->write ? "write" : "read", "action", error->action, "nospace",
			     error->no_space, "reason", error->reason));
}

static void on_migration_status(void *opaque, enum migration_status status)
{
	struct ctl *ctl = opaque;
	struct list *pos, *tmp;

	if (migration_cap_get(ctl->config.migration, CAP_EVENTS))
		send_event(ctl, EVENT_MIGRATION,
			   json_pack("{s:s}", "status", migration_status_name(status)));
	list_for_each(pos, tmp, &ctl->hmps)
		hmp_migration_status(CONTAINER_OF(pos, struct hmp, link), status);
}

static void on_migration_pass(void *opaque, uint64_t pass)
{
	struct ctl *ctl = opaque;

	if (migration_cap_get(ctl->config.migration, CAP_EVENTS))
		send_event(ctl, EVENT_MIGRATION_PASS, json_pack("{s:I}", "pass", (json_int_t)pass));
}

/* A stream netdev's peer has come, or gone. */
static void on_netdev(void *opaque, const char *id, const char *address)
{
	if (address)
		send_event(opaque, EVENT_NETDEV_STREAM_CONNECTED,
			   json_pack("{s:s, s:{s:s, s:s}}", "netdev-id", id, "addr", "type",
				     "description", "str", address));
	else
		send_event(opaque, EVENT_NETDEV_STREAM_DISCONNECTED,
			   json_pack("{s:s}", "netdev-id", id));
}

int ctl_create(struct ctl **out, const struct ctl_config *config, struct err *e)
{
	struct ctl *ctl = calloc(1, sizeof(*ctl));

	if (!ctl)
		return err_set(e, ENOMEM, "cannot create the control layer: out of memory");
	ctl->config = *config;
	list_init(&ctl->qmps);
	list_init(&ctl->hmps);
	list_init(&ctl->chardev_names);
	fd_sets_init(&ctl->fd_sets);
	list_init(&ctl->objects);
	ctl->vm_observer.event = on_vm_event;
	ctl->vm_observer.disk_error = on_disk_error;
	ctl->vm_observer.opaque = ctl;
	ctl->migration_observer.status = on_migration_status;
	ctl->migration_observer.pass = on_migration_pass;
	ctl->migration_observer.opaque = ctl;
	vm_observe(config->vm, &ctl->vm_observer);
	migration_observe(config->migration, &ctl->migration_observer);
	if (config->netdevs) {
		config->netdevs->told = on_netdev;
		config->netdevs->told_opaque = ctl;
	}
	*out = ctl;
	return 0;
}

void ctl_destroy(struct ctl *ctl)
{
	struct chardev_name *name;
	struct list *pos, *tmp;

	if (!ctl)
		return;
	if (ctl->config.netdevs)
		ctl->config.netdevs->told = NULL;
	list_del(&ctl->vm_observer.link);
	list_del(&ctl->migration_observer.link);
	list_for_each(pos, tmp, &ctl->qmps)
		qmp_destroy(CONTAINER_OF(pos, struct qmp, link));
	list_for_each(pos, tmp, &ctl->hmps)
		hmp_destroy(CONTAINER_OF(pos, struct hmp, link));
	list_for_each(pos, tmp, &ctl->chardev_names) {
		name = CONTAINER_OF(pos, struct chardev_name, link);
		free(name->label);
		free(name);
	}
	fd_sets_clear(&ctl->fd_sets);
	objects_fini(ctl);
	free(ctl);
}

int ctl_name_chardev(struct ctl *ctl, const char *label, struct chardev *chr, struct err *e)
{
	struct chardev_name *name = calloc(1, sizeof(*name));

	if (name)
		name->label = strdup(label);
	if (!name || !name->label) {
		free(name);
		return err_set(e, ENOMEM, "cannot name character device '%s': out of memory",
			       label);
	}
	name->chr = chr;
	list_add(&ctl->chardev_names, &name->link);
	return 0;
}

/* A monitor's device that has no label gets one. */
static int name_monitor(struct ctl *ctl, struct chardev *chr, struct err *e)
{
	struct list *pos, *tmp;
	char label[32];

	list_for_each(pos, tmp, &ctl->chardev_names)
		if (CONTAINER_OF(pos, struct chardev_name, link)->chr == chr)
			return 0;
	snprintf(label, sizeof(label), "compat_monitor%u", ctl->nr_monitors++);
	return ctl_name_chardev(ctl, label, chr, e);
}

static int add_qmp(struct ctl *ctl, struct chardev *chr, bool pretty, struct err *e)
{
	struct qmp *q;
	int ret = name_monitor(ctl, chr, e);

	if (ret < 0)
		return ret;
	q = qmp_create(ctl, chr, pretty);
	if (!q)
		return err_set(e, ENOMEM, "cannot create a QMP session: out of memory");
	list_add(&ctl->qmps, &q->link);
	return 0;
}

int ctl_add_qmp(struct ctl *ctl, struct chardev *chr, struct err *e)
{
	return add_qmp(ctl, chr, false, e);
}

int ctl_add_qmp_pretty(struct ctl *ctl, struct chardev *chr, struct err *e)
{
	return add_qmp(ctl, chr, true, e);
}

int ctl_add_hmp(struct ctl *ctl, struct chardev *chr, struct err *e)
{
	struct hmp *h;
	int ret = name_monitor(ctl, chr, e);

	if (ret < 0)
		return ret;
	h = hmp_create(ctl, chr);
	if (!h)
		return err_set(e, ENOMEM, "cannot create a monitor session: out of memory");
	list_add(&ctl->hmps, &h->link);
	return 0;
}
