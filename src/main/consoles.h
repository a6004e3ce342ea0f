/* SPDX-License-Identifier: MIT */
/* The character devices of the command line, and which serial port or monitor has which. */
#ifndef MAIN_CONSOLES_H
#define MAIN_CONSOLES_H

#include <jansson.h>
#include <stdbool.h>

#include "base/err.h"
#include "ctl/chardev_opts.h"
#include "machine/backend.h"
#include "machine/layout.h"
#include "main/options.h"

struct chardev;
struct cpr_state;
struct ctl;
struct loop;

enum console_front {
	FRONT_NONE,
	FRONT_SERIAL,
	FRONT_QMP,
	FRONT_QMP_PRETTY,
	FRONT_HMP
};

enum {
	CONSOLES_MAX = OPTIONS_MAX_CHARDEVS + LAYOUT_NR_SERIAL + 2 * OPTIONS_MAX_MONITORS
};

struct console {
	char label[CHARDEV_MAX_ID];
	const char *option, *text; /* of the command line, for messages */
	struct chardev_config config;
	enum console_front front;
	struct chardev *chr;    /* owned; NULL: not open */
	struct backend backend; /* what a device finds it by */
	bool announced;         /* comes from another process, where its number is old_id */
	uint32_t old_id;
};

/* Zero-initialised is empty. */
struct consoles {
	struct console list[CONSOLES_MAX]; /* as they are opened */
	unsigned int nr;
	struct console *serial[LAYOUT_NR_SERIAL]; /* NULL: no such port        */
	struct console *monitors[CONSOLES_MAX];   /* as they are started       */
	unsigned int nr_monitors;
};

/*
 * Reads the options and decides who gets what; opens nothing. The strings of @o have to
 * outlive @cs. The error names the option.
 */
int consoles_plan(struct consoles *cs, const struct options *o, struct err *e);

/* How devices are opened. */
enum {
	CONSOLES_KEEP_FILES = 1 << 0, /* append: what the guest's console showed is not cut off */
	CONSOLES_RETRY = 1 << 1,      /* who listens for a client socket may come a little later */
	CONSOLES_MAY_MISS = 1 << 2,   /* one that cannot be opened is logged and leads nowhere   */
	CONSOLES_HELD = 1 << 3,       /* nothing comes or goes before consoles_release()         */
	CONSOLES_LATER = 1 << 4,      /* who is connected follows; what has come is held         */
	CONSOLES_NOWHERE = 1 << 5,    /* they lead nowhere: nothing is opened                    */
};

/*
 * Opens all devices; @how is a sum of the above. @came, if not NULL, is what consoles_find_carried()
 * or, with CONSOLES_LATER, consoles_find_announced() has found in @state: devices that are in it
 * go on.
 */
int consoles_open(struct consoles *cs, struct loop *loop, unsigned int how, const json_t *came,
		  const struct cpr_state *state, void (*quit)(void *opaque), void *opaque,
		  struct err *e);
/* Offers them to the machine's devices; those that are taken already are refused by name. */
int consoles_offer(struct consoles *cs, struct vm *vm, struct err *e);
/* Lets devices that were opened held go on. The loop's thread. */
void consoles_release(struct consoles *cs);

/* Makes the devices known to query-chardev and starts the monitors. */
int consoles_start_monitors(struct consoles *cs, struct ctl *ctl, struct err *e);

/* See chardev_suspend_tty(). */
void consoles_suspend_tty(struct consoles *cs, bool suspend);

void consoles_close(struct consoles *cs);

#endif
