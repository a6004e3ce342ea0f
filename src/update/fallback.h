/* SPDX-License-Identifier: MIT */
/* The way back of cpr-exec: a new image that cannot take the guest becomes the old one again. */
#ifndef UPDATE_FALLBACK_H
#define UPDATE_FALLBACK_H

/*
 * DOC: theory of operation
 *
 * After an exec the new image is the only one that has the guest, and its state is in a file until it
 * claims it. Whatever ended this process before would end the guest. So the first thing a new
 * image does is to find out how the old one is executed (host/rescue.h): then an error, a
 * crash, and a deadline that the old image has left in the owner page lead back to it. It
 * loads the state it has saved, and reports the update as failed.
 *
 * An image that came back has no other to go to: it arms nothing.
 */

#include <stdbool.h>

#include "base/err.h"
#include "base/util.h"
#include "update/handover.h"
#include "update/wire.h"

/* What the way back takes; zero-initialised there is none. It stays where it is until fallback_release(). */
struct fallback {
	bool armed;
	char **argv; /* owned */
	char **envp; /* the array is ours, what it points to the environment's or below */
	int fds[WIRE_MAX_FDS + 1];
	char state[sizeof(EXEC_STATE_NAME) + 16];
	char why[sizeof(EXEC_FALLBACK_NAME) + SIZEOF_FIELD(struct err, msg)];
	char late[128];
};

/*
 * New image, with what migration_inherit_cpr() has found; the descriptors in @state stay open under
 * their numbers until fallback_end(). On failure a part may be missing, and fallback_go() tries
 * again. Main thread, as all here, before others are started.
 */
int fallback_arm(struct fallback *way, const struct cpr_state *state, struct err *e);
/* Becomes the old image again, which is told @why. Returns only on failure. */
int fallback_go(struct fallback *way, const struct cpr_state *state, const char *why,
		struct err *e);
/* The claim is next. Without effect if nothing is armed; if the way back is being gone, it does not return. */
void fallback_end(void);
/* After fallback_end(): what was kept for it goes. */
void fallback_release(struct fallback *way);

#endif
