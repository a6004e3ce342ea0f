/* SPDX-License-Identifier: MIT */
/* cpr-transfer: what goes to the new process when the guest runs there. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json_memory.h"
#include "base/log.h"
#include "base/util.h"
#include "host/clock.h"
#include "update/extras.h"
#include "update/handover.h"
#include "update/late.h"

/* For the old side to see that the guest is taken, and to send. */
#define DEADLINE_LATE_NS UINT64_C(3000000000)

static uint64_t soon(void)
{
	return clock_boottime_ns() + DEADLINE_MESSAGE_NS;
}

void extras_want(struct migration *m, const char *key, json_t *value)
{
	if (!m->wants)
		m->wants = json_object();
	json_object_set_new(m->wants, key, value);
}

int late_send_wants(struct migration *m, struct err *e)
{
	AUTO_FREE char *text = NULL;

	if (!m->wants)
		return 0;
	text = json_text(m->wants, JSON_COMPACT);
	if (!text)
		return err_set(e, ENOMEM, "no memory for what the old side is asked for");
	return wire_send(m->cpr_sock, WIRE_WANT, text, strlen(text), soon(), e);
}

int late_note_wants(struct migration *m, const void *p, size_t n, struct err *e)
{
	json_error_t why;
	json_t *j = json_loadb(p, n, JSON_REJECT_DUPLICATES, &why);

	if (!json_is_object(j)) {
		json_decref(j);
		return err_set(e, EPROTO, "what the new side asks for is no JSON object");
	}
	json_decref(m->wanted);
	m->wanted = j;
	return 0;
}

/* The next one the new side has asked for, after @pos; NULL: there is none. */
static const struct extra *next_wanted(const struct migration *m, const struct list **pos,
				       const json_t **wanted)
{
	for (*pos = (*pos)->next; *pos != &m->extras; *pos = (*pos)->next) {
		const struct extra *x = CONTAINER_OF(*pos, struct extra, link);

		*wanted = json_object_get(m->wanted, x->key);
		if (x->give && *wanted)
			return x;
	}
	return NULL;
}

static int gather(const struct migration *m, struct cpr_state *s, struct err *e)
{
	json_t *all = json_object();
	const struct list *pos = &m->extras;
	const struct extra *x;
	const json_t *wanted;
	int r = 0;

	while (!r && (x = next_wanted(m, &pos, &wanted))) {
		json_t *value = NULL;

		r = x->give(x->opaque, wanted, s, &value, e);
		if (!r && value)
			json_object_set_new(all, x->key, value);
	}
	s->config = r ? NULL : json_text(all, JSON_COMPACT);
	json_decref(all);
	if (!r && !s->config)
		r = err_set(e, ENOMEM, "no memory to describe the clients");
	return r;
}

void late_give(struct migration *m)
{
	struct cpr_state s;
	struct err e;
	int r;

	if (!m->wanted)
		return;
	cpr_state_init(&s);
	s.pid = getpid();
	s.mode = m->mode;
	r = gather(m, &s, &e);
	if (!r)
		r = cpr_state_send(&s, m->cpr_sock, soon(), &e);
	cpr_state_forget(&s);
	if (r)
		log_warn("the clients of this process have to connect again: %s", e.msg);
}

void late_let_go(struct migration *m)
{
	const struct list *pos = &m->extras;
	const struct extra *x;
	const json_t *wanted;

	while ((x = next_wanted(m, &pos, &wanted)))
		x->given(x->opaque, wanted);
	json_decref(TAKE_PTR(m->wanted));
}

/* @s is NULL if nothing came. */
static void take(struct migration *m, const struct cpr_state *s)
{
	struct list *pos, *tmp;

	loop_timer_cancel(&m->deadline);
	loop_fd_del(m->vm->loop, &m->cpr_watch);
	list_for_each(pos, tmp, &m->extras) {
		const struct extra *x = CONTAINER_OF(pos, struct extra, link);
		json_t *value = NULL;
		struct err e;

		if (!x->take || !json_object_get(m->wants, x->key))
			continue;
		if (s && extras_find(s, x->key, &value, &e))
			log_warn("%s", e.msg);
		x->take(x->opaque, s, value);
		json_decref(value);
	}
	json_decref(TAKE_PTR(m->wants));
}

static void give_up(struct migration *m, const struct err *e)
{
	log_warn("the clients of process %d have to connect again: %s", m->peer_pid, e->msg);
	take(m, NULL);
}

static void on_late_state(void *opaque, uint32_t events)
{
	struct migration *m = opaque;
	struct cpr_state s;
	struct err e;

	(void)events;
	cpr_state_init(&s);
	if (cpr_state_recv(&s, m->cpr_sock, soon(), &e))
		give_up(m, &e);
	else
		take(m, &s);
	cpr_state_fini(&s);
	handover_continue(m);
}

static void on_deadline(void *opaque)
{
	struct migration *m = opaque;
	struct err e;

	err_set(&e, ETIMEDOUT, "it does not send them");
	give_up(m, &e);
	handover_continue(m);
}

int late_take(struct migration *m, struct err *e)
{
	struct loop *l = m->vm->loop;

	if (!m->wants)
		return STEP_NEXT;
	if (loop_fd_add(l, &m->cpr_watch, m->cpr_sock, EPOLLIN, on_late_state, m, e)) {
		give_up(m, e);
		return STEP_NEXT;
	}
	loop_timer_init(&m->deadline, on_deadline, m);
	loop_timer_set(l, &m->deadline, clock_boottime_ns() + DEADLINE_LATE_NS);
	return STEP_WAIT;
}
