/* SPDX-License-Identifier: MIT */
/* The human monitor: typed lines, translated into the commands of QMP. */
#ifndef CTL_HMP_H
#define CTL_HMP_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/list.h"
#include "ctl/lineedit.h"
#include "ctl/session.h"
#include "host/loop.h"
#include "update/migration.h"

#define HMP_MAX_LINE 4096

struct ctl;

struct hmp {
	struct list link; /* in ctl->hmps */
	struct ctl *ctl;
	struct session session;
	struct line_edit *edit; /* on a terminal; NULL: plain lines */
	char line[HMP_MAX_LINE];
	size_t len;
	bool too_long;           /* the line; its rest is dropped                       */
	bool after_cr;           /* a newline now belongs to the carriage return before */
	bool waiting;            /* `migrate` without -d: until the update has ended    */
	struct loop_work resume; /* input that came meanwhile, once it has          */
};

/* Starts a session on @chr; the caller owns the result. NULL without memory. */
struct hmp *hmp_create(struct ctl *ctl, struct chardev *chr);
void hmp_destroy(struct hmp *h);

/* To be told of each change, so that a waiting session goes on. */
void hmp_migration_status(struct hmp *h, enum migration_status status);

/*
 * Runs one line and appends what it prints to @out, lines ending with CR LF. @wait
 * is set if the operator waits for the update that the line has started; with
 * NULL nobody can wait, and the line says so.
 */
void hmp_run_line(struct ctl *ctl, const char *line, struct buf *out, bool *wait);

/* The same, as if the operator had chosen vCPU @cpu, an index that exists. */
void hmp_run_line_on(struct ctl *ctl, const char *line, unsigned int cpu, struct buf *out,
		     bool *wait);

/*
 * The names of all commands, and of what `info` shows, in the order of the help; NULL
 * from the first @i past the end on. For completion.
 */
const char *hmp_command_name(size_t i);
const char *hmp_info_name(size_t i);

#endif
