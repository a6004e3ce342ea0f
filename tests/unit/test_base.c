/* SPDX-License-Identifier: MIT */
/* Errors, byte buffers, cursors, numbers and sizes, JSON text and lists. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/jsonw.h"
#include "base/list.h"
#include "base/parse.h"
#include "base/util.h"

static void error_holds_code_and_sentence_and_returns_minus_errno(void **state)
{
	struct err e = ERR_INIT;

	(void)state;
	assert_int_equal(err_set(&e, EINVAL, "bad '%s' %d", "x", 7), -EINVAL);
	assert_int_equal(e.code, EINVAL);
	assert_string_equal(e.msg, "bad 'x' 7");
	/* A code that is none must not look like success. */
	assert_true(err_set(&e, 0, "no code") < 0);
	assert_true(e.code > 0);
}

static void error_takes_the_reason_from_errno_or_a_code(void **state)
{
	struct err e;

	(void)state;
	errno = ENOENT;
	assert_int_equal(err_set_errno(&e, "cannot open '%s'", "f"), -ENOENT);
	assert_string_equal(e.msg, "cannot open 'f': No such file or directory");
	assert_int_equal(err_set_code(&e, EACCES, "cannot open '%s'", "f"), -EACCES);
	assert_string_equal(e.msg, "cannot open 'f': Permission denied");
	errno = 0;
	assert_true(err_set_errno(&e, "odd") < 0);
}

static void error_prefix_goes_before_and_keeps_the_code(void **state)
{
	struct err e;

	(void)state;
	err_set(&e, ERANGE, "too large");
	assert_int_equal(err_prefix(&e, "section '%s' %u", "cpu", 3u), -ERANGE);
	assert_int_equal(e.code, ERANGE);
	assert_string_equal(e.msg, "section 'cpu' 3: too large");
}

static void long_error_is_cut_not_overrun(void **state)
{
	static char text[4096];
	struct err e;

	(void)state;
	memset(text, 'a', sizeof(text) - 1);
	err_set(&e, EIO, "%s", text);
	assert_int_equal(strlen(e.msg), sizeof(e.msg) - 1);
	err_set_code(&e, EIO, "%s", text);
	assert_int_equal(strlen(e.msg), sizeof(e.msg) - 1);
	err_prefix(&e, "%s", text);
	assert_int_equal(strlen(e.msg), sizeof(e.msg) - 1);
}

static void buffer_writes_big_endian_and_grows(void **state)
{
	static const uint8_t want[] = { 0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd,
					0xef, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06,
					0x07, 'h',  'i',  '4',  '2',  0xaa, 0xbb };
	AUTO_BUF b = { 0 };

	(void)state;
	buf_put_u8(&b, 0x01);
	buf_put_be16(&b, 0x2345);
	buf_put_be32(&b, 0x6789abcd);
	buf_put_be64(&b, 0xef01020304050607);
	buf_put_str(&b, "hi");
	buf_printf(&b, "%d", 42);
	buf_put(&b, "\xaa\xbb", 2);
	assert_false(b.failed);
	assert_int_equal(b.len, sizeof(want));
	assert_memory_equal(b.data, want, sizeof(want));
	for (unsigned int i = 0; i < 100000; i++)
		buf_put_u8(&b, (uint8_t)i);
	assert_int_equal(b.len, sizeof(want) + 100000);
	assert_memory_equal(b.data, want, sizeof(want));
	assert_int_equal(b.data[sizeof(want) + 99999], (uint8_t)99999);
}

static void buffer_gives_up_the_first_bytes(void **state)
{
	AUTO_BUF b = { 0 };

	(void)state;
	buf_put_str(&b, "abcdef");
	buf_consume(&b, 2);
	assert_int_equal(b.len, 4);
	assert_memory_equal(b.data, "cdef", 4);
	buf_consume(&b, 0);
	assert_int_equal(b.len, 4);
	buf_consume(&b, 100);
	assert_int_equal(b.len, 0);
	buf_put_str(&b, "z");
	assert_memory_equal(b.data, "z", 1);
}

static void buffer_remembers_that_memory_was_short(void **state)
{
	AUTO_BUF b = { 0 };

	(void)state;
	buf_put_str(&b, "abc");
	buf_reserve(&b, SIZE_MAX);
	assert_true(b.failed);
	buf_put_str(&b, "def");
	buf_printf(&b, "%d", 1);
	assert_true(b.failed);
	assert_int_equal(b.len, 3);
	buf_fini(&b);
	assert_false(b.failed);
}

static void empty_printf_adds_nothing(void **state)
{
	AUTO_BUF b = { 0 };

	(void)state;
	buf_printf(&b, "%s", "");
	buf_put(&b, NULL, 0);
	assert_int_equal(b.len, 0);
	assert_false(b.failed);
}

static void cursor_reads_what_the_buffer_wrote(void **state)
{
	static const uint8_t raw[] = { 0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef,
				       0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 'h' };
	struct cursor c;
	char h;

	(void)state;
	cursor_init(&c, raw, sizeof(raw));
	assert_int_equal(cursor_u8(&c), 0x01);
	assert_int_equal(cursor_be16(&c), 0x2345);
	assert_int_equal(cursor_be32(&c), 0x6789abcd);
	assert_int_equal(cursor_be64(&c), 0xef01020304050607);
	assert_int_equal(cursor_pos(&c), 15);
	assert_int_equal(cursor_left(&c), 1);
	assert_true(cursor_get(&c, &h, 1));
	assert_int_equal(h, 'h');
	assert_int_equal(cursor_left(&c), 0);
	assert_non_null(cursor_take(&c, 0));
	assert_false(c.failed);
}

static void cursor_beyond_its_end_delivers_zeros_and_stays_failed(void **state)
{
	/* Exactly as large as the input, so that a sanitizer sees a read beyond it. */
	uint8_t *raw = malloc(3);
	uint8_t out[4] = { 9, 9, 9, 9 };
	struct cursor c;

	(void)state;
	memset(raw, 0xff, 3);
	cursor_init(&c, raw, 3);
	assert_int_equal(cursor_be32(&c), 0);
	assert_true(c.failed);
	/* The three bytes that are there are not delivered any more either. */
	assert_int_equal(cursor_u8(&c), 0);
	assert_int_equal(cursor_be16(&c), 0);
	assert_int_equal(cursor_be64(&c), 0);
	assert_false(cursor_get(&c, out, sizeof(out)));
	assert_memory_equal(out, "\0\0\0\0", 4);
	assert_null(cursor_take(&c, 1));
	assert_true(c.failed);
	cursor_init(&c, raw, 3);
	assert_null(cursor_take(&c, SIZE_MAX));
	cursor_init(&c, raw, 3);
	assert_non_null(cursor_take(&c, 3));
	assert_null(cursor_take(&c, 1));
	free(raw);
}

static void sizes_are_numbers_with_a_unit(void **state)
{
	static const struct {
		const char *text;
		uint64_t unit, value;
	} good[] = {
		{ "0", 1, 0 },
		{ "256", MIB, 256 * MIB },
		{ "256M", 1, 256 * MIB },
		{ "256m", MIB, 256 * MIB },
		{ "1k", 1, KIB },
		{ "2G", 1, 2 * GIB },
		{ "3T", 1, 3 * TIB },
		{ "7B", MIB, 7 },
		{ "0x100", 1, 256 },
		{ "0X10K", 1, 16 * KIB },
		{ "010", 1, 10 },
		{ "9223372036854775807", 1, INT64_MAX },
		{ "8388607T", 1, UINT64_C(8388607) << 40 },
	};
	uint64_t v;
	struct err e;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		v = 99;
		if (parse_size(good[i].text, good[i].unit, &v, &e))
			fail_msg("%s: %s", good[i].text, e.msg);
		assert_int_equal(v, good[i].value);
	}
}

static void what_is_no_size_is_refused(void **state)
{
	static const char *const bad[] = { "",    " ",    "M",   "-1",   "+1",   " 1",
					   "1 ",  "1.5G", "12Q", "1KB",  "1MM",  "0x",
					   "0xg", "1,5",  "zz",  "1\n",  "1K ",  "--",
					   "1e3", "nan",  "1-",  "\xff", "1\xff" };
	static const char *const large[] = { "9223372036854775808",     "18446744073709551615",
					     "18446744073709551616",    "8388608T",
					     "99999999999999999999999", "9007199254740992K" };
	uint64_t v = 42;
	struct err e;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		if (parse_size(bad[i], 1, &v, &e) != -EINVAL)
			fail_msg("'%s' was taken for a size", bad[i]);
	for (size_t i = 0; i < ARRAY_SIZE(large); i++) {
		if (parse_size(large[i], 1, &v, &e) != -ERANGE)
			fail_msg("'%s' was not found too large", large[i]);
		assert_non_null(strstr(e.msg, large[i]));
	}
	assert_int_equal(parse_size("9007199254740992", KIB, &v, &e), -ERANGE);
	assert_int_equal(v, 42);
}

static void numbers_are_decimal_and_bounded(void **state)
{
	static const char *const bad[] = { "", "-1", "+1", " 1", "1 ", "0x1", "1a", "a", "1.0" };
	uint64_t v = 42;
	struct err e;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		if (parse_uint(bad[i], 100, &v, &e) != -EINVAL)
			fail_msg("'%s' was taken for a number", bad[i]);
	assert_int_equal(parse_uint("101", 100, &v, &e), -ERANGE);
	assert_string_equal(e.msg, "'101' is more than 100");
	assert_int_equal(parse_uint("18446744073709551616", UINT64_MAX, &v, &e), -ERANGE);
	assert_int_equal(v, 42);
	assert_int_equal(parse_uint("100", 100, &v, &e), 0);
	assert_int_equal(v, 100);
	assert_int_equal(parse_uint("0", 0, &v, &e), 0);
	assert_int_equal(v, 0);
	assert_int_equal(parse_uint("18446744073709551615", UINT64_MAX, &v, &e), 0);
	assert_true(v == UINT64_MAX);
}

static void booleans_are_the_usual_words_only(void **state)
{
	static const char *const yes[] = { "on", "yes", "true", "y" };
	static const char *const no[] = { "off", "no", "false", "n" };
	static const char *const bad[] = { "", "1", "0", "ON", "o", "onn", "of", "t" };
	struct err e;
	bool v;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(yes); i++) {
		v = false;
		assert_int_equal(parse_bool(yes[i], &v, &e), 0);
		assert_true(v);
		assert_int_equal(parse_bool(no[i], &v, &e), 0);
		assert_false(v);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		v = true;
		assert_int_equal(parse_bool(bad[i], &v, &e), -EINVAL);
		assert_true(v);
	}
}

static void json_text_has_separators_and_nesting(void **state)
{
	AUTO_BUF b = { 0 };
	struct jsonw w;

	(void)state;
	jsonw_init(&w, &b);
	jsonw_begin_object(&w, NULL);
	jsonw_str(&w, "a", "b");
	jsonw_u64(&w, "n", UINT64_MAX);
	jsonw_begin_array(&w, "l");
	jsonw_u64(&w, NULL, 0);
	jsonw_str(&w, NULL, "x");
	jsonw_begin_object(&w, NULL);
	jsonw_end_object(&w);
	jsonw_begin_array(&w, NULL);
	jsonw_end_array(&w);
	jsonw_end_array(&w);
	jsonw_begin_object(&w, "o");
	jsonw_end_object(&w);
	jsonw_u64(&w, "z", 1);
	jsonw_end_object(&w);
	buf_put_u8(&b, 0);
	assert_string_equal(b.data, "{\"a\": \"b\", \"n\": 18446744073709551615, "
				    "\"l\": [0, \"x\", {}, []], \"o\": {}, \"z\": 1}");
}

static void json_text_is_printable_ascii_whatever_the_string(void **state)
{
	AUTO_BUF b = { 0 };
	struct jsonw w;

	(void)state;
	jsonw_init(&w, &b);
	jsonw_str(&w, NULL, "q\" b\\ n\n t\t e\x1b d\x7f h\xff /~ ");
	buf_put_u8(&b, 0);
	assert_string_equal(b.data, "\"q\\\" b\\\\ n\\u000a t\\u0009 e\\u001b d\\u007f h\\u00ff "
				    "/~ \"");
	b.len = 0;
	jsonw_init(&w, &b);
	jsonw_begin_object(&w, NULL);
	jsonw_str(&w, "a\"b", "");
	jsonw_end_object(&w);
	buf_put_u8(&b, 0);
	assert_string_equal(b.data, "{\"a\\\"b\": \"\"}");
}

struct element {
	unsigned int value;
	struct list link;
};

static unsigned int sum(struct list *head)
{
	struct list *pos, *tmp;
	unsigned int v = 0;

	/* Order matters: each element shifts what came before it. */
	list_for_each(pos, tmp, head)
		v = v * 10 + CONTAINER_OF(pos, struct element, link)->value;
	return v;
}

static void list_keeps_order_and_allows_removal_while_walking(void **state)
{
	struct element el[] = { { .value = 1 }, { .value = 2 }, { .value = 3 }, { .value = 4 } };
	struct list head, *pos, *tmp;

	(void)state;
	list_init(&head);
	assert_true(list_empty(&head));
	for (size_t i = 0; i < ARRAY_SIZE(el); i++)
		list_add(&head, &el[i].link);
	assert_false(list_empty(&head));
	assert_int_equal(sum(&head), 1234);
	list_del(&el[1].link);
	assert_int_equal(sum(&head), 134);
	list_del(&el[1].link);
	assert_int_equal(sum(&head), 134);
	/* Before an element: its link serves as a head. */
	list_add(&el[2].link, &el[1].link);
	assert_int_equal(sum(&head), 1234);
	list_for_each(pos, tmp, &head)
		list_del(pos);
	assert_true(list_empty(&head));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(error_holds_code_and_sentence_and_returns_minus_errno),
		cmocka_unit_test(error_takes_the_reason_from_errno_or_a_code),
		cmocka_unit_test(error_prefix_goes_before_and_keeps_the_code),
		cmocka_unit_test(long_error_is_cut_not_overrun),
		cmocka_unit_test(buffer_writes_big_endian_and_grows),
		cmocka_unit_test(buffer_gives_up_the_first_bytes),
		cmocka_unit_test(buffer_remembers_that_memory_was_short),
		cmocka_unit_test(empty_printf_adds_nothing),
		cmocka_unit_test(cursor_reads_what_the_buffer_wrote),
		cmocka_unit_test(cursor_beyond_its_end_delivers_zeros_and_stays_failed),
		cmocka_unit_test(sizes_are_numbers_with_a_unit),
		cmocka_unit_test(what_is_no_size_is_refused),
		cmocka_unit_test(numbers_are_decimal_and_bounded),
		cmocka_unit_test(booleans_are_the_usual_words_only),
		cmocka_unit_test(json_text_has_separators_and_nesting),
		cmocka_unit_test(json_text_is_printable_ascii_whatever_the_string),
		cmocka_unit_test(list_keeps_order_and_allows_removal_while_walking),
	};

	return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}
