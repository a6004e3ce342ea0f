/* SPDX-License-Identifier: MIT */
/* The line editor: keys in, what a terminal shows out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/util.h"
#include "ctl/lineedit.h"
#include "fd_count.h"

#define ROOM 64

/* The terminal library remembers four descriptions and loses those it forgets. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
	return "leak:_nc_setupterm\nleak:_nc_trim_sgr0\n";
}

struct editor {
	struct line_edit *le;
	struct buf shown;
	char asked[128]; /* what completion was asked last */
	unsigned int lines;
	char line[ROOM]; /* the last one */
	unsigned int fds;
};

static void output(void *opaque, const char *p, size_t n)
{
	struct editor *t = opaque;

	buf_put(&t->shown, p, n);
}

static void complete(void *opaque, const char *before, void (*add)(void *to, const char *word),
		     void *to)
{
	static const char *const words[] = { "stop", "status", "stats", "cont" };
	struct editor *t = opaque;

	strncpy(t->asked, before, sizeof(t->asked) - 1);
	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		add(to, words[i]);
}

static const struct line_edit_ops ops = { .output = output, .complete = complete };

static int set_up(void **state)
{
	struct editor *t = calloc(1, sizeof(*t));
	struct err e;

	t->fds = fd_count();
	if (line_edit_create(&t->le, "vt100", "> ", ROOM, &ops, t, &e))
		fail_msg("%s", e.msg);
	line_edit_begin(t->le, 80, 24);
	*state = t;
	return 0;
}

static int tear_down(void **state)
{
	struct editor *t = *state;

	line_edit_destroy(t->le);
	assert_int_equal(fd_count(), t->fds);
	buf_fini(&t->shown);
	free(t);
	return 0;
}

static void type_bytes(struct editor *t, const char *keys, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const char *line = line_edit_type(t->le, (unsigned char)keys[i]);

		if (!line)
			continue;
		assert_true(strlen(line) < ROOM);
		strcpy(t->line, line);
		t->lines++;
		line_edit_begin(t->le, 80, 24);
	}
}

/* Types @keys, which make one line. */
static void expect_line(struct editor *t, const char *keys, const char *line)
{
	unsigned int before = t->lines;

	type_bytes(t, keys, strlen(keys));
	assert_int_equal(t->lines, before + 1);
	assert_string_equal(t->line, line);
}

static void expect_shown(struct editor *t, const char *part)
{
	const char *shown;

	buf_put_u8(&t->shown, 0);
	assert_false(t->shown.failed);
	shown = (const char *)t->shown.data;
	if (!shown || !strstr(shown, part))
		fail_msg("no \"%s\" in \"%s\"", part, shown ? shown : "");
	t->shown.len = 0;
}

static void lines_are_edited(void **state)
{
	struct editor *t = *state;

	expect_shown(t, "> ");
	expect_line(t, "abc\r", "abc");
	expect_shown(t, "abc\r\n");
	expect_line(t, "abx\177c\n", "abc");
	expect_line(t, "bc\001a\r\n", "abc");
	expect_line(t, "ac\033[Db\r", "abc");
	expect_line(t, "ac\033ODb\r", "abc");
	expect_line(t, "abcx\033[D\033[3~\r", "abc");
	expect_line(t, "bc\033[Ha\033[F!\r", "abc!");
	expect_line(t, "one two\027three\r", "one three");
	expect_line(t, "rubbish\025abc\r", "abc");
	expect_line(t, "\r", "");
}

static void arrows_go_through_the_history(void **state)
{
	struct editor *t = *state;

	expect_line(t, "first\r", "first");
	expect_line(t, "second\r", "second");
	expect_line(t, "\r", "");
	expect_line(t, "\033[A\r", "second");
	expect_line(t, "\033[A\033[A\r", "first");
	expect_line(t, "\020\020\020\016!\r", "second!");
	/* The one before that begins so. */
	expect_line(t, "fi\022\r", "first");
}

static void tab_completes_words(void **state)
{
	struct editor *t = *state;

	expect_line(t, "c\t\r", "cont ");
	expect_line(t, "c\tst\ta\t\r", "cont stat");
	assert_string_equal(t->asked, "cont sta");
	t->shown.len = 0;
	type_bytes(t, "st\t", 3);
	expect_shown(t, "\r\nstats   status  stop\r\n");
	expect_shown(t, "");
	expect_line(t, "\r", "st");
	t->shown.len = 0;
	expect_line(t, "zz\t\r", "zz");
	expect_shown(t, "\a");
	/* In the middle of a line, by what stands before. */
	expect_line(t, "c x\033[D\033[D\t\r", "cont  x");
}

static void ctrl_c_gives_a_new_line_and_ctrl_d_ends_nothing(void **state)
{
	struct editor *t = *state;

	expect_line(t, "rubbish\003abc\r", "abc");
	expect_shown(t, "^C\r\n");
	expect_line(t, "\004\004abc\001\004\r", "bc");
	expect_line(t, "half \033\003abc\r", "abc");
}

static void characters_of_several_bytes_are_one(void **state)
{
	struct editor *t = *state;

	expect_line(t, "h\303\251\342\202\254x\177\177o\r", "h\303\251o");
	/* What is no character is nothing. */
	expect_line(t, "a\377\376b\303\303\251\r", "ab");
	expect_line(t, "c\r", "c");
}

static void windows_of_any_size_will_do(void **state)
{
	static const unsigned int sizes[][2] = {
		{ 1, 1 }, { 2, 1 }, { 5, 3 }, { 65535, 65535 }, { 0, 0 }, { 80, 1 },
	};
	struct editor *t = *state;

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		line_edit_begin(t->le, sizes[i][0], sizes[i][1]);
		expect_line(t, "a line that is longer than small windows\001\033f!\005\r",
			    "a! line that is longer than small windows");
		expect_line(t, "st\t\r", "st");
	}
}

static void no_line_outgrows_its_room(void **state)
{
	struct editor *t = *state;
	char keys[4 * ROOM];

	memset(keys, 'x', sizeof(keys));
	type_bytes(t, keys, sizeof(keys));
	expect_shown(t, "\a");
	type_bytes(t, "\r", 1);
	assert_true(strlen(t->line) >= ROOM - 8);
	/* By what was cut, pasted again and again. */
	type_bytes(t, "abcdefgh", 8);
	for (int i = 0; i < 100; i++)
		type_bytes(t, "\025\031\031\031", 4);
	expect_shown(t, "the line is too long\r\n");
	type_bytes(t, "\003", 1);
	expect_line(t, "abc\r", "abc");
}

static void random_keys_do_no_harm(void **state)
{
	struct editor *t = *state;
	uint32_t x = 12345;

	for (int i = 0; i < 20000; i++) {
		char key;

		x = x * 1664525 + 1013904223;
		/* Half of them special. */
		key = (char)((x >> 24) & (x & 0x10000 ? 0x1f : 0xff));
		type_bytes(t, &key, 1);
		t->shown.len = 0;
	}
	type_bytes(t, "\033\003", 2);
	expect_line(t, "abc\r", "abc");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(lines_are_edited),
		TEST(arrows_go_through_the_history),
		TEST(tab_completes_words),
		TEST(ctrl_c_gives_a_new_line_and_ctrl_d_ends_nothing),
		TEST(characters_of_several_bytes_are_one),
		TEST(windows_of_any_size_will_do),
		TEST(no_line_outgrows_its_room),
		TEST(random_keys_do_no_harm),
	};

	return cmocka_run_group_tests_name("lineedit", tests, NULL, NULL);
}
