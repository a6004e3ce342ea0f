/* SPDX-License-Identifier: MIT */
/* The control layer: monitors (QMP and HMP) through which operators drive the machine. */
#ifndef CTL_CTL_H
#define CTL_CTL_H

/*
 * DOC: theory of operation
 *
 * A session sits on a character device and cuts its input into requests. QMP
 * sessions check each against the one table of commands and call its handler; HMP
 * sessions translate a typed line into the same commands. Handlers are thin:
 * they call the machine or the migration object and turn the outcome into JSON.
 * Nothing here blocks, and all of it runs on the main loop's thread with the
 * machine lock held.
 */

#include "base/err.h"

struct chardev;
struct ctl;
struct drives;
struct migration;
struct netdevs;
struct vm;

/* The version of the interface spoken here, in QEMU's numbers, and ours. */
#define CTL_QEMU_MAJOR 11
#define CTL_QEMU_MINOR 1
#define CTL_QEMU_MICRO 3
#define CTL_VERSION    "0.1.0"

/* Everything pointed to outlives the control layer; nothing is taken over. */
struct ctl_config {
	struct vm *vm;
	struct migration *migration;
	struct netdevs *netdevs;         /* NULL: none can be added                              */
	struct drives *drives;           /* NULL: there are and will be none             */
	const char *name;                /* -name; NULL: none                            */
	const char *uuid;                /* NULL: all zero                               */
	void (*powerdown)(void *opaque); /* presses the power button; NULL: there is none */
	void *powerdown_opaque;
};

/* The caller owns the result. */
int ctl_create(struct ctl **out, const struct ctl_config *config, struct err *e);
/*
 * Ends all sessions, after sending what their peers take at once. Before the
 * character devices, the migration object and the machine are destroyed, whose
 * events must not come any more. NULL is allowed.
 */
void ctl_destroy(struct ctl *ctl);

/*
 * Each starts a session on @chr, which the caller closes after ctl_destroy(); a pretty one
 * answers on several lines.
 */
int ctl_add_qmp(struct ctl *ctl, struct chardev *chr, struct err *e);
int ctl_add_qmp_pretty(struct ctl *ctl, struct chardev *chr, struct err *e);
int ctl_add_hmp(struct ctl *ctl, struct chardev *chr, struct err *e);

/*
 * Makes @chr known to query-chardev as @label, which is copied. A session names a device that
 * has no label: compat_monitor0, compat_monitor1 ...
 */
int ctl_name_chardev(struct ctl *ctl, const char *label, struct chardev *chr, struct err *e);

#endif
