/* SPDX-License-Identifier: MIT */
/* Objects that clients see and make: the tree of what exists, memory backends made at run time. */
#ifndef CTL_OBJECTS_H
#define CTL_OBJECTS_H

/*
 * DOC: theory of operation
 *
 * The tree is derived from the machine each time somebody asks, so it shows what is and
 * nothing has to be kept in step with it:
 *
 *	/machine                        the machine
 *	/machine/unattached/device[N]   vCPUs, then the machine's devices in order of creation
 *	/machine/peripheral/ID          devices that were asked for, by option or device_add
 *	/machine/peripheral-anon/device[N]   those without an id
 *	/objects/ID                     memory backends
 *	/chardevs/LABEL                 character devices
 *
 * Main loop's thread, machine lock held, as all of the control layer.
 */

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/list.h"

struct ctl;
struct ram_block;

/* A memory backend of object-add; nothing maps it into the guest. */
struct memory_object {
	struct list link; /* in ctl->objects */
	struct ram_block *block;
};

/*
 * An object from path to object; each of these from property to {"type": T, "value": V}.
 * The caller owns the result.
 */
json_t *objects_tree(struct ctl *ctl);

/*
 * The object in @tree, borrowed, that @path names: a whole path, or the end of exactly one.
 * NULL fills @e.
 */
json_t *objects_resolve(json_t *tree, const char *path, struct err *e);

/* The value of string property "type" of an object of the tree. */
const char *objects_type(json_t *object);

/*
 * [{"name": N, "parent": P, "abstract": true}] of all types that are or descend from
 * @implements (NULL: all), abstract ones only with @abstract. The caller owns the result.
 */
json_t *objects_types(struct ctl *ctl, const char *implements, bool abstract);

/* Whether there is a type of that name, abstract ones included. */
bool objects_is_type(struct ctl *ctl, const char *name);

/* The name of the type of memory backend @i; NULL past the end. */
const char *objects_backend_type(size_t i);

/* Calls @fn for the machine's memory backends, then for those of object-add, in order. */
void objects_for_each_memory(struct ctl *ctl, void (*fn)(const struct ram_block *b, void *arg),
			     void *arg);

/* Frees the memory backends of object-add. */
void objects_fini(struct ctl *ctl);

#endif
