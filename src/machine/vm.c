/* SPDX-License-Identifier: MIT */
/* The machine: everything one guest consists of, and its life from build to end. */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/trace.h"
#include "base/util.h"
#include "host/kvm.h"
#include "host/mem.h"
#include "machine/device.h"
#include "machine/vcpu.h"
#include "machine/vcpu_state.h"
#include "machine/vm.h"

static void serve_requests(void *opaque);

static int add_memory(struct vm *vm, struct err *e)
{
	bool can_protect = kvm_check_extension(vm->vm_fd, KVM_CAP_READONLY_MEM) > 0;

	for (unsigned int i = 0; i < vm->mem.nr_blocks && !can_protect; i++)
		vm->mem.blocks[i]->readonly = false;
	for (unsigned int i = 0; i < vm->mem.nr_ranges; i++) {
		const struct mem_range *r = &vm->mem.ranges[i];
		struct kvm_userspace_memory_region region = {
			.slot = i,
			.flags = r->block->readonly ? KVM_MEM_READONLY : 0,
			.guest_phys_addr = r->gpa,
			.memory_size = r->size,
			.userspace_addr = (uintptr_t)(r->block->host + r->offset),
		};
		int err = kvm_set_user_memory_region(vm->vm_fd, &region, e);

		if (err)
			return err_prefix(e, "RAM block '%s'", r->block->name);
	}
	return 0;
}

/*
 * RAM first: a memory slot set right after the interrupt controllers waits for
 * an SRCU grace period, some milliseconds.
 */
static int create_kvm(struct vm *vm, const struct vm_config *config, struct err *e)
{
	const struct kvm_pit_config pit = { .flags = KVM_PIT_SPEAKER_DUMMY };
	const uint64_t identity_map = LAYOUT_IDENTITY_MAP;
	int r;

	r = vm->kvm_fd = config->kvm_fd ? config->kvm_fd : kvm_open(e);
	if (r >= 0)
		r = vm->vm_fd = kvm_create_vm(vm->kvm_fd, e);
	if (r >= 0)
		r = add_memory(vm, e);
	if (r >= 0)
		r = kvm_set_identity_map_addr(vm->vm_fd, &identity_map, e);
	if (r >= 0)
		r = kvm_set_tss_addr(vm->vm_fd, LAYOUT_TSS, e);
	if (r >= 0)
		r = kvm_create_irqchip(vm->vm_fd, e);
	if (r >= 0)
		r = kvm_create_pit2(vm->vm_fd, &pit, e);
	if (r >= 0 && !config->cpuid_in_state)
		r = kvm_get_supported_cpuid(vm->kvm_fd, &vm->cpuid, e);
	return r < 0 ? r : 0;
}

/* The objects are there, with a guest in them: nothing is set. */
static void adopt_kvm(struct vm *vm, const struct vm_adopted *a)
{
	vm->kvm_fd = a->kvm_fd;
	vm->vm_fd = a->vm_fd;
	vm->graft = a->graft;
}

static int create_vcpu(struct vm *vm, const struct vm_adopted *a, unsigned int i, struct err *e)
{
	const struct snapshot_item *kept = a ? &a->kept->items[3 * i] : NULL;

	if (!a)
		return vcpu_create(&vm->vcpus[i], vm, i, e);
	return vcpu_adopt(&vm->vcpus[i], vm, i, a->vcpu_fds[i], kept[0].state, kept[1].state,
			  kept[2].state, e);
}

static int create_vcpus(struct vm *vm, unsigned int nr, const struct vm_adopted *a, struct err *e)
{
	int max = kvm_check_extension(vm->kvm_fd, KVM_CAP_MAX_VCPUS), r;

	if (nr < 1 || nr > VM_MAX_VCPUS || (max > 0 && nr > (unsigned int)max))
		return err_set(e, EINVAL, "Invalid SMP CPUs %u. The max CPUs supported is %d", nr,
			       max > 0 ? MIN(max, VM_MAX_VCPUS) : VM_MAX_VCPUS);
	vm->vcpus = calloc(nr, sizeof(*vm->vcpus));
	if (!vm->vcpus)
		return err_set(e, ENOMEM, "no memory for %u vCPUs", nr);
	vm->nr_vcpus = nr;
	for (unsigned int i = 0; i < nr; i++) {
		r = create_vcpu(vm, a, i, e);
		if (r)
			return r;
	}
	return 0;
}

int vm_create(struct vm **out, struct vm_config *config, struct err *e)
{
	struct vm *vm = calloc(1, sizeof(*vm));
	int r;

	if (!vm)
		return err_set(e, ENOMEM, "no memory for the machine");
	vm->kvm_fd = vm->vm_fd = -1;
	vm->runstate = RUNSTATE_PRELAUNCH;
	vm->no_reboot = config->no_reboot;
	pthread_mutex_init(&vm->lock, NULL);
	pthread_mutex_lock(&vm->lock);
	list_init(&vm->devices);
	list_init(&vm->backends);
	list_init(&vm->boot_order);
	list_init(&vm->displays);
	list_init(&vm->observers);
	doorbells_init(vm);
	iobus_init(&vm->pio);
	iobus_init(&vm->mmio);
	loop_work_init(&vm->request_work, serve_requests, vm);
	vm->mem = config->mem;
	r = loop_create(&vm->loop, &vm->lock, e);
	if (!r)
		r = host_boot_id(vm->boot_id, e);
	if (!r && config->adopted)
		adopt_kvm(vm, config->adopted);
	else if (!r)
		r = create_kvm(vm, config, e);
	if (!r)
		r = create_vcpus(vm, config->nr_vcpus, config->adopted, e);
	/* An adopted machine is not taken apart: its parts are a running guest's. */
	if (r && config->adopted)
		return r;
	if (r) {
		vm->mem = (struct memmap){ 0 };
		vm_destroy(vm);
		return r;
	}
	*out = vm;
	return 0;
}

void vm_destroy_devices(struct vm *vm)
{
	if (vm->runstate == RUNSTATE_RUNNING) {
		vcpu_pause_all(vm);
		vm->runstate = RUNSTATE_SHUTDOWN;
	}
	/* A device may sit on a bus of one before it. */
	while (!list_empty(&vm->devices))
		device_destroy(CONTAINER_OF(vm->devices.prev, struct device, link));
}

/* Neither before its first instruction nor while an update has it, or has had it. */
static bool guest_has_ended(const struct vm *vm)
{
	return !vm->foreign &&
	       (vm->runstate == RUNSTATE_RUNNING || vm->runstate == RUNSTATE_PAUSED ||
		vm->runstate == RUNSTATE_SHUTDOWN || vm->runstate == RUNSTATE_INTERNAL_ERROR);
}

void vm_destroy(struct vm *vm)
{
	bool ended;

	if (!vm)
		return;
	ended = guest_has_ended(vm);
	vm_destroy_devices(vm);
	doorbells_fini(vm);
	for (unsigned int i = 0; i < vm->nr_vcpus; i++)
		vcpu_destroy(vm->vcpus[i]);
	free(vm->vcpus);
	free(vm->cpuid);
	json_decref(vm->removed);
	close_fd(&vm->vm_fd);
	close_fd(&vm->kvm_fd);
	if (ended)
		memmap_discard(&vm->mem);
	memmap_fini(&vm->mem);
	loop_destroy(vm->loop);
	pthread_mutex_unlock(&vm->lock);
	pthread_mutex_destroy(&vm->lock);
	free(vm);
}

int vm_reset(struct vm *vm, struct err *e)
{
	struct list *pos, *tmp;
	int r;

	list_for_each(pos, tmp, &vm->devices) {
		struct device *d = CONTAINER_OF(pos, struct device, link);

		if (d->class->reset)
			d->class->reset(d);
	}
	r = vcpu_reset_all(vm, e);
	if (!r && vm->boot)
		r = vm->boot(vm->boot_opaque, vm, e);
	return r;
}

static void tell_devices(struct vm *vm, bool running)
{
	struct list *pos, *tmp;

	list_for_each(pos, tmp, &vm->devices) {
		struct device *d = CONTAINER_OF(pos, struct device, link);

		if (d->class->run_changed)
			d->class->run_changed(d, running);
	}
}

static void enter_guest(struct vm *vm)
{
	/* What has failed is tried again now, and asked for again if it fails again. */
	vm->io_error_requested = false;
	tell_devices(vm, true);
	vcpu_resume_all(vm);
}

void vm_set_runstate(struct vm *vm, enum runstate to)
{
	if (vm->runstate == to)
		return;
	if (!runstate_may_change(vm->runstate, to))
		log_error("invalid runstate transition: '%s' -> '%s'", runstate_name(vm->runstate),
			  runstate_name(to));
	vm->was_suspended = runstate_remember_suspended(vm->runstate, to, vm->was_suspended);
	trace_runstate_set(vm->runstate, runstate_name(vm->runstate), to, runstate_name(to));
	vm->runstate = to;
}

void vm_start(struct vm *vm)
{
	if (runstate_is_live(vm->runstate))
		return;
	if (vm->foreign) {
		log_error("not started: the guest belongs to another process");
		return;
	}
	vm_set_runstate(vm, runstate_after_start(vm->was_suspended));
	trace_vm_state_notify(1, vm->runstate, runstate_name(vm->runstate));
	if (vm->runstate == RUNSTATE_RUNNING)
		enter_guest(vm);
	vm_notify(vm, VM_EVENT_RESUME, NULL);
}

void vm_arm(struct vm *vm)
{
	vm_set_runstate(vm, runstate_after_start(vm->was_suspended));
	if (vm->runstate == RUNSTATE_RUNNING)
		vcpu_resume_all(vm);
}

void vm_take_over(struct vm *vm, bool stopped)
{
	vm->graft = NULL;
	vm->foreign = false;
	for (unsigned int i = 0; i < vm->mem.nr_blocks; i++)
		vm->mem.blocks[i]->borrowed = false;
	if (stopped)
		vm_notify(vm, VM_EVENT_STOP, NULL);
	if (!runstate_is_live(vm->runstate))
		return;
	trace_vm_state_notify(1, vm->runstate, runstate_name(vm->runstate));
	if (vm->runstate == RUNSTATE_RUNNING) {
		vm->io_error_requested = false;
		tell_devices(vm, true);
	}
	vm_notify(vm, VM_EVENT_RESUME, NULL);
}

bool vm_wakeup(struct vm *vm)
{
	if (vm->runstate != RUNSTATE_SUSPENDED || vm->foreign)
		return false;
	vm_set_runstate(vm, RUNSTATE_RUNNING);
	enter_guest(vm);
	vm_notify(vm, VM_EVENT_WAKEUP, NULL);
	return true;
}

bool vm_halt(struct vm *vm, enum runstate to)
{
	bool was_live = runstate_is_live(vm->runstate);

	if (vm->runstate == RUNSTATE_RUNNING) {
		vcpu_pause_all(vm);
		tell_devices(vm, false);
	}
	vm_set_runstate(vm, to);
	if (was_live)
		trace_vm_state_notify(0, to, runstate_name(to));
	return was_live;
}

void vm_stop(struct vm *vm, enum runstate to)
{
	if (vm_halt(vm, to))
		vm_notify(vm, VM_EVENT_STOP, NULL);
}

void vm_request_reset(struct vm *vm, const char *reason)
{
	vm->reset_reason = reason;
	vm->reset_requested = true;
	loop_post(vm->loop, &vm->request_work);
}

void vm_request_shutdown(struct vm *vm, const char *reason)
{
	vm->shutdown_reason = reason;
	vm->shutdown_requested = true;
	loop_post(vm->loop, &vm->request_work);
}

void vm_request_io_error(struct vm *vm)
{
	vm->io_error_requested = true;
	loop_post(vm->loop, &vm->request_work);
}

static void do_shutdown(struct vm *vm)
{
	vm->shutdown_requested = false;
	/* Without a STOP event: nobody can make it go on. */
	if (vm->runstate == RUNSTATE_RUNNING) {
		vcpu_pause_all(vm);
		tell_devices(vm, false);
		vm_set_runstate(vm, RUNSTATE_SHUTDOWN);
		trace_vm_state_notify(0, RUNSTATE_SHUTDOWN, runstate_name(RUNSTATE_SHUTDOWN));
	}
	vm_notify(vm, VM_EVENT_SHUTDOWN, vm->shutdown_reason);
	vm->quit = true;
	loop_quit(vm->loop);
}

static void do_reset(struct vm *vm)
{
	bool running = vm->runstate == RUNSTATE_RUNNING;
	struct err e;

	vm->reset_requested = false;
	if (vm->no_reboot) {
		vm->shutdown_reason = vm->reset_reason;
		do_shutdown(vm);
		return;
	}
	if (running)
		vcpu_pause_all(vm);
	vm_notify(vm, VM_EVENT_RESET, vm->reset_reason);
	if (vm_reset(vm, &e)) {
		log_error("the guest cannot be reset: %s", e.msg);
		vm_set_runstate(vm, RUNSTATE_INTERNAL_ERROR);
		if (running)
			vm_notify(vm, VM_EVENT_STOP, NULL);
		return;
	}
	if (running)
		vcpu_resume_all(vm);
}

static void act_on_watchdog(struct vm *vm)
{
	vm->watchdog_expired = false;
	vm_notify(vm, VM_EVENT_WATCHDOG, watchdog_action_name(vm->watchdog_action));
	switch (vm->watchdog_action) {
	case WATCHDOG_RESET:
		vm_request_reset(vm, "guest-reset");
		break;
	case WATCHDOG_SHUTDOWN:
		if (vm->power_button)
			vm->power_button(vm->power_button_opaque);
		vm_notify(vm, VM_EVENT_POWERDOWN, NULL);
		break;
	case WATCHDOG_POWEROFF:
		vm_request_shutdown(vm, "guest-shutdown");
		break;
	case WATCHDOG_PAUSE:
		if (vm->runstate == RUNSTATE_RUNNING)
			vm_stop(vm, RUNSTATE_WATCHDOG);
		break;
	case WATCHDOG_DEBUG:
		log_warn("watchdog: timer fired");
		break;
	default:
		break;
	}
}

/* What vCPU threads and devices asked for, on the main loop's thread. */
static void serve_requests(void *opaque)
{
	struct vm *vm = opaque;

	if (vm->busy)
		return;
	if (vm->failed) {
		vm->failed = false;
		if (vm->runstate == RUNSTATE_RUNNING)
			vm_stop(vm, RUNSTATE_INTERNAL_ERROR);
	}
	if (vm->io_error_requested) {
		vm->io_error_requested = false;
		if (!vm->foreign && vm->runstate == RUNSTATE_RUNNING)
			vm_stop(vm, RUNSTATE_IO_ERROR);
	}
	if (vm->foreign)
		vm->reset_requested = vm->watchdog_expired = false;
	if (vm->watchdog_expired)
		act_on_watchdog(vm);
	if (vm->shutdown_requested)
		do_shutdown(vm);
	else if (vm->reset_requested)
		do_reset(vm);
}

void vm_set_busy(struct vm *vm, bool busy)
{
	vm->busy = busy;
	if (!busy && (vm->failed || vm->shutdown_requested || vm->reset_requested ||
		      vm->io_error_requested || vm->watchdog_expired))
		loop_post(vm->loop, &vm->request_work);
}

void vm_observe(struct vm *vm, struct vm_observer *o)
{
	list_add(&vm->observers, &o->link);
}

void vm_notify_disk_error(struct vm *vm, const struct vm_disk_error *error)
{
	struct list *pos, *tmp;

	list_for_each(pos, tmp, &vm->observers) {
		struct vm_observer *o = CONTAINER_OF(pos, struct vm_observer, link);

		if (o->disk_error)
			o->disk_error(o->opaque, error);
	}
}

void vm_notify(struct vm *vm, enum vm_event event, const char *detail)
{
	struct list *pos, *tmp;

	list_for_each(pos, tmp, &vm->observers) {
		struct vm_observer *o = CONTAINER_OF(pos, struct vm_observer, link);

		o->event(o->opaque, event, detail);
	}
}

static void set_irq_line(void *opaque, unsigned int line, bool level)
{
	const struct vm *vm = opaque;

	/* The line of an adopted machine is where its device's state says it is. */
	if (!vm->graft)
		kvm_irq_line(vm->vm_fd, line, level);
}

struct irq vm_irq(struct vm *vm, unsigned int line)
{
	return (struct irq){ .set = set_irq_line, .opaque = vm, .line = line };
}

void vm_signal_msi(struct vm *vm, uint64_t addr, uint32_t data)
{
	if (!vm->graft)
		kvm_signal_msi(vm->vm_fd, addr, data);
}
