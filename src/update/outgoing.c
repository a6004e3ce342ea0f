/* SPDX-License-Identifier: MIT */
/* The old side's steps of a hand-over. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/trace.h"
#include "base/util.h"
#include "host/clock.h"
#include "host/cpus.h"
#include "host/file.h"
#include "host/process.h"
#include "host/sock.h"
#include "machine/device.h"
#include "machine/globalstate.h"
#include "machine/vcpu.h"
#include "machine/vm.h"
#include "update/channel_open.h"
#include "update/extras.h"
#include "update/grafting.h"
#include "update/handover.h"
#include "update/late.h"
#include "update/populate.h"

/* For the answer of a new side that has the guest already. */
#define CLAIM_GRACE_NS UINT64_C(10000000000)

enum {
	HOLDER_INTERVAL_NS = 5000000
};

static uint64_t soon(void)
{
	return clock_boottime_ns() + DEADLINE_MESSAGE_NS;
}

/* What goes to the new side; the descriptors in it are borrowed. */
static int describe(struct migration *m, struct cpr_state *s, struct err *e)
{
	AUTO_FREE char *config = machine_config_text(m);
	const struct ram_block *b = NULL;
	int r = 0;

	cpr_state_init(s);
	s->pid = getpid();
	s->mode = m->mode;
	if (!config)
		return err_set(e, ENOMEM, "no memory for the configuration");
	/* To the next image in this process they go at the end. */
	if (m->mode == MODE_CPR_EXEC)
		s->config = TAKE_PTR(config);
	else
		r = extras_gather(m, EXTRAS_EARLY, config, s, e);
	while (!r && (b = memmap_next_block(&m->vm->mem, b)))
		r = cpr_state_add_fd(s, b->name, 0, b->fd, e);
	if (!r)
		r = cpr_state_add_fd(s, OWNER_FD_NAME, 0, m->owner.fd, e);
	if (r || m->mode != MODE_CPR_EXEC)
		return r;
	/* The next image may not be allowed to open it. */
	r = cpr_state_add_fd(s, KVM_FD_NAME, 0, m->vm->kvm_fd, e);
	if (r)
		return r;
	/* What the next image falls back to if it cannot load the guest. */
	r = m->program_fd =
		m->image_fd >= 0 ? process_dup_fd(m->image_fd, e) : process_open_program(e);
	return r < 0 ? r : cpr_state_add_fd(s, PROGRAM_FD_NAME, 0, m->program_fd, e);
}

static int connect_peer(struct migration *m, const struct cpr_state *s, struct err *e)
{
	uid_t uid;
	int r;

	if (m->cpr_channel.transport != TRANSPORT_UNIX)
		return err_set(e, EINVAL, "bad cpr channel address; must be unix");
	r = m->cpr_sock = channel_connect(&m->cpr_channel, -1, e);
	if (r < 0)
		return r;
	trace_cpr_transfer_output(m->cpr_channel.path);
	r = sock_peer(m->cpr_sock, &m->peer_pid, &uid, e);
	if (r)
		return r;
	/* Root may do with this process what it likes anyway; it may become our user yet. */
	if (uid != geteuid() && uid != 0)
		return err_set(e, EPERM,
			       "process %d at '%s' belongs to user %u, not to this one's (%u)",
			       m->peer_pid, m->cpr_channel.path, uid, geteuid());
	r = m->peer_pidfd = process_open_pidfd(m->peer_pid, e);
	if (r < 0)
		return r;
	return cpr_state_send(s, m->cpr_sock, soon(), e);
}

/* What the next image gets, as things are now; @s is to be forgotten, also after a failure. */
static int describe_for_next_image(const struct migration *m, struct cpr_state *s, struct buf *out,
				   struct err *e)
{
	int r = 0;

	*s = m->cpr;
	s->config = NULL;
	if (m->extras_known)
		r = extras_gather(m, EXTRAS_ALL, m->cpr.config, s, e);
	else if (!(s->config = strdup(m->cpr.config)))
		r = err_set(e, ENOMEM, "no memory for the configuration");
	return r ? r : cpr_state_encode(s, out, e);
}

/* What can be seen of the next image without executing it, and where its state will be. */
static int look_at_next_image(struct migration *m, struct err *e)
{
	const struct channel *c = &m->main_channel;

	m->peer_pid = getpid();
	m->trial_known = trial_is_known_to(m->command[0]);
	m->extras_known = extras_are_known_to(m->command[0]);
	if (!m->extras_known && extras_check_dispensable(m, m->command[0], e))
		return -e->code;
	m->main_fd = file_create(c->file, &m->main_created, e);
	channel_trace_outgoing(c, m, m->main_fd, e);
	return MIN(m->main_fd, 0);
}

/* Connections come and go until the stop: this only shows that it can be done. */
static int try_next_image(struct migration *m, struct err *e)
{
	struct cpr_state s;
	AUTO_BUF b = { 0 };
	int r = describe_for_next_image(m, &s, &b, e);

	if (!r && m->trial_known)
		r = trial_start(m, &s, b.data, b.len, e);
	cpr_state_forget(&s);
	return r;
}

/* Without the child the pause is longer, no more. */
static void hold_memory(struct migration *m)
{
	cpu_set_t busy;
	struct err e;
	pid_t pid;

	vcpu_running_on(m->vm, &busy);
	pid = process_hold_memory(m->vm->vm_fd, owner_word(&m->owner), OWNER_NEW, &busy,
				  &m->holder_child, &e);
	if (pid < 0)
		log_warn("%s", e.msg);
	else
		owner_times(&m->owner)->holder = (uint64_t)pid;
}

static void on_holder_interval(void *opaque)
{
	struct migration *m = opaque;

	if (m->holder) {
		loop_timer_set(m->vm->loop, &m->deadline, clock_boottime_ns() + HOLDER_INTERVAL_NS);
		return;
	}
	if (m->mode == MODE_CPR_EXEC)
		hold_memory(m);
	loop_post(m->vm->loop, &m->resume_work);
}

/*
 * Goes on when whoever asked has the answer, since then this image is gone, or waits. The child
 * of the exec that started this image may still take the memory of the image before apart. It
 * is ours to reap, and the next image does not know of it.
 */
static int go_on_later(struct migration *m)
{
	loop_timer_init(&m->deadline, on_holder_interval, m);
	on_holder_interval(m);
	return STEP_WAIT;
}

static void note_places(struct migration *m, int (*place_of)(const struct vcpu *v))
{
	struct owner_places *p = owner_places(&m->owner);

	for (unsigned int i = 0; i < m->vm->nr_vcpus; i++)
		p->cpu[i] = (uint16_t)(place_of(m->vm->vcpus[i]) + 1);
}

int outgoing_connect(struct migration *m, struct err *e)
{
	int r;

	populate_end(m);
	r = migration_list_state(m, e);
	if (!r && m->mode == MODE_CPR_GRAFT)
		return go_on_later(m);
	if (!r)
		r = owner_create(&m->owner, e);
	if (r)
		return r;
	note_places(m, vcpu_running_cpu);
	r = describe(m, &m->cpr, e);
	if (!r)
		trace_cpr_state_save(migration_mode_name(m->mode));
	if (!r)
		r = m->mode == MODE_CPR_EXEC ? look_at_next_image(m, e)
					     : connect_peer(m, &m->cpr, e);
	if (r || m->mode != MODE_CPR_EXEC)
		cpr_state_forget(&m->cpr);
	return r;
}

void outgoing_undo_connect(struct migration *m)
{
	struct err ignored;

	cpr_state_forget(&m->cpr);
	if (m->mode == MODE_CPR_EXEC)
		handover_discard_file(m);
	/* The new side would find out by the closed connection; it is told why. */
	if (m->cpr_sock >= 0)
		wire_send(m->cpr_sock, WIRE_CANCEL, m->error, strlen(m->error), soon(), &ignored);
}

static uint32_t be32_at(const uint8_t *p)
{
	struct cursor c;

	cursor_init(&c, p, 4);
	return cursor_be32(&c);
}

/* A message of the new side while we wait for it. */
static void on_message(void *opaque, uint32_t events)
{
	struct migration *m = opaque;
	AUTO_BUF payload = { 0 };
	enum wire_type type;
	struct err e;

	(void)events;
	if (wire_recv(m->cpr_sock, &type, &payload, soon(), &e)) {
		err_prefix(&e, "the new side (process %d) has gone", m->peer_pid);
		handover_abort(m, &e);
		return;
	}
	if (type == WIRE_REFUSE) {
		err_set(&e, ECONNREFUSED, "the new side (process %d) refuses: %.*s", m->peer_pid,
			(int)MIN(payload.len, sizeof(e.msg)), (const char *)payload.data);
		handover_abort(m, &e);
	} else if (type == WIRE_WANT && m->step == STEP_PREPARE && m->mode == MODE_CPR_TRANSFER) {
		if (late_note_wants(m, payload.data, payload.len, &e))
			handover_abort(m, &e);
	} else if (type == WIRE_WAITING && m->step == STEP_PREPARE) {
		/* It waits for its operator, who may take any time; the guest runs. */
		loop_timer_cancel(&m->deadline);
	} else if (type == WIRE_READY && m->step == STEP_PREPARE && payload.len != 8) {
		err_set(&e, EPROTO, "the new side's message that it is ready is malformed");
		handover_abort(m, &e);
	} else if (type == WIRE_READY && m->step == STEP_PREPARE &&
		   wire_check_version(be32_at(payload.data), &e)) {
		handover_abort(m, &e);
	} else if ((type == WIRE_READY && m->step == STEP_PREPARE) ||
		   (type == WIRE_RUNNING && m->step == STEP_OFFER)) {
		loop_fd_del(m->vm->loop, &m->cpr_watch);
		loop_fd_del(m->vm->loop, &m->pid_watch);
		handover_continue(m);
	} else {
		err_set(&e, EPROTO, "the new side sent message %d at step '%s'", type,
			handover_table[m->step].name);
		handover_abort(m, &e);
	}
}

static void on_peer_death(void *opaque, uint32_t events)
{
	struct migration *m = opaque;
	struct err e;

	/* What it still said counts first. */
	if (sock_has_input(m->cpr_sock)) {
		on_message(m, events);
		return;
	}
	err_set(&e, ESRCH, "the new side (process %d) has died", m->peer_pid);
	handover_abort(m, &e);
}

static void on_deadline(void *opaque)
{
	struct migration *m = opaque;
	struct err e;

	/* It has the guest, only its answer is late: nothing to roll back. */
	if (m->step == STEP_OFFER && owner_get(&m->owner) == OWNER_NEW && !m->claim_overdue) {
		m->claim_overdue = true;
		loop_timer_set(m->vm->loop, &m->deadline, clock_boottime_ns() + CLAIM_GRACE_NS);
		return;
	}
	if (m->step == STEP_OFFER && owner_get(&m->owner) == OWNER_NEW)
		err_set(&e, ETIMEDOUT, "the new side (process %d) does not say that it runs it",
			m->peer_pid);
	else if (m->step == STEP_OFFER)
		err_set(&e, ETIMEDOUT,
			"the new side did not take the guest over within the downtime limit of "
			"%llu ms",
			(unsigned long long)m->params.downtime_limit);
	else
		err_set(&e, ETIMEDOUT, "the new side was not ready within %llu s",
			(unsigned long long)(DEADLINE_PREPARE_NS / 1000000000));
	handover_abort(m, &e);
}

static int wait_for_peer(struct migration *m, uint64_t deadline_ns, struct err *e)
{
	struct loop *l = m->vm->loop;
	int r;

	r = loop_fd_add(l, &m->cpr_watch, m->cpr_sock, EPOLLIN, on_message, m, e);
	if (!r)
		r = loop_fd_add(l, &m->pid_watch, m->peer_pidfd, EPOLLIN, on_peer_death, m, e);
	if (r)
		return r;
	loop_timer_init(&m->deadline, on_deadline, m);
	loop_timer_set(l, &m->deadline, deadline_ns);
	return STEP_WAIT;
}

int outgoing_prepare(struct migration *m, struct err *e)
{
	if (m->mode == MODE_CPR_GRAFT)
		return grafting_prepare(m, e);
	if (m->mode == MODE_CPR_EXEC)
		return try_next_image(m, e);
	return wait_for_peer(m, clock_boottime_ns() + DEADLINE_PREPARE_NS, e);
}

void outgoing_undo_prepare(struct migration *m)
{
	grafting_undo_prepare(m);
	trial_end(m);
}

int outgoing_link(struct migration *m, struct err *e)
{
	const struct channel *c = &m->main_channel;

	if (migration_mode_streams(m->mode))
		return streaming_open(m, e);
	if (m->mode == MODE_CPR_EXEC)
		return go_on_later(m);
	m->main_fd = channel_connect(c, m->given_fd, e);
	channel_trace_outgoing(c, m, m->main_fd, e);
	return MIN(m->main_fd, 0);
}

void outgoing_undo_link(struct migration *m)
{
	if (migration_mode_streams(m->mode))
		streaming_undo(m);
}

int outgoing_stop(struct migration *m, struct err *e)
{
	struct owner_times *t = handover_times(m);
	struct vm *vm = m->vm;
	int r;

	t->stop = m->stop_ns = m->setup_ns = clock_boottime_ns();
	m->claim_overdue = false;
	trace_vmstate_downtime_checkpoint("src-downtime-start");
	m->saved_runstate = vm->runstate;
	vm_set_busy(vm, true);
	m->quiet = m->mode == MODE_CPR_GRAFT || m->mode == MODE_CPR_TRANSFER;
	if (m->mode == MODE_CPR_GRAFT)
		grafting_hold(m);
	else if (m->quiet)
		m->stop_untold = vm_halt(vm, RUNSTATE_FINISH_MIGRATE);
	else
		vm_stop(vm, RUNSTATE_FINISH_MIGRATE);
	r = device_quiesce_all(vm, m->stop_ns + m->params.downtime_limit * UINT64_C(1000000), e);
	t->stopped = clock_boottime_ns();
	trace_vmstate_downtime_checkpoint("src-vm-stopped");
	if (r)
		return r;
	if (vm->reset_requested || vm->shutdown_requested || vm->failed || vm->watchdog_expired)
		return err_set(e, EAGAIN,
			       "the guest asked for a reset or to be shut down at that moment");
	if (m->mode == MODE_CPR_GRAFT)
		return grafting_check_held(m, e);
	migration_set_status(m, MIGRATION_ACTIVE);
	return STEP_NEXT;
}

void outgoing_undo_stop(struct migration *m)
{
	struct vm *vm = m->vm;

	if (m->mode == MODE_CPR_GRAFT)
		grafting_undo_hold(m);
	/* From postmigrate, after an exec that failed, there is one way back. */
	vm_set_runstate(vm, RUNSTATE_FINISH_MIGRATE);
	if (runstate_is_live(m->saved_runstate))
		vm_start(vm);
	else
		vm_set_runstate(vm, m->saved_runstate);
	vm_set_busy(vm, false);
}

int outgoing_save(struct migration *m, struct err *e)
{
	int r;

	if (m->owner.page)
		note_places(m, vcpu_last_cpu);
	if (!migration_mode_streams(m->mode) && m->mode != MODE_CPR_GRAFT)
		migration_set_status(m, MIGRATION_DEVICE);
	r = vm_save_state(m->vm, handover_scope(m), &m->snap, e);
	if (r)
		return err_prefix(e, "the state cannot be saved");
	global_state_set(snapshot_find(&m->snap, global_state_desc.name, 0)->state,
			 m->saved_runstate, m->vm->was_suspended);
	trace_migrate_global_state_pre_save(runstate_name(m->saved_runstate));
	/* Only a file may be looked at by somebody who does not know the tables. */
	if (m->mode == MODE_CPR_EXEC)
		r = stream_encode(&m->snap, &m->stream, e);
	else if (!migration_mode_streams(m->mode))
		r = stream_encode_bare(&m->snap, &m->stream, e);
	m->state_bytes = m->stream.len;
	handover_times(m)->saved = clock_boottime_ns();
	trace_vmstate_downtime_checkpoint("src-non-iterable-saved");
	return r;
}

int outgoing_offer(struct migration *m, struct err *e)
{
	uint64_t deadline = m->stop_ns + m->params.downtime_limit * 1000000;
	AUTO_BUF offer = { 0 };
	int r;

	if (m->mode == MODE_CPR_GRAFT)
		return grafting_offer(m, e);
	buf_put_be64(&offer, m->stream.len);
	buf_put_be64(&offer, stream_hash(m->stream.data, m->stream.len));
	if (offer.failed)
		return err_set(e, ENOMEM, "no memory for the offer");
	if (!owner_offer(&m->owner))
		return err_set(e, EPROTO, "the owner word was changed by somebody else");
	r = wire_send(m->cpr_sock, WIRE_OFFER, offer.data, offer.len, deadline, e);
	if (!r)
		r = sock_send_all(m->main_fd, m->stream.data, m->stream.len, -1, deadline, e);
	if (r)
		return err_prefix(e, "the state cannot be sent");
	return wait_for_peer(m, deadline, e);
}

int outgoing_give(struct migration *m, struct err *e)
{
	cpu_set_t busy;

	(void)e;
	/* All that is left to do here is to clean up. */
	owner_busy(&m->owner, &busy);
	cpus_avoid(&busy);
	/* The clients that go hear here what has happened here. */
	migration_tell(m);
	late_give(m);
	return STEP_NEXT;
}

/* Descriptors the next image finds by their numbers. */
static int keep_fds(const struct migration *m, bool keep, struct err *e)
{
	int r = 0;

	for (size_t i = 0; !r && i < m->cpr.nr_fds; i++)
		r = process_keep_fd(m->cpr.fds[i].fd, keep, e);
	if (!r && m->state_memfd >= 0)
		r = process_keep_fd(m->state_memfd, keep, e);
	return r;
}

/* The CPR state, now that nothing more comes in or goes out here. */
static int write_for_next_image(struct migration *m, struct err *e)
{
	struct cpr_state s;
	AUTO_BUF b = { 0 };
	char number[16];
	int r;

	r = describe_for_next_image(m, &s, &b, e);
	if (!r)
		r = m->state_memfd = file_create_memfd(EXEC_STATE_NAME, b.data, b.len, e);
	if (r < 0) {
		cpr_state_forget(&s);
		return r;
	}
	cpr_state_forget(&m->cpr);
	m->cpr = s;
	r = keep_fds(m, true, e);
	snprintf(number, sizeof(number), "%d", m->state_memfd);
	if (!r && setenv(EXEC_STATE_NAME, number, 1))
		r = err_set_errno(e, "cannot set %s", EXEC_STATE_NAME);
	return r;
}

int outgoing_exec(struct migration *m, struct err *e)
{
	const struct channel *c = &m->main_channel;
	const struct owner_deadline deadline = {
		.ns = m->stop_ns + m->params.downtime_limit * 1000000,
		.limit_ms = m->params.downtime_limit,
	};
	int r;

	m->main_begun = true;
	r = file_begin(m->main_fd, c->file, c->offset, e);
	if (!r)
		r = file_write_at(m->main_fd, c->file, c->offset, m->stream.data, m->stream.len, e);
	/* Either image finds it by its name, and it was made a while ago. */
	if (!r)
		r = file_check_name(m->main_fd, c->file, e);
	if (r)
		return r;
	if (clock_boottime_ns() > deadline.ns)
		return err_set(e, ETIMEDOUT,
			       "the state was not in %s within the downtime limit of %llu ms",
			       c->file, (unsigned long long)deadline.limit_ms);
	*owner_deadline(&m->owner) = deadline;
	*owner_state(&m->owner) = (struct owner_state){
		.length = m->stream.len,
		.xxh3 = stream_hash(m->stream.data, m->stream.len),
	};
	if (!owner_offer(&m->owner))
		return err_set(e, EPROTO, "the owner word was changed by somebody else");
	vm_set_runstate(m->vm, RUNSTATE_POSTMIGRATE);
	migration_set_status(m, MIGRATION_COMPLETED);
	trace_cpr_exec();
	if (!m->extras_known)
		migration_notify_exec(m, true);
	r = write_for_next_image(m, e);
	return r ? r : process_exec(m->command, e);
}

void outgoing_undo_exec(struct migration *m)
{
	struct err e;

	if (!m->extras_known)
		migration_notify_exec(m, false);
	unsetenv(EXEC_STATE_NAME);
	/* Can fail only for descriptors that are not open, and these are. */
	keep_fds(m, false, &e);
}
