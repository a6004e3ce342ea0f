/* SPDX-License-Identifier: MIT */
/* The human monitor's commands about displays and watchdogs. */
#ifndef CTL_HMP_DISPLAY_H
#define CTL_HMP_DISPLAY_H

struct hmp_call;

/* For the table of commands: run with what follows the name. */
void hmp_screendump(struct hmp_call *c, char *rest);
void hmp_watchdog_action(struct hmp_call *c, char *rest);

#endif
