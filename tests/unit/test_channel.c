/* SPDX-License-Identifier: MIT */
/* Migration URIs, parameters and capabilities, with the texts people know. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/util.h"
#include "update/channel.h"
#include "update/params.h"

static struct channel parse(const char *uri)
{
	struct channel c;
	struct err e;

	if (channel_parse_uri(uri, &c, &e))
		fail_msg("%s: %s", uri, e.msg);
	assert_int_equal(c.type, CHANNEL_MAIN);
	return c;
}

static void inet_uris_have_host_and_port(void **state)
{
	static const struct {
		const char *uri, *host, *port;
	} good[] = {
		{ "tcp:localhost:4444", "localhost", "4444" },
		{ "tcp::4444", "", "4444" },
		{ "tcp:0:4444", "0", "4444" },
		{ "tcp:[::1]:44", "::1", "44" },
		{ "tcp:10.0.0.1:http", "10.0.0.1", "http" },
		{ "tcp:h:1,to=9,ipv4=on", "h", "1" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		struct channel c = parse(good[i].uri);

		assert_int_equal(c.transport, TRANSPORT_INET);
		assert_string_equal(c.host, good[i].host);
		assert_string_equal(c.port, good[i].port);
	}
}

static void other_uris_have_one_part(void **state)
{
	struct channel c;

	(void)state;
	c = parse("unix:/tmp/a b:c");
	assert_int_equal(c.transport, TRANSPORT_UNIX);
	assert_string_equal(c.path, "/tmp/a b:c");
	c = parse("fd:17");
	assert_int_equal(c.transport, TRANSPORT_FD);
	assert_string_equal(c.path, "17");
	c = parse("exec:cat >x");
	assert_int_equal(c.transport, TRANSPORT_EXEC);
	assert_int_equal(c.nr_args, 3);
	assert_memory_equal(c.file, "/bin/sh\0-c\0cat >x", 18);
	c = parse("file:vm.state");
	assert_int_equal(c.transport, TRANSPORT_FILE);
	assert_string_equal(c.file, "vm.state");
	assert_int_equal(c.offset, 0);
}

static void file_offset_is_a_size_and_the_first_one_ends_the_path(void **state)
{
	struct channel c;
	struct err e;

	(void)state;
	c = parse("file:/x/vm,1.state,offset=0x1000");
	assert_string_equal(c.file, "/x/vm,1.state");
	assert_int_equal(c.offset, 4096);
	c = parse("file:a,offset=2M");
	assert_int_equal(c.offset, 2 * MIB);
	assert_int_equal(channel_parse_uri("file:a,offset=zz", &c, &e), -EINVAL);
	assert_string_equal(e.msg, "file URI has bad offset zz: Invalid argument");
	assert_int_equal(channel_parse_uri("file:a,offset=1,offset=2", &c, &e), -EINVAL);
	assert_string_equal(e.msg, "file URI has bad offset 1,offset=2: Invalid argument");
	assert_int_equal(channel_parse_uri("file:a,offset=", &c, &e), -EINVAL);
	assert_int_equal(channel_parse_uri("file:a,offset=-1", &c, &e), -EINVAL);
	assert_int_equal(channel_parse_uri("file:a,offset=99999999999T", &c, &e), -EINVAL);
	assert_string_equal(e.msg, "file URI has bad offset 99999999999T: "
				   "Numerical result out of range");
}

static void what_is_no_uri_is_refused_with_the_known_text(void **state)
{
	static const struct {
		const char *uri, *text;
	} bad[] = {
		{ "bogus:x", "unknown migration protocol: bogus:x" },
		{ "", "unknown migration protocol: " },
		{ "tcp", "unknown migration protocol: tcp" },
		{ "UNIX:/x", "unknown migration protocol: UNIX:/x" },
		{ "/tmp/x", "unknown migration protocol: /tmp/x" },
		{ "unix:", "invalid Unix socket address" },
		{ "tcp:foo", "error parsing address 'foo'" },
		{ "tcp:foo:", "error parsing address 'foo:'" },
		{ "tcp:", "error parsing address ''" },
		{ "tcp:[::1", "error parsing address '[::1'" },
		{ "tcp:[::1]", "error parsing address '[::1]'" },
		{ "tcp:[::1]4", "error parsing address '[::1]4'" },
		{ "file:", "file URI has no path" },
		{ "file:,offset=1", "file URI has no path" },
	};
	struct channel c = { .transport = TRANSPORT_FD, .path = "before" };
	struct err e;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		if (channel_parse_uri(bad[i].uri, &c, &e) != -EINVAL)
			fail_msg("'%s' was accepted", bad[i].uri);
		assert_string_equal(e.msg, bad[i].text);
		assert_int_equal(c.transport, TRANSPORT_FD);
		assert_string_equal(c.path, "before");
	}
}

static void addresses_that_do_not_fit_are_refused(void **state)
{
	static const struct {
		const char *before, *after;
		size_t fits;
	} parts[] = {
		{ "unix:", "", SIZEOF_FIELD(struct channel, path) - 1 },
		{ "fd:", "", SIZEOF_FIELD(struct channel, path) - 1 },
		{ "tcp:", ":1", SIZEOF_FIELD(struct channel, host) - 1 },
		{ "tcp:h:", "", SIZEOF_FIELD(struct channel, port) - 1 },
		{ "file:", "", SIZEOF_FIELD(struct channel, file) - 1 },
		{ "file:", ",offset=1", SIZEOF_FIELD(struct channel, file) - 1 },
		{ "exec:", "",
		  SIZEOF_FIELD(struct channel, file) - sizeof("/bin/sh") - sizeof("-c") - 1 },
	};
	char uri[8192], fill[8192];
	struct channel c;
	struct err e;

	(void)state;
	memset(fill, 'x', sizeof(fill) - 1);
	fill[sizeof(fill) - 1] = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
		snprintf(uri, sizeof(uri), "%s%.*s%s", parts[i].before, (int)parts[i].fits, fill,
			 parts[i].after);
		assert_int_equal(channel_parse_uri(uri, &c, &e), 0);
		snprintf(uri, sizeof(uri), "%s%.*s%s", parts[i].before, (int)parts[i].fits + 1,
			 fill, parts[i].after);
		assert_int_equal(channel_parse_uri(uri, &c, &e), -ENAMETOOLONG);
		/* The text is cut where the address alone fills it. */
		assert_non_null(strstr(e.msg, "the address '"));
	}
}

static void text_of_a_channel_is_its_uri_again(void **state)
{
	static const char *const uris[] = {
		"tcp:localhost:4444", "tcp:[::1]:44", "tcp::1",           "unix:/tmp/s", "fd:3",
		"file:vm.state",      "exec:cat",     "file:x,offset=512"
	};
	char text[4200];
	struct channel c;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(uris); i++) {
		c = parse(uris[i]);
		assert_string_equal(channel_text(&c, text, sizeof(text)), uris[i]);
		assert_ptr_equal(channel_text(&c, text, 4), text);
		assert_int_equal(strlen(text), 3);
	}
}

static void parameters_start_with_the_known_defaults(void **state)
{
	struct migration_params p;

	(void)state;
	migration_params_init(&p);
	assert_int_equal(p.mode, MODE_NORMAL);
	assert_int_equal(p.downtime_limit, 300);
	assert_int_equal(p.announce_initial, 50);
	assert_int_equal(p.announce_max, 550);
	assert_int_equal(p.announce_rounds, 5);
	assert_int_equal(p.announce_step, 100);
	assert_int_equal(p.max_bandwidth, 134217728);
	assert_null(p.cpr_exec_command);
	migration_params_fini(&p);
}

static void numbers_beyond_their_range_leave_the_parameter(void **state)
{
	struct migration_params p, before;
	struct err e;
	char text[128];

	(void)state;
	migration_params_init(&p);
	for (const struct param_desc *d = migration_param_table; d->name; d++) {
		const uint64_t *v = (const uint64_t *)((const char *)&p + d->offset);

		assert_ptr_equal(migration_param_find(d->name), d);
		if (d->kind != PARAM_UINT)
			continue;
		assert_int_equal(migration_param_set_uint(&p, d, 0, &e), 0);
		assert_int_equal(*v, 0);
		assert_int_equal(migration_param_set_uint(&p, d, d->max, &e), 0);
		assert_int_equal(*v, d->max);
		before = p;
		assert_int_equal(migration_param_set_uint(&p, d, d->max + 1, &e), -EINVAL);
		snprintf(text, sizeof(text),
			 "Parameter '%s' expects an integer in the range of 0 to %llu", d->name,
			 (unsigned long long)d->max);
		assert_string_equal(e.msg, text);
		assert_memory_equal(&p, &before, sizeof(p));
	}
	assert_null(migration_param_find("nope"));
	assert_null(migration_param_find(""));
	assert_int_equal(migration_param_find("downtime-limit")->max, 2000000);
	migration_params_fini(&p);
}

static void mode_is_set_by_name_only(void **state)
{
	const struct param_desc *d = migration_param_find("mode");
	struct migration_params p;
	struct err e;

	(void)state;
	migration_params_init(&p);
	for (unsigned int i = 0; i < MODE_COUNT; i++) {
		assert_int_equal(migration_param_set_enum(&p, d, migration_mode_name(i), &e), 0);
		assert_int_equal(p.mode, i);
	}
	assert_string_equal(migration_mode_name(MODE_NORMAL), "normal");
	assert_string_equal(migration_mode_name(MODE_CPR_REBOOT), "cpr-reboot");
	assert_string_equal(migration_mode_name(MODE_CPR_TRANSFER), "cpr-transfer");
	assert_string_equal(migration_mode_name(MODE_CPR_EXEC), "cpr-exec");
	assert_string_equal(migration_mode_name(MODE_CPR_GRAFT), "cpr-graft");
	assert_int_equal(migration_param_set_enum(&p, d, "cpr", &e), -EINVAL);
	assert_string_equal(e.msg, "Parameter 'mode' does not accept value 'cpr'");
	assert_int_equal(p.mode, MODE_CPR_GRAFT);
	migration_params_fini(&p);
}

static void command_list_is_copied_replaced_and_unset(void **state)
{
	const struct param_desc *d = migration_param_find("cpr-exec-command");
	char first[] = "baton";
	char *argv[] = { first, "-m", "1G", NULL };
	char *other[] = { "x", NULL };
	char *none[] = { NULL };
	struct migration_params p;
	struct err e;

	(void)state;
	migration_params_init(&p);
	assert_int_equal(migration_param_set_list(&p, d, argv, &e), 0);
	first[0] = 'X';
	assert_string_equal(p.cpr_exec_command[0], "baton");
	assert_string_equal(p.cpr_exec_command[2], "1G");
	assert_null(p.cpr_exec_command[3]);
	assert_int_equal(migration_param_set_list(&p, d, other, &e), 0);
	assert_string_equal(p.cpr_exec_command[0], "x");
	assert_null(p.cpr_exec_command[1]);
	assert_int_equal(migration_param_set_list(&p, d, none, &e), 0);
	assert_null(p.cpr_exec_command);
	assert_int_equal(migration_param_set_list(&p, d, other, &e), 0);
	assert_int_equal(migration_param_set_list(&p, d, NULL, &e), 0);
	assert_null(p.cpr_exec_command);
	assert_int_equal(migration_param_set_list(&p, d, argv, &e), 0);
	migration_params_fini(&p);
	assert_null(p.cpr_exec_command);
}

static void capabilities_are_all_there_in_the_known_order(void **state)
{
	static const char *const known[] = {
		"xbzrle",
		"rdma-pin-all",
		"auto-converge",
		"events",
		"postcopy-ram",
		"x-colo",
		"release-ram",
		"return-path",
		"pause-before-switchover",
		"multifd",
		"dirty-bitmaps",
		"postcopy-blocktime",
		"late-block-activate",
		"x-ignore-shared",
		"validate-uuid",
		"background-snapshot",
		"zero-copy-send",
		"postcopy-preempt",
		"switchover-ack",
		"dirty-limit",
		"mapped-ram",
	};
	unsigned int present = 0;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
		assert_string_equal(migration_cap_table[i].name, known[i]);
		assert_ptr_equal(migration_cap_find(known[i]), &migration_cap_table[i]);
		present += migration_cap_table[i].cap != CAP_COUNT;
	}
	assert_null(migration_cap_table[ARRAY_SIZE(known)].name);
	assert_null(migration_cap_find("zero-blocks"));
	assert_int_equal(present, CAP_COUNT);
	assert_int_equal(migration_cap_find("events")->cap, CAP_EVENTS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(inet_uris_have_host_and_port),
		cmocka_unit_test(other_uris_have_one_part),
		cmocka_unit_test(file_offset_is_a_size_and_the_first_one_ends_the_path),
		cmocka_unit_test(what_is_no_uri_is_refused_with_the_known_text),
		cmocka_unit_test(addresses_that_do_not_fit_are_refused),
		cmocka_unit_test(text_of_a_channel_is_its_uri_again),
		cmocka_unit_test(parameters_start_with_the_known_defaults),
		cmocka_unit_test(numbers_beyond_their_range_leave_the_parameter),
		cmocka_unit_test(mode_is_set_by_name_only),
		cmocka_unit_test(command_list_is_copied_replaced_and_unset),
		cmocka_unit_test(capabilities_are_all_there_in_the_known_order),
	};

	return cmocka_run_group_tests_name("channel", tests, NULL, NULL);
}
