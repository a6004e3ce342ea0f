/* SPDX-License-Identifier: MIT */
/* QMP commands about network back ends and the cable: what the human monitor shares. */
#ifndef CTL_CMD_NET_H
#define CTL_CMD_NET_H

#include <jansson.h>

#include "base/err.h"

struct ctl;

/* netdev_add with flat options (ctl/netdev_opts.h), which are taken over, also on failure. */
int cmd_net_add(struct ctl *ctl, json_t *options, struct err *e);

#endif
