/* SPDX-License-Identifier: MIT */
/* The human monitor's commands about the network. */
#include <string.h>

#include "base/util.h"
#include "ctl/cmd_net.h"
#include "ctl/hmp_call.h"
#include "ctl/monitor.h"
#include "ctl/netdev_opts.h"
#include "machine/backend.h"

/* Text has no types, so this goes past QMP's check of them. */
static void netdev_add(struct hmp_call *c, json_t *flat)
{
	struct err e = ERR_INIT;

	if (cmd_net_add(c->ctl, flat, &e))
		hmp_print(c, "Error: %s\n", e.msg);
}

void hmp_netdev_add(struct hmp_call *c, char *rest)
{
	struct err e = ERR_INIT;
	json_t *flat;

	if (!*rest) {
		hmp_bad_args(c, "netdev_add", NULL, "string expected");
		return;
	}
	if (netdev_flatten_text(rest, &flat, &e))
		hmp_print(c, "Error: %s\n", e.msg);
	else
		netdev_add(c, flat);
}

void hmp_set_link(struct hmp_call *c, char *rest)
{
	const char *name = hmp_next_word(&rest), *state = hmp_next_word(&rest);
	bool on = !strcmp(state, "on");

	if (!*name || *rest || (!on && strcmp(state, "off"))) {
		hmp_bad_args(c, "set_link", NULL, "expected: NAME on|off");
		return;
	}
	json_decref(hmp_qmp(c, "set_link", json_pack("{s:s, s:b}", "name", name, "up", on)));
}

void hmp_info_network(struct hmp_call *c, char *rest)
{
	const struct vm *vm = c->ctl->config.vm;

	(void)rest;
	for (const struct list *pos = vm->backends.next; pos != &vm->backends; pos = pos->next) {
		const struct backend *b = CONTAINER_OF(pos, struct backend, link);
		struct net_stats stats;
		char text[512];

		if (b->kind != BACKEND_NET)
			continue;
		net_describe(b->object, text, sizeof(text));
		stats = net_get_stats(b->object);
		hmp_print(c, "%s: %s%s\n", b->id, text, net_link(b->object) ? "" : ",link=off");
		hmp_print(c,
			  "  device: %s; to it %llu frames, %llu dropped; from it %llu, %llu "
			  "dropped\n",
			  b->user ? b->user : "none", (unsigned long long)stats.rx_frames,
			  (unsigned long long)stats.rx_dropped, (unsigned long long)stats.tx_frames,
			  (unsigned long long)stats.tx_dropped);
	}
}
