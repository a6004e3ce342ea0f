/* SPDX-License-Identifier: MIT */
/* The commands for trace events, in QMP and in the human monitor. */
#include "fake_machine.h"

#include <stdlib.h>

#include "base/trace.h"

#define OK     "{\"return\": {}}\r\n"
#define PROMPT "(qemu) "

struct trace_test {
	struct fake f;
	struct buf text;
};

static int set_up(void **state)
{
	struct trace_test *t = calloc(1, sizeof(*t));

	trace_set("*", false);
	fake_init(&t->f);
	*state = t;
	return 0;
}

static int tear_down(void **state)
{
	struct trace_test *t = *state;

	trace_set("*", false);
	fake_fini(&t->f);
	buf_fini(&t->text);
	free(t);
	return 0;
}

static int set_up_qmp(void **state)
{
	struct trace_test *t;
	struct err e = ERR_INIT;

	set_up(state);
	t = *state;
	assert_int_equal(ctl_add_qmp(t->f.ctl, &t->f.chr, &e), 0);
	fake_type(&t->f, "{\"execute\": \"qmp_capabilities\"}");
	fake_output(&t->f, &t->text);
	return 0;
}

static int set_up_hmp(void **state)
{
	struct trace_test *t;
	struct err e = ERR_INIT;

	set_up(state);
	t = *state;
	assert_int_equal(ctl_add_hmp(t->f.ctl, &t->f.chr, &e), 0);
	fake_output(&t->f, &t->text);
	return 0;
}

static void expect(struct trace_test *t, const char *in, const char *want)
{
	fake_type(&t->f, in);
	assert_string_equal(fake_output(&t->f, &t->text), want);
}

static void qmp_sets_and_shows_events(void **state)
{
	struct trace_test *t = *state;

	expect(t, "{'execute': 'trace-event-get-state', 'arguments': {'name': 'cpr_exec'}}",
	       "{\"return\": [{\"name\": \"cpr_exec\", \"state\": \"disabled\"}]}\r\n");
	expect(t,
	       "{'execute': 'trace-event-set-state',"
	       " 'arguments': {'name': 'cpr_s*', 'enable': true, 'ignore-unavailable': true}}",
	       OK);
	assert_true(trace_get(TRACE_cpr_state_save));
	assert_true(trace_get(TRACE_cpr_save_fd));
	assert_false(trace_get(TRACE_cpr_exec));
	expect(t, "{'execute': 'trace-event-get-state', 'arguments': {'name': 'cpr_sta*'}}",
	       "{\"return\": [{\"name\": \"cpr_state_save\", \"state\": \"enabled\"}, "
	       "{\"name\": \"cpr_state_load\", \"state\": \"enabled\"}]}\r\n");
	expect(t,
	       "{'execute': 'trace-event-set-state', 'arguments': {'name': '*', 'enable': false}}",
	       OK);
	assert_false(trace_get(TRACE_cpr_state_save));
	/* A pattern may match nothing. */
	expect(t, "{'execute': 'trace-event-get-state', 'arguments': {'name': 'nope*'}}",
	       "{\"return\": []}\r\n");
	expect(t,
	       "{'execute': 'trace-event-set-state', 'arguments': {'name': '?', 'enable': true}}",
	       OK);
}

static void qmp_refuses_what_is_no_event(void **state)
{
	static const char *const unknown = "{\"error\": {\"class\": \"GenericError\", "
					   "\"desc\": \"unknown event \\\"nope\\\"\"}}\r\n";
	struct trace_test *t = *state;

	expect(t, "{'execute': 'trace-event-get-state', 'arguments': {'name': 'nope'}}", unknown);
	expect(t,
	       "{'execute': 'trace-event-set-state',"
	       " 'arguments': {'name': 'nope', 'enable': true}}",
	       unknown);
	expect(t, "{'execute': 'trace-event-set-state', 'arguments': {'name': 'cpr_exec'}}",
	       "{\"error\": {\"class\": \"GenericError\", "
	       "\"desc\": \"Parameter 'enable' is missing\"}}\r\n");
	assert_false(trace_get(TRACE_cpr_exec));
}

static void a_typed_line_sets_and_shows_events(void **state)
{
	struct trace_test *t = *state;

	expect(t, "trace-event cpr_exec on\n", PROMPT);
	assert_true(trace_get(TRACE_cpr_exec));
	expect(t, "info trace-events cpr_e*\n", "cpr_exec : state 1\r\n" PROMPT);
	expect(t, "trace-event \t cpr_*  \t off \n", PROMPT);
	assert_false(trace_get(TRACE_cpr_exec));
	expect(t, "info trace-events cpr_exec\n", "cpr_exec : state 0\r\n" PROMPT);
	expect(t, "info trace-events zz*\n", PROMPT);
	fake_type(&t->f, "info trace-events\n");
	fake_output(&t->f, &t->text);
	for (unsigned int i = 0; i < TRACE_COUNT; i++)
		assert_non_null(strstr((char *)t->text.data, trace_name(i)));
}

static void a_typed_line_that_is_wrong_is_told(void **state)
{
	struct trace_test *t = *state;

	expect(t, "trace-event nope on\n", "unknown event \"nope\"\r\n" PROMPT);
	expect(t, "info trace-events nope\n", "unknown event \"nope\"\r\n" PROMPT);
	fake_type(&t->f, "trace-event\n");
	assert_non_null(strstr(fake_output(&t->f, &t->text), "trace-event: string expected"));
	fake_type(&t->f, "trace-event cpr_exec\ntrace-event cpr_exec maybe\n");
	assert_non_null(strstr(fake_output(&t->f, &t->text), "Expected 'on' or 'off'"));
	expect(t, "trace-event cpr_exec on 0\n",
	       "event \"cpr_exec\" is not vCPU-specific\r\n" PROMPT);
	fake_type(&t->f, "trace-event cpr_exec on 0 1\n");
	assert_non_null(strstr(fake_output(&t->f, &t->text), "extraneous characters"));
	assert_false(trace_get(TRACE_cpr_exec));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(qmp_sets_and_shows_events, set_up_qmp, tear_down),
		cmocka_unit_test_setup_teardown(qmp_refuses_what_is_no_event, set_up_qmp,
						tear_down),
		cmocka_unit_test_setup_teardown(a_typed_line_sets_and_shows_events, set_up_hmp,
						tear_down),
		cmocka_unit_test_setup_teardown(a_typed_line_that_is_wrong_is_told, set_up_hmp,
						tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
