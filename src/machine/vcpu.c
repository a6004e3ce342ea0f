/* SPDX-License-Identifier: MIT */
/* A virtual CPU: its thread, its run loop, and how the machine stops and talks to it. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>

#include "base/log.h"
#include "base/trace.h"
#include "base/util.h"
#include "host/clock.h"
#include "host/cpus.h"
#include "host/graft.h"
#include "host/kvm.h"
#include "host/process.h"
#include "machine/vcpu.h"
#include "machine/vcpu_cpuid.h"
#include "machine/vcpu_state.h"
#include "machine/vm.h"

/*
 * DOC: theory of operation
 *
 * The thread alternates between two places: parked, where it waits for orders
 * under its own small lock, and in the guest, where it loops over KVM_RUN until
 * `run_wanted` falls. To get it out, the machine clears run_wanted and sends a
 * signal. The thread blocks it except inside KVM_RUN, so one that comes too early
 * makes the next KVM_RUN return at once. Before it parks, the thread re-enters
 * KVM with immediate_exit set until no port or MMIO access is half done: only
 * then the registers are those between two instructions.
 */

enum {
	KICK_SIGNAL = SIGUSR1,
	/*
	 * What is waited for in an update comes sooner than a thread that slept would be awake: for a
	 * processor that is idle, that takes as long as the work.
	 */
	SPIN_NS = 200000,
};

struct vcpu {
	struct vm *vm;         /* [c]                                               */
	unsigned int index;    /* [c]                                               */
	int fd;                /* [c] owned                                         */
	struct kvm_run *run;   /* [v]                                               */
	size_t run_size;       /* [c]                                               */
	pthread_t thread;      /* [c]                                               */
	pid_t tid;             /* [c] after create                                  */
	bool run_wanted;       /* [a]                                               */
	bool fresh;            /* [v] nothing was set since reset_state was read    */
	bool exit_pending;     /* [v] an exit that came while the vCPU was parked   */
	uint64_t entered_ns;   /* [a] CLOCK_BOOTTIME of the first entry after a stop */
	int last_cpu;          /* [v]                                               */
	bool placed;           /* [m]                                               */
	cpu_set_t allowed;     /* [m] if it is placed, where its thread might run   */
	struct vcpu_caps caps; /* [c]                                               */
	struct vcpu_cpuid cpuid[VCPU_MAX_CPUID]; /* what KVM was given; changed paused */
	uint32_t nr_cpuid;
	struct vcpu_state *reset_state;     /* [c] owned; power-on state        */
	struct vcpu_apic_state *reset_apic; /* [c] owned                        */

	pthread_mutex_t lock; /* guards what follows                                */
	pthread_cond_t order; /* the thread waits here when parked                  */
	pthread_cond_t done;  /* its master waits here                              */
	/* These three are looked at without it, too, by who waits for them. */
	bool parked;
	bool end;
	int (*fn)(struct vcpu *v, void *arg, struct err *e);
	void *fn_arg;
	int fn_result;
	struct err fn_err;
};

int vcpu_fd(const struct vcpu *v)
{
	return v->fd;
}

unsigned int vcpu_index(const struct vcpu *v)
{
	return v->index;
}

pid_t vcpu_thread_id(const struct vcpu *v)
{
	return v->tid;
}

uint64_t vcpu_entered_ns(const struct vcpu *v)
{
	return __atomic_load_n(&v->entered_ns, __ATOMIC_ACQUIRE);
}

static void handle_io(struct vcpu *v)
{
	struct kvm_run *run = v->run;
	uint8_t *data = (uint8_t *)run + run->io.data_offset;

	trace_kvm_exit_io(v->index, run->io.port,
			  run->io.direction == KVM_EXIT_IO_IN ? "in" : "out", run->io.size,
			  run->io.count);
	for (uint32_t i = 0; i < run->io.count; i++, data += run->io.size) {
		if (run->io.direction == KVM_EXIT_IO_IN)
			iobus_read(&v->vm->pio, run->io.port, data, run->io.size);
		else
			iobus_write(&v->vm->pio, run->io.port, data, run->io.size);
	}
}

/* What is known of where the guest was; AMD's processors forget it in a triple fault. */
static void log_registers(const struct vcpu *v)
{
	struct kvm_vcpu_events ev = { 0 };
	struct kvm_sregs s = { 0 };
	struct kvm_regs r = { 0 };
	struct err ignored;

	kvm_get_regs(v->fd, &r, &ignored);
	kvm_get_sregs(v->fd, &s, &ignored);
	kvm_get_vcpu_events(v->fd, &ev, &ignored);
	log_info("vCPU %u: rip %#llx rsp %#llx flags %#llx cs %#x cr0 %#llx cr2 %#llx cr3 %#llx "
		 "cr4 %#llx efer %#llx idt %#llx exception %u%s",
		 v->index, r.rip, r.rsp, r.rflags, s.cs.selector, s.cr0, s.cr2, s.cr3, s.cr4,
		 s.efer, s.idt.base, ev.exception.nr, ev.exception.injected ? " injected" : "");
}

/* Gives up on the guest: it stays as it is, the operator decides. */
static void fail(struct vcpu *v, const char *what, uint64_t detail)
{
	log_error("vCPU %u cannot go on: %s (%#llx)", v->index, what, (unsigned long long)detail);
	log_registers(v);
	__atomic_store_n(&v->run_wanted, false, __ATOMIC_RELEASE);
	trace_kvm_exit_error(v->index, what, detail);
	v->vm->failed = true;
	loop_post(v->vm->loop, &v->vm->request_work);
}

static void handle_exit(struct vcpu *v)
{
	struct kvm_run *run = v->run;

	trace_kvm_run_exit((int)v->index, run->exit_reason);
	pthread_mutex_lock(&v->vm->lock);
	switch (run->exit_reason) {
	case KVM_EXIT_IO:
		handle_io(v);
		break;
	case KVM_EXIT_MMIO:
		trace_kvm_exit_mmio(v->index, run->mmio.phys_addr,
				    run->mmio.is_write ? "write" : "read", run->mmio.len);
		if (run->mmio.is_write)
			iobus_write(&v->vm->mmio, run->mmio.phys_addr, run->mmio.data,
				    run->mmio.len);
		else
			iobus_read(&v->vm->mmio, run->mmio.phys_addr, run->mmio.data,
				   run->mmio.len);
		break;
	case KVM_EXIT_INTR:
	case KVM_EXIT_IRQ_WINDOW_OPEN:
		break;
	case KVM_EXIT_SHUTDOWN:
		/* A triple fault: the processor waits for the reset it causes. */
		trace_kvm_exit_shutdown(v->index);
		log_warn("vCPU %u: triple fault, the guest is reset", v->index);
		log_registers(v);
		__atomic_store_n(&v->run_wanted, false, __ATOMIC_RELEASE);
		vm_request_reset(v->vm, "guest-reset");
		break;
	case KVM_EXIT_FAIL_ENTRY:
		fail(v, "the processor refuses the guest's state",
		     run->fail_entry.hardware_entry_failure_reason);
		break;
	case KVM_EXIT_INTERNAL_ERROR:
		fail(v, "KVM internal error", run->internal.suberror);
		break;
	default:
		fail(v, "unexpected KVM exit", run->exit_reason);
		break;
	}
	pthread_mutex_unlock(&v->vm->lock);
}

/* Takes the kick that made KVM_RUN return, if it was one. */
static void consume_kick(void)
{
	const struct timespec at_once = { 0 };
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, KICK_SIGNAL);
	sigtimedwait(&set, NULL, &at_once);
}

/* Until the machine wants the vCPU out, then until nothing is half done. */
static void run_guest(struct vcpu *v)
{
	bool finishing = false;
	int r;

	v->run->immediate_exit = 0;
	__atomic_store_n(&v->entered_ns, clock_boottime_ns(), __ATOMIC_RELEASE);
	if (v->exit_pending) {
		v->exit_pending = false;
		handle_exit(v);
	}
	for (;;) {
		if (!__atomic_load_n(&v->run_wanted, __ATOMIC_ACQUIRE)) {
			finishing = true;
			v->run->immediate_exit = 1;
		}
		r = kvm_run(v->fd);
		if (r == 0) {
			handle_exit(v);
			continue;
		}
		if (r != -EINTR && r != -EAGAIN) {
			pthread_mutex_lock(&v->vm->lock);
			fail(v, "KVM_RUN fails", (uint64_t)-r);
			pthread_mutex_unlock(&v->vm->lock);
			return;
		}
		/* KVM completes what was half done before it looks for signals. */
		if (finishing || !__atomic_load_n(&v->run_wanted, __ATOMIC_ACQUIRE))
			return;
		trace_kvm_exit_intr(v->index);
		consume_kick();
	}
}

static bool has_order(const struct vcpu *v)
{
	return __atomic_load_n(&v->end, __ATOMIC_RELAXED) ||
	       __atomic_load_n(&v->fn, __ATOMIC_RELAXED) ||
	       !__atomic_load_n(&v->parked, __ATOMIC_RELAXED);
}

static uint64_t spin_limit(const struct vm *vm)
{
	return vcpu_may_spin(vm) ? clock_boottime_ns() + SPIN_NS : 0;
}

/* The lock is held, and let go meanwhile. */
static void wait_for_order(struct vcpu *v)
{
	while (!has_order(v)) {
		uint64_t limit = spin_limit(v->vm);

		pthread_mutex_unlock(&v->lock);
		while (!has_order(v) && clock_boottime_ns() < limit)
			sched_yield();
		pthread_mutex_lock(&v->lock);
		if (!has_order(v))
			pthread_cond_wait(&v->order, &v->lock);
	}
}

static void *vcpu_main(void *arg)
{
	struct vcpu *v = arg;
	char name[16];

	snprintf(name, sizeof(name), "CPU %u/KVM", v->index);
	pthread_setname_np(pthread_self(), name);
	pthread_mutex_lock(&v->lock);
	v->tid = (pid_t)syscall(SYS_gettid);
	__atomic_store_n(&v->parked, true, __ATOMIC_RELEASE);
	if (v->vm->graft) {
		pthread_cond_signal(&v->done);
		pthread_mutex_unlock(&v->lock);
		graft_leave(v->vm->graft, v->index + 1);
		/* The old image's thread of this vCPU. */
		pthread_mutex_lock(&v->lock);
		v->tid = (pid_t)syscall(SYS_gettid);
	}
	for (;;) {
		pthread_cond_signal(&v->done);
		wait_for_order(v);
		if (v->end)
			break;
		/* What is asked of a vCPU that was let go already waits until it is out again. */
		if (v->fn && v->parked) {
			pthread_mutex_unlock(&v->lock);
			int r = v->fn(v, v->fn_arg, &v->fn_err);
			pthread_mutex_lock(&v->lock);
			v->fn_result = r;
			__atomic_store_n(&v->fn, NULL, __ATOMIC_RELEASE);
			continue;
		}
		pthread_mutex_unlock(&v->lock);
		run_guest(v);
		v->last_cpu = sched_getcpu();
		pthread_mutex_lock(&v->lock);
		__atomic_store_n(&v->parked, true, __ATOMIC_RELEASE);
	}
	pthread_mutex_unlock(&v->lock);
	return NULL;
}

static void on_kick(int sig)
{
	(void)sig;
}

static int start_thread(struct vcpu *v, struct err *e)
{
	struct sigaction kick = { .sa_handler = on_kick };
	sigset_t all, old;
	int r;

	/* Never called: the signal's arrival is what counts. Ignored, it would not arrive. */
	sigaction(KICK_SIGNAL, &kick, NULL);
	sigfillset(&all);
	sigdelset(&all, KICK_SIGNAL);
	/* A vCPU that was adopted has it. */
	r = v->vm->graft ? 0 : kvm_set_signal_mask(v->fd, &all, e);
	if (r)
		return r;
	process_fill_blocked(&all);
	/* KVM sends it for a page of the host's memory that is broken: the guest alone stands still then. */
	sigaddset(&all, SIGBUS);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&v->thread, NULL, vcpu_main, v);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r)
		return err_set_code(e, r, "cannot start the thread of vCPU %u", v->index);
	pthread_mutex_lock(&v->lock);
	while (!v->parked)
		pthread_cond_wait(&v->done, &v->lock);
	pthread_mutex_unlock(&v->lock);
	return 0;
}

/*
 * Gives a vCPU that is as KVM made it its CPUID, on which it depends what else it has, and
 * notes its power-on state.
 */
static int give_cpuid(struct vcpu *v, const struct vcpu_cpuid *table, uint32_t nr, struct err *e)
{
	int r = vcpu_cpuid_set(v->fd, table, nr, e);

	if (!r && v->index && v->vm->cpuid)
		v->caps = v->vm->vcpus[0]->caps;
	else if (!r)
		r = vcpu_caps_probe(&v->caps, v->vm->kvm_fd, v->vm->vm_fd, v->fd, e);
	if (!r)
		r = vcpu_state_get(v->fd, &v->caps, v->reset_state, e);
	if (!r)
		r = vcpu_apic_get(v->fd, v->caps.apic_bus_ns, v->reset_apic, e);
	if (r)
		return r;
	memmove(v->cpuid, table, nr * sizeof(*table));
	v->nr_cpuid = nr;
	v->fresh = true;
	return 0;
}

static int give_host_cpuid(struct vcpu *v, struct err *e)
{
	struct vm *vm = v->vm;
	int deadline = kvm_check_extension(vm->kvm_fd, KVM_CAP_TSC_DEADLINE_TIMER);
	uint32_t nr;
	int r = vcpu_cpuid_build(vm->cpuid, v->index, vm->nr_vcpus, deadline, v->cpuid, &nr, e);

	return r ? r : give_cpuid(v, v->cpuid, nr, e);
}

static int setup_kvm(struct vcpu *v, struct err *e)
{
	struct vm *vm = v->vm;
	int r;

	r = kvm_vcpu_mmap_size(vm->kvm_fd, e);
	if (r < 0)
		return r;
	v->run_size = (size_t)r;
	v->fd = kvm_create_vcpu(vm->vm_fd, v->index, e);
	if (v->fd < 0)
		return v->fd;
	r = kvm_map_run(v->fd, v->run_size, &v->run, e);
	if (r)
		return r;
	/* Else vcpu_load() gives it its CPUID. */
	return vm->cpuid ? give_host_cpuid(v, e) : 0;
}

/* Who holds it does so for less than a microsecond: going to sleep over it would take much longer. */
static void init_lock(pthread_mutex_t *lock)
{
	pthread_mutexattr_t attr;

	pthread_mutexattr_init(&attr);
	pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_ADAPTIVE_NP);
	pthread_mutex_init(lock, &attr);
	pthread_mutexattr_destroy(&attr);
}

static int new_vcpu(struct vcpu **out, struct vm *vm, unsigned int index, struct err *e)
{
	struct vcpu *v = calloc(1, sizeof(*v));
	int r;

	if (v) {
		v->reset_state = calloc(1, sizeof(*v->reset_state));
		v->reset_apic = calloc(1, sizeof(*v->reset_apic));
	}
	if (!v || !v->reset_state || !v->reset_apic) {
		r = err_set(e, ENOMEM, "no memory for vCPU %u", index);
		if (v) {
			free(v->reset_state);
			free(v->reset_apic);
		}
		free(v);
		return r;
	}
	v->vm = vm;
	v->index = index;
	v->fd = -1;
	v->last_cpu = -1;
	init_lock(&v->lock);
	pthread_cond_init(&v->order, NULL);
	pthread_cond_init(&v->done, NULL);
	*out = v;
	return 0;
}

int vcpu_create(struct vcpu **out, struct vm *vm, unsigned int index, struct err *e)
{
	struct vcpu *v;
	int r = new_vcpu(&v, vm, index, e);

	if (r)
		return r;
	r = setup_kvm(v, e);
	if (!r)
		r = start_thread(v, e);
	if (r) {
		vcpu_destroy(v);
		return err_prefix(e, "vCPU %u", index);
	}
	*out = v;
	return 0;
}

int vcpu_adopt(struct vcpu **out, struct vm *vm, unsigned int index, int fd,
	       const struct vcpu_caps *caps, const struct vcpu_state *reset,
	       const struct vcpu_apic_state *apic, struct err *e)
{
	struct vcpu *v;
	int r = new_vcpu(&v, vm, index, e);

	if (r)
		return r;
	r = kvm_vcpu_mmap_size(vm->kvm_fd, e);
	if (r >= 0) {
		v->run_size = (size_t)r;
		r = kvm_map_run(fd, v->run_size, &v->run, e);
	}
	if (!r) {
		v->fd = fd;
		v->caps = *caps;
		*v->reset_state = *reset;
		*v->reset_apic = *apic;
		v->nr_cpuid = reset->nr_cpuid;
		memcpy(v->cpuid, reset->cpuid, reset->nr_cpuid * sizeof(v->cpuid[0]));
		r = start_thread(v, e);
	}
	if (r) {
		v->fd = -1;
		vcpu_destroy(v);
		return err_prefix(e, "vCPU %u", index);
	}
	*out = v;
	return 0;
}

void vcpu_save_kept(const struct vcpu *v, struct vcpu_caps *caps, struct vcpu_state *reset,
		    struct vcpu_apic_state *apic)
{
	*caps = v->caps;
	*reset = *v->reset_state;
	*apic = *v->reset_apic;
	reset->nr_cpuid = v->nr_cpuid;
	memcpy(reset->cpuid, v->cpuid, v->nr_cpuid * sizeof(v->cpuid[0]));
}

int vcpu_last_cpu(const struct vcpu *v)
{
	return v->last_cpu;
}

void vcpu_place(struct vcpu *v, int cpu)
{
	v->placed = v->placed || cpus_pin(v->tid, cpu, &v->allowed);
}

int vcpu_running_cpu(const struct vcpu *v)
{
	return cpus_of_thread(v->tid);
}

void vcpu_running_on(const struct vm *vm, cpu_set_t *out)
{
	CPU_ZERO(out);
	for (unsigned int i = 0; i < vm->nr_vcpus; i++) {
		int cpu = vcpu_running_cpu(vm->vcpus[i]);

		if (cpu >= 0 && cpu < CPU_SETSIZE)
			CPU_SET(cpu, out);
	}
}

void vcpu_unplace_all(struct vm *vm)
{
	for (unsigned int i = 0; i < vm->nr_vcpus; i++) {
		struct vcpu *v = vm->vcpus[i];

		if (v->placed)
			cpus_unpin(v->tid, &v->allowed);
		v->placed = false;
	}
}

bool vcpu_may_spin(const struct vm *vm)
{
	return (int)vm->nr_vcpus < process_nr_cpus();
}

bool vcpu_has_exit(const struct vcpu *v)
{
	return v->exit_pending;
}

void vcpu_destroy(struct vcpu *v)
{
	if (!v)
		return;
	if (v->tid) {
		pthread_mutex_lock(&v->lock);
		__atomic_store_n(&v->end, true, __ATOMIC_RELEASE);
		pthread_cond_signal(&v->order);
		pthread_mutex_unlock(&v->lock);
		pthread_join(v->thread, NULL);
	}
	if (v->run)
		kvm_unmap_run(v->run, v->run_size);
	close_fd(&v->fd);
	pthread_cond_destroy(&v->order);
	pthread_cond_destroy(&v->done);
	pthread_mutex_destroy(&v->lock);
	free(v->reset_state);
	free(v->reset_apic);
	free(v);
}

void vcpu_resume_all(struct vm *vm)
{
	for (unsigned int i = 0; i < vm->nr_vcpus; i++) {
		struct vcpu *v = vm->vcpus[i];

		pthread_mutex_lock(&v->lock);
		trace_vcpu_resume(v->index);
		__atomic_store_n(&v->entered_ns, 0, __ATOMIC_RELAXED);
		__atomic_store_n(&v->run_wanted, true, __ATOMIC_RELEASE);
		__atomic_store_n(&v->parked, false, __ATOMIC_RELEASE);
		pthread_cond_signal(&v->order);
		pthread_mutex_unlock(&v->lock);
	}
}

void vcpu_pause_all(struct vm *vm)
{
	uint64_t limit = spin_limit(vm);

	for (unsigned int i = 0; i < vm->nr_vcpus; i++) {
		struct vcpu *v = vm->vcpus[i];

		__atomic_store_n(&v->run_wanted, false, __ATOMIC_RELEASE);
		pthread_kill(v->thread, KICK_SIGNAL);
	}
	/* A vCPU that has an access to finish needs the machine lock for it. */
	pthread_mutex_unlock(&vm->lock);
	for (unsigned int i = 0; i < vm->nr_vcpus; i++) {
		struct vcpu *v = vm->vcpus[i];

		while (clock_boottime_ns() < limit &&
		       !__atomic_load_n(&v->parked, __ATOMIC_ACQUIRE))
			sched_yield();
		pthread_mutex_lock(&v->lock);
		while (!v->parked)
			pthread_cond_wait(&v->done, &v->lock);
		pthread_mutex_unlock(&v->lock);
		trace_vcpu_pause(v->index);
	}
	pthread_mutex_lock(&vm->lock);
}

void vcpu_post_on_all(struct vm *vm, int (*fn)(struct vcpu *v, void *arg, struct err *e), void *arg)
{
	for (unsigned int i = 0; i < vm->nr_vcpus; i++) {
		struct vcpu *v = vm->vcpus[i];

		pthread_mutex_lock(&v->lock);
		v->fn_arg = arg;
		__atomic_store_n(&v->fn, fn, __ATOMIC_RELEASE);
		pthread_cond_signal(&v->order);
		pthread_mutex_unlock(&v->lock);
	}
}

void vcpu_rouse_all(struct vm *vm)
{
	for (unsigned int i = 0; i < vm->nr_vcpus; i++)
		pthread_cond_signal(&vm->vcpus[i]->order);
}

int vcpu_finish_all(struct vm *vm, struct err *e)
{
	uint64_t limit = spin_limit(vm);
	int r = 0;

	for (unsigned int i = 0; i < vm->nr_vcpus; i++) {
		struct vcpu *v = vm->vcpus[i];

		while (clock_boottime_ns() < limit && __atomic_load_n(&v->fn, __ATOMIC_ACQUIRE))
			sched_yield();
		pthread_mutex_lock(&v->lock);
		while (v->fn)
			pthread_cond_wait(&v->done, &v->lock);
		if (v->fn_result && !r) {
			r = v->fn_result;
			*e = v->fn_err;
			err_prefix(e, "vCPU %u", i);
		}
		pthread_mutex_unlock(&v->lock);
	}
	return r;
}

int vcpu_run_on_all(struct vm *vm, int (*fn)(struct vcpu *v, void *arg, struct err *e), void *arg,
		    struct err *e)
{
	vcpu_post_on_all(vm, fn, arg);
	return vcpu_finish_all(vm, e);
}

/*
 * A LAPIC timer that ran out since the vCPU left the guest is pending inside KVM,
 * where no ioctl shows it; KVM_RUN turns it into a requested interrupt. So enter KVM
 * with a signal waiting: it does that and returns before it comes to the guest.
 */
static int flush_timer(struct vcpu *v, struct err *e)
{
	int r;

	v->run->immediate_exit = 0;
	pthread_kill(pthread_self(), KICK_SIGNAL);
	r = kvm_run(v->fd);
	consume_kick();
	if (r == -EINTR || r == -EAGAIN)
		return 0;
	if (r < 0)
		return err_set_code(e, -r, "KVM_RUN");
	/* Nothing the guest did: a shutdown that had been requested. */
	v->exit_pending = true;
	return err_set(e, EAGAIN, "the vCPU has an exit to be handled first");
}

/*
 * Reads the LAPIC such that no expiry is lost: if the timer did not run out between
 * two readings, all that ran out before the first is visible in the second.
 */
static int save_apic(struct vcpu *v, struct vcpu_apic_state *a, struct err *e)
{
	struct vcpu_apic_state before;
	int r = vcpu_apic_get(v->fd, v->caps.apic_bus_ns, a, e);

	if (r || !vcpu_apic_timer_counts(a))
		return r;
	do {
		before = *a;
		r = flush_timer(v, e);
		if (!r)
			r = vcpu_apic_get(v->fd, v->caps.apic_bus_ns, a, e);
	} while (!r && vcpu_apic_timer_expired(&before, a));
	return r;
}

int vcpu_save(struct vcpu *v, struct vcpu_state *s, struct vcpu_apic_state *a, struct err *e)
{
	int r = save_apic(v, a, e);

	if (!r)
		r = vcpu_state_get(v->fd, &v->caps, s, e);
	if (r)
		return r;
	s->nr_cpuid = v->nr_cpuid;
	memcpy(s->cpuid, v->cpuid, v->nr_cpuid * sizeof(v->cpuid[0]));
	return 0;
}

int vcpu_load(struct vcpu *v, const struct vcpu_state *s, const struct vcpu_apic_state *a,
	      const struct time_shift *time, struct err *e)
{
	size_t bytes = s->nr_cpuid * sizeof(s->cpuid[0]);
	const struct vcpu_state *fresh;
	int r;

	if (!v->nr_cpuid) {
		/* Of a machine with the CPUID in the state. */
		r = give_cpuid(v, s->cpuid, s->nr_cpuid, e);
		if (r)
			return err_prefix(e, "the CPUID of the state does not fit here");
	} else if (s->nr_cpuid != v->nr_cpuid || memcmp(s->cpuid, v->cpuid, bytes)) {
		r = vcpu_cpuid_set(v->fd, s->cpuid, s->nr_cpuid, e);
		if (r)
			return err_prefix(e, "the CPUID of the state does not fit here");
		memcpy(v->cpuid, s->cpuid, bytes);
		v->nr_cpuid = s->nr_cpuid;
		v->fresh = false;
	}
	fresh = v->fresh ? v->reset_state : NULL;
	v->fresh = false;
	return vcpu_state_set(v->fd, &v->caps, s, a, time, fresh, e);
}

int vcpu_read_tsc(struct vcpu *v, uint32_t khz, struct tsc_reading *out, struct err *e)
{
	return vcpu_tsc_read(v->fd, &v->caps, khz, out, e);
}

static int reset_on_thread(struct vcpu *v, void *arg, struct err *e)
{
	int r;

	v->fresh = false;
	r = vcpu_state_set(v->fd, &v->caps, v->reset_state, v->reset_apic, NULL, NULL, e);
	return r ? r : vcpu_tsc_reset(v->fd, &v->caps, *(const uint64_t *)arg, e);
}

int vcpu_reset_all(struct vm *vm, struct err *e)
{
	uint64_t now = clock_tsc();

	return vcpu_run_on_all(vm, reset_on_thread, &now, e);
}

enum {
	CR0_PE = 1u << 0,
	CR0_ET = 1u << 4,
	CR4_PAE = 1u << 5,
	EFER_LME = 1u << 8,
	EFER_LMA = 1u << 10,
	ATTR_CODE = 0xb | 1 << 4 | 1 << 7 | 1 << 11, /* execute/read, accessed, 4 KiB units */
	ATTR_DATA = 0x3 | 1 << 4 | 1 << 7 | 1 << 11, /* read/write, accessed                */
	ATTR_L = 1 << 9,
	ATTR_DB = 1 << 10,
	ATTR_TSS = 0xb | 1 << 7, /* busy TSS */
	SELECTOR_CODE = 0x10,
	SELECTOR_DATA = 0x18,
	RFLAGS_FIXED = 2,
	GPR_RSP = 6,
	GPR_RBX = 1,
	GPR_RSI = 4,
	GPR_RIP = 16,
	GPR_RFLAGS = 17,
	SEG_CS = 0,
	SEG_TR = 6,
};

#define CR0_PG (1u << 31)

void vcpu_entry_gdt(bool long_mode, uint8_t gdt[VCPU_ENTRY_GDT_BYTES])
{
	/* Flat: base 0, limit 4 GiB in 4 KiB units. */
	uint64_t code = long_mode ? 0x00af9b000000ffff : 0x00cf9b000000ffff;
	uint64_t data = 0x00cf93000000ffff;

	memset(gdt, 0, VCPU_ENTRY_GDT_BYTES);
	memcpy(gdt + SELECTOR_CODE, &code, sizeof(code));
	memcpy(gdt + SELECTOR_DATA, &data, sizeof(data));
}

struct entry_args {
	struct vcpu *target;
	const struct vcpu_entry *entry;
};

static int set_entry_on_thread(struct vcpu *v, void *arg, struct err *e)
{
	const struct entry_args *args = arg;
	const struct vcpu_entry *en = args->entry;
	AUTO_FREE struct vcpu_state *s = NULL;

	if (v != args->target)
		return 0;
	s = malloc(sizeof(*s));
	if (!s)
		return err_set(e, ENOMEM, "no memory for the boot state");
	*s = *v->reset_state;
	for (int i = 0; i < 6; i++)
		s->segs[i] = (struct vcpu_segment){
			.limit = 0xffffffff,
			.selector = i == SEG_CS ? SELECTOR_CODE : SELECTOR_DATA,
			.attr = i == SEG_CS ? ATTR_CODE | (en->long_mode ? ATTR_L : ATTR_DB)
					    : ATTR_DATA | ATTR_DB,
		};
	s->segs[SEG_TR] = (struct vcpu_segment){ .limit = 0x67, .attr = ATTR_TSS };
	s->gdt_base = en->gdt;
	s->gdt_limit = VCPU_ENTRY_GDT_BYTES - 1;
	s->idt_base = 0;
	s->idt_limit = 0;
	s->cr0 = CR0_PE | CR0_ET | (en->long_mode ? CR0_PG : 0);
	s->cr3 = en->cr3;
	s->cr4 = en->long_mode ? CR4_PAE : 0;
	s->efer = en->long_mode ? EFER_LME | EFER_LMA : 0;
	s->regs[GPR_RIP] = en->rip;
	s->regs[GPR_RSP] = en->rsp;
	s->regs[GPR_RBX] = en->rbx;
	s->regs[GPR_RSI] = en->rsi;
	s->regs[GPR_RFLAGS] = RFLAGS_FIXED;
	v->fresh = false;
	return vcpu_state_set(v->fd, &v->caps, s, v->reset_apic, NULL, NULL, e);
}

int vcpu_set_entry(struct vcpu *v, const struct vcpu_entry *entry, struct err *e)
{
	struct entry_args args = { .target = v, .entry = entry };

	return vcpu_run_on_all(v->vm, set_entry_on_thread, &args, e);
}
