/* SPDX-License-Identifier: MIT */
/* The hand-over: one table of steps, for both sides and all modes. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/trace.h"
#include "base/util.h"
#include "host/clock.h"
#include "host/file.h"
#include "host/graft.h"
#include "host/process.h"
#include "machine/device_list.h"
#include "machine/hugepages.h"
#include "machine/vm.h"
#include "update/grafting.h"
#include "update/handover.h"
#include "update/late.h"
#include "update/populate.h"

/* Where a step leads to, by mode; cpr-reboot and normal mode go the same way. */
#define NEXT(transfer_, exec_, graft_, stream_)                                         \
	{                                                                               \
		[MODE_NORMAL] = STEP_##stream_, [MODE_CPR_REBOOT] = STEP_##stream_,     \
		[MODE_CPR_TRANSFER] = STEP_##transfer_, [MODE_CPR_EXEC] = STEP_##exec_, \
		[MODE_CPR_GRAFT] = STEP_##graft_,                                       \
	}

const struct handover_row handover_table[STEP_COUNT] = {
	[STEP_IDLE] = { .name = "idle" },
	[STEP_CONNECT] = { .name = "connect",
			   .enter = outgoing_connect,
			   .undo = outgoing_undo_connect,
			   .next = NEXT(PREPARE, PREPARE, PREPARE, IDLE) },
	[STEP_PREPARE] = { .name = "prepare",
			   .enter = outgoing_prepare,
			   .undo = outgoing_undo_prepare,
			   .next = NEXT(LINK, LINK, STOP, IDLE) },
	[STEP_LINK] = { .name = "link",
			.enter = outgoing_link,
			.undo = outgoing_undo_link,
			.next = NEXT(STOP, STOP, IDLE, STOP) },
	[STEP_STOP] = { .name = "stop",
			.enter = outgoing_stop,
			.undo = outgoing_undo_stop,
			.next = NEXT(SAVE, SAVE, SAVE, SAVE) },
	[STEP_SAVE] = { .name = "save",
			.enter = outgoing_save,
			.next = NEXT(OFFER, EXEC, OFFER, STREAM) },
	[STEP_OFFER] = { .name = "offer",
			 .enter = outgoing_offer,
			 .next = NEXT(GIVE, IDLE, DONE, IDLE) },
	[STEP_GIVE] = { .name = "give",
			.enter = outgoing_give,
			.next = NEXT(DONE, IDLE, IDLE, IDLE) },
	[STEP_EXEC] = { .name = "exec",
			.enter = outgoing_exec,
			.undo = outgoing_undo_exec,
			.next = NEXT(IDLE, DONE, IDLE, IDLE) },
	[STEP_STREAM] = { .name = "stream",
			  .enter = streaming_send,
			  .undo = streaming_undo,
			  .next = NEXT(IDLE, IDLE, IDLE, DONE) },
	[STEP_RECEIVE] = { .name = "receive",
			   .new_side = true,
			   .enter = incoming_receive,
			   .undo = incoming_undo_receive,
			   .next = NEXT(LOAD, LOAD, LOAD, LOAD) },
	[STEP_LOAD] = { .name = "load",
			.new_side = true,
			.enter = incoming_load,
			.next = NEXT(CLAIM, CLAIM, RUN, RUN) },
	[STEP_CLAIM] = { .name = "claim",
			 .new_side = true,
			 .enter = incoming_claim,
			 .next = NEXT(RUN, RUN, DONE, IDLE) },
	[STEP_RUN] = { .name = "run",
		       .new_side = true,
		       .enter = incoming_run,
		       .next = NEXT(TAKE, DONE, CLAIM, DONE) },
	[STEP_TAKE] = { .name = "take",
			.new_side = true,
			.enter = late_take,
			.next = NEXT(DONE, IDLE, IDLE, IDLE) },
	[STEP_DONE] = { .name = "done" },
};

/* What the test aid asked for at this step, if anything. */
static int inject_fault(struct migration *m, enum handover_step step, struct err *e)
{
	if (m->fault == FAULT_NONE || m->fault_step != step)
		return 0;
	switch (m->fault) {
	case FAULT_KILL:
		process_die();
		break;
	case FAULT_STOP:
		process_freeze();
		break;
	case FAULT_CRASH:
		process_crash();
		break;
	case FAULT_HANG:
		process_hang();
		break;
	default:
		m->fault = FAULT_NONE;
		return err_set(e, EIO, "step '%s' was made to fail", handover_table[step].name);
	}
	return 0;
}

enum {
	REAP_INTERVAL_NS = 5000000
};

void handover_reap_holder(void *opaque)
{
	struct migration *m = opaque;

	if (process_reap(m->holder))
		m->holder = 0;
	else
		loop_timer_set(m->vm->loop, &m->reaper, clock_boottime_ns() + REAP_INTERVAL_NS);
}

void handover_discard_file(struct migration *m)
{
	if (m->main_fd >= 0 && (m->main_created || m->main_begun))
		file_discard(m->main_fd, m->main_channel.file, m->main_channel.offset,
			     m->main_created);
	m->main_created = m->main_begun = false;
}

enum vm_state_scope handover_scope(const struct migration *m)
{
	return m->mode == MODE_CPR_GRAFT ? VM_STATE_OURS : VM_STATE_ALL;
}

struct owner_times *handover_times(struct migration *m)
{
	if (m->graft)
		return graft_shared(m->graft);
	return m->owner.page ? owner_times(&m->owner) : &m->times;
}

static void watch_holder(struct migration *m)
{
	uint64_t pid = m->owner.page ? owner_times(&m->owner)->holder : 0;

	if (m->mode != MODE_CPR_EXEC || !pid || pid > INT32_MAX)
		return;
	m->holder = (pid_t)pid;
	loop_timer_set(m->vm->loop, &m->reaper, clock_boottime_ns() + REAP_INTERVAL_NS);
}

static void finish(struct migration *m)
{
	m->step = STEP_DONE;
	trace_handover_step(handover_table[STEP_DONE].name);
	m->entered = 0;
	m->end_ns = clock_boottime_ns();
	m->times = *handover_times(m);
	migration_tell(m);
	watch_holder(m);
	vm_set_busy(m->vm, false);
	device_list_release(m->vm);
	handover_release(m);
	if (m->incoming)
		trace_process_incoming_migration_co_end(0);
	if (m->incoming && m->fallback_reason[0]) {
		snprintf(m->error, sizeof(m->error), "%s", m->fallback_reason);
		migration_set_status(m, MIGRATION_FAILED);
		return;
	}
	migration_set_status(m, MIGRATION_COMPLETED);
	if (!m->incoming && m->quit_when_saved)
		vm_request_shutdown(m->vm, "host-qmp-quit");
}

/*
 * Undoes what was entered, last first. False if the guest is not ours to resume
 * any more: the new side has claimed it.
 */
static bool undo(struct migration *m)
{
	bool offered = m->owner.page && owner_get(&m->owner) != OWNER_OLD;

	if (!m->incoming && offered && !owner_take_back(&m->owner))
		return false;
	for (int s = STEP_COUNT - 1; s > STEP_IDLE; s--) {
		if (!(m->entered & 1u << s))
			continue;
		m->entered &= ~(1u << s);
		trace_handover_undo(handover_table[s].name);
		if (handover_table[s].undo)
			handover_table[s].undo(m);
	}
	return true;
}

/* The new side has the guest, whatever else went wrong: it must not run here again. */
static void give_away(struct migration *m)
{
	trace_vmstate_downtime_checkpoint("src-downtime-end");
	m->given_away = true;
	m->vm->foreign = true;
	vm_set_runstate(m->vm, RUNSTATE_POSTMIGRATE);
	late_let_go(m);
}

/* The guest is in a stream; nobody runs it now. */
static void let_go(struct migration *m)
{
	vm_set_runstate(m->vm, RUNSTATE_POSTMIGRATE);
	streaming_let_go(m);
}

void handover_fail(struct migration *m, const struct err *e)
{
	/* Watchers know this order: after a failed exec there is no `failing`. */
	bool exec_failed = m->status == MIGRATION_COMPLETED;

	/* The process is the old image's; there is nothing here to undo. */
	if (m->incoming && m->graft)
		graft_fail(m->graft, e->msg);
	snprintf(m->error, sizeof(m->error), "%s", e->msg);
	trace_migrate_error(e->msg);
	migration_tell(m);
	populate_end(m);
	m->end_ns = clock_boottime_ns();
	loop_timer_cancel(&m->deadline);
	if (exec_failed)
		migration_set_status(m, MIGRATION_FAILED);
	else if (!m->incoming)
		migration_set_status(m, m->cancelled ? MIGRATION_CANCELLING : MIGRATION_FAILING);
	if (!undo(m)) {
		log_error("the guest was taken over by process %d, but: %s", m->peer_pid, e->msg);
		give_away(m);
	}
	/* Before the page with its word goes. */
	if (m->holder_child)
		process_end_hold((pid_t)owner_times(&m->owner)->holder, TAKE_PTR(m->holder_child));
	else
		watch_holder(m);
	m->step = STEP_IDLE;
	vm_set_busy(m->vm, false);
	device_list_release(m->vm);
	if (m->incoming)
		migration_refuse_cpr(m->cpr_sock, e->msg);
	if (m->incoming)
		trace_process_incoming_migration_co_end(-e->code);
	handover_release(m);
	if (m->incoming && m->exit_on_error) {
		m->vm->exit_code = 1;
		loop_quit(m->vm->loop);
	}
	if (!exec_failed)
		migration_set_status(m, m->cancelled ? MIGRATION_CANCELLED : MIGRATION_FAILED);
}

static void log_failure(const struct migration *m, const struct err *e)
{
	if (m->incoming || m->given_away)
		log_error("%s", e->msg);
	else
		log_error("the update failed, the guest stays here: %s", e->msg);
}

void handover_abort(struct migration *m, const struct err *e)
{
	handover_fail(m, e);
	log_failure(m, e);
}

static int go(struct migration *m, enum handover_step step, struct err *e)
{
	while (step != STEP_DONE) {
		const struct handover_row *row = &handover_table[step];
		int r;

		m->step = step;
		trace_handover_step(row->name);
		r = inject_fault(m, step, e);
		if (!r) {
			m->entered |= 1u << step;
			r = row->enter(m, e);
		}
		if (r < 0) {
			handover_fail(m, e);
			return r;
		}
		if (r == STEP_WAIT)
			return 0;
		step = row->next[m->mode];
	}
	if (!m->incoming && m->owner.page)
		give_away(m);
	else if (!m->incoming)
		let_go(m);
	finish(m);
	return 0;
}

int handover_start(struct migration *m, enum handover_step first, struct err *e)
{
	m->entered = 0;
	device_list_hold(m->vm);
	/* It holds pages and, in a graft, is a thread that nobody takes over. */
	hugepages_rest(m->vm->hugepages);
	return go(m, first, e);
}

void handover_continue(struct migration *m)
{
	const struct handover_row *row = &handover_table[m->step];
	struct err e;

	loop_timer_cancel(&m->deadline);
	if (go(m, row->next[m->mode], &e))
		log_failure(m, &e);
}

void handover_release(struct migration *m)
{
	struct loop *l = m->vm->loop;

	loop_timer_cancel(&m->deadline);
	loop_work_cancel(l, &m->resume_work);
	loop_fd_del(l, &m->cpr_watch);
	loop_fd_del(l, &m->main_watch);
	loop_fd_del(l, &m->pid_watch);
	trial_end(m);
	close_fd(&m->cpr_sock);
	close_fd(&m->given_fd);
	close_fd(&m->main_fd);
	close_fd(&m->state_memfd);
	close_fd(&m->program_fd);
	close_fd(&m->peer_pidfd);
	streaming_release(m);
	json_decref(TAKE_PTR(m->wanted));
	/* An image that was exec'ed has no old side beside it: the operator may try again. */
	if (!(m->incoming && m->mode == MODE_CPR_EXEC && m->vm->foreign)) {
		cpr_state_fini(&m->cpr);
		owner_fini(&m->owner);
	}
	graft_close(TAKE_PTR(m->graft));
	snapshot_fini(&m->snap);
	buf_fini(&m->stream);
}
