/* SPDX-License-Identifier: MIT */
/* cpr-graft: the steps of a hand-over between two images in one process (private to update/). */
#ifndef UPDATE_GRAFTING_H
#define UPDATE_GRAFTING_H

#include "base/err.h"

struct migration;

/*
 * Old image. grafting_prepare() starts the new one and returns when it is ready;
 * grafting_hold() stops the guest, its vCPUs' threads waiting for the verdict;
 * grafting_offer() hands the state over and does not return if the new image takes the guest.
 * The undo functions follow those of the table.
 */
int grafting_prepare(struct migration *m, struct err *e);
void grafting_undo_prepare(struct migration *m);
void grafting_hold(struct migration *m);
int grafting_check_held(struct migration *m, struct err *e);
void grafting_undo_hold(struct migration *m);
int grafting_offer(struct migration *m, struct err *e);

/*
 * New image, in the child that starts it. grafting_receive() rehearses with a state of the
 * running guest and waits for the real one; grafting_commit() returns in the process, with the
 * guest running.
 */
int grafting_receive(struct migration *m, struct err *e);
int grafting_decode(struct migration *m, struct err *e);
void grafting_arm(struct migration *m);
int grafting_commit(struct migration *m, struct err *e);

#endif
