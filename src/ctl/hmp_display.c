/* SPDX-License-Identifier: MIT */
/* The human monitor's commands about displays and watchdogs. */
#include <string.h>

#include "ctl/hmp_call.h"
#include "ctl/hmp_display.h"

void hmp_screendump(struct hmp_call *c, char *rest)
{
	const char *words[2] = { "", "" }, *format = NULL, *word;
	unsigned int n = 0;
	json_t *args;

	while (*(word = hmp_next_word(&rest))) {
		if (!strcmp(word, "-f")) {
			format = hmp_next_word(&rest);
		} else if (n == 2) {
			hmp_bad_args(c, "screendump", NULL,
				     "extraneous characters at the end of line");
			return;
		} else {
			words[n++] = word;
		}
	}
	if (!n) {
		hmp_bad_args(c, "screendump", NULL, "string expected");
		return;
	}
	args = json_pack("{s:s}", "filename", words[0]);
	if (format)
		json_object_set_new(args, "format", json_string(format));
	if (n == 2)
		json_object_set_new(args, "device", json_string(words[1]));
	json_decref(hmp_qmp(c, "screendump", args));
}

void hmp_watchdog_action(struct hmp_call *c, char *rest)
{
	const char *action = hmp_next_word(&rest);

	if (!*action || *rest) {
		hmp_bad_args(c, "watchdog_action", NULL,
			     *rest ? "extraneous characters at the end of line"
				   : "string expected");
		return;
	}
	json_decref(hmp_qmp(c, "watchdog-set-action", json_pack("{s:s}", "action", action)));
}
