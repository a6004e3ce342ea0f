/* SPDX-License-Identifier: MIT */
/* State tables: the bytes they make, what they refuse, and their description. */
#include <errno.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/util.h"
#include "vmstate_fixture.h"

enum {
	/* Where fields are in sample_bytes. */
	AT_FLAG = 30,
	AT_RANGED = 31,
	AT_NR_VAR = 52,
	AT_NR_ELEMS = 59,
	AT_SUBSECTION = 67,
};

static int decode(const struct vs_desc *d, uint32_t version, const void *p, size_t n, void *s,
		  struct err *e)
{
	struct cursor c;
	int r;

	cursor_init(&c, p, n);
	r = vs_decode(d, version, &c, s, e);
	if (!r && cursor_left(&c))
		fail_msg("%zu bytes were left over", cursor_left(&c));
	return r;
}

static void every_kind_of_field_has_its_big_endian_bytes(void **state)
{
	AUTO_BUF b = { 0 };
	struct err e;

	(void)state;
	assert_int_equal(vs_audit(&all_desc, &e), 0);
	vs_encode(&all_desc, &sample, &b, NULL);
	assert_int_equal(b.len, sizeof(sample_bytes));
	assert_memory_equal(b.data, sample_bytes, sizeof(sample_bytes));
}

static void every_kind_of_field_comes_back_as_it_was(void **state)
{
	struct all got;
	struct err e;

	(void)state;
	memset(&got, 0xa5, sizeof(got));
	if (decode(&all_desc, 2, sample_bytes, sizeof(sample_bytes), &got, &e))
		fail_msg("%s", e.msg);
	assert_memory_equal(&got, &sample, sizeof(got));
}

static void every_prefix_of_a_state_is_refused(void **state)
{
	struct all got;
	struct err e;

	(void)state;
	for (size_t n = 0; n < sizeof(sample_bytes); n++) {
		uint8_t *exact = malloc(n ? n : 1);
		struct cursor c;
		int r;

		memcpy(exact, sample_bytes, n);
		cursor_init(&c, exact, n);
		r = vs_decode(&all_desc, 2, &c, &got, &e);
		/* Without a whole subsection header the rest is someone else's. */
		if (n >= AT_SUBSECTION && n < AT_SUBSECTION + 8)
			assert_true(!r && cursor_pos(&c) == AT_SUBSECTION);
		else
			assert_int_equal(r, -ENODATA);
		free(exact);
	}
	assert_int_equal(decode(&all_desc, 2, sample_bytes, 20, &got, &e), -ENODATA);
	assert_string_equal(e.msg, "the state ends in field 'i32' of 'all'");
}

static void loading_starts_from_the_reset_values(void **state)
{
	static const struct all reset = { .late = 77, .var = { 1, 2, 3, 4 } };
	struct vs_desc d = all_desc;
	struct all got;
	struct err e;

	(void)state;
	d.reset = &reset;
	memset(&got, 0xa5, sizeof(got));
	assert_int_equal(decode(&d, 1, sample_bytes, AT_SUBSECTION, &got, &e), 0);
	assert_int_equal(got.late, 77);
	assert_int_equal(got.var[2], 0x83);
	assert_int_equal(got.var[3], 4);
	assert_int_equal(decode(&all_desc, 1, sample_bytes, AT_SUBSECTION, &got, &e), 0);
	assert_int_equal(got.late, 0);
	assert_int_equal(got.var[3], 0);
}

static int decode_changed(size_t at, uint8_t v, struct err *e)
{
	uint8_t raw[sizeof(sample_bytes)];
	struct all got;

	memcpy(raw, sample_bytes, sizeof(raw));
	raw[at] = v;
	return decode(&all_desc, 2, raw, sizeof(raw), &got, e);
}

static void a_bool_is_0_or_1(void **state)
{
	struct err e;

	(void)state;
	assert_int_equal(decode_changed(AT_FLAG, 0, &e), 0);
	for (unsigned int v = 2; v < 256; v++)
		assert_int_equal(decode_changed(AT_FLAG, (uint8_t)v, &e), -EINVAL);
	assert_string_equal(e.msg, "field 'flag' of 'all' is neither 0 nor 1");
}

static void a_value_out_of_its_range_is_refused_by_name(void **state)
{
	struct err e;

	(void)state;
	for (unsigned int v = 0; v < 256; v++)
		assert_int_equal(decode_changed(AT_RANGED, (uint8_t)v, &e),
				 v >= 3 && v <= 9 ? 0 : -EINVAL);
	assert_string_equal(e.msg, "field 'ranged' of 'all' is out of range: 0xff");
}

struct ranges {
	int64_t i64;
	uint64_t u64;
	int32_t i32;
	int16_t i16;
	uint16_t u16;
};

static const struct vs_field ranges_fields[] = {
	VS_FIELD_RANGE(struct ranges, i64, -5, INT64_MAX),
	VS_FIELD_RANGE(struct ranges, u64, 1, UINT64_MAX - 1),
	VS_FIELD_RANGE(struct ranges, i32, -1000, -10),
	VS_FIELD_RANGE(struct ranges, i16, -1, 1),
	VS_FIELD_RANGE(struct ranges, u16, 0, 0x7fff),
	VS_END,
};

static const struct vs_desc ranges_desc = {
	.name = "ranges",
	.version = 1,
	.min_version = 1,
	.size = sizeof(struct ranges),
	.fields = ranges_fields,
};

static int load_ranges(const struct ranges *s)
{
	AUTO_BUF b = { 0 };
	struct ranges got;
	struct err e;

	vs_encode(&ranges_desc, s, &b, NULL);
	return decode(&ranges_desc, 1, b.data, b.len, &got, &e);
}

static void ranges_know_the_sign(void **state)
{
	const struct ranges good = { -5, 1, -10, 1, 0x7fff };
	struct ranges s = good;

	(void)state;
	assert_int_equal(load_ranges(&s), 0);
	s = (struct ranges){ INT64_MAX, UINT64_MAX - 1, -1000, -1, 0 };
	assert_int_equal(load_ranges(&s), 0);
	s = good, s.i64 = -6;
	assert_int_equal(load_ranges(&s), -EINVAL);
	s = good, s.i64 = INT64_MIN;
	assert_int_equal(load_ranges(&s), -EINVAL);
	s = good, s.u64 = 0;
	assert_int_equal(load_ranges(&s), -EINVAL);
	s = good, s.u64 = UINT64_MAX;
	assert_int_equal(load_ranges(&s), -EINVAL);
	s = good, s.i32 = -9;
	assert_int_equal(load_ranges(&s), -EINVAL);
	s = good, s.i32 = 10;
	assert_int_equal(load_ranges(&s), -EINVAL);
	s = good, s.i16 = 2;
	assert_int_equal(load_ranges(&s), -EINVAL);
	s = good, s.i16 = INT16_MIN;
	assert_int_equal(load_ranges(&s), -EINVAL);
	s = good, s.u16 = 0x8000;
	assert_int_equal(load_ranges(&s), -EINVAL);
}

static void a_count_beyond_its_array_is_refused(void **state)
{
	struct err e;

	(void)state;
	assert_int_equal(decode_changed(AT_NR_VAR + 3, 5, &e), -EINVAL);
	assert_string_equal(e.msg, "'all' has 5 of 'var', at most 4 fit");
	assert_int_equal(decode_changed(AT_NR_VAR, 0xff, &e), -EINVAL);
	assert_int_equal(decode_changed(AT_NR_ELEMS + 3, 4, &e), -EINVAL);
	assert_string_equal(e.msg, "'all' has 4 of 'elems', at most 3 fit");
	assert_int_equal(decode_changed(AT_NR_ELEMS, 0x80, &e), -EINVAL);
}

static void a_count_beyond_its_array_is_not_read_when_saving(void **state)
{
	AUTO_BUF b = { 0 };
	struct all s = sample, got;
	struct err e;

	(void)state;
	/* The bytes stay within the struct; the receiver sees the wrong count. */
	s.nr_var = 1000;
	s.nr_elems = UINT32_MAX;
	vs_encode(&all_desc, &s, &b, NULL);
	assert_int_equal(b.len, sizeof(sample_bytes) + 1 + 2 * sizeof(struct inner));
	assert_int_equal(decode(&all_desc, 2, b.data, b.len, &got, &e), -EINVAL);
}

static void empty_and_full_variable_parts_come_back(void **state)
{
	static const struct {
		uint32_t var, elems;
	} counts[] = { { 0, 0 }, { 4, 3 }, { 0, 3 }, { 4, 0 } };
	struct err e;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(counts); i++) {
		struct all s = sample, got;
		AUTO_BUF b = { 0 };

		s.nr_var = counts[i].var;
		s.nr_elems = counts[i].elems;
		for (unsigned int k = 0; k < 4; k++)
			s.var[k] = k < s.nr_var ? (uint8_t)(k + 1) : 0;
		memset(s.elems, 0, sizeof(s.elems));
		for (unsigned int k = 0; k < s.nr_elems; k++)
			s.elems[k].a = (uint16_t)(k + 1);
		vs_encode(&all_desc, &s, &b, NULL);
		assert_int_equal(decode(&all_desc, 2, b.data, b.len, &got, &e), 0);
		assert_memory_equal(&s, &got, sizeof(s));
	}
}

static void versions_outside_the_known_ones_are_refused(void **state)
{
	struct vs_desc d = all_desc;
	struct all got;
	struct err e;

	(void)state;
	assert_int_equal(decode(&d, 3, sample_bytes, sizeof(sample_bytes), &got, &e), -EINVAL);
	assert_string_equal(e.msg, "unsupported version 3 for 'all' v2");
	d.min_version = 2;
	assert_int_equal(decode(&d, 1, sample_bytes, sizeof(sample_bytes), &got, &e), -EINVAL);
	assert_string_equal(e.msg, "version 1 of 'all' is too old, the oldest known is 2");
}

static void newer_fields_travel_only_if_they_differ_from_reset(void **state)
{
	struct grown s = grown_reset;
	AUTO_BUF b = { 0 };

	(void)state;
	s.base = 0x99;
	vs_encode(&grown_v3, &s, &b, NULL);
	assert_int_equal(b.len, 4);
	assert_memory_equal(b.data, "\0\0\0\x99", 4);

	b.len = 0;
	s.three = 4;
	vs_encode(&grown_v3, &s, &b, NULL);
	assert_int_equal(b.len, 4 + 2 + 8 + 4 + 1);
	assert_memory_equal(b.data + 4, "\x05\x08grown/v3\0\0\0\x03\x04", 15);

	b.len = 0;
	s.two_more = 2;
	vs_encode(&grown_v3, &s, &b, NULL);
	assert_int_equal(b.len, 4 + 2 + 8 + 4 + 3 + 2 + 8 + 4 + 1);
	/* The lower version first; of one version all fields, in table order. */
	assert_memory_equal(b.data + 4, "\x05\x08grown/v2\0\0\0\x02\0\x07\x02", 17);
	assert_memory_equal(b.data + 21, "\x05\x08grown/v3\0\0\0\x03\x04", 15);
}

static void an_older_table_takes_the_state_whenever_the_difference_does_not_matter(void **state)
{
	struct grown s = grown_reset, got;
	AUTO_BUF b = { 0 };
	struct cursor c;
	struct err e;

	(void)state;
	s.base = 0x99;
	vs_encode(&grown_v3, &s, &b, NULL);
	assert_int_equal(decode(&grown_v1, 1, b.data, b.len, &got, &e), 0);
	assert_memory_equal(&s, &got, sizeof(s));

	b.len = 0;
	s.three = 4;
	vs_encode(&grown_v3, &s, &b, NULL);
	cursor_init(&c, b.data, b.len);
	assert_int_equal(vs_decode(&grown_v1, 1, &c, &got, &e), -EINVAL);
	assert_string_equal(e.msg, "subsection 'grown/v3' is unknown here; the state is from a "
				   "newer release");
}

static void a_newer_table_takes_an_older_state(void **state)
{
	struct grown s = grown_reset, got;
	AUTO_BUF b = { 0 };
	struct err e;

	(void)state;
	s.base = 0x77;
	vs_encode(&grown_v1, &s, &b, NULL);
	assert_int_equal(decode(&grown_v3, 1, b.data, b.len, &got, &e), 0);
	assert_memory_equal(&s, &got, sizeof(s));
	b.len = 0;
	s = (struct grown){ 1, 2, 3, 4 };
	vs_encode(&grown_v3, &s, &b, NULL);
	assert_int_equal(decode(&grown_v3, 3, b.data, b.len, &got, &e), 0);
	assert_memory_equal(&s, &got, sizeof(s));
}

static void an_explicit_subsection_is_sent_when_needed(void **state)
{
	struct grown s = { 1, 2, 0, 4 }, got;
	AUTO_BUF b = { 0 };
	struct err e;

	(void)state;
	assert_int_equal(vs_audit(&grown_parts_desc, &e), 0);
	vs_encode(&grown_parts_desc, &s, &b, NULL);
	assert_int_equal(b.len, 6);
	b.len = 0;
	s.three = 3;
	vs_encode(&grown_parts_desc, &s, &b, NULL);
	assert_int_equal(b.len, 6 + 2 + 10 + 4 + 2);
	assert_memory_equal(b.data + 6, "\x05\x0agrown/part\0\0\0\x06\x03\x04", 18);
	assert_int_equal(decode(&grown_parts_desc, 1, b.data, b.len, &got, &e), 0);
	assert_memory_equal(&s, &got, sizeof(s));
}

static int decode_part(const char *bytes, size_t n, struct err *e)
{
	AUTO_BUF b = { 0 };
	struct grown got;
	struct cursor c;

	buf_put(&b, "\0\0\0\1\0\2", 6);
	buf_put(&b, bytes, n);
	cursor_init(&c, b.data, b.len);
	return vs_decode(&grown_parts_desc, 1, &c, &got, e);
}

static void an_unknown_subsection_or_version_of_one_is_refused(void **state)
{
	struct err e;

	(void)state;
	assert_int_equal(decode_part("\x05\x0agrown/part\0\0\0\x05\x03\x04", 18, &e), 0);
	assert_int_equal(decode_part("\x05\x0agrown/part\0\0\0\x07\x03\x04", 18, &e), -EINVAL);
	assert_string_equal(e.msg, "subsection 'grown/part' has version 7, known is 6");
	assert_int_equal(decode_part("\x05\x0agrown/part\0\0\0\x04\x03\x04", 18, &e), -EINVAL);
	assert_int_equal(decode_part("\x05\x0agrown/part\0\0\0\x06\x03", 17, &e), -ENODATA);
	assert_int_equal(decode_part("\x05\x09grown/new\0\0\0\x01", 15, &e), -EINVAL);
	assert_string_equal(e.msg, "subsection 'grown/new' is unknown here; the state is from a "
				   "newer release");
}

static void a_subsection_that_comes_twice_is_refused(void **state)
{
	struct err e;

	(void)state;
	assert_int_equal(decode_part("\x05\x0agrown/part\0\0\0\x06\x03\x04"
				     "\x05\x0agrown/part\0\0\0\x06\x03\x04",
				     36, &e),
			 -EINVAL);
	assert_string_equal(e.msg, "subsection 'grown/part' comes twice or too late");
}

static void a_mark_without_the_class_name_ends_the_state(void **state)
{
	static const struct {
		const char *bytes;
		size_t n;
	} foreign[] = {
		{ "\x05\x0aother/part\0\0\0\x06\x03\x04", 18 },
		{ "\x05\x05grown\0\0\0\1", 11 },
		{ "\x05\x06grown/\0\0\0\1", 12 },
		{ "\x05\x0agrown/p\0rt\0\0\0\1", 16 },
		{ "\x05\xffgrown/part", 12 },
		{ "\x05", 1 },
		{ "\x7e", 1 },
	};
	struct err e;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(foreign); i++) {
		AUTO_BUF b = { 0 };
		struct grown got;
		struct cursor c;

		buf_put(&b, "\0\0\0\1\0\2", 6);
		buf_put(&b, foreign[i].bytes, foreign[i].n);
		cursor_init(&c, b.data, b.len);
		assert_int_equal(vs_decode(&grown_parts_desc, 1, &c, &got, &e), 0);
		assert_int_equal(cursor_pos(&c), 6);
	}
}

static int refuse_odd(const void *s, struct err *e)
{
	const struct grown *g = s;

	/* Runs on the complete copy, after the subsections. */
	return g->base == g->two ? 0 : err_set(e, EDOM, "base is not two");
}

static void the_check_across_fields_has_the_last_word(void **state)
{
	struct vs_desc d = grown_v3;
	struct grown s = { 8, 8, 1, 1 }, got;
	AUTO_BUF b = { 0 };
	struct err e;

	(void)state;
	d.check = refuse_odd;
	vs_encode(&d, &s, &b, NULL);
	assert_int_equal(decode(&d, 3, b.data, b.len, &got, &e), 0);
	s.two = 9;
	b.len = 0;
	vs_encode(&d, &s, &b, NULL);
	assert_int_equal(decode(&d, 3, b.data, b.len, &got, &e), -EDOM);
	assert_string_equal(e.msg, "base is not two");
}

static void saving_does_not_change_the_state(void **state)
{
	struct all s = sample;
	AUTO_BUF b = { 0 }, j = { 0 };
	struct jsonw w;

	(void)state;
	jsonw_init(&w, &j);
	jsonw_begin_object(&w, NULL);
	vs_encode(&all_desc, &s, &b, &w);
	jsonw_end_object(&w);
	assert_memory_equal(&s, &sample, sizeof(s));
}

static json_t *describe(const struct vs_desc *d, const void *s)
{
	AUTO_BUF b = { 0 }, j = { 0 };
	json_error_t why;
	struct jsonw w;
	json_t *v;

	jsonw_init(&w, &j);
	jsonw_begin_object(&w, NULL);
	vs_encode(d, s, &b, &w);
	jsonw_end_object(&w);
	v = json_loadb((const char *)j.data, j.len, JSON_REJECT_DUPLICATES, &why);
	if (!v)
		fail_msg("%s in %.*s", why.text, (int)j.len, j.data);
	return v;
}

static const char *str(const json_t *v, const char *key)
{
	const char *s = json_string_value(json_object_get(v, key));

	return s ? s : "";
}

static json_int_t num(const json_t *v, const char *key)
{
	const json_t *n = json_object_get(v, key);

	return json_is_integer(n) ? json_integer_value(n) : -1;
}

static void description_names_every_field_that_was_sent(void **state)
{
	static const struct {
		const char *name, *type;
		int size, array_len;
	} want[] = {
		{ "u64", "uint64", 8, -1 },      { "i64", "int64", 8, -1 },
		{ "u32", "uint32", 4, -1 },      { "i32", "int32", 4, -1 },
		{ "u16", "uint16", 2, -1 },      { "i16", "int16", 2, -1 },
		{ "u8", "uint8", 1, -1 },        { "i8", "int8", 1, -1 },
		{ "flag", "bool", 1, -1 },       { "ranged", "uint8", 1, -1 },
		{ "arr", "uint16", 2, 3 },       { "raw", "buffer", 2, -1 },
		{ "one", "struct", 4, -1 },      { "two", "struct", 4, 2 },
		{ "nr_var", "uint32", 4, -1 },   { "var", "buffer", 3, -1 },
		{ "nr_elems", "uint32", 4, -1 }, { "elems", "struct", 4, 1 },
	};
	json_t *d = describe(&all_desc, &sample), *fields = json_object_get(d, "fields"), *sub;

	(void)state;
	assert_string_equal(str(d, "vmsd_name"), "all");
	assert_int_equal(num(d, "version"), 2);
	assert_int_equal(json_array_size(fields), ARRAY_SIZE(want));
	for (size_t i = 0; i < ARRAY_SIZE(want); i++) {
		const json_t *f = json_array_get(fields, i);

		assert_string_equal(str(f, "name"), want[i].name);
		assert_string_equal(str(f, "type"), want[i].type);
		assert_int_equal(num(f, "size"), want[i].size);
		assert_int_equal(num(f, "array_len"), want[i].array_len);
	}
	sub = json_object_get(json_array_get(fields, 12), "struct");
	assert_string_equal(str(sub, "vmsd_name"), "all/inner");
	assert_int_equal(num(sub, "version"), 3);
	assert_int_equal(json_array_size(json_object_get(sub, "fields")), 2);
	json_decref(d);
}

static void description_lists_subsections_only_if_there_are_any(void **state)
{
	struct all s = sample;
	json_t *d = describe(&all_desc, &s), *subs = json_object_get(d, "subsections"), *sub;

	(void)state;
	assert_int_equal(json_array_size(subs), 1);
	sub = json_array_get(subs, 0);
	assert_string_equal(str(sub, "vmsd_name"), "all/v2");
	assert_int_equal(num(sub, "version"), 2);
	assert_string_equal(str(json_array_get(json_object_get(sub, "fields"), 0), "name"), "late");
	json_decref(d);
	s.late = 0;
	d = describe(&all_desc, &s);
	assert_null(json_object_get(d, "subsections"));
	json_decref(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_kind_of_field_has_its_big_endian_bytes),
		cmocka_unit_test(every_kind_of_field_comes_back_as_it_was),
		cmocka_unit_test(every_prefix_of_a_state_is_refused),
		cmocka_unit_test(loading_starts_from_the_reset_values),
		cmocka_unit_test(a_bool_is_0_or_1),
		cmocka_unit_test(a_value_out_of_its_range_is_refused_by_name),
		cmocka_unit_test(ranges_know_the_sign),
		cmocka_unit_test(a_count_beyond_its_array_is_refused),
		cmocka_unit_test(a_count_beyond_its_array_is_not_read_when_saving),
		cmocka_unit_test(empty_and_full_variable_parts_come_back),
		cmocka_unit_test(versions_outside_the_known_ones_are_refused),
		cmocka_unit_test(newer_fields_travel_only_if_they_differ_from_reset),
		cmocka_unit_test(
			an_older_table_takes_the_state_whenever_the_difference_does_not_matter),
		cmocka_unit_test(a_newer_table_takes_an_older_state),
		cmocka_unit_test(an_explicit_subsection_is_sent_when_needed),
		cmocka_unit_test(an_unknown_subsection_or_version_of_one_is_refused),
		cmocka_unit_test(a_subsection_that_comes_twice_is_refused),
		cmocka_unit_test(a_mark_without_the_class_name_ends_the_state),
		cmocka_unit_test(the_check_across_fields_has_the_last_word),
		cmocka_unit_test(saving_does_not_change_the_state),
		cmocka_unit_test(description_names_every_field_that_was_sent),
		cmocka_unit_test(description_lists_subsections_only_if_there_are_any),
	};

	return cmocka_run_group_tests_name("vmstate", tests, NULL, NULL);
}
