/* SPDX-License-Identifier: MIT */
/* What stream.c and stream_ram.c share: constants and pieces of the format (private to state/). */
#ifndef STATE_STREAM_FORMAT_H
#define STATE_STREAM_FORMAT_H

#define XXH_INLINE_ALL
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <xxhash.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/jsonw.h"
#include "state/snapshot.h"

#define CAPABILITIES_NAME      "configuration/capabilities"
#define CAP_IGNORE_SHARED_NAME "x-ignore-shared"

enum {
	STREAM_MAGIC = 0x5145564d,
	STREAM_VERSION = 3,

	SECTION_EOF = 0x00,
	SECTION_START = 0x01,
	SECTION_PART = 0x02,
	SECTION_END = 0x03,
	SECTION_FULL = 0x04,
	SECTION_SUBSECTION = 0x05,
	SECTION_VMDESC = 0x06,
	SECTION_CONFIGURATION = 0x07,
	SECTION_COMMAND = 0x08,
	SECTION_FOOTER = 0x7e,

	COMMAND_SWITCHOVER_START = 0x0b,

	RAM_VERSION = 4,
	RAM_FLAG_ZERO = 0x02,
	RAM_FLAG_MEM_SIZE = 0x04,
	RAM_FLAG_PAGE = 0x08,
	RAM_FLAG_EOS = 0x10,
	RAM_FLAG_CONTINUE = 0x20,
	RAM_SECTION_ID = 0,
	FIRST_DEVICE_SECTION_ID = 1,

	PAGE_SIZE_BYTES = 4096,
};

/* Length and hash of the bytes so far. */
struct stream_sum {
	XXH3_state_t hash;
	uint64_t length;
};

static inline void stream_sum_init(struct stream_sum *s)
{
	XXH3_64bits_reset(&s->hash);
	s->length = 0;
}

static inline void stream_sum_add(struct stream_sum *s, const void *p, size_t n)
{
	XXH3_64bits_update(&s->hash, p, n);
	s->length += n;
}

static inline uint64_t stream_sum_value(const struct stream_sum *s)
{
	return XXH3_64bits_digest(&s->hash);
}

/* Up to the list of RAM blocks; @json is left inside the array of devices. */
void stream_put_head(const struct snapshot *s, struct buf *out, struct jsonw *json);
/* Type and id of a section, then its end. */
void stream_put_part(struct buf *out, uint8_t type, uint32_t id);
void stream_put_footer(struct buf *out, uint32_t id);
/*
 * Everything from the end of the pages on. @sum is that of all bytes before, and changed;
 * @json writes to @json_text.
 */
int stream_put_tail(const struct snapshot *s, struct stream_sum *sum, struct buf *out,
		    struct jsonw *json, struct buf *json_text, struct err *e);

/* Magic to configuration; the capabilities in it must be those of @s or are adopted. */
int stream_take_header(struct cursor *in, struct snapshot *s, struct err *e);
/* The section that lists the RAM blocks. */
int stream_take_ram_list(struct cursor *in, struct snapshot *s, struct err *e);
int stream_take_footer(struct cursor *in, uint32_t id, const char *idstr, struct err *e);
/*
 * The @n bytes after the pages: verifies them, with those @before them, against the
 * checksum, then reads the sections into the items of @s.
 */
int stream_take_tail(const struct stream_sum *before, const void *p, size_t n, struct snapshot *s,
		     struct err *e);
/*
 * The bytes after the pages while they come, a few at a time or many. Each is looked at once:
 * where the state could end is noted when it is read there.
 */
struct stream_tail {
	struct buf bytes;
	/* A bit for each number of bytes up to STREAM_MAX_BYTES, in pieces that exist if one is set. */
	uint8_t **ends;
	size_t seen; /* bytes that were looked at */
};

int stream_tail_init(struct stream_tail *t, struct err *e);
void stream_tail_fini(struct stream_tail *t);
/*
 * Whether t->bytes, to which more may have been added, may be all there are. False, and
 * t->bytes.failed, if there is no memory to tell.
 */
bool stream_tail_is_whole(struct stream_tail *t);
/* Nothing is loaded or listed yet. */
void stream_reset(struct snapshot *s);
struct snapshot_ram *stream_find_ram(const struct snapshot *s, const char *name);

#endif
