/* SPDX-License-Identifier: MIT */
/* The human monitor's lines about drives. */
#include <string.h>

#include "base/parse.h"
#include "base/util.h"
#include "ctl/cmd_block.h"
#include "ctl/hmp_call.h"

static const char *str(json_t *o, const char *name)
{
	const char *s = json_string_value(json_object_get(o, name));

	return s ? s : "";
}

static bool flag(json_t *o, const char *name)
{
	return json_is_true(json_object_get(o, name));
}

void hmp_info_block(struct hmp_call *c, char *rest)
{
	const char *only = hmp_next_word(&rest);
	json_t *list = hmp_qmp(c, "query-block", NULL), *v;
	size_t i;

	json_array_foreach(list, i, v)
	{
		json_t *in = json_object_get(v, "inserted"), *cache = json_object_get(in, "cache");
		const char *name = *str(v, "device") ? str(v, "device") : str(in, "node-name");

		if (*only && strcmp(only, name) && strcmp(only, str(in, "node-name")))
			continue;
		hmp_print(c, "%s%s (%s): %s (%s%s)\n", i ? "\n" : "", name, str(in, "node-name"),
			  str(in, "file"), str(in, "drv"), flag(in, "ro") ? ", read-only" : "");
		if (*str(v, "qdev"))
			hmp_print(c, "    Attached to:      %s\n", str(v, "qdev"));
		if (strcmp(str(v, "io-status"), "ok"))
			hmp_print(c, "    I/O status:       %s\n", str(v, "io-status"));
		hmp_print(c, "    Cache mode:       %s%s%s\n",
			  flag(cache, "writeback") ? "writeback" : "writethrough",
			  flag(cache, "direct") ? ", direct" : "",
			  flag(cache, "no-flush") ? ", ignore flushes" : "");
	}
	json_decref(list);
}

void hmp_drive_add(struct hmp_call *c, char *rest)
{
	struct err e;

	/* The first word is an address, or node options, of times long gone. */
	hmp_next_word(&rest);
	if (!*rest)
		hmp_bad_args(c, "drive_add", NULL, "string expected");
	else if (block_add_drive(c->ctl, rest, &e))
		hmp_print(c, "Error: %s\n", e.msg);
	else
		hmp_print(c, "OK\n");
}

void hmp_drive_del(struct hmp_call *c, char *rest)
{
	const char *name = hmp_next_word(&rest);

	if (!*name)
		hmp_bad_args(c, "drive_del", NULL, "string expected");
	else
		json_decref(hmp_qmp(c, "blockdev-del", json_pack("{s:s}", "node-name", name)));
}

void hmp_block_resize(struct hmp_call *c, char *rest)
{
	const char *name = hmp_next_word(&rest), *text = hmp_next_word(&rest);
	uint64_t bytes;
	struct err e;

	if (!*text)
		hmp_bad_args(c, "block_resize", NULL, "device and size expected");
	else if (parse_size(text, MIB, &bytes, &e))
		hmp_print(c, "Error: %s\n", e.msg);
	else
		json_decref(hmp_qmp(c, "block_resize",
				    json_pack("{s:s, s:I}", "device", name, "size",
					      (json_int_t)bytes)));
}
