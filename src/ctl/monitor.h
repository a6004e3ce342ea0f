/* SPDX-License-Identifier: MIT */
/* What the parts of the control layer share. */
#ifndef CTL_MONITOR_H
#define CTL_MONITOR_H

#include <stdbool.h>

#include "base/list.h"
#include "ctl/ctl.h"
#include "ctl/events.h"
#include "ctl/fd_store.h"
#include "ctl/session.h"
#include "machine/vm.h"
#include "update/migration.h"

struct chardev_name {
	struct list link;
	char *label;
	struct chardev *chr;
};

struct ctl {
	struct ctl_config config;
	struct list qmps;          /* struct qmp                                    */
	struct list hmps;          /* struct hmp                                    */
	struct list chardev_names; /* struct chardev_name                           */
	struct list objects;       /* struct memory_object                          */
	unsigned int nr_monitors;
	struct session *current; /* whose request runs; NULL: nobody's           */
	struct fd_sets fd_sets;
	bool quitting; /* `quit` was accepted: no request is taken more */
	struct vm_observer vm_observer;
	struct migration_observer migration_observer;
};

/* The caller's; @data may be NULL and is taken over. */
json_t *ctl_make_event(enum ctl_event which, json_t *data);

#endif
