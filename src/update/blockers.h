/* SPDX-License-Identifier: MIT */
/* What stands in the way of an update, found before the guest is touched. */
#ifndef UPDATE_BLOCKERS_H
#define UPDATE_BLOCKERS_H

#include <stddef.h>

#include "base/err.h"
#include "update/params.h"

struct vm;

enum {
	BLOCKERS_MAX = 32, /* of them are told */
};

/*
 * All reasons against an update of @vm in @mode, in a fixed order, up to @max sentences in
 * @out, each to be freed by the caller. Returns how many. Machine lock.
 */
size_t blockers_list(const struct vm *vm, enum migration_mode mode, char **out, size_t max);

/* -EBUSY with all of them in one sentence each, or 0. */
int blockers_check(const struct vm *vm, enum migration_mode mode, struct err *e);

#endif
