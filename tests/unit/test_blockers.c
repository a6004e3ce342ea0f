/* SPDX-License-Identifier: MIT */
/* Reasons against an update, by mode. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/util.h"
#include "machine/device.h"
#include "machine/vm.h"
#include "update/blockers.h"

#define RAM_TEXT(name)                                                                 \
	"Memory region " name " is not compatible with CPR. share=on is required for " \
	"memory-backend objects, and aux-ram-share=on is required."

static const struct device_class mute_class = { .name = "mute", .stateless = true };
static const struct device_class silent_class = { .name = "silent" };

struct machine {
	struct vm vm;
	struct ram_block shared, private;
	struct device mute, silent;
};

static void make(struct machine *m, bool private_ram, bool silent_device)
{
	*m = (struct machine){ 0 };
	m->shared = (struct ram_block){ .name = "ram0", .size = 1 << 21, .share = true, .fd = 9 };
	m->private = (struct ram_block){ .name = "tables", .size = 4096, .fd = -1 };
	m->shared.in_guest = m->private.in_guest = true;
	m->vm.mem.blocks[m->vm.mem.nr_blocks++] = &m->shared;
	m->vm.mem.ram = &m->shared;
	if (private_ram)
		m->vm.mem.blocks[m->vm.mem.nr_blocks++] = &m->private;
	list_init(&m->vm.devices);
	device_add(&m->vm, &m->mute, &mute_class);
	if (silent_device)
		device_add(&m->vm, &m->silent, &silent_class);
}

static size_t reasons(struct machine *m, enum migration_mode mode, char **out, size_t max)
{
	return blockers_list(&m->vm, mode, out, max);
}

static void nothing_stands_in_the_way_of_shared_ram(void **state)
{
	struct machine m;
	struct err e;

	(void)state;
	make(&m, false, false);
	for (int mode = 0; mode < MODE_COUNT; mode++)
		assert_int_equal(blockers_check(&m.vm, (enum migration_mode)mode, &e), 0);
}

static void private_ram_blocks_what_leaves_it_in_place(void **state)
{
	struct machine m;
	char *out[2];

	(void)state;
	make(&m, true, false);
	for (int mode = 0; mode < MODE_COUNT; mode++) {
		bool in_place = mode == MODE_CPR_TRANSFER || mode == MODE_CPR_EXEC;

		assert_int_equal(reasons(&m, (enum migration_mode)mode, out, 2), in_place);
		if (!in_place)
			continue;
		assert_string_equal(out[0], RAM_TEXT("tables"));
		free(out[0]);
	}
}

static void a_device_that_cannot_be_saved_blocks_every_mode(void **state)
{
	struct machine m;
	struct err e;
	char *out[2];

	(void)state;
	make(&m, true, true);
	for (int mode = 0; mode < MODE_COUNT; mode++) {
		assert_int_equal(reasons(&m, (enum migration_mode)mode, out, 1), 1);
		assert_string_equal(out[0], "non-migratable device: silent");
		free(out[0]);
		assert_int_equal(blockers_check(&m.vm, (enum migration_mode)mode, &e), -EBUSY);
	}
	/* All of them are told, not only one. */
	assert_int_equal(blockers_check(&m.vm, MODE_CPR_EXEC, &e), -EBUSY);
	assert_string_equal(e.msg, "non-migratable device: silent " RAM_TEXT("tables"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_stands_in_the_way_of_shared_ram),
		cmocka_unit_test(private_ram_blocks_what_leaves_it_in_place),
		cmocka_unit_test(a_device_that_cannot_be_saved_blocks_every_mode),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
