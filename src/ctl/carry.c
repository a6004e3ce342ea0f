/* SPDX-License-Identifier: MIT */
/* What the monitors' clients have with the old image and go on with in the new one. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "ctl/carry.h"
#include "ctl/events.h"
#include "ctl/hmp.h"
#include "ctl/monitor.h"
#include "ctl/qmp.h"
#include "host/file.h"
#include "update/wire.h"

#define BYTES_NAME CARRY_KEY ":bytes"
#define FD_NAME    CARRY_KEY ":fd"
#define SET_NAME   CARRY_KEY ":set"

enum {
	/* Names of descriptors of one session are counted from a multiple of this. */
	IDS_PER_SESSION = FD_STORE_MAX_NAMES + CHARDEV_MAX_PASSED,
	/* More than a session can have: unsent output beyond its limits, and a request's half. */
	MAX_BYTES = 16 << 20,
};

static struct qmp *find_qmp(const struct ctl *ctl, const struct chardev *chr)
{
	struct list *pos, *tmp;

	list_for_each(pos, tmp, &ctl->qmps) {
		struct qmp *q = CONTAINER_OF(pos, struct qmp, link);

		if (q->session.chr == chr)
			return q;
	}
	return NULL;
}

static struct hmp *find_hmp(const struct ctl *ctl, const struct chardev *chr)
{
	struct list *pos, *tmp;

	list_for_each(pos, tmp, &ctl->hmps) {
		struct hmp *h = CONTAINER_OF(pos, struct hmp, link);

		if (h->session.chr == chr)
			return h;
	}
	return NULL;
}

/* Descriptors the client has sent: the named ones first. */
static int save_fds(const struct session *se, uint32_t id, struct cpr_state *s, json_t *j,
		    struct err *e)
{
	uint32_t n = id * IDS_PER_SESSION;
	json_t *names = json_array();
	struct list *pos, *tmp;
	int r = 0;

	list_for_each(pos, tmp, &se->fds.names) {
		const struct fd_name *f = CONTAINER_OF(pos, struct fd_name, link);

		json_array_append_new(names, json_string(f->name));
		r = cpr_state_add_fd(s, FD_NAME, n++, f->fd, e);
		if (r)
			break;
	}
	json_object_set_new(j, "names", names);
	for (size_t i = 0; !r && i < se->fds.nr_passed; i++)
		r = cpr_state_add_fd(s, FD_NAME, n++, se->fds.passed[i], e);
	json_object_set_new(j, "passed", json_integer((json_int_t)se->fds.nr_passed));
	return r;
}

/* Input, output, and @text, half a request or line. */
static int save_bytes(const struct session *se, const void *text, size_t n, uint32_t id,
		      struct cpr_state *s, json_t *j, struct err *e)
{
	size_t unsent = session_unsent(se);
	AUTO_BUF all = { 0 };
	int fd, r;

	json_object_set_new(j, "in", json_integer((json_int_t)se->in.len));
	json_object_set_new(j, "out", json_integer((json_int_t)unsent));
	json_object_set_new(j, "text", json_integer((json_int_t)n));
	buf_put(&all, se->in.data, se->in.len);
	buf_put(&all, se->out.data + se->out_pos, unsent);
	buf_put(&all, text, n);
	if (all.failed)
		return err_set(e, ENOMEM, "no memory for what a monitor has to say");
	if (!all.len)
		return 0;
	r = fd = file_create_memfd("baton-monitor", all.data, all.len, e);
	if (r >= 0)
		r = cpr_state_add_made_fd(s, BYTES_NAME, id, fd, e);
	if (r < 0)
		close_fd(&fd);
	return r;
}

static int save_qmp(const struct qmp *q, uint32_t id, struct cpr_state *s, json_t *j, struct err *e)
{
	struct json_split_mark mark;
	const void *text;
	size_t n = json_split_get_mark(&q->split, &mark, &text);

	json_object_update_new(
		j, json_pack("{s:s, s:b, s:b, s:b, s:i, s:b, s:b, s:I, s:I, s:I, s:I}", "type",
			     "qmp", "negotiated", q->negotiated, "oob", q->oob, "lost-events",
			     q->lost_events, "quote", mark.quote, "escaped", mark.escaped,
			     "recovering", mark.recovering, "line", (json_int_t)mark.line, "column",
			     (json_int_t)mark.column, "start-line", (json_int_t)mark.start_line,
			     "start-column", (json_int_t)mark.start_column));
	return save_bytes(&q->session, text, n, id, s, j, e);
}

static int save_hmp(const struct hmp *h, uint32_t id, struct cpr_state *s, json_t *j, struct err *e)
{
	AUTO_BUF text = { 0 };
	size_t behind = 0;

	/* Who waits for an update has no line yet. */
	if (h->edit && !h->waiting)
		line_edit_get(h->edit, &text, &behind);
	else if (!h->edit)
		buf_put(&text, h->line, h->len);
	if (text.failed)
		return err_set(e, ENOMEM, "no memory for a monitor's line");
	json_object_update_new(j, json_pack("{s:s, s:b, s:b, s:b, s:I}", "type", "hmp", "too-long",
					    h->too_long, "after-cr", h->after_cr, "waiting",
					    h->waiting, "behind", (json_int_t)behind));
	return save_bytes(&h->session, text.data, text.len, id, s, j, e);
}

int ctl_save_session(struct ctl *ctl, const struct chardev *chr, uint32_t id, struct cpr_state *s,
		     json_t **out, struct err *e)
{
	const struct qmp *q = find_qmp(ctl, chr);
	const struct hmp *h = q ? NULL : find_hmp(ctl, chr);
	const struct session *se = q ? &q->session : h ? &h->session : NULL;
	json_t *j;
	int r;

	*out = NULL;
	if (!se || !se->connected)
		return 0;
	j = json_object();
	r = q ? save_qmp(q, id, s, j, e) : save_hmp(h, id, s, j, e);
	if (!r)
		r = save_fds(se, id, s, j, e);
	if (r)
		json_decref(j);
	else
		*out = j;
	return r;
}

/* The parts of the memory file, as the JSON says. */
struct parts {
	json_int_t in, out, text;
	uint8_t *bytes; /* owned */
};

static int load_bytes(const struct cpr_state *s, uint32_t id, struct parts *p, struct err *e)
{
	int fd = cpr_state_find_fd(s, BYTES_NAME, id), r;
	uint64_t size = 0, want;

	if (p->in < 0 || p->out < 0 || p->text < 0 || p->in > MAX_BYTES || p->out > MAX_BYTES ||
	    p->text > MAX_BYTES)
		return err_set(e, EPROTO,
			       "a session with %lld, %lld and %lld bytes is out of bounds",
			       (long long)p->in, (long long)p->out, (long long)p->text);
	want = (uint64_t)(p->in + p->out + p->text);
	r = fd < 0 ? 0 : file_size(fd, BYTES_NAME, &size, e);
	if (!r && size != want)
		r = err_set(e, EPROTO, "a session's bytes are %llu, and its description says %llu",
			    (unsigned long long)size, (unsigned long long)want);
	if (r || !want)
		return r;
	p->bytes = malloc(want);
	if (!p->bytes)
		return err_set(e, ENOMEM, "no memory for what a monitor has to say");
	return file_read_at(fd, BYTES_NAME, 0, p->bytes, want, e);
}

static int load_fds(struct session *se, const struct cpr_state *s, uint32_t id, const json_t *j,
		    struct err *e)
{
	json_t *names = json_object_get(j, "names");
	json_int_t passed = json_integer_value(json_object_get(j, "passed"));
	uint32_t n = id * IDS_PER_SESSION;
	int fd;

	if (json_array_size(names) > FD_STORE_MAX_NAMES || passed < 0 ||
	    passed > CHARDEV_MAX_PASSED)
		return err_set(e, EPROTO, "a session has more descriptors than it can have");
	for (size_t i = 0; i < json_array_size(names); i++) {
		const char *name = json_string_value(json_array_get(names, i));

		if (!name)
			return err_set(e, EPROTO, "the name of a client's descriptor is no text");
		fd = cpr_state_dup_fd(s, FD_NAME, n++, e);
		if (fd < 0 || fd_store_put(&se->fds, name, fd, e))
			return -e->code;
	}
	while (passed--) {
		fd = cpr_state_dup_fd(s, FD_NAME, n++, e);
		if (fd < 0)
			return fd;
		fd_store_pass(&se->fds, &fd, 1);
	}
	return 0;
}

/*
 * What the session said to a peer that it took for a new one is forgotten, but on the terminal
 * that the operator started it on: there a new image shows itself, as the field's
 * examples have it, and then what was typed.
 */
static int set_bytes(struct session *se, const struct parts *p, bool show, struct err *e)
{
	AUTO_BUF said = se->out;

	se->out = (struct buf){ .data = NULL };
	se->in.len = se->out_pos = 0;
	if (p->bytes) {
		buf_put(&se->in, p->bytes, (size_t)p->in);
		buf_put(&se->out, p->bytes + p->in, (size_t)p->out);
	}
	if (show && p->text)
		buf_put_str(&se->out, "\r\n");
	if (show)
		buf_put(&se->out, said.data, said.len);
	return se->in.failed || se->out.failed
		       ? err_set(e, ENOMEM, "no memory for what a monitor has to say")
		       : 0;
}

static bool is_number(json_int_t n)
{
	return n >= 0 && n <= UINT32_MAX;
}

static int load_qmp(struct qmp *q, const json_t *j, const struct parts *p, struct err *e)
{
	struct json_split_mark mark = { 0 };
	json_int_t quote, line, column, start_line, start_column;
	int negotiated, oob, lost, escaped, recovering, r;
	json_error_t why;

	if (json_unpack_ex((json_t *)j, &why, 0,
			   "{s:b, s:b, s:b, s:I, s:b, s:b, s:I, s:I, s:I, s:I}", "negotiated",
			   &negotiated, "oob", &oob, "lost-events", &lost, "quote", &quote,
			   "escaped", &escaped, "recovering", &recovering, "line", &line, "column",
			   &column, "start-line", &start_line, "start-column", &start_column))
		return err_set(e, EPROTO, "the description of a QMP session is wrong: %s",
			       why.text);
	if (!is_number(line) || !is_number(column) || !is_number(start_line) ||
	    !is_number(start_column) || quote < 0 || quote > CHAR_MAX)
		return err_set(e, EPROTO, "a number in a QMP session is out of bounds");
	mark = (struct json_split_mark){
		.quote = (char)quote,
		.escaped = escaped,
		.recovering = recovering,
		.line = (unsigned int)line,
		.column = (unsigned int)column,
		.start_line = (unsigned int)start_line,
		.start_column = (unsigned int)start_column,
	};
	json_split_fini(&q->split);
	r = json_split_restore(&q->split, &mark, p->bytes ? p->bytes + p->in + p->out : NULL,
			       (size_t)p->text, e);
	if (r)
		return r;
	q->negotiated = negotiated;
	q->oob = oob;
	q->lost_events = lost;
	return 0;
}

static int set_line(struct hmp *h, const char *text, size_t n, size_t behind, struct err *e)
{
	if (h->edit)
		return line_edit_set(h->edit, text, n, behind, e);
	if (n >= sizeof(h->line) || memchr(text, '\0', n))
		return err_set(e, EINVAL, "the half line of a monitor is malformed");
	memcpy(h->line, text, n);
	h->len = n;
	return 0;
}

static int load_hmp(struct hmp *h, const json_t *j, const struct parts *p, struct err *e)
{
	int too_long, after_cr, waiting, r = 0;
	json_int_t behind;
	json_error_t why;

	if (json_unpack_ex((json_t *)j, &why, 0, "{s:b, s:b, s:b, s:I}", "too-long", &too_long,
			   "after-cr", &after_cr, "waiting", &waiting, "behind", &behind))
		return err_set(e, EPROTO, "the description of a monitor's session is wrong: %s",
			       why.text);
	if (!is_number(behind))
		return err_set(e, EPROTO, "a number in a monitor's session is out of bounds");
	if (p->text)
		r = set_line(h, (const char *)p->bytes + p->in + p->out, (size_t)p->text,
			     (size_t)behind, e);
	h->too_long = too_long;
	h->after_cr = after_cr;
	h->waiting = waiting;
	return r;
}

int ctl_load_session(struct ctl *ctl, const struct chardev *chr, uint32_t id,
		     const struct cpr_state *s, const json_t *session, struct err *e)
{
	struct qmp *q = find_qmp(ctl, chr);
	struct hmp *h = q ? NULL : find_hmp(ctl, chr);
	struct session *se = q ? &q->session : h ? &h->session : NULL;
	struct parts p = { .bytes = NULL };
	const char *type;
	json_error_t why;
	int r;

	if (json_unpack_ex((json_t *)session, &why, 0, "{s:s, s:I, s:I, s:I}", "type", &type, "in",
			   &p.in, "out", &p.out, "text", &p.text))
		return err_set(e, EPROTO, "the description of a session is wrong: %s", why.text);
	if (!se || !se->connected || strcmp(type, q ? "qmp" : "hmp"))
		return err_set(e, EPROTO, "there is no monitor for a client's session of type '%s'",
			       type);
	r = load_bytes(s, id, &p, e);
	if (!r)
		r = q ? load_qmp(q, session, &p, e) : load_hmp(h, session, &p, e);
	if (!r)
		r = load_fds(se, s, id, session, e);
	if (!r)
		r = set_bytes(se, &p, h && chardev_is_stdio(chr), e);
	free(p.bytes);
	return r;
}

int ctl_save_fd_sets(const struct ctl *ctl, struct cpr_state *s, json_t **out, struct err *e)
{
	struct list *pos, *tmp, *p2, *t2;
	json_t *sets = json_array();
	uint32_t n = 0;

	list_for_each(pos, tmp, &ctl->fd_sets.sets) {
		struct fd_set_entry *set = CONTAINER_OF(pos, struct fd_set_entry, link);

		list_for_each(p2, t2, &set->fds) {
			const struct fd_entry *f = CONTAINER_OF(p2, struct fd_entry, link);

			if (cpr_state_add_fd(s, SET_NAME, n++, f->fd, e)) {
				json_decref(sets);
				return -e->code;
			}
			json_array_append_new(sets,
					      json_pack("{s:I, s:s?}", "id", (json_int_t)set->id,
							"opaque", f->opaque));
		}
	}
	*out = sets;
	return 0;
}

int ctl_load_fd_sets(struct ctl *ctl, const struct cpr_state *s, const json_t *sets, struct err *e)
{
	if (json_array_size(sets) > FD_SETS_MAX_FDS)
		return err_set(e, EPROTO, "there are more descriptors in sets than there can be");
	for (size_t i = 0; i < json_array_size(sets); i++) {
		json_t *entry = json_array_get(sets, i);
		const json_t *opaque = json_object_get(entry, "opaque");
		int64_t id = json_integer_value(json_object_get(entry, "id"));
		int fd;

		if (!json_is_integer(json_object_get(entry, "id")) || id < 0)
			return err_set(e, EPROTO, "a descriptor set has no number");
		fd = cpr_state_dup_fd(s, SET_NAME, (uint32_t)i, e);
		if (fd < 0 || fd_sets_add(&ctl->fd_sets, &id, fd, json_string_value(opaque), e))
			return -e->code;
	}
	return 0;
}

void ctl_tell_resumed(struct ctl *ctl, const struct chardev *chr)
{
	struct qmp *q = find_qmp(ctl, chr);
	json_t *event;

	if (!q)
		return;
	event = ctl_make_event(EVENT_RESUME, NULL);
	qmp_send_event(q, event);
	json_decref(event);
}

bool ctl_has_listeners(const struct ctl *ctl)
{
	struct list *pos, *tmp;

	list_for_each(pos, tmp, &ctl->qmps) {
		const struct qmp *q = CONTAINER_OF(pos, struct qmp, link);

		if (q->session.connected && q->negotiated)
			return true;
	}
	return false;
}

void ctl_resume_sessions(struct ctl *ctl)
{
	struct list *pos, *tmp;

	list_for_each(pos, tmp, &ctl->qmps)
		session_resume(&CONTAINER_OF(pos, struct qmp, link)->session);
	list_for_each(pos, tmp, &ctl->hmps)
		session_resume(&CONTAINER_OF(pos, struct hmp, link)->session);
}
