/* SPDX-License-Identifier: MIT */
/* Bytes of any value as JSON text and back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/util.h"
#include "update/bytes_json.h"

static void every_byte_comes_back(void **state)
{
	AUTO_FREE char *text = NULL, *back = NULL;
	char all[256];
	json_t *j, *k;

	(void)state;
	for (int i = 1; i < 256; i++)
		all[i - 1] = (char)i;
	all[255] = '\0';
	j = bytes_to_json(all);
	assert_non_null(j);
	text = json_dumps(j, JSON_ENCODE_ANY);
	assert_non_null(text);
	k = json_loads(text, JSON_DECODE_ANY, NULL);
	back = bytes_from_json(k);
	assert_string_equal(back, all);
	json_decref(j);
	json_decref(k);
}

static void ascii_looks_as_it_is(void **state)
{
	json_t *j = bytes_to_json("file:vm.state,offset=1");

	(void)state;
	assert_string_equal(json_string_value(j), "file:vm.state,offset=1");
	json_decref(j);
}

static void other_text_is_refused(void **state)
{
	static const char *const bad[] = { "\"\\u0100\"", "\"\\u20ac\"", "\"\\ud83d\\ude00\"", "17",
					   "null" };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		json_t *j = json_loads(bad[i], JSON_DECODE_ANY, NULL);

		assert_non_null(j);
		assert_null(bytes_from_json(j));
		json_decref(j);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_byte_comes_back),
		cmocka_unit_test(ascii_looks_as_it_is),
		cmocka_unit_test(other_text_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
