/* SPDX-License-Identifier: MIT */
/* cpr-transfer: what goes to the new process when the guest runs there (private to update/). */
#ifndef UPDATE_LATE_H
#define UPDATE_LATE_H

/*
 * DOC: theory of operation
 *
 * Clients of the old process speak to it until it has lost the guest, and it has to answer
 * them if the update fails. So their connections go last, when nothing can fail any more but
 * they themselves:
 *
 *	CPR state      the old side announces what it could give      (extra's gather())
 *	WIRE_WANT      the new side says what it wants of that        (extras_want())
 *	...            the guest changes hands
 *	CPR state      a second one, with just that                   (give(), given(), take())
 *
 * From the moment in which the guest is the new side's, what it wants is too, whether
 * it gets it or not: the old side closes its own.
 */

#include <stddef.h>

#include "base/err.h"

struct cpr_state;
struct migration;

/* New side: sends what extras_want() has noted, if anything; before WIRE_READY. */
int late_send_wants(struct migration *m, struct err *e);
/* Old side: that message came. -EPROTO if it is malformed. */
int late_note_wants(struct migration *m, const void *p, size_t n, struct err *e);

/* Old side: sends what is wanted. Only the clients suffer from a failure, which is logged. */
void late_give(struct migration *m);
/* Old side: the new one has it, or nobody. */
void late_let_go(struct migration *m);

/* New side: waits for what was wanted, then goes on, also without: a step's enter function. */
int late_take(struct migration *m, struct err *e);

#endif
