/* SPDX-License-Identifier: MIT */
/* Giving up privileges for good: another user, another root directory. */
#ifndef HOST_PRIVILEGES_H
#define HOST_PRIVILEGES_H

/*
 * DOC: theory of operation
 *
 * A process started as root opens what it was told to, and then becomes an ordinary user, in a root
 * directory of its own, before its guest runs. All its threads do. It loses its supplementary
 * groups and all capabilities, cannot gain any by what it executes, and other processes of that
 * user can neither trace it nor read its memory.
 *
 * The next image of cpr-exec and cpr-graft is in the same process and has the same user and root:
 * nothing is left to be given up, and nothing can be taken back. What was given up, and in which
 * process, stands in the environment for it; that says no more than the kernel does, and
 * privileges_check() compares the two.
 */

#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"

enum {
	PRIVILEGES_MAX_GROUPS = 64, /* supplementary ones, of a user named in /etc/group */
};

struct privileges {
	const char *user; /* USER or UID:GID; NULL: stays who it is        */
	const char *root; /* the new root directory; NULL: stays where it is */
	/* From privileges_prepare(). */
	uid_t uid;
	gid_t gid;
	gid_t groups[PRIVILEGES_MAX_GROUPS];
	unsigned int nr_groups;
};

/*
 * Finds out who p->user is, by the files /etc/passwd and /etc/group, and forbids all that is
 * executed from now on to gain privileges. Before any thread is started. -ENOENT: there is no such
 * user; -EINVAL: it is root.
 */
int privileges_prepare(struct privileges *p, struct err *e);

/*
 * For all threads, after privileges_prepare(). Verified, and without a way back; after a failure
 * the process is to end. A process that is that user already need not be root.
 */
int privileges_drop(const struct privileges *p, struct err *e);

/*
 * Whether process @pid, this one or the one whose memory it shares, has given up just what @p asks
 * for: then nothing is left to be done. What @p leaves open is no difference. -EPERM by name if not.
 */
int privileges_check(const struct privileges *p, pid_t pid, struct err *e);
/* Whether an image before this one, or this one, has given up privileges of process @pid. */
bool privileges_are_dropped(pid_t pid);
/* In the next image of such a process: what does not survive execve() is done again. */
void privileges_keep(void);

/*
 * The calling thread, and it alone, opens and makes files as that user, which only root can; back
 * with the effective ids of the process.
 */
void privileges_use_files_as(uid_t uid, gid_t gid);

#endif
