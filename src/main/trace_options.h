/* SPDX-License-Identifier: MIT */
/* -trace, -D and -msg: what is traced, and where messages and trace lines go. */
#ifndef MAIN_TRACE_OPTIONS_H
#define MAIN_TRACE_OPTIONS_H

#include "base/err.h"

struct options;

/*
 * Applies the options in their order. Before any other thread is there. An event that does
 * not exist is warned of; a file that cannot be read or opened is an error, and what came
 * before it stays applied. The log stays open until the process ends.
 */
int trace_options_apply(const struct options *o, struct err *e);

/* The answer to `-trace help`, on standard output: one name a line. @arg is no matter. */
void trace_print_help(const char *arg);

#endif
