/* SPDX-License-Identifier: MIT */
/* cpr-graft: the steps of a hand-over between two images in one process. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/trace.h"
#include "base/util.h"
#include "host/clock.h"
#include "host/graft.h"
#include "host/process.h"
#include "machine/globalstate.h"
#include "machine/vcpu.h"
#include "machine/vm.h"
#include "update/extras.h"
#include "update/grafting.h"
#include "update/handover.h"

/*
 * DOC: theory of operation
 *
 * host/graft.h has the mechanism. What crosses here is what crosses in the other
 * modes, but for what stays where it is because the process stays: RAM with its
 * mappings, the VM and its vCPUs with all that KVM keeps. So the state is that of the
 * devices of ours. It is handed over twice: once from the running guest, for the new image to
 * try itself on, and once in the pause.
 */

/* For a new image to start and to build its machine; the guest runs meanwhile. */
#define DEADLINE_GRAFT_NS UINT64_C(5000000000)

enum {
	STREAM_ROOM = 64 << 10,
};

/* What both images write down for the report. */
struct shared {
	struct owner_times times; /* handover_times() */
	uint64_t start_ns;        /* of the attempt   */
};

enum {
	ENDED_THREAD_NS = 200000000,
	ENDED_THREAD_POLL_NS = 100000,
};

_Static_assert(sizeof(struct shared) <= GRAFT_SHARED_BYTES, "it fits in the contract");
_Static_assert(offsetof(struct shared, times) == 0, "handover_times() finds the times");

/*
 * Everything the new image gets before the stop. Freed only if the update fails: what a
 * large buffer leaves in the address space could be the new image's before the old one's
 * mappings are removed by their addresses.
 */
struct parcel {
	struct buf cpr_state, machine, rehearsal;
	struct graft_kept kept[RAM_MAX_BLOCKS];
	unsigned int nr_kept;
};

static void parcel_destroy(struct parcel *p)
{
	if (!p)
		return;
	buf_fini(&p->cpr_state);
	buf_fini(&p->machine);
	buf_fini(&p->rehearsal);
	free(p);
}

_Static_assert(sizeof(DOORBELL_FD_PREFIX) + DOORBELL_NAME_MAX <= WIRE_NAME_MAX + 1,
	       "the name of each doorbell fits");

/* KVM goes on ringing the old image's eventfds. */
static int add_doorbells(const struct vm *vm, struct cpr_state *s, struct err *e)
{
	const struct doorbell *d = NULL;
	char name[WIRE_NAME_MAX];
	int r = 0;

	while (!r && (d = doorbells_next(vm, d))) {
		snprintf(name, sizeof(name), DOORBELL_FD_PREFIX "%s", d->name);
		r = cpr_state_add_fd(s, name, 0, d->fd, e);
	}
	return r;
}

int migration_give_doorbells(const struct cpr_state *s, struct vm *vm, struct err *e)
{
	const size_t n = strlen(DOORBELL_FD_PREFIX);

	for (size_t i = 0; i < s->nr_fds; i++) {
		const struct wire_fd *f = &s->fds[i];
		int fd, r;

		if (strncmp(f->name, DOORBELL_FD_PREFIX, n))
			continue;
		r = fd = cpr_state_dup_fd(s, f->name, f->id, e);
		if (r >= 0)
			r = doorbells_give(vm, f->name + n, fd, e);
		if (r < 0) {
			close_fd(&fd);
			return r;
		}
	}
	return 0;
}

static int add_fds(const struct vm *vm, struct cpr_state *s, struct err *e)
{
	const struct ram_block *b = NULL;
	int r = cpr_state_add_fd(s, KVM_FD_NAME, 0, vm->kvm_fd, e);

	if (!r)
		r = cpr_state_add_fd(s, VM_FD_NAME, 0, vm->vm_fd, e);
	for (unsigned int i = 0; !r && i < vm->nr_vcpus; i++)
		r = cpr_state_add_fd(s, VCPU_FD_NAME, i, vcpu_fd(vm->vcpus[i]), e);
	if (!r)
		r = add_doorbells(vm, s, e);
	while (!r && (b = memmap_next_block(&vm->mem, b)))
		if (b->fd >= 0)
			r = cpr_state_add_fd(s, b->name, 0, b->fd, e);
	return r;
}

/* m->cpr is the old image's list of what it lent and made; undoing the update forgets it. */
static int pack_cpr_state(struct migration *m, struct parcel *p, struct err *e)
{
	AUTO_FREE char *config = machine_config_text(m);
	struct cpr_state *s = &m->cpr;
	int r;

	cpr_state_init(s);
	s->pid = getpid();
	s->mode = m->mode;
	r = config ? add_fds(m->vm, s, e) : err_set(e, ENOMEM, "no memory for the configuration");
	if (!r)
		r = extras_gather(m, EXTRAS_ALL, config, s, e);
	if (!r)
		trace_cpr_state_save(migration_mode_name(m->mode));
	return r ? r : cpr_state_encode(s, &p->cpr_state, e);
}

static int pack_machine(const struct vm *vm, struct parcel *p, struct err *e)
{
	struct snapshot s;
	int r;

	snapshot_init(&s, LAYOUT_MACHINE_TYPE);
	r = vm_list_kept(vm->nr_vcpus, &s, e);
	if (!r) {
		vm_save_kept(vm, &s);
		r = stream_encode_bare(&s, &p->machine, e);
	}
	snapshot_fini(&s);
	return r;
}

static int pack_rehearsal(struct migration *m, struct parcel *p, struct err *e)
{
	int r = vm_save_state(m->vm, VM_STATE_OURS, &m->snap, e);

	if (r)
		return r;
	global_state_set(snapshot_find(&m->snap, global_state_desc.name, 0)->state, m->vm->runstate,
			 m->vm->was_suspended);
	return stream_encode_bare(&m->snap, &p->rehearsal, e);
}

static int pack(struct migration *m, struct parcel *p, struct err *e)
{
	const struct ram_block *b = NULL;
	int r = pack_cpr_state(m, p, e);

	if (!r)
		r = pack_machine(m->vm, p, e);
	if (!r)
		r = pack_rehearsal(m, p, e);
	while (!r && (b = memmap_next_block(&m->vm->mem, b))) {
		struct graft_kept *k = &p->kept[p->nr_kept++];

		*k = (struct graft_kept){ .start = (uintptr_t)b->host, .size = b->size };
		memcpy(k->name, b->name, sizeof(k->name));
	}
	/* In the pause nothing is allocated. */
	buf_reserve(&m->stream, 2 * p->rehearsal.len + STREAM_ROOM);
	return r;
}

/* One that nobody takes over would go on in an image that is not there any more. */
static int check_threads(const struct vm *vm, struct err *e)
{
	uint64_t limit = clock_boottime_ns() + ENDED_THREAD_NS;
	char names[256];
	unsigned int n;

	/* One that was waited for may be there a moment longer, as far as the kernel is concerned. */
	while ((n = process_nr_threads(names, sizeof(names))) > vm->nr_vcpus + 1 &&
	       clock_boottime_ns() < limit)
		clock_sleep_ns(ENDED_THREAD_POLL_NS);
	if (n == vm->nr_vcpus + 1)
		return 0;
	if (!n)
		return err_set(e, ENOENT,
			       "cannot look at /proc/self/task: a graft needs /proc, also after "
			       "chroot");
	return err_set(
		e, EBUSY,
		"this process has %u threads, not the %u of its vCPUs and one more (%s): something "
		"else is at work, try again",
		n, vm->nr_vcpus, names);
}

int grafting_prepare(struct migration *m, struct err *e)
{
	struct parcel *p = m->parcel = calloc(1, sizeof(*p));
	struct vm *vm = m->vm;
	struct graft_config c;
	int r;

	if (!p)
		return err_set(e, ENOMEM, "no memory for what a new image gets");
	/* Whoever listens hears it before their connection is packed too. */
	migration_set_status(m, MIGRATION_ACTIVE);
	r = pack(m, p, e);
	if (!r)
		r = check_threads(vm, e);
	if (r)
		return r;
	c = (struct graft_config){
		.command = m->command,
		.nr_contexts = vm->nr_vcpus + 1,
		.kept = p->kept,
		.nr_kept = p->nr_kept,
		.spin = vcpu_may_spin(vm),
		.cpr_state = p->cpr_state.data,
		.cpr_state_len = p->cpr_state.len,
		.machine = p->machine.data,
		.machine_len = p->machine.len,
		.rehearsal = p->rehearsal.data,
		.rehearsal_len = p->rehearsal.len,
	};
	/* The guest uses its devices; the main loop waits here, and changes nothing. */
	pthread_mutex_unlock(&vm->lock);
	r = graft_start(&m->graft, &c, e);
	if (!r)
		((struct shared *)graft_shared(m->graft))->start_ns = m->start_ns;
	if (!r)
		r = graft_wait_ready(m->graft, clock_boottime_ns() + DEADLINE_GRAFT_NS, e);
	pthread_mutex_lock(&vm->lock);
	return r;
}

void grafting_undo_prepare(struct migration *m)
{
	if (m->graft)
		graft_roll_back(TAKE_PTR(m->graft));
	parcel_destroy(TAKE_PTR(m->parcel));
}

static int wait_for_verdict(struct vcpu *v, void *arg, struct err *e)
{
	struct graft *g = arg;

	(void)e;
	graft_wait_verdict(g, vcpu_index(v) + 1);
	return 0;
}

void grafting_hold(struct migration *m)
{
	vcpu_post_on_all(m->vm, wait_for_verdict, m->graft);
	m->stop_untold = vm_halt(m->vm, RUNSTATE_FINISH_MIGRATE);
}

int grafting_check_held(struct migration *m, struct err *e)
{
	for (unsigned int i = 0; i < m->vm->nr_vcpus; i++)
		if (vcpu_has_exit(m->vm->vcpus[i]))
			return err_set(e, EAGAIN, "vCPU %u has an exit to be handled first", i);
	return 0;
}

void grafting_undo_hold(struct migration *m)
{
	struct err e;

	graft_take_back(m->graft);
	/* They only waited, which cannot fail. */
	vcpu_finish_all(m->vm, &e);
}

int grafting_offer(struct migration *m, struct err *e)
{
	uint64_t deadline = m->stop_ns + m->params.downtime_limit * 1000000;
	int r = graft_offer(m->graft, m->stream.data, m->stream.len, e);

	if (r)
		return r;
	if (graft_wait_taken(m->graft, deadline, e))
		graft_enter_main(m->graft);
	return -e->code;
}

int grafting_receive(struct migration *m, struct err *e)
{
	const struct graft_bytes *b = &m->graft->rehearsal;
	int r = stream_decode(graft_data(b), b->len, &m->snap, e);

	if (!r)
		r = vm_load_state(m->vm, VM_STATE_OURS, &m->snap, e);
	if (r)
		return err_prefix(e, "a state of the running guest cannot be loaded");
	graft_wait_left(m->graft);
	graft_wait_offer(m->graft);
	handover_times(m)->received = clock_boottime_ns();
	return STEP_NEXT;
}

int grafting_decode(struct migration *m, struct err *e)
{
	const struct graft_bytes *b = &m->graft->state;

	m->state_bytes = b->len;
	return stream_decode(graft_data(b), b->len, &m->snap, e);
}

void grafting_arm(struct migration *m)
{
	struct vm *vm = m->vm;

	if (runstate_is_live(m->saved_runstate) && m->autostart)
		vm_arm(vm);
	else if (runstate_is_live(m->saved_runstate))
		vm_set_runstate(vm, RUNSTATE_PAUSED);
	else
		vm_set_runstate(vm, m->saved_runstate);
}

int grafting_commit(struct migration *m, struct err *e)
{
	struct vm *vm = m->vm;
	uint64_t entered;

	(void)e;
	graft_commit(m->graft);
	vm_take_over(vm, runstate_is_live(m->saved_runstate));
	m->ram_by_cpr = false;
	/* What is left of the old image goes while the guest uses its devices. */
	pthread_mutex_unlock(&vm->lock);
	graft_finish(m->graft);
	pthread_mutex_lock(&vm->lock);
	m->start_ns = ((const struct shared *)graft_shared(m->graft))->start_ns;
	m->setup_ns = handover_times(m)->stop;
	entered = vcpu_entered_ns(vm->vcpus[0]);
	handover_times(m)->entered = entered ? entered : clock_boottime_ns();
	return STEP_NEXT;
}
