/* SPDX-License-Identifier: MIT */
/* Introspection against the tables it is made from, and the tree of objects. */
#include "fake_machine.h"

#include <jansson.h>
#include <stdlib.h>

#include "ctl/commands.h"
#include "ctl/events.h"
#include "ctl/introspect.h"
#include "ctl/objects.h"

/* Entry @name of @list, NULL if there is none. */
static json_t *entry(json_t *list, const char *name)
{
	json_t *v;
	size_t i;

	json_array_foreach(list, i, v)
	{
		if (!strcmp(json_string_value(json_object_get(v, "name")), name))
			return v;
	}
	return NULL;
}

static json_t *type_of(json_t *list, json_t *o, const char *member)
{
	json_t *type = entry(list, json_string_value(json_object_get(o, member)));

	assert_non_null(type);
	return type;
}

/* Every reference leads to an entry. */
static void every_type_that_is_named_is_there(void **state)
{
	static const char *const refs[] = { "arg-type", "ret-type", "element-type" };
	static const char *const lists[] = { "members", "variants" };
	json_t *list = introspect_build();
	json_t *v, *m;
	size_t i, j;

	(void)state;
	assert_true(json_array_size(list) > 60);
	json_array_foreach(list, i, v)
	{
		assert_ptr_equal(entry(list, json_string_value(json_object_get(v, "name"))), v);
		for (size_t k = 0; k < ARRAY_SIZE(refs); k++) {
			if (json_object_get(v, refs[k]))
				type_of(list, v, refs[k]);
		}
		for (size_t k = 0; k < ARRAY_SIZE(lists); k++) {
			json_array_foreach(json_object_get(v, lists[k]), j, m)
			{
				if (json_object_get(m, "type"))
					type_of(list, m, "type");
			}
		}
	}
	json_decref(list);
}

static void compare_command(const struct command *c, void *arg)
{
	json_t *info = entry(arg, c->name);
	json_t *members;

	assert_non_null(info);
	members = json_object_get(type_of(arg, info, "arg-type"), "members");
	for (const struct schema_member *m = c->args; m && m->name; m++) {
		json_t *found = entry(members, m->name);

		assert_non_null(found);
		assert_int_equal(json_object_get(found, "default") != NULL, m->optional);
	}
	if (c->returns && c->returns->type == SCHEMA_LIST)
		assert_non_null(json_object_get(type_of(arg, info, "ret-type"), "element-type"));
}

static void commands_and_events_are_told_as_the_tables_have_them(void **state)
{
	json_t *list = introspect_build();
	json_t *type;

	(void)state;
	command_for_each(compare_command, list);
	for (size_t i = 0; i < EVENT_COUNT; i++) {
		assert_non_null(entry(list, event_table[i].name));
		type = type_of(list, entry(list, event_table[i].name), "arg-type");
		for (const struct schema_member *m = event_table[i].data; m && m->name; m++)
			assert_non_null(entry(json_object_get(type, "members"), m->name));
	}
	json_decref(list);
}

/* Introspection describes itself: its own description accepts it. */
static void the_schema_fits_its_own_schema(void **state)
{
	json_t *list = introspect_build();
	struct err e = ERR_INIT;
	json_t *v;
	size_t i;

	(void)state;
	json_array_foreach(list, i, v)
	{
		if (schema_check(&introspect_schema, v, &e) < 0)
			fail_msg("%s", e.msg);
	}
	json_decref(list);
}

static void count(const struct ram_block *b, void *arg)
{
	(void)b;
	++*(unsigned int *)arg;
}

static int run(struct fake *f, const char *name, json_t *args, json_t **ret, struct err *e)
{
	return command_run_named(f->ctl, name, args, ret, e);
}

static void objects_are_made_and_removed(void **state)
{
	struct err e = ERR_INIT;
	unsigned int n = 0;
	struct fake f;
	json_t *ret;

	(void)state;
	fake_init(&f);
	assert_int_equal(run(&f, "object-add",
			     json_pack("{s:s, s:s, s:i}", "qom-type", "memory-backend-memfd", "id",
				       "m1", "size", 8192),
			     NULL, &e),
			 0);
	objects_for_each_memory(f.ctl, count, &n);
	assert_int_equal(n, 2);
	assert_int_equal(run(&f, "qom-get",
			     json_pack("{s:s, s:s}", "path", "m1", "property", "share"), &ret, &e),
			 0);
	assert_true(json_is_true(ret));
	json_decref(ret);
	/* "device[0]" is the end of one path, "type" no path at all. */
	assert_int_equal(run(&f, "qom-list", json_pack("{s:s}", "path", "device[0]"), &ret, &e), 0);
	json_decref(ret);
	assert_int_equal(run(&f, "qom-list", json_pack("{s:s}", "path", "type"), &ret, &e),
			 -COMMAND_NO_DEVICE);
	assert_string_equal(e.msg, "Device 'type' not found");
	assert_true(run(&f, "object-del", json_pack("{s:s}", "id", "ram0"), NULL, &e) < 0);
	assert_string_equal(e.msg, "Cannot delete host memory backend 'ram0' which is mapped");
	assert_int_equal(run(&f, "object-del", json_pack("{s:s}", "id", "m1"), NULL, &e), 0);
	n = 0;
	objects_for_each_memory(f.ctl, count, &n);
	assert_int_equal(n, 1);
	fake_fini(&f);
}

static void there_is_an_end_to_objects(void **state)
{
	struct err e = ERR_INIT;
	unsigned int n = 0;
	struct fake f;
	char id[16];

	(void)state;
	fake_init(&f);
	do {
		snprintf(id, sizeof(id), "m%u", n++);
		assert_true(n < 1000);
	} while (run(&f, "object-add",
		     json_pack("{s:s, s:s, s:i}", "qom-type", "memory-backend-memfd", "id", id,
			       "size", 4096),
		     NULL, &e) == 0);
	assert_non_null(strstr(e.msg, "memory backends already"));
	fake_fini(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_type_that_is_named_is_there),
		cmocka_unit_test(commands_and_events_are_told_as_the_tables_have_them),
		cmocka_unit_test(the_schema_fits_its_own_schema),
		cmocka_unit_test(objects_are_made_and_removed),
		cmocka_unit_test(there_is_an_end_to_objects),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
