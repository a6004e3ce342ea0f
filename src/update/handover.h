/* SPDX-License-Identifier: MIT */
/* The hand-over: one table of steps, for both sides and all modes (private to update/). */
#ifndef UPDATE_HANDOVER_H
#define UPDATE_HANDOVER_H

/*
 * DOC: theory of operation
 *
 * An attempt passes through steps. Each has an enter function, which does the
 * step at once or starts something that the main loop finishes
 * (handover_continue()), and an undo function for the case that this or a later
 * step fails. Undo runs in reverse over the steps that were entered, so a failed
 * attempt leaves the process as it was. docs/update-protocol.md shows the
 * sequence of both sides.
 */

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "host/loop.h"
#include "machine/runstate.h"
#include "machine/vm.h"
#include "state/snapshot.h"
#include "state/stream.h"
#include "update/channel.h"
#include "update/migration.h"
#include "update/owner.h"
#include "update/params.h"
#include "update/trial.h"
#include "update/wire.h"

/* Environment of the image that cpr-exec starts: number of the descriptor with the CPR state. */
#define EXEC_STATE_NAME "BATON_CPR_EXEC_STATE"
/* And of the old image when the new one falls back to it: why. */
#define EXEC_FALLBACK_NAME "BATON_CPR_EXEC_FALLBACK"
#define PROGRAM_FD_NAME    "baton-program" /* the old image's program, exec only */

enum handover_step {
	STEP_IDLE,
	/* Old side. */
	STEP_CONNECT, /* hand the descriptors and the configuration over      */
	STEP_PREPARE, /* the new side builds its machine (transfer)           */
	STEP_LINK,    /* open the main channel                                */
	STEP_STOP,    /* stop the guest                                       */
	STEP_SAVE,    /* gather and encode the state                          */
	STEP_OFFER,   /* offer the guest, send the state, wait (transfer)     */
	STEP_GIVE,    /* send what follows the guest (transfer)               */
	STEP_EXEC,    /* write the state, become the new image (exec)         */
	STEP_STREAM,  /* write state and RAM (cpr-reboot, normal)             */
	/* New side. */
	STEP_RECEIVE, /* the state arrives                                    */
	STEP_LOAD,    /* KVM and the devices take it                          */
	STEP_CLAIM,   /* swap the owner word                                  */
	STEP_RUN,     /* enter the guest, acknowledge                         */
	STEP_TAKE,    /* take what follows the guest (transfer)               */
	STEP_DONE,
	STEP_COUNT,
};

enum fault_kind {
	FAULT_NONE,
	FAULT_KILL,  /* the process dies                       */
	FAULT_STOP,  /* the process hangs                      */
	FAULT_FAIL,  /* the step fails                         */
	FAULT_CRASH, /* the main thread uses a wrong address   */
	FAULT_HANG,  /* the main thread waits for ever         */
};

enum {
	DEADLINE_MESSAGE_NS = 1000000000, /* for one message while the guest runs */
};
#define DEADLINE_PREPARE_NS UINT64_C(60000000000)

/* An enter function's result: go on at once, or when handover_continue() is called. */
enum {
	STEP_NEXT = 0,
	STEP_WAIT = 1
};

struct graft;
struct parcel; /* grafting.c */
struct populate;
struct ram_sample;
struct streaming; /* streaming.c: the thread that moves state and RAM */

struct migration {
	struct vm *vm; /* [c]                                              */
	struct migration_params params;
	bool no_programs; /* the sandbox lets none be started */
	/* [c] Of a next image in this process; NULL: any will do. */
	int (*check_command)(char *const *argv, struct err *e);
	bool caps[CAP_COUNT];
	struct list observers;
	struct list extras; /* struct extra                                     */
	bool extras_known;  /* exec: the next image can do with them            */
	bool trial_known;   /* and answers if it is tried                       */
	json_t *wants;      /* new: what extras_want() noted; owned, NULL: nothing       */
	json_t *wanted;     /* old: what the new side wants; owned, NULL: nothing        */
	enum migration_status status;
	char error[1024];

	/* The attempt under way, or the last one. */
	enum migration_mode mode;
	char **command;          /* exec: what is executed; owned, NULL: none yet      */
	bool ignore_shared;      /* with a stream: what can be found again stays in place */
	bool adopt_capabilities; /* new: ignore_shared is what the stream says       */
	bool quit_when_saved;    /* old: the process ends after the save                */
	bool wait_for_load;      /* exec: the next image waits for the operator's load  */
	bool incoming;           /* this process is the new side                     */
	struct channel main_channel;
	struct channel cpr_channel;
	enum handover_step step;
	uint32_t entered;              /* bit mask of steps to undo                        */
	enum handover_step fault_step; /* test aid, see migration_set_fault()              */
	enum fault_kind fault;
	struct cpr_state cpr;      /* what was sent or received; fds borrowed (old side) */
	int cpr_sock;              /* CPR channel, connected                           */
	int given_fd;              /* main channel of a descriptor: ours, until it is opened */
	int main_fd;               /* main channel: listening, connected, or the file  */
	bool main_listens;         /* new: it is a socket that nobody has connected to yet */
	bool main_created;         /* the main channel's file was made by this attempt    */
	bool main_begun;           /* and is not complete: cut off at its offset           */
	int state_memfd;           /* exec: the CPR state for the next image           */
	int program_fd;            /* exec: the program this image runs */
	char *const *argv;         /* [c] the command line, for coming back; not owned */
	char fallback_reason[512]; /* new: why the newer image gave the guest back */
	int peer_pidfd;
	struct trial trial; /* exec, old: the next image, tried                        */
	struct owner owner;
	struct snapshot snap;
	struct buf stream;            /* the encoded state                                */
	enum runstate saved_runstate; /* old: before the stop; new: from the state        */
	bool offer_known;             /* new: WIRE_OFFER came                             */
	uint64_t offer_len, offer_hash;
	bool autostart;     /* new: run when loaded (no -S, no `stop`)          */
	bool exit_on_error; /* new: a failed load ends the process              */
	bool cancelled;     /* old: the failure is the operator's wish          */
	void (*exec_hook)(void *opaque, bool leaving); /* see migration_set_exec_hook()      */
	void *exec_hook_opaque;
	struct populate *populate;   /* new: RAM is being mapped in advance; owned, or NULL */
	struct graft *graft;         /* cpr-graft: the contract with the other image   */
	struct parcel *parcel;       /* old: what the new image was given; owned       */
	int image_fd;                /* this image's program, kept open; owned, or -1 */
	struct streaming *streaming; /* cpr-reboot and normal mode; owned, NULL before */
	bool let_go; /* old: saved with RAM in place, which another may take by now */
	struct ram_sample *let_go_sample; /* what that RAM held; owned                  */
	uint64_t let_go_stamp; /* of its files, see memmap_stamp()                      */
	bool ram_by_cpr;       /* new: RAM came by its descriptors, and is a running guest's */
	bool claim_overdue;    /* old: the new side has the guest and was given more time    */
	uint64_t stop_ns;      /* old: begin of the pause, where the peer cannot change it   */
	/*
	 * Old side: in the pause nobody is told anything, for whoever listens would want a processor
	 * then. migration_tell() makes up for it.
	 */
	bool quiet;
	bool stop_untold;                /* that the guest stopped                       */
	enum migration_status untold[4]; /* then this, in order                          */
	unsigned int nr_untold;
	bool given_away; /* old: the guest is another process's              */
	pid_t peer_pid;
	struct loop_fd cpr_watch;
	struct loop_fd main_watch;
	struct loop_fd pid_watch;
	struct loop_timer deadline;
	struct loop_timer reaper; /* for @holder                                      */
	pid_t holder; /* child of the exec that started this image, not reaped yet; 0: none */
	struct holder *holder_child;  /* exec: the child that is to hold our memory; owned */
	struct loop_work resume_work; /* continues an attempt after the monitor's reply   */
	uint64_t start_ns, setup_ns, end_ns;
	struct owner_times times;          /* of the last pause                                */
	uint64_t state_bytes;              /* of the last state sent or received               */
	uint64_t pages_normal, pages_zero; /* in it                                   */
};

/* One row of the table. */
struct handover_row {
	const char *name;
	bool new_side;
	int (*enter)(struct migration *m, struct err *e); /* STEP_NEXT, STEP_WAIT, -errno */
	void (*undo)(struct migration *m);
	enum handover_step next[MODE_COUNT]; /* STEP_IDLE: not in this mode */
};

extern const struct handover_row handover_table[STEP_COUNT];

/* Starts an attempt at @first. On failure everything is undone and reported already. */
int handover_start(struct migration *m, enum handover_step first, struct err *e);
/* The step that waits is over; goes on with the next. */
void handover_continue(struct migration *m);
/* The attempt fails for the reason in @e: undoes it and reports by status. */
void handover_fail(struct migration *m, const struct err *e);
/* The same for callbacks, where nobody else hears of @e: logs it too. */
void handover_abort(struct migration *m, const struct err *e);
/* Closes what the attempt held. */
void handover_release(struct migration *m);

/*
 * Timer callback: takes the child off that held the memory past an exec, which ends soon
 * after; nobody else does.
 */
void handover_reap_holder(void *opaque);

/*
 * What migration_start() does, in a mode and with a command (cpr-exec) of the caller's
 * choice. The attempt's members above that are not arguments are the caller's to set, after
 * migration_check() and before; that one checks everything that can be checked.
 */
int migration_check(const struct migration *m, enum migration_mode mode, char *const *command,
		    const struct channel *main_channel, const struct channel *cpr, struct err *e);
int migration_begin(struct migration *m, enum migration_mode mode,
		    const struct channel *main_channel, const struct channel *cpr, struct err *e);

/* Copies @argv as the command of the next exec, with @program, if not NULL, for its first word. */
int migration_set_command(struct migration *m, char *const *argv, const char *program,
			  struct err *e);

/* Tells main/ that the image is about to be replaced, or that this failed. */
void migration_notify_exec(struct migration *m, bool leaving);
void migration_set_status(struct migration *m, enum migration_status status);
/* Ends the quiet, if there is one: observers hear what has happened meanwhile, in its order. */
void migration_tell(struct migration *m);
/* The list of everything that has state here, machine and update; outside the pause. */
int migration_list_state(struct migration *m, struct err *e);

/* Steps of the old side: outgoing.c. Of the new side: incoming.c. */
int outgoing_connect(struct migration *m, struct err *e);
int outgoing_prepare(struct migration *m, struct err *e);
void outgoing_undo_prepare(struct migration *m);
int outgoing_link(struct migration *m, struct err *e);
int outgoing_stop(struct migration *m, struct err *e);
int outgoing_save(struct migration *m, struct err *e);
int outgoing_offer(struct migration *m, struct err *e);
int outgoing_give(struct migration *m, struct err *e);
int outgoing_exec(struct migration *m, struct err *e);
void outgoing_undo_connect(struct migration *m);
void outgoing_undo_link(struct migration *m);
void outgoing_undo_stop(struct migration *m);
void outgoing_undo_exec(struct migration *m);
int incoming_receive(struct migration *m, struct err *e);
void incoming_undo_receive(struct migration *m);
int incoming_load(struct migration *m, struct err *e);
int incoming_claim(struct migration *m, struct err *e);
int incoming_run(struct migration *m, struct err *e);

/*
 * The modes whose stream holds the guest's memory, cpr-reboot and normal: streaming.c.
 * streaming_open() opens the main channel for writing; streaming_listen() for reading, and
 * starts to read as soon as there is a peer. streaming_send() starts to write. Both go on
 * by handover_continue(). Undo stops the thread and, if the state was being written to
 * a file, removes it.
 */
int streaming_open(struct migration *m, struct err *e);
int streaming_send(struct migration *m, struct err *e);
int streaming_listen(struct migration *m, struct err *e);
void streaming_undo(struct migration *m);
void streaming_release(struct migration *m);
/*
 * The guest is saved. If some of its RAM stays in place, another process may take it over from
 * now on; this one must not touch it before streaming_take_back().
 */
void streaming_let_go(struct migration *m);
/* `cont` after that: fails if another process has the RAM. */
int streaming_take_back(struct migration *m, struct err *e);
/* What went through, for query-migrate. */
void streaming_info(const struct migration *m, struct migration_info *out);

/* Nothing is left of a state that was not written to its end; what was there before, is. */
void handover_discard_file(struct migration *m);

/* The times of the pause, shared with the other side if there is one at the same time. */
struct owner_times *handover_times(struct migration *m);

/* What of the machine's state crosses. */
enum vm_state_scope handover_scope(const struct migration *m);

/* The machine as the other side must have it; text owned by the caller. */
char *machine_config_text(const struct migration *m);
/* Compares; -EINVAL names the difference. */
int machine_config_check(struct migration *m, const char *text, struct err *e);

#endif
