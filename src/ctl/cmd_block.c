/* SPDX-License-Identifier: MIT */
/* QMP commands about drives: what there is, adding, removing, resizing. */
#include <errno.h>
#include <string.h>

#include "base/util.h"
#include "ctl/cmd_block.h"
#include "ctl/commands.h"
#include "ctl/drives.h"
#include "ctl/monitor.h"
#include "machine/device.h"
#include "update/bytes_json.h"

static const struct schema_member image_members[] = {
	SCHEMA_MEMBER("filename", SCHEMA_STR),     SCHEMA_MEMBER("format", SCHEMA_STR),
	SCHEMA_MEMBER("virtual-size", SCHEMA_INT), SCHEMA_MEMBER("actual-size", SCHEMA_INT),
	SCHEMA_MEMBER("dirty-flag", SCHEMA_BOOL),  { .name = NULL },
};
static const struct schema image_info = { .member = image_members };
static const struct schema_member cache_members[] = {
	SCHEMA_MEMBER("writeback", SCHEMA_BOOL),
	SCHEMA_MEMBER("direct", SCHEMA_BOOL),
	SCHEMA_MEMBER("no-flush", SCHEMA_BOOL),
	{ .name = NULL },
};
static const struct schema cache_info = { .member = cache_members };
static const struct schema_member inserted_members[] = {
	SCHEMA_MEMBER("file", SCHEMA_STR),
	SCHEMA_MEMBER("node-name", SCHEMA_STR),
	SCHEMA_MEMBER("ro", SCHEMA_BOOL),
	SCHEMA_MEMBER("drv", SCHEMA_STR),
	SCHEMA_MEMBER("backing_file_depth", SCHEMA_INT),
	SCHEMA_MEMBER("encrypted", SCHEMA_BOOL),
	SCHEMA_MEMBER("detect_zeroes", SCHEMA_STR),
	SCHEMA_MEMBER("bps", SCHEMA_INT),
	SCHEMA_MEMBER("bps_rd", SCHEMA_INT),
	SCHEMA_MEMBER("bps_wr", SCHEMA_INT),
	SCHEMA_MEMBER("iops", SCHEMA_INT),
	SCHEMA_MEMBER("iops_rd", SCHEMA_INT),
	SCHEMA_MEMBER("iops_wr", SCHEMA_INT),
	SCHEMA_MEMBER("image", SCHEMA_STRUCT, .members = &image_info),
	SCHEMA_MEMBER("cache", SCHEMA_STRUCT, .members = &cache_info),
	SCHEMA_MEMBER("write_threshold", SCHEMA_INT),
	{ .name = NULL },
};
static const struct schema inserted_info = { .member = inserted_members };
static const struct schema_member block_members[] = {
	SCHEMA_MEMBER("device", SCHEMA_STR),
	{ "qdev", SCHEMA_STR, .optional = true },
	SCHEMA_MEMBER("type", SCHEMA_STR),
	SCHEMA_MEMBER("removable", SCHEMA_BOOL),
	SCHEMA_MEMBER("locked", SCHEMA_BOOL),
	{ "inserted", SCHEMA_STRUCT, .optional = true, .members = &inserted_info },
	{ "io-status", SCHEMA_STR, .optional = true },
	{ .name = NULL },
};
static const struct schema block_info = { .member = block_members };
static const struct schema_member blocks_ret =
	SCHEMA_MEMBER(NULL, SCHEMA_LIST, .members = &block_info);

static const struct schema_member resize_args[] = {
	{ "device", SCHEMA_STR, .optional = true },
	{ "node-name", SCHEMA_STR, .optional = true },
	SCHEMA_MEMBER("size", SCHEMA_INT),
	{ .name = NULL },
};
static const struct schema_member node_args[] = {
	SCHEMA_MEMBER("node-name", SCHEMA_STR),
	{ .name = NULL },
};
static const struct schema_member cache_args[] = {
	{ "direct", SCHEMA_BOOL, .optional = true },
	{ "no-flush", SCHEMA_BOOL, .optional = true },
	{ .name = NULL },
};
static const struct schema cache_schema = { .member = cache_args };
static const char *const drivers[] = { "raw", "file", "host_device", NULL };
static const char *const discards[] = { "ignore", "unmap", NULL };
static const char *const lockings[] = { "auto", "on", "off", NULL };
static const char *const aios[] = { "threads", "native", "io_uring", NULL };
static const struct schema_member add_args[] = {
	{ "driver", SCHEMA_ENUM, .values = drivers },
	{ "node-name", SCHEMA_STR, .optional = true },
	{ "read-only", SCHEMA_BOOL, .optional = true },
	{ "auto-read-only", SCHEMA_BOOL, .optional = true },
	{ "force-share", SCHEMA_BOOL, .optional = true },
	{ "discard", SCHEMA_ENUM, .optional = true, .values = discards },
	{ "cache", SCHEMA_STRUCT, .optional = true, .members = &cache_schema },
	{ "file", SCHEMA_ANY, .optional = true },
	{ "filename", SCHEMA_STR, .optional = true },
	{ "locking", SCHEMA_ENUM, .optional = true, .values = lockings },
	{ "aio", SCHEMA_ENUM, .optional = true, .values = aios },
	{ .name = NULL },
};

static const char *driver_of(const struct drive *d)
{
	if (!d->option.is_blockdev || d->option.file_is_node || !d->option.disk.driver)
		return "raw";
	return d->disk.is_device ? "host_device" : "file";
}

/* A name need not be text. */
static json_t *path_to_json(const char *path)
{
	return json_string(path) ?: bytes_to_json(path);
}

static json_t *inserted_to_json(const struct drive *d)
{
	const struct disk_config *c = &d->disk.config;
	json_t *cache = json_pack("{s:b, s:b, s:b}", "writeback", !c->writethrough, "direct",
				  c->direct, "no-flush", c->no_flush);
	json_t *image =
		json_pack("{s:o, s:s, s:I, s:I, s:b}", "filename", path_to_json(c->path), "format",
			  driver_of(d), "virtual-size", (json_int_t)d->disk.bytes, "actual-size",
			  (json_int_t)disk_allocated(&d->disk), "dirty-flag", false);

	return json_pack("{s:o, s:s, s:b, s:s, s:i, s:b, s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:o, "
			 "s:o, s:i}",
			 "file", path_to_json(c->path), "node-name",
			 d->option.node_name[0] ? d->option.node_name : d->option.id, "ro",
			 c->read_only, "drv", driver_of(d), "backing_file_depth", 0, "encrypted",
			 false, "detect_zeroes", "off", "bps", 0, "bps_rd", 0, "bps_wr", 0, "iops",
			 0, "iops_rd", 0, "iops_wr", 0, "image", image, "cache", cache,
			 "write_threshold", 0);
}

/* The claim is by the device's own name, or its place if it has none. */
static const struct device *user_of(const struct drive *d, const struct vm *vm)
{
	for (const struct list *pos = vm->devices.next; pos != &vm->devices; pos = pos->next) {
		const struct device *dev = CONTAINER_OF(pos, struct device, link);

		if (d->backend.user == dev->id || d->backend.user == dev->path)
			return dev;
	}
	return NULL;
}

static json_t *drive_to_json(const struct drive *d, const struct vm *vm)
{
	/* A node has no back end of its own that would have a name. */
	json_t *o = json_pack("{s:s, s:s, s:b, s:b, s:o}", "device",
			      d->option.is_blockdev ? "" : d->option.id, "type", "unknown",
			      "removable", false, "locked", false, "inserted", inserted_to_json(d));
	const struct device *user = user_of(d, vm);
	char path[DEVICE_OBJECT_MAX];

	if (user) {
		device_object_path(user, path, sizeof(path));
		json_object_set_new(o, "qdev", json_string(path));
	}
	json_object_set_new(o, "io-status",
			    json_string(d->disk.failed ? d->disk.no_space ? "nospace" : "failed"
						       : "ok"));
	return o;
}

static int query_block(struct ctl *ctl, json_t *args, json_t **ret, struct err *e)
{
	const struct drives *ds = ctl->config.drives;

	(void)args;
	(void)e;
	*ret = json_array();
	for (const struct list *pos = ds ? ds->list.next : NULL; ds && pos != &ds->list;
	     pos = pos->next) {
		const struct drive *d = CONTAINER_OF(pos, struct drive, link);

		/* As QEMU has it: drives, and nodes that a device uses. */
		if (!d->option.is_blockdev || (d->backend.user && !drives_is_below(ds, d)))
			json_array_append_new(*ret, drive_to_json(d, ctl->config.vm));
	}
	return 0;
}

/* What the new side was told of the drives holds until the update has ended. */
static int refuse_in_update(const struct ctl *ctl, const char *command, struct err *e)
{
	if (!ctl->config.drives)
		return err_set(e, ENOTSUP, "this machine has no drives");
	return migration_check_plug(ctl->config.migration, command, e);
}

static int block_resize(struct ctl *ctl, json_t *args, json_t **ret, struct err *e)
{
	const char *device = json_string_value(json_object_get(args, "device"));
	const char *node = json_string_value(json_object_get(args, "node-name"));
	json_int_t size = json_integer_value(json_object_get(args, "size"));
	struct drive *d;
	int r = refuse_in_update(ctl, "block_resize", e);

	(void)ret;
	if (r)
		return r;
	if (!device == !node)
		return err_set(e, EINVAL,
			       "Either 'device' or 'node-name' must be used but not both");
	d = drives_find(ctl->config.drives, device ?: node);
	if (!d)
		return err_set(e, ENOENT, "Cannot find device='%s' nor node-name='%s'",
			       device ?: "", node ?: "");
	if (size < 0)
		return err_set(e, EINVAL, "Parameter 'size' expects a >0 size");
	if (ctl->config.vm->foreign)
		return err_set(e, EBUSY,
			       "the guest does not run here, and its drives are not ours");
	return disk_resize(&d->disk, (uint64_t)size, e);
}

static int blockdev_add(struct ctl *ctl, json_t *args, json_t **ret, struct err *e)
{
	struct drive_option o;
	struct drive *d;
	int r = refuse_in_update(ctl, "blockdev-add", e);

	(void)ret;
	if (!r)
		r = drive_from_blockdev_json(args, &o, e);
	return r ? r : drives_add(ctl->config.drives, &o, NULL, &d, e);
}

static int blockdev_del(struct ctl *ctl, json_t *args, json_t **ret, struct err *e)
{
	int r = refuse_in_update(ctl, "blockdev-del", e);

	(void)ret;
	if (!r)
		r = drives_del(ctl->config.drives,
			       json_string_value(json_object_get(args, "node-name")), e);
	return r;
}

int block_add_drive(struct ctl *ctl, const char *text, struct err *e)
{
	struct drive_option o;
	struct drive *d;
	int r = refuse_in_update(ctl, "drive_add", e);

	if (!r)
		r = drive_parse_option(text, &o, e);
	if (!r && o.interface != DRIVE_IF_NONE)
		r = err_set(e, EINVAL,
			    "Can't hot-add a drive with an interface: use if=none and device_add");
	return r ? r : drives_add(ctl->config.drives, &o, NULL, &d, e);
}

const struct command block_commands[] = {
	{ .name = "query-block", .returns = &blocks_ret, .run = query_block },
	{ .name = "block_resize", .args = resize_args, .run = block_resize },
	{ .name = "blockdev-add", .args = add_args, .own_check = true, .run = blockdev_add },
	{ .name = "blockdev-del", .args = node_args, .run = blockdev_del },
	{ .name = NULL },
};
