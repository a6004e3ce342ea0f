/* SPDX-License-Identifier: MIT */
/* The main stream: a snapshot as bytes, in QEMU's documented migration format. */
#ifndef STATE_STREAM_H
#define STATE_STREAM_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "state/snapshot.h"

/* The section that ends the stream. docs/state-format.md has the format, byte by byte. */
#define STREAM_CHECKSUM_IDSTR "baton-checksum"

/* No machine Baton builds comes near this; a stream that does is refused. */
#define STREAM_MAX_BYTES (UINT64_C(64) << 20)

/*
 * Appends the stream of @s to @out: header, configuration, RAM block list, one
 * section per item in list order, checksum, end mark, description JSON.
 * Does not change @s. -ENOMEM only.
 */
int stream_encode(const struct snapshot *s, struct buf *out, struct err *e);
/*
 * The same with an empty description: for a reader that is there at once and knows the
 * tables. Takes a fraction of the time.
 */
int stream_encode_bare(const struct snapshot *s, struct buf *out, struct err *e);

/*
 * Reads a whole stream of @n bytes into the items of @s, which the receiving
 * machine has listed. All or nothing: magic, version, machine type, RAM blocks,
 * checksum over every byte and completeness are verified, and each item must be
 * there once, before this returns 0. On failure the item structs are scratch
 * that must not be used; the error names the section and the reason.
 */
int stream_decode(const void *p, size_t n, struct snapshot *s, struct err *e);

/* XXH3 (64 bit) of @n bytes, the checksum used throughout. */
uint64_t stream_hash(const void *p, size_t n);

#endif
