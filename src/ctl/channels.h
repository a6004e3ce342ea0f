/* SPDX-License-Identifier: MIT */
/* Migration channels as QMP and -incoming describe them. */
#ifndef CTL_CHANNELS_H
#define CTL_CHANNELS_H

#include <jansson.h>

#include "base/err.h"
#include "ctl/schema.h"
#include "update/channel.h"

/* {"channel-type": ..., "addr": {...}}; for arguments that are lists of channels. */
extern const struct schema channel_schema;

/* What `channel-type` says of an object that passed channel_schema. */
enum channel_type channel_json_type(json_t *object);

/*
 * One channel that passed channel_schema. Addresses of a kind that this program
 * does not have are refused by name.
 */
int channel_from_json(json_t *object, struct channel *out, struct err *e);

/*
 * The argument of -incoming other than `defer`: a JSON object as in QMP, dotted
 * keys (`cpr,addr.transport=socket,addr.type=unix,addr.path=P`), or a URI, which
 * means the main channel.
 */
int channel_parse_incoming(const char *text, struct channel *out, struct err *e);

#endif
