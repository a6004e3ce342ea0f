/* SPDX-License-Identifier: MIT */
/* The audit: every byte of every class's state is in its table, once, under a name that fits. */
#include <ctype.h>
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
#include "dev/types.h"
#include "machine/globalstate.h"
#include "machine/vcpu_state.h"
#include "state/stream.h"

static void every_byte_of_every_state_is_in_its_table_once(void **state)
{
	const struct vs_desc *descs[MAX_DESCS];
	size_t n = all_descs(descs);
	struct err e;

	(void)state;
	assert_true(n > 3);
	for (size_t i = 0; i < n; i++)
		if (vs_audit(descs[i], &e))
			fail_msg("%s", e.msg);
	/* This one goes from image to image in a process only, and is in no state. */
	if (vs_audit(&vcpu_caps_desc, &e))
		fail_msg("%s", e.msg);
}

static void every_class_has_a_state_or_says_that_it_has_none(void **state)
{
	const struct device_class *c;

	(void)state;
	assert_non_null(dev_class_at(0));
	for (unsigned int i = 0; (c = dev_class_at(i)); i++) {
		assert_non_null(c->name);
		assert_non_null(c->destroy);
		for (unsigned int k = 0; k < i; k++)
			assert_string_not_equal(dev_class_at(k)->name, c->name);
		if (c->stateless == (c->state != NULL))
			fail_msg("class '%s': state and stateless disagree", c->name);
		/* A state that is not in the struct is both fetched and set by the class. */
		if (!c->capture != !c->apply)
			fail_msg("class '%s' has only one of capture and apply", c->name);
		if (c->state)
			assert_string_equal(c->state->name, c->name);
	}
}

static void no_two_tables_share_a_name(void **state)
{
	const struct vs_desc *descs[MAX_DESCS];
	size_t n = all_descs(descs);

	(void)state;
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < i; k++)
			if (!strcmp(descs[i]->name, descs[k]->name) && descs[i] != descs[k])
				fail_msg("two tables are called '%s'", descs[i]->name);
}

/* Also of its fields, nested tables and subsections. */
static void check_names(const struct vs_desc *d)
{
	/* The longest name of a subsection that is made from it: NAME/v4294967295. */
	assert_in_range(strlen(d->name), 1, 255 - 12);
	for (const char *c = d->name; *c; c++)
		assert_true(isgraph((unsigned char)*c));
	for (const struct vs_field *f = d->fields; f->name; f++) {
		for (const struct vs_field *o = d->fields; o != f; o++)
			if (!strcmp(o->name, f->name))
				fail_msg("'%s' has two fields '%s'", d->name, f->name);
		if (f->sub) {
			/* Of its own, NAME/PART, or one that several share: LIBRARY/PART. */
			assert_non_null(strchr(f->sub->name, '/'));
			check_names(f->sub);
		}
	}
	for (const struct vs_subsection *s = d->subsections; s && s->desc; s++) {
		size_t n = strlen(d->name);

		assert_non_null(s->needed);
		assert_true(!strncmp(s->desc->name, d->name, n) && s->desc->name[n] == '/');
		check_names(s->desc);
	}
}

static void names_fit_where_they_travel(void **state)
{
	const struct vs_desc *descs[MAX_DESCS];
	size_t n = all_descs(descs);

	(void)state;
	for (size_t i = 0; i < n; i++) {
		assert_true(strlen(descs[i]->name) < SIZEOF_FIELD(struct snapshot_item, idstr));
		/* What the format itself uses. */
		assert_string_not_equal(descs[i]->name, "ram");
		assert_string_not_equal(descs[i]->name, STREAM_CHECKSUM_IDSTR);
		check_names(descs[i]);
	}
	assert_true(strlen(LAYOUT_MACHINE_TYPE) < SIZEOF_FIELD(struct snapshot, machine));
}

static void versions_make_sense(void **state)
{
	const struct vs_desc *descs[MAX_DESCS];
	size_t n = all_descs(descs);

	(void)state;
	for (size_t i = 0; i < n; i++) {
		assert_true(descs[i]->version >= 1);
		assert_true(descs[i]->min_version >= 1);
		assert_true(descs[i]->min_version <= descs[i]->version);
		for (const struct vs_field *f = descs[i]->fields; f->name; f++) {
			assert_true(f->since <= descs[i]->version);
			/* A field that came with the oldest version needs no mark. */
			assert_true(!f->since || f->since > 1);
		}
	}
}

/* A reset state of each class survives its own bytes. */
static void reset_states_pass_their_own_checks(void **state)
{
	const struct vs_desc *descs[MAX_DESCS];
	size_t n = all_descs(descs);

	(void)state;
	for (size_t i = 0; i < n; i++) {
		const struct vs_desc *d = descs[i];
		void *s = calloc(1, d->size), *got = calloc(1, d->size);
		AUTO_BUF b = { 0 };
		struct cursor c;
		struct err e;
		int r;

		if (d->reset)
			memcpy(s, d->reset, d->size);
		vs_encode(d, s, &b, NULL);
		cursor_init(&c, b.data, b.len);
		r = vs_decode(d, d->version, &c, got, &e);
		/* Those without reset values may refuse a state of zeros, in words. */
		if (r && d->reset)
			fail_msg("%s", e.msg);
		if (!r) {
			assert_memory_equal(s, got, d->size);
			assert_int_equal(cursor_left(&c), 0);
		}
		free(s);
		free(got);
	}
}

static int load_globalstate(const char *name, uint32_t size, struct err *e)
{
	struct global_state g = { .size = size }, got;
	AUTO_BUF b = { 0 };
	struct cursor c;

	memcpy(g.runstate, name, strnlen(name, sizeof(g.runstate)));
	vs_encode(&global_state_desc, &g, &b, NULL);
	assert_int_equal(b.len, 4 + 32 + 1 + 1 + 66);
	cursor_init(&c, b.data, b.len);
	return vs_decode(&global_state_desc, 1, &c, &got, e);
}

static void globalstate_names_a_known_run_state(void **state)
{
	struct err e;

	(void)state;
	assert_int_equal(load_globalstate("running", 8, &e), 0);
	assert_int_equal(load_globalstate("paused", 7, &e), 0);
	assert_true(load_globalstate("running", 7, &e) < 0);
	assert_true(load_globalstate("running", 9, &e) < 0);
	assert_true(load_globalstate("running", 0, &e) < 0);
	assert_true(load_globalstate("running", 33, &e) < 0);
	assert_true(load_globalstate("running", UINT32_MAX, &e) < 0);
	assert_true(load_globalstate("dancing", 8, &e) < 0);
	assert_string_equal(e.msg, "the state names a run state that is unknown here");
	assert_true(load_globalstate("", 1, &e) < 0);
	assert_true(load_globalstate("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", 32, &e) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_byte_of_every_state_is_in_its_table_once),
		cmocka_unit_test(every_class_has_a_state_or_says_that_it_has_none),
		cmocka_unit_test(no_two_tables_share_a_name),
		cmocka_unit_test(names_fit_where_they_travel),
		cmocka_unit_test(versions_make_sense),
		cmocka_unit_test(reset_states_pass_their_own_checks),
		cmocka_unit_test(globalstate_names_a_known_run_state),
	};

	return cmocka_run_group_tests_name("audit", tests, NULL, NULL);
}
