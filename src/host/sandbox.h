/* SPDX-License-Identifier: MIT */
/* What this process may still ask of the kernel once its machine is built. */
#ifndef HOST_SANDBOX_H
#define HOST_SANDBOX_H

/*
 * DOC: theory of operation
 *
 * A list of system calls that running and updating a guest takes, kept by seccomp; any other one
 * fails with EPERM. It does not end the process: whatever it was that went wrong or was forgotten,
 * the guest runs on. Nothing executed later gains privileges (no_new_privs). Where directories are
 * given, Landlock (Linux 5.13) keeps everything else in the file system closed but for what a
 * program of this kind needs to start: libraries, its devices, its own part of /proc.
 *
 * The next image of cpr-exec and cpr-graft has the same sandbox, for the kernel never widens one. It
 * is not entered twice.
 */

#include <stdbool.h>

#include "base/err.h"

enum {
	SANDBOX_MAX_PATHS = 16,
};

struct sandbox_config {
	bool no_spawn; /* no program is started, nor executed in this process's place */
	/* Directories and files below which everything is allowed; none: no limit on paths. */
	const char *paths[SANDBOX_MAX_PATHS];
	unsigned int nr_paths;
};

/*
 * For all threads (paths: for the calling one and those it starts). There is no way back. -ENOSYS
 * if the kernel lacks what is asked for, and then nothing has changed.
 */
int sandbox_enter(const struct sandbox_config *c, struct err *e);

/* This process is in such a sandbox already: an image before this one has entered it. */
bool sandbox_is_entered(void);

/* Whether a sandbox may contain the system call SYS_...; for tests. */
bool sandbox_allows(int call);

#endif
