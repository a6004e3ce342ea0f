/* SPDX-License-Identifier: MIT */
/* Back ends by name: what -drive, -netdev and -chardev make and a device is connected to. */
#ifndef MACHINE_BACKEND_H
#define MACHINE_BACKEND_H

/*
 * DOC: theory of operation
 *
 * A back end is an object of host/ (an image, a network connection, a character
 * device) with an id. Whoever opened it owns it and registers it; a device
 * finds it by kind and id and claims it, for a back end serves one device at a
 * time. All with the machine lock held, on the main loop's thread.
 */

#include <stdbool.h>

#include "base/err.h"
#include "base/list.h"

struct vm;

enum backend_kind {
	BACKEND_DRIVE,   /* struct disk     */
	BACKEND_NET,     /* struct net      */
	BACKEND_CHARDEV, /* struct chardev  */
	BACKEND_KINDS
};

#define BACKEND_ID_MAX 64

/* Embedded in its owner's struct, or beside the object. */
struct backend {
	struct list link;
	enum backend_kind kind;
	char id[BACKEND_ID_MAX];
	void *object;     /* not owned                                   */
	const char *user; /* who has claimed it, for messages; NULL: nobody */
};

/* What the kind is called in messages: drive, netdev, chardev. */
const char *backend_kind_name(enum backend_kind kind);

/* -EEXIST if there is one of that kind and id. @b outlives the machine's devices or backend_del(). */
int backend_add(struct vm *vm, struct backend *b, struct err *e);
/* Takes it off the list, if it is on one; nobody uses it any more. */
void backend_del(struct backend *b);
/* NULL if there is none. */
struct backend *backend_find(const struct vm *vm, enum backend_kind kind, const char *id);
/*
 * Gives it to a device, until backend_release(). -ENOENT; -EBUSY says who has it. @user lives
 * as long as the claim.
 */
int backend_claim(struct vm *vm, enum backend_kind kind, const char *id, const char *user,
		  struct backend **out, struct err *e);
void backend_release(struct backend *b);

#endif
