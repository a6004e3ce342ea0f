/* SPDX-License-Identifier: MIT */
/* A QMP client that keeps reading the guest's console while it waits. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/util.h"
#include "lab/console.h"
#include "lab/qmp.h"

bool qmp_is_listening(const char *path)
{
	FILE *f = fopen("/proc/net/unix", "re");
	char line[512];
	bool found = false;

	while (f && !found && fgets(line, sizeof(line), f)) {
		unsigned int flags;
		char where[256];

		if (sscanf(line, "%*s %*s %*s %x %*s %*s %*s %255s", &flags, where) == 2)
			found = (flags & 0x10000) && strcmp(where, path) == 0;
	}
	if (f)
		fclose(f);
	return found;
}

double qmp_event_time(const struct qmp *q, const char *name)
{
	for (int i = 0; i < q->event_count; i++)
		if (strcmp(q->events[i].name, name) == 0)
			return q->events[i].time_s;
	return -1;
}

static void note_event(struct qmp *q, json_t *msg, const char *name)
{
	json_t *stamp = json_object_get(msg, "timestamp");
	json_t *data = json_object_get(msg, "data");
	const char *status = json_string_value(json_object_get(data, "status"));
	struct qmp_event *ev = &q->events[q->event_count];

	if (q->event_count == QMP_MAX_EVENTS)
		return;
	snprintf(ev->name, sizeof(ev->name), "%s%s%s", name, status ? " " : "",
		 status ? status : "");
	ev->time_s = (double)json_integer_value(json_object_get(stamp, "seconds")) +
		     (double)json_integer_value(json_object_get(stamp, "microseconds")) / 1e6;
	q->event_count++;
}

/* Take one whole message out of the buffer; NULL if there is none yet. */
static json_t *take_message(struct qmp *q)
{
	char *nl = q->len ? memchr(q->buf, '\n', q->len) : NULL;
	size_t used;
	json_t *msg;

	if (!nl)
		return NULL;
	used = (size_t)(nl - q->buf) + 1;
	msg = json_loadb(q->buf, used, 0, NULL);
	q->len -= used;
	memmove(q->buf, q->buf + used, q->len);
	return msg ? msg : json_null();
}

static int read_more(struct qmp *q, struct err *e)
{
	ssize_t n;

	if (q->size - q->len < 4096) {
		char *bigger = realloc(q->buf, q->size + 65536);

		if (!bigger)
			return err_set(e, ENOMEM, "no memory for a QMP message");
		q->buf = bigger;
		q->size += 65536;
	}
	n = recv(q->fd, q->buf + q->len, q->size - q->len, 0);
	if (n < 0)
		return err_set_errno(e, "cannot read from the QMP socket");
	if (n == 0)
		return err_set(e, EPIPE, "the QMP connection was closed");
	q->len += (size_t)n;
	return 0;
}

/* Next message that is no event; a new reference. */
static int next_message(struct qmp *q, uint64_t deadline_ns, json_t **out, struct err *e)
{
	for (;;) {
		json_t *msg = take_message(q);
		const char *event = json_string_value(json_object_get(msg, "event"));
		uint64_t now = lab_now_ns();
		int r;

		if (event) {
			note_event(q, msg, event);
			json_decref(msg);
			continue;
		}
		if (msg) {
			*out = msg;
			return 0;
		}
		if (now >= deadline_ns ||
		    !console_wait(q->console, q->fd, (int)((deadline_ns - now) / 1000000) + 1))
			return err_set(e, ETIMEDOUT, "no answer on the QMP socket in time");
		r = read_more(q, e);
		if (r < 0)
			return r;
	}
}

int qmp_call(struct qmp *q, const char *command, json_t *args, int timeout_ms, json_t **ret,
	     struct err *e)
{
	uint64_t deadline = lab_now_ns() + (uint64_t)timeout_ms * 1000000;
	json_t *cmd = json_pack("{s:s}", "execute", command), *reply, *error;
	AUTO_FREE char *text = NULL;
	size_t len;
	int r;

	if (args)
		json_object_set_new(cmd, "arguments", args);
	text = json_dumps(cmd, JSON_COMPACT);
	json_decref(cmd);
	if (!text)
		return err_set(e, EINVAL, "cannot write the command %s", command);
	/* The newline takes the place of the NUL: one send, for quit is obeyed at once. */
	len = strlen(text);
	text[len++] = '\n';
	if (send(q->fd, text, len, MSG_NOSIGNAL) < 0)
		return err_set_errno(e, "cannot send the command %s", command);
	r = next_message(q, deadline, &reply, e);
	if (r < 0)
		return err_prefix(e, "%s", command);
	error = json_object_get(reply, "error");
	if (error || !json_object_get(reply, "return")) {
		const char *desc = json_string_value(json_object_get(error, "desc"));

		r = err_set(e, EREMOTEIO, "%s: %s", command,
			    desc ? desc : "a reply of no known form");
	} else if (ret) {
		*ret = json_incref(json_object_get(reply, "return"));
	}
	json_decref(reply);
	return r;
}

int qmp_wait_eof(struct qmp *q, int timeout_ms, struct err *e)
{
	uint64_t deadline = lab_now_ns() + (uint64_t)timeout_ms * 1000000;
	json_t *msg;
	int r;

	for (;;) {
		r = next_message(q, deadline, &msg, e);
		if (r == -EPIPE || r == -ECONNRESET)
			return 0;
		if (r < 0)
			return r;
		json_decref(msg);
	}
}

int qmp_wait_event(struct qmp *q, const char *name, int timeout_ms, struct err *e)
{
	uint64_t deadline = lab_now_ns() + (uint64_t)timeout_ms * 1000000;

	while (qmp_event_time(q, name) < 0) {
		json_t *msg = take_message(q);
		const char *event = json_string_value(json_object_get(msg, "event"));
		uint64_t now = lab_now_ns();
		int r = 0;

		if (event)
			note_event(q, msg, event);
		else if (msg)
			r = err_set(e, EPROTO, "a message nobody asked for, waiting for %s", name);
		else if (now >= deadline ||
			 !console_wait(q->console, q->fd, (int)((deadline - now) / 1000000) + 1))
			r = err_set(e, ETIMEDOUT, "no event %s in time", name);
		else
			r = read_more(q, e);
		json_decref(msg);
		if (r < 0)
			return r;
	}
	return 0;
}

static int open_socket(struct qmp *q, const char *path, struct err *e)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };

	if (strlen(path) >= sizeof(sa.sun_path))
		return err_set(e, ENAMETOOLONG, "socket path '%s' is too long", path);
	memcpy(sa.sun_path, path, strlen(path));
	q->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (q->fd < 0)
		return err_set_errno(e, "cannot make a socket");
	if (connect(q->fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
		return err_set_errno(e, "cannot connect to '%s'", path);
	return 0;
}

/* One try; the socket may belong to a program that is about to go. */
static int try_connect(struct qmp *q, const char *path, uint64_t deadline_ns, struct err *e)
{
	json_t *greeting;
	int r;

	r = open_socket(q, path, e);
	if (r < 0)
		return r;
	r = next_message(q, deadline_ns, &greeting, e);
	if (r < 0)
		return err_prefix(e, "QMP greeting");
	if (!json_object_get(greeting, "QMP"))
		r = err_set(e, EPROTO, "no QMP greeting at '%s'", path);
	json_decref(greeting);
	return r;
}

int qmp_connect(struct qmp *q, struct console *c, const char *path, int timeout_ms, struct err *e)
{
	uint64_t deadline = lab_now_ns() + (uint64_t)timeout_ms * 1000000;
	int r;

	for (;;) {
		*q = (struct qmp){ .fd = -1, .console = c };
		while (!qmp_is_listening(path)) {
			if (lab_now_ns() > deadline)
				return err_set(e, ETIMEDOUT, "nothing listens at '%s'", path);
			console_wait(c, -1, 10);
		}
		r = try_connect(q, path, deadline, e);
		if (r >= 0)
			break;
		/* So ends a connection to the image before an exec: its successor is next. */
		if ((r != -ECONNREFUSED && r != -ECONNRESET && r != -EPIPE && r != -ENOENT) ||
		    lab_now_ns() > deadline)
			return r;
		qmp_close(q);
		console_wait(c, -1, 10);
	}
	return qmp_call(q, "qmp_capabilities", NULL, timeout_ms, NULL, e);
}

void qmp_close(struct qmp *q)
{
	close_fd(&q->fd);
	free(q->buf);
	q->buf = NULL;
	q->len = q->size = 0;
}
