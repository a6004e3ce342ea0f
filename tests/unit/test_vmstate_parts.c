/* SPDX-License-Identifier: MIT */
/* Parts of a state that are not always there: predicates, aliases, what cannot be saved. */
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
#include "machine/device.h"
#include "machine/layout.h"
#include "machine/vm.h"
#include "state/stream.h"
#include "vmstate_fixture.h"

/* A timer that has a period only while it is periodic. */
struct beat {
	uint32_t periodic;
	uint32_t period;
	uint32_t last;
	uint32_t newer;
};

static const struct beat beat_reset = { .period = 7 };

static bool is_periodic(const void *s)
{
	return ((const struct beat *)s)->periodic;
}

static const struct vs_field beat_fields[] = {
	VS_FIELD(struct beat, periodic),
	VS_FIELD_TEST(struct beat, period, is_periodic),
	VS_FIELD(struct beat, last),
	VS_FIELD_SINCE(struct beat, newer, 2),
	VS_END,
};

static const struct vs_desc beat_desc = {
	.name = "beat",
	.version = 2,
	.min_version = 1,
	.size = sizeof(struct beat),
	.reset = &beat_reset,
	.fields = beat_fields,
};

static const struct vs_desc unsaved_desc = {
	.name = "unsaved",
	.version = 1,
	.min_version = 1,
	.unmigratable = true,
};

static int decode(const struct vs_desc *d, const struct buf *b, void *s, struct err *e)
{
	struct cursor in;
	int r;

	cursor_init(&in, b->data, b->len);
	r = vs_decode(d, d->version, &in, s, e);
	if (!r)
		assert_int_equal(cursor_left(&in), 0);
	return r;
}

static void a_field_is_sent_where_its_predicate_holds(void **state)
{
	static const uint8_t with[] = { 0, 0, 0, 1, 0, 0, 0, 9, 0, 0, 0, 3 };
	static const uint8_t without[] = { 0, 0, 0, 0, 0, 0, 0, 3 };
	struct beat s = { .periodic = 1, .period = 9, .last = 3 }, got;
	AUTO_BUF b = { 0 };
	AUTO_BUF c = { 0 };
	struct err e;

	(void)state;
	assert_int_equal(vs_audit(&beat_desc, &e), 0);
	vs_encode(&beat_desc, &s, &b, NULL);
	assert_int_equal(b.len, sizeof(with));
	assert_memory_equal(b.data, with, sizeof(with));
	assert_int_equal(decode(&beat_desc, &b, &got, &e), 0);
	assert_memory_equal(&got, &s, sizeof(s));

	s.periodic = 0;
	vs_encode(&beat_desc, &s, &c, NULL);
	assert_int_equal(c.len, sizeof(without));
	assert_memory_equal(c.data, without, sizeof(without));
	assert_int_equal(decode(&beat_desc, &c, &got, &e), 0);
	assert_int_equal(got.last, 3);
	/* What was not sent has its reset value, not what a sender had there. */
	assert_int_equal(got.period, 7);
}

static void a_field_that_was_not_sent_is_not_described(void **state)
{
	struct beat s = { .last = 3 };
	AUTO_BUF b = { 0 };
	AUTO_BUF text = { 0 };
	struct jsonw w;

	(void)state;
	jsonw_init(&w, &text);
	jsonw_begin_object(&w, NULL);
	vs_encode(&beat_desc, &s, &b, &w);
	jsonw_end_object(&w);
	buf_put_u8(&text, 0);
	assert_non_null(strstr((char *)text.data, "\"last\""));
	assert_null(strstr((char *)text.data, "\"period\""));
}

static void a_nested_table_has_no_predicates(void **state)
{
	struct outer {
		struct beat in;
	};
	static const struct vs_field inner[] = {
		VS_FIELD(struct beat, periodic),
		VS_FIELD_TEST(struct beat, period, is_periodic),
		VS_FIELD(struct beat, last),
		VS_FIELD(struct beat, newer),
		VS_END,
	};
	static const struct vs_desc inner_beat = { .name = "outer/in",
						   .version = 1,
						   .min_version = 1,
						   .size = sizeof(struct beat),
						   .fields = inner };
	static const struct vs_field outer_fields[] = {
		VS_STRUCT(struct outer, in, &inner_beat),
		VS_END,
	};
	static const struct vs_desc outer = { .name = "outer",
					      .version = 1,
					      .min_version = 1,
					      .size = sizeof(struct outer),
					      .fields = outer_fields };
	struct err e;

	(void)state;
	assert_int_equal(vs_audit(&inner_beat, &e), 0);
	assert_int_equal(vs_audit(&outer, &e), -EINVAL);
	assert_non_null(strstr(e.msg, "not sent inline"));
}

static void a_newer_part_of_another_version_is_refused_by_name(void **state)
{
	struct beat s = { .newer = 1 }, got;
	AUTO_BUF b = { 0 };
	struct err e;

	(void)state;
	vs_encode(&beat_desc, &s, &b, NULL);
	assert_int_equal(decode(&beat_desc, &b, &got, &e), 0);
	b.data[b.len - 5]++;
	assert_int_equal(decode(&beat_desc, &b, &got, &e), -EINVAL);
	assert_string_equal(e.msg, "subsection 'beat/v2' has version 3, known is 2");
	b.len -= 6;
	assert_int_equal(decode(&beat_desc, &b, &got, &e), -ENODATA);
	assert_string_equal(e.msg, "the state ends in subsection 'beat/v2'");
}

static bool always(const void *s)
{
	(void)s;
	return true;
}

static int audit_part(const struct vs_desc *part, bool (*needed)(const void *s), struct err *e)
{
	const struct vs_subsection parts[] = { { part, needed }, { NULL, NULL } };
	struct vs_desc d = grown_parts_desc;

	d.subsections = parts;
	return vs_audit(&d, e);
}

static void a_subsection_must_fit_its_section(void **state)
{
	struct vs_desc part = part_desc;
	struct err e;

	(void)state;
	assert_int_equal(audit_part(&part, always, &e), 0);
	assert_int_equal(audit_part(&part, NULL, &e), -EINVAL);
	assert_non_null(strstr(e.msg, "does not say when it is needed"));
	part.name = "growing/part";
	assert_int_equal(audit_part(&part, always, &e), -EINVAL);
	assert_string_equal(e.msg, "subsection 'growing/part' is not named after 'grown'");
	part.name = "grown/";
	assert_int_equal(audit_part(&part, always, &e), -EINVAL);
	part.name = "grown";
	assert_int_equal(audit_part(&part, always, &e), -EINVAL);
	part = part_desc;
	part.subsections = grown_parts;
	assert_int_equal(audit_part(&part, always, &e), -EINVAL);
	assert_non_null(strstr(e.msg, "parts that are not sent"));
}

/* A machine of which an earlier release called the beat "tick" 4. */
static void list_beat(struct snapshot *s, const char *name, const char *alias)
{
	struct err e;

	snapshot_init(s, "m");
	assert_int_equal(snapshot_add(s, name, SNAPSHOT_AUTO_INSTANCE, &beat_desc, &e), 0);
	if (alias)
		assert_int_equal(snapshot_add_alias(s, alias, 4, &e), 0);
}

static void a_state_under_an_earlier_name_loads(void **state)
{
	AUTO_BUF old_bytes = { 0 };
	AUTO_BUF new_bytes = { 0 };
	struct snapshot old, new;
	struct err e;

	(void)state;
	snapshot_init(&old, "m");
	assert_int_equal(snapshot_add(&old, "tick", 4, &beat_desc, &e), 0);
	((struct beat *)old.items[0].state)->last = 77;
	assert_int_equal(stream_encode(&old, &old_bytes, &e), 0);

	list_beat(&new, "beat", "tick");
	assert_int_equal(stream_decode(old_bytes.data, old_bytes.len, &new, &e), 0);
	assert_int_equal(((struct beat *)new.items[0].state)->last, 77);
	/* It is written under its own name, which the earlier release does not know. */
	assert_int_equal(stream_encode(&new, &new_bytes, &e), 0);
	assert_int_equal(stream_decode(new_bytes.data, new_bytes.len, &new, &e), 0);
	assert_int_equal(stream_decode(new_bytes.data, new_bytes.len, &old, &e), -EINVAL);
	assert_non_null(strstr(e.msg, "Unknown section or instance 'beat' 0"));
	snapshot_fini(&old);
	snapshot_fini(&new);
}

static void a_state_under_both_names_is_refused(void **state)
{
	AUTO_BUF b = { 0 };
	struct snapshot both, new;
	struct err e;

	(void)state;
	list_beat(&both, "beat", NULL);
	assert_int_equal(snapshot_add(&both, "tick", 4, &beat_desc, &e), 0);
	assert_int_equal(stream_encode(&both, &b, &e), 0);
	list_beat(&new, "beat", "tick");
	assert_int_equal(stream_decode(b.data, b.len, &new, &e), -EINVAL);
	assert_string_equal(e.msg, "section 'tick' 4 comes twice");
	snapshot_fini(&both);
	snapshot_fini(&new);
}

static void an_alias_is_nobody_elses_name(void **state)
{
	char long_name[80];
	struct snapshot s;
	struct err e;

	(void)state;
	list_beat(&s, "beat", "tick");
	assert_int_equal(snapshot_add(&s, "tick", 4, &beat_desc, &e), -EEXIST);
	assert_int_equal(snapshot_add(&s, "tick", 5, &beat_desc, &e), 0);
	assert_int_equal(snapshot_add_alias(&s, "beat", 0, &e), -EEXIST);
	assert_int_equal(snapshot_add_alias(&s, "tick", 4, &e), -EEXIST);
	assert_int_equal(snapshot_add_alias(&s, "tock", SNAPSHOT_AUTO_INSTANCE, &e), -EEXIST);
	assert_null(snapshot_find_loading(&s, "", 0));
	memset(long_name, 'x', sizeof(long_name) - 1);
	long_name[sizeof(long_name) - 1] = '\0';
	assert_int_equal(snapshot_add_alias(&s, long_name, 0, &e), -ENAMETOOLONG);
	assert_int_equal(snapshot_add(&s, long_name, 0, &beat_desc, &e), -ENAMETOOLONG);
	snapshot_fini(&s);
}

/* Devices: one that can be saved, one that cannot, one that forgot to say, one without state. */
static const struct device_class good_class = { .name = "beat", .state = &beat_desc };
static const struct device_class unsaved_class = { .name = "unsaved", .state = &unsaved_desc };
static const struct device_class silent_class = { .name = "silent" };
static const struct device_class mute_class = { .name = "mute", .stateless = true };

static void what_cannot_be_saved_is_named(void **state)
{
	struct device good = { 0 }, mute = { 0 }, bad = { 0 }, silent = { 0 };
	struct ram_block ram = { .name = "ram0", .size = 1 << 21 };
	struct vm vm = { 0 };
	const char *names[3] = { NULL };
	struct snapshot s;
	struct err e;

	(void)state;
	assert_int_equal(vs_audit(&unsaved_desc, &e), 0);
	memmap_init(&vm.mem, &ram);
	list_init(&vm.devices);
	device_add(&vm, &good, &good_class);
	device_add(&vm, &mute, &mute_class);
	assert_int_equal(device_blockers(&vm, names, ARRAY_SIZE(names)), 0);
	assert_int_equal(device_check_all_migratable(&vm, &e), 0);

	device_add(&vm, &silent, &silent_class);
	device_add(&vm, &bad, &unsaved_class);
	assert_int_equal(device_blockers(&vm, names, 1), 2);
	assert_string_equal(names[0], "silent");
	assert_null(names[1]);
	assert_int_equal(device_blockers(&vm, names, ARRAY_SIZE(names)), 2);
	assert_string_equal(names[1], "unsaved");
	assert_int_equal(device_check_all_migratable(&vm, &e), -EOPNOTSUPP);
	assert_string_equal(e.msg,
			    "Device silent is not migratable, but --only-migratable was specified");
	assert_int_equal(device_class_check_migratable(&unsaved_class, &e), -EOPNOTSUPP);
	assert_int_equal(device_class_check_migratable(&good_class, &e), 0);
	/* Neither saved nor loaded: the list of both is refused. */
	snapshot_init(&s, LAYOUT_MACHINE_TYPE);
	assert_int_equal(vm_list_state(&vm, VM_STATE_ALL, &s, &e), -EOPNOTSUPP);
	assert_string_equal(e.msg, "State blocked by non-migratable device 'silent'");
	snapshot_fini(&s);
	list_del(&silent.link);
	snapshot_init(&s, LAYOUT_MACHINE_TYPE);
	assert_int_equal(vm_list_state(&vm, VM_STATE_ALL, &s, &e), -EOPNOTSUPP);
	assert_string_equal(e.msg, "State blocked by non-migratable device 'unsaved'");
	assert_int_equal(snapshot_add(&s, "unsaved", 0, &unsaved_desc, &e), -EOPNOTSUPP);
	snapshot_fini(&s);
}

static void the_alias_of_a_class_is_listed(void **state)
{
	static const struct device_class renamed = { .name = "beat",
						     .state = &beat_desc,
						     .alias = "tick" };
	struct ram_block ram = { .name = "ram0", .size = 1 << 21 };
	struct vm vm = { 0 };
	struct device d[2] = { 0 };
	struct snapshot s;
	struct err e;

	(void)state;
	memmap_init(&vm.mem, &ram);
	list_init(&vm.devices);
	device_add(&vm, &d[0], &renamed);
	device_add(&vm, &d[1], &renamed);
	snapshot_init(&s, LAYOUT_MACHINE_TYPE);
	assert_int_equal(vm_list_state(&vm, VM_STATE_ALL, &s, &e), 0);
	assert_ptr_equal(snapshot_find_loading(&s, "tick", 1), snapshot_find(&s, "beat", 1));
	assert_non_null(snapshot_find(&s, "beat", 1));
	snapshot_fini(&s);
}

static void a_device_that_was_removed_leaves_no_double_number(void **state)
{
	struct vm vm = { 0 };
	struct device d[3] = { 0 };

	(void)state;
	list_init(&vm.devices);
	device_add(&vm, &d[0], &good_class);
	device_add(&vm, &d[1], &good_class);
	list_del(&d[0].link);
	device_add(&vm, &d[2], &good_class);
	assert_int_equal(d[2].instance_id, 2);
}

static void assert_described(const struct vs_desc *d, const char *text)
{
	json_t *got, *want = json_loads(text, 0, NULL);
	AUTO_BUF b = { 0 };
	struct jsonw w;

	jsonw_init(&w, &b);
	vs_describe(d, NULL, &w);
	got = json_loadb((const char *)b.data, b.len, JSON_REJECT_DUPLICATES, NULL);
	assert_non_null(got);
	assert_non_null(want);
	if (!json_equal(got, want))
		fail_msg("%.*s", (int)b.len, (const char *)b.data);
	json_decref(got);
	json_decref(want);
}

#define VERSIONS(name, version, min) \
	"\"name\": \"" name "\", \"version_id\": " version ", \"minimum_version_id\": " min
#define FIELD(name, since, exists, rest) \
	"{\"field\": \"" name "\", \"version_id\": " since ", \"field_exists\": " exists rest "}"

static void a_table_is_described_without_a_state(void **state)
{
	(void)state;
	/* Newer fields show as the subsection that they travel in. */
	assert_described(
		&beat_desc,
		"{" VERSIONS("beat", "2", "1") ", \"Fields\": [" FIELD("periodic", "0", "false", ", \"size\": 4") ", " FIELD(
			"period", "0", "true",
			", \"size\": 4") ", " FIELD("last", "0", "false",
						    ", \"size\": 4") "], \"Subsections\": [{" VERSIONS("beat/v2",
												       "2",
												       "2") ", \"Fields\": [" FIELD("newer",
																    "2",
																    "false",
																    ", \"size\": 4") "]}]}");
	/* Explicit subsections with their predicates; a nested table; no empty lists. */
	assert_described(
		&grown_parts_desc,
		"{" VERSIONS("grown", "1", "1") ", \"Fields\": [" FIELD("base", "0", "false", ", \"size\": 4") ", " FIELD("two", "0", "false", ", \"size\": 2") "], \"Subsections\": [{" VERSIONS(
			"grown/part", "6",
			"5") ", \"Fields\": [" FIELD("three", "0", "false",
						     ", \"size\": 1") ", " FIELD("two_more", "0",
										 "false",
										 ", \"size\": 1") "]}]}");
	assert_described(&inner_desc, "{" VERSIONS("all/inner", "3", "3") ", \"Fields\": [" FIELD(
					      "a", "0", "false",
					      ", \"size\": 2") ", " FIELD("b", "0", "false",
									  ", \"size\": 2") "]}");
	assert_described(&unsaved_desc, "{" VERSIONS("unsaved", "1", "1") ", \"Fields\": []}");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_field_is_sent_where_its_predicate_holds),
		cmocka_unit_test(a_field_that_was_not_sent_is_not_described),
		cmocka_unit_test(a_nested_table_has_no_predicates),
		cmocka_unit_test(a_newer_part_of_another_version_is_refused_by_name),
		cmocka_unit_test(a_subsection_must_fit_its_section),
		cmocka_unit_test(a_state_under_an_earlier_name_loads),
		cmocka_unit_test(a_state_under_both_names_is_refused),
		cmocka_unit_test(an_alias_is_nobody_elses_name),
		cmocka_unit_test(what_cannot_be_saved_is_named),
		cmocka_unit_test(the_alias_of_a_class_is_listed),
		cmocka_unit_test(a_device_that_was_removed_leaves_no_double_number),
		cmocka_unit_test(a_table_is_described_without_a_state),
	};

	return cmocka_run_group_tests_name("vmstate_parts", tests, NULL, NULL);
}
