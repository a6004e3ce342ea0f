/* SPDX-License-Identifier: MIT */
/* A QMP session: greeting, negotiation, requests in order, events. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/util.h"
#include "ctl/commands.h"
#include "ctl/json.h"
#include "ctl/monitor.h"
#include "ctl/qmp.h"

static const char generic_error[] = "GenericError";
static const char command_not_found[] = "CommandNotFound";
static const char device_not_found[] = "DeviceNotFound";

/* What is said where there is no memory for what ought to be. */
static const char no_memory[] =
	"{\"error\": {\"class\": \"GenericError\", \"desc\": \"no memory for the answer\"}}\r\n";

/* One line, or several if pretty; CR LF at the end. False: there is no memory for it. */
static bool send_line(struct qmp *q, const json_t *v)
{
	AUTO_BUF line = { 0 };
	bool ok = q->pretty ? json_put_pretty(&line, v) : json_put_text(&line, v);

	buf_put_str(&line, "\r\n");
	ok = ok && !line.failed;
	if (ok)
		session_put(&q->session, line.data, line.len);
	return ok;
}

static void send_greeting(struct qmp *q)
{
	struct err e = ERR_INIT;
	json_t *version = NULL;
	json_t *greeting;

	if (command_run_named(q->ctl, "query-version", NULL, &version, &e) < 0)
		log_error("%s", e.msg);
	greeting = json_pack("{s:{s:o, s:[s]}}", "QMP", "version", version, "capabilities", "oob");
	send_line(q, greeting);
	json_decref(greeting);
}

/* What a request has come to; `id` and `ret` are owned. */
struct reply {
	json_t *id;
	json_t *ret;
	const char *class; /* NULL: success */
	struct err e;
};

static void send_reply(struct qmp *q, struct reply *r)
{
	json_t *o = json_object();
	bool ok = true;
	json_t *desc;

	if (!r->class) {
		ok = !json_object_set(o, "return", r->ret);
	} else {
		/* A text cut in the middle of a character is no JSON string. */
		desc = json_string(r->e.msg);
		if (!desc)
			desc = json_string("The error text is not valid UTF-8");
		ok = !json_object_set_new(o, "error",
					  json_pack("{s:s, s:o}", "class", r->class, "desc", desc));
	}
	if (ok && r->id)
		ok = !json_object_set(o, "id", r->id);
	if (!ok || !send_line(q, o))
		session_put(&q->session, no_memory, sizeof(no_memory) - 1);
	json_decref(o);
}

/* `execute`, or `exec-oob` where it was negotiated; *@oob says which. */
static int check_members(const struct qmp *q, json_t *request, const char **name, bool *oob,
			 struct err *e)
{
	json_t *execute = json_object_get(request, "execute");
	json_t *exec_oob = json_object_get(request, "exec-oob");
	json_t *args = json_object_get(request, "arguments");
	const char *key;
	json_t *v;

	json_object_foreach(request, key, v)
	{
		if (strcmp(key, "execute") && strcmp(key, "arguments") && strcmp(key, "id") &&
		    !(q->oob && !strcmp(key, "exec-oob")))
			return err_set(e, EINVAL, "QMP input member '%s' is unexpected", key);
	}
	if (execute && exec_oob)
		return err_set(e, EINVAL, "QMP input member 'exec-oob' clashes with 'execute'");
	*oob = exec_oob != NULL;
	if (*oob)
		execute = exec_oob;
	if (!execute)
		return err_set(e, EINVAL, "QMP input lacks member 'execute'");
	if (!json_is_string(execute))
		return err_set(e, EINVAL, "QMP input member '%s' must be a string",
			       *oob ? "exec-oob" : "execute");
	if (args && !json_is_object(args))
		return err_set(e, EINVAL, "QMP input member 'arguments' must be an object");
	*name = json_string_value(execute);
	return 0;
}

/* NULL, and the reply says why, if the command may not run now. */
static const struct command *find_command(const struct qmp *q, const char *name, struct reply *r)
{
	bool negotiates = !strcmp(name, "qmp_capabilities");
	const struct command *c = command_find(name);

	r->class = command_not_found;
	if (!q->negotiated && !negotiates) {
		err_set(&r->e, ENOENT,
			"Expecting capabilities negotiation with 'qmp_capabilities'");
		return NULL;
	}
	if (q->negotiated && negotiates) {
		err_set(&r->e, ENOENT,
			"Capabilities negotiation is already complete, command ignored");
		return NULL;
	}
	if (!c) {
		err_set(&r->e, ENOENT, "The command %s has not been found", name);
		return NULL;
	}
	r->class = NULL;
	return c;
}

static void run_request(struct qmp *q, json_t *request, struct reply *r)
{
	json_t *args = json_object_get(request, "arguments");
	const struct command *c;
	const char *name = NULL;
	bool oob = false;

	if (!json_is_object(request)) {
		err_set(&r->e, EINVAL, "QMP input must be a JSON object");
		r->class = generic_error;
		return;
	}
	r->id = json_incref(json_object_get(request, "id"));
	if (check_members(q, request, &name, &oob, &r->e) < 0) {
		r->class = generic_error;
		return;
	}
	c = find_command(q, name, r);
	if (!c)
		return;
	/* Each command ends at once, so none has to be let past another. */
	if (oob) {
		err_set(&r->e, EINVAL, "The command %s does not support OOB", name);
		r->class = generic_error;
		return;
	}
	if (command_run(c, q->ctl, args, &r->ret, &r->e) < 0) {
		r->class = r->e.code == COMMAND_NO_DEVICE ? device_not_found : generic_error;
	} else if (!strcmp(name, "qmp_capabilities")) {
		q->negotiated = true;
		q->oob = json_array_size(json_object_get(args, "enable")) > 0;
	}
}

static void handle_value(struct qmp *q)
{
	uint64_t generation = q->session.generation;
	struct reply r = { .class = NULL };
	json_t *request;

	request = json_split_parse(&q->split, &r.e);
	q->ctl->current = &q->session;
	if (request)
		run_request(q, request, &r);
	else
		r.class = generic_error;
	q->ctl->current = NULL;
	json_decref(request);
	/* Nobody is there any more, or somebody else: the reply is not for them. */
	if (generation == q->session.generation)
		send_reply(q, &r);
	json_decref(r.id);
	json_decref(r.ret);
}

static bool qmp_process(void *opaque, const void *p, size_t n, size_t *used)
{
	struct reply r = { .class = generic_error };
	struct qmp *q = opaque;

	if (q->ctl->quitting)
		return false;
	switch (json_split_feed(&q->split, p, n, used, &r.e)) {
	case JSON_SPLIT_VALUE:
		handle_value(q);
		break;
	case JSON_SPLIT_ERROR:
		send_reply(q, &r);
		break;
	case JSON_SPLIT_MORE:
		break;
	}
	return true;
}

/* Descriptor sets have no use without a client that knows them. */
static void clear_fd_sets(struct ctl *ctl)
{
	struct list *pos, *tmp;

	list_for_each(pos, tmp, &ctl->qmps)
		if (CONTAINER_OF(pos, struct qmp, link)->session.connected)
			return;
	fd_sets_clear(&ctl->fd_sets);
}

static void qmp_connected(void *opaque, bool yes)
{
	struct qmp *q = opaque;

	json_split_fini(&q->split);
	if (!yes) {
		clear_fd_sets(q->ctl);
		return;
	}
	q->negotiated = false;
	q->oob = false;
	q->lost_events = false;
	send_greeting(q);
}

static const struct session_ops qmp_ops = {
	.connected = qmp_connected,
	.process = qmp_process,
};

struct qmp *qmp_create(struct ctl *ctl, struct chardev *chr, bool pretty)
{
	struct qmp *q = calloc(1, sizeof(*q));

	if (!q)
		return NULL;
	q->ctl = ctl;
	q->pretty = pretty;
	list_init(&q->link);
	json_split_init(&q->split);
	session_start(&q->session, chr, &qmp_ops, q);
	return q;
}

void qmp_destroy(struct qmp *q)
{
	list_del(&q->link);
	session_stop(&q->session);
	json_split_fini(&q->split);
	free(q);
}

void qmp_send_event(struct qmp *q, json_t *event)
{
	if (!q->negotiated)
		return;
	if (session_unsent(&q->session) > 2 * SESSION_MAX_UNSENT) {
		if (!q->lost_events)
			log_warn("QMP client on %s does not read; events are lost",
				 chardev_name(q->session.chr));
		q->lost_events = true;
		return;
	}
	send_line(q, event);
}
