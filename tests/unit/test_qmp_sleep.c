/* SPDX-License-Identifier: MIT */
/* A guest that sleeps, as QMP sees it: system_wakeup and its event. */
#include "fake_machine.h"

#include <stdlib.h>

static void only_a_sleeping_guest_is_woken(void **state)
{
	struct buf text = { 0 };
	struct err e = ERR_INIT;
	struct fake f;

	(void)state;
	fake_init(&f);
	assert_int_equal(ctl_add_qmp(f.ctl, &f.chr, &e), 0);
	fake_type(&f, "{'execute': 'qmp_capabilities'}");
	f.chr.out.len = 0;
	fake_type(&f, "{'execute': 'system_wakeup'}");
	assert_string_equal(fake_output(&f, &text),
			    "{\"error\": {\"class\": \"GenericError\", \"desc\": \"Unable to wake "
			    "up: guest is not in suspended state\"}}\r\n");
	assert_int_equal(f.vm.runstate, RUNSTATE_RUNNING);

	f.vm.runstate = RUNSTATE_SUSPENDED;
	fake_type(&f, "{'execute': 'system_wakeup'}");
	buf_put_u8(&f.chr.out, 0);
	assert_non_null(strstr((char *)f.chr.out.data, "\"event\": \"WAKEUP\""));
	assert_non_null(strstr((char *)f.chr.out.data, "{\"return\": {}}"));
	assert_int_equal(f.vm.runstate, RUNSTATE_RUNNING);
	fake_fini(&f);
	buf_fini(&text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_a_sleeping_guest_is_woken),
	};

	return cmocka_run_group_tests_name("qmp_sleep", tests, NULL, NULL);
}
