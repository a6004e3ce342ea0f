/* SPDX-License-Identifier: MIT */
/* QMP commands about the machine: its state, its parts, stop and go. */
#include <errno.h>
#include <string.h>

#include "base/util.h"
#include "ctl/commands.h"
#include "ctl/monitor.h"
#include "host/chardev.h"
#include "machine/vcpu.h"

static int query_status(struct ctl *ctl, json_t *args, json_t **ret, struct err *e)
{
	enum runstate s = ctl->config.vm->runstate;

	(void)args;
	(void)e;
	*ret = json_pack("{s:s, s:b}", "status", runstate_name(s), "running",
			 s == RUNSTATE_RUNNING);
	return 0;
}

static int query_kvm(struct ctl *ctl, json_t *args, json_t **ret, struct err *e)
{
	(void)ctl;
	(void)args;
	(void)e;
	*ret = json_pack("{s:b, s:b}", "enabled", 1, "present", 1);
	return 0;
}

static int query_cpus_fast(struct ctl *ctl, json_t *args, json_t **ret, struct err *e)
{
	struct vm *vm = ctl->config.vm;
	unsigned int index;
	json_t *cpu;

	(void)args;
	(void)e;
	*ret = json_array();
	for (unsigned int i = 0; i < vm->nr_vcpus; i++) {
		index = vcpu_index(vm->vcpus[i]);
		cpu = json_pack("{s:I, s:s, s:o, s:I, s:{s:I, s:i, s:i}, s:s}", "cpu-index",
				(json_int_t)index, "qom-type", "host-x86_64-cpu", "qom-path",
				json_sprintf("/machine/unattached/device[%u]", index), "thread-id",
				(json_int_t)vcpu_thread_id(vm->vcpus[i]), "props", "socket-id",
				(json_int_t)index, "core-id", 0, "thread-id", 0, "target",
				"x86_64");
		json_array_append_new(*ret, cpu);
	}
	return 0;
}

static int query_name(struct ctl *ctl, json_t *args, json_t **ret, struct err *e)
{
	(void)args;
	(void)e;
	if (ctl->config.name)
		*ret = json_pack("{s:s}", "name", ctl->config.name);
	return 0;
}

static int query_uuid(struct ctl *ctl, json_t *args, json_t **ret, struct err *e)
{
	const char *uuid = ctl->config.uuid;

	(void)args;
	(void)e;
	*ret = json_pack("{s:s}", "UUID", uuid ? uuid : "00000000-0000-0000-0000-000000000000");
	return 0;
}

static int query_memdev(struct ctl *ctl, json_t *args, json_t **ret, struct err *e)
{
	const struct ram_block *ram = ctl->config.vm->mem.ram;
	json_t *dev;

	(void)args;
	(void)e;
	*ret = json_array();
	if (!ram)
		return 0;
	dev = json_pack("{s:s, s:I, s:b, s:b, s:b, s:b, s:[], s:s}", "id", ram->name, "size",
			(json_int_t)ram->size, "merge", 0, "dump", 1, "prealloc", 0, "share",
			ram->share, "host-nodes", "policy", "default");
	json_array_append_new(*ret, dev);
	return 0;
}

static int query_empty_list(struct ctl *ctl, json_t *args, json_t **ret, struct err *e)
{
	(void)ctl;
	(void)args;
	(void)e;
	*ret = json_array();
	return 0;
}

static int query_chardev(struct ctl *ctl, json_t *args, json_t **ret, struct err *e)
{
	struct chardev_name *name;
	struct list *pos, *tmp;

	(void)args;
	(void)e;
	*ret = json_array();
	list_for_each(pos, tmp, &ctl->chardev_names) {
		name = CONTAINER_OF(pos, struct chardev_name, link);
		json_array_append_new(*ret,
				      json_pack("{s:s, s:o, s:b}", "label", name->label, "filename",
						json_sprintf("%s%s",
							     chardev_is_connected(name->chr)
								     ? ""
								     : "disconnected:",
							     chardev_name(name->chr)),
						"frontend-open", chardev_has_front(name->chr)));
	}
	return 0;
}

static int stop(struct ctl *ctl, json_t *args, json_t **ret, struct err *e)
{
	(void)args;
	(void)ret;
	return migration_stop(ctl->config.migration, e);
}

static int cont(struct ctl *ctl, json_t *args, json_t **ret, struct err *e)
{
	(void)args;
	(void)ret;
	return migration_cont(ctl->config.migration, e);
}

static int quit(struct ctl *ctl, json_t *args, json_t **ret, struct err *e)
{
	(void)args;
	(void)ret;
	(void)e;
	ctl->quitting = true;
	migration_give_up_save(ctl->config.migration);
	vm_request_shutdown(ctl->config.vm, "host-qmp-quit");
	return 0;
}

/* A guest that is on its way to, or in, another process must not be reset here. */
static int system_reset(struct ctl *ctl, json_t *args, json_t **ret, struct err *e)
{
	enum runstate s = ctl->config.vm->runstate;

	(void)args;
	(void)ret;
	if (s == RUNSTATE_INMIGRATE || s == RUNSTATE_FINISH_MIGRATE || s == RUNSTATE_POSTMIGRATE)
		return err_set(e, EBUSY, "The machine cannot be reset in run state '%s'",
			       runstate_name(s));
	vm_request_reset(ctl->config.vm, "host-qmp-system-reset");
	return 0;
}

static int system_powerdown(struct ctl *ctl, json_t *args, json_t **ret, struct err *e)
{
	(void)args;
	(void)ret;
	(void)e;
	if (ctl->config.powerdown)
		ctl->config.powerdown(ctl->config.powerdown_opaque);
	vm_notify(ctl->config.vm, VM_EVENT_POWERDOWN, NULL);
	return 0;
}

static int system_wakeup(struct ctl *ctl, json_t *args, json_t **ret, struct err *e)
{
	(void)args;
	(void)ret;
	if (!vm_wakeup(ctl->config.vm))
		return err_set(e, EINVAL, "Unable to wake up: guest is not in suspended state");
	return 0;
}

const struct command machine_commands[] = {
	{ .name = "query-status", .run = query_status },
	{ .name = "query-kvm", .run = query_kvm },
	{ .name = "query-cpus-fast", .run = query_cpus_fast },
	{ .name = "query-name", .run = query_name },
	{ .name = "query-uuid", .run = query_uuid },
	{ .name = "query-memdev", .run = query_memdev },
	{ .name = "query-memory-devices", .run = query_empty_list },
	{ .name = "query-block", .run = query_empty_list },
	{ .name = "query-chardev", .run = query_chardev },
	{ .name = "stop", .run = stop },
	{ .name = "cont", .run = cont },
	{ .name = "quit", .run = quit },
	{ .name = "system_reset", .run = system_reset },
	{ .name = "system_powerdown", .run = system_powerdown },
	{ .name = "system_wakeup", .run = system_wakeup },
	{ .name = NULL },
};
