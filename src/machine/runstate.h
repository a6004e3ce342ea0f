/* SPDX-License-Identifier: MIT */
/* Run states of a machine and the allowed changes between them. */
#ifndef MACHINE_RUNSTATE_H
#define MACHINE_RUNSTATE_H

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
	RUNSTATE_INTERNAL_ERROR, /* KVM gave up on a vCPU                        */
	RUNSTATE_COUNT,
};

const char *runstate_name(enum runstate s);
/* False if @name is no run state of this machine. */
bool runstate_parse(const char *name, enum runstate *out);
/* Whether the table of transitions allows the change; to the same state it does not. */
bool runstate_may_change(enum runstate from, enum runstate to);
/* Running or suspended: the guest was not stopped by the operator. */
bool runstate_is_live(enum runstate s);

#endif
