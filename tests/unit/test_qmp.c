/* SPDX-License-Identifier: MIT */
/* QMP sessions and commands, against a machine on paper. */
#include "fake_machine.h"

#include <jansson.h>
#include <stdlib.h>

#include "ctl/channels.h"

struct qmp_test {
	struct fake f;
	struct buf text;
};

static int set_up(void **state)
{
	struct qmp_test *t = calloc(1, sizeof(*t));
	struct err e = ERR_INIT;

	fake_init(&t->f);
	assert_int_equal(ctl_add_qmp(t->f.ctl, &t->f.chr, &e), 0);
	*state = t;
	return 0;
}

static int set_up_negotiated(void **state)
{
	struct qmp_test *t;

	set_up(state);
	t = *state;
	fake_type(&t->f, "{\"execute\": \"qmp_capabilities\"}");
	t->f.chr.out.len = 0;
	return 0;
}

static int tear_down(void **state)
{
	struct qmp_test *t = *state;

	fake_fini(&t->f);
	buf_fini(&t->text);
	free(t);
	return 0;
}

/* Types @in and compares all that comes back. */
static void expect(struct qmp_test *t, const char *in, const char *want)
{
	fake_type(&t->f, in);
	assert_string_equal(fake_output(&t->f, &t->text), want);
}

static void expect_error(struct qmp_test *t, const char *in, const char *desc)
{
	AUTO_BUF want = { 0 };

	buf_printf(&want, "{\"error\": {\"class\": \"GenericError\", \"desc\": \"%s\"}}\r\n", desc);
	buf_put_u8(&want, 0);
	expect(t, in, (char *)want.data);
}

#define OK "{\"return\": {}}\r\n"

/* The `return` of one command, to be released. */
static json_t *answer(struct qmp_test *t, const char *in)
{
	json_t *reply, *ret;

	fake_type(&t->f, in);
	reply = json_loads(fake_output(&t->f, &t->text), 0, NULL);
	assert_non_null(reply);
	ret = json_incref(json_object_get(reply, "return"));
	assert_non_null(ret);
	json_decref(reply);
	return ret;
}

static void negotiation_comes_first(void **state)
{
	struct qmp_test *t = *state;

	assert_string_equal(
		fake_output(&t->f, &t->text),
		"{\"QMP\": {\"version\": {\"qemu\": {\"major\": 11, \"minor\": 1, "
		"\"micro\": 3}, \"package\": \"baton-0.1.0\"}, \"capabilities\": [\"oob\"]}}"
		"\r\n");
	expect(t, "{\"execute\": \"stop\"}",
	       "{\"error\": {\"class\": \"CommandNotFound\", \"desc\": \"Expecting capabilities "
	       "negotiation with 'qmp_capabilities'\"}}\r\n");
	vm_notify(&t->f.vm, VM_EVENT_STOP, NULL);
	assert_string_equal(fake_output(&t->f, &t->text), "");
	expect_error(t, "{'execute': 'qmp_capabilities', 'arguments': {'enable': ['x']}}",
		     "Parameter 'enable[0]' does not accept value 'x'");
	expect(t, "{\"execute\": \"qmp_capabilities\", 'id': 7}\n",
	       "{\"return\": {}, \"id\": 7}\r\n");
	expect(t, "{\"execute\": \"qmp_capabilities\"}",
	       "{\"error\": {\"class\": \"CommandNotFound\", \"desc\": \"Capabilities negotiation "
	       "is already complete, command ignored\"}}\r\n");
	assert_int_equal(t->f.vm.runstate, RUNSTATE_RUNNING);
}

static void oob_is_a_word_only_after_it_was_negotiated(void **state)
{
	struct qmp_test *t = *state;

	fake_output(&t->f, &t->text);
	expect_error(t, "{'exec-oob': 'qmp_capabilities'}",
		     "QMP input member 'exec-oob' is unexpected");
	expect(t, "{'execute': 'qmp_capabilities', 'arguments': {'enable': ['oob']}}", OK);
	expect_error(t, "{'exec-oob': 'query-kvm'}", "The command query-kvm does not support OOB");
	expect_error(t, "{'exec-oob': 'query-kvm', 'execute': 'query-kvm'}",
		     "QMP input member 'exec-oob' clashes with 'execute'");
	expect_error(t, "{'exec-oob': 1}", "QMP input member 'exec-oob' must be a string");
	t->f.chr.front->connected(t->f.chr.opaque, true);
	fake_output(&t->f, &t->text);
	expect_error(t, "{'exec-oob': 'qmp_capabilities'}",
		     "QMP input member 'exec-oob' is unexpected");
}

static void requests_are_answered_in_order_with_their_id(void **state)
{
	struct qmp_test *t = *state;

	expect(t,
	       "{'execute': 'query-status', 'id': {'a': [1, null]}} {'execute': 'query-name',"
	       "'id': 'x'}{'execute': 'query-kvm'}",
	       "{\"return\": {\"status\": \"running\", \"running\": true}, \"id\": {\"a\": [1, "
	       "null]}}\r\n"
	       "{\"return\": {\"name\": \"toy\"}, \"id\": \"x\"}\r\n"
	       "{\"return\": {\"enabled\": true, \"present\": true}}\r\n");
	expect(t, "{\"execute\":", "");
	expect(t, " \"query-uuid\"}",
	       "{\"return\": {\"UUID\": \"00000000-0000-0000-0000-000000000000\"}}\r\n");
}

static void values_that_end_with_a_chunk_do_not_block(void **state)
{
	struct qmp_test *t = *state;

	expect(t, "12", "");
	expect_error(t, " ", "QMP input must be a JSON object");
	expect(t, "{'execute': 'query-name'}", "{\"return\": {\"name\": \"toy\"}}\r\n");
}

static void bad_requests_are_refused_by_name(void **state)
{
	struct qmp_test *t = *state;

	expect_error(t, "[]", "QMP input must be a JSON object");
	expect_error(t, "{}", "QMP input lacks member 'execute'");
	expect_error(t, "{'execute': 'stop', 'foo': 1}", "QMP input member 'foo' is unexpected");
	expect_error(t, "{'exec-oob': 'stop'}", "QMP input member 'exec-oob' is unexpected");
	expect_error(t, "{'execute': 1}", "QMP input member 'execute' must be a string");
	expect_error(t, "{'execute': 'stop', 'arguments': []}",
		     "QMP input member 'arguments' must be an object");
	expect_error(t, "{'execute': 'stop', 'arguments': {'x': 1}}",
		     "Parameter 'x' is unexpected");
	expect(t, "{'execute': 'nope', 'id': 3}",
	       "{\"error\": {\"class\": \"CommandNotFound\", \"desc\": \"The command nope has not "
	       "been found\"}, \"id\": 3}\r\n");
	fake_type(&t->f, "{'execute': 'stop',}\n{'a': 1, 'a': 2}\n}\n");
	assert_non_null(strstr(fake_output(&t->f, &t->text), "JSON parse error"));
	assert_non_null(strstr((char *)t->text.data, "duplicate key"));
	assert_int_equal(t->f.vm.runstate, RUNSTATE_RUNNING);
	fake_type(&t->f, "{'execute': 'stop'}\n");
	assert_int_equal(t->f.vm.runstate, RUNSTATE_PAUSED);
}

static void stop_and_cont_act_and_are_told(void **state)
{
	struct qmp_test *t = *state;
	const char *out;

	fake_type(&t->f, "{'execute': 'stop'}{'execute': 'query-status'}{'execute': 'cont'}");
	out = fake_output(&t->f, &t->text);
	assert_non_null(strstr(out, "\"microseconds\""));
	assert_non_null(strstr(out, "\"event\": \"STOP\"}\r\n" OK));
	assert_non_null(strstr(out, "{\"status\": \"paused\", \"running\": false}"));
	assert_non_null(strstr(out, "\"event\": \"RESUME\"}\r\n" OK));
	t->f.migration.refuse = "no \"way\"";
	expect_error(t, "{'execute': 'cont'}", "no \\\"way\\\"");
}

static void reset_powerdown_and_quit_reach_the_machine(void **state)
{
	struct qmp_test *t = *state;
	const char *out;

	fake_type(&t->f, "{'execute': 'system_reset'}");
	out = fake_output(&t->f, &t->text);
	assert_non_null(strstr(out, "\"data\": {\"guest\": false, \"reason\": "
				    "\"host-qmp-system-reset\"}"));
	vm_notify(&t->f.vm, VM_EVENT_RESET, "guest-reset");
	out = fake_output(&t->f, &t->text);
	assert_non_null(strstr(out, "{\"guest\": true, \"reason\": \"guest-reset\"}"));
	fake_type(&t->f, "{'execute': 'system_powerdown'}");
	assert_non_null(strstr(fake_output(&t->f, &t->text), "\"POWERDOWN\""));
	assert_int_equal(t->f.powerdowns, 1);
	t->f.vm.runstate = RUNSTATE_POSTMIGRATE;
	t->f.vm.reset_requested = false;
	expect_error(t, "{'execute': 'system_reset'}",
		     "The machine cannot be reset in run state 'postmigrate'");
	assert_false(t->f.vm.reset_requested);
	/* Nothing after `quit` is carried out. */
	expect(t, "{'execute': 'quit'}{'execute': 'stop'}", OK);
	assert_true(t->f.vm.shutdown_requested);
	assert_int_equal(t->f.vm.runstate, RUNSTATE_POSTMIGRATE);
	vm_notify(&t->f.vm, VM_EVENT_SHUTDOWN, "host-qmp-quit");
	out = fake_output(&t->f, &t->text);
	assert_non_null(strstr(out, "{\"guest\": false, \"reason\": \"host-qmp-quit\"}"));
}

#define MAIN "{'channel-type': 'main', 'addr': {'transport': 'socket', 'type': 'unix', "
#define CPR  "{'channel-type': 'cpr', 'addr': {'transport': 'socket', 'type': 'unix', "

static void migrate_checks_its_channels(void **state)
{
	struct qmp_test *t = *state;

	expect_error(t, "{'execute': 'migrate'}", "need either 'uri' or 'channels' argument");
	expect_error(t, "{'execute': 'migrate', 'arguments': {'uri': 'unix:a', 'channels': []}}",
		     "need either 'uri' or 'channels' argument");
	expect_error(t,
		     "{'execute': 'migrate', 'arguments': {'channels': [" MAIN
		     "'path': 'a'}}, " MAIN "'path': 'b'}}]}}",
		     "Channel list has more than one main entry");
	expect_error(t, "{'execute': 'migrate', 'arguments': {'channels': [" CPR "'path': 'a'}}]}}",
		     "Channel list has no main entry");
	expect_error(t, "{'execute': 'migrate', 'arguments': {'uri': 'bogus:x'}}",
		     "unknown migration protocol: bogus:x");
	expect_error(t, "{'execute': 'migrate', 'arguments': {'uri': 1}}",
		     "Invalid parameter type for 'uri', expected: string");
	expect_error(t, "{'execute': 'migrate', 'arguments': {'uri': 'unix:a', 'detach': true}}",
		     "Parameter 'detach' is unexpected");
	expect_error(t, "{'execute': 'migrate', 'arguments': {'uri': 'unix:a', 'resume': true}}",
		     "Cannot resume if there is no paused migration");
	expect_error(t, "{'execute': 'migrate', 'arguments': {'channels': [{}]}}",
		     "Parameter 'channels[0].channel-type' is missing");
	expect_error(t,
		     "{'execute': 'migrate', 'arguments': {'channels': ["
		     "{'channel-type': 'main', 'addr': {'transport': 'socket', 'type': "
		     "'unix'}}]}}",
		     "Parameter 'channels[0].addr.path' is missing");
	expect_error(t,
		     "{'execute': 'migrate', 'arguments': {'channels': [" MAIN
		     "'path': 'a', 'host': 'b'}}]}}",
		     "Parameter 'channels[0].addr.host' is unexpected");
	expect_error(t,
		     "{'execute': 'migrate', 'arguments': {'channels': [{'channel-type': 'main', "
		     "'addr': {'transport': 'file', 'filename': 'f'}}]}}",
		     "Parameter 'channels[0].addr.offset' is missing");
	expect_error(t,
		     "{'execute': 'migrate', 'arguments': {'channels': [{'channel-type': 'main', "
		     "'addr': {'transport': 'file', 'filename': 'f', 'offset': -1}}]}}",
		     "Parameter 'channels[0].addr.offset' expects uint64");
	expect_error(t,
		     "{'execute': 'migrate', 'arguments': {'channels': [{'channel-type': 'main', "
		     "'addr': {'transport': 'rdma', 'host': 'h', 'port': '1'}}]}}",
		     "Migration over 'rdma' is not supported");
	assert_int_equal(t->f.migration.starts, 0);
}

static void migrate_passes_its_channels_on(void **state)
{
	struct qmp_test *t = *state;
	struct migration *m = &t->f.migration;

	expect(t,
	       "{'execute': 'migrate', 'arguments': {'channels': [" CPR
	       "'path': 'cpr.sock'}}, " MAIN "'path': 'main.sock'}}]}}",
	       OK);
	assert_int_equal(m->starts, 1);
	assert_int_equal(m->main_channel.transport, TRANSPORT_UNIX);
	assert_string_equal(m->main_channel.path, "main.sock");
	assert_true(m->has_cpr);
	assert_int_equal(m->cpr.type, CHANNEL_CPR);
	assert_string_equal(m->cpr.path, "cpr.sock");
	expect(t, "{'execute': 'migrate', 'arguments': {'uri': 'file:vm.state,offset=4k'}}", OK);
	assert_false(m->has_cpr);
	assert_int_equal(m->main_channel.transport, TRANSPORT_FILE);
	assert_int_equal(m->main_channel.offset, 4096);
	m->refuse = "There's a migration process in progress";
	expect_error(t, "{'execute': 'migrate', 'arguments': {'uri': 'unix:a'}}",
		     "There's a migration process in progress");
	expect(t, "{'execute': 'migrate_cancel'}", OK);
	assert_int_equal(m->cancels, 1);
	expect(t,
	       "{'execute': 'migrate-incoming', 'arguments': {'uri': 'tcp::4444', "
	       "'exit-on-error': false}}",
	       OK);
	assert_int_equal(m->incomings, 1);
	assert_false(m->exit_on_error);
	assert_string_equal(m->main_channel.port, "4444");
}

static void migration_events_need_their_capability(void **state)
{
	struct qmp_test *t = *state;
	const char *out;

	fake_migration_status(&t->f, MIGRATION_SETUP);
	assert_string_equal(fake_output(&t->f, &t->text), "");
	expect_error(t,
		     "{'execute': 'migrate-set-capabilities', 'arguments': {'capabilities': "
		     "[{'capability': 'events', 'state': true}]}}",
		     "There's a migration process in progress");
	fake_migration_status(&t->f, MIGRATION_FAILED);
	expect(t,
	       "{'execute': 'migrate-set-capabilities', 'arguments': {'capabilities': "
	       "[{'capability': 'events', 'state': true}, {'capability': 'xbzrle', 'state': "
	       "false}]}}",
	       OK);
	fake_migration_status(&t->f, MIGRATION_ACTIVE);
	out = fake_output(&t->f, &t->text);
	assert_non_null(strstr(out, "\"event\": \"MIGRATION\", \"data\": {\"status\": "
				    "\"active\"}"));
	t->f.migration.observer->pass(t->f.migration.observer->opaque, 1);
	out = fake_output(&t->f, &t->text);
	assert_non_null(strstr(out, "\"event\": \"MIGRATION_PASS\", \"data\": {\"pass\": 1}"));
	fake_migration_status(&t->f, MIGRATION_COMPLETED);
	t->f.chr.out.len = 0;
	expect_error(t,
		     "{'execute': 'migrate-set-capabilities', 'arguments': {'capabilities': "
		     "[{'capability': 'multifd', 'state': true}]}}",
		     "Capability 'multifd' is not supported");
	expect_error(t,
		     "{'execute': 'migrate-set-capabilities', 'arguments': {'capabilities': "
		     "[{'capability': 'nope', 'state': true}]}}",
		     "Parameter 'capability' does not accept value 'nope'");
}

static void parameters_are_set_all_or_none(void **state)
{
	struct qmp_test *t = *state;
	struct migration_params *p = &t->f.migration.params;
	json_t *ret;

	expect_error(t,
		     "{'execute': 'migrate-set-parameters', 'arguments': {'mode': "
		     "'cpr-transfer', 'downtime-limit': 'x'}}",
		     "Invalid parameter type for 'downtime-limit', expected: integer");
	assert_int_equal(p->mode, MODE_NORMAL);
	expect_error(t, "{'execute': 'migrate-set-parameters', 'arguments': {'mode': 'bogus'}}",
		     "Parameter 'mode' does not accept value 'bogus'");
	expect_error(t, "{'execute': 'migrate-set-parameters', 'arguments': {'nope': 1}}",
		     "Parameter 'nope' is unexpected");
	expect_error(t,
		     "{'execute': 'migrate-set-parameters', 'arguments': {'multifd-channels': "
		     "4}}",
		     "Parameter 'multifd-channels' cannot be changed from its default");
	expect_error(t,
		     "{'execute': 'migrate-set-parameters', 'arguments': {'cpr-exec-command': "
		     "['a', 1]}}",
		     "Invalid parameter type for 'cpr-exec-command[1]', expected: string");
	expect(t,
	       "{'execute': 'migrate-set-parameters', 'arguments': {'mode': 'cpr-exec', "
	       "'cpr-exec-command': ['baton', '-S'], 'multifd-channels': 2, 'tls-creds': null}}",
	       OK);
	assert_int_equal(p->mode, MODE_CPR_EXEC);
	assert_string_equal(p->cpr_exec_command[1], "-S");
	assert_null(p->cpr_exec_command[2]);
	ret = answer(t, "{'execute': 'query-migrate-parameters'}");
	assert_string_equal(json_string_value(json_object_get(ret, "mode")), "cpr-exec");
	assert_int_equal(json_array_size(json_object_get(ret, "cpr-exec-command")), 2);
	assert_int_equal(json_integer_value(json_object_get(ret, "downtime-limit")), 300);
	assert_int_equal(json_integer_value(json_object_get(ret, "xbzrle-cache-size")), 67108864);
	assert_int_equal(json_object_size(ret), 30);
	json_decref(ret);
	expect(t, "{'execute': 'migrate-set-parameters', 'arguments': {'cpr-exec-command': []}}",
	       OK);
	assert_null(p->cpr_exec_command);
	ret = answer(t, "{'execute': 'query-migrate-capabilities'}");
	assert_int_equal(json_array_size(ret), 21);
	json_decref(ret);
}

static void query_migrate_shows_what_there_is(void **state)
{
	struct qmp_test *t = *state;
	struct migration_info *info = &t->f.migration.info;
	json_t *ret;

	expect(t, "{'execute': 'query-migrate'}", OK);
	t->f.migration.blocker = "in the way";
	expect(t, "{'execute': 'query-migrate'}",
	       "{\"return\": {\"blocked-reasons\": [\"in the way\"]}}\r\n");
	t->f.migration.blocker = NULL;
	info->status = MIGRATION_SETUP;
	expect(t, "{'execute': 'query-migrate'}", "{\"return\": {\"status\": \"setup\"}}\r\n");
	info->status = MIGRATION_FAILED;
	strcpy(info->error, "why");
	expect(t, "{'execute': 'query-migrate'}",
	       "{\"return\": {\"status\": \"failed\", \"error-desc\": \"why\"}}\r\n");
	info->status = MIGRATION_COMPLETED;
	info->error[0] = '\0';
	info->setup_us = 12345;
	info->downtime_us = 1900;
	info->total_us = 15000;
	info->bytes = 4321;
	info->nr_phases = 1;
	info->phases[0] = (struct migration_phase){ "stop", 77 };
	ret = answer(t, "{'execute': 'query-migrate'}");
	assert_int_equal(json_integer_value(json_object_get(ret, "setup-time")), 12);
	assert_int_equal(json_integer_value(json_object_get(ret, "downtime")), 1);
	assert_int_equal(json_integer_value(json_object_get(ret, "total-time")), 15);
	assert_int_equal(json_object_size(json_object_get(ret, "ram")), 17);
	json_decref(ret);
	info->incoming = true;
	expect(t, "{'execute': 'query-migrate'}",
	       "{\"return\": {\"status\": \"completed\", \"pause\": {\"downtime-us\": 1900, "
	       "\"bytes\": 4321, \"phases\": [{\"name\": \"stop\", \"us\": 77}]}}}\r\n");
}

static void lists_describe_the_machine(void **state)
{
	struct qmp_test *t = *state;
	json_t *ret, *v;

	ret = answer(t, "{'execute': 'query-cpus-fast'}");
	assert_int_equal(json_array_size(ret), 2);
	v = json_array_get(ret, 1);
	assert_int_equal(json_integer_value(json_object_get(v, "cpu-index")), 1);
	assert_int_equal(json_integer_value(json_object_get(v, "thread-id")), 1001);
	json_decref(ret);
	ret = answer(t, "{'execute': 'query-memdev'}");
	v = json_array_get(ret, 0);
	assert_string_equal(json_string_value(json_object_get(v, "id")), "ram0");
	assert_true(json_is_true(json_object_get(v, "share")));
	json_decref(ret);
	expect(t, "{'execute': 'query-chardev'}",
	       "{\"return\": [{\"label\": \"compat_monitor0\", \"filename\": \"fake:\", "
	       "\"frontend-open\": true}]}\r\n");
	ret = answer(t, "{'execute': 'query-commands'}");
	assert_true(json_array_size(ret) >= 25);
	json_decref(ret);
	expect(t,
	       "{'execute': 'human-monitor-command', 'arguments': {'command-line': "
	       "'info status'}}",
	       "{\"return\": \"VM status: running\\r\\n\"}\r\n");
	expect_error(t, "{'execute': 'human-monitor-command'}",
		     "Parameter 'command-line' is missing");
}

static void a_new_peer_starts_afresh(void **state)
{
	struct qmp_test *t = *state;

	fake_type(&t->f, "{'execute': 'stop'");
	t->f.chr.front->connected(t->f.chr.opaque, false);
	t->f.chr.front->connected(t->f.chr.opaque, true);
	assert_non_null(strstr(fake_output(&t->f, &t->text), "{\"QMP\":"));
	expect(t, "{'execute': 'query-status'}",
	       "{\"error\": {\"class\": \"CommandNotFound\", \"desc\": \"Expecting capabilities "
	       "negotiation with 'qmp_capabilities'\"}}\r\n");
	assert_int_equal(t->f.vm.runstate, RUNSTATE_RUNNING);
}

static void a_peer_that_does_not_read_is_not_read_from(void **state)
{
	static const char request[] = "{'execute': 'query-migrate-parameters'}";
	struct qmp_test *t = *state;
	size_t sent = 0;
	size_t lines = 0;
	size_t chunk;

	t->f.chr.capacity = 0;
	do {
		chunk = fake_type_bytes(&t->f, request, sizeof(request) - 1);
		sent += chunk;
		assert_true(sent < 1 << 20);
	} while (chunk == sizeof(request) - 1);
	/* Events do not pile up without limit either; the guest could cause them. */
	for (int i = 0; i < 100000; i++)
		vm_notify(&t->f.vm, VM_EVENT_RESET, "guest-reset");
	assert_int_equal(t->f.chr.out.len, 0);
	t->f.chr.capacity = SIZE_MAX;
	t->f.chr.front->writable(t->f.chr.opaque);
	assert_true(t->f.chr.accepted > 0);
	assert_true(t->f.chr.out.len < 4 << 20);
	for (size_t i = 0; i < t->f.chr.out.len; i++)
		lines += !memcmp(t->f.chr.out.data + i, "{\"return\"",
				 MIN((size_t)9, t->f.chr.out.len - i));
	assert_int_equal(lines, sent / (sizeof(request) - 1));
	t->f.chr.out.len = 0;
	fake_type(&t->f, request + sent % (sizeof(request) - 1));
	assert_non_null(strstr(fake_output(&t->f, &t->text), "\"return\""));
}

/* Objects within objects, more of them than a stack has frames. */
static const char *many_dots(void)
{
	static char text[400000];

	for (size_t i = 0; i + 1 < sizeof(text); i++)
		text[i] = i % 2 ? '.' : 'a';
	memcpy(text, "cpr,", 4);
	memcpy(text + sizeof(text) - 4, "b=1", 4);
	return text;
}

static void incoming_options_are_read(void **state)
{
	struct err e = ERR_INIT;
	struct channel c;

	(void)state;
	assert_int_equal(
		channel_parse_incoming("{\"channel-type\":\"cpr\",\"addr\":{\"transport\":"
				       "\"socket\",\"type\":\"unix\",\"path\":\"cpr.sock\"}"
				       "}",
				       &c, &e),
		0);
	assert_int_equal(c.type, CHANNEL_CPR);
	assert_string_equal(c.path, "cpr.sock");
	assert_int_equal(channel_parse_incoming("cpr,addr.transport=socket,addr.type=unix,"
						"addr.path=/p",
						&c, &e),
			 0);
	assert_int_equal(c.type, CHANNEL_CPR);
	assert_string_equal(c.path, "/p");
	assert_int_equal(channel_parse_incoming("main,addr.transport=file,addr.filename=f,"
						"addr.offset=0x10",
						&c, &e),
			 0);
	assert_int_equal(c.offset, 16);
	assert_int_equal(channel_parse_incoming("unix:/x", &c, &e), 0);
	assert_int_equal(c.type, CHANNEL_MAIN);
	assert_true(channel_parse_incoming("garbage", &c, &e) < 0);
	assert_string_equal(e.msg, "Parameter 'channel-type' does not accept value 'garbage'");
	assert_true(channel_parse_incoming("cpr", &c, &e) < 0);
	assert_string_equal(e.msg, "Parameter 'addr' is missing");
	assert_true(channel_parse_incoming("{'channel-type'", &c, &e) < 0);
	assert_true(channel_parse_incoming("", &c, &e) < 0);
	assert_true(channel_parse_incoming("cpr,a.b=1,a=2,a.c=3", &c, &e) < 0);
	assert_true(channel_parse_incoming("cpr,channel-type.x=1", &c, &e) < 0);
	/* Names that no JSON object can have, on the way and at the end. */
	assert_true(channel_parse_incoming("cpr,addr\235.path=/x", &c, &e) < 0);
	assert_non_null(strstr(e.msg, "UTF-8"));
	assert_true(channel_parse_incoming("cpr,\235=/x", &c, &e) < 0);
	assert_non_null(strstr(e.msg, "UTF-8"));
	assert_true(channel_parse_incoming(many_dots(), &c, &e) < 0);
}

/* Whatever a client sends, the next well-formed request on a line of its own is answered. */
static void mutated_requests_leave_it_answering(void **state)
{
	static const char *const lines[] = {
		"{'execute': 'migrate', 'arguments': {'channels': [" CPR "'path': 'c'}}, " MAIN
		"'path': 'm'}}]}, 'id': 1}",
		"{'execute': 'migrate-set-parameters', 'arguments': {'mode': 'cpr-exec', "
		"'cpr-exec-command': ['a', 'b'], 'downtime-limit': 300}}",
		"{'execute': 'human-monitor-command', 'arguments': {'command-line': "
		"'migrate_set_parameter mode cpr-exec'}}",
		"{'execute': 'migrate-set-capabilities', 'arguments': {'capabilities': "
		"[{'capability': 'events', 'state': true}]}}",
	};
	struct qmp_test *t = *state;
	unsigned int seed = 4711;
	char in[512], want[64];
	const char *line;
	size_t n;

	for (int round = 0; round < 10000; round++) {
		line = lines[(size_t)rand_r(&seed) % ARRAY_SIZE(lines)];
		n = strlen(line);
		memcpy(in, line, n);
		for (int k = rand_r(&seed) % 3; k >= 0; k--)
			in[(size_t)rand_r(&seed) % n] = (char)rand_r(&seed);
		fake_type_bytes(&t->f, in, n);
		snprintf(in, sizeof(in), "\"\n'\n\xff\n{'execute': 'query-kvm', 'id': %d}\n",
			 round);
		fake_type(&t->f, in);
		snprintf(want, sizeof(want), "true}, \"id\": %d}\r\n", round);
		assert_non_null(strstr(fake_output(&t->f, &t->text), want));
	}
}

#define QMP_TEST(name) cmocka_unit_test_setup_teardown(name, set_up_negotiated, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(negotiation_comes_first, set_up, tear_down),
		cmocka_unit_test_setup_teardown(oob_is_a_word_only_after_it_was_negotiated, set_up,
						tear_down),
		QMP_TEST(requests_are_answered_in_order_with_their_id),
		QMP_TEST(values_that_end_with_a_chunk_do_not_block),
		QMP_TEST(bad_requests_are_refused_by_name),
		QMP_TEST(stop_and_cont_act_and_are_told),
		QMP_TEST(reset_powerdown_and_quit_reach_the_machine),
		QMP_TEST(migrate_checks_its_channels),
		QMP_TEST(migrate_passes_its_channels_on),
		QMP_TEST(migration_events_need_their_capability),
		QMP_TEST(parameters_are_set_all_or_none),
		QMP_TEST(query_migrate_shows_what_there_is),
		QMP_TEST(lists_describe_the_machine),
		QMP_TEST(a_new_peer_starts_afresh),
		QMP_TEST(a_peer_that_does_not_read_is_not_read_from),
		cmocka_unit_test(incoming_options_are_read),
		QMP_TEST(mutated_requests_leave_it_answering),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
