/* SPDX-License-Identifier: MIT */
/* What monitors can do with drives beyond QMP's own commands. */
#ifndef CTL_CMD_BLOCK_H
#define CTL_CMD_BLOCK_H

#include "base/err.h"

struct ctl;
struct hmp_call;

/* Adds what -drive would; without an interface. */
int block_add_drive(struct ctl *ctl, const char *text, struct err *e);

/* Lines of the human monitor: hmp_block.c. */
void hmp_info_block(struct hmp_call *c, char *rest);
void hmp_drive_add(struct hmp_call *c, char *rest);
void hmp_drive_del(struct hmp_call *c, char *rest);
void hmp_block_resize(struct hmp_call *c, char *rest);

#endif
