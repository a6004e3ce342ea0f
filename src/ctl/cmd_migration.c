/* SPDX-License-Identifier: MIT */
/* QMP commands about updates: start, receive, cancel, set up, report. */
#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "base/util.h"
#include "ctl/channels.h"
#include "ctl/commands.h"
#include "ctl/fd_store.h"
#include "ctl/monitor.h"
#include "ctl/params_json.h"
#include "ctl/types.h"

static const struct schema_member migrate_args[] = {
	{ "uri", SCHEMA_STR, .optional = true },
	{ "channels", SCHEMA_LIST, .optional = true, .members = &channel_schema },
	{ "resume", SCHEMA_BOOL, .optional = true },
	{ .name = NULL },
};

static const struct schema_member incoming_args[] = {
	{ "uri", SCHEMA_STR, .optional = true },
	{ "channels", SCHEMA_LIST, .optional = true, .members = &channel_schema },
	{ "exit-on-error", SCHEMA_BOOL, .optional = true },
	{ .name = NULL },
};

static const struct schema_member capability_members[] = {
	{ "capability", SCHEMA_ENUM, .optional = false, .value_at = types_capability },
	{ "state", SCHEMA_BOOL, .optional = false },
	{ .name = NULL },
};
static const struct schema capability_schema = { .member = capability_members };

static const struct schema_member set_capabilities_args[] = {
	{ "capabilities", SCHEMA_LIST, .optional = false, .members = &capability_schema },
	{ .name = NULL },
};

static const struct schema_member continue_args[] = {
	{ "state", SCHEMA_ENUM, .optional = false, .values = types_migration_status },
	{ .name = NULL },
};

static const struct schema_member capabilities_ret =
	SCHEMA_MEMBER(NULL, SCHEMA_LIST, .members = &capability_schema);
static const struct schema_member params_ret =
	SCHEMA_MEMBER(NULL, SCHEMA_STRUCT, .members = &types_migration_params);
static const struct schema_member info_ret =
	SCHEMA_MEMBER(NULL, SCHEMA_STRUCT, .members = &types_migration_info);

/* How many reasons against an update are listed. */
#define MAX_REASONS 32

static bool under_way(enum migration_status s)
{
	return s == MIGRATION_SETUP || s == MIGRATION_ACTIVE || s == MIGRATION_DEVICE ||
	       s == MIGRATION_CANCELLING || s == MIGRATION_FAILING;
}

/*
 * The channels of `uri` or `channels`: by[CHANNEL_MAIN] and by[CHANNEL_CPR], of
 * which *@has says whether they were given; @may_lack: neither need be.
 */
static int get_channels(json_t *args, bool may_lack, struct channel by[2], bool has[2],
			struct err *e)
{
	json_t *uri = json_object_get(args, "uri");
	json_t *list = json_object_get(args, "channels");
	enum channel_type type;
	struct channel c;
	json_t *item;
	size_t i;
	int ret;

	if (!uri && !list && may_lack)
		return 0;
	if (!uri == !list)
		return err_set(e, EINVAL, "need either 'uri' or 'channels' argument");
	if (uri) {
		has[CHANNEL_MAIN] = true;
		return channel_parse_uri(json_string_value(uri), &by[CHANNEL_MAIN], e);
	}
	json_array_foreach(list, i, item)
	{
		type = channel_json_type(item);
		if (has[type])
			return err_set(e, EINVAL, "Channel list has more than one %s entry",
				       type == CHANNEL_CPR ? "cpr" : "main");
		has[type] = true;
	}
	if (!has[CHANNEL_MAIN])
		return err_set(e, EINVAL, "Channel list has no main entry");
	json_array_foreach(list, i, item)
	{
		ret = channel_from_json(item, &c, e);
		if (ret < 0)
			return ret;
		by[c.type] = c;
	}
	return 0;
}

/*
 * The descriptor that the client has named, for a channel `fd:NAME`; *@fd is the caller's.
 * @number: a number is an inherited descriptor instead.
 */
static int take_named(struct ctl *ctl, struct channel *c, bool number, int *fd, struct err *e)
{
	if (c->transport != TRANSPORT_FD || (number && isdigit((unsigned char)c->path[0])))
		return 0;
	*fd = monitor_take_fd(ctl, c->path, e);
	c->fd = *fd;
	return *fd < 0 ? *fd : 0;
}

static int migrate(struct ctl *ctl, json_t *args, json_t **ret, struct err *e)
{
	struct channel by[2] = { 0 };
	bool has[2] = { false };
	AUTO_CLOSE int fd = -1;
	int r;

	(void)ret;
	r = get_channels(args, migration_params(ctl->config.migration)->mode == MODE_CPR_GRAFT, by,
			 has, e);
	if (r < 0)
		return r;
	if (json_is_true(json_object_get(args, "resume")))
		return err_set(e, EINVAL, "Cannot resume if there is no paused migration");
	r = take_named(ctl, &by[CHANNEL_MAIN], false, &fd, e);
	if (r < 0)
		return r;
	return migration_start(ctl->config.migration, has[CHANNEL_MAIN] ? &by[CHANNEL_MAIN] : NULL,
			       has[CHANNEL_CPR] ? &by[CHANNEL_CPR] : NULL, e);
}

static int migrate_cancel(struct ctl *ctl, json_t *args, json_t **ret, struct err *e)
{
	(void)args;
	(void)ret;
	(void)e;
	migration_cancel(ctl->config.migration);
	return 0;
}

static int migrate_incoming(struct ctl *ctl, json_t *args, json_t **ret, struct err *e)
{
	struct channel by[2] = { 0 };
	bool has[2] = { false };
	AUTO_CLOSE int fd = -1;
	bool exit_on_error;
	int r;

	(void)ret;
	r = get_channels(args, false, by, has, e);
	if (r < 0)
		return r;
	if (has[CHANNEL_CPR])
		return err_set(e, EINVAL, "Channel list must have only one entry, for type 'main'");
	exit_on_error = !json_is_false(json_object_get(args, "exit-on-error"));
	r = take_named(ctl, &by[CHANNEL_MAIN], true, &fd, e);
	if (r < 0)
		return r;
	return migration_incoming(ctl->config.migration, &by[CHANNEL_MAIN], exit_on_error, e);
}

/* No update here stops half way to be told to go on: this only compares the state. */
static int migrate_continue(struct ctl *ctl, json_t *args, json_t **ret, struct err *e)
{
	const char *want = json_string_value(json_object_get(args, "state"));
	struct migration_info info;

	(void)ret;
	migration_info(ctl->config.migration, &info);
	if (strcmp(want, migration_status_name(info.status)))
		return err_set(e, EINVAL, "Migration not in expected state: %s",
			       migration_status_name(info.status));
	return 0;
}

static int migrate_set_parameters(struct ctl *ctl, json_t *args, json_t **ret, struct err *e)
{
	(void)ret;
	return params_from_json(migration_params(ctl->config.migration), args, e);
}

static int query_migrate_parameters(struct ctl *ctl, json_t *args, json_t **ret, struct err *e)
{
	(void)args;
	(void)e;
	*ret = params_to_json(migration_params(ctl->config.migration));
	return 0;
}

static int check_capability(json_t *item, struct err *e)
{
	const char *name = json_string_value(json_object_get(item, "capability"));

	if (migration_cap_find(name)->cap == CAP_COUNT &&
	    json_is_true(json_object_get(item, "state")))
		return err_set(e, ENOTSUP, "Capability '%s' is not supported", name);
	return 0;
}

static int migrate_set_capabilities(struct ctl *ctl, json_t *args, json_t **ret, struct err *e)
{
	json_t *list = json_object_get(args, "capabilities");
	const struct cap_desc *d;
	struct migration_info info;
	json_t *item;
	size_t i;
	int r;

	(void)ret;
	migration_info(ctl->config.migration, &info);
	if (under_way(info.status))
		return err_set(e, EBUSY, "There's a migration process in progress");
	json_array_foreach(list, i, item)
	{
		r = check_capability(item, e);
		if (r < 0)
			return r;
	}
	json_array_foreach(list, i, item)
	{
		d = migration_cap_find(json_string_value(json_object_get(item, "capability")));
		if (d->cap != CAP_COUNT)
			migration_cap_set(ctl->config.migration, d->cap,
					  json_is_true(json_object_get(item, "state")));
	}
	return 0;
}

static int query_migrate_capabilities(struct ctl *ctl, json_t *args, json_t **ret, struct err *e)
{
	const struct cap_desc *d;
	bool on;

	(void)args;
	(void)e;
	*ret = json_array();
	for (d = migration_cap_table; d->name; d++) {
		on = d->cap != CAP_COUNT && migration_cap_get(ctl->config.migration, d->cap);
		json_array_append_new(*ret,
				      json_pack("{s:s, s:b}", "capability", d->name, "state", on));
	}
	return 0;
}

/*
 * The counters QEMU's users expect. Pages are sent in cpr-reboot and normal mode only, each
 * once, so those that tell of more stay zero.
 */
static json_t *ram_to_json(const struct migration_info *info)
{
	static const char *const zero[] = {
		"dirty-pages-rate",  "mbps",
		"postcopy-requests", "multifd-bytes",
		"pages-per-second",  "precopy-bytes",
		"postcopy-bytes",    "dirty-sync-missed-zero-copy",
	};
	uint64_t pages = info->pages_normal + info->pages_zero + info->pages_left;
	const struct {
		const char *name;
		uint64_t value;
	} some[] = {
		{ "transferred", info->bytes },
		{ "remaining", info->pages_left * 4096 },
		{ "total", pages * 4096 },
		{ "duplicate", info->pages_zero },
		{ "normal", info->pages_normal },
		{ "normal-bytes", info->pages_normal * 4096 },
		{ "downtime-bytes", info->bytes },
		{ "dirty-sync-count", 2 },
		{ "page-size", 4096 },
	};
	json_t *ram = json_object();

	for (size_t i = 0; i < ARRAY_SIZE(zero); i++)
		json_object_set_new(ram, zero[i], json_integer(0));
	for (size_t i = 0; i < ARRAY_SIZE(some); i++)
		json_object_set_new(ram, some[i].name, json_integer((json_int_t)some[i].value));
	return ram;
}

/* Our own part: where the pause went. */
static json_t *pause_to_json(const struct migration_info *info)
{
	json_t *phases = json_array();

	for (size_t i = 0; i < info->nr_phases; i++)
		json_array_append_new(phases, json_pack("{s:s, s:I}", "name", info->phases[i].name,
							"us", (json_int_t)info->phases[i].us));
	return json_pack("{s:I, s:I, s:o}", "downtime-us", (json_int_t)info->downtime_us, "bytes",
			 (json_int_t)info->bytes, "phases", phases);
}

static void put_ms(json_t *object, const char *name, uint64_t us)
{
	json_object_set_new(object, name, json_integer((json_int_t)(us / 1000)));
}

static void put_blockers(json_t *object, const struct migration *m)
{
	char *reasons[MAX_REASONS];
	size_t n = migration_blockers(m, reasons, ARRAY_SIZE(reasons));
	json_t *list;

	if (!n)
		return;
	list = json_array();
	for (size_t i = 0; i < n; i++) {
		json_array_append_new(list, json_string(reasons[i]));
		free(reasons[i]);
	}
	json_object_set_new(object, "blocked-reasons", list);
}

static int query_migrate(struct ctl *ctl, json_t *args, json_t **ret, struct err *e)
{
	struct migration *m = ctl->config.migration;
	struct migration_info info;
	json_t *o = json_object();

	(void)args;
	(void)e;
	*ret = o;
	migration_info(m, &info);
	put_blockers(o, m);
	if (info.status == MIGRATION_NONE)
		return 0;
	json_object_set_new(o, "status", json_string(migration_status_name(info.status)));
	if (info.error[0])
		json_object_set_new(o, "error-desc", json_string(info.error));
	if (info.status == MIGRATION_COMPLETED && info.nr_phases)
		json_object_set_new(o, "pause", pause_to_json(&info));
	/* The new side of other modes knows its part only. */
	if (info.incoming && !info.whole)
		return 0;
	if (info.status == MIGRATION_COMPLETED || info.status == MIGRATION_ACTIVE ||
	    info.status == MIGRATION_DEVICE) {
		put_ms(o, "setup-time", info.setup_us);
		put_ms(o, "total-time", info.total_us);
		json_object_set_new(o, "ram", ram_to_json(&info));
	}
	if (info.status == MIGRATION_COMPLETED)
		put_ms(o, "downtime", info.downtime_us);
	return 0;
}

const struct command migration_commands[] = {
	{ .name = "migrate", .args = migrate_args, .run = migrate },
	{ .name = "migrate_cancel", .run = migrate_cancel },
	{ .name = "migrate-incoming", .args = incoming_args, .run = migrate_incoming },
	{ .name = "migrate-continue", .args = continue_args, .run = migrate_continue },
	{ .name = "migrate-set-parameters",
	  .schema = &types_migration_params,
	  .own_check = true,
	  .run = migrate_set_parameters },
	{ .name = "query-migrate-parameters",
	  .returns = &params_ret,
	  .run = query_migrate_parameters },
	{ .name = "migrate-set-capabilities",
	  .args = set_capabilities_args,
	  .run = migrate_set_capabilities },
	{ .name = "query-migrate-capabilities",
	  .returns = &capabilities_ret,
	  .run = query_migrate_capabilities },
	{ .name = "query-migrate", .returns = &info_ret, .run = query_migrate },
	{ .name = NULL },
};
