/* SPDX-License-Identifier: MIT */
/* The main stream with the guest's memory in it: written and read piece by piece. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/trace.h"
#include "base/util.h"
#include "state/stream.h"
#include "state/stream_format.h"
#include "state/stream_ram.h"

/*
 * DOC: theory of operation
 *
 * The stream is that of stream.c with one more section, between the list of RAM
 * blocks and the end of the RAM section: all pages of all blocks that are not left
 * in place, each exactly once, in ascending order. A page is a header, which for
 * a page of zeros is all, and its 4096 bytes. Headers are gathered in a small
 * arena and the pages taken from where they are, so nothing is copied on the way
 * out.
 */

enum {
	MAX_PIECES = 512,         /* of one writev                            */
	ARENA_BYTES = 64 << 10,   /* headers in one writev                    */
	MAX_HEADER = 8 + 1 + 255, /* flags and offset, name of the block      */
	WINDOW_BYTES = 1 << 20,   /* what is read at once                     */
	MIN_HEAD = 64,            /* no header with its list of blocks is shorter */
	MAX_HEAD = 64 << 10,      /* up to the list of RAM blocks             */
};

struct writer {
	const struct stream_sink *sink;
	struct stream_progress *progress;
	struct stream_sum sum;
	struct iovec iov[MAX_PIECES];
	int pieces;
	size_t used; /* of arena */
	uint8_t arena[ARENA_BYTES];
};

static int flush(struct writer *w, struct err *e)
{
	uint64_t bytes = 0;
	int r = 0;

	for (int i = 0; i < w->pieces; i++) {
		stream_sum_add(&w->sum, w->iov[i].iov_base, w->iov[i].iov_len);
		bytes += w->iov[i].iov_len;
	}
	if (w->pieces)
		r = w->sink->writev(w->sink->opaque, w->iov, w->pieces, e);
	w->pieces = 0;
	w->used = 0;
	w->progress->bytes += bytes;
	return r;
}

/* One more piece, which stays where it is until the flush. */
static void add_piece(struct writer *w, const void *p, size_t n)
{
	struct iovec *last = w->pieces ? &w->iov[w->pieces - 1] : NULL;

	if (last && (const uint8_t *)last->iov_base + last->iov_len == p)
		last->iov_len += n;
	else
		w->iov[w->pieces++] = (struct iovec){ .iov_base = (void *)p, .iov_len = n };
}

/* Bytes that are copied. The caller has seen to the room. */
static void add_copy(struct writer *w, const void *p, size_t n)
{
	memcpy(w->arena + w->used, p, n);
	add_piece(w, w->arena + w->used, n);
	w->used += n;
}

static int make_room(struct writer *w, struct err *e)
{
	if (w->pieces + 2 <= MAX_PIECES && w->used + MAX_HEADER <= ARENA_BYTES)
		return 0;
	return flush(w, e);
}

static bool is_zero_page(const uint8_t *p)
{
	uint64_t first;

	memcpy(&first, p, sizeof(first));
	/* Each word equals the one before it, and the first is zero. */
	return !first && !memcmp(p, p + sizeof(first), PAGE_SIZE_BYTES - sizeof(first));
}

static void put_page_header(struct writer *w, const struct snapshot_ram *ram, uint64_t offset,
			    bool zero)
{
	uint64_t head =
		offset | (zero ? RAM_FLAG_ZERO : RAM_FLAG_PAGE) | (offset ? RAM_FLAG_CONTINUE : 0);
	uint8_t bytes[MAX_HEADER + 1];
	size_t n = 8;

	for (int i = 0; i < 8; i++)
		bytes[i] = (uint8_t)(head >> (56 - 8 * i));
	if (!offset) {
		bytes[n] = (uint8_t)strlen(ram->name);
		memcpy(bytes + n + 1, ram->name, bytes[n]);
		n += 1u + bytes[n];
	}
	if (zero)
		bytes[n++] = 0;
	add_copy(w, bytes, n);
}

static int write_block(struct writer *w, const struct snapshot_ram *ram, struct err *e)
{
	uint64_t data = 0, data_end = 0;
	int r;

	if (!w->sink->next_data)
		data_end = ram->size;
	for (uint64_t at = 0; at < ram->size; at += PAGE_SIZE_BYTES) {
		bool zero;

		if (at >= data_end)
			data = w->sink->next_data(w->sink->opaque, ram, at, &data_end);
		zero = at + PAGE_SIZE_BYTES <= data || is_zero_page(ram->host + at);
		r = make_room(w, e);
		if (r)
			return r;
		put_page_header(w, ram, at, zero);
		if (zero)
			w->progress->pages_zero++;
		else
			w->progress->pages_normal++;
		w->progress->pages_left--;
		if (!zero)
			add_piece(w, ram->host + at, PAGE_SIZE_BYTES);
	}
	return 0;
}

static void put_be(uint8_t *p, uint64_t v, int bytes)
{
	for (int i = 0; i < bytes; i++)
		p[i] = (uint8_t)(v >> 8 * (bytes - 1 - i));
}

static int write_pages(struct writer *w, const struct snapshot *s, struct err *e)
{
	uint8_t head[5] = { SECTION_PART }, end[8 + 1 + 4];
	bool started = false;
	int r = 0;

	put_be(head + 1, RAM_SECTION_ID, 4);
	for (size_t i = 0; !r && i < s->nr_rams; i++) {
		if (s->rams[i].in_place)
			continue;
		if (!started)
			trace_savevm_section_start("ram", RAM_SECTION_ID);
		if (!started)
			add_copy(w, head, sizeof(head));
		started = true;
		r = write_block(w, &s->rams[i], e);
	}
	if (started)
		trace_savevm_section_end("ram", RAM_SECTION_ID, r);
	if (r || !started)
		return r;
	r = make_room(w, e);
	put_be(end, RAM_FLAG_EOS, 8);
	end[8] = SECTION_FOOTER;
	put_be(end + 9, RAM_SECTION_ID, 4);
	add_copy(w, end, sizeof(end));
	return r ? r : flush(w, e);
}

static int write_buf(struct writer *w, struct buf *b, struct err *e)
{
	struct iovec iov = { .iov_base = b->data, .iov_len = b->len };

	w->progress->bytes += b->len;
	return w->sink->writev(w->sink->opaque, &iov, 1, e);
}

static uint64_t pages_to_go(const struct snapshot *s)
{
	uint64_t n = 0;

	for (size_t i = 0; i < s->nr_rams; i++)
		n += s->rams[i].in_place ? 0 : s->rams[i].size / PAGE_SIZE_BYTES;
	return n;
}

int stream_write(const struct snapshot *s, const struct stream_sink *sink,
		 struct stream_progress *p, struct err *e)
{
	struct writer *w = aligned_alloc(64, (sizeof(*w) + 63) & ~(size_t)63);
	AUTO_BUF json_text = { 0 };
	AUTO_BUF head = { 0 };
	AUTO_BUF tail = { 0 };
	struct jsonw json;
	int r;

	if (!w)
		return err_set(e, ENOMEM, "no memory to write the state");
	w->sink = sink;
	w->progress = p;
	w->pieces = 0;
	w->used = 0;
	p->pages_left = pages_to_go(s);
	stream_sum_init(&w->sum);
	jsonw_init(&json, &json_text);
	stream_put_head(s, &head, &json);
	r = head.failed ? err_set(e, ENOMEM, "no memory to write the state")
			: write_buf(w, &head, e);
	stream_sum_add(&w->sum, head.data, head.len);
	if (!r)
		r = write_pages(w, s, e);
	if (!r)
		r = stream_put_tail(s, &w->sum, &tail, &json, &json_text, e);
	if (!r)
		r = write_buf(w, &tail, e);
	free(w);
	return r;
}

struct reader {
	const struct stream_source *source;
	struct stream_progress *progress;
	struct stream_sum sum;
	size_t from, to; /* of window: not taken yet */
	bool at_end;
	struct snapshot_ram *block; /* of the page before */
	uint8_t window[WINDOW_BYTES];
};

/* Has @n bytes in the window, or all there are. */
static int fill(struct reader *r, size_t n, struct err *e)
{
	size_t got;
	int ret;

	if (r->to - r->from >= n || r->at_end)
		return 0;
	memmove(r->window, r->window + r->from, r->to - r->from);
	r->to -= r->from;
	r->from = 0;
	while (r->to < n) {
		ret = r->source->read(r->source->opaque, r->window + r->to, WINDOW_BYTES - r->to,
				      &got, e);
		if (ret)
			return ret;
		if (!got) {
			r->at_end = true;
			break;
		}
		r->to += got;
		r->progress->bytes += got;
	}
	return 0;
}

/* The next @n bytes, at most a window full, valid until the next call. */
static int take(struct reader *r, size_t n, const uint8_t **out, struct err *e)
{
	int ret = fill(r, n, e);

	if (ret)
		return ret;
	if (r->to - r->from < n)
		return err_set(e, ENODATA,
			       "the state is truncated: it ends among the pages of RAM");
	*out = r->window + r->from;
	stream_sum_add(&r->sum, *out, n);
	r->from += n;
	return 0;
}

static uint64_t be64(const uint8_t *p)
{
	struct cursor c;

	cursor_init(&c, p, 8);
	return cursor_be64(&c);
}

/* A peer need not close its end after a short stream, so no more is waited for than needed. */
static int read_head(struct reader *r, struct snapshot *s, struct err *e)
{
	struct cursor in;
	int ret;

	for (size_t need = MIN_HEAD;; need *= 2) {
		ret = fill(r, need, e);
		if (ret)
			return ret;
		stream_reset(s);
		cursor_init(&in, r->window + r->from, MIN(r->to - r->from, (size_t)MAX_HEAD));
		ret = stream_take_header(&in, s, e);
		if (!ret)
			ret = stream_take_ram_list(&in, s, e);
		if (!ret || !in.failed || r->at_end || need >= MAX_HEAD)
			break;
	}
	if (ret)
		return ret;
	stream_sum_add(&r->sum, r->window + r->from, cursor_pos(&in));
	r->from += cursor_pos(&in);
	return 0;
}

/* Which block a page is of: named with its first page, else that of the page before. */
static int find_block(struct reader *r, const struct snapshot *s, bool named, struct err *e)
{
	const uint8_t *p;
	char name[256];
	uint8_t n;
	int ret;

	if (!named)
		return r->block ? 0 : err_set(e, EINVAL, "the first page names no RAM block");
	ret = take(r, 1, &p, e);
	if (ret)
		return ret;
	n = *p;
	ret = take(r, n, &p, e);
	if (ret)
		return ret;
	memcpy(name, p, n);
	name[n] = '\0';
	r->block = stream_find_ram(s, name);
	if (!r->block || !r->block->listed)
		return err_set(e, EINVAL, "there are pages of RAM block '%s', which is not listed",
			       name);
	if (r->block->in_place)
		return err_set(e, EINVAL, "block %s should not be migrated !", name);
	return 0;
}

static void load_zero_page(const struct snapshot_ram *ram, uint64_t offset)
{
	/* What is zero stays untouched, so that it takes no memory. */
	if (!ram->zeroed && !is_zero_page(ram->host + offset))
		memset(ram->host + offset, 0, PAGE_SIZE_BYTES);
}

static int read_page(struct reader *r, const struct snapshot *s, uint64_t head, struct err *e)
{
	uint64_t offset = head & ~(uint64_t)(PAGE_SIZE_BYTES - 1);
	uint64_t kind = head & (RAM_FLAG_PAGE | RAM_FLAG_ZERO);
	uint64_t other = head & (PAGE_SIZE_BYTES - 1) & ~(kind | RAM_FLAG_CONTINUE);
	const uint8_t *p;
	int ret;

	if (other || (kind != RAM_FLAG_PAGE && kind != RAM_FLAG_ZERO))
		return err_set(e, EINVAL, "a page of RAM has unknown flags %#llx",
			       (unsigned long long)(head & (PAGE_SIZE_BYTES - 1)));
	ret = find_block(r, s, !(head & RAM_FLAG_CONTINUE), e);
	if (ret)
		return ret;
	if (offset >= r->block->size)
		return err_set(e, EINVAL, "a page at %#llx lies outside of RAM block '%s'",
			       (unsigned long long)offset, r->block->name);
	if (offset != r->block->pages_loaded * PAGE_SIZE_BYTES)
		return err_set(e, EINVAL, "page %#llx of RAM block '%s' comes out of order",
			       (unsigned long long)offset, r->block->name);
	ret = take(r, kind == RAM_FLAG_PAGE ? PAGE_SIZE_BYTES : 1, &p, e);
	if (ret)
		return ret;
	if (kind == RAM_FLAG_PAGE)
		memcpy(r->block->host + offset, p, PAGE_SIZE_BYTES);
	else if (*p)
		return err_set(e, EINVAL, "page %#llx of RAM block '%s' is filled with %u",
			       (unsigned long long)offset, r->block->name, *p);
	else
		load_zero_page(r->block, offset);
	r->block->pages_loaded++;
	r->progress->pages_left--;
	if (kind == RAM_FLAG_PAGE)
		r->progress->pages_normal++;
	else
		r->progress->pages_zero++;
	return 0;
}

static int read_pages(struct reader *r, const struct snapshot *s, struct err *e)
{
	const uint8_t *p;
	struct cursor in;
	uint64_t head;
	uint32_t id;
	int ret;

	for (;;) {
		ret = fill(r, 5, e);
		if (ret)
			return ret;
		/* The section after the pages belongs to the tail. */
		if (r->to == r->from || r->window[r->from] != SECTION_PART)
			return 0;
		ret = take(r, 5, &p, e);
		if (ret)
			return ret;
		cursor_init(&in, p + 1, 4);
		trace_qemu_loadvm_state_section(SECTION_PART);
		id = cursor_be32(&in);
		trace_qemu_loadvm_state_section_partend(id);
		if (id != RAM_SECTION_ID)
			return err_set(e, EINVAL, "part of a section that was not started");
		for (;;) {
			ret = take(r, 8, &p, e);
			if (ret)
				return ret;
			head = be64(p);
			if (head == RAM_FLAG_EOS)
				break;
			ret = read_page(r, s, head, e);
			if (ret)
				return ret;
		}
		ret = take(r, 5, &p, e);
		if (ret)
			return ret;
		cursor_init(&in, p, 5);
		ret = stream_take_footer(&in, RAM_SECTION_ID, "ram", e);
		if (ret)
			return ret;
	}
}

/* No page may be missing: what is not in the stream must be in place. */
static int check_pages(const struct snapshot *s, struct err *e)
{
	for (size_t i = 0; i < s->nr_rams; i++) {
		const struct snapshot_ram *ram = &s->rams[i];

		if (!ram->in_place && ram->pages_loaded * PAGE_SIZE_BYTES != ram->size)
			return err_set(e, EINVAL,
				       "the state has %llu of the %llu pages of RAM block '%s', "
				       "whose contents are not in place here",
				       (unsigned long long)ram->pages_loaded,
				       (unsigned long long)(ram->size / PAGE_SIZE_BYTES),
				       ram->name);
	}
	return 0;
}

static int gather_tail(struct reader *r, struct stream_tail *t, struct err *e)
{
	int ret;

	do {
		ret = fill(r, 1, e);
		if (ret)
			return ret;
		if (r->from == r->to)
			break;
		buf_put(&t->bytes, r->window + r->from, r->to - r->from);
		r->from = r->to;
		if (t->bytes.failed)
			return err_set(e, ENOMEM, "no memory to read the state");
		if (t->bytes.len > STREAM_MAX_BYTES)
			return err_set(e, EFBIG,
				       "the state of the devices is longer than any machine's");
	} while (!stream_tail_is_whole(t));
	return 0;
}

static int read_tail(struct reader *r, struct snapshot *s, struct err *e)
{
	struct stream_tail t;
	int ret = stream_tail_init(&t, e);

	if (ret)
		return ret;
	ret = gather_tail(r, &t, e);
	if (!ret)
		ret = stream_take_tail(&r->sum, t.bytes.data, t.bytes.len, s, e);
	stream_tail_fini(&t);
	return ret;
}

int stream_read(struct snapshot *s, const struct stream_source *source, struct stream_progress *p,
		struct err *e)
{
	struct reader *r = aligned_alloc(64, (sizeof(*r) + 63) & ~(size_t)63);
	int ret;

	if (!r)
		return err_set(e, ENOMEM, "no memory to read the state");
	r->source = source;
	r->progress = p;
	r->from = r->to = 0;
	r->at_end = false;
	r->block = NULL;
	stream_sum_init(&r->sum);
	stream_reset(s);
	p->pages_left = pages_to_go(s);
	ret = read_head(r, s, e);
	if (!ret)
		ret = read_pages(r, s, e);
	if (!ret)
		ret = check_pages(s, e);
	if (!ret)
		ret = read_tail(r, s, e);
	free(r);
	return ret;
}
