/* SPDX-License-Identifier: MIT */
/* The splitter of JSON streams: pieces, quotes, limits, recovery. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/util.h"
#include "ctl/json.h"
#include "ctl/json_split.h"

/* Feeds all of @in in pieces of @piece bytes; writes `value;` or `!text;` for each result. */
static void split_bytes(struct json_split *s, const char *in, size_t n, size_t piece,
			struct buf *out)
{
	struct err e = ERR_INIT;
	size_t pos = 0;
	size_t used;

	while (pos < n) {
		switch (json_split_feed(s, in + pos, MIN(piece, n - pos), &used, &e)) {
		case JSON_SPLIT_VALUE:
			buf_put(out, s->text.data, s->text.len);
			buf_put_str(out, ";");
			break;
		case JSON_SPLIT_ERROR:
			buf_printf(out, "!%s;", e.msg);
			break;
		case JSON_SPLIT_MORE:
			assert_int_equal(used, MIN(piece, n - pos));
			break;
		}
		pos += used;
	}
}

/* The same for every size of pieces. */
static void expect(const char *in, const char *want)
{
	for (size_t piece = 1; piece <= strlen(in); piece++) {
		AUTO_BUF out = { 0 };
		struct json_split s;

		json_split_init(&s);
		split_bytes(&s, in, strlen(in), piece, &out);
		buf_put_u8(&out, 0);
		assert_string_equal((char *)out.data, want);
		json_split_fini(&s);
	}
}

static void values_are_found_in_any_pieces(void **state)
{
	(void)state;
	expect("{}", "{};");
	expect("{\"a\": [1, {\"b\": 2}]}", "{\"a\": [1, {\"b\": 2}]};");
	expect("{}{}  [1]\r\n{}", "{};{};[1];{};");
	expect("{\"a\": \"}]{[\"}{}", "{\"a\": \"}]{[\"};{};");
	expect("{\"a\":\n 1}\n", "{\"a\":\n 1};");
	expect("12 true \"x\" ", "12;true;\"x\";");
	expect("12{}", "12;{};");
	expect("\"a\\\"b\"", "\"a\\\"b\";");
}

static void single_quotes_become_double(void **state)
{
	(void)state;
	expect("{'a': 'b'}", "{\"a\": \"b\"};");
	expect("'say \"hi\"'", "\"say \\\"hi\\\"\";");
	expect("'it\\'s'", "\"it's\";");
	expect("\"it\\'s it's\"", "\"it's it's\";");
	expect("'a\\\"b\\n\\\\'", "\"a\\\"b\\n\\\\\";");
}

static void errors_are_told_and_the_next_line_is_read(void **state)
{
	(void)state;
	expect("@ x\n{}", "!1:1: JSON parse error, stray character;{};");
	expect("}\n{}", "!1:1: JSON parse error, expecting value;{};");
	expect(",{}", "!1:1: JSON parse error, expecting value;{};");
	expect("{\"a\n{}", "!1:4: JSON parse error, invalid character in string;{};");
	expect("\n{ ] \n{}", "!2:3: JSON parse error, expecting value;{};");
	expect("{\xff{}", "!1:2: JSON parse error, stray character;{};");
	expect("{\"execute\": \x01{}", "!1:13: JSON parse error, stray character;{};");
	expect("@\t[1]", "!1:1: JSON parse error, stray character;[1];");
}

static void long_values_are_refused_in_linear_time(void **state)
{
	const size_t n = 16 << 20;
	AUTO_FREE char *in = malloc(n);
	AUTO_BUF out = { 0 };
	struct json_split s;
	clock_t start;

	(void)state;
	memset(in, 'x', n);
	memcpy(in, "{\"a\": \"", 7);
	memcpy(in + n - 3, "\n{}", 3);
	json_split_init(&s);
	start = clock();
	split_bytes(&s, in, n, 4096, &out);
	assert_true((clock() - start) / CLOCKS_PER_SEC < 20);
	buf_put_u8(&out, 0);
	assert_non_null(strstr((char *)out.data, "JSON token size limit exceeded;{};"));
	assert_true(s.text.cap <= 2 * JSON_SPLIT_MAX_BYTES);
	json_split_fini(&s);
}

static void deep_nesting_is_refused(void **state)
{
	char in[2 * JSON_SPLIT_MAX_NESTING + 8];
	AUTO_BUF out = { 0 };
	struct json_split s;
	size_t n = 0;

	(void)state;
	for (; n < JSON_SPLIT_MAX_NESTING; n++)
		in[n] = '[';
	in[n] = ']';
	json_split_init(&s);
	split_bytes(&s, in, n + 1, 7, &out);
	assert_int_equal(out.len, 0);
	json_split_fini(&s);
	in[n++] = '[';
	in[n++] = '\n';
	in[n++] = '{';
	in[n++] = '}';
	split_bytes(&s, in, n, 7, &out);
	buf_put_u8(&out, 0);
	assert_string_equal((char *)out.data, "!1:1025: JSON nesting depth limit exceeded;{};");
	json_split_fini(&s);
}

static void whole_text_must_be_one_value(void **state)
{
	struct err e = ERR_INIT;
	json_t *v;

	(void)state;
	v = json_text_parse(" {'a': 1} \n", 11, &e);
	assert_non_null(v);
	json_decref(v);
	assert_null(json_text_parse("{} x", 4, &e));
	assert_non_null(strstr(e.msg, "more text"));
	assert_null(json_text_parse("{", 1, &e));
	assert_non_null(strstr(e.msg, "ends too early"));
	assert_null(json_text_parse("{'a': 1, 'a': 2}", 16, &e));
	assert_non_null(strstr(e.msg, "duplicate key"));
	assert_null(json_text_parse("[01]", 4, &e));
	assert_null(json_text_parse("[nan]", 5, &e));
	assert_null(json_text_parse("[1,]", 4, &e));
}

static void too_many_tokens_are_refused(void **state)
{
	AUTO_BUF in = { 0 }, out = { 0 };
	struct json_split s;

	(void)state;
	json_split_init(&s);
	buf_put_str(&in, "[");
	for (size_t i = 2; i < JSON_SPLIT_MAX_TOKENS / 2; i++)
		buf_put_str(&in, "1234,");
	buf_put_str(&in, "1]");
	split_bytes(&s, (char *)in.data, in.len, 4096, &out);
	assert_true(out.len > in.len);
	json_split_fini(&s);
	in.len -= 2;
	out.len = 0;
	buf_put_str(&in, "1,1]\n{}");
	split_bytes(&s, (char *)in.data, in.len, 4096, &out);
	buf_put_u8(&out, 0);
	assert_non_null(strstr((char *)out.data, "JSON token count limit exceeded;{};"));
	json_split_fini(&s);
}

static void expect_number(const char *text, json_type type, double value)
{
	struct err e = ERR_INIT;
	json_t *v = json_text_parse(text, strlen(text), &e);

	assert_non_null(v);
	assert_int_equal(json_typeof(json_array_get(v, 0)), type);
	assert_true(json_number_value(json_array_get(v, 0)) == value);
	json_decref(v);
}

static void integers_become_fractions_only_beyond_64_bits(void **state)
{
	static const char text[] = "['\\\\', 'a\\'99999999999999999999', 99999999999999999999, 7]";
	struct err e = ERR_INIT;
	json_t *v;

	(void)state;
	expect_number("[9223372036854775807]", JSON_INTEGER, 9223372036854775807.0);
	expect_number("[-9223372036854775808]", JSON_INTEGER, -9223372036854775808.0);
	expect_number("[9223372036854775808]", JSON_REAL, 9223372036854775808.0);
	expect_number("[18446744073709551615]", JSON_REAL, 18446744073709551615.0);
	expect_number("[-99999999999999999999]", JSON_REAL, -1e20);
	expect_number("[1.5]", JSON_REAL, 1.5);
	expect_number("[1e3]", JSON_REAL, 1e3);
	v = json_text_parse(text, strlen(text), &e);
	assert_non_null(v);
	assert_string_equal(json_string_value(json_array_get(v, 1)), "a'99999999999999999999");
	assert_true(json_is_real(json_array_get(v, 2)));
	assert_int_equal(json_integer_value(json_array_get(v, 3)), 7);
	json_decref(v);
	assert_null(json_text_parse("[1e999]", 7, &e));
	assert_non_null(strstr(e.msg, "JSON parse error"));
}

/* Any mutation of a line ends with the splitter ready for the next line. */
static void mutated_lines_leave_it_working(void **state)
{
	static const char line[] =
		"{'execute': 'migrate', \"arguments\": {\"uri\": 'a\\'b'}, 'id': [1]}";
	static const char sentinel[] = "\"\n'\n\xff\n{\"ok\": 1}";
	unsigned int seed = 12345;
	char in[sizeof(line) + sizeof(sentinel)];

	(void)state;
	for (int round = 0; round < 10000; round++) {
		AUTO_BUF out = { 0 };
		struct json_split s;
		size_t n = sizeof(line) - 1;

		memcpy(in, line, n);
		for (int k = rand_r(&seed) % 4; k >= 0; k--)
			in[(size_t)rand_r(&seed) % n] = (char)rand_r(&seed);
		if (rand_r(&seed) % 4 == 0)
			n = (size_t)rand_r(&seed) % n;
		memcpy(in + n, sentinel, sizeof(sentinel));
		json_split_init(&s);
		split_bytes(&s, in, n + sizeof(sentinel) - 1, 1 + (size_t)rand_r(&seed) % 80, &out);
		buf_put_u8(&out, 0);
		assert_non_null(strstr((char *)out.data, ";{\"ok\": 1};"));
		json_split_fini(&s);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values_are_found_in_any_pieces),
		cmocka_unit_test(single_quotes_become_double),
		cmocka_unit_test(errors_are_told_and_the_next_line_is_read),
		cmocka_unit_test(long_values_are_refused_in_linear_time),
		cmocka_unit_test(deep_nesting_is_refused),
		cmocka_unit_test(too_many_tokens_are_refused),
		cmocka_unit_test(integers_become_fractions_only_beyond_64_bits),
		cmocka_unit_test(whole_text_must_be_one_value),
		cmocka_unit_test(mutated_lines_leave_it_working),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
