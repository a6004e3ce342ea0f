/* SPDX-License-Identifier: MIT */
/* What -netdev and netdev_add take: from text or JSON to a back end's configuration. */
#ifndef CTL_NETDEV_OPTS_H
#define CTL_NETDEV_OPTS_H

/*
 * DOC: theory of operation
 *
 * All forms become a flat object of strings first: `{"type":"stream","id":"n0",
 * "addr.type":"unix","addr.path":"/run/net"}`. That is also how a netdev travels to the
 * next image, which may not have it on its command line. A list is several values under one
 * key with a newline between them.
 */

#include <jansson.h>
#include <stdbool.h>

#include "base/err.h"
#include "ctl/schema.h"
#include "host/net.h"

/*
 * `TYPE,id=ID,key=value,...`, two commas standing for one in a value, or a JSON object as text.
 * The caller owns *@out.
 */
int netdev_flatten_text(const char *text, json_t **out, struct err *e);
/* From QMP's arguments: an object whose members have the types of @netdev_schema. */
int netdev_flatten_json(json_t *args, json_t **out, struct err *e);

/*
 * The configuration that a flat object describes: unknown types and keys, and values that cannot
 * be had, are refused by name. @named finds descriptors that a monitor's client has named; NULL: there
 * are none. Descriptors in *@out are the caller's: net_close_config() on failure later. With
 * @given, numbers and names of descriptors mean nothing any more and are not looked at.
 */
int netdev_config(json_t *flat, int (*named)(void *opaque, const char *name, struct err *e),
		  void *opaque, bool given, struct net_config *out, struct err *e);

/* The arguments of netdev_add. */
extern const struct schema netdev_schema;

/* Answers `TYPE,help` or `help` on standard output. */
void netdev_print_help(const char *arg);

#endif
