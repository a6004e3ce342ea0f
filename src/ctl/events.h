/* SPDX-License-Identifier: MIT */
/* The table of events that QMP sends. */
#ifndef CTL_EVENTS_H
#define CTL_EVENTS_H

#include "ctl/schema.h"

enum ctl_event {
	EVENT_STOP,
	EVENT_RESUME,
	EVENT_WAKEUP,
	EVENT_RESET,
	EVENT_SHUTDOWN,
	EVENT_POWERDOWN,
	EVENT_VSERPORT_CHANGE,
	EVENT_MIGRATION,
	EVENT_MIGRATION_PASS,
	EVENT_NETDEV_STREAM_CONNECTED,
	EVENT_NETDEV_STREAM_DISCONNECTED,
	EVENT_DEVICE_DELETED,
	EVENT_DEVICE_UNPLUG_GUEST_ERROR,
	EVENT_BLOCK_IO_ERROR,
	EVENT_WATCHDOG,
	EVENT_COUNT,
};

struct event_desc {
	const char *name;
	const struct schema_member *data; /* ends with a NULL name; NULL: none */
};

/* By enum ctl_event. */
extern const struct event_desc event_table[EVENT_COUNT];

#endif
