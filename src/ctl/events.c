/* SPDX-License-Identifier: MIT */
/* The table of events that QMP sends. */
#include "ctl/events.h"
#include "ctl/types.h"

static const struct schema_member reason_data[] = {
	SCHEMA_MEMBER("guest", SCHEMA_BOOL),
	{ "reason", SCHEMA_ENUM, .values = types_shutdown_cause },
	{ .name = NULL },
};

static const struct schema_member port_data[] = {
	SCHEMA_MEMBER("id", SCHEMA_STR),
	SCHEMA_MEMBER("open", SCHEMA_BOOL),
	{ .name = NULL },
};

static const struct schema_member migration_data[] = {
	{ "status", SCHEMA_ENUM, .values = types_migration_status },
	{ .name = NULL },
};

static const struct schema_member pass_data[] = {
	SCHEMA_MEMBER("pass", SCHEMA_INT),
	{ .name = NULL },
};

/* A device without an id has its path only. */
static const struct schema_member device_data[] = {
	{ "device", SCHEMA_STR, .optional = true },
	SCHEMA_MEMBER("path", SCHEMA_STR),
	{ .name = NULL },
};

static const struct schema_member stream_address_members[] = {
	SCHEMA_MEMBER("type", SCHEMA_STR),
	SCHEMA_MEMBER("str", SCHEMA_STR),
	{ .name = NULL },
};
static const struct schema stream_address = { .member = stream_address_members };

static const struct schema_member stream_connected_data[] = {
	SCHEMA_MEMBER("netdev-id", SCHEMA_STR),
	{ "addr", SCHEMA_STRUCT, .members = &stream_address },
	{ .name = NULL },
};

static const struct schema_member stream_gone_data[] = {
	SCHEMA_MEMBER("netdev-id", SCHEMA_STR),
	{ .name = NULL },
};

static const char *const operations[] = { "read", "write", NULL };
static const char *const actions[] = { "ignore", "report", "stop", NULL };
static const struct schema_member disk_error_data[] = {
	SCHEMA_MEMBER("device", SCHEMA_STR),
	SCHEMA_MEMBER("node-name", SCHEMA_STR),
	{ "operation", SCHEMA_ENUM, .values = operations },
	{ "action", SCHEMA_ENUM, .values = actions },
	SCHEMA_MEMBER("nospace", SCHEMA_BOOL),
	SCHEMA_MEMBER("reason", SCHEMA_STR),
	{ .name = NULL },
};

static const char *const watchdog_actions[] = { "reset", "shutdown", "poweroff", "pause",
						"debug", "none",     NULL };
static const struct schema_member watchdog_data[] = {
	{ "action", SCHEMA_ENUM, .values = watchdog_actions },
	{ .name = NULL },
};

const struct event_desc event_table[EVENT_COUNT] = {
	[EVENT_STOP] = { "STOP" },
	[EVENT_RESUME] = { "RESUME" },
	[EVENT_WAKEUP] = { "WAKEUP" },
	[EVENT_RESET] = { "RESET", reason_data },
	[EVENT_SHUTDOWN] = { "SHUTDOWN", reason_data },
	[EVENT_POWERDOWN] = { "POWERDOWN" },
	[EVENT_VSERPORT_CHANGE] = { "VSERPORT_CHANGE", port_data },
	[EVENT_MIGRATION] = { "MIGRATION", migration_data },
	[EVENT_MIGRATION_PASS] = { "MIGRATION_PASS", pass_data },
	[EVENT_NETDEV_STREAM_CONNECTED] = { "NETDEV_STREAM_CONNECTED", stream_connected_data },
	[EVENT_NETDEV_STREAM_DISCONNECTED] = { "NETDEV_STREAM_DISCONNECTED", stream_gone_data },
	[EVENT_DEVICE_DELETED] = { "DEVICE_DELETED", device_data },
	[EVENT_WATCHDOG] = { "WATCHDOG", watchdog_data },
	[EVENT_DEVICE_UNPLUG_GUEST_ERROR] = { "DEVICE_UNPLUG_GUEST_ERROR", device_data },
	[EVENT_BLOCK_IO_ERROR] = { "BLOCK_IO_ERROR", disk_error_data },
};
