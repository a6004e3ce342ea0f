/* SPDX-License-Identifier: MIT */
/* Run states of a machine and the allowed changes between them. */
#ifndef MACHINE_RUNSTATE_H
#define MACHINE_RUNSTATE_H

/*
 * DOC: theory of operation
 *
 * One table in runstate.c says for each state where the machine may go from it; whoever
 * changes the state asks it. A guest in S3 (suspended) adds one flag: stopping it must not
 * be forgotten to have been asleep, so that starting it again makes it suspended and not
 * running, and only a wake-up lets its vCPUs go on. The flag travels with the run state.
 * What an operator's start or stop means in each case is decided here, by functions
 * of state and flag that know no machine.
 */

#include <stdbool.h>

/* Names and meaning are QEMU's; only states this machine can be in are listed. */
enum runstate {
	RUNSTATE_PRELAUNCH,      /* built, never started (-S)                    */
	RUNSTATE_INMIGRATE,      /* waits for an incoming state                  */
	RUNSTATE_RUNNING,        /* vCPUs are in the guest                       */
	RUNSTATE_PAUSED,         /* stopped by the operator                      */
	RUNSTATE_SUSPENDED,      /* guest is in S3                               */
	RUNSTATE_FINISH_MIGRATE, /* stopped by an update that is under way       */
	RUNSTATE_POSTMIGRATE,    /* the guest lives in another process or file   */
	RUNSTATE_SHUTDOWN,       /* the guest powered off, the process stays     */
	RUNSTATE_IO_ERROR,       /* stopped for an error of a disk's image       */
	RUNSTATE_INTERNAL_ERROR, /* KVM gave up on a vCPU                        */
	RUNSTATE_WATCHDOG,       /* stopped: a watchdog of the guest has run out */
	RUNSTATE_COUNT,
};

const char *runstate_name(enum runstate s);
/* False if @name is no run state of this machine. */
bool runstate_parse(const char *name, enum runstate *out);
/* Whether the table of transitions allows the change; to the same state it does not. */
bool runstate_may_change(enum runstate from, enum runstate to);
/* Running or suspended: the guest was not stopped by the operator. */
bool runstate_is_live(enum runstate s);

/* The state that a start leads to: suspended, if the guest was asleep when it was stopped. */
enum runstate runstate_after_start(bool was_suspended);
/*
 * What is remembered when the state changes from @from to @to, @was_suspended having been
 * remembered before: that the guest sleeps, through any number of stops, until it runs
 * or is started anew.
 */
bool runstate_remember_suspended(enum runstate from, enum runstate to, bool was_suspended);

#endif
