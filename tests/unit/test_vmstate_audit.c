/* SPDX-License-Identifier: MIT */
/* The audit of state tables: what it must find. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/util.h"
#include "vmstate_fixture.h"

static int accept_any(const void *s, struct err *e)
{
	(void)s;
	(void)e;
	return 0;
}

static void a_complete_table_passes_the_audit(void **state)
{
	struct err e;

	(void)state;
	assert_int_equal(vs_audit(&all_desc, &e), 0);
	assert_int_equal(vs_audit(&grown_v3, &e), 0);
	assert_int_equal(vs_audit(&grown_parts_desc, &e), 0);
}

/* Audits a table of struct grown. */
static int audit(const struct vs_field *fields, struct err *e)
{
	const struct vs_desc d = {
		.name = "grown",
		.version = 3,
		.min_version = 1,
		.size = sizeof(struct grown),
		.fields = fields,
	};

	return vs_audit(&d, e);
}

static void audit_finds_a_byte_that_is_not_described(void **state)
{
	static const struct vs_field fields[] = {
		VS_FIELD(struct grown, base),
		VS_FIELD(struct grown, two),
		VS_FIELD(struct grown, two_more),
		VS_END,
	};
	struct err e;

	(void)state;
	assert_int_equal(audit(fields, &e), -EINVAL);
	assert_string_equal(e.msg, "'grown': byte 6 is not described");
}

static void audit_finds_a_byte_that_is_described_twice(void **state)
{
	static const struct vs_field fields[] = {
		VS_FIELD(struct grown, base),           VS_FIELD(struct grown, two),
		VS_FIELD(struct grown, three),          VS_FIELD(struct grown, two_more),
		VS_FIELD_SINCE(struct grown, three, 2), VS_END,
	};
	struct vs_subsection parts[] = { { &part_desc, three_is_set },
					 { &part_desc, three_is_set },
					 { NULL, NULL } };
	struct vs_desc d = grown_parts_desc;
	struct err e;

	(void)state;
	assert_int_equal(audit(fields, &e), -EINVAL);
	assert_string_equal(e.msg, "'grown': byte 6 ('three') is described twice");
	d.subsections = parts;
	assert_int_equal(vs_audit(&d, &e), -EINVAL);
	assert_string_equal(e.msg, "'grown/part': byte 6 ('three') is described twice");
}

static void audit_finds_padding(void **state)
{
	struct padded {
		uint8_t a;
		uint32_t b;
	};
	static const struct vs_field fields[] = {
		VS_FIELD(struct padded, a),
		VS_FIELD(struct padded, b),
		VS_END,
	};
	const struct vs_desc d = {
		.name = "padded",
		.version = 1,
		.size = sizeof(struct padded),
		.fields = fields,
	};
	struct err e;

	(void)state;
	assert_int_equal(vs_audit(&d, &e), -EINVAL);
	assert_string_equal(e.msg, "'padded': byte 1 is not described");
}

static void audit_finds_a_table_of_another_struct(void **state)
{
	struct vs_desc other = part_desc, d = grown_parts_desc;
	struct vs_subsection parts[] = { { &other, three_is_set }, { NULL, NULL } };
	struct vs_field nested[] = { VS_STRUCT(struct all, one, &grown_v1), VS_END };
	struct vs_field outside[] = { VS_FIELD(struct all, late), VS_END };
	struct err e;

	(void)state;
	other.size = 4;
	d.subsections = parts;
	assert_int_equal(vs_audit(&d, &e), -EINVAL);
	assert_string_equal(e.msg, "'grown/part' describes another struct than 'grown'");
	d = all_desc;
	d.fields = nested;
	assert_int_equal(vs_audit(&d, &e), -EINVAL);
	assert_string_equal(e.msg, "'all': the table of 'one' is for another struct");
	d = grown_parts_desc;
	d.fields = outside;
	assert_int_equal(vs_audit(&d, &e), -EINVAL);
	assert_string_equal(e.msg, "'grown': field 'late' lies outside the struct");
}

static void audit_looks_into_nested_tables(void **state)
{
	static const struct vs_field half[] = { VS_FIELD(struct inner, a), VS_END };
	struct vs_desc sub = inner_desc, d = all_desc;
	struct vs_field fields[ARRAY_SIZE(all_fields)];
	struct err e;

	(void)state;
	memcpy(fields, all_fields, sizeof(fields));
	for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
		if (fields[i].sub)
			fields[i].sub = &sub;
	d.fields = fields;
	assert_int_equal(vs_audit(&d, &e), 0);
	sub.fields = half;
	assert_int_equal(vs_audit(&d, &e), -EINVAL);
	assert_string_equal(e.msg, "'all/inner': byte 2 is not described");
}

struct bag {
	uint32_t n;
	uint16_t items[6];
};

static const struct vs_field bag_fields[] = {
	VS_FIELD(struct bag, n),
	{ VS_ARRAY_BASE(struct bag, items), .kind = VS_KIND_UINT, .var_len = true,
	  .len_offset = offsetof(struct bag, n) },
	VS_END,
};
static const struct vs_desc bag_desc = { .name = "shelf/bag",
					 .version = 1,
					 .min_version = 1,
					 .size = sizeof(struct bag),
					 .fields = bag_fields };

struct shelf {
	struct bag one;
	struct bag two[2];
};

static void a_nested_struct_may_have_a_variable_part_but_not_in_an_array(void **state)
{
	static const struct vs_field wrong[] = {
		VS_STRUCT(struct shelf, one, &bag_desc),
		VS_STRUCT_ARRAY(struct shelf, two, &bag_desc),
		VS_END,
	};
	static const struct vs_field right[] = { VS_STRUCT(struct shelf, one, &bag_desc), VS_END };
	struct vs_desc d = { .name = "shelf",
			     .version = 1,
			     .min_version = 1,
			     .size = sizeof(struct shelf),
			     .fields = wrong };
	struct shelf s = { .one = { .n = 2, .items = { 7, 8, 9 } } }, got;
	AUTO_BUF b = { 0 };
	struct cursor c;
	struct err e;

	(void)state;
	assert_int_equal(vs_audit(&d, &e), -EINVAL);
	assert_string_equal(e.msg, "'shelf': elements of 'two' would not have one size");
	d.fields = right;
	d.size = sizeof(struct bag);
	assert_int_equal(vs_audit(&d, &e), 0);
	vs_encode(&d, &s, &b, NULL);
	assert_int_equal(b.len, 4 + 2 * 2);
	cursor_init(&c, b.data, b.len);
	assert_int_equal(vs_decode(&d, 1, &c, &got, &e), 0);
	assert_int_equal(got.one.n, 2);
	assert_int_equal(got.one.items[1], 8);
	/* What is beyond has its reset value. */
	assert_int_equal(got.one.items[2], 0);
	b.data[3] = 7;
	cursor_init(&c, b.data, b.len);
	assert_int_equal(vs_decode(&d, 1, &c, &got, &e), -EINVAL);
	assert_string_equal(e.msg, "'shelf/bag' has 7 of 'items', at most 6 fit");
}

/* Nested tables are sent inline: what would need a subsection or a check is not sent at all. */
static void audit_finds_what_a_nested_table_would_lose(void **state)
{
	static const struct vs_field since[] = {
		VS_FIELD(struct inner, a),
		{ VS_ARRAY_BASE(struct inner, b), .kind = VS_KIND_BUFFER, .since = 2 },
		VS_END,
	};
	struct vs_field fields[ARRAY_SIZE(all_fields)];
	struct vs_desc sub = inner_desc, d = all_desc;
	struct vs_subsection none[] = { { NULL, NULL } };
	struct err e;

	(void)state;
	memcpy(fields, all_fields, sizeof(fields));
	for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
		if (fields[i].sub)
			fields[i].sub = &sub;
	d.fields = fields;
	sub.fields = since;
	assert_int_equal(vs_audit(&sub, &e), 0);
	assert_int_equal(vs_audit(&d, &e), -EINVAL);
	assert_string_equal(e.msg, "'all': the nested table 'all/inner' has parts that are not "
				   "sent inline");
	sub = inner_desc;
	sub.subsections = none;
	assert_int_equal(vs_audit(&d, &e), -EINVAL);
	sub = inner_desc;
	sub.check = accept_any;
	assert_int_equal(vs_audit(&d, &e), -EINVAL);
}

static void audit_finds_a_count_that_comes_after_its_elements(void **state)
{
	struct counted {
		uint32_t n;
		uint8_t v[4];
	};
	static const struct vs_field late[] = {
		VS_BUFFER_VAR(struct counted, v, n),
		VS_FIELD(struct counted, n),
		VS_END,
	};
	static const struct vs_field right[] = {
		VS_FIELD(struct counted, n),
		VS_BUFFER_VAR(struct counted, v, n),
		VS_END,
	};
	struct vs_desc d = { .name = "counted", .size = sizeof(struct counted), .fields = late };
	struct err e;

	(void)state;
	assert_int_equal(vs_audit(&d, &e), -EINVAL);
	assert_string_equal(e.msg, "'counted': the count of 'v' does not come before it");
	d.fields = right;
	assert_int_equal(vs_audit(&d, &e), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_complete_table_passes_the_audit),
		cmocka_unit_test(audit_finds_a_byte_that_is_not_described),
		cmocka_unit_test(audit_finds_a_byte_that_is_described_twice),
		cmocka_unit_test(audit_finds_padding),
		cmocka_unit_test(audit_finds_a_table_of_another_struct),
		cmocka_unit_test(audit_looks_into_nested_tables),
		cmocka_unit_test(a_nested_struct_may_have_a_variable_part_but_not_in_an_array),
		cmocka_unit_test(audit_finds_what_a_nested_table_would_lose),
		cmocka_unit_test(audit_finds_a_count_that_comes_after_its_elements),
	};

	return cmocka_run_group_tests_name("vmstate audit", tests, NULL, NULL);
}
