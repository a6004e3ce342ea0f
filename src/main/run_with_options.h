/* SPDX-License-Identifier: MIT */
/* -run-with: whom the process runs as, and where. */
#ifndef MAIN_RUN_WITH_OPTIONS_H
#define MAIN_RUN_WITH_OPTIONS_H

#include <stdbool.h>

#include "base/err.h"
#include "host/privileges.h"

/* Strings point into @text. Zero-initialised: nothing is given up. */
struct run_with_options {
	struct privileges privileges;
	char text[4096];
};

/* `[user=USER|UID:GID][,chroot=DIR][,async-teardown=off]`; the user is not looked up yet. */
int run_with_options_parse(struct run_with_options *o, const char *arg, struct err *e);

bool run_with_options_given(const struct run_with_options *o);

/*
 * Old image: whether the command line @argv can be that of the next image in this process, as far
 * as can be seen from here: its -run-with asks for nothing else than this process has given up,
 * and its program is there for whom, and where, this process is now.
 */
int run_with_options_check_command(char *const *argv, struct err *e);

#endif
