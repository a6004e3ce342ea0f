/* SPDX-License-Identifier: MIT */
/* Composition root: builds the machine the command line describes and runs it. */
#include <errno.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json_memory.h"
#include "base/log.h"
#include "base/trace.h"
#include "base/util.h"
#include "boot/boot.h"
#include "ctl/carry.h"
#include "ctl/ctl.h"
#include "ctl/drives.h"
#include "ctl/netdevs.h"
#include "dev/pc/pc.h"
#include "host/graft.h"
#include "host/hostid.h"
#include "host/process.h"
#include "host/sandbox.h"
#include "host/sock.h"
#include "machine/hugepages.h"
#include "machine/vm.h"
#include "main/boot_images.h"
#include "main/consoles_carry.h"
#include "main/dump.h"
#include "main/firmware.h"
#include "main/options.h"
#include "main/ram.h"
#include "main/trace_options.h"
#include "state/stream.h"
#include "update/fallback.h"
#include "update/migration.h"
#include "update/trial.h"
#include "update/wire.h"

/* Everything main() puts together; taken apart in reverse. */
struct program {
	char **argv;
	struct options opt;
	struct cpr_state cpr; /* what the old side handed over              */
	bool has_cpr;
	bool came_back;       /* a newer image could not run the guest and gave it back */
	bool cpr_by_exec;     /* by the image this one replaced, not by a process */
	bool kept_privileges; /* an image before gave up what -run-with asks for */
	int cpr_sock;
	struct graft *graft; /* from the old image in this address space; NULL: there is none */
	struct ram_origin origin;
	struct firmware firmware;
	struct boot *boot;
	struct boot_images images;
	struct vm *vm;
	struct migration *migration;
	struct ctl *ctl;
	struct consoles consoles;
	struct netdevs netdevs;
	struct drives drives;
	struct consoles_carry carry;
	json_t *came; /* devices of the image before; NULL: there was none */
	struct migration_observer observer;
	struct hugepages *hugepages; /* NULL: switched off */
	struct loop_fd signals;
	struct fallback fallback; /* by exec: to the image before */
	int trial_fd; /* this is a trial of cpr-exec, which is answered there; -1: it is none */
	int signal_fd;
	int pidfile_fd; /* of -pidfile, while its name can be found; -1: not open */
};

/* After the guest has touched what it boots with. */
#define HUGE_PAGES_FIRST_NS UINT64_C(1000000000)

/* From the other side of an update, if there is one. */
static int receive_guest(struct program *p, struct err *e)
{
	int r;

	if (p->cpr_by_exec || p->graft) {
		if (p->opt.has_cpr)
			log_warn("ignoring cpr channel for migration mode %s",
				 p->graft ? "cpr-graft" : "cpr-exec");
		return 0;
	}
	if (!p->opt.has_cpr)
		return 0;
	r = migration_recv_cpr(&p->opt.cpr_channel,
			       p->opt.run_with.privileges.user ? &p->opt.run_with.privileges : NULL,
			       &p->cpr, &p->cpr_sock, e);
	p->has_cpr = !r;
	return r;
}

static void quit_requested(void *opaque)
{
	struct program *p = opaque;

	migration_give_up_save(p->migration);
	vm_request_shutdown(p->vm, "host-ui");
}

/* With -nographic the first serial port is on stdio; else there is one that leads nowhere. */
static void default_serial(struct options *o)
{
	if (o->nr_serial)
		return;
	if (o->nographic)
		o->serial[o->nr_serial++] = "stdio";
	else if (!o->nodefaults)
		o->serial[o->nr_serial++] = "null";
}

static unsigned int serial_mask(const struct options *o)
{
	unsigned int mask = 0;

	for (unsigned int i = 0; i < o->nr_serial; i++)
		if (strcmp(o->serial[i], "none"))
			mask |= 1u << i;
	return mask;
}

static int create_drives(struct program *p, struct err *e)
{
	struct drives_came came = { .list = NULL };
	int r = drives_init(&p->drives, p->vm, e);

	if (!r && p->has_cpr)
		r = drives_find_carried(&p->cpr, &came, e);
	came.came_back = p->came_back;
	if (!r)
		r = drive_options_create(&p->opt.drives, &p->drives, &came, &p->opt.devices, e);
	drives_came_fini(&came);
	return r;
}

/* No guest is lost for a client: an image that has it back goes on where another one would refuse. */
static int without_fail(const struct program *p, int r, const struct err *e)
{
	if (!r || !p->came_back)
		return r;
	log_error("%s; who is connected may have to connect again", e->msg);
	return 0;
}

static int create_devices(struct program *p, struct err *e)
{
	struct pc_config cfg = { 0 };
	unsigned int how = 0;
	json_t *later = NULL;
	int r = 0;

	if (p->has_cpr)
		how |= CONSOLES_KEEP_FILES;
	if (p->has_cpr || p->opt.incoming)
		how |= CONSOLES_RETRY;
	/* There is no image left that could do better. */
	if (p->came_back)
		how |= CONSOLES_MAY_MISS;
	if (p->trial_fd >= 0)
		how |= CONSOLES_NOWHERE;
	else if (p->has_cpr && (p->cpr_by_exec || p->graft))
		r = without_fail(p, consoles_find_carried(&p->cpr, &p->came, e), e);
	else if (p->has_cpr)
		r = consoles_find_announced(&p->cpr, &later, e);
	if (r)
		return r;
	if (p->came)
		how |= CONSOLES_HELD;
	if (later)
		how |= CONSOLES_LATER;
	r = consoles_open(&p->consoles, p->vm->loop, how, p->came ? p->came : later, &p->cpr,
			  quit_requested, p, e);
	json_decref(later);
	if (!r)
		r = consoles_offer(&p->consoles, p->vm, e);
	if (r)
		return r;
	for (unsigned int i = 0; i < LAYOUT_NR_SERIAL; i++)
		if (p->consoles.serial[i])
			cfg.serial[i] = p->consoles.serial[i]->chr;
	r = netdevs_open(&p->netdevs, p->vm, p->opt.netdev, p->opt.nr_netdev,
			 p->has_cpr ? &p->cpr : NULL, e);
	if (!r)
		r = create_drives(p, e);
	if (!r)
		r = firmware_create_fw_cfg(&p->firmware, p->vm, &p->opt, serial_mask(&p->opt), e);
	if (!r)
		r = pc_create_devices(p->vm, &cfg, e);
	if (!r && p->graft)
		r = migration_give_doorbells(&p->cpr, p->vm, e);
	if (!r)
		r = device_options_create(&p->opt.devices, p->vm, p->has_cpr ? &p->cpr : NULL, e);
	doorbells_drop_given(p->vm);
	if (!r && p->opt.only_migratable)
		r = device_check_all_migratable(p->vm, e);
	return r;
}

static int boot_machine(void *opaque, struct vm *vm, struct err *e)
{
	if (!opaque)
		return err_set(e, ENOENT, "what the guest boots from is gone");
	return boot_load(opaque, vm, e);
}

/* A guest that runs needs its kernel's file for a reset only, and that may never come. */
static int open_boot(struct program *p, const struct boot_config *cfg, uint64_t ram_bytes,
		     struct err *e)
{
	int r = boot_open(&p->boot, cfg, ram_bytes, e);

	if (!r || !p->came_back)
		return r;
	log_error("%s; the guest goes on, and cannot be reset", e->msg);
	return 0;
}

/* The KVM objects of the old image; on failure this process ends, and they are not touched. */
static int adopt_vm(struct program *p, struct vm_adopted *out, struct snapshot *kept, struct err *e)
{
	unsigned int n = 0;
	int r;

	while (cpr_state_find_fd(&p->cpr, VCPU_FD_NAME, n) >= 0)
		n++;
	if (n != p->opt.vcpus)
		return err_set(e, EINVAL, "the old machine has %u vCPUs, this one %u: use -smp %u",
			       n, p->opt.vcpus, n);
	snapshot_init(kept, LAYOUT_MACHINE_TYPE);
	r = vm_list_kept(n, kept, e);
	if (!r)
		r = stream_decode(graft_data(&p->graft->machine), p->graft->machine.len, kept, e);
	*out = (struct vm_adopted){ .graft = p->graft, .kept = kept };
	if (!r)
		r = out->kvm_fd = cpr_state_dup_fd(&p->cpr, KVM_FD_NAME, 0, e);
	if (r >= 0)
		r = out->vm_fd = cpr_state_dup_fd(&p->cpr, VM_FD_NAME, 0, e);
	for (unsigned int i = 0; r >= 0 && i < n; i++)
		r = out->vcpu_fds[i] = cpr_state_dup_fd(&p->cpr, VCPU_FD_NAME, i, e);
	return r < 0 ? r : 0;
}

/* Not while an update holds the state of the button's device. */
static void press_power_button(void *opaque)
{
	struct vm *vm = opaque;

	if (!vm->busy && !vm->foreign)
		pc_power_button(vm);
}

static int create_machine(struct program *p, struct err *e)
{
	const struct options *o = &p->opt;
	struct boot_config boot = {
		.kernel = o->kernel,
		.initrd = o->initrd,
		.append = o->append,
		.serial_mask = serial_mask(o),
	};
	struct vm_config cfg = { .nr_vcpus = o->vcpus, .no_reboot = o->no_reboot };
	struct vm_adopted adopted;
	struct snapshot kept = { .nr_items = 0 };
	int r;

	ram_origin_init(&p->origin, o, p->has_cpr ? &p->cpr : NULL, p->graft);
	p->origin.trial = p->trial_fd >= 0;
	r = firmware_plan(&p->firmware, o, &p->origin, e);
	if (!r)
		r = ram_create(&cfg.mem, o, &p->origin, p->firmware.on ? &p->firmware.rom : NULL,
			       e);
	if (r)
		return r;
	boot.firmware = p->firmware.on;
	if (p->kept_privileges)
		boot_images_find(&p->cpr, &boot);
	cfg.cpuid_in_state = p->cpr_by_exec;
	r = open_boot(p, &boot, cfg.mem.ram->size, e);
	if (!r && p->cpr_by_exec && cpr_state_find_fd(&p->cpr, KVM_FD_NAME, 0) >= 0) {
		r = cpr_state_dup_fd(&p->cpr, KVM_FD_NAME, 0, e);
		cfg.kvm_fd = MAX(r, 0);
		r = MIN(r, 0);
	}
	if (!r && p->graft) {
		r = adopt_vm(p, &adopted, &kept, e);
		cfg.adopted = &adopted;
	}
	if (!r)
		r = vm_create(&p->vm, &cfg, e);
	snapshot_fini(&kept);
	/* With a graft the process ends now, and nothing of a running guest is taken apart. */
	if (r && p->graft)
		return r;
	if (r) {
		memmap_fini(&cfg.mem);
		return r;
	}
	p->vm->boot = boot_machine;
	p->vm->boot_opaque = p->boot;
	p->vm->power_button = press_power_button;
	p->vm->power_button_opaque = p->vm;
	p->vm->watchdog_action = o->watchdog_action;
	p->vm->foreign = p->has_cpr || o->incoming;
	p->vm->only_migratable = o->only_migratable;
	return create_devices(p, e);
}

/* From migration_attach_cpr() on the migration object has it. */
static const struct cpr_state *handed_state(const struct program *p)
{
	return !p->cpr.config && p->migration ? migration_cpr_state(p->migration) : &p->cpr;
}

static int create_monitors(struct program *p, struct err *e)
{
	const struct ctl_config cfg = {
		.vm = p->vm,
		.migration = p->migration,
		.netdevs = &p->netdevs,
		.drives = &p->drives,
		.name = p->opt.name,
		.powerdown = press_power_button,
		.powerdown_opaque = p->vm,
	};
	int r;

	r = ctl_create(&p->ctl, &cfg, e);
	if (r)
		return r;
	netdevs_register(&p->netdevs, p->migration);
	consoles_carry_init(&p->carry, &p->consoles, p->ctl, p->migration, p->vm);
	r = consoles_start_monitors(&p->consoles, p->ctl, e);
	if (!r && p->came)
		r = without_fail(p,
				 consoles_load_sessions(p->came, handed_state(p), &p->consoles,
							p->ctl, e),
				 e);
	/* A client that followed the update until now is to learn how it ended. */
	if (!r && (p->came_back || p->graft) && consoles_want_events(p->came))
		migration_cap_set(p->migration, CAP_EVENTS, true);
	return r;
}

/* The guest runs here, or waits here for an operator: nobody falls back any more. */
static void release_clients(struct program *p)
{
	fallback_end();
	fallback_release(&p->fallback);
	if (!p->came)
		return;
	/* The image before has reported the update; this one reports the next. */
	if (consoles_want_events(p->came))
		migration_cap_set(p->migration, CAP_EVENTS, true);
	json_decref(TAKE_PTR(p->came));
	extras_taken(p->migration, CARRY_KEY);
	consoles_release(&p->consoles);
	ctl_resume_sessions(p->ctl);
}

/* The PID file names the process that has the guest. */
static int write_pidfile(struct program *p, struct err *e)
{
	const char *path = p->opt.pidfile;
	int r;

	if (!path)
		return 0;
	/* The image before wrote the same, when it still could. */
	if (p->kept_privileges)
		return 0;
	if (p->pidfile_fd < 0)
		p->pidfile_fd = process_open_pidfile(path, e);
	r = p->pidfile_fd < 0 ? p->pidfile_fd : process_write_pidfile(p->pidfile_fd, path, e);
	close_fd(&p->pidfile_fd);
	return r;
}

/*
 * The image before may have been in it, and then so is this one. Once there is a guest it does not end
 * for want of it.
 */
static int enter_sandbox(struct program *p, bool has_guest, struct err *e)
{
	int r;

	if (!p->opt.sandbox.on)
		return 0;
	migration_forbid_programs(p->migration, p->opt.sandbox.config.no_spawn);
	if (has_guest && sandbox_is_entered())
		return 0;
	r = sandbox_enter(&p->opt.sandbox.config, e);
	if (!r || !has_guest)
		return r ? err_prefix(e, "-sandbox") : 0;
	log_error("-sandbox: %s; the guest goes on without", e->msg);
	return 0;
}

static void on_migration_status(void *opaque, enum migration_status status)
{
	struct program *p = opaque;
	struct migration_info info;
	struct err e;

	migration_info(p->migration, &info);
	if (!info.incoming || status != MIGRATION_COMPLETED)
		return;
	if (write_pidfile(p, &e))
		log_error("%s", e.msg);
	/* Earlier it could keep this image from falling back, and the next one in its bounds. */
	if (p->cpr_by_exec)
		enter_sandbox(p, true, &e);
}

/* The next image shall find the terminal as this one found it. */
static void on_exec(void *opaque, bool leaving)
{
	struct program *p = opaque;

	consoles_suspend_tty(&p->consoles, leaving);
}

/* What a next image can be fallen back to. Without it there is none, and this one is told then. */
static int keep_program(struct program *p, struct err *e)
{
	int r = migration_keep_program(p->migration, e);

	if (!r)
		return 0;
	log_warn("%s", e->msg);
	return 0;
}

static int create_update(struct program *p, struct err *e)
{
	int r;

	r = migration_create(&p->migration, p->vm, !p->opt.stopped, p->argv, e);
	if (r)
		return r;
	drives_carry(&p->drives, p->migration);
	boot_images_carry(&p->images, p->boot, p->migration);
	migration_params(p->migration)->mode = p->opt.mode;
	for (int cap = 0; cap < CAP_COUNT; cap++)
		migration_cap_set(p->migration, (enum migration_cap)cap, p->opt.caps[cap]);
	if (p->opt.fault)
		r = migration_set_fault(p->migration, p->opt.fault, e);
	if (!r && p->graft)
		r = migration_attach_graft(p->migration, p->graft, &p->cpr, e);
	else if (!r && p->has_cpr)
		r = migration_attach_cpr(p->migration, &p->cpr, &p->cpr_sock, e);
	if (r)
		return r;
	p->observer.status = on_migration_status;
	p->observer.opaque = p;
	migration_observe(p->migration, &p->observer);
	migration_set_exec_hook(p->migration, on_exec, p);
	migration_set_command_check(p->migration, run_with_options_check_command);
	return p->kept_privileges ? keep_program(p, e) : 0;
}

static bool may_gather(void *opaque, cpu_set_t *busy)
{
	const struct program *p = opaque;

	if (p->vm->runstate != RUNSTATE_RUNNING || p->vm->foreign || p->vm->busy ||
	    !migration_is_idle(p->migration))
		return false;
	vcpu_running_on(p->vm, busy);
	return true;
}

static int create_hugepages(struct program *p, struct err *e)
{
	const struct hugepages_config cfg = {
		.mem = &p->vm->mem,
		.loop = p->vm->loop,
		.may_scan = may_gather,
		.opaque = p,
		.first_ns = HUGE_PAGES_FIRST_NS,
	};
	int r = p->opt.huge_pages == OPTION_OFF ? 0 : hugepages_create(&p->hugepages, &cfg, e);

	p->vm->hugepages = p->hugepages;
	return r;
}

static void on_signal(void *opaque, uint32_t events)
{
	struct program *p = opaque;

	(void)events;
	process_read_signal(p->signal_fd);
	migration_give_up_save(p->migration);
	vm_request_shutdown(p->vm, "host-signal");
}

static int watch_signals(struct program *p, struct err *e)
{
	return loop_fd_add(p->vm->loop, &p->signals, p->signal_fd, EPOLLIN, on_signal, p, e);
}

static int start_incoming(struct program *p, struct err *e)
{
	bool came_back = migration_came_back(p->migration, &p->opt.main_channel);
	int r;

	vm_set_runstate(p->vm, RUNSTATE_INMIGRATE);
	if (!came_back && (!p->opt.has_main || migration_waits_for_load(p->migration))) {
		migration_incoming_defer(p->migration);
		return 0;
	}
	r = migration_incoming(p->migration, &p->opt.main_channel, true, e);
	if (r && came_back) {
		/* Nothing is left to fall back to; here the guest's RAM lives on. */
		log_error("%s", e->msg);
		log_error("the guest waits in this process; use migrate-incoming to try again");
		return 0;
	}
	return r;
}

/* Returns in the process of the old image, whose descriptors in p->cpr are closed then. */
static int start_grafted(struct program *p, struct err *e)
{
	int r;

	vm_set_runstate(p->vm, RUNSTATE_INMIGRATE);
	r = migration_incoming_graft(p->migration, e);
	p->graft = NULL;
	p->cpr.nr_fds = 0;
	if (r)
		return r;
	/*
	 * The kernel watches signals for the process that asks: not for the child of before. And the
	 * guest runs here by now: it does not end for lack of a watch.
	 */
	if (watch_signals(p, e))
		log_error("%s: signals will not end this process, quit will", e->msg);
	return 0;
}

/* -run-with, before anything else is done; in the same process as before nothing is left to do. */
static int prepare_privileges(struct program *p, struct err *e)
{
	struct privileges *wanted = &p->opt.run_with.privileges;
	int r;

	if (!p->cpr_by_exec && !p->graft) {
		r = run_with_options_given(&p->opt.run_with) ? privileges_prepare(wanted, e) : 0;
		return r ? err_prefix(e, "-run-with") : 0;
	}
	p->kept_privileges = privileges_are_dropped(p->cpr.pid);
	if (p->kept_privileges)
		privileges_keep();
	r = privileges_check(wanted, p->cpr.pid, e);
	if (!r || !p->came_back)
		return r ? err_prefix(e, "-run-with") : 0;
	log_error("-run-with: %s; the guest goes on as it is", e->msg);
	return 0;
}

/* All that the command line names is open, but for what an update is to come from. */
static int drop_privileges(struct program *p, struct err *e)
{
	int r;

	if (!run_with_options_given(&p->opt.run_with))
		return 0;
	keep_program(p, e);
	if (p->opt.pidfile)
		p->pidfile_fd = process_open_pidfile(p->opt.pidfile, e);
	r = p->opt.pidfile && p->pidfile_fd < 0 ? p->pidfile_fd
						: privileges_drop(&p->opt.run_with.privileges, e);
	return r ? err_prefix(e, "-run-with") : 0;
}

/* Cold start, or the wait for a guest to take over. */
static int start(struct program *p, struct err *e)
{
	int r;

	if (p->graft) {
		r = start_grafted(p, e);
		return r ? r : enter_sandbox(p, true, e);
	}
	/* After an exec the first is done, and the second once the guest is here: on_migration_status(). */
	r = p->cpr_by_exec ? 0 : drop_privileges(p, e);
	if (!r && !p->cpr_by_exec)
		r = enter_sandbox(p, false, e);
	if (r)
		return r;
	if (p->opt.incoming || p->has_cpr)
		return start_incoming(p, e);
	r = memmap_lock(&p->vm->mem, e);
	if (r)
		return r;
	memmap_touch(&p->vm->mem);
	r = vm_reset(p->vm, e);
	if (r)
		return r;
	r = write_pidfile(p, e);
	if (r)
		return r;
	if (!p->opt.stopped)
		vm_start(p->vm);
	return 0;
}

static int build(struct program *p, struct err *e)
{
	int r;

	netdevs_init(&p->netdevs);
	p->netdevs.trial = p->trial_fd >= 0;
	default_serial(&p->opt);
	r = prepare_privileges(p, e);
	if (!r)
		r = consoles_plan(&p->consoles, &p->opt, e);
	if (!r)
		r = receive_guest(p, e);
	if (!r)
		r = process_block_signals(&p->signal_fd, e);
	if (!r)
		r = create_machine(p, e);
	if (!r)
		r = create_update(p, e);
	if (p->trial_fd >= 0)
		return r;
	if (!r)
		r = create_hugepages(p, e);
	if (!r && !p->graft)
		r = watch_signals(p, e);
	if (!r)
		r = create_monitors(p, e);
	if (r)
		migration_refuse_cpr(p->cpr_sock, e->msg);
	return r;
}

/* A guest that came by exec goes back where it came from, if this image cannot run it. */
static void fall_back(struct program *p, const char *why)
{
	const struct cpr_state *state = handed_state(p);
	struct err e;

	if (!p->cpr_by_exec || (p->vm && !p->vm->foreign))
		return;
	if (!state->config)
		return;
	if (p->came_back) {
		log_error("the guest is lost: neither image can run it");
		return;
	}
	ctl_destroy(TAKE_PTR(p->ctl));
	/* A terminal that was handed over stays as it is: the old image has its first settings. */
	if (!p->came)
		on_exec(p, true);
	if (fallback_go(&p->fallback, state, why, &e))
		log_error("the guest is lost: %s", e.msg);
}

#define ONLY_ASKS "its command line only asks for help, the version or the tables"

static bool only_asks(const struct options *o)
{
	return o->help || o->version || o->dump_vmstate;
}

/* What ends another new process must not end this one, which shares its memory with the guest. */
static void check_graft(struct program *p, int inherited, int parsed, const struct err *e,
			const struct err *bad_options)
{
	if (inherited)
		graft_fail(p->graft, e->msg);
	if (parsed)
		graft_fail(p->graft, bad_options->msg);
	if (only_asks(&p->opt))
		graft_fail(p->graft, ONLY_ASKS);
}

/* Whether this program, with this command line, could take the guest: the guest runs on meanwhile. */
static int try_machine(struct program *p, struct err *e)
{
	int r;

	if (only_asks(&p->opt))
		return err_set(e, EINVAL, ONLY_ASKS);
	r = migration_inherit_cpr(&p->cpr, true, e);
	if (!r)
		return err_set(e, ENOENT, "it was given no CPR state");
	p->has_cpr = p->cpr_by_exec = true;
	return r < 0 ? r : build(p, e);
}

static void end_trial(struct program *p, const struct err *bad_options)
{
	struct err e;
	int r = bad_options ? -bad_options->code : try_machine(p, &e);

	trial_answer(p->trial_fd, !r ? NULL : bad_options ? bad_options->msg : e.msg);
	/* Nothing here is ours to take apart. */
	_exit(r ? 1 : 0);
}

static void take_apart(struct program *p)
{
	/* A guest that is ours ends here; one that moved on keeps its file. */
	if (p->opt.pidfile && p->vm && !p->vm->foreign)
		process_remove_pidfile(p->opt.pidfile);
	if (p->migration)
		migration_end_preparation(p->migration);
	ctl_destroy(p->ctl);
	hugepages_destroy(p->hugepages);
	if (p->vm)
		p->vm->hugepages = NULL;
	if (p->vm)
		loop_fd_del(p->vm->loop, &p->signals);
	if (p->vm)
		vm_destroy_devices(p->vm);
	migration_destroy(p->migration);
	json_decref(p->came);
	drives_fini(&p->drives);
	consoles_close(&p->consoles);
	netdevs_close(&p->netdevs, p->vm && p->vm->foreign);
	vm_destroy(p->vm);
	boot_close(p->boot);
	firmware_fini(&p->firmware);
	cpr_state_fini(&p->cpr);
	close_fd(&p->cpr_sock);
	close_fd(&p->signal_fd);
	close_fd(&p->pidfile_fd);
}

int main(int argc, char **argv)
{
	static struct program program;
	struct program *p = &program;
	struct err e, bad_options, bad_trace;
	int code = 1, r, parsed, traced = 0;

	json_memory_init();
	p->argv = argv;
	p->firmware.rom.file.fd = -1;
	p->cpr_sock = p->signal_fd = p->signals.fd = p->cpr.state_fd = p->pidfile_fd = -1;
	p->trial_fd = trial_inherit();
	parsed = options_parse(&p->opt, argc, argv, &bad_options);
	if (p->trial_fd >= 0)
		end_trial(p, parsed ? &bad_options : NULL);
	p->came_back = migration_is_fallback();
	r = migration_inherit_cpr(&p->cpr, false, &e);
	p->has_cpr = p->cpr_by_exec = r > 0;
	/* Before anything else that could hang, such as a file for traces. */
	if (r > 0 && !p->came_back && fallback_arm(&p->fallback, &p->cpr, &e))
		log_warn("%s", e.msg);
	if (!parsed)
		traced = trace_options_apply(&p->opt, &bad_trace);
	if (r > 0)
		trace_cpr_state_load(migration_mode_name(MODE_CPR_EXEC));
	if (!r) {
		p->graft = graft_inherit(&e);
		r = p->graft ? migration_inherit_graft(p->graft, &p->cpr, &e) : -e.code;
		p->has_cpr = p->graft && !r;
	}
	if (p->graft)
		check_graft(p, r, parsed, &e, &bad_options);
	/* The image to fall back to would have the same trouble; no guest is lost for a log. */
	if (traced && (p->cpr_by_exec || p->graft))
		log_warn("%s", bad_trace.msg);
	if (r < 0) {
		log_error("%s", e.msg);
	} else if (parsed) {
		log_error("%s", bad_options.msg);
		fall_back(p, bad_options.msg);
	} else if (traced && !p->cpr_by_exec && !p->graft) {
		log_error("%s", bad_trace.msg);
	} else if (p->cpr_by_exec && only_asks(&p->opt)) {
		fall_back(p, ONLY_ASKS);
	} else if (p->opt.help) {
		options_print_help(&p->opt);
		code = 0;
	} else if (p->opt.version) {
		printf("Baton version " CTL_VERSION "\n");
		code = 0;
	} else if (p->opt.dump_vmstate) {
		code = dump_vmstate_to_file(p->opt.dump_vmstate, &e) ? 1 : 0;
		if (code)
			log_error("-dump-vmstate: %s", e.msg);
	} else if (build(p, &e) || start(p, &e)) {
		if (p->graft)
			graft_fail(p->graft, e.msg);
		log_error("%s", e.msg);
		fall_back(p, e.msg);
		take_apart(p);
	} else {
		release_clients(p);
		loop_run(p->vm->loop);
		code = p->vm->exit_code;
		take_apart(p);
	}
	device_options_fini(&p->opt.devices);
	drive_options_fini(&p->opt.drives);
	return code;
}
