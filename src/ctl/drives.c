/* SPDX-License-Identifier: MIT */
/* The drives of a machine: open images by name, from the command line, monitors, or an update. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/util.h"
#include "ctl/drives.h"
#include "host/process.h"
#include "machine/vm.h"
#include "update/migration.h"
#include "update/wire.h"

#define IMAGE_NAME DRIVES_KEY ":image"

int drives_init(struct drives *ds, struct vm *vm, struct err *e)
{
	*ds = (struct drives){ .vm = vm, .removed = json_array() };
	list_init(&ds->list);
	return uring_create(&ds->uring, vm->loop, e);
}

static void destroy(struct drives *ds, struct drive *d)
{
	backend_del(&d->backend);
	if (d->below)
		backend_release(&d->below->backend);
	disk_close(&d->disk);
	list_del(&d->link);
	ds->n--;
	free(d);
}

void drives_fini(struct drives *ds)
{
	if (!ds->vm)
		return;
	/* Last first: what is above a node came later. */
	while (!list_empty(&ds->list))
		destroy(ds, CONTAINER_OF(ds->list.prev, struct drive, link));
	uring_destroy(TAKE_PTR(ds->uring));
	json_decref(TAKE_PTR(ds->removed));
	ds->vm = NULL;
}

struct drive *drives_find(const struct drives *ds, const char *name)
{
	for (const struct list *pos = ds->list.next; pos != &ds->list; pos = pos->next) {
		struct drive *d = CONTAINER_OF(pos, struct drive, link);

		if (*name && (!strcmp(d->option.id, name) || !strcmp(d->option.node_name, name)))
			return d;
	}
	return NULL;
}

bool drives_is_below(const struct drives *ds, const struct drive *d)
{
	for (const struct list *pos = ds->list.next; pos != &ds->list; pos = pos->next)
		if (CONTAINER_OF(pos, struct drive, link)->below == d)
			return true;
	return false;
}

static int check_names(struct drives *ds, struct drive_option *o, struct err *e)
{
	while (!o->id[0]) {
		snprintf(o->id, sizeof(o->id), "virtio%u", ds->nr_virtio++);
		memcpy(o->disk.name, o->id, sizeof(o->disk.name));
		if (drives_find(ds, o->id))
			o->id[0] = '\0';
	}
	if (ds->n == DRIVES_MAX)
		return err_set(e, E2BIG, "more than %d drives", DRIVES_MAX);
	if (drives_find(ds, o->id))
		return err_set(e, EEXIST, "Duplicate %s '%s'",
			       o->is_blockdev ? "nodes with node-name=" : "ID", o->id);
	if (drives_find(ds, o->node_name))
		return err_set(e, EEXIST, "Duplicate nodes with node-name='%s'", o->node_name);
	if (!o->file_is_node && drives_find(ds, o->file_node))
		return err_set(e, EEXIST, "Duplicate nodes with node-name='%s'", o->file_node);
	return 0;
}

/* An entry of the list, taken apart. */
struct entry {
	struct drive_option option;
	uint64_t bytes;
	uint32_t locks;
	uint32_t id; /* of the descriptor */
};

static int parse_entry(json_t *list, size_t i, struct entry *out, struct err *e)
{
	json_t *option;
	json_int_t bytes, locks;
	json_error_t why;

	if (json_unpack_ex(json_array_get(list, i), &why, 0, "{s:o, s:I, s:I}", "option", &option,
			   "bytes", &bytes, "locks", &locks))
		return err_set(e, EPROTO, "the list of drives is wrong: %s", why.text);
	if (bytes <= 0 || bytes % DISK_SECTOR || locks < 0 || locks > UINT8_MAX)
		return err_set(e, EPROTO, "the list of drives has numbers that are out of bounds");
	out->bytes = (uint64_t)bytes;
	out->locks = (uint32_t)locks;
	out->id = (uint32_t)i;
	return drive_option_from_json(option, &out->option, e);
}

/* 1 and @out if the old side had the drive @name. */
static int find_entry(const struct drives_came *came, const char *name, struct entry *out,
		      struct err *e)
{
	size_t n = came ? json_array_size(came->list) : 0;

	for (size_t i = 0; i < n; i++) {
		int r = parse_entry(came->list, i, out, e);

		if (r)
			return r;
		if (!strcmp(out->option.id, name))
			return 1;
	}
	return 0;
}

/* None although they were wanted where possible: they are not possible. */
static void take_locks(struct drive *d, const struct entry *x)
{
	d->disk.locks = x->locks;
	if (!x->locks && d->disk.config.locking == DISK_LOCK_AUTO)
		d->disk.config.locking = DISK_LOCK_OFF;
}

/* The image as it is open on the old side. */
static int take_image(struct drives *ds, struct drive *d, const struct entry *x,
		      const struct drives_came *came, struct err *e)
{
	AUTO_CLOSE int fd = cpr_state_dup_fd(came->state, IMAGE_NAME, x->id, e);
	struct disk_config c = d->option.disk;
	int r;

	if (fd < 0)
		return fd;
	/* Whose image it was knows the file by itself. */
	c.any_name = came->came_back;
	r = disk_open(&d->disk, &c, fd, ds->uring, e);
	if (r)
		return r;
	take_fd(&fd);
	d->disk.bytes = x->bytes;
	take_locks(d, x);
	r = disk_check_size(&d->disk, e);
	if (!r)
		return 0;
	if (came->came_back) {
		log_error("drive '%s': %s", d->option.id, e->msg);
		return 0;
	}
	disk_close(&d->disk);
	return r;
}

/* A node on top of another one: the same open file. */
static int open_above(struct drives *ds, struct drive *d, struct err *e)
{
	struct drive *below = drives_find(ds, d->option.file_node);
	struct disk_config c = d->option.disk;
	AUTO_CLOSE int fd = -1;
	int r;

	if (!below)
		return err_set(e, ENOENT, "Cannot find device='' nor node-name='%s'",
			       d->option.file_node);
	if (below->backend.user)
		return err_set(e, EBUSY, "node '%s' is used by '%s' already", d->option.file_node,
			       below->backend.user);
	if (below->disk.config.read_only && !c.read_only && !c.auto_read_only)
		return err_set(e, EROFS, "node '%s' is read-only, so read-only=on is needed here",
			       d->option.file_node);
	fd = process_dup_fd(below->disk.fd, e);
	if (fd < 0)
		return fd;
	/* The file is as it was opened; what is above may want less of it. */
	memcpy(c.path, below->disk.config.path, sizeof(c.path));
	c.read_only = below->disk.config.read_only;
	c.direct = below->disk.config.direct;
	c.no_flush |= below->disk.config.no_flush;
	c.unmap = c.unmap && below->disk.config.unmap;
	c.locking = below->option.disk.locking;
	c.any_name = true;
	r = disk_open(&d->disk, &c, fd, ds->uring, e);
	if (r)
		return r;
	take_fd(&fd);
	d->disk.config.read_only |= d->option.disk.read_only;
	d->disk.inherited = below->disk.inherited;
	d->disk.locks = below->disk.locks;
	d->disk.bytes = below->disk.bytes;
	d->below = below;
	below->backend.user = d->option.id;
	return 0;
}

static int open_drive(struct drives *ds, struct drive *d, const struct drives_came *came,
		      struct err *e)
{
	struct entry x;
	int r;

	r = find_entry(came, d->option.id, &x, e);
	if (r < 0)
		return r;
	if (d->option.file_is_node) {
		bool given = r;

		r = open_above(ds, d, e);
		if (!r && given)
			take_locks(d, &x);
		return r;
	}
	return r ? take_image(ds, d, &x, came, e)
		 : disk_open(&d->disk, &d->option.disk, -1, ds->uring, e);
}

int drives_add(struct drives *ds, const struct drive_option *o, const struct drives_came *came,
	       struct drive **out, struct err *e)
{
	AUTO_FREE struct drive *d = calloc(1, sizeof(*d));
	int r;

	if (!d)
		return err_set(e, ENOMEM, "no memory for a drive");
	d->option = *o;
	r = check_names(ds, &d->option, e);
	if (!r)
		r = open_drive(ds, d, came, e);
	if (r)
		return o->id[0] ? err_prefix(e, "drive '%s'", o->id) : r;
	d->backend.kind = BACKEND_DRIVE;
	d->backend.object = &d->disk;
	memcpy(d->backend.id, d->option.id, sizeof(d->backend.id));
	r = backend_add(ds->vm, &d->backend, e);
	if (r) {
		disk_close(&d->disk);
		return r;
	}
	list_add(&ds->list, &d->link);
	ds->n++;
	*out = TAKE_PTR(d);
	return 0;
}

static bool has_word(json_t *list, const char *word)
{
	json_t *v;
	size_t i;

	json_array_foreach(list, i, v) if (json_is_string(v) &&
					   !strcmp(json_string_value(v), word)) return true;
	return false;
}

int drives_del(struct drives *ds, const char *name, struct err *e)
{
	struct drive *d = drives_find(ds, name);

	if (!d)
		return err_set(e, ENOENT, "Failed to find node with node-name='%s'", name);
	if (d->backend.user)
		return err_set(e, EBUSY, "Node '%s' is busy: it is used by '%s'", name,
			       d->backend.user);
	if (d->of_options && !has_word(ds->removed, d->option.id))
		json_array_append_new(ds->removed, json_string(d->option.id));
	destroy(ds, d);
	return 0;
}

static int gather_drive(const struct drive *d, uint32_t id, struct cpr_state *s, json_t *list,
			struct err *e)
{
	struct drive_option o = d->option;
	int r;

	r = disk_check_size(&d->disk, e);
	if (!r)
		r = cpr_state_add_fd(s, IMAGE_NAME, id, d->disk.fd, e);
	if (r)
		return err_prefix(e, "drive '%s'", o.id);
	/* What was said, but as the file could be opened. */
	o.disk.read_only = d->disk.config.read_only;
	if (json_array_append_new(
		    list, json_pack("{s:o, s:I, s:I}", "option", drive_option_to_json(&o), "bytes",
				    (json_int_t)d->disk.bytes, "locks", (json_int_t)d->disk.locks)))
		return err_set(e, ENOMEM, "no memory for the list of drives");
	return 0;
}

static int gather(void *opaque, struct cpr_state *s, json_t **out, struct err *e)
{
	const struct drives *ds = opaque;
	json_t *list;
	uint32_t id = 0;
	int r = 0;

	if (list_empty(&ds->list) && !json_array_size(ds->removed))
		return 0;
	list = json_array();
	for (const struct list *pos = ds->list.next; !r && pos != &ds->list; pos = pos->next)
		r = gather_drive(CONTAINER_OF(pos, struct drive, link), id++, s, list, e);
	if (r) {
		json_decref(list);
		return r;
	}
	*out = json_pack("{s:o, s:O}", "list", list, "removed", ds->removed);
	return *out ? 0 : err_set(e, ENOMEM, "no memory for the list of drives");
}

void drives_carry(struct drives *ds, struct migration *m)
{
	ds->extra =
		(struct extra){ .key = DRIVES_KEY, .early = true, .gather = gather, .opaque = ds };
	extras_register(m, &ds->extra);
}

int drives_find_carried(const struct cpr_state *state, struct drives_came *out, struct err *e)
{
	json_t *came, *list, *removed;
	int r = extras_find(state, DRIVES_KEY, &came, e);

	if (r || !came)
		return r;
	list = json_object_get(came, "list");
	removed = json_object_get(came, "removed");
	if (!json_is_array(list) || json_array_size(list) > DRIVES_MAX || !json_is_array(removed)) {
		json_decref(came);
		return err_set(e, EPROTO,
			       "the old side's list of drives is none, or has more than %d",
			       DRIVES_MAX);
	}
	*out = (struct drives_came){ .list = json_incref(list),
				     .removed = json_incref(removed),
				     .state = state };
	json_decref(came);
	return 0;
}

bool drives_was_removed(const struct drives_came *came, const struct drive_option *o)
{
	struct entry x;
	struct err e;

	/* One may have been added anew under the name. */
	return has_word(came->removed, o->id) && find_entry(came, o->id, &x, &e) == 0;
}

/* What was removed stays so in the image after the next, too. */
static void remember_removed(struct drives *ds, const struct drives_came *came)
{
	json_t *v;
	size_t i;

	json_array_foreach(came->removed, i,
			   v) if (json_is_string(v) && !has_word(ds->removed, json_string_value(v)))
		json_array_append(ds->removed, v);
}

int drives_add_carried(struct drives *ds, const struct drives_came *came, struct err *e)
{
	struct drive *d;
	struct entry x;
	int r = 0;

	for (size_t i = 0; !r && i < json_array_size(came->list); i++) {
		r = parse_entry(came->list, i, &x, e);
		if (!r && !drives_find(ds, x.option.id))
			r = drives_add(ds, &x.option, came, &d, e);
	}
	remember_removed(ds, came);
	return r;
}

void drives_came_fini(struct drives_came *came)
{
	json_decref(TAKE_PTR(came->list));
	json_decref(TAKE_PTR(came->removed));
}
