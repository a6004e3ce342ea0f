/* SPDX-License-Identifier: MIT */
/* Descriptors that monitor clients have sent: by name, in sets, and not yet claimed. */
#ifndef CTL_FD_STORE_H
#define CTL_FD_STORE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/list.h"
#include "host/chardev.h"

struct ctl;

enum {
	FD_STORE_MAX_NAMES = 64, /* of one monitor                 */
	FD_SETS_MAX_FDS = 128,   /* in all sets together            */
};

/* What one monitor's client has sent. It ends with the connection, or when taken. */
struct fd_store {
	struct list names; /* struct fd_name                                  */
	unsigned int nr_names;
	int passed[CHARDEV_MAX_PASSED]; /* came, oldest first, and were not claimed */
	size_t nr_passed;
};

struct fd_name {
	struct list link;
	char *name;
	int fd;
};

/* Numbered sets of descriptors, which all monitors share. */
struct fd_sets {
	struct list sets; /* struct fd_set_entry, by rising id */
	unsigned int nr_fds;
};

struct fd_entry {
	struct list link;
	int fd;
	char *opaque; /* the client's word for it, or NULL */
};

struct fd_set_entry {
	struct list link;
	int64_t id;
	struct list fds; /* struct fd_entry, in the order of coming; never empty */
};

/* Main loop's thread, as all here. */
void fd_store_init(struct fd_store *s);
/* Closes all. */
void fd_store_clear(struct fd_store *s);
/* Takes over descriptors that came; those there is no room for are closed. */
void fd_store_pass(struct fd_store *s, const int *fds, size_t n);
/* Closes those that came and were not claimed. */
void fd_store_drop_passed(struct fd_store *s);
/* The oldest descriptor that came, now the caller's. */
int fd_store_claim(struct fd_store *s, struct err *e);
/* Takes @fd over, also on failure; another one of that name is closed. */
int fd_store_put(struct fd_store *s, const char *name, int fd, struct err *e);
/* The descriptor of that name, now the caller's, and the name forgotten. -1: there is none. */
int fd_store_take(struct fd_store *s, const char *name);

void fd_sets_init(struct fd_sets *s);
void fd_sets_clear(struct fd_sets *s);
/*
 * Adds @fd, which is taken over also on failure, to set *@id, which is made if there is none.
 * *@id < 0: to a new set, whose number is put there. @opaque is copied; NULL: none.
 */
int fd_sets_add(struct fd_sets *s, int64_t *id, int fd, const char *opaque, struct err *e);
/* Closes @fd of set @id, or with @fd < 0 the whole set. -ENOENT, without a text. */
int fd_sets_remove(struct fd_sets *s, int64_t id, int fd);

/*
 * For command handlers: the descriptor that this monitor's client has named @name with
 * `getfd`, e.g. for `migrate fd:NAME`. It is the caller's now, close-on-exec, and the name is
 * forgotten. -ENOENT if there is none, also outside of a command.
 */
int monitor_take_fd(struct ctl *ctl, const char *name, struct err *e);

#endif
