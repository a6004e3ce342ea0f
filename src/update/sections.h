/* SPDX-License-Identifier: MIT */
/* What has state in a machine, as one side of an update tells the other before the guest stops. */
#ifndef UPDATE_SECTIONS_H
#define UPDATE_SECTIONS_H

#include <jansson.h>

#include "base/err.h"
#include "state/snapshot.h"

/*
 * An array of "idstr instance", without what would be left out of a state now, and an object of the
 * version of each idstr; new references.
 */
json_t *sections_list(const struct snapshot *s);
json_t *sections_versions(const struct snapshot *s);

/*
 * Whether a machine that lists @theirs, in these @versions (NULL: it does not say), can be
 * loaded into @ours: both have the same things, optional ones aside, by name or alias, in
 * versions that are read here. -EINVAL names the first difference.
 */
int sections_check(const struct snapshot *ours, json_t *theirs, json_t *versions, struct err *e);

#endif
