/* SPDX-License-Identifier: MIT */
/* The text of -drive and -blockdev: what it means, and what is refused. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/util.h"
#include "ctl/drive_opts.h"

static struct drive_option drive(const char *text)
{
	struct drive_option o;
	struct err e;

	if (drive_parse_option(text, &o, &e))
		fail_msg("%s: %s", text, e.msg);
	return o;
}

static struct drive_option node(const char *text)
{
	struct drive_option o;
	struct err e;

	if (drive_parse_blockdev(text, &o, &e))
		fail_msg("%s: %s", text, e.msg);
	return o;
}

static void a_drive_has_the_defaults_of_its_kind(void **state)
{
	struct drive_option o = drive("file=/tmp/a,,b=c.raw");

	(void)state;
	assert_string_equal(o.disk.path, "/tmp/a,b=c.raw");
	assert_int_equal(o.interface, DRIVE_IF_VIRTIO);
	assert_string_equal(o.id, "");
	assert_false(o.disk.read_only || o.disk.direct || o.disk.no_flush || o.disk.writethrough ||
		     o.disk.unmap || o.disk.format_is_known || o.is_blockdev);
	assert_int_equal(o.disk.locking, DISK_LOCK_AUTO);
}

static void each_key_is_understood(void **state)
{
	struct drive_option o =
		drive("if=none,id=d0,file=x,format=raw,readonly=on,cache=none,aio=native,"
		      "discard=unmap,serial=ABC,werror=stop,rerror=ignore,media=disk,index=0,"
		      "node-name=n,file.locking=off,detect-zeroes=off,snapshot=off");

	(void)state;
	assert_string_equal(o.id, "d0");
	assert_string_equal(o.node_name, "n");
	assert_string_equal(o.disk.name, "d0");
	assert_string_equal(o.disk.serial, "ABC");
	assert_int_equal(o.interface, DRIVE_IF_NONE);
	assert_true(o.disk.read_only && o.disk.direct && o.disk.unmap && o.disk.format_is_known);
	assert_int_equal(o.disk.werror, DISK_ERROR_STOP);
	assert_int_equal(o.disk.rerror, DISK_ERROR_IGNORE);
	assert_int_equal(o.disk.locking, DISK_LOCK_OFF);
	assert_true(drive("file=x,cache=unsafe").disk.no_flush);
	assert_true(drive("file=x,cache=writethrough").disk.writethrough);
	o = drive("file=x,cache=directsync");
	assert_true(o.disk.writethrough && o.disk.direct);
	assert_true(drive("file=x,cache.direct=on").disk.direct);
	assert_true(drive("file=x,cache.writeback=off").disk.writethrough);
	assert_string_equal(drive("file=file:a:b").disk.path, "a:b");
	assert_string_equal(drive("file.driver=file,file.filename=y").disk.path, "y");
	assert_int_equal(drive("file=x,format=host_device").disk.driver, DISK_DEVICE);
}

static void nodes_are_written_in_many_ways(void **state)
{
	static const char *const same[] = {
		"driver=raw,node-name=d,file.driver=file,file.filename=x,cache.direct=on",
		"node-name=d,cache.direct=on,file.filename=x,file.driver=file,driver=raw",
		"{\"driver\": \"raw\", \"node-name\": \"d\", \"cache\": {\"direct\": true}, "
		"\"file\": {\"driver\": \"file\", \"filename\": \"x\"}}",
		"{'driver': 'raw', 'node-name': 'd', 'cache.direct': true, 'file.driver': 'file', "
		"'file.filename': 'x'}",
	};
	struct drive_option o;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(same); i++) {
		o = node(same[i]);
		assert_string_equal(o.id, "d");
		assert_string_equal(o.disk.path, "x");
		assert_true(o.disk.direct && o.is_blockdev && !o.file_is_node);
		assert_int_equal(o.disk.driver, DISK_FILE);
	}
	o = node("driver=host_device,filename=/dev/sdz,node-name=f,locking=on,aio=io_uring");
	assert_string_equal(o.id, "f");
	assert_string_equal(o.file_node, "");
	assert_int_equal(o.disk.driver, DISK_DEVICE);
	assert_int_equal(o.disk.locking, DISK_LOCK_ON);
	o = node("driver=raw,file=f,node-name=d,read-only=on");
	assert_true(o.file_is_node && o.disk.read_only);
	assert_string_equal(o.file_node, "f");
	o = node("driver=raw,node-name=d,file.node-name=f,file.driver=file,file.filename=x");
	assert_string_equal(o.file_node, "f");
}

static void what_is_wrong_is_refused_by_name(void **state)
{
	static const struct {
		const char *text, *why;
	} drives[] = {
		{ "", "file=PATH is missing" },
		{ "file=", "'file'" },
		{ "if=none,file=x", "needs an id" },
		{ "file=x,if=ide", "'ide' controller" },
		{ "file=x,if=pflash", "'pflash' controller" },
		{ "file=x,format=qcow2", "qemu-img convert" },
		{ "file=x,format=zzz", "Unknown driver 'zzz'" },
		{ "file=x,cache=fast", "invalid cache option" },
		{ "file=x,aio=magic", "invalid aio option" },
		{ "file=x,discard=perhaps", "Invalid discard option" },
		{ "file=x,werror=enospcc", "invalid write error action" },
		{ "file=x,rerror=enospc", "invalid read error action" },
		{ "file=x,media=cdrom", "'cdrom'" },
		{ "file=x,readonly=2", "'readonly'" },
		{ "file=x,serial=123456789012345678901", "'serial'" },
		{ "file=x,id=1x", "no id" },
		{ "file=x,index=-1", "'index'" },
		{ "file=x,snapshot=on", "'snapshot'" },
		{ "file=x,copy-on-read=on", "'copy-on-read'" },
		{ "file=x,throttling.bps-total=1", "Invalid parameter 'throttling.bps-total'" },
		{ "file=x,force-share=on", "read-only" },
		{ "file=http://a/b", "Unknown protocol 'http'" },
		{ "file=json:{}", "Unknown protocol 'json'" },
		{ "file=x,file.locking=yes", "'locking'" },
		{ "file=x,file.driver=nbd", "not for this program" },
	}, nodes[] = {
		{ "", "'driver' is missing" },
		{ "driver=raw,node-name=d", "must be specified for \"file\"" },
		{ "driver=file,node-name=d", "'filename' is missing" },
		{ "driver=file,filename=x", "'node-name' must be specified" },
		{ "driver=qcow2,file=f,node-name=d", "qemu-img convert" },
		{ "driver=raw,file=f,file.filename=x,node-name=d", "not both" },
		{ "driver=raw,filename=x,node-name=d", "Invalid parameter 'filename'" },
		{ "driver=file,filename=x,node-name=d,cache=none", "Invalid parameter 'cache'" },
		{ "driver=raw,file=f,node-name=d,offset=512", "Invalid parameter 'offset'" },
		{ "{}", "'driver' is missing" },
		{ "{", "JSON" },
		{ "{\"driver\": 1}", "'driver' is missing" },
		{ "{\"driver\": \"file\", \"filename\": null}", "'filename'" },
		{ "{\"driver\": \"file\", \"filename\": [1]}", "'filename'" },
		{ "{\"driver\": \"raw\", \"a\": {\"b\": {\"c\": {\"d\": {\"e\": 1}}}}}", "expected" },
	};
	struct drive_option o;
	struct err e;

	(void)state;
	memset(&o, 0x5a, sizeof(o));
	for (size_t i = 0; i < ARRAY_SIZE(drives); i++) {
		assert_true(drive_parse_option(drives[i].text, &o, &e) < 0);
		if (!strstr(e.msg, drives[i].why))
			fail_msg("%s: %s", drives[i].text, e.msg);
	}
	for (size_t i = 0; i < ARRAY_SIZE(nodes); i++) {
		assert_true(drive_parse_blockdev(nodes[i].text, &o, &e) < 0);
		if (!strstr(e.msg, nodes[i].why))
			fail_msg("%s: %s", nodes[i].text, e.msg);
	}
	for (size_t i = 0; i < sizeof(o); i++)
		assert_int_equal(((const uint8_t *)&o)[i], 0x5a);
}

static void what_is_too_long_is_refused(void **state)
{
	static const char *const begin[] = { "file=", "id=", "file=x,", "node-name=" };
	AUTO_FREE char *text = malloc(20000);
	struct drive_option o;
	struct err e;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(begin); i++) {
		memset(text, 'a', 19999);
		memcpy(text, begin[i], strlen(begin[i]));
		text[19999] = '\0';
		assert_true(drive_parse_option(text, &o, &e) < 0);
		assert_non_null(strstr(e.msg, "too long"));
	}
}

static void texts_of_chance_do_no_harm(void **state)
{
	static const char pieces[][12] = { "file", "=",     ",",      ",,",     "driver",
					   "raw",  "file.", "cache.", "none",   "direct",
					   "on",   "id",    "x",      "{",      "}",
					   "\"",   ":",     "\xff",   "format", "serial" };
	struct drive_option o;
	struct err e;

	(void)state;
	srand(7);
	for (unsigned int i = 0; i < 100000; i++) {
		char text[256] = "";

		for (int n = rand() % 12; n > 0; n--)
			strcat(text, pieces[(size_t)rand() % ARRAY_SIZE(pieces)]);
		drive_parse_option(text, &o, &e);
		drive_parse_blockdev(text, &o, &e);
	}
}

static void an_option_comes_back_from_json(void **state)
{
	struct drive_option a = drive("if=none,id=d0,file=x\xe4y,readonly=on,cache=directsync,"
				      "werror=report,serial=S1,file.locking=on,node-name=n"),
			    b;
	json_t *j = drive_option_to_json(&a);
	struct err e;

	(void)state;
	assert_int_equal(drive_option_from_json(j, &b, &e), 0);
	/* The old side has looked what format it is. */
	assert_true(b.disk.format_is_known);
	b.disk.format_is_known = a.disk.format_is_known;
	assert_memory_equal(&a, &b, sizeof(a));
	json_object_set_new(j, "locking", json_string("maybe"));
	assert_int_equal(drive_option_from_json(j, &b, &e), -EPROTO);
	json_object_del(j, "locking");
	assert_int_equal(drive_option_from_json(j, &b, &e), -EPROTO);
	json_decref(j);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_drive_has_the_defaults_of_its_kind),
		cmocka_unit_test(each_key_is_understood),
		cmocka_unit_test(nodes_are_written_in_many_ways),
		cmocka_unit_test(what_is_wrong_is_refused_by_name),
		cmocka_unit_test(what_is_too_long_is_refused),
		cmocka_unit_test(texts_of_chance_do_no_harm),
		cmocka_unit_test(an_option_comes_back_from_json),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
