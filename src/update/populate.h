/* SPDX-License-Identifier: MIT */
/* When an update maps guest RAM in advance, and for how long (private to update/). */
#ifndef UPDATE_POPULATE_H
#define UPDATE_POPULATE_H

/*
 * DOC: theory of operation
 *
 * cpr-transfer: the new side maps RAM before it says that it is ready, while the old side's
 * guest runs, for a time that depends on the size of RAM. If that is not enough, the rest
 * waits until the guest runs here, and goes on beside it. cpr-exec: there is no time
 * before the pause, so all is done beside the guest.
 */

#include <stdbool.h>

struct migration;

/*
 * New side, before the pause: starts to map RAM. @ready is called on the main loop's thread
 * once the guest may be handed over; never if this returns false, since then it may be at once.
 */
bool populate_ahead(struct migration *m, void (*ready)(struct migration *m));
/* New side, after the pause: maps what is left. */
void populate_behind(struct migration *m);
/* Stops it for good, for instance because another update begins; no matter if there is none. */
void populate_end(struct migration *m);

#endif
