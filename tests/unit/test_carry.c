/* SPDX-License-Identifier: MIT */
/* Sessions of monitors that go on in another image: what is saved comes back, or is refused. */
#include "fake_machine.h"

#include <jansson.h>
#include <stdlib.h>
#include <unistd.h>

#include "ctl/carry.h"
#include "ctl/monitor.h"
#include "ctl/qmp.h"
#include "fd_count.h"
#include "host/file.h"
#include "update/wire.h"

enum {
	ID = 5,
};

/* The terminal library remembers four descriptions and loses those it forgets. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
	return "leak:_nc_setupterm\nleak:_nc_trim_sgr0\n";
}

struct carry_test {
	struct fake old, new;
	struct cpr_state state;
	json_t *session;
	struct buf text;
	unsigned int fds;
};

static void add_monitor(struct fake *f, bool hmp, bool tty)
{
	struct err e;

	fake_init(f);
	f->chr.tty = tty;
	assert_int_equal(hmp ? ctl_add_hmp(f->ctl, &f->chr, &e) : ctl_add_qmp(f->ctl, &f->chr, &e),
			 0);
	f->chr.out.len = 0;
}

static struct carry_test *make(void **state, bool hmp, bool tty)
{
	struct carry_test *t = calloc(1, sizeof(*t));

	t->fds = fd_count();
	add_monitor(&t->old, hmp, tty);
	add_monitor(&t->new, hmp, tty);
	cpr_state_init(&t->state);
	*state = t;
	return t;
}

static int set_up_qmp(void **state)
{
	struct carry_test *t = make(state, false, false);

	fake_type(&t->old, "{'execute': 'qmp_capabilities', 'arguments': {'enable': ['oob']}}\n");
	t->old.chr.out.len = 0;
	return 0;
}

static int set_up_hmp(void **state)
{
	make(state, true, false);
	return 0;
}

static int set_up_terminal(void **state)
{
	make(state, true, true);
	return 0;
}

static int tear_down(void **state)
{
	struct carry_test *t = *state;
	unsigned int now;

	json_decref(t->session);
	/* The sessions have their own. */
	cpr_state_forget(&t->state);
	fake_fini(&t->old);
	fake_fini(&t->new);
	buf_fini(&t->text);
	now = fd_count() - t->fds;
	free(t);
	return now ? -1 : 0;
}

static void save(struct carry_test *t)
{
	struct err e;

	if (ctl_save_session(t->old.ctl, &t->old.chr, ID, &t->state, &t->session, &e))
		fail_msg("%s", e.msg);
	assert_non_null(t->session);
}

static int try_load(struct carry_test *t, struct err *e)
{
	size_t capacity = t->new.chr.capacity;
	int r;

	/* As long as the device is held. */
	t->new.chr.capacity = 0;
	r = ctl_load_session(t->new.ctl, &t->new.chr, ID, &t->state, t->session, e);
	t->new.chr.capacity = capacity;
	return r;
}

static void load(struct carry_test *t)
{
	struct err e;

	if (try_load(t, &e))
		fail_msg("%s", e.msg);
	/* As when the device is released. */
	t->new.chr.front->writable(t->new.chr.opaque);
}

static void carry_over(struct carry_test *t)
{
	save(t);
	load(t);
}

static void expect(struct carry_test *t, const char *in, const char *want)
{
	fake_type(&t->new, in);
	assert_string_equal(fake_output(&t->new, &t->text), want);
}

static void half_requests_go_on_wherever_they_are_cut(void **state)
{
	static const char request[] =
		"\n {'execute': \"query-name\", 'id': ['\\\"{', \"a'\\\\\", -1.5e3, "
		"true, '\\'', {\"k\" : []}]}";
	static const char want[] =
		"{\"return\": {\"name\": \"toy\"}, \"id\": [\"\\\"{\", \"a'\\\\\", "
		"-1500.0, true, \"'\", {\"k\": []}]}\r\n";

	for (size_t cut = 0; cut < sizeof(request) - 1; cut++) {
		struct carry_test *t;
		char first[sizeof(request)] = "";

		set_up_qmp(state);
		t = *state;
		memcpy(first, request, cut);
		fake_type(&t->old, first);
		carry_over(t);
		expect(t, request + cut, want);
		assert_int_equal(tear_down(state), 0);
	}
}

static void position_in_the_stream_goes_on(void **state)
{
	struct carry_test *t = *state;

	fake_type(&t->old, "\n\n{'execute'");
	carry_over(t);
	/* What is wrong is named by line and column, from the first byte of the connection. */
	fake_type(&t->new, ": %");
	fake_output(&t->new, &t->text);
	assert_non_null(strstr((const char *)t->text.data, "4:13: JSON parse error"));
}

static void rest_of_a_broken_request_is_skipped(void **state)
{
	struct carry_test *t = *state;

	fake_type(&t->old, "{'execute': % ");
	carry_over(t);
	t->new.chr.out.len = 0;
	expect(t, "query-name'} \n{'execute': 'query-name'}",
	       "{\"return\": {\"name\": \"toy\"}}\r\n");
}

static void negotiation_goes_on(void **state)
{
	struct carry_test *t = *state;

	carry_over(t);
	expect(t, "{'exec-oob': 'query-name'}",
	       "{\"error\": {\"class\": \"GenericError\", \"desc\": \"The command query-name does "
	       "not support OOB\"}}\r\n");
	assert_true(ctl_has_listeners(t->new.ctl));
}

static void lack_of_negotiation_goes_on(void **state)
{
	struct carry_test *t = make(state, false, false);

	carry_over(t);
	fake_type(&t->new, "{'execute': 'query-name'}");
	fake_output(&t->new, &t->text);
	assert_non_null(strstr((const char *)t->text.data, "Expecting capabilities negotiation"));
	assert_false(ctl_has_listeners(t->new.ctl));
	assert_int_equal(tear_down(state), 0);
}

static void unread_answers_and_requests_behind_them_are_not_lost(void **state)
{
	static const char request[] = "{'execute': 'query-qmp-schema'}";
	struct carry_test *t = *state;
	size_t answer, asked = 0;

	fake_type(&t->old, request);
	answer = t->old.chr.out.len;
	t->old.chr.out.len = 0;
	t->old.chr.capacity = 10;
	/* Until it takes no more. */
	while (fake_type_bytes(&t->old, request, strlen(request)) == strlen(request))
		asked++;
	assert_true(asked * answer > SESSION_MAX_UNSENT);
	t->new.chr.capacity = 0;
	carry_over(t);
	assert_int_equal(t->new.chr.out.len, 0);
	t->new.chr.capacity = SIZE_MAX;
	t->new.chr.front->writable(t->new.chr.opaque);
	/* The last one stayed in the kernel, as its client finds when it is asked again. */
	assert_int_equal(t->new.chr.out.len + 10, asked * answer);
}

static uint64_t size_of_taken(struct carry_test *t, const char *name)
{
	struct qmp *q = CONTAINER_OF(t->new.ctl->qmps.next, struct qmp, link);
	AUTO_CLOSE int fd = fd_store_take(&q->session.fds, name);
	uint64_t size = UINT64_MAX;
	struct err e;

	assert_true(fd >= 0);
	assert_int_equal(file_size(fd, name, &size, &e), 0);
	return size;
}

static void descriptors_go_along(void **state)
{
	struct carry_test *t = *state;
	json_t *sets = NULL;
	struct err e;
	int fds[3];

	for (int i = 0; i < 3; i++)
		assert_true((fds[i] = file_create_memfd("given", "xyz", (size_t)i, &e)) >= 0);
	t->old.chr.front->passed(t->old.chr.opaque, fds, 3);
	fake_type(&t->old, "{'execute': 'getfd', 'arguments': {'fdname': 'one'}}"
			   "{'execute': 'add-fd', 'arguments': {'fdset-id': 3, 'opaque': 'o'}}"
			   "{'execute'");
	save(t);
	assert_int_equal(json_array_size(json_object_get(t->session, "names")), 1);
	/* The third was not claimed, and the request that will claim it is half there. */
	assert_int_equal(json_integer_value(json_object_get(t->session, "passed")), 1);
	assert_int_equal(ctl_save_fd_sets(t->old.ctl, &t->state, &sets, &e), 0);
	load(t);
	assert_int_equal(ctl_load_fd_sets(t->new.ctl, &t->state, sets, &e), 0);
	json_decref(sets);
	t->new.chr.out.len = 0;
	expect(t, ": 'getfd', 'arguments': {'fdname': 'two'}}", "{\"return\": {}}\r\n");
	assert_int_equal(size_of_taken(t, "one"), 0);
	assert_int_equal(size_of_taken(t, "two"), 2);
	fake_type(&t->new, "{'execute': 'query-fdsets'}");
	fake_output(&t->new, &t->text);
	assert_non_null(strstr((const char *)t->text.data, "\"fdset-id\": 3"));
	assert_non_null(strstr((const char *)t->text.data, "\"opaque\": \"o\""));
}

static void half_a_line_goes_on(void **state)
{
	struct carry_test *t = *state;

	fake_type(&t->old, "info xx\b\bna");
	t->old.chr.out.len = 0;
	carry_over(t);
	assert_string_equal(fake_output(&t->new, &t->text), "");
	expect(t, "me\n", "toy\r\n(qemu) ");
}

static void line_on_a_terminal_goes_on_with_its_cursor(void **state)
{
	struct carry_test *t = *state;

	/* Two keys to the left of the end; what is typed next goes there. */
	fake_type(&t->old, "info me\x02\x02");
	carry_over(t);
	assert_string_equal(fake_output(&t->new, &t->text), "");
	fake_type(&t->new, "na\x05\r");
	fake_output(&t->new, &t->text);
	assert_non_null(strstr((const char *)t->text.data, "\r\ntoy\r\n"));
}

static void nobody_connected_is_nothing_to_save(void **state)
{
	struct carry_test *t = *state;
	struct chardev other = { .capacity = 1 };
	struct err e;

	assert_int_equal(ctl_save_session(t->old.ctl, &other, 1, &t->state, &t->session, &e), 0);
	assert_null(t->session);
	t->old.chr.front->connected(t->old.chr.opaque, false);
	assert_int_equal(ctl_save_session(t->old.ctl, &t->old.chr, 1, &t->state, &t->session, &e),
			 0);
	assert_null(t->session);
	assert_int_equal(t->state.nr_fds, 0);
}

struct damage {
	const char *member;
	const char *value; /* NULL: it is not there */
};

/* Each with a session of its own, of which one member is wrong. */
static void refuse_all(void **state, int (*set_up)(void **), const char *typed,
		       const struct damage *d, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct carry_test *t;
		struct err e = ERR_INIT;

		set_up(state);
		t = *state;
		fake_type(&t->old, typed);
		save(t);
		if (d[i].value)
			json_object_set_new(t->session, d[i].member,
					    json_loads(d[i].value, JSON_DECODE_ANY, NULL));
		else
			json_object_del(t->session, d[i].member);
		if (!try_load(t, &e))
			fail_msg("%s: %s was not refused", d[i].member, d[i].value);
		assert_true(strlen(e.msg) > 15);
		assert_int_equal(tear_down(state), 0);
	}
}

static void damaged_qmp_session_is_refused(void **state)
{
	static const struct damage all[] = {
		{ "type", "\"hmp\"" },
		{ "type", "7" },
		{ "type", NULL },
		{ "in", "-1" },
		{ "in", "1" },
		{ "in", "\"1\"" },
		{ "in", "99999999999" },
		{ "out", "9223372036854775807" },
		{ "text", "10" },
		{ "text", NULL },
		{ "text", "-5" },
		{ "negotiated", "1" },
		{ "oob", NULL },
		{ "lost-events", "[]" },
		{ "quote", "0" },
		{ "quote", "91" },
		{ "quote", "-34" },
		{ "quote", "4294967330" },
		{ "escaped", "\"\"" },
		{ "recovering", "true" },
		{ "line", "-1" },
		{ "column", "4294967296" },
		{ "start-line", "{}" },
		{ "start-column", NULL },
		{ "names", "[\"gone\"]" },
		{ "names", "[1]" },
		{ "passed", "17" },
		{ "passed", "-1" },
		{ "passed", "2" },
	};

	refuse_all(state, set_up_qmp, "{\"execute\": \"quer", all, ARRAY_SIZE(all));
}

static void damaged_hmp_session_is_refused(void **state)
{
	static const struct damage all[] = {
		{ "type", "\"qmp\"" },       { "too-long", "0" }, { "after-cr", NULL },
		{ "waiting", "null" },       { "behind", "-1" },  { "behind", "\"\"" },
		{ "behind", "99999999999" },
	};
	static const struct damage more[] = { { "behind", "5" } };

	refuse_all(state, set_up_hmp, "info", all, ARRAY_SIZE(all));
	refuse_all(state, set_up_terminal, "info", more, ARRAY_SIZE(more));
}

static void bytes_that_no_session_has_are_refused(void **state)
{
	static const char *const texts[] = { "}", "{'a': 1}", "{'a': %", "\"x\" ", "[[]]" };
	struct carry_test *t;

	for (size_t i = 0; i < ARRAY_SIZE(texts) + 2; i++) {
		bool line = i >= ARRAY_SIZE(texts);
		const char *bytes = line ? (i % 2 ? "a\033" : "a\0b") : texts[i];
		size_t n = line ? 3 - i % 2 : strlen(bytes);
		struct err e = ERR_INIT;
		int fd;

		if (line)
			(i % 2 ? set_up_terminal : set_up_hmp)(state);
		else
			set_up_qmp(state);
		t = *state;
		save(t);
		fd = file_create_memfd("bytes", bytes, n, &e);
		assert_int_equal(cpr_state_add_made_fd(&t->state, CARRY_KEY ":bytes", ID, fd, &e),
				 0);
		json_object_set_new(t->session, "text", json_integer((json_int_t)n));
		assert_int_equal(try_load(t, &e), -EINVAL);
		assert_non_null(strstr(e.msg, "malformed"));
		assert_int_equal(tear_down(state), 0);
	}
}

static void damaged_descriptor_sets_are_refused(void **state)
{
	static const char *const all[] = {
		"[{}]", "[1]", "[{\"id\": -1}]", "[{\"id\": \"1\"}]", "[{\"id\": 1}]",
	};
	struct carry_test *t = *state;
	struct err e;

	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		json_t *sets = json_loads(all[i], 0, NULL);

		e = (struct err)ERR_INIT;
		assert_true(ctl_load_fd_sets(t->new.ctl, &t->state, sets, &e) < 0);
		assert_true(strlen(e.msg) > 15);
		json_decref(sets);
	}
	assert_int_equal(ctl_load_fd_sets(t->new.ctl, &t->state, NULL, &e), 0);
}

#define TEST(name, set_up) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
/* Makes its sessions itself. */
#define LOOP(name) cmocka_unit_test(name)

int main(void)
{
	const struct CMUnitTest tests[] = {
		LOOP(half_requests_go_on_wherever_they_are_cut),
		TEST(position_in_the_stream_goes_on, set_up_qmp),
		TEST(rest_of_a_broken_request_is_skipped, set_up_qmp),
		TEST(negotiation_goes_on, set_up_qmp),
		LOOP(lack_of_negotiation_goes_on),
		TEST(unread_answers_and_requests_behind_them_are_not_lost, set_up_qmp),
		TEST(descriptors_go_along, set_up_qmp),
		TEST(half_a_line_goes_on, set_up_hmp),
		TEST(line_on_a_terminal_goes_on_with_its_cursor, set_up_terminal),
		TEST(nobody_connected_is_nothing_to_save, set_up_qmp),
		LOOP(damaged_qmp_session_is_refused),
		LOOP(damaged_hmp_session_is_refused),
		LOOP(bytes_that_no_session_has_are_refused),
		TEST(damaged_descriptor_sets_are_refused, set_up_qmp),
	};

	return cmocka_run_group_tests_name("carry", tests, NULL, NULL);
}
