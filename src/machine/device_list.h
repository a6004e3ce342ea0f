/* SPDX-License-Identifier: MIT */
/* The devices one has asked for, as they travel in an update's configuration. */
#ifndef MACHINE_DEVICE_LIST_H
#define MACHINE_DEVICE_LIST_H

/*
 * DOC: theory of operation
 *
 * The old side writes down each device that was asked for, by option or monitor, in order of
 * creation, with its place. The new side makes the same ones, so hot-plugged devices need no
 * option there. What its own command line, or device_add before the guest is there, asks for
 * claims one of these; what differs is refused by name. A device of the command line that was
 * unplugged is written down as removed, for the next command line may still name it.
 *
 * Main loop's thread, machine lock.
 */

#include <jansson.h>
#include <stdbool.h>

#include "base/err.h"
#include "machine/device_type.h"

/* An array of device_to_json(), and one of what was removed; the caller's, NULL without memory. */
json_t *device_list_to_json(const struct vm *vm);
json_t *device_list_removed(const struct vm *vm);
/* Notes a device of this command line, as JSON, that is gone. */
void device_list_add_removed(struct vm *vm, json_t *device);

/*
 * New side: creates those of @devices, whatever JSON that is (NULL: there are none), which are
 * to be claimed then. The error names the device; the machine has those before it.
 */
int device_list_create(struct vm *vm, const json_t *devices, struct err *e);

/*
 * New side: the device of device_list_create() that @s asks for, by its id or, without one, the first
 * that is the same and not claimed. What @s leaves to be chosen is no difference. -ENOENT if
 * there is none, -EINVAL names what differs.
 */
int device_list_claim(struct vm *vm, const struct device_spec *s, struct device **out,
		      struct err *e);
/* Whether @s is one of @removed, which was an option and is gone; takes it off that list. */
bool device_list_was_removed(json_t *removed, const struct device_spec *s);

/*
 * While an update is at work the list stays what it is: device_remove() only notes what is to
 * go, which goes when this is over, if the guest is here then.
 */
void device_list_hold(struct vm *vm);
void device_list_release(struct vm *vm);

#endif
