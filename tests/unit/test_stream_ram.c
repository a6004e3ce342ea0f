/* SPDX-License-Identifier: MIT */
/* Streams with the guest's memory in them. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/util.h"
#include "state/stream.h"
#include "state/stream_ram.h"

enum {
	PAGE = 4096,
	PAGES = 700, /* more than one writev takes */
	SMALL_PAGES = 3,
};

struct thing {
	uint32_t a;
	uint32_t b;
};

static const struct vs_field thing_fields[] = {
	VS_FIELD(struct thing, a),
	VS_FIELD(struct thing, b),
	VS_END,
};

static const struct vs_desc thing_desc = {
	.name = "thing",
	.version = 1,
	.min_version = 1,
	.size = sizeof(struct thing),
	.fields = thing_fields,
};

struct machine {
	struct snapshot s;
	uint8_t *ram;
	uint8_t *small;
	bool sparse; /* the sink asks where data is */
	size_t untouched_from;
	size_t fail_after; /* bytes the sink takes; 0: all */
	struct buf out;
	const uint8_t *in; /* what the source gives, in pieces of @piece bytes */
	size_t in_left, piece;
};

static void make(struct machine *m)
{
	struct err e;

	*m = (struct machine){ .piece = 1 << 20 };
	m->ram = aligned_alloc(PAGE, (size_t)PAGES * PAGE);
	m->small = aligned_alloc(PAGE, (size_t)SMALL_PAGES * PAGE);
	memset(m->ram, 0, (size_t)PAGES * PAGE);
	memset(m->small, 0, (size_t)SMALL_PAGES * PAGE);
	snapshot_init(&m->s, "baton-1");
	assert_int_equal(snapshot_add_ram(&m->s, "ram0", (uint64_t)PAGES * PAGE, &e), 0);
	assert_int_equal(snapshot_add_ram(&m->s, "rom", (uint64_t)SMALL_PAGES * PAGE, &e), 0);
	assert_int_equal(snapshot_add(&m->s, "thing", 0, &thing_desc, &e), 0);
	m->s.rams[0].host = m->ram;
	m->s.rams[1].host = m->small;
	m->s.rams[1].gpa = 0xe0000;
	m->s.rams[0].in_place = m->s.rams[1].in_place = false;
}

static void unmake(struct machine *m)
{
	snapshot_fini(&m->s);
	buf_fini(&m->out);
	free(m->ram);
	free(m->small);
}

/* Every third page is zero; the others differ. */
static void dirty(struct machine *m)
{
	for (size_t i = 0; i < PAGES; i++)
		if (i % 3)
			memset(m->ram + i * PAGE, (int)(i % 251) + 1, PAGE);
	/* One byte at the end of a page is no zero page. */
	m->ram[(size_t)3 * PAGE + PAGE - 1] = 1;
	memset(m->small + PAGE, 0x55, PAGE);
	*(struct thing *)m->s.items[0].state = (struct thing){ 17, 4 };
}

static int sink_writev(void *opaque, struct iovec *iov, int n, struct err *e)
{
	struct machine *m = opaque;

	for (int i = 0; i < n; i++)
		buf_put(&m->out, iov[i].iov_base, iov[i].iov_len);
	if (m->fail_after && m->out.len > m->fail_after)
		return err_set(e, ENOSPC, "no room");
	return 0;
}

static uint64_t sink_next_data(void *opaque, const struct snapshot_ram *ram, uint64_t offset,
			       uint64_t *end)
{
	struct machine *m = opaque;

	*end = ram->size;
	if (strcmp(ram->name, "ram0"))
		return offset;
	if (offset >= m->untouched_from)
		return ram->size;
	*end = m->untouched_from;
	return offset;
}

static int source_read(void *opaque, void *p, size_t room, size_t *got, struct err *e)
{
	struct machine *m = opaque;

	(void)e;
	*got = MIN(room, m->piece);
	*got = MIN(*got, m->in_left);
	memcpy(p, m->in, *got);
	m->in += *got;
	m->in_left -= *got;
	return 0;
}

static int write_out(struct machine *m, struct stream_progress *p, struct err *e)
{
	struct stream_sink sink = { .writev = sink_writev, .opaque = m };

	if (m->sparse)
		sink.next_data = sink_next_data;
	*p = (struct stream_progress){ 0 };
	return stream_write(&m->s, &sink, p, e);
}

static int read_in(struct machine *m, const void *bytes, size_t n, struct err *e)
{
	struct stream_source source = { .read = source_read, .opaque = m };
	struct stream_progress p = { 0 };

	e->msg[0] = '\0';
	m->in = bytes;
	m->in_left = n;
	return stream_read(&m->s, &source, &p, e);
}

static void assert_same(const struct machine *a, const struct machine *b)
{
	assert_memory_equal(a->ram, b->ram, (size_t)PAGES * PAGE);
	assert_memory_equal(a->small, b->small, (size_t)SMALL_PAGES * PAGE);
	assert_memory_equal(a->s.items[0].state, b->s.items[0].state, sizeof(struct thing));
}

static void memory_and_state_come_back_as_they_were(void **state)
{
	static const size_t pieces[] = { 1 << 20, 4099, 1 };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(pieces); i++) {
		struct machine from, to;
		struct stream_progress p;
		struct err e;

		make(&from);
		make(&to);
		dirty(&from);
		/* What was there before must not shine through. */
		memset(to.ram, 0xaa, (size_t)PAGES * PAGE);
		to.piece = pieces[i];
		assert_int_equal(write_out(&from, &p, &e), 0);
		assert_int_equal(p.bytes, from.out.len);
		assert_int_equal(p.pages_left, 0);
		assert_int_equal(p.pages_normal + p.pages_zero, PAGES + SMALL_PAGES);
		if (read_in(&to, from.out.data, from.out.len, &e))
			fail_msg("%s", e.msg);
		assert_same(&from, &to);
		unmake(&from);
		unmake(&to);
	}
}

/* What comes behind it stays with the source, which may not end at all. */
static void reading_stops_where_the_stream_ends(void **state)
{
	struct machine from, to;
	struct stream_progress p;
	struct err e;
	size_t n;

	(void)state;
	make(&from);
	make(&to);
	dirty(&from);
	assert_int_equal(write_out(&from, &p, &e), 0);
	n = from.out.len;
	buf_put(&from.out, "more", 4);
	to.piece = 1;
	if (read_in(&to, from.out.data, from.out.len, &e))
		fail_msg("%s", e.msg);
	assert_int_equal(to.in_left, from.out.len - n);
	assert_same(&from, &to);
	unmake(&from);
	unmake(&to);
}

static void without_pages_it_is_the_stream_of_device_state(void **state)
{
	struct machine m;
	struct stream_progress p;
	AUTO_BUF whole = { 0 };
	struct err e;

	(void)state;
	make(&m);
	dirty(&m);
	m.s.rams[0].in_place = m.s.rams[1].in_place = true;
	assert_int_equal(write_out(&m, &p, &e), 0);
	assert_int_equal(stream_encode(&m.s, &whole, &e), 0);
	assert_int_equal(whole.len, m.out.len);
	assert_memory_equal(whole.data, m.out.data, whole.len);
	unmake(&m);
}

static void memory_never_touched_is_not_looked_at(void **state)
{
	struct machine from, to;
	struct stream_progress p;
	struct err e;

	(void)state;
	make(&from);
	make(&to);
	dirty(&from);
	from.sparse = true;
	from.untouched_from = (size_t)100 * PAGE;
	assert_int_equal(write_out(&from, &p, &e), 0);
	/* These pages are not zero, but the sink was told that nothing is there. */
	memset(from.ram + from.untouched_from, 0, (size_t)(PAGES - 100) * PAGE);
	assert_int_equal(read_in(&to, from.out.data, from.out.len, &e), 0);
	assert_same(&from, &to);
	unmake(&from);
	unmake(&to);
}

static void a_sink_that_fails_ends_the_writing(void **state)
{
	struct machine m;
	struct stream_progress p;
	struct err e;

	(void)state;
	make(&m);
	dirty(&m);
	m.fail_after = 100000;
	assert_int_equal(write_out(&m, &p, &e), -ENOSPC);
	assert_string_equal(e.msg, "no room");
	assert_true(p.pages_left > 0);
	unmake(&m);
}

static void a_block_in_place_is_left_alone(void **state)
{
	struct machine from, to;
	struct stream_progress p;
	struct err e;

	(void)state;
	make(&from);
	make(&to);
	dirty(&from);
	from.s.ignore_shared = to.s.ignore_shared = true;
	from.s.rams[0].in_place = to.s.rams[0].in_place = true;
	assert_int_equal(write_out(&from, &p, &e), 0);
	assert_true(from.out.len < 3 * (size_t)PAGE);
	memset(to.ram, 0x77, (size_t)PAGES * PAGE);
	assert_int_equal(read_in(&to, from.out.data, from.out.len, &e), 0);
	for (size_t i = 0; i < (size_t)PAGES * PAGE; i += PAGE)
		assert_int_equal(to.ram[i], 0x77);
	assert_memory_equal(from.small, to.small, (size_t)SMALL_PAGES * PAGE);
	unmake(&from);
	unmake(&to);
}

/* Both sides must agree on what is in place; each disagreement has its text. */
static void disagreement_about_what_is_in_place_is_refused(void **state)
{
	static const struct {
		bool from_cap, to_cap, from_in_place, to_in_place, other_gpa;
		const char *text;
	} bad[] = {
		{ true, false, false, false, false,
		  "Capability x-ignore-shared is off, but received capability is on" },
		{ false, true, false, false, false,
		  "Capability x-ignore-shared is on, but received capability is off" },
		{ true, true, false, true, false, "block ram0 should not be migrated !" },
		{ true, true, true, false, false,
		  "the state has 0 of the 700 pages of RAM block 'ram0', whose contents are not "
		  "in place here" },
		{ true, true, true, true, true, "Mismatched GPAs for block ram0" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct machine from, to;
		struct stream_progress p;
		struct err e;

		make(&from);
		make(&to);
		dirty(&from);
		from.s.ignore_shared = bad[i].from_cap;
		to.s.ignore_shared = bad[i].to_cap;
		from.s.rams[0].in_place = bad[i].from_in_place;
		to.s.rams[0].in_place = bad[i].to_in_place;
		if (bad[i].other_gpa)
			to.s.rams[0].gpa = 0x100000;
		assert_int_equal(write_out(&from, &p, &e), 0);
		assert_int_equal(read_in(&to, from.out.data, from.out.len, &e), -EINVAL);
		assert_string_equal(e.msg, bad[i].text);
		unmake(&from);
		unmake(&to);
	}
}

static void capabilities_are_adopted_where_asked(void **state)
{
	struct machine from, to;
	struct stream_progress p;
	struct err e;

	(void)state;
	make(&from);
	make(&to);
	dirty(&from);
	from.s.ignore_shared = true;
	to.s.adopt_capabilities = true;
	assert_int_equal(write_out(&from, &p, &e), 0);
	assert_int_equal(read_in(&to, from.out.data, from.out.len, &e), 0);
	assert_true(to.s.ignore_shared);
	assert_same(&from, &to);
	unmake(&from);
	unmake(&to);
}

static void every_truncation_is_refused(void **state)
{
	struct machine from, to;
	struct stream_progress p;
	struct err e;
	size_t n;

	(void)state;
	make(&from);
	make(&to);
	dirty(&from);
	assert_int_equal(write_out(&from, &p, &e), 0);
	/* Each point of the head and the tail, some among the pages. */
	for (n = 0; n < from.out.len; n += n < 9000 || n + 2000 > from.out.len ? 1 : 4093) {
		assert_true(read_in(&to, from.out.data, n, &e) < 0);
		assert_true(e.msg[0] != '\0');
	}
	assert_int_equal(read_in(&to, from.out.data, from.out.len, &e), 0);
	assert_same(&from, &to);
	unmake(&from);
	unmake(&to);
}

static void flipped_bits_are_refused(void **state)
{
	struct machine from, to;
	struct stream_progress p;
	struct err e;
	unsigned int seed = 4711;

	(void)state;
	make(&from);
	make(&to);
	dirty(&from);
	assert_int_equal(write_out(&from, &p, &e), 0);
	for (int i = 0; i < 1000; i++) {
		size_t at = ((size_t)rand_r(&seed) << 8 ^ (size_t)rand_r(&seed)) % from.out.len;
		uint8_t bit = (uint8_t)(1 << rand_r(&seed) % 8);

		from.out.data[at] ^= bit;
		if (!read_in(&to, from.out.data, from.out.len, &e))
			fail_msg("bit %#x of byte %zu does not matter", bit, at);
		from.out.data[at] ^= bit;
	}
	assert_int_equal(read_in(&to, from.out.data, from.out.len, &e), 0);
	assert_same(&from, &to);
	unmake(&from);
	unmake(&to);
}

/* However few bytes come at a time, each is looked at once: else this would take hours. */
static void a_state_that_trickles_in_is_read_in_time(void **state)
{
	static const uint8_t zeros[1 << 20];
	struct machine from, to;
	struct stream_progress p;
	struct err e;
	char *at;

	(void)state;
	make(&from);
	make(&to);
	from.s.ignore_shared = to.s.ignore_shared = true;
	from.s.rams[0].in_place = to.s.rams[0].in_place = true;
	from.s.rams[1].in_place = to.s.rams[1].in_place = true;
	assert_int_equal(write_out(&from, &p, &e), 0);
	alarm(120);
	to.piece = 1;
	assert_int_equal(read_in(&to, from.out.data, from.out.len, &e), 0);
	/* Now it never looks whole, and goes on. */
	at = memmem(from.out.data, from.out.len, STREAM_CHECKSUM_IDSTR, 8);
	assert_non_null(at);
	at[0] ^= 1;
	buf_put(&from.out, zeros, sizeof(zeros));
	assert_int_equal(read_in(&to, from.out.data, from.out.len, &e), -ENODATA);
	alarm(0);
	unmake(&from);
	unmake(&to);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(memory_and_state_come_back_as_they_were),
		cmocka_unit_test(reading_stops_where_the_stream_ends),
		cmocka_unit_test(without_pages_it_is_the_stream_of_device_state),
		cmocka_unit_test(memory_never_touched_is_not_looked_at),
		cmocka_unit_test(a_sink_that_fails_ends_the_writing),
		cmocka_unit_test(a_block_in_place_is_left_alone),
		cmocka_unit_test(disagreement_about_what_is_in_place_is_refused),
		cmocka_unit_test(capabilities_are_adopted_where_asked),
		cmocka_unit_test(every_truncation_is_refused),
		cmocka_unit_test(flipped_bits_are_refused),
		cmocka_unit_test(a_state_that_trickles_in_is_read_in_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
