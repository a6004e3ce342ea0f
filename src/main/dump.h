/* SPDX-License-Identifier: MIT */
/* -dump-vmstate: all state tables as JSON, for tools that compare two releases. */
#ifndef MAIN_DUMP_H
#define MAIN_DUMP_H

#include "base/buf.h"
#include "base/err.h"

/*
 * Appends the description of every table that travels as a section, in the form that
 * QEMU's vmstate-static-checker.py reads: a member per section with its versions and its
 * `Description`, and `vmschkmachine`. Memory shortage shows in @out.
 */
void dump_vmstate(struct buf *out);

/* The same into the file @path, which is replaced. */
int dump_vmstate_to_file(const char *path, struct err *e);

#endif
