/* SPDX-License-Identifier: MIT */
/* What happens when a watchdog of the guest runs out. */
#ifndef MACHINE_WATCHDOG_H
#define MACHINE_WATCHDOG_H

#include <stdbool.h>

struct vm;

/* Names are those of -action watchdog= and of QMP. */
enum watchdog_action {
	WATCHDOG_RESET,    /* the guest is reset                          */
	WATCHDOG_SHUTDOWN, /* the power button is pressed                 */
	WATCHDOG_POWEROFF, /* the machine ends                            */
	WATCHDOG_PAUSE,    /* the guest stops, run state watchdog         */
	WATCHDOG_DEBUG,    /* a message                                   */
	WATCHDOG_NONE,     /* nothing but the event                       */
	WATCHDOG_ACTIONS
};

const char *watchdog_action_name(enum watchdog_action a);
/* False: there is none of that name. */
bool watchdog_action_parse(const char *name, enum watchdog_action *out);

/*
 * A watchdog has run out: the main loop does what vm->watchdog_action says and tells the observers. Any
 * thread, machine lock. While an update is at work it waits.
 */
void watchdog_expired(struct vm *vm);

#endif
