/* SPDX-License-Identifier: MIT */
/* JSON values while the heap has no memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/json_memory.h"

static bool no_memory;

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);

/* The program's own calls and those of libraries that are linked in. */
void *__wrap_malloc(size_t size)
{
	return no_memory ? NULL : __real_malloc(size);
}

static json_t *make(void)
{
	json_t *list = json_array();

	for (int i = 0; i < 100; i++)
		json_array_append_new(list, json_pack("{s:i,s:s}", "number", i, "name",
						      "a name that is kept"));
	return list;
}

static void values_are_whole_without_a_heap(void **state)
{
	static const char text[] =
		"{\"label\": \"serial0\", \"list\": [1, 2.5, null, true, \"\\u00e4\"]}";
	json_t *before = make(), *parsed = json_loads(text, 0, NULL), *list, *again;

	(void)state;
	assert_int_equal(json_memory_reserve_used(), 0);
	no_memory = true;
	list = make();
	again = json_loads(text, 0, NULL);
	no_memory = false;
	assert_true(json_equal(list, before));
	assert_true(json_equal(again, parsed));
	assert_true(json_memory_reserve_used() > 1000);
	json_decref(list);
	json_decref(again);
	json_decref(before);
	json_decref(parsed);
}

static void the_reserve_is_whole_again_when_all_is_given_back(void **state)
{
	size_t used;

	(void)state;
	no_memory = true;
	json_decref(make());
	used = json_memory_reserve_used();
	for (int i = 0; i < 1000; i++)
		json_decref(make());
	no_memory = false;
	assert_int_equal(json_memory_reserve_used(), used);
}

static void what_exceeds_the_reserve_is_refused(void **state)
{
	json_t *big = NULL, *small;
	char *text = malloc(JSON_MEMORY_RESERVE + 1);

	(void)state;
	memset(text, 'a', JSON_MEMORY_RESERVE);
	text[JSON_MEMORY_RESERVE] = '\0';
	no_memory = true;
	big = json_string(text);
	small = json_string("a");
	no_memory = false;
	assert_null(big);
	assert_string_equal(json_string_value(small), "a");
	json_decref(small);
	free(text);
}

static void text_is_the_heaps(void **state)
{
	json_t *list = make(), *back;
	char *text = json_text(list, JSON_COMPACT);

	(void)state;
	back = json_loads(text, 0, NULL);
	assert_true(json_equal(list, back));
	free(text);
	assert_null(json_text(NULL, 0));
	json_decref(list);
	json_decref(back);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values_are_whole_without_a_heap),
		cmocka_unit_test(the_reserve_is_whole_again_when_all_is_given_back),
		cmocka_unit_test(what_exceeds_the_reserve_is_refused),
		cmocka_unit_test(text_is_the_heaps),
	};

	json_memory_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
