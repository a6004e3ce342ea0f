/* SPDX-License-Identifier: MIT */
/* The machine's network back ends: of the command line, of a monitor, of the image before. */
#ifndef CTL_NETDEVS_H
#define CTL_NETDEVS_H

/*
 * DOC: theory of operation
 *
 * Each netdev is registered as a back end that a network card claims by its id. In an update all go
 * along as an early extra: their options and their descriptors. The next image opens none of
 * them anew, runs no script, and has those that a monitor had added without being told; one that a monitor had
 * removed it does not open, even if its command line says so.
 *
 * Main loop's thread, machine lock held.
 */

#include <jansson.h>
#include <stdbool.h>

#include "base/err.h"
#include "base/list.h"
#include "host/net.h"
#include "machine/backend.h"
#include "update/extras.h"

struct device;
struct migration;
struct vm;

#define NETDEVS_KEY "netdevs"

enum {
	NETDEVS_MAX = 32
};

struct netdev {
	struct list link;
	struct backend backend;
	struct netdevs *all;
	struct net *net;      /* owned                                        */
	json_t *options;      /* flat, owned                                  */
	struct device *bytes; /* what of it is the guest's state; NULL: nothing */
};

struct netdevs {
	struct vm *vm;
	struct list list; /* struct netdev, in order of coming  */
	unsigned int nr;
	json_t *removed; /* array of ids                      */
	bool trial;      /* those that did not come along are looked at, and not opened */
	struct extra extra;
	/* Hears of a stream that is connected (@address) or not any more (NULL); or NULL. */
	void (*told)(void *opaque, const char *id, const char *address);
	void *told_opaque;
};

void netdevs_init(struct netdevs *n);
/*
 * Opens those of the command line, @texts, and those that came in @came (NULL: cold start). The
 * machine has been created, its devices have not.
 */
int netdevs_open(struct netdevs *n, struct vm *vm, const char *const *texts, unsigned int nr,
		 const struct cpr_state *came, struct err *e);
/* From now on they go along in updates. @n outlives the last one. */
void netdevs_register(struct netdevs *n, struct migration *m);
/*
 * After the machine's devices; those of @n included. @moved: the guest goes on elsewhere. One that
 * was never opened is allowed, if it was initialised.
 */
void netdevs_close(struct netdevs *n, bool moved);

/* netdev_add: flat @options are taken over, also on failure. @named as for netdev_config(). */
int netdevs_add(struct netdevs *n, json_t *options,
		int (*named)(void *opaque, const char *name, struct err *e), void *opaque,
		struct err *e);
/* -ENOENT; -EBUSY names the device that uses it. */
int netdevs_remove(struct netdevs *n, const char *id, struct err *e);

#endif
