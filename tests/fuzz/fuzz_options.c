/* SPDX-License-Identifier: MIT */
/* A command line of any bytes, and the text of each family of options. */
#include <stdlib.h>
#include <string.h>

#include "base/trace.h"
#include "base/util.h"
#include "ctl/channels.h"
#include "ctl/chardev_opts.h"
#include "ctl/drive_opts.h"
#include "ctl/netdev_opts.h"
#include "fuzz.h"
#include "machine/device_type.h"
#include "main/firmware.h"
#include "main/options.h"
#include "main/trace_options.h"
#include "no_host.h"
#include "update/channel.h"
#include "update/params.h"

enum {
	MAX_WORDS = 200,
};

/* What the first byte can choose. */
enum family {
	ALL, /* a line of words, with a NUL behind each */
	DEVICE,
	DRIVE,
	BLOCKDEV,
	NETDEV,
	CHARDEV,
	SHORT_CHARDEV,
	MON,
	SANDBOX,
	TRACE,
	OBJECT,
	FW_CFG,
	INCOMING,
	URI,
	FAMILIES,
};

static void check_refusal(int r, const struct err *e)
{
	if (r)
		MUST(r == -e->code && e->msg[0]);
}

/* What was written down is read back as what it was. */
static void try_device(const char *text)
{
	struct device_spec spec, again;
	struct err e = ERR_INIT;
	json_t *j;
	int r;

	r = device_spec_parse(&spec, text, &e);
	check_refusal(r, &e);
	if (r)
		return;
	j = device_spec_to_json(&spec);
	MUST(j && !device_spec_from_json(&again, j, &e));
	MUST(!device_spec_check_same(&spec, &again, &e));
	json_decref(j);
	device_spec_fini(&again);
	device_spec_fini(&spec);
}

static void try_drive(const char *text, bool blockdev)
{
	struct drive_option *o = calloc(2, sizeof(*o));
	struct err e = ERR_INIT;
	json_t *j, *k;
	int r;

	r = blockdev ? drive_parse_blockdev(text, &o[0], &e) : drive_parse_option(text, &o[0], &e);
	check_refusal(r, &e);
	if (!r) {
		j = drive_option_to_json(&o[0]);
		MUST(j && !drive_option_from_json(j, &o[1], &e));
		k = drive_option_to_json(&o[1]);
		MUST(k && json_equal(j, k));
		json_decref(j);
		json_decref(k);
	}
	free(o);
}

static void try_netdev(const char *text)
{
	struct net_config c;
	struct err e = ERR_INIT;
	json_t *flat = NULL;
	int r;

	r = netdev_flatten_text(text, &flat, &e);
	/* Descriptors in it are numbers still, and nobody's. */
	if (!r)
		r = netdev_config(flat, NULL, NULL, false, &c, &e);
	check_refusal(r, &e);
	if (!r)
		MUST(c.id[0] && memchr(c.id, 0, sizeof(c.id)) && c.nr_fds <= NET_MAX_QUEUES);
	json_decref(flat);
}

static void try_text(enum family family, const char *text)
{
	struct chardev_option *chardev = calloc(1, sizeof(*chardev));
	struct backend_option *object = calloc(1, sizeof(*object));
	struct sandbox_options *sandbox = calloc(1, sizeof(*sandbox));
	struct mon_option mon;
	struct channel channel;
	struct err e = ERR_INIT;
	int r = 0;

	if (family == CHARDEV)
		r = chardev_parse_option(text, chardev, &e);
	else if (family == SHORT_CHARDEV)
		r = chardev_parse_short(text, &chardev->config, &e);
	else if (family == MON)
		r = mon_parse_option(text, &mon, &e);
	else if (family == SANDBOX)
		r = sandbox_options_parse(sandbox, text, &e);
	else if (family == OBJECT)
		r = objects_parse(object, text, &e);
	else if (family == FW_CFG)
		r = firmware_check_fw_cfg(text, &e);
	else if (family == INCOMING)
		r = channel_parse_incoming(text, &channel, &e);
	else if (family == URI)
		r = channel_parse_uri(text, &channel, &e);
	check_refusal(r, &e);
	free(chardev);
	free(object);
	free(sandbox);
}

/* All that follows of a trace option before a file is looked at. */
static void apply_trace(const struct options *o)
{
	struct err e = ERR_INIT;

	check_refusal(trace_options_apply(o, &e), &e);
	trace_set("*", false);
	trace_control.plain_events = false;
	trace_control.stamp_messages = false;
}

static void try_line(char *text, size_t n)
{
	struct options *o = calloc(1, sizeof(*o));
	struct err e = ERR_INIT;
	char *argv[MAX_WORDS + 2] = { "baton" };
	int argc = 1, r;

	for (size_t at = 0; at < n && argc <= MAX_WORDS; at += strlen(text + at) + 1)
		argv[argc++] = text + at;
	r = options_parse(o, argc, argv, &e);
	check_refusal(r, &e);
	if (!r && o->help)
		options_print_help(o);
	if (!r)
		apply_trace(o);
	for (unsigned int i = 0; !r && i < o->nr_netdev; i++)
		try_netdev(o->netdev[i]);
	for (unsigned int i = 0; !r && i < o->nr_chardev; i++)
		try_text(CHARDEV, o->chardev[i]);
	device_options_fini(&o->devices);
	drive_options_fini(&o->drives);
	free(o);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_bytes b = { data, size };
	enum family family = fuzz_u8(&b) % FAMILIES;
	/* Of exactly that size, so that a sanitizer sees a byte read behind it. */
	size_t n = b.left;
	char *text = malloc(n + 1);
	struct options *o;

	fuzz_take(&b, text, n);
	text[n] = '\0';
	switch (family) {
	case ALL:
		try_line(text, n);
		break;
	case DEVICE:
		try_device(text);
		break;
	case DRIVE:
	case BLOCKDEV:
		try_drive(text, family == BLOCKDEV);
		break;
	case NETDEV:
		try_netdev(text);
		break;
	case TRACE:
		o = calloc(1, sizeof(*o));
		o->trace[o->nr_trace++] = text;
		apply_trace(o);
		free(o);
		break;
	default:
		try_text(family, text);
		break;
	}
	free(text);
	return 0;
}
