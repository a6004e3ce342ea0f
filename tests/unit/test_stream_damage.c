/* SPDX-License-Identifier: MIT */
/* A whole machine's state, damaged in thousands of ways: refused in words, or taken as it is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "all_states.h"
#include "base/util.h"
#include "seal.h"
#include "state/stream.h"

enum {
	FLIPS = 1000,
	MUTANTS = 6000,
};

/* The file that is damaged; as large as a small machine's. */
static void whole_state(struct buf *b)
{
	struct snapshot s;
	struct err e;

	fill_all_states(&s, 1);
	if (stream_encode(&s, b, &e))
		fail_msg("%s", e.msg);
	snapshot_fini(&s);
}

/* From a copy of exactly that size, so that a sanitizer sees a byte read behind it. */
static int decode(const uint8_t *p, size_t n, struct snapshot *s, struct err *e)
{
	uint8_t *exact = malloc(n ? n : 1);
	int r;

	memcpy(exact, p, n);
	e->msg[0] = '\0';
	list_all_states(s);
	r = stream_decode(exact, n, s, e);
	free(exact);
	return r;
}

static void assert_refused(const uint8_t *p, size_t n, const char *what, size_t where)
{
	struct snapshot s;
	struct err e;
	int r = decode(p, n, &s, &e);

	if (!r)
		fail_msg("accepted with %s at %zu", what, where);
	assert_int_equal(r, -e.code);
	/* A sentence, not a number. */
	if (!strchr(e.msg, ' '))
		fail_msg("%s at %zu: '%s'", what, where, e.msg);
	snapshot_fini(&s);
}

static void a_whole_state_comes_back(void **state)
{
	struct snapshot s, want;
	AUTO_BUF b = { 0 };
	struct err e;

	(void)state;
	whole_state(&b);
	assert_true(b.len > 5000);
	if (decode(b.data, b.len, &s, &e))
		fail_msg("%s", e.msg);
	fill_all_states(&want, 1);
	for (size_t i = 0; i < s.nr_items; i++)
		assert_memory_equal(s.items[i].state, want.items[i].state,
				    want.items[i].desc->size);
	snapshot_fini(&s);
	snapshot_fini(&want);
}

static void a_state_cut_short_anywhere_is_refused(void **state)
{
	AUTO_BUF b = { 0 };

	(void)state;
	whole_state(&b);
	for (size_t n = 0; n < b.len; n++)
		assert_refused(b.data, n, "the end", n);
}

static void a_thousand_flipped_bits_are_refused(void **state)
{
	AUTO_BUF b = { 0 };
	uint64_t seed = 2;

	(void)state;
	whole_state(&b);
	for (unsigned int i = 0; i < FLIPS; i++) {
		size_t bit = chance(&seed) % (b.len * 8);

		b.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_refused(b.data, b.len, "a flipped bit", bit);
		b.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
}

/* One damage of the kinds that find parsers out: odd numbers, shifts, repeats, holes. */
static void mutate(struct buf *b, uint64_t *seed)
{
	static const uint8_t odd[] = { 0, 1, 4, 5, 0x7e, 0x7f, 0x80, 0xff };
	size_t at = chance(seed) % b->len, n = 1 + chance(seed) % MIN((size_t)40, b->len - at);
	size_t from = chance(seed) % (b->len - n + 1);
	AUTO_BUF rest = { 0 };

	switch (chance(seed) % 6) {
	case 0:
		b->data[at] ^= (uint8_t)(1 << chance(seed) % 8);
		break;
	case 1:
		b->data[at] = odd[chance(seed) % sizeof(odd)];
		break;
	case 2:
		memset(b->data + at, odd[chance(seed) % sizeof(odd)], MIN(n, (size_t)8));
		break;
	case 3:
		memmove(b->data + at, b->data + from, n);
		break;
	case 4:
		memmove(b->data + at, b->data + at + n, b->len - at - n);
		b->len -= n;
		break;
	default:
		buf_put(&rest, b->data + at, b->len - at);
		b->len = at;
		buf_put(b, rest.data, MIN(n, rest.len));
		buf_put(b, rest.data, rest.len);
		break;
	}
}

/* What was accepted is a state like any other: it can be written, and read again. */
static void assert_sane(const struct snapshot *s)
{
	struct snapshot again;
	AUTO_BUF b = { 0 };
	struct err e;

	assert_int_equal(stream_encode(s, &b, &e), 0);
	if (decode(b.data, b.len, &again, &e))
		fail_msg("what was read cannot be read again: %s", e.msg);
	snapshot_fini(&again);
}

/* Behind a checksum that is right, so that it is not what refuses them. */
static void mutants_are_refused_in_words_or_are_states(void **state)
{
	unsigned int accepted = 0, named = 0;
	AUTO_BUF good = { 0 };
	uint64_t seed = 3;

	(void)state;
	whole_state(&good);
	good.len = body_bytes(&good);
	for (unsigned int i = 0; i < MUTANTS; i++) {
		AUTO_BUF body = { 0 };
		AUTO_BUF sealed = { 0 };
		struct snapshot s;
		struct err e;

		buf_put(&body, good.data, good.len);
		for (unsigned int k = chance(&seed) % 3 + 1; k && body.len > 1; k--)
			mutate(&body, &seed);
		seal(&body, &sealed);
		if (!decode(sealed.data, sealed.len, &s, &e)) {
			accepted++;
			assert_sane(&s);
		} else {
			assert_non_null(strchr(e.msg, ' '));
			assert_null(strstr(e.msg, "checksum does not match"));
			named += strchr(e.msg, '\'') != NULL;
		}
		snapshot_fini(&s);
	}
	/* Values that a table cannot judge pass; that all or none do would be a fault here. */
	assert_in_range(accepted, MUTANTS / 100, MUTANTS / 2);
	/* Most say which section or field. */
	assert_true(named > (MUTANTS - accepted) / 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_whole_state_comes_back),
		cmocka_unit_test(a_state_cut_short_anywhere_is_refused),
		cmocka_unit_test(a_thousand_flipped_bits_are_refused),
		cmocka_unit_test(mutants_are_refused_in_words_or_are_states),
	};

	return cmocka_run_group_tests_name("stream_damage", tests, NULL, NULL);
}
