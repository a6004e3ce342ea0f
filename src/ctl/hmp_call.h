/* SPDX-License-Identifier: MIT */
/* What the human monitor's commands share: one line that is being run, and its output. */
#ifndef CTL_HMP_CALL_H
#define CTL_HMP_CALL_H

#include <jansson.h>
#include <stdbool.h>

#include "base/buf.h"

struct ctl;

/* One line that is being run. */
struct hmp_call {
	struct ctl *ctl;
	struct buf *out;
	unsigned int cpu; /* the vCPU the operator looks at */
	bool *wait;       /* NULL: nobody can wait          */
};

/* Appends text to the output; each newline becomes CR LF. */
void hmp_print(struct hmp_call *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Runs a QMP command; an error is printed and NULL returned. @args is released. */
json_t *hmp_qmp(struct hmp_call *c, const char *name, json_t *args);

/* Cuts the first word off @*p and returns it, "" at the end. */
char *hmp_next_word(char **p);

/* Says what is wrong with the arguments of @command, or of `@command @sub` unless that is NULL. */
void hmp_bad_args(struct hmp_call *c, const char *command, const char *sub, const char *what);

/* What `info WHAT REST` does; prints what there is if @rest is empty. */
void hmp_info(struct hmp_call *c, char *rest);
/* What is about the network: hmp_net.c. */
void hmp_netdev_add(struct hmp_call *c, char *rest);
void hmp_set_link(struct hmp_call *c, char *rest);
void hmp_info_network(struct hmp_call *c, char *rest);

/* What is on the PCI buses: cmd_pci.c. */
void hmp_info_pci(struct hmp_call *c, char *rest);

/* Prints a line of help on `info @what`, or on all with NULL; false if there is none. */
bool hmp_info_help(struct hmp_call *c, const char *what);

#endif
