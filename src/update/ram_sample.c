/* SPDX-License-Identifier: MIT */
/* A sample of RAM that is left in place, to know it again when the state is loaded. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "host/mem.h"
#include "state/stream.h"
#include "update/ram_sample.h"

/*
 * DOC: theory of operation
 *
 * A file of that name and size need not be the guest's memory: it may have been made anew
 * after a reboot, be another guest's, or the guest may have gone on since. To read all of it
 * would take as long as to save it; some thousand pages tell nearly as surely.
 */

static const struct vs_field block_fields[] = {
	VS_BUFFER(struct ram_sample_block, name),
	VS_FIELD(struct ram_sample_block, xxh3),
	VS_END,
};

static const struct vs_desc block_desc = {
	.name = "baton-ram-sample/block",
	.version = 1,
	.min_version = 1,
	.size = sizeof(struct ram_sample_block),
	.fields = block_fields,
};

static const struct vs_field sample_fields[] = {
	VS_FIELD_RANGE(struct ram_sample, count, 0, RAM_MAX_BLOCKS),
	VS_FIELD_RANGE(struct ram_sample, reserved, 0, 0),
	VS_STRUCT_ARRAY_VAR(struct ram_sample, blocks, count, &block_desc),
	VS_END,
};

static int check_names(const void *state, struct err *e)
{
	const struct ram_sample *s = state;

	for (uint32_t i = 0; i < s->count; i++)
		if (!memchr(s->blocks[i].name, 0, sizeof(s->blocks[i].name)))
			return err_set(e, EINVAL, "the name of RAM block %u has no end", i);
	return 0;
}

const struct vs_desc ram_sample_desc = {
	.name = "baton-ram-sample",
	.version = 1,
	.min_version = 1,
	.size = sizeof(struct ram_sample),
	.fields = sample_fields,
	.check = check_names,
};

/* Memory that was never written counts as zeros, and is not touched. */
static uint64_t hash_block(const struct ram_block *b)
{
	uint64_t hashes[RAM_SAMPLE_PAGES], pages = b->size / 4096, base = b->options.offset;
	uint64_t n = MIN(pages, (uint64_t)RAM_SAMPLE_PAGES);
	static const uint8_t zeros[4096];

	for (uint64_t i = 0; i < n; i++) {
		uint64_t at = i * pages / n * 4096;
		bool data = mem_has_data(b->fd, base + at, 4096);

		hashes[i] = stream_hash(data ? b->host + at : zeros, 4096);
	}
	return stream_hash(hashes, n * sizeof(hashes[0]));
}

void ram_sample_take(struct ram_sample *out, const struct snapshot *s, const struct memmap *m)
{
	*out = (struct ram_sample){ 0 };
	for (size_t i = 0; i < s->nr_rams && out->count < RAM_MAX_BLOCKS; i++) {
		struct ram_sample_block *b = &out->blocks[out->count];

		if (!s->rams[i].in_place)
			continue;
		out->count++;
		snprintf((char *)b->name, sizeof(b->name), "%s", s->rams[i].name);
		b->xxh3 = hash_block(memmap_find_block(m, s->rams[i].name));
	}
}

static const struct ram_sample_block *find(const struct ram_sample *s, const char *name)
{
	for (uint32_t i = 0; i < s->count; i++)
		if (!strcmp((const char *)s->blocks[i].name, name))
			return &s->blocks[i];
	return NULL;
}

static int check_block(const struct ram_sample_block *was, const struct ram_block *b, struct err *e)
{
	if (was && b && was->xxh3 == hash_block(b))
		return 0;
	return err_set(e, ESTALE,
		       "RAM block '%s' in '%s' does not hold what it held when the state was saved",
		       b ? b->name : "", b ? b->path : "");
}

int ram_sample_check_blocks(const struct ram_sample *then, const struct memmap *m, struct err *e)
{
	int r = 0;

	for (uint32_t i = 0; !r && i < then->count; i++) {
		const struct ram_sample_block *was = &then->blocks[i];

		r = check_block(was, memmap_find_block(m, (const char *)was->name), e);
	}
	return r;
}

int ram_sample_check(const struct ram_sample *then, const struct snapshot *s,
		     const struct memmap *m, struct err *e)
{
	int r = 0;

	for (size_t i = 0; !r && i < s->nr_rams; i++) {
		const char *name = s->rams[i].name;

		if (s->rams[i].in_place)
			r = check_block(find(then, name), memmap_find_block(m, name), e);
	}
	return r;
}
