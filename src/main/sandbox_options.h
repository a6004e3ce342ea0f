/* SPDX-License-Identifier: MIT */
/* -sandbox: what of the host the process keeps. */
#ifndef MAIN_SANDBOX_OPTIONS_H
#define MAIN_SANDBOX_OPTIONS_H

#include <stdbool.h>

#include "base/err.h"
#include "host/sandbox.h"

/* Strings point into @text. Zero-initialised: off. */
struct sandbox_options {
	bool on;
	struct sandbox_config config;
	char text[4096];
};

/*
 * `on|off[,spawn=allow|deny][,path=PATH]...`, and QEMU's obsolete=, elevateprivileges= and
 * resourcecontrol=, which change nothing: what they deny is denied, or is needed for updates.
 */
int sandbox_options_parse(struct sandbox_options *o, const char *arg, struct err *e);

#endif
