/* SPDX-License-Identifier: MIT */
/* Character devices and their clients, from one image of this program to the next. */
#ifndef MAIN_CONSOLES_CARRY_H
#define MAIN_CONSOLES_CARRY_H

/*
 * DOC: theory of operation
 *
 * The old side lists its devices in the CPR state, with open sockets, files and
 * terminals as descriptors. The new side opens what its own command line says, and
 * where the list has a device of the same label and kind it goes on with that one: with the
 * listening socket, file or terminal if the address is the same too, and with whoever
 * is connected if the same kind of front end is there for them. What nobody takes is
 * closed when the update is over, so that its client knows.
 *
 * Until the guest runs here the devices are held: what clients send waits in the
 * kernel, and what is said to them waits here. So an image that fails and gives the
 * guest back has taken nothing away.
 */

#include <jansson.h>
#include <stdbool.h>

#include "base/err.h"
#include "host/chardev.h"
#include "main/consoles.h"
#include "update/extras.h"

struct ctl;
struct migration;

/* The old side's: for extras_register(). */
struct consoles_carry {
	struct extra extra;
	const struct consoles *consoles;
	struct ctl *ctl;
	struct migration *migration;
};

/* Registers @c with @m; all three outlive the last update. */
void consoles_carry_init(struct consoles_carry *c, const struct consoles *cs, struct ctl *ctl,
			 struct migration *m);

/* What came in @s, the caller's; *@out is NULL if nothing did. -EPROTO if it is malformed. */
int consoles_find_carried(const struct cpr_state *s, json_t **out, struct err *e);
/* 1 and what there is for @c in duplicates that are the caller's, 0 if there is nothing. */
int consoles_take_carried(const json_t *came, const struct cpr_state *s, const struct console *c,
			  struct chardev_given *out, struct err *e);
/*
 * The sessions of clients that have come, after consoles_start_monitors() and before
 * consoles_release().
 */
int consoles_load_sessions(const json_t *came, const struct cpr_state *s, struct consoles *cs,
			   struct ctl *ctl, struct err *e);
/* A client that has come had asked for MIGRATION events. */
bool consoles_want_events(const json_t *came);

#endif
