/* SPDX-License-Identifier: MIT */
/* The human monitor and its word splitting, against a machine on paper. */
#include "fake_machine.h"

#include <stdlib.h>

#include "ctl/hmp.h"
#include "ctl/hmp_complete.h"
#include "ctl/words.h"

#define BANNER    "Baton 0.1.0 monitor - type 'help' for more information\r\n"
#define PROMPT    "(qemu) "
#define TRY(what) "Try \"help " what "\" for more information\r\n"

struct hmp_test {
	struct fake f;
	struct buf text;
};

static int set_up(void **state)
{
	struct hmp_test *t = calloc(1, sizeof(*t));
	struct err e = ERR_INIT;

	fake_init(&t->f);
	assert_int_equal(ctl_add_hmp(t->f.ctl, &t->f.chr, &e), 0);
	assert_string_equal(fake_output(&t->f, &t->text), BANNER PROMPT);
	*state = t;
	return 0;
}

static int tear_down(void **state)
{
	struct hmp_test *t = *state;

	fake_fini(&t->f);
	buf_fini(&t->text);
	free(t);
	return 0;
}

/* Types @in and compares all that comes back. */
static void expect(struct hmp_test *t, const char *in, const char *want)
{
	fake_type(&t->f, in);
	assert_string_equal(fake_output(&t->f, &t->text), want);
}

/* Types @in and looks for @part in what comes back. */
static void expect_part(struct hmp_test *t, const char *in, const char *part)
{
	fake_type(&t->f, in);
	if (!strstr(fake_output(&t->f, &t->text), part))
		fail_msg("no \"%s\" in \"%s\"", part, (char *)t->text.data);
}

static void commands_reach_the_machine(void **state)
{
	struct hmp_test *t = *state;

	expect(t, "info status\n", "VM status: running\r\n" PROMPT);
	expect(t, "stop\n", PROMPT);
	expect(t, "info status\n", "VM status: paused\r\n" PROMPT);
	t->f.vm.runstate = RUNSTATE_POSTMIGRATE;
	expect(t, "info status\n", "VM status: paused (postmigrate)\r\n" PROMPT);
	t->f.migration.refuse = "no way";
	expect(t, "c\n", "Error: no way\r\n" PROMPT);
	expect(t, "  cont  \n", PROMPT);
	expect(t, "system_reset\nsystem_powerdown\n", PROMPT PROMPT);
	assert_true(t->f.vm.reset_requested);
	assert_int_equal(t->f.powerdowns, 1);
	expect(t, "info cpus\n", "* CPU #0: thread_id=1000\r\n  CPU #1: thread_id=1001\r\n" PROMPT);
	expect(t, "info kvm\ninfo name\n", "kvm support: enabled\r\n" PROMPT "toy\r\n" PROMPT);
	expect(t, "info version\n", "11.1.3 (baton-0.1.0)\r\n" PROMPT);
	expect_part(t, "help\n", "migrate [-d] [URI] -- ");
	expect(t, "help quit\n", "quit|q -- end this process\r\n" PROMPT);
	expect_part(t, "info\n", "info status -- ");
	expect(t, "q\nstop\n", "");
	assert_true(t->f.vm.shutdown_requested);
	assert_int_equal(t->f.vm.runstate, RUNSTATE_RUNNING);
}

static void wrong_lines_are_told(void **state)
{
	struct hmp_test *t = *state;
	char line[5000];

	expect(t, "bogus 1\n", "unknown command: 'bogus'\r\n" PROMPT);
	expect(t, "info bogus\n", "unknown command: 'info bogus'\r\n" PROMPT);
	expect(t, "stop now\n",
	       "stop: extraneous characters at the end of line\r\n" TRY("stop") PROMPT);
	expect(t, "migrate\n", "migrate: string expected\r\n" TRY("migrate") PROMPT);
	expect(t, "migrate -x a\n", "migrate: unsupported option\r\n" TRY("migrate") PROMPT);
	expect(t, "migrate bogus:x\n", "Error: unknown migration protocol: bogus:x\r\n" PROMPT);
	expect(t, "migrate_set_parameter nope 1\n",
	       "Error: invalid parameter value: nope\r\n" PROMPT);
	expect(t, "migrate_set_parameter mode\n",
	       "migrate_set_parameter: string expected\r\n" TRY("migrate_set_parameter") PROMPT);
	expect(t, "migrate_set_capability nope on\n",
	       "Error: invalid parameter value: nope\r\n" PROMPT);
	expect(t, "migrate_set_capability events maybe\n",
	       "Error: 'maybe' is neither on nor off\r\n" PROMPT);
	expect(t, "migrate_set_parameter cpr-exec-command \xff\xfe\n",
	       "Error: '\xff\xfe' is not valid UTF-8\r\n" PROMPT);
	expect_part(t, "migrate \xff\n", "Error: ");
	expect(t, "\n \r\n\r", PROMPT PROMPT PROMPT);
	memset(line, 'x', sizeof(line));
	memcpy(line + sizeof(line) - 2, "\n", 2);
	expect(t, line, "Error: the line is too long\r\n" PROMPT);
	expect(t, "info name\n", "toy\r\n" PROMPT);
}

static void help_and_names_come_from_the_tables(void **state)
{
	struct hmp_test *t = *state;
	char line[128];
	size_t i;

	for (i = 0; hmp_command_name(i); i++) {
		snprintf(line, sizeof(line), "help %s\n", hmp_command_name(i));
		expect_part(t, line, " -- ");
		assert_null(strstr((char *)t->text.data, "unknown"));
	}
	assert_true(i >= 15);
	for (i = 0; hmp_info_name(i); i++) {
		snprintf(line, sizeof(line), "help info %s\n", hmp_info_name(i));
		expect_part(t, line, " -- ");
		snprintf(line, sizeof(line), "info %s\n", hmp_info_name(i));
		expect_part(t, line, PROMPT);
		assert_null(strstr((char *)t->text.data, "Error"));
	}
	assert_true(i >= 14);
	assert_null(hmp_command_name(1000));
	assert_null(hmp_info_name(1000));
	expect(t, "help bogus\n", "unknown command: 'bogus'\r\n" PROMPT);
	expect(t, "help info bogus\n", "unknown command: 'info bogus'\r\n" PROMPT);
	expect(t, "info name x\n",
	       "info name: extraneous characters at the end of line\r\n" TRY("info name") PROMPT);
	expect(t, "info migrate -b\n",
	       "info migrate: unsupported option\r\n" TRY("info migrate") PROMPT);
}

static void objects_come_and_go(void **state)
{
	struct hmp_test *t = *state;

	expect(t, "object_add\n", "object_add: string expected\r\n" TRY("object_add") PROMPT);
	expect(t, "object_add memory-backend-memfd,id=m1,size=2M,share=off\n", PROMPT);
	expect_part(t, "info memdev\n",
		    "memory backend: m1\r\n  size:  2097152\r\n  merge: false\r\n"
		    "  dump: false\r\n  prealloc: false\r\n  share: false\r\n"
		    "  reserve: false\r\n  policy: default\r\n  host nodes:\r\n");
	expect(t, "object_add qom-type=memory-backend-memfd,id=m2,size=x\n",
	       "Error: Parameter 'size': 'x' is not a size\r\n" PROMPT);
	expect(t, "object_add memory-backend-memfd,id=m2,size=4k,frob=1\n",
	       "Error: Parameter 'frob' is unexpected\r\n" PROMPT);
	expect(t, "object_add memory-backend-memfd,id=m2,size\n",
	       "Error: Parameter 'size': 'on' is not a size\r\n" PROMPT);
	expect(t, "qom-get /objects/m1 size\n", "2097152\r\n" PROMPT);
	expect(t, "qom-get m1\n", "qom-get: string expected\r\n" TRY("qom-get") PROMPT);
	expect_part(t, "qom-list /objects\n", "m1 (child<memory-backend-memfd>)\r\n");
	expect_part(t, "qom-list\n", "machine (child<baton-1-machine>)\r\n");
	expect_part(t, "info qom-tree /objects\n",
		    "/objects (container)\r\n  /ram0 (memory-backend-memfd)\r\n"
		    "  /m1 (memory-backend-memfd)\r\n" PROMPT);
	expect(t, "info qom-tree /nope\n", "Path '/nope' could not be resolved.\r\n" PROMPT);
	expect(t, "object_del m1\n", PROMPT);
	expect(t, "object_del m1\n", "Error: object 'm1' not found\r\n" PROMPT);
	expect(t, "object_del m1 m2\n",
	       "object_del: extraneous characters at the end of line\r\n" TRY("object_del") PROMPT);
	expect(t, "device_add zz,id=a\n",
	       "Error: 'zz' is not a valid device model name\r\n" PROMPT);
	expect(t, "device_del zz\n", "Error: Device 'zz' not found\r\n" PROMPT);
	expect(t, "migrate_continue active\n",
	       "Error: Migration not in expected state: none\r\n" PROMPT);
}

static void parameters_are_set_from_text(void **state)
{
	struct hmp_test *t = *state;
	struct migration_params *p = &t->f.migration.params;

	expect(t, "migrate_set_parameter mode cpr-exec\n", PROMPT);
	assert_int_equal(p->mode, MODE_CPR_EXEC);
	expect(t, "migrate_set_parameter cpr-exec-command /usr/bin/q  -a \"b c\" 'd e' f\\ g\n",
	       PROMPT);
	assert_string_equal(p->cpr_exec_command[0], "/usr/bin/q");
	assert_string_equal(p->cpr_exec_command[2], "b c");
	assert_string_equal(p->cpr_exec_command[3], "d e");
	assert_string_equal(p->cpr_exec_command[4], "f g");
	assert_null(p->cpr_exec_command[5]);
	expect_part(t, "info migrate_parameters\n",
		    "cpr-exec-command: /usr/bin/q -a b c d e f g\r\n");
	expect(t, "migrate_set_parameter cpr-exec-command a \"b\n",
	       "Error: Text ended before matching quote was found for \". (The text was \"a \"b\")"
	       "\r\n" PROMPT);
	expect(t, "migrate_set_parameter max-bandwidth 2\n", PROMPT);
	assert_int_equal(p->max_bandwidth, 2 << 20);
	expect(t, "migrate_set_parameter downtime-limit 20\n", PROMPT);
	assert_int_equal(p->downtime_limit, 20);
	expect_part(t, "migrate_set_parameter downtime-limit soon\n",
		    "Error: 'soon' is not a size");
	expect(t, "migrate_set_parameter multifd-channels 4\n",
	       "Error: Parameter 'multifd-channels' cannot be changed from its default\r\n" PROMPT);
	expect(t, "migrate_set_parameter direct-io off\n", PROMPT);
	expect(t, "migrate_set_capability events on\n", PROMPT);
	assert_true(t->f.migration.events);
	expect_part(t, "info migrate_capabilities\n", "events: on\r\n");
}

static void migrate_waits_unless_told_not_to(void **state)
{
	struct hmp_test *t = *state;
	struct migration_info *info = &t->f.migration.info;

	expect(t, "info migrate\n", PROMPT);
	expect(t, "migrate -d unix:a\n", PROMPT);
	fake_migration_status(&t->f, MIGRATION_COMPLETED);
	assert_string_equal(fake_output(&t->f, &t->text), "");
	/* What is typed meanwhile is done afterwards. */
	expect(t, "migrate unix:b\ninfo name\n", "");
	fake_migration_status(&t->f, MIGRATION_ACTIVE);
	assert_string_equal(fake_output(&t->f, &t->text), "");
	info->total_us = 9000;
	info->downtime_us = 2000;
	info->nr_phases = 1;
	info->phases[0] = (struct migration_phase){ "stop", 80 };
	/* But not in the middle of the update's last step. */
	fake_migration_status(&t->f, MIGRATION_COMPLETED);
	assert_string_equal(fake_output(&t->f, &t->text), PROMPT);
	fake_turn(&t->f);
	assert_string_equal(fake_output(&t->f, &t->text), "toy\r\n" PROMPT);
	expect(t, "info migrate\n",
	       "Status: completed\r\nTime (ms): total=9, setup=0, down=2\r\n"
	       "Pause (us): 2000, stop=80\r\n" PROMPT);
	expect(t, "migrate unix:c\n", "");
	strcpy(info->error, "broken");
	fake_migration_status(&t->f, MIGRATION_FAILED);
	assert_string_equal(fake_output(&t->f, &t->text), "Error: broken\r\n" PROMPT);
	expect(t, "info migrate\n", "Status: failed (broken)\r\n" PROMPT);
	expect(t, "migrate_cancel\n", PROMPT);
	assert_int_equal(t->f.migration.cancels, 1);
	expect(t, "migrate_incoming unix:d\n", PROMPT);
	assert_int_equal(t->f.migration.incomings, 1);
	assert_false(t->f.migration.exit_on_error);
}

/* A terminal that became one after the session had begun has no editor. */
static void only_a_terminal_gets_an_echo(void **state)
{
	struct hmp_test *t = *state;

	t->f.chr.tty = true;
	expect(t,
	       "info nx\x7f"
	       "ame\r",
	       "info nx\b \bame\r\ntoy\r\n" PROMPT);
	expect(t, "\x7f\x1b", "");
	expect(t,
	       "ab\x15"
	       "info kvm\r\n",
	       "ab\b \b\b \binfo kvm\r\nkvm support: enabled\r\n" PROMPT);
}

static int set_up_tty(void **state)
{
	struct hmp_test *t = calloc(1, sizeof(*t));
	struct err e = ERR_INIT;

	fake_init(&t->f);
	t->f.chr.tty = true;
	assert_int_equal(ctl_add_hmp(t->f.ctl, &t->f.chr, &e), 0);
	assert_string_equal(fake_output(&t->f, &t->text), BANNER PROMPT);
	*state = t;
	return 0;
}

static void a_terminal_gets_line_editing(void **state)
{
	struct hmp_test *t = *state;

	expect_part(t, "info na\tx\x7f\r", "toy\r\n" PROMPT);
	expect_part(t, "\x1b[A\r", "toy\r\n" PROMPT);
	expect_part(t, "info m\t\t", "migrate_capabilities");
	expect_part(t, "\003", "^C\r\n" PROMPT);
	/* The prompt comes when the update has ended. */
	fake_type(&t->f, "migrate unix:b\r");
	assert_null(strstr(fake_output(&t->f, &t->text), "\n" PROMPT));
	fake_migration_status(&t->f, MIGRATION_COMPLETED);
	assert_string_equal(fake_output(&t->f, &t->text), PROMPT);
	expect_part(t, "q\r", "q\r\n");
	assert_true(t->f.vm.shutdown_requested);
}

static void the_next_person_starts_with_an_empty_line(void **state)
{
	struct hmp_test *t = *state;

	fake_type(&t->f, "info name\rhalf a li");
	t->f.chr.front->connected(t->f.chr.opaque, false);
	fake_output(&t->f, &t->text);
	t->f.chr.front->connected(t->f.chr.opaque, true);
	assert_string_equal(fake_output(&t->f, &t->text), BANNER PROMPT);
	expect_part(t, "info kvm\r", "kvm support: enabled\r\n" PROMPT);
	expect_part(t, "\x1b[A\x1b[A\r", "toy\r\n" PROMPT);
}

static void add_word(void *to, const char *word)
{
	buf_printf(to, "%s ", word);
}

/* @some is among the words for @line; empty: there are none. */
static void expect_completion(const char *line, const char *some)
{
	AUTO_BUF words = { 0 };

	hmp_complete(line, add_word, &words);
	buf_put_u8(&words, 0);
	if (*some ? !strstr((const char *)words.data, some) : words.len != 1)
		fail_msg("'%s' gives: %s", line, (const char *)words.data);
}

static void words_are_completed_where_they_stand(void **state)
{
	(void)state;
	expect_completion("", "migrate_set_parameter ");
	expect_completion("sto", "cont ");
	expect_completion("  sto", "cont ");
	expect_completion("stop ", "");
	expect_completion("info ", "version ");
	expect_completion("info status ", "");
	expect_completion("help mi", "migrate_cancel ");
	expect_completion("migrate_set_capability ", "events ");
	expect_completion("migrate_set_capability  events o", "on off ");
	expect_completion("migrate_set_capability events on ", "");
	expect_completion("migrate_set_parameter ", "cpr-exec-command ");
	expect_completion("migrate_set_parameter mode cpr", "cpr-transfer ");
	expect_completion("migrate_set_parameter nope ", "");
	expect_completion(
		"a-word-of-more-than-sixty-four-characters-is-no-command-of-ours-at-all b", "");
}

static void expect_words(const char *text, const char *want)
{
	struct err e = ERR_INIT;
	AUTO_BUF out = { 0 };
	char **words;

	if (words_split(text, &words, &e) < 0) {
		buf_printf(&out, "!%.20s", e.msg);
	} else {
		for (char **w = words; *w; w++)
			buf_printf(&out, "<%s>", *w);
		words_free(words);
	}
	buf_put_u8(&out, 0);
	assert_string_equal((char *)out.data, want);
}

static void words_are_split_as_a_shell_does(void **state)
{
	(void)state;
	expect_words("a b", "<a><b>");
	expect_words(" \ta \n b ", "<a><b>");
	expect_words("/usr/bin/q  -a \"b c\" 'd e' f\\ g", "</usr/bin/q><-a><b c><d e><f g>");
	expect_words("a''\"\"b '' \"\"", "<ab><><>");
	expect_words("'a\\b' \"a\\b\\\"\\\\\\$\" a\\b", "<a\\b><a\\b\"\\$><ab>");
	expect_words("\"it's\" 'say \"hi\"'", "<it's><say \"hi\">");
	expect_words("$HOME *", "<$HOME><*>");
	expect_words("'{\"a\": \"b\"}'", "<{\"a\": \"b\"}>");
	expect_words("", "!Text was empty (or c");
	expect_words("  ", "!Text was empty (or c");
	expect_words("a \"b", "!Text ended before ma");
	expect_words("a 'b\\'c'", "!Text ended before ma");
	expect_words("\"\\", "!Text ended before ma");
	expect_words("a\\", "!Text ended just afte");
}

#define HMP_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		HMP_TEST(commands_reach_the_machine),
		HMP_TEST(wrong_lines_are_told),
		HMP_TEST(help_and_names_come_from_the_tables),
		HMP_TEST(objects_come_and_go),
		HMP_TEST(parameters_are_set_from_text),
		HMP_TEST(migrate_waits_unless_told_not_to),
		HMP_TEST(only_a_terminal_gets_an_echo),
		cmocka_unit_test_setup_teardown(a_terminal_gets_line_editing, set_up_tty,
						tear_down),
		cmocka_unit_test_setup_teardown(the_next_person_starts_with_an_empty_line,
						set_up_tty, tear_down),
		cmocka_unit_test(words_are_completed_where_they_stand),
		cmocka_unit_test(words_are_split_as_a_shell_does),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
