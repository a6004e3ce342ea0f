/* SPDX-License-Identifier: MIT */
/* Unit tests of src/main/objects.c: what -object says. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/util.h"
#include "main/objects.h"

static void parse(struct backend_option *b, const char *text)
{
	struct err e = ERR_INIT;

	if (objects_parse(b, text, &e))
		fail_msg("%s: %s", text, e.msg);
}

static void what_is_not_said_is_as_people_know_it(void **state)
{
	static const struct {
		const char *text;
		bool share;
	} rows[] = {
		{ "memory-backend-memfd,id=a,size=1M", true },
		{ "memory-backend-shm,id=a,size=1M", true },
		{ "memory-backend-ram,id=a,size=1M", false },
		{ "memory-backend-file,id=a,size=1M,mem-path=/x", false },
	};
	const struct ram_options none = { 0 };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct backend_option b;

		parse(&b, rows[i].text);
		assert_int_equal(b.share, rows[i].share);
		assert_int_equal(b.size, MIB);
		assert_string_equal(b.id, "a");
		assert_false(b.readonly);
		assert_memory_equal(&b.options, &none, sizeof(none));
	}
}

static void each_property_arrives(void **state)
{
	struct backend_option b;

	(void)state;
	parse(&b, "memory-backend-memfd,id=m,size=0x200000,share=off,hugetlb=on,hugetlbsize=2M,"
		  "seal=off,prealloc=on,prealloc-threads=4,merge=on,dump=on,reserve=on");
	assert_int_equal(b.backend, RAM_BACKEND_MEMFD);
	assert_int_equal(b.size, 2 * MIB);
	assert_false(b.share);
	assert_true(b.options.hugetlb && b.options.hugetlb_size == 2 * MIB);
	assert_true(b.options.unsealed && b.options.prealloc && b.options.merge);
	assert_true(b.options.dump && b.options.reserve);
	parse(&b, "memory-backend-file,id=f,size=4096,mem-path=/a,,b,share,align=2M,offset=8K,"
		  "discard-data=on,pmem=off,policy=default,");
	assert_int_equal(b.backend, RAM_BACKEND_FILE);
	assert_string_equal(b.path, "/a,b");
	assert_true(b.share && b.options.discard_data && !b.options.unsealed);
	assert_int_equal(b.options.align, 2 * MIB);
	assert_int_equal(b.options.offset, 8192);
	parse(&b, "qom-type=memory-backend-file,id=f,size=4096,mem-path=x,readonly=on");
	assert_true(b.readonly);
}

static void json_says_the_same(void **state)
{
	struct backend_option a, b;

	(void)state;
	memset(&a, 0, sizeof(a));
	memset(&b, 0, sizeof(b));
	parse(&a, "memory-backend-file,id=f,size=8192,mem-path=/a,,b,share=on,prealloc-threads=2");
	parse(&b, "{'mem-path': '/a,b', \"share\": true, \"id\": \"f\", \"prealloc-threads\": 2,"
		  " \"size\": 8192, \"qom-type\": \"memory-backend-file\", \"pmem\": false}");
	assert_string_equal(a.path, b.path);
	assert_string_equal(a.id, b.id);
	assert_int_equal(a.size, b.size);
	assert_int_equal(a.share, b.share);
	assert_int_equal(a.backend, b.backend);
}

static void what_cannot_be_is_refused_and_nothing_changes(void **state)
{
	static const char *const rows[] = {
		"",
		",",
		"help",
		"memory-backend-memfd",
		"memory-backend-memf,id=a,size=1M",
		"memory-backend-memfdx,id=a,size=1M",
		"memory-backend-epc,id=a,size=1M",
		"memory-backend-memfd,id=,size=1M",
		"memory-backend-memfd,id=/rom@etc/acpi/tables,size=1M",
		"memory-backend-memfd,id=1a,size=1M",
		"memory-backend-memfd,id=a b,size=1M",
		"memory-backend-memfd,id=a,size=",
		"memory-backend-memfd,id=a,size=-1",
		"memory-backend-memfd,id=a,size=99999999999999999999",
		"memory-backend-memfd,id=a,size=0",
		"memory-backend-memfd,id=a,size=1M,=on",
		"memory-backend-memfd,id=a,size=1M,hugetlbsize=2M",
		"memory-backend-memfd,id=a,size=1M,prealloc-threads=0",
		"memory-backend-memfd,id=a,size=1M,prealloc-threads=x",
		"memory-backend-memfd,id=a,size=1M,prealloc-context=t",
		"memory-backend-ram,id=a,size=1M,hugetlb=on",
		"memory-backend-ram,id=a,size=1M,host-nodes=0",
		"memory-backend-shm,id=a,size=1M,share=off",
		"memory-backend-file,id=a,size=1M",
		"memory-backend-file,id=a,size=1M,mem-path=",
		"memory-backend-file,id=a,size=1M,mem-path=x,rom=on",
		"memory-backend-file,id=a,size=1M,mem-path=x,readonly=on,prealloc=on",
		"{",
		"{}",
		"{\"qom-type\": 1}",
		"{\"qom-type\": \"memory-backend-ram\"}",
		"{\"qom-type\": \"memory-backend-ram\", \"id\": 1, \"size\": 4096}",
		"{\"qom-type\": \"memory-backend-ram\", \"id\": \"a\", \"size\": 4096.0}",
		"{\"qom-type\": \"memory-backend-ram\", \"id\": \"a\", \"size\": null}",
		"{\"qom-type\": \"memory-backend-ram\", \"id\": \"a\", \"size\": {}}",
		"{\"qom-type\": \"memory-backend-ram\", \"id\": \"a\", \"size\": 1, \"x\": []}",
		"{\"qom-type\": \"memory-backend-ram\", \"id\": \"a\", \"size\": 1, "
		"\"host-nodes\": [0]}",
	};
	struct backend_option b, before;

	(void)state;
	memset(&b, 0x55, sizeof(b));
	before = b;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct err e = ERR_INIT;

		if (objects_parse(&b, rows[i], &e) >= 0)
			fail_msg("accepted: %s", rows[i]);
		assert_true(e.code > 0 && e.msg[0]);
		assert_memory_equal(&b, &before, sizeof(b));
	}
}

static void texts_of_any_length_are_safe(void **state)
{
	static const char head[] = "memory-backend-file,size=1M,mem-path=x,id=";
	struct backend_option b;
	static char text[20000];
	struct err e;

	(void)state;
	for (size_t n = 1; n < 9000; n += n < 200 ? 1 : 97) {
		int r;

		strcpy(text, head);
		memset(text + sizeof(head) - 1, 'i', n);
		text[sizeof(head) - 1 + n] = '\0';
		r = objects_parse(&b, text, &e);
		assert_int_equal(r == 0, n < sizeof(b.id));
		memset(text, ',', n);
		text[n] = '\0';
		assert_true(objects_parse(&b, text, &e) < 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_not_said_is_as_people_know_it),
		cmocka_unit_test(each_property_arrives),
		cmocka_unit_test(json_says_the_same),
		cmocka_unit_test(what_cannot_be_is_refused_and_nothing_changes),
		cmocka_unit_test(texts_of_any_length_are_safe),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
