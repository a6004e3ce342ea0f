/* SPDX-License-Identifier: MIT */
/* The state of a whole machine at one instant, held apart from the machine. */
#ifndef STATE_SNAPSHOT_H
#define STATE_SNAPSHOT_H

/*
 * DOC: theory of operation
 *
 * A snapshot is a list of items, one per thing that has state, each with its
 * identity, its table and a scratch struct of its own. The machine builds the
 * empty list once (snapshot_add), outside the pause; saving fills the structs
 * from the machine and encodes them, loading decodes a stream into them and,
 * only when every item is there and right, the machine takes them over. Nothing
 * here knows what the items are.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "state/vmstate.h"

#define SNAPSHOT_AUTO_INSTANCE UINT32_MAX /* reserved: never used as an instance id */

struct snapshot_item {
	char idstr[64];
	uint32_t instance_id; /* distinguishes items of one idstr, from 0     */
	/* What it was called by an earlier release; accepted when loading. Empty: nothing. */
	char alias_idstr[64];
	uint32_t alias_instance_id;
	const struct vs_desc *desc;
	void *state;   /* desc->size bytes, owned by the snapshot      */
	bool optional; /* left out while it has the reset values; not missed */
	/* Loading: the other side may not have such a thing; it then is as it was listed. */
	bool dispensable;
	bool loaded; /* set by decoding                              */
};

/* A RAM block as the stream lists it. */
struct snapshot_ram {
	char name[64];
	uint64_t size;         /* bytes, multiple of 4096                                    */
	uint64_t gpa;          /* guest-physical address of its start                        */
	uint8_t *host;         /* its bytes, not owned; may be NULL if no page is in a stream */
	bool in_place;         /* its contents stay where they are: no page is in a stream   */
	bool zeroed;           /* loading: all its bytes are zero, and its memory not given yet */
	bool listed;           /* set by decoding: the stream lists it                       */
	uint64_t pages_loaded; /* set by decoding                                    */
};

struct snapshot {
	char machine[64]; /* machine type; the stream's configuration section */
	struct snapshot_item *items;
	size_t nr_items;
	size_t cap_items;
	struct snapshot_ram *rams;
	size_t nr_rams;
	bool ignore_shared; /* the stream says which blocks it leaves in place */
	/* Loading: ignore_shared is what the stream says, and without it nothing is in place. */
	bool adopt_capabilities;
};

/* An empty list for machine type @machine, which is copied. */
void snapshot_init(struct snapshot *s, const char *machine);
/* Frees items and structs and leaves an empty list; a zeroed one is allowed. */
void snapshot_fini(struct snapshot *s);

/*
 * Adds an item with a zeroed struct. @instance_id may be SNAPSHOT_AUTO_INSTANCE:
 * one more than the highest of that idstr, from 0; the lowest free one if that would be
 * the reserved value, which is never given. -ENOMEM; -EEXIST if taken; -EOPNOTSUPP, with
 * the known text, if @desc says that this state cannot be saved.
 */
int snapshot_add(struct snapshot *s, const char *idstr, uint32_t instance_id,
		 const struct vs_desc *desc, struct err *e);
/*
 * Lets the item that was added last be loaded under another name as well, that of an
 * earlier release; it is saved under its own. -EEXIST if the name is taken.
 */
int snapshot_add_alias(struct snapshot *s, const char *idstr, uint32_t instance_id, struct err *e);
/* It is optional and has the reset values. */
bool snapshot_item_is_left_out(const struct snapshot_item *it);
/*
 * Lists a RAM block of @size bytes, in place; names are distinct. The caller may fill in
 * the rest of s->rams[s->nr_rams - 1]. -ENOMEM only.
 */
int snapshot_add_ram(struct snapshot *s, const char *name, uint64_t size, struct err *e);

/* Still the snapshot's, valid until the next snapshot_add(); NULL: there is none. */
struct snapshot_item *snapshot_find(const struct snapshot *s, const char *idstr,
				    uint32_t instance_id);
/* The same, by name or alias, as for loading. */
struct snapshot_item *snapshot_find_loading(const struct snapshot *s, const char *idstr,
					    uint32_t instance_id);

#endif
