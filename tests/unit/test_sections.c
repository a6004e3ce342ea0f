/* SPDX-License-Identifier: MIT */
/* Whether two machines fit is found out before the guest stops: names, aliases, versions. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/util.h"
#include "update/sections.h"

struct one {
	uint8_t v;
};

static const struct vs_field fields[] = { VS_FIELD(struct one, v), VS_END };

static const struct vs_desc desc_v1 = { .name = "thing",
					.version = 1,
					.min_version = 1,
					.size = sizeof(struct one),
					.fields = fields };
static const struct vs_desc desc_v3 = { .name = "thing",
					.version = 3,
					.min_version = 2,
					.size = sizeof(struct one),
					.fields = fields };

static void list(struct snapshot *s, const char *const *names, size_t n, const struct vs_desc *d)
{
	struct err e;

	snapshot_init(s, "m");
	for (size_t i = 0; i < n; i++)
		assert_int_equal(snapshot_add(s, names[i], SNAPSHOT_AUTO_INSTANCE, d, &e), 0);
}

/* As it goes: what @old tells, through text, is checked against @new. */
static int check(const struct snapshot *old, const struct snapshot *new, struct err *e)
{
	json_t *names = sections_list(old), *versions = sections_versions(old);
	int r = sections_check(new, names, versions, e);

	json_decref(names);
	json_decref(versions);
	return r;
}

static void both_machines_have_the_same_things(void **state)
{
	static const char *const some[] = { "thing", "other" };
	static const char *const more[] = { "thing", "other", "thing" };
	struct snapshot a, b;
	struct err e;

	(void)state;
	list(&a, some, ARRAY_SIZE(some), &desc_v1);
	list(&b, more, ARRAY_SIZE(more), &desc_v1);
	assert_int_equal(check(&a, &a, &e), 0);
	assert_int_equal(check(&a, &b, &e), -EINVAL);
	assert_string_equal(e.msg, "this machine has 'thing 1', the old one has not");
	assert_int_equal(check(&b, &a, &e), -EINVAL);
	assert_string_equal(e.msg, "the old machine has 'thing 1', this one has not");
	snapshot_fini(&a);
	snapshot_fini(&b);
}

static void what_is_optional_is_not_missed(void **state)
{
	static const char *const some[] = { "thing" };
	static const char *const more[] = { "thing", "late" };
	struct snapshot old, new;
	struct err e;

	(void)state;
	list(&old, some, ARRAY_SIZE(some), &desc_v1);
	list(&new, more, ARRAY_SIZE(more), &desc_v1);
	new.items[1].optional = true;
	assert_int_equal(check(&old, &new, &e), 0);
	assert_int_equal(check(&new, &old, &e), 0);
	assert_int_equal(check(&new, &new, &e), 0);
	((struct one *)new.items[1].state)->v = 1;
	assert_int_equal(check(&new, &new, &e), 0);
	assert_int_equal(check(&new, &old, &e), -EINVAL);
	assert_string_equal(e.msg, "the old machine has 'late 0', this one has not");
	snapshot_fini(&old);
	snapshot_fini(&new);
}

static void versions_must_be_readable_here(void **state)
{
	static const char *const names[] = { "thing" };
	struct snapshot v1, v3;
	struct err e;
	json_t *l;

	(void)state;
	list(&v1, names, 1, &desc_v1);
	list(&v3, names, 1, &desc_v3);
	assert_int_equal(check(&v3, &v3, &e), 0);
	assert_int_equal(check(&v3, &v1, &e), -EINVAL);
	assert_string_equal(e.msg, "unsupported version 3 for 'thing' v1");
	assert_int_equal(check(&v1, &v3, &e), -EINVAL);
	assert_string_equal(e.msg, "version 1 of 'thing' is too old, the oldest known is 2");
	/* An earlier release does not say its versions; the state itself will. */
	l = sections_list(&v3);
	assert_int_equal(sections_check(&v1, l, NULL, &e), 0);
	json_decref(l);
	snapshot_fini(&v1);
	snapshot_fini(&v3);
}

static void a_renamed_thing_fits_under_its_former_name(void **state)
{
	static const char *const before[] = { "tick" }, *const after[] = { "beat" };
	struct snapshot old, new;
	struct err e;

	(void)state;
	list(&old, before, 1, &desc_v1);
	list(&new, after, 1, &desc_v1);
	assert_int_equal(check(&old, &new, &e), -EINVAL);
	assert_int_equal(snapshot_add_alias(&new, "tick", 0, &e), 0);
	assert_int_equal(check(&old, &new, &e), 0);
	assert_int_equal(check(&new, &new, &e), 0);
	/* The earlier release does not know the new name, and says so before the guest stops. */
	assert_int_equal(check(&new, &old, &e), -EINVAL);
	assert_string_equal(e.msg, "the old machine has 'beat 0', this one has not");
	snapshot_fini(&old);
	snapshot_fini(&new);
}

static void nonsense_is_refused(void **state)
{
	static const char *const texts[] = {
		"[\"thing\"]",
		"[\"thing \"]",
		"[\"thing x\"]",
		"[\"thing -1\"]",
		"[\"thing 1\"]",
		"[\"thing 4294967296\"]",
		"[\"\"]",
		"[\" \"]",
		"[7]",
		"[null]",
		"[]",
		"[[]]",
		"[\" 0\"]",
	};
	static const char *const versions[] = {
		"{\"thing\": -1}",
		"{\"thing\": \"1\"}",
		"{\"thing\": 4294967297}",
		"{\"thing\": 1.5}",
	};
	static const char *const names[] = { "thing" };
	char longest[300] = "[\"";
	struct snapshot s;
	struct err e;
	json_t *l, *v;

	(void)state;
	list(&s, names, 1, &desc_v1);
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		l = json_loads(texts[i], 0, NULL);
		assert_non_null(l);
		assert_int_equal(sections_check(&s, l, NULL, &e), -EINVAL);
		json_decref(l);
	}
	memset(longest + 2, 'x', 280);
	strcpy(longest + 282, " 0\"]");
	l = json_loads(longest, 0, NULL);
	assert_non_null(l);
	assert_int_equal(sections_check(&s, l, NULL, &e), -EINVAL);
	json_decref(l);
	l = sections_list(&s);
	for (size_t i = 0; i < ARRAY_SIZE(versions); i++) {
		v = json_loads(versions[i], 0, NULL);
		assert_int_equal(sections_check(&s, l, v, &e), -EINVAL);
		assert_string_equal(e.msg, "the old machine's version of 'thing' is no version");
		json_decref(v);
	}
	json_decref(l);
	snapshot_fini(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_machines_have_the_same_things),
		cmocka_unit_test(what_is_optional_is_not_missed),
		cmocka_unit_test(versions_must_be_readable_here),
		cmocka_unit_test(a_renamed_thing_fits_under_its_former_name),
		cmocka_unit_test(nonsense_is_refused),
	};

	return cmocka_run_group_tests_name("sections", tests, NULL, NULL);
}
