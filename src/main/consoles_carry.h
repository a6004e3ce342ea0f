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
 *
 * To another process (cpr-transfer) a device goes only if that one has it at the same address,
 * so that it is the same to its clients; a monitor at another address is the new
 * process's own, and the old process keeps its. The listening socket, file or terminal is
 * there from the beginning, held; whoever is connected follows when the guest runs in the new
 * process (update/late.h). An old process that no monitor is left to ends by itself.
 */

#include <jansson.h>
#include <stdbool.h>

#include "base/err.h"
#include "host/chardev.h"
#include "main/consoles.h"
#include "update/extras.h"

struct ctl;
struct migration;

/* For extras_register(). */
struct consoles_carry {
	struct extra extra;   /* to the next image in this process    */
	struct extra clients; /* to another process, and from there   */
	struct consoles *consoles;
	struct ctl *ctl;
	struct migration *migration;
	struct vm *vm;
};

/*
 * Registers @c with @m; all outlive the last update. Asks for what follows later, if
 * consoles_open() has found something in what was announced.
 */
void consoles_carry_init(struct consoles_carry *c, struct consoles *cs, struct ctl *ctl,
			 struct migration *m, struct vm *vm);

/*
 * What came in @s, or is announced there to come later (cpr-transfer); the caller's. *@out is
 * NULL if nothing is. -EPROTO if it is malformed.
 */
int consoles_find_carried(const struct cpr_state *s, json_t **out, struct err *e);
int consoles_find_announced(const struct cpr_state *s, json_t **out, struct err *e);
/* 1 and what there is for @c in duplicates that are the caller's, 0 if there is nothing. */
int consoles_take_carried(const json_t *came, const struct cpr_state *s, const struct console *c,
			  struct chardev_given *out, struct err *e);
/* The same for what is announced; then @c is marked. */
int consoles_take_announced(const json_t *announced, const struct cpr_state *s, struct console *c,
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
