/* SPDX-License-Identifier: MIT */
/* The drives of a machine: open images by name, from the command line, monitors, or an update. */
#ifndef CTL_DRIVES_H
#define CTL_DRIVES_H

/*
 * DOC: theory of operation
 *
 * A drive is an image with a name that devices use, in the machine's list of back ends. A raw
 * node on top of a file node (-blockdev) has a descriptor of its own for the same open file, and
 * the file node is in use then.
 *
 * An update hands open images over: the old side lists its drives in the CPR state, with their
 * options, promised sizes and locks. The new side takes the one of the same name in place of opening
 * the file, after checking that it is the file its own options name; drives that only
 * the old side has, since a monitor added them, are made there as well. The file stays the same
 * open file, so its locks stay. Nothing is changed in it before the guest runs on the new side.
 */

#include <jansson.h>

#include "base/err.h"
#include "base/list.h"
#include "ctl/drive_opts.h"
#include "host/disk.h"
#include "machine/backend.h"
#include "update/extras.h"

#define DRIVES_KEY "drives"

enum {
	DRIVES_MAX = 128, /* their descriptors fit into a CPR state */
};

struct cpr_state;
struct migration;
struct vm;

struct drive {
	struct list link;
	struct drive_option option;
	struct disk disk;
	struct backend backend; /* by option.id */
	struct drive *below;    /* the node whose file this is; NULL: none */
	bool of_options;        /* the command line has it                 */
};

struct drives {
	struct vm *vm;
	struct uring *uring;
	struct list list; /* struct drive */
	unsigned int n;
	unsigned int nr_virtio; /* that were given no name */
	json_t *removed;        /* names a monitor has removed: no option brings them back; owned */
	struct extra extra;
};

/* What an old side has handed over; zero-initialised is nothing. */
struct drives_came {
	json_t *list, *removed; /* owned */
	const struct cpr_state *state;
	bool came_back; /* a newer image gave up: there is nobody else to have them */
};

int drives_init(struct drives *ds, struct vm *vm, struct err *e);
/* Closes all, after the devices that use them are gone. */
void drives_fini(struct drives *ds);

/* Opens the image, or takes it from @came, and adds it; a -drive without a name gets one. */
int drives_add(struct drives *ds, const struct drive_option *o, const struct drives_came *came,
	       struct drive **out, struct err *e);
/* -ENOENT; -EBUSY says who uses it. */
int drives_del(struct drives *ds, const char *name, struct err *e);
/* By id or node name; NULL if there is none. */
struct drive *drives_find(const struct drives *ds, const char *name);

/* Whether another drive is on top of @d. */
bool drives_is_below(const struct drives *ds, const struct drive *d);

/* Registers the list with updates; @ds outlives the last one. */
void drives_carry(struct drives *ds, struct migration *m);
/* Whether a monitor of the old side has removed the drive of that option. */
bool drives_was_removed(const struct drives_came *came, const struct drive_option *o);
/* What came in @state, which outlives @out; -EPROTO if it is malformed. */
int drives_find_carried(const struct cpr_state *state, struct drives_came *out, struct err *e);
/* Adds what the old side had and this side's options do not name. */
int drives_add_carried(struct drives *ds, const struct drives_came *came, struct err *e);
void drives_came_fini(struct drives_came *came);

#endif
