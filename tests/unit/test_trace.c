/* SPDX-License-Identifier: MIT */
/* Trace events: patterns, the table, and the lines that are written. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"
#include "base/trace.h"
#include "base/util.h"

static void stars_and_question_marks_stand_for_others(void **state)
{
	static const struct {
		const char *pattern, *name;
		bool match;
	} cases[] = {
		{ "cpr_exec", "cpr_exec", true },
		{ "cpr_exec", "cpr_exe", false },
		{ "cpr_exe", "cpr_exec", false },
		{ "CPR_exec", "cpr_exec", false },
		{ "*", "cpr_exec", true },
		{ "*", "", true },
		{ "", "", true },
		{ "", "a", false },
		{ "?", "", false },
		{ "cpr_*", "cpr_", true },
		{ "cpr_*", "cpr", false },
		{ "*_fd", "cpr_save_fd", true },
		{ "*_fd", "cpr_save_fds", false },
		{ "cpr_*_fd", "cpr_save_fd", true },
		{ "cpr_????_fd", "cpr_save_fd", true },
		{ "cpr_????_fd", "cpr_delete_fd", false },
		{ "*a*b", "aab", true },
		{ "*a*b", "aaba", false },
		{ "a**c", "abc", true },
		{ "*ab", "aab", true },
		{ "[c]pr_exec", "cpr_exec", false },
		{ "*aaaaaaaaaaaaaaab", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false },
		{ "a*a*a*a*a*a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		if (trace_glob(cases[i].pattern, cases[i].name) != cases[i].match)
			fail_msg("'%s' against '%s'", cases[i].pattern, cases[i].name);
	assert_true(trace_is_pattern("a*"));
	assert_true(trace_is_pattern("?"));
	assert_false(trace_is_pattern("cpr_exec"));
}

static void each_event_has_one_name_of_word_characters(void **state)
{
	(void)state;
	assert_true(TRACE_COUNT > 0);
	for (unsigned int i = 0; i < TRACE_COUNT; i++) {
		const char *name = trace_name(i);

		assert_int_equal(strspn(name, "abcdefghijklmnopqrstuvwxyz_"), strlen(name));
		for (unsigned int j = 0; j < i; j++)
			assert_string_not_equal(name, trace_name(j));
	}
	assert_null(trace_name(TRACE_COUNT));
	assert_false(trace_get(TRACE_COUNT));
}

static void nothing_is_enabled_until_it_is_named(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < TRACE_COUNT; i++)
		assert_false(trace_get(i));
	assert_int_equal(trace_set("cpr_exec", true), 1);
	for (unsigned int i = 0; i < TRACE_COUNT; i++)
		assert_int_equal(trace_get(i), i == TRACE_cpr_exec);
	assert_int_equal(trace_set("cpr_exe", true), 0);
	assert_int_equal(trace_set("cpr_*", true), 8);
	assert_int_equal(trace_set("cpr_*_fd", false), 3);
	assert_true(trace_get(TRACE_cpr_state_save));
	assert_false(trace_get(TRACE_cpr_save_fd));
	assert_int_equal(trace_set("*", false), TRACE_COUNT);
	assert_false(trace_get(TRACE_cpr_state_save));
}

/* What the events in between have written. */
static const char *caught(int fd, char *text, size_t n)
{
	ssize_t got = read(fd, text, n - 1);

	text[got > 0 ? got : 0] = '\0';
	return text;
}

static int catch_lines(int ends[2])
{
	assert_int_equal(pipe(ends), 0);
	/* So that reading nothing does not wait. */
	return dprintf(ends[1], "-");
}

static void a_line_has_process_time_name_and_arguments(void **state)
{
	char text[4096], want[64];
	long long seconds;
	int ends[2], pid, used, micro;

	(void)state;
	catch_lines(ends);
	caught(ends[0], text, sizeof(text));
	trace_control.fd = ends[1];
	trace_set("cpr_*", true);
	errno = EXDEV;
	trace_cpr_save_fd("ram0", 7, 42);
	trace_cpr_exec();
	/* Not enabled: no line. */
	trace_handover_step("stop");
	assert_int_equal(errno, EXDEV);
	caught(ends[0], text, sizeof(text));
	assert_int_equal(sscanf(text, "%d@%lld.%06d:%n", &pid, &seconds, &micro, &used), 3);
	assert_int_equal(pid, getpid());
	assert_true(seconds > 1000000000 && micro >= 0 && micro < 1000000);
	snprintf(want, sizeof(want), "cpr_save_fd ram0, id 7, fd 42\n%d@", pid);
	assert_memory_equal(text + used, want, strlen(want));
	assert_string_equal(strrchr(text, ':'), ":cpr_exec \n");

	trace_control.plain_events = true;
	trace_cpr_find_fd("ram0", 7, -1);
	assert_string_equal(caught(ends[0], text, sizeof(text)),
			    "cpr_find_fd ram0, id 7 returns -1\n");
	trace_control = (struct trace_control){ .fd = STDERR_FILENO };
	close(ends[0]);
	close(ends[1]);
}

static void arguments_can_neither_break_nor_overrun_a_line(void **state)
{
	char text[8192], name[5000];
	int ends[2];

	(void)state;
	catch_lines(ends);
	caught(ends[0], text, sizeof(text));
	trace_control.fd = ends[1];
	trace_control.plain_events = true;
	trace_set("*", true);
	trace_handover_step("a\nb\rc\x1b[2Jd\x7f%s%n");
	assert_string_equal(caught(ends[0], text, sizeof(text)), "handover_step a.b.c.[2Jd.%s%n\n");
	memset(name, 'x', sizeof(name));
	name[sizeof(name) - 1] = '\0';
	trace_cpr_state_save(name);
	caught(ends[0], text, sizeof(text));
	assert_true(strlen(text) <= 1536);
	assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
	/* A log that is gone is no reason to stop. */
	close(ends[0]);
	close(ends[1]);
	trace_cpr_exec();
	trace_control = (struct trace_control){ .fd = STDERR_FILENO };
}

static void messages_have_the_time_before_them_if_wanted(void **state)
{
	int ends[2], saved = dup(STDERR_FILENO), used = 0;
	char text[256], parts[6][8];

	(void)state;
	catch_lines(ends);
	caught(ends[0], text, sizeof(text));
	dup2(ends[1], STDERR_FILENO);
	log_warn("one");
	trace_control.stamp_messages = true;
	log_warn("two");
	dup2(saved, STDERR_FILENO);
	trace_control.stamp_messages = false;
	caught(ends[0], text, sizeof(text));
	assert_memory_equal(text, "baton: warning: one\n", 20);
	assert_int_equal(sscanf(text + 20, "%4[0-9]-%2[0-9]-%2[0-9]T%2[0-9]:%2[0-9]:%2[0-9].%n",
				parts[0], parts[1], parts[2], parts[3], parts[4], parts[5], &used),
			 6);
	assert_string_equal(text + 20 + used + 6, "Z baton: warning: two\n");
	close(saved);
	close(ends[0]);
	close(ends[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(stars_and_question_marks_stand_for_others),
		cmocka_unit_test(each_event_has_one_name_of_word_characters),
		cmocka_unit_test(nothing_is_enabled_until_it_is_named),
		cmocka_unit_test(a_line_has_process_time_name_and_arguments),
		cmocka_unit_test(arguments_can_neither_break_nor_overrun_a_line),
		cmocka_unit_test(messages_have_the_time_before_them_if_wanted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
