/* SPDX-License-Identifier: MIT */
/* The types of devices that there are: what their tables have to say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "dev/pci/pci.h"
#include "dev/types.h"

static void every_type_says_what_it_is(void **state)
{
	(void)state;
	for (unsigned int i = 0; device_types[i]; i++) {
		const struct device_type *t = device_types[i];

		assert_true(t->driver && t->bus && t->help && t->classes && t->create);
		assert_true(t->classes[0] != NULL);
		assert_true(t->config_size >= sizeof(struct device_config));
		assert_ptr_equal(device_type_find(t->driver), t);
		if (t->alias)
			assert_ptr_equal(device_type_find(t->alias), t);
		if (!strcmp(t->bus, "PCI") && t->unplug != pci_request_unplug)
			fail_msg("'%s' is on a PCI bus: .unplug = pci_request_unplug", t->driver);
	}
}

/* The end of what @p writes into the config struct. */
static size_t end_of(const struct prop *p)
{
	static const size_t sizes[] = {
		[PROP_BOOL] = sizeof(bool),
		[PROP_TRISTATE] = 1,
		[PROP_UINT] = 8,
		[PROP_SIZE] = 8,
		[PROP_STRING] = PROP_STRING_MAX,
		[PROP_ENUM] = 1,
		[PROP_MAC] = 6,
		[PROP_PCI_ADDR] = 4,
		[PROP_NAME] = DEVICE_ID_MAX,
	};

	return p->offset + sizes[p->kind];
}

static void every_property_has_a_place_and_a_default_that_it_takes(void **state)
{
	(void)state;
	for (unsigned int i = 0; device_types[i]; i++) {
		const struct device_type *t = device_types[i];
		const struct prop *p, *o;

		for (unsigned int k = 0; (p = device_type_prop(t, k)); k++) {
			bool number = p->kind == PROP_UINT || p->kind == PROP_SIZE;
			unsigned int nr_values = 0;

			if (end_of(p) > t->config_size)
				fail_msg("%s.%s is beyond its config", t->driver, p->name);
			assert_ptr_equal(device_type_find_prop(t, p->name), p);
			for (unsigned int n = 0; n < k; n++) {
				o = device_type_prop(t, n);
				if (p->offset < end_of(o) && o->offset < end_of(p))
					fail_msg("%s.%s and .%s overlap", t->driver, p->name,
						 o->name);
			}
			/* A default of 0 may mean that none is given. */
			if (number && p->initial &&
			    (p->initial < p->min || (p->max && p->initial > p->max)))
				fail_msg("%s.%s: a default out of range", t->driver, p->name);
			while (p->kind == PROP_ENUM && p->values[nr_values])
				nr_values++;
			if (p->kind == PROP_ENUM)
				assert_in_range(p->initial, 0, nr_values - 1);
		}
	}
}

/* Whatever is asked for without a word is written down without one, and read again. */
static void every_type_comes_back_from_its_json(void **state)
{
	(void)state;
	for (unsigned int i = 0; device_types[i]; i++) {
		struct device_spec s, again;
		struct err e;
		json_t *j;

		assert_int_equal(device_spec_parse(&s, device_types[i]->driver, &e), 0);
		j = device_spec_to_json(&s);
		assert_int_equal(json_object_size(j), 1);
		assert_int_equal(device_spec_from_json(&again, j, &e), 0);
		assert_int_equal(device_spec_check_same(&s, &again, &e), 0);
		json_decref(j);
		device_spec_fini(&s);
		device_spec_fini(&again);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_type_says_what_it_is),
		cmocka_unit_test(every_property_has_a_place_and_a_default_that_it_takes),
		cmocka_unit_test(every_type_comes_back_from_its_json),
	};

	return cmocka_run_group_tests_name("types", tests, NULL, NULL);
}
