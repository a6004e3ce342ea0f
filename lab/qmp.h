/* SPDX-License-Identifier: MIT */
/* A QMP client that keeps reading the guest's console while it waits. */
#ifndef LAB_QMP_H
#define LAB_QMP_H

#include <jansson.h>
#include <stdbool.h>

#include "base/err.h"

struct console;

enum {
	QMP_MAX_EVENTS = 64
};

/* An event: "MIGRATION setup" or "STOP", and the server's time stamp. */
struct qmp_event {
	char name[48];
	double time_s;
};

struct qmp {
	int fd;
	struct console *console;
	char *buf; /* bytes after the last whole line */
	size_t len, size;
	struct qmp_event events[QMP_MAX_EVENTS];
	int event_count;
};

/*
 * Wait until something listens at path, connect and negotiate. The caller ends
 * with qmp_close(), also after failure.
 */
int qmp_connect(struct qmp *q, struct console *c, const char *path, int timeout_ms, struct err *e);

/* Close the connection; the struct can be used to connect again. */
void qmp_close(struct qmp *q);

/*
 * Run a command; takes over args (may be NULL). ret, if not NULL, receives a
 * new reference to what it returned. An error reply is -EREMOTEIO and its text.
 */
int qmp_call(struct qmp *q, const char *command, json_t *args, int timeout_ms, json_t **ret,
	     struct err *e);

/* Read until the server closes the connection. */
int qmp_wait_eof(struct qmp *q, int timeout_ms, struct err *e);

/* Wait for an event that was not noted before; -ETIMEDOUT. */
int qmp_wait_event(struct qmp *q, const char *name, int timeout_ms, struct err *e);

/* Time of the first event of this name; negative if there was none. */
double qmp_event_time(const struct qmp *q, const char *name);

/* True if a socket at this path listens, without touching it. */
bool qmp_is_listening(const char *path);

#endif
