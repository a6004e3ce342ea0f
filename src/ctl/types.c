/* SPDX-License-Identifier: MIT */
/* Types that several commands and events share, for checks and for introspection. */
#include "ctl/types.h"
#include "base/util.h"
#include "ctl/params_json.h"
#include "machine/runstate.h"
#include "update/params.h"

const char *const types_migration_status[] = {
	"none",
	"setup",
	"cancelling",
	"cancelled",
	"active",
	"postcopy-device",
	"postcopy-active",
	"postcopy-paused",
	"postcopy-recover-setup",
	"postcopy-recover",
	"completed",
	"failing",
	"failed",
	"colo",
	"pre-switchover",
	"device",
	"wait-unplug",
	NULL,
};

const char *const types_shutdown_cause[] = {
	"none",        "host-error",      "host-qmp-quit",  "host-qmp-system-reset",
	"host-signal", "host-ui",         "guest-shutdown", "guest-reset",
	"guest-panic", "subsystem-reset", "snapshot-load",  NULL,
};

const char *const types_target[] = { "x86_64", NULL };

const char *types_runstate(size_t i)
{
	return i < RUNSTATE_COUNT ? runstate_name((enum runstate)i) : NULL;
}

const char *types_mode(size_t i)
{
	return i < MODE_COUNT ? migration_mode_name((enum migration_mode)i) : NULL;
}

const char *types_capability(size_t i)
{
	return migration_cap_table[i].name;
}

static const struct schema_member ram_members[] = {
	SCHEMA_MEMBER("transferred", SCHEMA_INT),
	SCHEMA_MEMBER("remaining", SCHEMA_INT),
	SCHEMA_MEMBER("total", SCHEMA_INT),
	SCHEMA_MEMBER("duplicate", SCHEMA_INT),
	SCHEMA_MEMBER("normal", SCHEMA_INT),
	SCHEMA_MEMBER("normal-bytes", SCHEMA_INT),
	SCHEMA_MEMBER("dirty-pages-rate", SCHEMA_INT),
	SCHEMA_MEMBER("mbps", SCHEMA_NUMBER),
	SCHEMA_MEMBER("dirty-sync-count", SCHEMA_INT),
	SCHEMA_MEMBER("postcopy-requests", SCHEMA_INT),
	SCHEMA_MEMBER("page-size", SCHEMA_INT),
	SCHEMA_MEMBER("multifd-bytes", SCHEMA_INT),
	SCHEMA_MEMBER("pages-per-second", SCHEMA_INT),
	SCHEMA_MEMBER("precopy-bytes", SCHEMA_INT),
	SCHEMA_MEMBER("downtime-bytes", SCHEMA_INT),
	SCHEMA_MEMBER("postcopy-bytes", SCHEMA_INT),
	SCHEMA_MEMBER("dirty-sync-missed-zero-copy", SCHEMA_INT),
	{ .name = NULL },
};
static const struct schema ram = { .member = ram_members };

static const struct schema_member phase_members[] = {
	SCHEMA_MEMBER("name", SCHEMA_STR),
	SCHEMA_MEMBER("us", SCHEMA_INT),
	{ .name = NULL },
};
static const struct schema phase = { .member = phase_members };

static const struct schema_member pause_members[] = {
	SCHEMA_MEMBER("downtime-us", SCHEMA_INT),
	SCHEMA_MEMBER("bytes", SCHEMA_INT),
	{ "phases", SCHEMA_LIST, .members = &phase },
	{ .name = NULL },
};
static const struct schema pause_info = { .member = pause_members };

static const struct schema_member info_members[] = {
	{ "status", SCHEMA_ENUM, .optional = true, .values = types_migration_status },
	{ "ram", SCHEMA_STRUCT, .optional = true, .members = &ram },
	{ "total-time", SCHEMA_INT, .optional = true },
	{ "downtime", SCHEMA_INT, .optional = true },
	{ "setup-time", SCHEMA_INT, .optional = true },
	{ "error-desc", SCHEMA_STR, .optional = true },
	{ "blocked-reasons", SCHEMA_STRLIST, .optional = true },
	{ "pause", SCHEMA_STRUCT, .optional = true, .members = &pause_info },
	{ .name = NULL },
};
const struct schema types_migration_info = { .member = info_members };

const struct schema types_migration_params = { .member_at = params_describe };
