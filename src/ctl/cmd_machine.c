/* SPDX-License-Identifier: MIT */
/* QMP commands about the machine: its state, its parts, stop and go. */
#include <errno.h>
#include <string.h>

#include "base/util.h"
#include "ctl/commands.h"
#include "ctl/monitor.h"
#include "ctl/objects.h"
#include "ctl/types.h"
#include "host/chardev.h"
#include "machine/vcpu.h"

static const struct schema_member status_members[] = {
	{ "status", SCHEMA_ENUM, .value_at = types_runstate },
	SCHEMA_MEMBER("running", SCHEMA_BOOL),
	{ .name = NULL },
};
static const struct schema status_info = { .member = status_members };
static const struct schema_member status_ret =
	SCHEMA_MEMBER(NULL, SCHEMA_STRUCT, .members = &status_info);

static const struct schema_member kvm_members[] = {
	SCHEMA_MEMBER("enabled", SCHEMA_BOOL),
	SCHEMA_MEMBER("present", SCHEMA_BOOL),
	{ .name = NULL },
};
static const struct schema kvm_info = { .member = kvm_members };
static const struct schema_member kvm_ret =
	SCHEMA_MEMBER(NULL, SCHEMA_STRUCT, .members = &kvm_info);

static const struct schema_member props_members[] = {
	SCHEMA_MEMBER("socket-id", SCHEMA_INT),
	SCHEMA_MEMBER("core-id", SCHEMA_INT),
	SCHEMA_MEMBER("thread-id", SCHEMA_INT),
	{ .name = NULL },
};
static const struct schema props = { .member = props_members };
static const struct schema_member cpu_members[] = {
	SCHEMA_MEMBER("cpu-index", SCHEMA_INT),
	SCHEMA_MEMBER("qom-type", SCHEMA_STR),
	SCHEMA_MEMBER("qom-path", SCHEMA_STR),
	SCHEMA_MEMBER("thread-id", SCHEMA_INT),
	{ "props", SCHEMA_STRUCT, .optional = true, .members = &props },
	{ "target", SCHEMA_ENUM, .values = types_target },
	{ .name = NULL },
};
static const struct schema cpu_info = { .member = cpu_members };
static const struct schema_member cpus_ret = SCHEMA_MEMBER(NULL, SCHEMA_LIST, .members = &cpu_info);

static const struct schema_member name_members[] = {
	{ "name", SCHEMA_STR, .optional = true },
	{ .name = NULL },
};
static const struct schema name_info = { .member = name_members };
static const struct schema_member name_ret =
	SCHEMA_MEMBER(NULL, SCHEMA_STRUCT, .members = &name_info);

static const struct schema_member uuid_members[] = {
	SCHEMA_MEMBER("UUID", SCHEMA_STR),
	{ .name = NULL },
};
static const struct schema uuid_info = { .member = uuid_members };
static const struct schema_member uuid_ret =
	SCHEMA_MEMBER(NULL, SCHEMA_STRUCT, .members = &uuid_info);

static const char *const policies[] = { "default", "preferred", "bind", "interleave", NULL };
static const struct schema_member memdev_members[] = {
	{ "id", SCHEMA_STR, .optional = true },        SCHEMA_MEMBER("size", SCHEMA_INT),
	SCHEMA_MEMBER("merge", SCHEMA_BOOL),           SCHEMA_MEMBER("dump", SCHEMA_BOOL),
	SCHEMA_MEMBER("prealloc", SCHEMA_BOOL),        SCHEMA_MEMBER("share", SCHEMA_BOOL),
	{ "reserve", SCHEMA_BOOL, .optional = true },  SCHEMA_MEMBER("host-nodes", SCHEMA_INTLIST),
	{ "policy", SCHEMA_ENUM, .values = policies }, { .name = NULL },
};
static const struct schema memdev = { .member = memdev_members };
static const struct schema_member memdevs_ret =
	SCHEMA_MEMBER(NULL, SCHEMA_LIST, .members = &memdev);

static const struct schema_member machine_members[] = {
	SCHEMA_MEMBER("name", SCHEMA_STR),
	{ "alias", SCHEMA_STR, .optional = true },
	{ "is-default", SCHEMA_BOOL, .optional = true },
	SCHEMA_MEMBER("cpu-max", SCHEMA_INT),
	SCHEMA_MEMBER("hotpluggable-cpus", SCHEMA_BOOL),
	SCHEMA_MEMBER("numa-mem-supported", SCHEMA_BOOL),
	SCHEMA_MEMBER("deprecated", SCHEMA_BOOL),
	{ "default-cpu-type", SCHEMA_STR, .optional = true },
	{ "default-ram-id", SCHEMA_STR, .optional = true },
	SCHEMA_MEMBER("acpi", SCHEMA_BOOL),
	{ .name = NULL },
};
static const struct schema machine_info = { .member = machine_members };
static const struct schema_member machines_ret =
	SCHEMA_MEMBER(NULL, SCHEMA_LIST, .members = &machine_info);

static const struct schema_member chardev_members[] = {
	SCHEMA_MEMBER("label", SCHEMA_STR),
	SCHEMA_MEMBER("filename", SCHEMA_STR),
	SCHEMA_MEMBER("frontend-open", SCHEMA_BOOL),
	{ .name = NULL },
};
static const struct schema chardev_info = { .member = chardev_members };
static const struct schema_member chardevs_ret =
	SCHEMA_MEMBER(NULL, SCHEMA_LIST, .members = &chardev_info);

/* There is nothing of the kind, so nothing is said of its members. */
static const struct schema_member empty_ret =
	SCHEMA_MEMBER(NULL, SCHEMA_LIST, .members = &schema_empty);

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

static void add_memdev(const struct ram_block *b, void *arg)
{
	const struct ram_options *o = &b->options;

	json_array_append_new(arg,
			      json_pack("{s:s, s:I, s:b, s:b, s:b, s:b, s:b, s:[], s:s}", "id",
					b->name, "size", (json_int_t)b->size, "merge", o->merge,
					"dump", o->dump, "prealloc", o->prealloc, "share", b->share,
					"reserve", o->reserve, "host-nodes", "policy", "default"));
}

static int query_memdev(struct ctl *ctl, json_t *args, json_t **ret, struct err *e)
{
	(void)args;
	(void)e;
	*ret = json_array();
	objects_for_each_memory(ctl, add_memdev, *ret);
	return 0;
}

static int query_machines(struct ctl *ctl, json_t *args, json_t **ret, struct err *e)
{
	(void)ctl;
	(void)args;
	(void)e;
	*ret = json_pack("[{s:s, s:s, s:b, s:i, s:b, s:b, s:b, s:s, s:s, s:b}]", "name",
			 LAYOUT_MACHINE_TYPE, "alias", "baton", "is-default", 1, "cpu-max",
			 VM_MAX_VCPUS, "hotpluggable-cpus", 0, "numa-mem-supported", 0,
			 "deprecated", 0, "default-cpu-type", "host-x86_64-cpu", "default-ram-id",
			 "pc.ram", "acpi", 1);
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
	{ .name = "query-status", .returns = &status_ret, .run = query_status },
	{ .name = "query-kvm", .returns = &kvm_ret, .run = query_kvm },
	{ .name = "query-cpus-fast", .returns = &cpus_ret, .run = query_cpus_fast },
	{ .name = "query-name", .returns = &name_ret, .run = query_name },
	{ .name = "query-uuid", .returns = &uuid_ret, .run = query_uuid },
	{ .name = "query-machines", .returns = &machines_ret, .run = query_machines },
	{ .name = "query-memdev", .returns = &memdevs_ret, .run = query_memdev },
	{ .name = "query-memory-devices", .returns = &empty_ret, .run = query_empty_list },
	{ .name = "query-chardev", .returns = &chardevs_ret, .run = query_chardev },
	{ .name = "stop", .run = stop },
	{ .name = "cont", .run = cont },
	{ .name = "quit", .run = quit },
	{ .name = "system_reset", .run = system_reset },
	{ .name = "system_powerdown", .run = system_powerdown },
	{ .name = "system_wakeup", .run = system_wakeup },
	{ .name = NULL },
};
