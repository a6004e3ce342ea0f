/* SPDX-License-Identifier: MIT */
/* The main stream: its bytes, its description for QEMU's tools, and all it refuses. */
#include <errno.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/util.h"
#include "seal.h"
#include "state/stream.h"

struct part {
	uint16_t v[2];
};

struct thing {
	uint32_t a;
	bool b;
	uint8_t raw[3];
	struct part parts[2];
	uint64_t late;
};

static const struct vs_field part_fields[] = {
	VS_ARRAY(struct part, v),
	VS_END,
};

static const struct vs_desc part_desc = {
	.name = "thing/part",
	.version = 1,
	.min_version = 1,
	.size = sizeof(struct part),
	.fields = part_fields,
};

static const struct vs_field thing_fields[] = {
	VS_FIELD(struct thing, a),
	VS_FIELD(struct thing, b),
	VS_BUFFER(struct thing, raw),
	VS_STRUCT_ARRAY(struct thing, parts, &part_desc),
	VS_FIELD_SINCE(struct thing, late, 2),
	VS_END,
};

static const struct vs_desc thing_desc = {
	.name = "thing",
	.version = 2,
	.min_version = 1,
	.size = sizeof(struct thing),
	.fields = thing_fields,
};

#define MACHINE "baton-1"
/* The section header and the first field of the first item, and of the second. */
#define THING_0 "\x05thing\0\0\0\0\0\0\0\x02"
#define THING_1 "\x05thing\0\0\0\x01\0\0\0\x02"

static void add(struct snapshot *s, const char *idstr)
{
	struct err e;

	assert_int_equal(snapshot_add(s, idstr, SNAPSHOT_AUTO_INSTANCE, &thing_desc, &e), 0);
}

/* What most tests send: two RAM blocks; thing 0, other 0, thing 1. */
static void list_machine(struct snapshot *s)
{
	struct err e;

	snapshot_init(s, MACHINE);
	assert_int_equal(snapshot_add_ram(s, "ram0", 64 * MIB, &e), 0);
	assert_int_equal(snapshot_add_ram(s, "vga.vram", 64 * MIB, &e), 0);
	add(s, "thing");
	add(s, "other");
	add(s, "thing");
}

static struct thing *item(const struct snapshot *s, size_t i)
{
	return s->items[i].state;
}

static void fill_machine(struct snapshot *s)
{
	list_machine(s);
	*item(s, 0) = (struct thing){ .a = 0x01020304, .b = true, .raw = { 1, 2, 3 }, .late = 9 };
	*item(s, 1) = (struct thing){ .a = 0xffffffff, .parts = { { { 1, 2 } }, { { 3, 4 } } } };
	*item(s, 2) = (struct thing){ .a = 7 };
}

static void encode(const struct snapshot *s, struct buf *b)
{
	struct err e;

	if (stream_encode(s, b, &e))
		fail_msg("%s", e.msg);
}

static void encode_machine(struct buf *b)
{
	struct snapshot s;

	fill_machine(&s);
	encode(&s, b);
	snapshot_fini(&s);
}

/* Decodes into a freshly listed machine; from a copy of exactly that size. */
static int decode(const void *p, size_t n, struct err *e)
{
	uint8_t *exact = malloc(n ? n : 1);
	struct snapshot s;
	int r;

	memcpy(exact, p, n);
	list_machine(&s);
	e->msg[0] = '\0';
	r = stream_decode(exact, n, &s, e);
	snapshot_fini(&s);
	free(exact);
	return r;
}

static void assert_refused(const struct buf *b, const char *text)
{
	struct err e;
	int r = decode(b->data, b->len, &e);

	if (!r)
		fail_msg("accepted; expected: %s", text);
	assert_string_equal(e.msg, text);
	assert_int_equal(r, -e.code);
}

static size_t find(const struct buf *b, const char *bytes, size_t n)
{
	for (size_t i = 0; i + n <= b->len; i++)
		if (!memcmp(b->data + i, bytes, n))
			return i;
	fail_msg("the bytes are not in the stream");
	return 0;
}

#define FIND(b, literal) find((b), (literal), sizeof(literal) - 1)

/* The valid stream with @del bytes at @at replaced by the given ones, sealed again. */
static void splice(size_t at, size_t del, const void *p, size_t n, struct buf *out)
{
	AUTO_BUF whole = { 0 }, body = { 0 };

	encode_machine(&whole);
	whole.len = body_bytes(&whole);
	buf_put(&body, whole.data, at);
	buf_put(&body, p, n);
	buf_put(&body, whole.data + at + del, whole.len - at - del);
	seal(&body, out);
}

static void assert_spliced_refused(size_t at, size_t del, const void *p, size_t n, const char *text)
{
	AUTO_BUF b = { 0 };

	splice(at, del, p, n, &b);
	assert_refused(&b, text);
}

static void a_snapshot_comes_back_as_it_was(void **state)
{
	struct snapshot from, to;
	AUTO_BUF b = { 0 };
	struct err e;

	(void)state;
	fill_machine(&from);
	encode(&from, &b);
	list_machine(&to);
	if (stream_decode(b.data, b.len, &to, &e))
		fail_msg("%s", e.msg);
	for (size_t i = 0; i < from.nr_items; i++) {
		assert_true(to.items[i].loaded);
		assert_memory_equal(item(&to, i), item(&from, i), sizeof(struct thing));
	}
	/* Again into the same snapshot, after a failure as well. */
	b.data[b.len / 2] ^= 1;
	assert_true(stream_decode(b.data, b.len, &to, &e) < 0);
	b.data[b.len / 2] ^= 1;
	assert_int_equal(stream_decode(b.data, b.len, &to, &e), 0);
	snapshot_fini(&from);
	snapshot_fini(&to);
}

static void order_of_sections_is_the_senders(void **state)
{
	struct snapshot from, to;
	AUTO_BUF b = { 0 };
	struct err e;

	(void)state;
	fill_machine(&from);
	encode(&from, &b);
	snapshot_init(&to, MACHINE);
	assert_int_equal(snapshot_add_ram(&to, "vga.vram", 64 * MIB, &e), 0);
	assert_int_equal(snapshot_add_ram(&to, "ram0", 64 * MIB, &e), 0);
	add(&to, "other");
	add(&to, "thing");
	add(&to, "thing");
	assert_int_equal(stream_decode(b.data, b.len, &to, &e), 0);
	assert_int_equal(item(&to, 0)->a, 0xffffffff);
	assert_int_equal(item(&to, 1)->a, 0x01020304);
	assert_int_equal(item(&to, 2)->a, 7);
	snapshot_fini(&from);
	snapshot_fini(&to);
}

static void the_bytes_are_those_of_qemus_format(void **state)
{
	static const char head[] = "QEVM\0\0\0\x03"
				   "\x07\0\0\0\x07"
				   "baton-1"
				   "\x01\0\0\0\0\x03ram\0\0\0\0\0\0\0\x04"
				   "\0\0\0\0\x08\0\0\x04"
				   "\x04ram0\0\0\0\0\x04\0\0\0"
				   "\x08vga.vram\0\0\0\0\x04\0\0\0"
				   "\0\0\0\0\0\0\0\x10"
				   "\x7e\0\0\0\0"
				   "\x08\0\x0b\0\0"
				   "\x03\0\0\0\0\0\0\0\0\0\0\0\x10\x7e\0\0\0\0"
				   "\x04\0\0\0\x01\x05thing\0\0\0\0\0\0\0\x02"
				   "\x01\x02\x03\x04\x01\x01\x02\x03\0\0\0\0\0\0\0\0"
				   "\x05\x08thing/v2\0\0\0\x02\0\0\0\0\0\0\0\x09"
				   "\x7e\0\0\0\x01"
				   "\x04\0\0\0\x02\x05other\0\0\0\0\0\0\0\x02"
				   "\xff\xff\xff\xff\0\0\0\0\0\x01\0\x02\0\x03\0\x04"
				   "\x7e\0\0\0\x02"
				   "\x04\0\0\0\x03\x05thing\0\0\0\x01\0\0\0\x02"
				   "\0\0\0\x07\0\0\0\0\0\0\0\0\0\0\0\0"
				   "\x7e\0\0\0\x03"
				   "\x04\0\0\0\x04\x0e"
				   "baton-checksum\0\0\0\0\0\0\0\x01";
	AUTO_BUF b = { 0 };
	struct cursor c;
	size_t end, n;

	(void)state;
	encode_machine(&b);
	assert_true(b.len > sizeof(head));
	assert_memory_equal(b.data, head, sizeof(head) - 1);
	cursor_init(&c, b.data + sizeof(head) - 1, b.len - (sizeof(head) - 1));
	end = body_bytes(&b);
	assert_true(cursor_be64(&c) == end);
	assert_true(cursor_be64(&c) == stream_hash(b.data, end));
	cursor_be64(&c);
	assert_int_equal(cursor_u8(&c), 0x7e);
	assert_int_equal(cursor_be32(&c), 4);
	assert_int_equal(cursor_u8(&c), 0);
	assert_int_equal(cursor_u8(&c), 6);
	n = cursor_be32(&c);
	assert_int_equal(n, cursor_left(&c));
}

static void encoding_appends_to_what_is_there(void **state)
{
	AUTO_BUF plain = { 0 }, after = { 0 };

	(void)state;
	encode_machine(&plain);
	buf_put_str(&after, "before");
	encode_machine(&after);
	assert_int_equal(after.len, plain.len + 6);
	assert_memory_equal(after.data + 6, plain.data, plain.len);
}

static void a_bare_state_lacks_the_description_only(void **state)
{
	AUTO_BUF full = { 0 };
	AUTO_BUF bare = { 0 };
	struct snapshot from, to;
	struct err e;

	(void)state;
	fill_machine(&from);
	encode(&from, &full);
	assert_int_equal(stream_encode_bare(&from, &bare, &e), 0);
	assert_true(bare.len < full.len / 2);
	/* Up to the checksum over the description, which is another one. */
	assert_memory_equal(bare.data, full.data, bare.len - 5 - 5 - 1 - 8);
	assert_memory_equal(bare.data + bare.len - 5, "\x06\0\0\0\0", 5);
	list_machine(&to);
	assert_int_equal(stream_decode(bare.data, bare.len, &to, &e), 0);
	for (size_t i = 0; i < 3; i++)
		assert_memory_equal(item(&to, i), item(&from, i), sizeof(struct thing));
	snapshot_fini(&from);
	snapshot_fini(&to);
	for (size_t n = 0; n < bare.len; n++)
		assert_true(decode(bare.data, n, &e) < 0);
	for (size_t bit = 0; bit < bare.len * 8; bit++) {
		bare.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_true(decode(bare.data, bare.len, &e) < 0);
		bare.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
}

static void truncated_state_is_refused_whole(void **state)
{
	AUTO_BUF b = { 0 };
	struct err e;

	(void)state;
	encode_machine(&b);
	assert_int_equal(decode(b.data, b.len, &e), 0);
	for (size_t n = 0; n < b.len; n++) {
		if (decode(b.data, n, &e) >= 0)
			fail_msg("a prefix of %zu of %zu bytes was accepted", n, b.len);
		assert_true(e.msg[0]);
	}
	buf_put_u8(&b, 0);
	assert_true(decode(b.data, b.len, &e) < 0);
}

static void every_flipped_bit_is_refused(void **state)
{
	AUTO_BUF b = { 0 };
	struct snapshot s;
	struct err e;

	(void)state;
	encode_machine(&b);
	list_machine(&s);
	for (size_t bit = 0; bit < b.len * 8; bit++) {
		b.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
		if (stream_decode(b.data, b.len, &s, &e) >= 0)
			fail_msg("bit %zu of byte %zu of %zu was not missed", bit % 8, bit / 8,
				 b.len);
		b.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	assert_true(b.len * 8 > 2000);
	assert_int_equal(stream_decode(b.data, b.len, &s, &e), 0);
	snapshot_fini(&s);
}

static void damage_is_called_damage(void **state)
{
	AUTO_BUF b = { 0 };

	(void)state;
	encode_machine(&b);
	b.data[FIND(&b, THING_1) + 15] ^= 1;
	assert_refused(&b, "the state is damaged: its checksum does not match");
	b.len = 0;
	encode_machine(&b);
	b.data[b.len - 3] ^= 1;
	assert_refused(&b, "the state is damaged: the checksum of its description does not match");
}

static void a_wrong_header_is_refused_with_the_known_text(void **state)
{
	AUTO_BUF b = { 0 };

	(void)state;
	encode_machine(&b);
	memcpy(b.data, "XXXX", 4);
	assert_refused(&b, "Not a migration stream, magic: 58585858 != 5145564d");
	memcpy(b.data, "QEVM\0\0\0\x02", 8);
	assert_refused(&b, "SaveVM v2 format is obsolete and no longer supported");
	b.data[7] = 4;
	assert_refused(&b, "Unsupported migration stream version 4");
	b.data[7] = 3;
	b.data[8] = 4;
	assert_refused(&b, "Configuration section missing");
	b.len = 3;
	assert_refused(&b, "Not a migration stream: it ends in its header");
}

static void a_state_larger_than_any_is_not_even_read(void **state)
{
	struct snapshot s;
	struct err e;

	(void)state;
	list_machine(&s);
	assert_int_equal(stream_decode("", STREAM_MAX_BYTES + 1, &s, &e), -EFBIG);
	snapshot_fini(&s);
}

static void another_machine_type_is_refused(void **state)
{
	static const char *const names[] = { "baton-2", "baton-1x", "baton-", "" };
	struct snapshot s;
	char want[128];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		AUTO_BUF b = { 0 };

		snapshot_init(&s, names[i]);
		encode(&s, &b);
		snprintf(want, sizeof(want),
			 "Machine type received is '%s' and local is '" MACHINE "'", names[i]);
		assert_refused(&b, want);
		snapshot_fini(&s);
	}
}

static void sections_must_be_those_of_this_machine(void **state)
{
	AUTO_BUF more = { 0 }, fewer = { 0 };
	struct snapshot s;

	(void)state;
	fill_machine(&s);
	add(&s, "thing");
	encode(&s, &more);
	assert_refused(&more,
		       "Unknown section or instance 'thing' 2. Make sure that your current VM "
		       "setup matches your saved VM setup");
	free(s.items[--s.nr_items].state);
	free(s.items[--s.nr_items].state);
	encode(&s, &fewer);
	assert_refused(&fewer, "the state has no section 'thing' 1, which this machine needs");
	snapshot_fini(&s);
}

static void an_optional_section_is_sent_when_it_says_something(void **state)
{
	struct snapshot s;
	AUTO_BUF without = { 0 };
	AUTO_BUF with = { 0 };
	struct err e;

	(void)state;
	list_machine(&s);
	s.items[1].optional = true;
	*item(&s, 0) = (struct thing){ .a = 5 };
	assert_true(snapshot_item_is_left_out(&s.items[1]));
	assert_false(snapshot_item_is_left_out(&s.items[0]));
	assert_false(snapshot_item_is_left_out(&s.items[2]));
	encode(&s, &without);
	item(&s, 1)->late = 1;
	assert_false(snapshot_item_is_left_out(&s.items[1]));
	encode(&s, &with);
	assert_true(with.len > without.len);
	/* Missing, it has the reset values, whatever was there. */
	*item(&s, 0) = (struct thing){ .a = 0 };
	assert_int_equal(stream_decode(without.data, without.len, &s, &e), 0);
	assert_int_equal(item(&s, 1)->late, 0);
	assert_int_equal(item(&s, 0)->a, 5);
	assert_int_equal(stream_decode(with.data, with.len, &s, &e), 0);
	assert_int_equal(item(&s, 1)->late, 1);
	assert_refused(&without, "the state has no section 'other' 0, which this machine needs");
	snapshot_fini(&s);
}

static void a_section_that_comes_twice_is_refused(void **state)
{
	AUTO_BUF b = { 0 }, out = { 0 };
	size_t at;

	(void)state;
	encode_machine(&b);
	/* The last section, from its type byte to its footer. */
	at = FIND(&b, THING_1) - 5;
	splice(at, 0, b.data + at, 5 + 14 + 16 + 5, &out);
	assert_refused(&out, "section 'thing' 1 comes twice");
}

static void other_ram_is_refused(void **state)
{
	static const struct {
		const char *names[3];
		uint64_t mib[3];
		const char *text;
	} bad[] = {
		{ { "ram0", "vga.vram" },
		  { 64, 32 },
		  "Size mismatch: RAM block 'vga.vram' has 33554432 bytes in the state and "
		  "67108864 "
		  "here" },
		{ { "ram0", "pc.rom" },
		  { 64, 64 },
		  "Unknown ramblock \"pc.rom\", cannot accept migration" },
		{ { "ram0" }, { 64 }, "the state lists 1 RAM blocks, this machine has 2" },
		{ { NULL }, { 0 }, "the state lists 0 RAM blocks, this machine has 2" },
		{ { "ram0", "vga.vram", "new" },
		  { 64, 64, 1 },
		  "Unknown ramblock \"new\", cannot accept migration" },
		{ { "ram0", "ram0" }, { 64, 64 }, "RAM block 'ram0' is listed twice" },
		{ { "ram0", "vga.vram", "ram0" },
		  { 64, 64, 64 },
		  "RAM block 'ram0' is listed twice" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		AUTO_BUF b = { 0 };
		struct snapshot s;
		struct err e;

		fill_machine(&s);
		s.nr_rams = 0;
		for (size_t k = 0; k < 3 && bad[i].names[k]; k++)
			assert_int_equal(
				snapshot_add_ram(&s, bad[i].names[k], bad[i].mib[k] * MIB, &e), 0);
		encode(&s, &b);
		assert_refused(&b, bad[i].text);
		snapshot_fini(&s);
	}
}

/* The whole ram section, as it stands in the valid stream. */
static size_t ram_section(const struct buf *b, size_t *n)
{
	size_t at = FIND(b, "\x01\0\0\0\0\x03ram");

	*n = FIND(b, "\x08\0\x0b\0\0") - at;
	return at;
}

static void a_damaged_ram_section_behind_the_checksum_is_refused(void **state)
{
	AUTO_BUF whole = { 0 };
	size_t at, n;

	(void)state;
	encode_machine(&whole);
	at = ram_section(&whole, &n);
	assert_spliced_refused(at, n, NULL, 0, "the state does not list the RAM blocks");
	assert_spliced_refused(at, 0, whole.data + at, n, "the RAM blocks are listed twice");
	assert_spliced_refused(at + 17 + 7, 1, "\0", 1,
			       "the ram section does not start with the sizes");
	assert_spliced_refused(at + 16, 1, "\x05", 1, "unsupported version 5 for 'ram' v4");
	assert_spliced_refused(at + n - 6, 1, "\x08", 1,
			       "the list of RAM blocks does not end with them");
	assert_spliced_refused(at + 6, 1, "R", 1, "section 'Ram' cannot come in parts");
	/* A total that the listed blocks do not reach. */
	assert_spliced_refused(at + 17, 8, "\xff\xff\xff\xff\xff\xff\xf0\x04", 8,
			       "Unknown ramblock \"\", cannot accept migration");
}

static void damaged_framing_behind_the_checksum_is_refused(void **state)
{
	AUTO_BUF whole = { 0 };
	size_t thing, command;

	(void)state;
	encode_machine(&whole);
	thing = FIND(&whole, THING_1) - 5;
	command = FIND(&whole, "\x08\0\x0b\0\0");
	assert_spliced_refused(thing + 5 + 14 + 16, 5, NULL, 0, "Missing section footer for thing");
	assert_spliced_refused(thing + 5 + 14 + 16 + 4, 1, "\x09", 1,
			       "Missing section footer for thing");
	assert_spliced_refused(thing, 1, "\x0a", 1, "Unknown savevm section type 10");
	assert_spliced_refused(thing, 0, "\0", 1, "Unknown savevm section type 0");
	assert_spliced_refused(command + 2, 1, "\x0c", 1, "the state holds an unknown command");
	assert_spliced_refused(command + 4, 1, "\x01", 1, "the state holds an unknown command");
	assert_spliced_refused(command + 5 + 4, 1, "\x01", 1,
			       "end of a section 1 that was not started");
	/* A NUL inside a section's name. */
	assert_spliced_refused(thing + 7, 1, "\0", 1, "section 3 has no proper name");
}

static void a_bad_field_is_refused_with_its_section(void **state)
{
	AUTO_BUF whole = { 0 };
	size_t thing;

	(void)state;
	encode_machine(&whole);
	thing = FIND(&whole, THING_1) - 5;
	assert_spliced_refused(thing + 5 + 14 + 4, 1, "\x02", 1,
			       "section 'thing' 1: field 'b' of 'thing' is neither 0 nor 1");
	assert_spliced_refused(thing + 5 + 13, 1, "\x03", 1,
			       "section 'thing' 1: unsupported version 3 for 'thing' v2");
	assert_spliced_refused(thing + 5 + 14 + 16, 0, "\x05\x08thing/v3\0\0\0\x03", 14,
			       "section 'thing' 1: subsection 'thing/v3' is unknown here; the "
			       "state is from a newer release");
}

/* A checksum section inside must not end the reading before the real one. */
static void an_early_checksum_section_is_refused(void **state)
{
	AUTO_BUF whole = { 0 }, b = { 0 };
	size_t end;

	(void)state;
	encode_machine(&whole);
	end = body_bytes(&whole);
	splice(end, 0, whole.data + end, checksum_section_bytes(), &b);
	assert_refused(&b, "the state goes on after its checksum");
}

/* Every single bit once more, but with a right checksum: nothing may crash or overrun. */
static void no_flipped_bit_behind_the_checksum_does_harm(void **state)
{
	AUTO_BUF body = { 0 }, sealed = { 0 };
	struct snapshot s;
	struct err e;

	(void)state;
	encode_machine(&body);
	body.len = body_bytes(&body);
	list_machine(&s);
	for (size_t bit = 0; bit < body.len * 8; bit++) {
		uint8_t *exact;

		body.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
		sealed.len = 0;
		seal(&body, &sealed);
		exact = malloc(sealed.len);
		memcpy(exact, sealed.data, sealed.len);
		e.msg[0] = '\0';
		if (stream_decode(exact, sealed.len, &s, &e) < 0)
			assert_true(e.msg[0]);
		free(exact);
		body.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	snapshot_fini(&s);
}

static void names_of_items_are_unique_and_numbered(void **state)
{
	struct snapshot s;
	struct err e;

	(void)state;
	list_machine(&s);
	assert_int_equal(s.items[0].instance_id, 0);
	assert_int_equal(s.items[1].instance_id, 0);
	assert_int_equal(s.items[2].instance_id, 1);
	assert_int_equal(snapshot_add(&s, "thing", 1, &thing_desc, &e), -EEXIST);
	assert_int_equal(snapshot_add(&s, "thing", SNAPSHOT_AUTO_INSTANCE - 1, &thing_desc, &e), 0);
	/* The reserved value is not handed out: the lowest free one is. */
	assert_int_equal(snapshot_add(&s, "thing", SNAPSHOT_AUTO_INSTANCE, &thing_desc, &e), 0);
	assert_int_equal(s.items[s.nr_items - 1].instance_id, 2);
	assert_int_equal(snapshot_add(&s, "thing", SNAPSHOT_AUTO_INSTANCE, &thing_desc, &e), 0);
	assert_int_equal(s.items[s.nr_items - 1].instance_id, 3);
	assert_ptr_equal(snapshot_find(&s, "thing", 1), &s.items[2]);
	assert_null(snapshot_find(&s, "thing", 4));
	assert_null(snapshot_find(&s, "thing", SNAPSHOT_AUTO_INSTANCE));
	assert_null(snapshot_find(&s, "nothing", 0));
	snapshot_fini(&s);
}

/* How QEMU's public reader of streams finds the description. */
static json_t *find_description(const struct buf *b)
{
	size_t at = b->len;
	json_error_t why;
	struct cursor c;
	json_t *v;

	while (at && b->data[at - 1])
		at--;
	while (at < b->len && b->data[at] != '{')
		at++;
	assert_true(at >= 5 && at < b->len);
	cursor_init(&c, b->data + at - 5, 5);
	assert_int_equal(cursor_u8(&c), 6);
	assert_int_equal(cursor_be32(&c), b->len - at);
	v = json_loadb((const char *)b->data + at, b->len - at, JSON_REJECT_DUPLICATES, &why);
	if (!v)
		fail_msg("%s", why.text);
	return v;
}

static json_int_t num(const json_t *v, const char *key)
{
	const json_t *n = json_object_get(v, key);

	if (!json_is_integer(n))
		fail_msg("no number '%s'", key);
	return json_integer_value(n);
}

static const char *str(const json_t *v, const char *key)
{
	const json_t *s = json_object_get(v, key);

	if (!json_is_string(s))
		fail_msg("no text '%s'", key);
	return json_string_value(s);
}

static size_t sum_fields(const json_t *owner)
{
	const json_t *fields = json_object_get(owner, "fields"), *f;
	size_t sum = 0, i;

	assert_true(json_is_array(fields));
	json_array_foreach(fields, i, f)
	{
		size_t n = json_object_get(f, "array_len") ? (size_t)num(f, "array_len") : 1;
		const json_t *sub = json_object_get(f, "struct");

		str(f, "name");
		str(f, "type");
		assert_true((strcmp(str(f, "type"), "struct") == 0) == (sub != NULL));
		if (sub)
			assert_int_equal(sum_fields(sub), num(f, "size"));
		sum += n * (size_t)num(f, "size");
	}
	return sum;
}

static size_t sum_device(const json_t *device)
{
	const json_t *subs = json_object_get(device, "subsections"), *sub;
	size_t sum = sum_fields(device), i;

	json_array_foreach(subs, i, sub) sum +=
		1 + 1 + strlen(str(sub, "vmsd_name")) + 4 + sum_fields(sub);
	return sum;
}

/* Walks the full sections of @b: each must be as long as its description says. */
static void check_section_lengths(const struct buf *b, const json_t *devices)
{
	struct cursor c;
	size_t i;
	json_t *d;

	cursor_init(&c, b->data, b->len);
	cursor_take(&c, FIND(b, "\x04\0\0\0\x01\x05thing"));
	json_array_foreach(devices, i, d)
	{
		char name[256] = { 0 };
		uint32_t id;

		assert_int_equal(cursor_u8(&c), 4);
		id = cursor_be32(&c);
		cursor_get(&c, name, cursor_u8(&c));
		assert_string_equal(name, str(d, "name"));
		assert_int_equal(cursor_be32(&c), num(d, "instance_id"));
		assert_int_equal(cursor_be32(&c), num(d, "version"));
		cursor_take(&c, sum_device(d));
		assert_int_equal(cursor_u8(&c), 0x7e);
		assert_int_equal(cursor_be32(&c), id);
	}
	assert_int_equal(cursor_u8(&c), 0);
	assert_int_equal(cursor_u8(&c), 6);
	assert_false(c.failed);
}

static void qemus_reader_can_follow_the_description(void **state)
{
	json_t *v, *devices, *conf;
	AUTO_BUF b = { 0 };

	(void)state;
	encode_machine(&b);
	v = find_description(&b);
	assert_int_equal(num(v, "page_size"), 4096);
	conf = json_object_get(v, "configuration");
	assert_string_equal(str(conf, "vmsd_name"), "configuration");
	assert_int_equal(num(conf, "version"), 1);
	assert_int_equal(sum_fields(conf), 4 + strlen(MACHINE));
	devices = json_object_get(v, "devices");
	assert_int_equal(json_array_size(devices), 4);
	check_section_lengths(&b, devices);
	json_decref(v);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_snapshot_comes_back_as_it_was),
		cmocka_unit_test(order_of_sections_is_the_senders),
		cmocka_unit_test(the_bytes_are_those_of_qemus_format),
		cmocka_unit_test(encoding_appends_to_what_is_there),
		cmocka_unit_test(a_bare_state_lacks_the_description_only),
		cmocka_unit_test(truncated_state_is_refused_whole),
		cmocka_unit_test(every_flipped_bit_is_refused),
		cmocka_unit_test(damage_is_called_damage),
		cmocka_unit_test(a_wrong_header_is_refused_with_the_known_text),
		cmocka_unit_test(a_state_larger_than_any_is_not_even_read),
		cmocka_unit_test(another_machine_type_is_refused),
		cmocka_unit_test(sections_must_be_those_of_this_machine),
		cmocka_unit_test(an_optional_section_is_sent_when_it_says_something),
		cmocka_unit_test(a_section_that_comes_twice_is_refused),
		cmocka_unit_test(other_ram_is_refused),
		cmocka_unit_test(a_damaged_ram_section_behind_the_checksum_is_refused),
		cmocka_unit_test(damaged_framing_behind_the_checksum_is_refused),
		cmocka_unit_test(a_bad_field_is_refused_with_its_section),
		cmocka_unit_test(an_early_checksum_section_is_refused),
		cmocka_unit_test(no_flipped_bit_behind_the_checksum_does_harm),
		cmocka_unit_test(names_of_items_are_unique_and_numbered),
		cmocka_unit_test(qemus_reader_can_follow_the_description),
	};

	return cmocka_run_group_tests_name("stream", tests, NULL, NULL);
}
