/* SPDX-License-Identifier: MIT */
/* What -drive, -blockdev and blockdev-add say of an image. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/parse.h"
#include "base/util.h"
#include "ctl/drive_opts.h"
#include "ctl/json.h"
#include "update/bytes_json.h"

enum {
	MAX_KEY = 64,
	MAX_VALUE = DISK_PATH_MAX,
	MAX_NESTING = 3,
};

/* Where a key may stand. */
enum {
	IN_DRIVE = 1 << 0,
	IN_NODE = 1 << 1, /* -blockdev, at its top                              */
	IN_FILE = 1 << 2, /* behind `file.`, or at the top of a node of a file  */
	IN_ALL = IN_DRIVE | IN_NODE | IN_FILE,
};

/* What was said, beyond what the option shows. */
struct given {
	struct drive_option *o;
	unsigned int where;
	bool file; /* a path, or a node that has one */
	char driver[MAX_KEY];
};

static const char *const on_error_names[] = {
	[DISK_ERROR_AUTO] = "auto",     [DISK_ERROR_REPORT] = "report",
	[DISK_ERROR_IGNORE] = "ignore", [DISK_ERROR_ENOSPC] = "enospc",
	[DISK_ERROR_STOP] = "stop",
};
static const char *const locking_names[] = {
	[DISK_LOCK_AUTO] = "auto",
	[DISK_LOCK_ON] = "on",
	[DISK_LOCK_OFF] = "off",
};
static const char *const driver_names[] = {
	[DISK_ANY] = "any",
	[DISK_FILE] = "file",
	[DISK_DEVICE] = "host_device",
};
static const char *const interface_names[] = {
	[DRIVE_IF_NONE] = "none",
	[DRIVE_IF_VIRTIO] = "virtio",
};

/* Formats and protocols people know, which this program leaves to others. */
static const char *const other_drivers[] = {
	"qcow2",        "qcow",          "qed",
	"vmdk",         "vdi",           "vhdx",
	"vpc",          "parallels",     "bochs",
	"cloop",        "dmg",           "luks",
	"vvfat",        "nbd",           "rbd",
	"iscsi",        "http",          "https",
	"ftp",          "ftps",          "ssh",
	"nfs",          "gluster",       "nvme",
	"quorum",       "throttle",      "blkdebug",
	"copy-on-read", "null-co",       "null-aio",
	"blkio",        "nvme-io_uring", "virtio-blk-vhost-user",
};

static int find(const char *const *names, size_t n, const char *value)
{
	for (size_t i = 0; i < n; i++)
		if (!strcmp(names[i], value))
			return (int)i;
	return -1;
}

static int set_text(char *to, size_t n, const char *value, struct err *e)
{
	if (strlen(value) >= n)
		return err_set(e, ENAMETOOLONG, "the value is longer than %zu bytes", n - 1);
	memcpy(to, value, strlen(value) + 1);
	return 0;
}

static int set_name(char *to, const char *value, struct err *e)
{
	const char *p = value;

	while (isalnum((unsigned char)*p) || (*p && strchr("-._", *p)))
		p++;
	if (*p || !isalpha((unsigned char)value[0]))
		return err_set(e, EINVAL,
			       "'%s' is no id: letters, digits, '-', '.', '_', a letter first",
			       value);
	return set_text(to, DISK_NAME_MAX, value, e);
}

static int set_id(struct given *g, const char *value, struct err *e)
{
	return set_name(g->o->id, value, e);
}

static int set_node_name(struct given *g, const char *value, struct err *e)
{
	return set_name(g->where == IN_FILE ? g->o->file_node : g->o->node_name, value, e);
}

static int set_path(struct given *g, const char *value, struct err *e)
{
	size_t n = g->where == IN_DRIVE ? strcspn(value, ":/") : strlen(value);

	if (value[n] == ':' && !strncmp(value, "file:", 5))
		value += 5;
	else if (value[n] == ':')
		return err_set(e, EINVAL,
			       "Unknown protocol '%.*s'; images are files and block devices, and "
			       "file:PATH is one whose name has a colon",
			       (int)n, value);
	if (!*value)
		return err_set(e, EINVAL, "the path is empty");
	g->file = true;
	return set_text(g->o->disk.path, sizeof(g->o->disk.path), value, e);
}

/* A node below by its name. */
static int set_file_node(struct given *g, const char *value, struct err *e)
{
	g->file = g->o->file_is_node = true;
	return set_name(g->o->file_node, value, e);
}

static int refuse_driver(const char *value, struct err *e)
{
	if (find(other_drivers, ARRAY_SIZE(other_drivers), value) < 0)
		return err_set(e, EINVAL, "Unknown driver '%s'", value);
	return err_set(e, ENOTSUP,
		       "'%s' is not for this program, which knows raw images in files and block "
		       "devices: `qemu-img convert -O raw` makes one of what qemu-img can read",
		       value);
}

static int set_format(struct given *g, const char *value, struct err *e)
{
	int driver = find(driver_names, ARRAY_SIZE(driver_names), value);

	if (strcmp(value, "raw") && driver <= 0)
		return refuse_driver(value, e);
	g->o->disk.format_is_known = true;
	if (driver > 0)
		g->o->disk.driver = (enum disk_driver)driver;
	return 0;
}

static int set_file_driver(struct given *g, const char *value, struct err *e)
{
	int driver = find(driver_names, ARRAY_SIZE(driver_names), value);

	if (driver <= 0)
		return refuse_driver(value, e);
	g->o->disk.driver = (enum disk_driver)driver;
	return 0;
}

static int set_interface(struct given *g, const char *value, struct err *e)
{
	int i = find(interface_names, ARRAY_SIZE(interface_names), value);

	if (i < 0)
		return err_set(e, EINVAL,
			       "this machine has no '%s' controller: if=virtio, or if=none and a "
			       "-device for it",
			       value);
	g->o->interface = (enum drive_interface)i;
	return 0;
}

static int set_flag(bool *to, const char *value, struct err *e)
{
	bool on;
	int r = parse_bool(value, &on, e);

	if (!r)
		*to = on;
	return r;
}

static int set_read_only(struct given *g, const char *value, struct err *e)
{
	return set_flag(&g->o->disk.read_only, value, e);
}

static int set_auto_read_only(struct given *g, const char *value, struct err *e)
{
	return set_flag(&g->o->disk.auto_read_only, value, e);
}

static int set_share(struct given *g, const char *value, struct err *e)
{
	return set_flag(&g->o->disk.share, value, e);
}

static int set_direct(struct given *g, const char *value, struct err *e)
{
	return set_flag(&g->o->disk.direct, value, e);
}

static int set_no_flush(struct given *g, const char *value, struct err *e)
{
	return set_flag(&g->o->disk.no_flush, value, e);
}

static int set_writeback(struct given *g, const char *value, struct err *e)
{
	bool on;
	int r = parse_bool(value, &on, e);

	if (!r)
		g->o->disk.writethrough = !on;
	return r;
}

static int set_cache(struct given *g, const char *value, struct err *e)
{
	static const struct {
		const char *name;
		bool direct, no_flush, writethrough;
	} modes[] = {
		{ "writeback", false, false, false },   { "none", true, false, false },
		{ "writethrough", false, false, true }, { "directsync", true, false, true },
		{ "unsafe", false, true, false },       { "off", true, false, false },
	};
	struct disk_config *c = &g->o->disk;

	for (size_t i = 0; i < ARRAY_SIZE(modes); i++) {
		if (strcmp(modes[i].name, value))
			continue;
		c->direct = modes[i].direct;
		c->no_flush = modes[i].no_flush;
		c->writethrough = modes[i].writethrough;
		return 0;
	}
	return err_set(e, EINVAL,
		       "invalid cache option; known are none, writeback, writethrough, directsync "
		       "and unsafe");
}

/* All of them are done by io_uring. */
static int set_aio(struct given *g, const char *value, struct err *e)
{
	static const char *const names[] = { "threads", "native", "io_uring" };

	(void)g;
	if (find(names, ARRAY_SIZE(names), value) < 0)
		return err_set(e, EINVAL,
			       "invalid aio option; known are threads, native and io_uring");
	return 0;
}

static int set_discard(struct given *g, const char *value, struct err *e)
{
	bool on = !strcmp(value, "unmap") || !strcmp(value, "on");

	if (!on && strcmp(value, "ignore") && strcmp(value, "off"))
		return err_set(e, EINVAL, "Invalid discard option; known are ignore and unmap");
	g->o->disk.unmap = on;
	return 0;
}

static int set_locking(struct given *g, const char *value, struct err *e)
{
	int i = find(locking_names, ARRAY_SIZE(locking_names), value);

	if (i < 0)
		return err_set(e, EINVAL, "known are auto, on and off");
	g->o->disk.locking = (enum disk_locking)i;
	return 0;
}

static int set_on_error(enum disk_on_error *to, const char *value, bool write, struct err *e)
{
	int i = find(on_error_names, ARRAY_SIZE(on_error_names), value);

	if (i < 0 || (!write && i == DISK_ERROR_ENOSPC))
		return err_set(e, EINVAL, "'%s' invalid %s error action", value,
			       write ? "write" : "read");
	*to = (enum disk_on_error)i;
	return 0;
}

static int set_rerror(struct given *g, const char *value, struct err *e)
{
	return set_on_error(&g->o->disk.rerror, value, false, e);
}

static int set_werror(struct given *g, const char *value, struct err *e)
{
	return set_on_error(&g->o->disk.werror, value, true, e);
}

static int set_serial(struct given *g, const char *value, struct err *e)
{
	return set_text(g->o->disk.serial, sizeof(g->o->disk.serial), value, e);
}

static int set_media(struct given *g, const char *value, struct err *e)
{
	(void)g;
	if (strcmp(value, "disk"))
		return err_set(e, EINVAL,
			       "there are disks only, and no drive for a '%s'; media=disk with "
			       "readonly=on comes close",
			       value);
	return 0;
}

/* A place among drives of one kind, which their order says already. */
static int set_place(struct given *g, const char *value, struct err *e)
{
	uint64_t n;

	(void)g;
	return parse_uint(value, INT32_MAX, &n, e);
}

/* What may be given as it is anyway. */
static int must_be_off(struct given *g, const char *value, struct err *e)
{
	(void)g;
	if (strcmp(value, "off") && strcmp(value, "false"))
		return err_set(e, ENOTSUP, "only 'off' is supported, not '%s'", value);
	return 0;
}

struct key {
	const char *name;
	unsigned int where;
	int (*set)(struct given *g, const char *value, struct err *e);
};

static const struct key keys[] = {
	{ "file", IN_DRIVE, set_path },
	{ "file", IN_NODE, set_file_node },
	{ "filename", IN_FILE, set_path },
	{ "driver", IN_FILE, set_file_driver },
	{ "driver", IN_NODE, set_format },
	{ "driver", IN_DRIVE, set_format },
	{ "format", IN_DRIVE, set_format },
	{ "if", IN_DRIVE, set_interface },
	{ "id", IN_DRIVE, set_id },
	{ "node-name", IN_ALL, set_node_name },
	{ "read-only", IN_ALL, set_read_only },
	{ "readonly", IN_DRIVE, set_read_only },
	{ "auto-read-only", IN_ALL, set_auto_read_only },
	{ "force-share", IN_ALL, set_share },
	{ "cache", IN_DRIVE, set_cache },
	{ "cache.direct", IN_ALL, set_direct },
	{ "cache.no-flush", IN_ALL, set_no_flush },
	{ "cache.writeback", IN_DRIVE, set_writeback },
	{ "aio", IN_DRIVE | IN_FILE, set_aio },
	{ "discard", IN_ALL, set_discard },
	{ "detect-zeroes", IN_ALL, must_be_off },
	{ "locking", IN_DRIVE | IN_FILE, set_locking },
	{ "serial", IN_DRIVE, set_serial },
	{ "rerror", IN_DRIVE, set_rerror },
	{ "werror", IN_DRIVE, set_werror },
	{ "media", IN_DRIVE, set_media },
	{ "index", IN_DRIVE, set_place },
	{ "bus", IN_DRIVE, set_place },
	{ "unit", IN_DRIVE, set_place },
	{ "snapshot", IN_DRIVE, must_be_off },
	{ "copy-on-read", IN_DRIVE, must_be_off },
};

const char *drive_key(bool blockdev, size_t i)
{
	unsigned int where = blockdev ? IN_NODE | IN_FILE : IN_DRIVE;

	for (size_t k = 0; k < ARRAY_SIZE(keys); k++)
		if (keys[k].where & where && !i--)
			return keys[k].name;
	return NULL;
}

static int set_key(struct given *g, unsigned int where, const char *name, const char *value,
		   struct err *e)
{
	if (where != IN_FILE && !strncmp(name, "file.", 5))
		return set_key(g, IN_FILE, name + 5, value, e);
	g->where = where;
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		if (!(keys[i].where & where) || strcmp(keys[i].name, name))
			continue;
		return keys[i].set(g, value, e) ? err_prefix(e, "'%s'", name) : 0;
	}
	return err_set(e, EINVAL, "Invalid parameter '%s'", name);
}

/* Takes text up to a lone comma from *@p, or to one of @stops; each pair of commas is one. */
static int take_text(const char **p, const char *stops, char *out, size_t n, struct err *e)
{
	const char *s = *p;
	size_t len = 0;

	while (*s && !strchr(stops, *s)) {
		if (*s == ',' && s[1] != ',')
			break;
		s += *s == ',';
		if (len + 1 == n)
			return err_set(e, ENAMETOOLONG, "'%.*s...' is too long", 40, *p);
		out[len++] = *s++;
	}
	out[len] = '\0';
	*p = s;
	return 0;
}

static int take_pair(const char **p, char *key, char *value, struct err *e)
{
	int r = take_text(p, "=", key, MAX_KEY, e);

	memcpy(value, "on", 3);
	if (!r && **p == '=') {
		++*p;
		r = take_text(p, "", value, MAX_VALUE, e);
	}
	if (!r && **p == ',')
		++*p;
	return r;
}

/* A node of a file has the file's keys at its top. */
static unsigned int top_of_node(const struct given *g)
{
	return !strcmp(g->driver, "raw") ? IN_NODE : IN_FILE;
}

static int check_driver(const struct given *g, struct err *e)
{
	if (!g->driver[0])
		return err_set(e, EINVAL, "Parameter 'driver' is missing");
	if (strcmp(g->driver, "raw") &&
	    find(driver_names, ARRAY_SIZE(driver_names), g->driver) <= 0)
		return refuse_driver(g->driver, e);
	return 0;
}

/* The driver comes first, wherever it stands: it says which other keys there are. */
static int find_driver(struct given *g, const char *text, struct err *e)
{
	char key[MAX_KEY], value[MAX_VALUE];
	int r = 0;

	while (!r && *text) {
		r = take_pair(&text, key, value, e);
		if (!r && !strcmp(key, "driver"))
			r = set_text(g->driver, sizeof(g->driver), value, e);
	}
	return r;
}

static int parse_keys(struct given *g, const char *text, struct err *e)
{
	unsigned int top = g->o->is_blockdev ? top_of_node(g) : IN_DRIVE;
	char key[MAX_KEY], value[MAX_VALUE];
	int r = 0;

	while (!r && *text) {
		r = take_pair(&text, key, value, e);
		if (!r && (*key || strcmp(value, "on")))
			r = set_key(g, top, key, value, e);
	}
	return r;
}

/* Members become keys, those of objects within with the name of the object before them. */
static int parse_members(struct given *g, unsigned int top, const char *prefix, json_t *object,
			 unsigned int depth, struct err *e)
{
	const char *name;
	json_t *v;
	int r = 0;

	json_object_foreach(object, name, v)
	{
		char key[2 * MAX_KEY], number[32];
		const char *value = json_string_value(v);

		if (r)
			break;
		if ((size_t)snprintf(key, sizeof(key), "%s%s%s", prefix, *prefix ? "." : "",
				     name) >= sizeof(key))
			return err_set(e, ENAMETOOLONG, "'%.40s...' is too long", name);
		if (json_is_object(v) && depth < MAX_NESTING) {
			r = parse_members(g, top, key, v, depth + 1, e);
			continue;
		}
		if (json_is_boolean(v))
			value = json_is_true(v) ? "on" : "off";
		if (json_is_integer(v)) {
			snprintf(number, sizeof(number), "%lld", (long long)json_integer_value(v));
			value = number;
		}
		if (!value)
			return err_set(e, EINVAL,
				       "Invalid parameter type for '%s', expected: string", key);
		if (strlen(value) >= MAX_VALUE)
			return err_set(e, ENAMETOOLONG, "the value of '%s' is too long", key);
		r = set_key(g, top, key, value, e);
	}
	return r;
}

static void start(struct given *g, struct drive_option *o, bool is_blockdev)
{
	*o = (struct drive_option){
		.is_blockdev = is_blockdev,
		.interface = is_blockdev ? DRIVE_IF_NONE : DRIVE_IF_VIRTIO,
		/* Nobody says for a node what its bytes are but who names its driver. */
		.disk.format_is_known = is_blockdev,
	};
	*g = (struct given){ .o = o };
}

static int finish(struct given *g, struct drive_option *out, struct err *e)
{
	struct drive_option *o = g->o;

	if (!g->file)
		return err_set(e, EINVAL, "%s",
			       !o->is_blockdev ? "there is no image: file=PATH is missing"
			       : !strcmp(g->driver, "raw")
				       ? "A block device must be specified for \"file\""
				       : "Parameter 'filename' is missing");
	if (o->is_blockdev) {
		/* The only name of a node of a file is the file's. */
		if (top_of_node(g) == IN_FILE)
			memcpy(o->node_name, o->file_node, sizeof(o->node_name));
		if (top_of_node(g) == IN_FILE)
			o->file_node[0] = '\0';
		if (!o->node_name[0])
			return err_set(e, EINVAL,
				       "'node-name' must be specified for the root node");
		memcpy(o->id, o->node_name, sizeof(o->id));
	}
	if (!o->id[0] && o->interface == DRIVE_IF_NONE && !o->node_name[0])
		return err_set(e, EINVAL,
			       "if=none needs an id=, by which a device names the drive");
	if (!o->id[0])
		memcpy(o->id, o->node_name, sizeof(o->id));
	if (o->disk.share && !o->disk.read_only)
		return err_set(e, EINVAL, "force-share=on can only be used with read-only images");
	if (o->file_is_node && o->disk.path[0])
		return err_set(e, EINVAL, "'file' is a node's name, or has a filename, not both");
	memcpy(o->disk.name, o->id, sizeof(o->disk.name));
	*out = *o;
	return 0;
}

int drive_parse_option(const char *text, struct drive_option *out, struct err *e)
{
	struct drive_option o;
	struct given g;
	int r;

	start(&g, &o, false);
	r = parse_keys(&g, text, e);
	return r ? r : finish(&g, out, e);
}

int drive_from_blockdev_json(json_t *args, struct drive_option *out, struct err *e)
{
	const char *driver = json_string_value(json_object_get(args, "driver"));
	struct drive_option o;
	struct given g;
	int r;

	start(&g, &o, true);
	r = set_text(g.driver, sizeof(g.driver), driver ?: "", e);
	if (!r)
		r = check_driver(&g, e);
	if (!r)
		r = parse_members(&g, top_of_node(&g), "", args, 0, e);
	return r ? r : finish(&g, out, e);
}

int drive_parse_blockdev(const char *text, struct drive_option *out, struct err *e)
{
	struct drive_option o;
	struct given g;
	int r;

	if (text[0] == '{') {
		json_t *j = json_text_parse(text, strlen(text), e);

		r = j ? drive_from_blockdev_json(j, out, e) : -e->code;
		json_decref(j);
		return r;
	}
	start(&g, &o, true);
	r = find_driver(&g, text, e);
	if (!r)
		r = check_driver(&g, e);
	if (!r)
		r = parse_keys(&g, text, e);
	return r ? r : finish(&g, out, e);
}

json_t *drive_option_to_json(const struct drive_option *o)
{
	const struct disk_config *c = &o->disk;

	return json_pack("{s:s, s:s, s:s, s:b, s:b, s:s, s:o, s:s, s:b, s:b, s:b, s:b, s:b, s:b, "
			 "s:b, s:s, s:s, s:s, s:o}",
			 "id", o->id, "node-name", o->node_name, "file-node", o->file_node,
			 "file-is-node", o->file_is_node, "blockdev", o->is_blockdev, "if",
			 interface_names[o->interface], "filename", bytes_to_json(c->path),
			 "driver", driver_names[c->driver], "read-only", c->read_only,
			 "auto-read-only", c->auto_read_only, "direct", c->direct, "no-flush",
			 c->no_flush, "writethrough", c->writethrough, "unmap", c->unmap,
			 "force-share", c->share, "locking", locking_names[c->locking], "rerror",
			 on_error_names[c->rerror], "werror", on_error_names[c->werror], "serial",
			 bytes_to_json(c->serial));
}

static int set_bytes(char *to, size_t n, json_t *from, struct err *e)
{
	AUTO_FREE char *bytes = bytes_from_json(from);

	return bytes ? set_text(to, n, bytes, e) : err_set(e, EPROTO, "a text is none");
}

int drive_option_from_json(json_t *j, struct drive_option *out, struct err *e)
{
	const char *id, *node, *file_node, *interface, *driver, *locking, *rerror, *werror;
	json_t *path, *serial;
	int file_is_node, blockdev, read_only, auto_ro, direct, no_flush, wt, unmap, share;
	struct drive_option o = { 0 };
	json_error_t why;
	int n[5];

	if (json_unpack_ex(j, &why, 0,
			   "{s:s, s:s, s:s, s:b, s:b, s:s, s:o, s:s, s:b, s:b, s:b, s:b, s:b, s:b, "
			   "s:b, s:s, s:s, s:s, s:o}",
			   "id", &id, "node-name", &node, "file-node", &file_node, "file-is-node",
			   &file_is_node, "blockdev", &blockdev, "if", &interface, "filename",
			   &path, "driver", &driver, "read-only", &read_only, "auto-read-only",
			   &auto_ro, "direct", &direct, "no-flush", &no_flush, "writethrough", &wt,
			   "unmap", &unmap, "force-share", &share, "locking", &locking, "rerror",
			   &rerror, "werror", &werror, "serial", &serial))
		return err_set(e, EPROTO, "the description of a drive is wrong: %s", why.text);
	n[0] = find(interface_names, ARRAY_SIZE(interface_names), interface);
	n[1] = find(driver_names, ARRAY_SIZE(driver_names), driver);
	n[2] = find(locking_names, ARRAY_SIZE(locking_names), locking);
	n[3] = find(on_error_names, ARRAY_SIZE(on_error_names), rerror);
	n[4] = find(on_error_names, ARRAY_SIZE(on_error_names), werror);
	for (size_t i = 0; i < ARRAY_SIZE(n); i++)
		if (n[i] < 0)
			return err_set(e, EPROTO,
				       "the description of drive '%s' has an unknown word", id);
	if (set_text(o.id, sizeof(o.id), id, e) ||
	    set_text(o.node_name, sizeof(o.node_name), node, e) ||
	    set_text(o.file_node, sizeof(o.file_node), file_node, e) ||
	    set_bytes(o.disk.path, sizeof(o.disk.path), path, e) ||
	    set_bytes(o.disk.serial, sizeof(o.disk.serial), serial, e) ||
	    set_text(o.disk.name, sizeof(o.disk.name), id, e))
		return err_prefix(e, "the description of a drive");
	o.file_is_node = file_is_node;
	o.is_blockdev = blockdev;
	o.interface = (enum drive_interface)n[0];
	o.disk.driver = (enum disk_driver)n[1];
	o.disk.locking = (enum disk_locking)n[2];
	o.disk.rerror = (enum disk_on_error)n[3];
	o.disk.werror = (enum disk_on_error)n[4];
	o.disk.read_only = read_only;
	o.disk.auto_read_only = auto_ro;
	o.disk.direct = direct;
	o.disk.no_flush = no_flush;
	o.disk.writethrough = wt;
	o.disk.unmap = unmap;
	o.disk.share = share;
	o.disk.format_is_known = true;
	*out = o;
	return 0;
}
