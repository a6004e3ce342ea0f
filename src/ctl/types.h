/* SPDX-License-Identifier: MIT */
/* Types that several commands and events share, for checks and for introspection. */
#ifndef CTL_TYPES_H
#define CTL_TYPES_H

#include "ctl/schema.h"

/* Values of enumerations that another table has: the @i-th, NULL past the end. */
const char *types_runstate(size_t i);
const char *types_mode(size_t i);
const char *types_capability(size_t i);

/* Each ends with NULL. */
extern const char *const types_migration_status[]; /* all of QEMU's, in its order   */
extern const char *const types_shutdown_cause[];
extern const char *const types_target[];

/* What commands about updates return. */
extern const struct schema types_migration_info;
extern const struct schema types_migration_params;

#endif
