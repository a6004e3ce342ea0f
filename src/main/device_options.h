/* SPDX-License-Identifier: MIT */
/* Devices of the command line: -device. */
#ifndef MAIN_DEVICE_OPTIONS_H
#define MAIN_DEVICE_OPTIONS_H

#include <stdbool.h>

#include "base/err.h"
#include "machine/device_type.h"

enum {
	DEVICE_OPTIONS_MAX = 256
};

struct cpr_state;
struct vm;

/* In the order in which they were given, which is that of creation. */
struct device_options {
	struct device_spec *specs; /* owned */
	unsigned int n;
};

/* The argument of one -device; on failure those before it are kept. */
int device_options_parse(struct device_options *o, const char *arg, struct err *e);
/*
 * Creates them, once back ends and the machine's own devices are there. With @cpr, from the old
 * side, its devices are created, which may be more, and the options have to be among them, or
 * among those that were removed there. The error names the device; the machine has those before
 * it then.
 */
int device_options_create(const struct device_options *o, struct vm *vm,
			  const struct cpr_state *cpr, struct err *e);
void device_options_fini(struct device_options *o);

/* Whether there is an answer to @arg, `DRIVER,help` or `help`; it, on standard output. */
bool device_options_has_help(const char *arg);
void device_options_print_help(const char *arg);

#endif
