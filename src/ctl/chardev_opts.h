/* SPDX-License-Identifier: MIT */
/* The text of options that name character devices and monitors. */
#ifndef CTL_CHARDEV_OPTS_H
#define CTL_CHARDEV_OPTS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "host/chardev.h"

enum {
	CHARDEV_MAX_ID = 64 /* bytes with the NUL */
};

/* `-chardev` */
struct chardev_option {
	char id[CHARDEV_MAX_ID];
	struct chardev_config config;
};

/* `-mon` */
struct mon_option {
	char chardev[CHARDEV_MAX_ID];
	bool control; /* QMP, else HMP */
	bool pretty;
};

/* `BACKEND,id=ID[,key=value...]`; two commas in a value stand for one. */
int chardev_parse_option(const char *text, struct chardev_option *out, struct err *e);

/*
 * The short form that -serial, -qmp and -monitor take: `null`, `stdio`, `pty`, `file:PATH`,
 * `unix:PATH`, `tcp:HOST:PORT`, the last three with `,key=value` behind.
 */
int chardev_parse_short(const char *text, struct chardev_config *out, struct err *e);

/* What -chardev can be given: the back ends, and the keys of one; NULL past the end. */
const char *chardev_backend_name(size_t i);
const char *chardev_backend_key(const char *backend, size_t i);

/* The id in `chardev:ID`, or NULL if @text is no such reference. */
const char *chardev_reference(const char *text);

/* `[chardev=]ID[,mode=readline|control][,pretty=on|off]` */
int mon_parse_option(const char *text, struct mon_option *out, struct err *e);

#endif
