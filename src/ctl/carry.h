/* SPDX-License-Identifier: MIT */
/* What the monitors' clients have with the old image and go on with in the new one. */
#ifndef CTL_CARRY_H
#define CTL_CARRY_H

/*
 * DOC: theory of operation
 *
 * A client that stays connected through an update must find its session as it left it: what
 * was negotiated, the half request that it has sent, the answers it has not read, the
 * descriptors it has given. All this is in the CPR state (update/extras.h): numbers and flags as
 * JSON, descriptors by name, and bytes, which can be many and of any kind, in a memory file for
 * each session that has any: input, output and half a request or line, in this order.
 */

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct chardev;
struct cpr_state;
struct ctl;

/* The member of the configuration, and with a colon the beginning of names of descriptors. */
#define CARRY_KEY "chardevs"

/*
 * Old side: describes the session on @chr, if there is one and somebody is connected; else *@out
 * is NULL. The id tells it from others among the names in @s.
 */
int ctl_save_session(struct ctl *ctl, const struct chardev *chr, uint32_t id, struct cpr_state *s,
		     json_t **out, struct err *e);
/*
 * New side: the session on @chr, which has the peer of before and is held, goes on as @session
 * says. On failure the session is in no useful state.
 */
int ctl_load_session(struct ctl *ctl, const struct chardev *chr, uint32_t id,
		     const struct cpr_state *s, const json_t *session, struct err *e);

/* The numbered descriptor sets, which all monitors share. */
int ctl_save_fd_sets(const struct ctl *ctl, struct cpr_state *s, json_t **out, struct err *e);
int ctl_load_fd_sets(struct ctl *ctl, const struct cpr_state *s, const json_t *sets, struct err *e);

/* The session on @chr missed that the guest runs again, since it was under way then. */
void ctl_tell_resumed(struct ctl *ctl, const struct chardev *chr);
/* Whether some client has negotiated QMP, so that somebody is told of events. */
bool ctl_has_listeners(const struct ctl *ctl);
/* Goes on with input that came with the sessions, once their devices are released. */
void ctl_resume_sessions(struct ctl *ctl);

#endif
