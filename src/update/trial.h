/* SPDX-License-Identifier: MIT */
/* The trial of cpr-exec: would the next image start, and build this machine? */
#ifndef UPDATE_TRIAL_H
#define UPDATE_TRIAL_H

/*
 * DOC: theory of operation
 *
 * What cpr-exec executes replaces the only program that has the guest. So before the guest is stopped
 * the old image executes it in a child first. The child gets what the next image will get, and the
 * variable BATON_CPR_EXEC_TRIAL with the number of a descriptor: it reads its command line, takes the CPR
 * state, builds the machine in a VM of its own, compares it with the old one, writes a line to the
 * descriptor, "yes" or why not, and ends. It opens no character device, no monitor and no PID file,
 * and the devices it builds are those of a new side, which use nothing before they have the guest.
 *
 * A program that ends without a line is none that could take a guest.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "host/loop.h"

struct cpr_state;
struct migration;

/* Of the old side. */
struct trial {
	pid_t pid;  /* 0: there is none */
	pid_t left; /* was killed, and has not ended when it should have; 0: none */
	int pidfd;
	int answer; /* the pipe's end that is read */
	struct loop_fd watch;
	char *program; /* its name, owned */
};

#define TRIAL_INIT                                               \
	{                                                        \
		.pidfd = -1, .answer = -1, .watch = LOOP_FD_INIT \
	}

/* Whether @name is a program that answers; one that starts another program in the end may be. */
bool trial_is_known_to(const char *name);
/*
 * Old side, main loop's thread: starts m->command with what is described in @state, the encoded CPR
 * state whose descriptors are those of @s. Then handover_continue() or handover_abort() is called.
 */
int trial_start(struct migration *m, const struct cpr_state *s, const void *state, size_t n,
		struct err *e);
/* Ends what is left of it; no matter if there is none. */
void trial_end(struct migration *m);

/* New image, before anything else: the descriptor to answer on; -1: this is no trial. */
int trial_inherit(void);
/* Says @why not, or that all is well if it is NULL. */
void trial_answer(int fd, const char *why);

#endif
