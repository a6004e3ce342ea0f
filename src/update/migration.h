/* SPDX-License-Identifier: MIT */
/* The migration object: what QMP's migrate and query-migrate act on. */
#ifndef UPDATE_MIGRATION_H
#define UPDATE_MIGRATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/list.h"
#include "update/channel.h"
#include "update/params.h"

struct vm;
struct graft;
struct migration;
struct cpr_state;
struct privileges;

/* Names of KVM's descriptors among those a graft hands over; a vCPU's id is its index. */
#define KVM_FD_NAME  "baton-kvm"
#define VM_FD_NAME   "baton-vm"
#define VCPU_FD_NAME "baton-vcpu"
/* And of the eventfds that KVM rings: the doorbell's name follows (machine/doorbell.h). */
#define DOORBELL_FD_PREFIX "baton-doorbell:"

/*
 * New side of a graft, before devices are made: @vm has the doorbells in @s to give to them. The
 * descriptors are duplicates; doorbells_drop_given() closes those that no device has.
 */
int migration_give_doorbells(const struct cpr_state *s, struct vm *vm, struct err *e);

/* QEMU's names, in its order, of the states an update passes through here. */
enum migration_status {
	MIGRATION_NONE,
	MIGRATION_SETUP,
	MIGRATION_CANCELLING,
	MIGRATION_CANCELLED,
	MIGRATION_ACTIVE,
	MIGRATION_COMPLETED,
	MIGRATION_FAILING,
	MIGRATION_FAILED,
	MIGRATION_DEVICE,
};

const char *migration_status_name(enum migration_status s);

/* What query-migrate reports. Times are of the last attempt. */
struct migration_info {
	enum migration_status status;
	bool incoming;        /* this process received (or waits for) the guest */
	char error[1024];     /* status failed: why; else empty                 */
	bool whole;           /* the times are of both sides                    */
	uint64_t setup_us;    /* everything before the guest was stopped        */
	uint64_t downtime_us; /* guest stopped to guest running in the new side (or again here) */
	uint64_t total_us;
	uint64_t bytes;        /* of the stream                       */
	uint64_t pages_normal; /* RAM in the stream, 4 KiB pages      */
	uint64_t pages_zero;
	uint64_t pages_left;
	/* The parts of the pause, in order; nr_phases of them. */
	struct migration_phase {
		const char *name;
		uint64_t us;
	} phases[8];
	size_t nr_phases;
};

struct migration_observer {
	struct list link;
	void (*status)(void *opaque, enum migration_status status);
	void (*pass)(void *opaque, uint64_t pass);
	void *opaque;
};

/*
 * One per process, for its whole life. Main loop's thread, as all here. @autostart: an
 * incoming guest that ran is to run here too (no -S). @argv: this process's command
 * line, which outlives the object. The caller owns the result.
 */
int migration_create(struct migration **out, struct vm *vm, bool autostart, char *const *argv,
		     struct err *e);
void migration_destroy(struct migration *m);

/*
 * New side, before the machine exists: gets the CPR state, which holds the preserved
 * descriptors, from the channel (waits there for the old side) or, after cpr-exec, from the old
 * image. migration_recv_cpr() leaves the connection in *@sock. @becomes: who this process will be
 * before it has the guest, and the old side may be already; NULL: who it is.
 */
int migration_recv_cpr(const struct channel *cpr, const struct privileges *becomes,
		       struct cpr_state *state, int *sock, struct err *e);
/* Returns 1 and fills @state if this image was started by cpr-exec, or for its @trial, 0 if not. */
int migration_inherit_cpr(struct cpr_state *state, bool trial, struct err *e);
/* Whether this image was started by fallback_go() of another one; before migration_came_back(). */
bool migration_is_fallback(void);
/*
 * Whether this image is one that was fallen back to: then *@main_channel is where its
 * state is, whatever the command line says, and the reason is reported as the failure
 * of the update. After migration_attach_cpr().
 */
bool migration_came_back(struct migration *m, struct channel *main_channel);
/* What was handed over to the machine, as long as the guest is not taken over. */
const struct cpr_state *migration_cpr_state(const struct migration *m);
/* Tells the old side at @sock why the machine cannot be built here. */
void migration_refuse_cpr(int sock, const char *why);

/*
 * New side, once the machine exists: takes over @state (its descriptors that are left) and
 * *@sock, and compares the machine with the old one's. On failure both stay the caller's.
 */
int migration_attach_cpr(struct migration *m, struct cpr_state *state, int *sock, struct err *e);

/*
 * New image of cpr-graft: @state from @g, before the machine exists; then, once it does, the
 * comparison with the old one's, after which @g is the migration object's. Both images use the
 * descriptors in @state, which are not to be closed. migration_incoming_graft() returns when
 * the guest runs in this image; until then a failure ends the process (graft_fail()).
 */
int migration_inherit_graft(struct graft *g, struct cpr_state *state, struct err *e);
int migration_attach_graft(struct migration *m, struct graft *g, struct cpr_state *state,
			   struct err *e);
int migration_incoming_graft(struct migration *m, struct err *e);

struct migration_params *migration_params(struct migration *m);
/* Updates that execute programs are refused from now on, if @forbid, by name. */
void migration_forbid_programs(struct migration *m, bool forbid);
/* Opens the program this image is, for falling back to it, while its name can be found. */
int migration_keep_program(struct migration *m, struct err *e);
/*
 * @check looks at the command line of a next image in this process before anything is done, and
 * refuses one that cannot go on here.
 */
void migration_set_command_check(struct migration *m,
				 int (*check)(char *const *argv, struct err *e));
/* No attempt is under way, and none is being cleaned up after. */
bool migration_is_idle(const struct migration *m);
bool migration_cap_get(const struct migration *m, enum migration_cap cap);
void migration_cap_set(struct migration *m, enum migration_cap cap, bool on);
void migration_observe(struct migration *m, struct migration_observer *o);

/*
 * `migrate`: checks everything checkable in the order the field knows, then
 * starts the update and returns; the rest happens in the main loop. @cpr may be
 * NULL; in mode cpr-graft @main_channel has to be NULL too. A failure before the start
 * changes nothing.
 */
int migration_start(struct migration *m, const struct channel *main_channel,
		    const struct channel *cpr, struct err *e);
/*
 * `migrate_cancel`: rolls back what is under way, unless the new side has claimed the
 * guest; nothing under way is no error. Old side only.
 */
void migration_cancel(struct migration *m);

/* This process ends: an update that has not stopped the guest yet is cancelled. */
void migration_end_preparation(struct migration *m);

/*
 * The operator wants this process to end: a save of the guest and its memory, which may
 * take long, is rolled back. What has a deadline goes on to its end.
 */
void migration_give_up_save(struct migration *m);

/*
 * `migrate-incoming`, and -incoming with a main channel: opens @main_channel and
 * waits there for the state. @exit_on_error: a state that cannot be loaded ends
 * the process. Run state inmigrate only.
 */
int migration_incoming(struct migration *m, const struct channel *main_channel, bool exit_on_error,
		       struct err *e);
/* -incoming defer: waits for migration_incoming(); the old side is told. */
void migration_incoming_defer(struct migration *m);

/*
 * `cprsave`, the one-shot form: CPRSAVE_RESTART executes this process's own command line
 * again (by the program baton-exec, if PATH has one), which waits for migration_cprload();
 * CPRSAVE_REBOOT saves, RAM that can be found again left in place, and ends the process.
 * Checks and failures as migration_start().
 */
enum cprsave_mode {
	CPRSAVE_RESTART,
	CPRSAVE_REBOOT,
};
int migration_cprsave(struct migration *m, const char *file, enum cprsave_mode mode, struct err *e);
/*
 * `cprload`: takes the guest over from @file, whichever way it was saved. Run state
 * inmigrate only; a failure leaves the process waiting.
 */
int migration_cprload(struct migration *m, const char *file, struct err *e);
/* This image was started by cprsave and is to wait, whatever -incoming says. */
bool migration_waits_for_load(const struct migration *m);

/*
 * @hook is called with true right before this image is replaced by cpr-exec, with false if
 * that failed: for what the next image must find as the first found it (a terminal's mode).
 */
void migration_set_exec_hook(struct migration *m, void (*hook)(void *opaque, bool leaving),
			     void *opaque);

/*
 * A test aid, `-debug handover=STEP:kill|stop|fail|crash|hang`: the process does that when
 * it comes to that step of an update. -EINVAL for what is none, with the list of steps.
 */
int migration_set_fault(struct migration *m, const char *spec, struct err *e);

void migration_info(const struct migration *m, struct migration_info *out);

/*
 * Why the machine could not be updated in the mode that is set, if anything
 * stands in the way: up to @max sentences in @out, each to be freed by the
 * caller. Returns how many.
 */
size_t migration_blockers(const struct migration *m, char **out, size_t max);

/*
 * Whether devices may come and go now; @what is refused else, in a sentence, since an update has
 * counted them, or the guest is not here.
 */
int migration_check_plug(const struct migration *m, const char *what, struct err *e);

/*
 * `cont` and `stop` go through here, since an update may forbid the one (the
 * guest lives elsewhere now) and postpone the other (inmigrate).
 */
int migration_cont(struct migration *m, struct err *e);
int migration_stop(struct migration *m, struct err *e);

#endif
