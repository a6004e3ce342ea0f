/* SPDX-License-Identifier: MIT */
/* A QMP session: greeting, negotiation, requests in order, events. */
#ifndef CTL_QMP_H
#define CTL_QMP_H

#include <jansson.h>

#include "base/list.h"
#include "ctl/json_split.h"
#include "ctl/session.h"

struct ctl;

struct qmp {
	struct list link; /* in ctl->qmps */
	struct ctl *ctl;
	struct session session;
	struct json_split split;
	bool negotiated;
	bool pretty;      /* JSON on several lines */
	bool oob;         /* the client may say exec-oob */
	bool lost_events; /* said in the log: this peer does not read */
};

/* Starts a session on @chr; the caller owns the result. NULL without memory. */
struct qmp *qmp_create(struct ctl *ctl, struct chardev *chr, bool pretty);
void qmp_destroy(struct qmp *q);

/*
 * Sends @event, an object, if the session's negotiation is over. A peer that
 * does not read loses events rather than making this process grow.
 */
void qmp_send_event(struct qmp *q, json_t *event);

#endif
