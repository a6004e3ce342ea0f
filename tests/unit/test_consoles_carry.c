/* SPDX-License-Identifier: MIT */
/* The list of character devices in a CPR state: what fits is taken, what is malformed refused. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/util.h"
#include "ctl/carry.h"
#include "fd_count.h"
#include "host/file.h"
#include "main/consoles_carry.h"
#include "update/wire.h"

#define LIST                                                                                     \
	"{\"machine\": \"m\", \"" CARRY_KEY "\": {\"events\": true, \"sets\": [], \"list\": ["   \
	"{\"label\": \"serial0\", \"kind\": \"pty\", \"server\": false, \"address\": \"\", "     \
	"\"front\": \"serial\", \"peer\": true, \"escaped\": false, \"path\": \"/dev/pts/9\"}, " \
	"{\"label\": \"m\", \"kind\": \"unix\", \"server\": true, \"address\": \"/run/m\", "     \
	"\"front\": \"qmp\", \"peer\": true, \"escaped\": false, \"file\": [1, 2]}, "            \
	"{\"label\": \"c\", \"kind\": \"tcp\", \"server\": false, \"address\": \"host:1\", "     \
	"\"front\": \"hmp\", \"peer\": true, \"escaped\": false}, "                              \
	"{\"label\": \"s\", \"kind\": \"stdio\", \"server\": false, \"address\": \"\", "         \
	"\"front\": \"none\", \"peer\": true, \"escaped\": true, \"tty\": {\"iflag\": 1, "       \
	"\"oflag\": 2, \"cflag\": 3, \"lflag\": 4294967295, \"cc\": [1, 2, 3, 4, 5, 6, 7, 8, "   \
	"9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, "    \
	"30, 31, 255]}}]}}"

struct fixture {
	struct cpr_state state;
	json_t *came;
	struct console console;
	struct chardev_given given;
	unsigned int fds;
};

static void add_fd(struct fixture *f, const char *name, uint32_t id)
{
	struct err e;
	int fd = file_create_memfd("x", name, strlen(name), &e);

	assert_true(fd >= 0);
	assert_int_equal(cpr_state_add_fd(&f->state, name, id, fd, &e), 0);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct err e;

	f->fds = fd_count();
	cpr_state_init(&f->state);
	f->state.config = strdup(LIST);
	add_fd(f, CARRY_KEY ":own", 0);
	add_fd(f, CARRY_KEY ":listen", 1);
	add_fd(f, CARRY_KEY ":peer", 1);
	add_fd(f, CARRY_KEY ":peer", 2);
	assert_int_equal(consoles_find_carried(&f->state, &f->came, &e), 0);
	assert_non_null(f->came);
	f->given = (struct chardev_given){ .listen_fd = -1, .peer_fd = -1, .own_fd = -1 };
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	unsigned int now;

	json_decref(f->came);
	chardev_close_given(&f->given);
	cpr_state_fini(&f->state);
	now = fd_count() - f->fds;
	free(f);
	return now ? -1 : 0;
}

static void describe(struct fixture *f, const char *label, enum chardev_kind kind, bool server,
		     enum console_front front)
{
	f->console = (struct console){ .front = front };
	f->console.config.kind = kind;
	f->console.config.server = server;
	strcpy(f->console.label, label);
}

static int take(struct fixture *f)
{
	struct err e = ERR_INIT;
	int r;

	chardev_close_given(&f->given);
	r = consoles_take_carried(f->came, &f->state, &f->console, &f->given, &e);
	if (r < 0)
		fail_msg("%s", e.msg);
	return r;
}

/* Which descriptors came. */
static void assert_given(struct fixture *f, const char *want)
{
	char got[4] = "";

	if (f->given.listen_fd >= 0)
		strcat(got, "l");
	if (f->given.peer_fd >= 0)
		strcat(got, "p");
	if (f->given.own_fd >= 0)
		strcat(got, "o");
	assert_string_equal(got, want);
}

static void devices_of_the_same_kind_are_found_by_label(void **state)
{
	struct fixture *f = *state;

	describe(f, "serial0", CHARDEV_PTY, false, FRONT_SERIAL);
	assert_int_equal(take(f), 1);
	assert_given(f, "o");
	assert_string_equal(f->given.path, "/dev/pts/9");
	assert_true(f->given.peer);
	describe(f, "serial0", CHARDEV_STDIO, false, FRONT_SERIAL);
	assert_int_equal(take(f), 0);
	describe(f, "serial1", CHARDEV_PTY, false, FRONT_SERIAL);
	assert_int_equal(take(f), 0);
	describe(f, "s", CHARDEV_STDIO, false, FRONT_NONE);
	assert_int_equal(take(f), 1);
	assert_given(f, "");
	assert_true(f->given.escaped);
	assert_true(f->given.has_tty);
	assert_int_equal(f->given.tty.lflag, UINT32_MAX);
	assert_int_equal(f->given.tty.cc[31], 255);
	assert_true(consoles_want_events(f->came));
}

static void listening_socket_needs_the_address_and_its_client_the_front_end(void **state)
{
	struct fixture *f = *state;

	describe(f, "m", CHARDEV_UNIX, true, FRONT_QMP_PRETTY);
	strcpy(f->console.config.path, "/run/m");
	assert_int_equal(take(f), 1);
	assert_given(f, "lp");
	assert_true(f->given.has_file);
	assert_int_equal(f->given.file_ino, 2);
	f->console.front = FRONT_HMP;
	assert_int_equal(take(f), 1);
	assert_given(f, "l");
	strcpy(f->console.config.path, "/run/n");
	assert_int_equal(take(f), 1);
	assert_given(f, "");
	assert_false(f->given.has_file);
	f->console.front = FRONT_QMP;
	assert_int_equal(take(f), 1);
	assert_given(f, "p");
	f->console.config.server = false;
	assert_int_equal(take(f), 0);
}

static void connection_that_was_made_needs_its_address(void **state)
{
	struct fixture *f = *state;

	describe(f, "c", CHARDEV_TCP, false, FRONT_HMP);
	strcpy(f->console.config.host, "host");
	strcpy(f->console.config.port, "1");
	assert_int_equal(take(f), 1);
	assert_given(f, "p");
	strcpy(f->console.config.port, "2");
	assert_int_equal(take(f), 1);
	assert_given(f, "");
}

/* Announces the list, for a transfer. */
static int take_announced(struct fixture *f)
{
	struct err e = ERR_INIT;
	int r;

	chardev_close_given(&f->given);
	r = consoles_take_announced(f->came, &f->state, &f->console, &f->given, &e);
	if (r < 0)
		fail_msg("%s", e.msg);
	return r;
}

static void device_of_another_process_needs_the_same_address(void **state)
{
	struct fixture *f = *state;
	struct err e;

	json_decref(f->came);
	assert_int_equal(consoles_find_announced(&f->state, &f->came, &e), 0);
	/* That member is for the next image in one process. */
	assert_null(f->came);
	assert_int_equal(consoles_find_carried(&f->state, &f->came, &e), 0);
	describe(f, "m", CHARDEV_UNIX, true, FRONT_QMP);
	strcpy(f->console.config.path, "/run/m");
	assert_int_equal(take_announced(f), 1);
	assert_given(f, "lp");
	assert_true(f->given.later);
	assert_true(f->console.announced);
	assert_int_equal(f->console.old_id, 1);
	f->console.announced = false;
	strcpy(f->console.config.path, "/run/n");
	assert_int_equal(take_announced(f), 0);
	assert_false(f->console.announced);
	describe(f, "serial0", CHARDEV_PTY, false, FRONT_SERIAL);
	assert_int_equal(take_announced(f), 1);
	assert_given(f, "o");
	/* The standard files of a process are its own. */
	describe(f, "s", CHARDEV_STDIO, false, FRONT_NONE);
	assert_int_equal(take_announced(f), 0);
	assert_false(f->console.announced);
}

static void old_side_without_a_list_gives_nothing(void **state)
{
	struct fixture *f = *state;
	struct err e;

	json_decref(f->came);
	f->came = NULL;
	strcpy(f->state.config, "{\"machine\": \"m\"}");
	assert_int_equal(consoles_find_carried(&f->state, &f->came, &e), 0);
	assert_null(f->came);
}

static void list_that_is_none_is_refused(void **state)
{
	static const char *const all[] = {
		"",
		"[",
		"{\"" CARRY_KEY "\": 1}",
		"{\"" CARRY_KEY "\": {}}",
		"{\"" CARRY_KEY "\": {\"list\": {}}}",
		"{\"" CARRY_KEY "\": null}",
	};
	struct fixture *f = *state;
	AUTO_BUF many = { 0 };
	struct cpr_state s;

	cpr_state_init(&s);
	buf_printf(&many, "{\"" CARRY_KEY "\": {\"list\": [0");
	for (int i = 0; i < CONSOLES_MAX; i++)
		buf_printf(&many, ", 0");
	buf_printf(&many, "]}}");
	buf_put_u8(&many, 0);
	for (size_t i = 0; i <= ARRAY_SIZE(all); i++) {
		struct err e = ERR_INIT;

		s.config = i < ARRAY_SIZE(all) ? (char *)all[i] : (char *)many.data;
		json_decref(f->came);
		assert_int_equal(consoles_find_carried(&s, &f->came, &e), -EPROTO);
		assert_true(strlen(e.msg) > 15);
		f->came = NULL;
	}
}

/* Puts @value in place of a member of the entry of console @label. */
static void damaged(void **state, const char *label, const char *member, const char *value)
{
	struct fixture *f;
	struct err e = ERR_INIT;
	json_t *list, *entry;
	size_t i;

	setup(state);
	f = *state;
	list = json_object_get(f->came, "list");
	json_array_foreach(list, i, entry)
	{
		if (strcmp(json_string_value(json_object_get(entry, "label")), label))
			continue;
		if (value)
			json_object_set_new(entry, member,
					    json_loads(value, JSON_DECODE_ANY, NULL));
		else
			json_object_del(entry, member);
	}
	describe(f, "s", CHARDEV_STDIO, false, FRONT_NONE);
	if (!strcmp(label, "m")) {
		describe(f, "m", CHARDEV_UNIX, true, FRONT_QMP);
		strcpy(f->console.config.path, "/run/m");
	}
	if (consoles_take_carried(f->came, &f->state, &f->console, &f->given, &e) >= 0)
		fail_msg("%s: %s was not refused", member, value);
	assert_true(strlen(e.msg) > 15);
	assert_int_equal(teardown(state), 0);
}

static void damaged_entry_is_refused(void **state)
{
	static const struct {
		const char *member, *value;
	} all[] = {
		{ "label", "1" },    { "label", NULL },   { "label", "\"\\u0100\"" },
		{ "kind", "null" },  { "kind", NULL },    { "server", "\"on\"" },
		{ "address", "[]" }, { "front", NULL },   { "front", "4" },
		{ "peer", "1" },     { "escaped", NULL }, { "path", "{}" },
		{ "tty", "1" },      { "tty", "{}" },     { "tty", "[]" },
	};
	static const char *const files[] = { "1", "[]", "[1]", "[\"1\", \"2\"]", "{}" };
	AUTO_BUF huge = { 0 };

	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		damaged(state, "s", all[i].member, all[i].value);
	for (size_t i = 0; i < ARRAY_SIZE(files); i++)
		damaged(state, "m", "file", files[i]);
	buf_printf(&huge, "\"%0*d\"", 70000, 0);
	buf_put_u8(&huge, 0);
	damaged(state, "s", "label", (const char *)huge.data);
	damaged(state, "s", "address", (const char *)huge.data);
	damaged(state, "s", "path", (const char *)huge.data);
}

static void damaged_terminal_settings_are_refused(void **state)
{
	static const char *const all[] = {
		"{\"iflag\": 1, \"oflag\": 2, \"cflag\": 3, \"lflag\": 4}",
		"{\"iflag\": 1, \"oflag\": 2, \"cflag\": 3, \"lflag\": 4, \"cc\": [1]}",
		"{\"iflag\": 1, \"oflag\": 2, \"cflag\": 3, \"lflag\": 4, \"cc\": [0, 0, 0, 0, 0, 0, "
		"0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 256]}",
		"{\"iflag\": 1, \"oflag\": 2, \"cflag\": 3, \"lflag\": 4, \"cc\": [0, 0, 0, 0, 0, 0, "
		"0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, \"\"]}",
		"{\"iflag\": -1, \"oflag\": 2, \"cflag\": 3, \"lflag\": 4, \"cc\": [0, 0, 0, 0, 0, 0, "
		"0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]}",
		"{\"iflag\": 1, \"oflag\": 4294967296, \"cflag\": 3, \"lflag\": 4, \"cc\": [0, 0, 0, 0, "
		"0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]}",
	};

	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		damaged(state, "s", "tty", all[i]);
}

/* Whatever one byte of the text becomes, the answer is yes, no or a sentence, and nothing leaks. */
static void any_changed_byte_is_survived(void **state)
{
	static const struct {
		const char *label, *path;
		enum chardev_kind kind;
		bool server;
		enum console_front front;
	} consoles[] = {
		{ "serial0", "", CHARDEV_PTY, false, FRONT_SERIAL },
		{ "m", "/run/m", CHARDEV_UNIX, true, FRONT_QMP },
		{ "s", "", CHARDEV_STDIO, false, FRONT_NONE },
	};
	struct fixture *f = *state;
	unsigned int seed = 1;

	for (size_t i = 0; i < 20000; i++) {
		struct cpr_state s = f->state;
		json_t *came = NULL;
		struct err e = ERR_INIT;

		s.config = strdup(LIST);
		for (int n = rand_r(&seed) % 3; n >= 0; n--)
			s.config[(size_t)rand_r(&seed) % strlen(LIST)] =
				"\"{}[]:,0129 aZ\x80\\-"[rand_r(&seed) % 17];
		if (!consoles_find_carried(&s, &came, &e) && came) {
			for (size_t k = 0; k < ARRAY_SIZE(consoles); k++) {
				describe(f, consoles[k].label, consoles[k].kind, consoles[k].server,
					 consoles[k].front);
				strcpy(f->console.config.path, consoles[k].path);
				chardev_close_given(&f->given);
				e = (struct err)ERR_INIT;
				if (consoles_take_carried(came, &s, &f->console, &f->given, &e) < 0)
					assert_true(strlen(e.msg) > 15);
			}
		}
		json_decref(came);
		free(s.config);
	}
}

static void some_descriptors_are_dropped_or_forgotten(void **state)
{
	struct fixture *f = *state;
	unsigned int before = fd_count();
	struct err e;
	int fd = file_create_memfd("made", "", 0, &e), lent;

	add_fd(f, "pc.ram", 0);
	lent = cpr_state_find_fd(&f->state, "pc.ram", 0);
	cpr_state_drop(&f->state, CARRY_KEY ":");
	assert_int_equal(f->state.nr_fds, 1);
	assert_int_equal(fd_count(), before - 4 + 2);
	assert_int_equal(cpr_state_add_made_fd(&f->state, CARRY_KEY ":bytes", 0, fd, &e), 0);
	cpr_state_forget(&f->state);
	assert_int_equal(f->state.nr_fds, 0);
	assert_int_equal(fd_count(), before - 4 + 1);
	close(lent);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(devices_of_the_same_kind_are_found_by_label),
		TEST(listening_socket_needs_the_address_and_its_client_the_front_end),
		TEST(connection_that_was_made_needs_its_address),
		TEST(device_of_another_process_needs_the_same_address),
		TEST(old_side_without_a_list_gives_nothing),
		TEST(list_that_is_none_is_refused),
		cmocka_unit_test(damaged_entry_is_refused),
		cmocka_unit_test(damaged_terminal_settings_are_refused),
		TEST(any_changed_byte_is_survived),
		TEST(some_descriptors_are_dropped_or_forgotten),
	};

	return cmocka_run_group_tests_name("consoles_carry", tests, NULL, NULL);
}
