/* SPDX-License-Identifier: MIT */
/* Migration parameters and capabilities: one table each, used by QMP and HMP alike. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "update/params.h"

#define PARAM(n, member, k, limit)                                                             \
	{                                                                                      \
		.name = (n), .kind = (k), .offset = offsetof(struct migration_params, member), \
		.max = (limit)                                                                 \
	}

const struct param_desc migration_param_table[] = {
	PARAM("announce-initial", announce_initial, PARAM_UINT, 100000),
	PARAM("announce-max", announce_max, PARAM_UINT, 100000),
	PARAM("announce-rounds", announce_rounds, PARAM_UINT, 1000),
	PARAM("announce-step", announce_step, PARAM_UINT, 10000),
	PARAM("max-bandwidth", max_bandwidth, PARAM_UINT, INT64_MAX),
	PARAM("downtime-limit", downtime_limit, PARAM_UINT, 2000000),
	PARAM("mode", mode, PARAM_MODE, 0),
	PARAM("cpr-exec-command", cpr_exec_command, PARAM_STRLIST, 0),
	{ .name = NULL },
};

const struct cap_desc migration_cap_table[] = {
	{ "xbzrle", CAP_COUNT },
	{ "rdma-pin-all", CAP_COUNT },
	{ "auto-converge", CAP_COUNT },
	{ "events", CAP_EVENTS },
	{ "postcopy-ram", CAP_COUNT },
	{ "x-colo", CAP_COUNT },
	{ "release-ram", CAP_COUNT },
	{ "return-path", CAP_COUNT },
	{ "pause-before-switchover", CAP_COUNT },
	{ "multifd", CAP_COUNT },
	{ "dirty-bitmaps", CAP_COUNT },
	{ "postcopy-blocktime", CAP_COUNT },
	{ "late-block-activate", CAP_COUNT },
	{ "x-ignore-shared", CAP_IGNORE_SHARED },
	{ "validate-uuid", CAP_COUNT },
	{ "background-snapshot", CAP_COUNT },
	{ "zero-copy-send", CAP_COUNT },
	{ "postcopy-preempt", CAP_COUNT },
	{ "switchover-ack", CAP_COUNT },
	{ "dirty-limit", CAP_COUNT },
	{ "mapped-ram", CAP_COUNT },
	{ NULL, CAP_COUNT },
};

static const char *const mode_names[MODE_COUNT] = {
	[MODE_NORMAL] = "normal",
	[MODE_CPR_REBOOT] = "cpr-reboot",
	[MODE_CPR_TRANSFER] = "cpr-transfer",
	[MODE_CPR_EXEC] = "cpr-exec",
	[MODE_CPR_GRAFT] = "cpr-graft",
};

const char *migration_mode_name(enum migration_mode mode)
{
	return mode_names[mode];
}

void migration_params_init(struct migration_params *p)
{
	*p = (struct migration_params){
		.mode = MODE_NORMAL,
		.downtime_limit = 300,
		.announce_initial = 50,
		.announce_max = 550,
		.announce_rounds = 5,
		.announce_step = 100,
		.max_bandwidth = 134217728,
	};
}

static void free_list(char **argv)
{
	for (char **a = argv; a && *a; a++)
		free(*a);
	free(argv);
}

void migration_params_fini(struct migration_params *p)
{
	free_list(p->cpr_exec_command);
	p->cpr_exec_command = NULL;
}

const struct param_desc *migration_param_find(const char *name)
{
	for (const struct param_desc *d = migration_param_table; d->name; d++)
		if (!strcmp(d->name, name))
			return d;
	return NULL;
}

const struct cap_desc *migration_cap_find(const char *name)
{
	for (const struct cap_desc *d = migration_cap_table; d->name; d++)
		if (!strcmp(d->name, name))
			return d;
	return NULL;
}

static void *member(struct migration_params *p, const struct param_desc *d)
{
	return (char *)p + d->offset;
}

int migration_param_set_uint(struct migration_params *p, const struct param_desc *d, uint64_t v,
			     struct err *e)
{
	if (v > d->max)
		return err_set(e, EINVAL,
			       "Parameter '%s' expects an integer in the range of 0 to %llu",
			       d->name, (unsigned long long)d->max);
	*(uint64_t *)member(p, d) = v;
	return 0;
}

int migration_param_set_enum(struct migration_params *p, const struct param_desc *d,
			     const char *name, struct err *e)
{
	for (uint64_t i = 0; i < MODE_COUNT; i++) {
		if (!strcmp(mode_names[i], name)) {
			*(uint64_t *)member(p, d) = i;
			return 0;
		}
	}
	return err_set(e, EINVAL, "Parameter '%s' does not accept value '%s'", d->name, name);
}

int migration_param_set_list(struct migration_params *p, const struct param_desc *d,
			     char *const *argv, struct err *e)
{
	char ***list = member(p, d);
	char **copy = NULL;
	size_t n = 0;

	while (argv && argv[n])
		n++;
	if (n) {
		copy = calloc(n + 1, sizeof(*copy));
		for (size_t i = 0; copy && i < n; i++) {
			copy[i] = strdup(argv[i]);
			if (!copy[i]) {
				free_list(copy);
				copy = NULL;
			}
		}
		if (!copy)
			return err_set(e, ENOMEM, "no memory for parameter '%s'", d->name);
	}
	free_list(*list);
	*list = copy;
	return 0;
}
