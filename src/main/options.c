/* SPDX-License-Identifier: MIT */
/* The command line. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/parse.h"
#include "base/util.h"
#include "ctl/channels.h"
#include "ctl/chardev_opts.h"
#include "ctl/netdev_opts.h"
#include "machine/vm.h"
#include "main/firmware.h"
#include "main/options.h"
#include "main/trace_options.h"

/* One option; its handler gets the argument, NULL if it takes none. */
struct option {
	const char *name;
	const char *arg; /* how help shows it; NULL: no argument */
	int (*parse)(struct options *o, const char *arg, struct err *e);
	const char *help;
};

/* A property `key=value` of an option with commas in it. */
struct property {
	const char *key;
	int (*parse)(struct options *o, void *to, const char *value, struct err *e);
};

static int on_off(enum on_off_auto *to, const char *value, struct err *e)
{
	bool on;
	int r = parse_bool(value, &on, e);

	if (!r)
		*to = on ? OPTION_ON : OPTION_OFF;
	return r;
}

static int machine_type(struct options *o, void *to, const char *value, struct err *e)
{
	(void)o;
	(void)to;
	if (!strcmp(value, "baton") || !strcmp(value, LAYOUT_MACHINE_TYPE))
		return 0;
	return err_set(e, EINVAL, "unsupported machine type '%s'; there is one, 'baton'", value);
}

static int machine_memory_backend(struct options *o, void *to, const char *value, struct err *e)
{
	(void)to;
	(void)e;
	o->memory_backend = value;
	return 0;
}

static int machine_aux_ram_share(struct options *o, void *to, const char *value, struct err *e)
{
	(void)to;
	return on_off(&o->aux_ram_share, value, e);
}

static int machine_huge_pages(struct options *o, void *to, const char *value, struct err *e)
{
	(void)to;
	return on_off(&o->huge_pages, value, e);
}

static int accel_name(struct options *o, void *to, const char *value, struct err *e)
{
	(void)o;
	(void)to;
	if (!strcmp(value, "kvm"))
		return 0;
	return err_set(e, EINVAL, "'%s' is no accelerator of this program; there is one, 'kvm'",
		       value);
}

static const struct property machine_properties[] = {
	{ "type", machine_type },
	{ "memory-backend", machine_memory_backend },
	{ "aux-ram-share", machine_aux_ram_share },
	{ "memfd-alloc", machine_aux_ram_share },
	{ "huge-pages", machine_huge_pages },
	{ "accel", accel_name },
	{ NULL, NULL },
};

static int memory_size(struct options *o, void *to, const char *value, struct err *e)
{
	int r;

	(void)to;
	r = parse_size(value, MIB, &o->ram_size, e);
	if (!r && !o->ram_size)
		return err_set(e, EINVAL, "a machine needs RAM, 0 bytes are none");
	return r;
}

static const struct property memory_properties[] = {
	{ "size", memory_size },
	{ NULL, NULL },
};

static int smp_cpus(struct options *o, void *to, const char *value, struct err *e)
{
	uint64_t n;
	int r;

	(void)to;
	r = parse_uint(value, UINT32_MAX, &n, e);
	if (r)
		return r;
	if (n < 1 || n > VM_MAX_VCPUS)
		return err_set(e, EINVAL, "Invalid SMP CPUs %llu. The max CPUs supported is %d",
			       (unsigned long long)n, VM_MAX_VCPUS);
	o->vcpus = (unsigned int)n;
	return 0;
}

static const struct property smp_properties[] = {
	{ "cpus", smp_cpus },
	{ NULL, NULL },
};

static const struct {
	const char *name;
	const char *help;
} cpu_models[] = {
	{ "host", "the processor of this host, as far as KVM offers it" },
	{ "max", "the same" },
};

static int cpu_model(struct options *o, void *to, const char *value, struct err *e)
{
	(void)o;
	(void)to;
	for (size_t i = 0; i < ARRAY_SIZE(cpu_models); i++)
		if (!strcmp(value, cpu_models[i].name))
			return 0;
	return err_set(e, EINVAL, "unable to find CPU model '%s'; there is one, 'host'", value);
}

static const struct property cpu_properties[] = {
	{ "model", cpu_model },
	{ NULL, NULL },
};

static const struct property accel_properties[] = {
	{ "accel", accel_name },
	{ NULL, NULL },
};

/* A copy of @text that may be cut into pieces and lives as long as the options. */
static char *split_buffer(struct options *o, const char *text, struct err *e)
{
	char *b;

	if (o->nr_buffers == ARRAY_SIZE(o->buffers) || strlen(text) >= sizeof(o->buffers[0])) {
		err_set(e, E2BIG, "too many or too long options");
		return NULL;
	}
	b = o->buffers[o->nr_buffers++];
	memcpy(b, text, strlen(text) + 1);
	return b;
}

static int set_property(struct options *o, const struct property *table, void *to, const char *key,
			const char *value, struct err *e)
{
	for (const struct property *p = table; p->key; p++) {
		if (strcmp(p->key, key))
			continue;
		int r = p->parse(o, to, value, e);

		return r ? err_prefix(e, "%s=%s", key, value) : 0;
	}
	return err_set(e, EINVAL, "there is no property '%s'", key);
}

struct properties {
	struct options *o;
	const struct property *table;
	void *to;
};

static int set_piece(void *opaque, char *key, char *value, bool first, struct err *e)
{
	const struct properties *p = opaque;

	if (value)
		return set_property(p->o, p->table, p->to, key, value, e);
	if (!*key)
		return 0;
	return first ? set_property(p->o, p->table, p->to, p->table[0].key, key, e)
		     : set_property(p->o, p->table, p->to, key, "on", e);
}

/*
 * `VALUE,key=value,...`: a first piece without `=` is the value of the first
 * property of the table. An empty piece is skipped, as after a trailing comma.
 */
static int parse_properties(struct options *o, const struct property *table, void *to,
			    const char *arg, bool keep_text, struct err *e)
{
	struct properties list = { .o = o, .table = table, .to = to };
	char scratch[4096], *text = scratch;

	if (keep_text)
		text = split_buffer(o, arg, e);
	else if (strlen(arg) < sizeof(scratch))
		memcpy(scratch, arg, strlen(arg) + 1);
	else
		return err_set(e, E2BIG, "the option is too long");
	if (!text)
		return -e->code;
	return parse_pieces(text, set_piece, &list, e);
}

static int parse_machine(struct options *o, const char *arg, struct err *e)
{
	return parse_properties(o, machine_properties, NULL, arg, true, e);
}

static int parse_memory(struct options *o, const char *arg, struct err *e)
{
	return parse_properties(o, memory_properties, NULL, arg, false, e);
}

static int parse_smp(struct options *o, const char *arg, struct err *e)
{
	return parse_properties(o, smp_properties, NULL, arg, false, e);
}

static int parse_cpu(struct options *o, const char *arg, struct err *e)
{
	return parse_properties(o, cpu_properties, NULL, arg, false, e);
}

static int parse_accel(struct options *o, const char *arg, struct err *e)
{
	return parse_properties(o, accel_properties, NULL, arg, false, e);
}

static int parse_object(struct options *o, const char *arg, struct err *e)
{
	struct backend_option *b = &o->objects[o->nr_objects];
	int r;

	if (o->nr_objects == OPTIONS_MAX_OBJECTS)
		return err_set(e, E2BIG, "more than %d objects", OPTIONS_MAX_OBJECTS);
	r = objects_parse(b, arg, e);
	if (r)
		return r;
	for (unsigned int i = 0; i < o->nr_objects; i++)
		if (!strcmp(o->objects[i].id, b->id))
			return err_set(e, EEXIST, "two objects have the id '%s'", b->id);
	o->nr_objects++;
	return 0;
}

static int parse_serial(struct options *o, const char *arg, struct err *e)
{
	if (o->nr_serial == LAYOUT_NR_SERIAL)
		return err_set(e, E2BIG, "there are %d serial ports at most", LAYOUT_NR_SERIAL);
	o->serial[o->nr_serial++] = arg;
	return 0;
}

static int parse_qmp(struct options *o, const char *arg, struct err *e)
{
	if (o->nr_qmp == OPTIONS_MAX_MONITORS)
		return err_set(e, E2BIG, "more than %d QMP monitors", OPTIONS_MAX_MONITORS);
	o->qmp[o->nr_qmp++] = arg;
	return 0;
}

static int parse_qmp_pretty(struct options *o, const char *arg, struct err *e)
{
	int r = parse_qmp(o, arg, e);

	if (!r)
		o->qmp_pretty[o->nr_qmp - 1] = true;
	return r;
}

static int parse_chardev(struct options *o, const char *arg, struct err *e)
{
	if (o->nr_chardev == OPTIONS_MAX_CHARDEVS)
		return err_set(e, E2BIG, "more than %d character devices", OPTIONS_MAX_CHARDEVS);
	o->chardev[o->nr_chardev++] = arg;
	return 0;
}

static int parse_netdev(struct options *o, const char *arg, struct err *e)
{
	if (o->nr_netdev == OPTIONS_MAX_NETDEVS)
		return err_set(e, E2BIG, "more than %d network back ends", OPTIONS_MAX_NETDEVS);
	o->netdev[o->nr_netdev++] = arg;
	return 0;
}

static int parse_mon(struct options *o, const char *arg, struct err *e)
{
	if (o->nr_mon == OPTIONS_MAX_MONITORS)
		return err_set(e, E2BIG, "more than %d monitors", OPTIONS_MAX_MONITORS);
	o->mon[o->nr_mon++] = arg;
	return 0;
}

static int parse_monitor(struct options *o, const char *arg, struct err *e)
{
	if (!strcmp(arg, "none"))
		return 0;
	if (o->nr_monitor == OPTIONS_MAX_MONITORS)
		return err_set(e, E2BIG, "more than %d monitors", OPTIONS_MAX_MONITORS);
	o->monitor[o->nr_monitor++] = arg;
	return 0;
}

static int parse_incoming(struct options *o, const char *arg, struct err *e)
{
	struct channel c;
	int r;

	o->incoming = true;
	if (!strcmp(arg, "defer")) {
		o->has_main = false;
		return 0;
	}
	r = channel_parse_incoming(arg, &c, e);
	if (r)
		return r;
	if (c.type == CHANNEL_MAIN) {
		o->main_channel = c;
		o->has_main = true;
	} else {
		o->cpr_channel = c;
		o->has_cpr = true;
	}
	return 0;
}

/* The capability of property `x-NAME`; one whose own name begins so has no second one. */
static const struct cap_desc *find_cap(const char *property, size_t n)
{
	for (const struct cap_desc *d = migration_cap_table; d->name; d++) {
		const char *name = strncmp(d->name, "x-", 2) ? d->name : d->name + 2;

		if (n > 2 && !strncmp(property, "x-", 2) && strlen(name) == n - 2 &&
		    !strncmp(name, property + 2, n - 2))
			return d;
	}
	return NULL;
}

static int global_mode(struct options *o, const char *value, struct err *e)
{
	for (int mode = 0; mode < MODE_COUNT; mode++) {
		if (strcmp(migration_mode_name((enum migration_mode)mode), value))
			continue;
		o->mode = (enum migration_mode)mode;
		return 0;
	}
	return err_set(e, EINVAL, "Parameter 'mode' does not accept value '%s'", value);
}

static int parse_global(struct options *o, const char *arg, struct err *e)
{
	static const char driver[] = "migration.";
	const char *property = arg + strlen(driver), *value = strchr(arg, '=');
	const struct cap_desc *cap;
	bool on;
	int r;

	if (strncmp(arg, driver, strlen(driver)) || !value || value < property)
		return err_set(e, EINVAL,
			       "known are migration.mode=MODE and migration.x-CAPABILITY=on|off");
	if (!strncmp(property, "mode=", 5))
		return global_mode(o, value + 1, e);
	cap = find_cap(property, (size_t)(value - property));
	if (!cap)
		return err_set(e, EINVAL, "Property '%.*s' not found", (int)(value - arg), arg);
	r = parse_bool(value + 1, &on, e);
	if (r)
		return r;
	if (cap->cap != CAP_COUNT)
		o->caps[cap->cap] = on;
	else if (on)
		return err_set(e, ENOTSUP, "Capability '%s' is not supported", cap->name);
	return 0;
}

static int parse_debug(struct options *o, const char *arg, struct err *e)
{
	if (strncmp(arg, "handover=", 9))
		return err_set(e, EINVAL, "known is handover=STEP:kill|stop|fail|crash|hang");
	o->fault = arg + 9;
	return 0;
}

static int parse_watchdog_action(struct options *o, const char *arg, struct err *e)
{
	if (watchdog_action_parse(arg, &o->watchdog_action))
		return 0;
	return err_set(e, EINVAL,
		       "'%s' is no action: it is reset, shutdown, poweroff, pause, debug or none",
		       arg);
}

static int parse_action(struct options *o, const char *arg, struct err *e)
{
	if (strncmp(arg, "watchdog=", 9))
		return err_set(e, EINVAL, "known is watchdog=ACTION");
	return parse_watchdog_action(o, arg + 9, e);
}

static int parse_fw_cfg(struct options *o, const char *arg, struct err *e)
{
	if (o->nr_fw_cfg == OPTIONS_MAX_FW_CFG)
		return err_set(e, E2BIG, "more than %d files", OPTIONS_MAX_FW_CFG);
	o->fw_cfg[o->nr_fw_cfg++] = arg;
	return firmware_check_fw_cfg(arg, e);
}

static int parse_trace(struct options *o, const char *arg, struct err *e)
{
	if (o->nr_trace == OPTIONS_MAX_TRACE)
		return err_set(e, E2BIG, "more than %d; events=FILE takes as many as there are",
			       OPTIONS_MAX_TRACE);
	o->trace[o->nr_trace++] = arg;
	return 0;
}

static int msg_timestamp(struct options *o, void *to, const char *value, struct err *e)
{
	(void)to;
	return on_off(&o->timestamp, value, e);
}

static const struct property msg_properties[] = {
	{ "timestamp", msg_timestamp },
	{ NULL, NULL },
};

static int parse_msg(struct options *o, const char *arg, struct err *e)
{
	return parse_properties(o, msg_properties, NULL, arg, false, e);
}

static int parse_sandbox(struct options *o, const char *arg, struct err *e)
{
	return sandbox_options_parse(&o->sandbox, arg, e);
}

static int parse_run_with(struct options *o, const char *arg, struct err *e)
{
	return run_with_options_parse(&o->run_with, arg, e);
}

static int parse_drive(struct options *o, const char *arg, struct err *e)
{
	return drive_options_parse(&o->drives, arg, e);
}

static int parse_blockdev(struct options *o, const char *arg, struct err *e)
{
	return drive_options_parse_blockdev(&o->drives, arg, e);
}

static int parse_device(struct options *o, const char *arg, struct err *e)
{
	return device_options_parse(&o->devices, arg, e);
}

static int parse_none(struct options *o, const char *arg, struct err *e)
{
	(void)o;
	if (strcmp(arg, "none"))
		return err_set(e, EINVAL, "only 'none' is supported, not '%s'", arg);
	return 0;
}

#define STRING_OPTION(member)                                                        \
	static int parse_##member(struct options *o, const char *arg, struct err *e) \
	{                                                                            \
		(void)e;                                                             \
		o->member = arg;                                                     \
		return 0;                                                            \
	}
#define FLAG_OPTION(member)                                                          \
	static int parse_##member(struct options *o, const char *arg, struct err *e) \
	{                                                                            \
		(void)arg;                                                           \
		(void)e;                                                             \
		o->member = true;                                                    \
		return 0;                                                            \
	}

STRING_OPTION(name)
STRING_OPTION(pidfile)
STRING_OPTION(kernel)
STRING_OPTION(initrd)
STRING_OPTION(append)
STRING_OPTION(bios)
STRING_OPTION(log_file)
FLAG_OPTION(help)
FLAG_OPTION(version)
FLAG_OPTION(stopped)
FLAG_OPTION(nodefaults)
FLAG_OPTION(nographic)
FLAG_OPTION(no_reboot)
FLAG_OPTION(only_migratable)
STRING_OPTION(dump_vmstate)

static int parse_enable_kvm(struct options *o, const char *arg, struct err *e)
{
	(void)o;
	(void)arg;
	(void)e;
	return 0;
}

static const struct option options[] = {
	{ "m", "SIZE", parse_memory, "RAM: a number of MiB, or with suffix K, M, G, T" },
	{ "smp", "N", parse_smp, "number of vCPUs" },
	{ "cpu", "host", parse_cpu, "the processor the guest sees" },
	{ "machine", "PROPERTIES", parse_machine,
	  "memory-backend=ID, aux-ram-share=on|off, huge-pages=on|off" },
	{ "M", "PROPERTIES", parse_machine, "the same" },
	{ "accel", "kvm", parse_accel, "what runs the guest" },
	{ "enable-kvm", NULL, parse_enable_kvm, "the same, and always so" },
	{ "object", "TYPE,id=ID,size=SIZE[,...]", parse_object,
	  "memory-backend-memfd, -file (mem-path=), -shm or -ram; or help" },
	{ "kernel", "FILE", parse_kernel, "Linux bzImage or PVH ELF to boot" },
	{ "initrd", "FILE", parse_initrd, "initial RAM disk" },
	{ "append", "TEXT", parse_append, "kernel command line" },
	{ "bios", "FILE", parse_bios, "firmware to start the guest in, such as bios-256k.bin" },
	{ "action", "watchdog=ACTION", parse_action,
	  "when a watchdog runs out: reset, shutdown, poweroff, pause, debug or none" },
	{ "watchdog-action", "ACTION", parse_watchdog_action, "the same" },
	{ "fw_cfg", "name=NAME,string=TEXT|file=FILE", parse_fw_cfg,
	  "a file for the guest's firmware or system; repeatable" },
	{ "chardev", "BACKEND,id=ID[,...]", parse_chardev,
	  "character device: null, stdio, pty, file (path=, append=), socket (path= or host=, port= "
	  "or fd=; server=, wait=, reconnect=, nodelay=, abstract=)" },
	{ "serial", "DEV", parse_serial,
	  "serial port: stdio, pty, null, none, file:PATH, unix:PATH[,server=on,wait=off], "
	  "tcp:HOST:PORT[,...], chardev:ID; up to 4 times" },
	{ "mon", "ID[,mode=MODE][,pretty=on]", parse_mon,
	  "monitor on character device ID: readline (human) or control (QMP)" },
	{ "qmp", "DEV", parse_qmp, "QMP monitor on such a device" },
	{ "qmp-pretty", "DEV", parse_qmp_pretty, "the same, with indented answers" },
	{ "monitor", "DEV", parse_monitor, "human monitor on such a device; or none" },
	{ "display", "none", parse_none, "there is no display" },
	{ "vga", "none", parse_none, "nor a graphics adapter" },
	{ "netdev", "TYPE,id=ID[,...]", parse_netdev,
	  "network back end: tap (ifname=, fd=, fds=, queues=, script=, downscript=, vnet_hdr=), "
	  "stream (addr.type=, addr.path=, addr.host=, addr.port=, addr.str=, server=, "
	  "reconnect-ms=) or passt; or help" },
	{ "nic", "none", parse_none, "no network: the only value, see -netdev and -device" },
	{ "net", "none", parse_none, "the same" },
	{ "nographic", NULL, parse_nographic, "first serial port on stdio (Ctrl-a x quits)" },
	{ "nodefaults", NULL, parse_nodefaults, "no serial port unless asked for" },
	{ "no-reboot", NULL, parse_no_reboot, "a reset of the guest ends the process" },
	{ "name", "NAME", parse_name, "name of the guest" },
	{ "pidfile", "FILE", parse_pidfile, "write the process id there" },
	{ "S", NULL, parse_stopped, "do not start; wait for the monitor's cont" },
	{ "incoming", "ADDRESS", parse_incoming,
	  "take a guest over: defer, a URI, or a channel as JSON or dotted keys; repeatable" },
	{ "only-migratable", NULL, parse_only_migratable,
	  "refuse devices whose state cannot be saved" },
	{ "dump-vmstate", "FILE", parse_dump_vmstate,
	  "describe the state tables in FILE as JSON, and end" },
	{ "run-with", "[user=USER|UID:GID][,chroot=DIR]", parse_run_with,
	  "who the process becomes, and its root directory, before the guest runs" },
	{ "sandbox", "on|off[,spawn=allow|deny][,path=PATH]...", parse_sandbox,
	  "keep the process to the system calls, and paths, that it needs" },
	{ "drive", "file=PATH[,KEY=VALUE...]", parse_drive,
	  "disk image: format=raw, if=virtio|none, id=, readonly=, cache=, discard=, werror=, ...; "
	  "see -drive help" },
	{ "blockdev", "driver=raw|file|host_device,...", parse_blockdev,
	  "the same as nodes, as keys or JSON: node-name=, file.filename=, ...; see -blockdev help" },
	{ "device", "DRIVER[,PROPERTIES]", parse_device,
	  "add a device, also as a JSON object; help, or DRIVER,help; repeatable" },
	{ "trace", "PATTERN|events=FILE", parse_trace,
	  "enable trace events ('-PATTERN': disable), file=FILE: write them there; repeatable" },
	{ "D", "FILE", parse_log_file, "append trace events to FILE, not to standard error" },
	{ "msg", "timestamp=on|off", parse_msg, "the time before messages and trace events" },
	{ "global", "migration.PROPERTY=VALUE", parse_global,
	  "mode=MODE, or x-CAPABILITY=on|off: what the monitor would set; repeatable" },
	{ "debug", "handover=STEP:FAULT", parse_debug,
	  "test aid: kill, stop, fail, crash or hang at a step" },
	{ "version", NULL, parse_version, "print the version" },
	{ "help", NULL, parse_help, "print this" },
	{ "h", NULL, parse_help, "the same" },
};

static void print_properties(const char *of, const struct property *table)
{
	printf("%s properties:\n", of);
	for (; table->key; table++)
		printf("  %s=<value>\n", table->key);
}

static void help_machine(const char *arg)
{
	if (strchr(arg, ',')) {
		print_properties(LAYOUT_MACHINE_TYPE, machine_properties);
		return;
	}
	printf("Supported machines are:\n%-20s %s\n%-20s %s\n", "baton",
	       "alias of " LAYOUT_MACHINE_TYPE, LAYOUT_MACHINE_TYPE, "PC of Baton, KVM (default)");
}

static void help_cpu(const char *arg)
{
	(void)arg;
	printf("Available CPUs:\n");
	for (size_t i = 0; i < ARRAY_SIZE(cpu_models); i++)
		printf("  %-8s %s\n", cpu_models[i].name, cpu_models[i].help);
}

static void help_accel(const char *arg)
{
	(void)arg;
	printf("Accelerators supported by this program:\nkvm\n");
}

static void help_chardev(const char *arg)
{
	const char *name, *key;

	for (size_t i = 0; (name = chardev_backend_name(i)); i++) {
		if (strncmp(arg, name, strlen(name)) || arg[strlen(name)] != ',')
			continue;
		printf("%s options:\n", name);
		for (size_t j = 0; (key = chardev_backend_key(name, j)); j++)
			printf("  %s=<value>\n", key);
		return;
	}
	printf("Available chardev backend types:\n");
	for (size_t i = 0; (name = chardev_backend_name(i)); i++)
		printf("  %s\n", name);
}

/* Options whose argument may be `help`, `?`, or end with `,help`. */
static const struct {
	const char *name;
	void (*print)(const char *arg);
} helps[] = {
	{ "drive", drive_options_print_help },
	{ "blockdev", drive_options_print_blockdev_help },
	{ "machine", help_machine },
	{ "M", help_machine },
	{ "cpu", help_cpu },
	{ "accel", help_accel },
	{ "device", device_options_print_help },
	{ "object", objects_print_help },
	{ "trace", trace_print_help },
	{ "chardev", help_chardev },
	{ "netdev", netdev_print_help },
};

static bool asks_for_help(const char *arg)
{
	const char *last = strrchr(arg, ',');

	/* A file may be called "a,help" (mem-path=a,,help). */
	if (strchr(arg, '='))
		return false;
	last = last ? last + 1 : arg;
	return !strcmp(last, "help") || !strcmp(last, "?");
}

/* True if the option was a question, which main() answers when all options are known. */
static bool take_question(struct options *o, const char *name, const char *arg)
{
	if (!arg || !asks_for_help(arg))
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(helps); i++) {
		if (strcmp(helps[i].name, name))
			continue;
		/* What there is no help on is refused as it would be with any other property. */
		if (helps[i].print == device_options_print_help && !device_options_has_help(arg))
			return false;
		o->help = true;
		o->help_on = helps[i].print;
		o->help_arg = arg;
		return true;
	}
	return false;
}

void options_print_help(const struct options *o)
{
	if (o->help_on) {
		o->help_on(o->help_arg);
		return;
	}
	printf("usage: baton [options]\n\n");
	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		char left[64];

		snprintf(left, sizeof(left), "-%s%s%s", options[i].name, options[i].arg ? " " : "",
			 options[i].arg ? options[i].arg : "");
		printf("  %-34s %s\n", left, options[i].help);
	}
}

int options_parse(struct options *o, int argc, char **argv, struct err *e)
{
	*o = (struct options){ .vcpus = 1 };
	for (int i = 1; i < argc; i++) {
		const struct option *opt = NULL;
		const char *name = argv[i], *arg = NULL;
		int r;

		if (name[0] != '-')
			return err_set(e, EINVAL, "'%s' is no option", name);
		name += name[1] == '-' ? 2 : 1;
		for (size_t j = 0; j < ARRAY_SIZE(options) && !opt; j++)
			if (!strcmp(options[j].name, name))
				opt = &options[j];
		if (!opt)
			return err_set(e, EINVAL, "%s: invalid option", argv[i]);
		if (opt->arg) {
			if (i + 1 == argc)
				return err_set(e, EINVAL, "%s: requires an argument", argv[i]);
			arg = argv[++i];
		}
		r = take_question(o, name, arg) ? 0 : opt->parse(o, arg, e);
		if (r)
			return arg ? err_prefix(e, "-%s %s", name, arg) : r;
	}
	return 0;
}
