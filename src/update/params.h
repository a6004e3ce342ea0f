/* SPDX-License-Identifier: MIT */
/* Migration parameters and capabilities: one table each, used by QMP and HMP alike. */
#ifndef UPDATE_PARAMS_H
#define UPDATE_PARAMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum migration_mode {
	MODE_NORMAL,
	MODE_CPR_REBOOT,
	MODE_CPR_TRANSFER,
	MODE_CPR_EXEC,
	MODE_CPR_GRAFT,
	MODE_COUNT,
};

const char *migration_mode_name(enum migration_mode mode);

/* Whether the state and the guest's memory go to a stream that is read later: no new side yet. */
static inline bool migration_mode_streams(enum migration_mode mode)
{
	return mode == MODE_NORMAL || mode == MODE_CPR_REBOOT;
}

/* Values in force; plain data but for the command, which migration_params_fini() frees. */
struct migration_params {
	uint64_t mode;           /* enum migration_mode                             */
	uint64_t downtime_limit; /* ms the guest may be stopped before a transfer is rolled back */
	uint64_t announce_initial, announce_max, announce_rounds, announce_step;
	uint64_t max_bandwidth;  /* accepted for compatibility; CPR does not throttle */
	char **cpr_exec_command; /* NULL-terminated argv, or NULL; owned            */
};

enum param_kind {
	PARAM_UINT,   /* uint64_t                          */
	PARAM_MODE,   /* uint64_t holding a migration_mode */
	PARAM_STRLIST /* char **, NULL-terminated          */
};

struct param_desc {
	const char *name; /* as in QMP, e.g. downtime-limit */
	enum param_kind kind;
	size_t offset; /* in struct migration_params     */
	uint64_t max;  /* PARAM_UINT                     */
};

/* Ends with a NULL name. */
extern const struct param_desc migration_param_table[];

void migration_params_init(struct migration_params *p);
void migration_params_fini(struct migration_params *p);
const struct param_desc *migration_param_find(const char *name);

/* Each checks the value against the table; on failure @p is untouched. */
int migration_param_set_uint(struct migration_params *p, const struct param_desc *d, uint64_t v,
			     struct err *e);
/* PARAM_MODE by name; the text for an unknown one is QMP's. */
int migration_param_set_enum(struct migration_params *p, const struct param_desc *d,
			     const char *name, struct err *e);
/* Copies @argv; an empty list unsets it. */
int migration_param_set_list(struct migration_params *p, const struct param_desc *d,
			     char *const *argv, struct err *e);

enum migration_cap {
	CAP_EVENTS,        /* MIGRATION and MIGRATION_PASS events are sent            */
	CAP_IGNORE_SHARED, /* RAM that can be found again is not put into the stream */
	CAP_COUNT,
};

/*
 * All capabilities QEMU's users know, in its order; @cap is CAP_COUNT for those
 * that this build does not have: they read as off, and turning one on is refused.
 */
struct cap_desc {
	const char *name;
	enum migration_cap cap;
};

extern const struct cap_desc migration_cap_table[];
const struct cap_desc *migration_cap_find(const char *name);

#endif
