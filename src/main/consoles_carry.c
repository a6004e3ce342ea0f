/* SPDX-License-Identifier: MIT */
/* Character devices and their clients, from one image of this program to the next. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/util.h"
#include "ctl/carry.h"
#include "ctl/ctl.h"
#include "host/chardev.h"
#include "machine/vm.h"
#include "main/consoles_carry.h"
#include "update/bytes_json.h"
#include "update/migration.h"
#include "update/wire.h"

/* In a transfer: no release that takes CARRY_KEY for that of an exec looks at it. */
#define CLIENTS_KEY "clients"
#define LISTEN_NAME CARRY_KEY ":listen"
#define PEER_NAME   CARRY_KEY ":peer"
#define OWN_NAME    CARRY_KEY ":own"

enum {
	ADDRESS_MAX = sizeof(((struct chardev_config *)0)->path) + 16,
};

static const char *const kinds[] = {
	[CHARDEV_NULL] = "null", [CHARDEV_STDIO] = "stdio", [CHARDEV_FILE] = "file",
	[CHARDEV_PTY] = "pty",   [CHARDEV_UNIX] = "unix",   [CHARDEV_TCP] = "tcp",
	[CHARDEV_FD] = "fd",
};

/* Who speaks there; a pretty QMP session is a QMP session. */
static const char *const fronts[] = {
	[FRONT_NONE] = "none",      [FRONT_SERIAL] = "serial", [FRONT_QMP] = "qmp",
	[FRONT_QMP_PRETTY] = "qmp", [FRONT_HMP] = "hmp",
};

/* What the operator wrote, as far as it decides what is opened. */
static void format_address(const struct chardev_config *c, char *buf, size_t n)
{
	switch (c->kind) {
	case CHARDEV_FILE:
		snprintf(buf, n, "%s", c->path);
		break;
	case CHARDEV_UNIX:
		snprintf(buf, n, "%s%s", c->path, c->abstract ? ",abstract" : "");
		break;
	case CHARDEV_TCP:
		snprintf(buf, n, "%s:%s", c->host, c->port);
		break;
	case CHARDEV_FD:
		snprintf(buf, n, "%d", c->fd);
		break;
	default:
		buf[0] = '\0';
	}
}

static json_t *tty_to_json(const struct chardev_tty *t)
{
	json_t *cc = json_array();

	for (size_t i = 0; i < ARRAY_SIZE(t->cc); i++)
		json_array_append_new(cc, json_integer(t->cc[i]));
	return json_pack("{s:I, s:I, s:I, s:I, s:o}", "iflag", (json_int_t)t->iflag, "oflag",
			 (json_int_t)t->oflag, "cflag", (json_int_t)t->cflag, "lflag",
			 (json_int_t)t->lflag, "cc", cc);
}

static int add_fd(struct cpr_state *s, const char *name, uint32_t id, int fd, struct err *e)
{
	return fd < 0 ? 0 : cpr_state_add_fd(s, name, id, fd, e);
}

/* What of a device goes along. */
enum {
	PLACE = 1 << 0,  /* where it listens, its file or terminal */
	CLIENT = 1 << 1, /* who is connected, and their session    */
};

static int gather_console(const struct consoles_carry *cc, uint32_t id, unsigned int what,
			  struct cpr_state *s, json_t **out, struct err *e)
{
	const struct console *c = &cc->consoles->list[id];
	json_t *j, *session = NULL;
	char address[ADDRESS_MAX];
	struct chardev_given g;
	int r = 0;

	chardev_get_given(c->chr, &g);
	if (what & PLACE)
		r = add_fd(s, LISTEN_NAME, id, g.listen_fd, e);
	if (!r && what & PLACE)
		r = add_fd(s, OWN_NAME, id, g.own_fd, e);
	if (!r && what & CLIENT)
		r = add_fd(s, PEER_NAME, id, g.peer_fd, e);
	if (!r && what & CLIENT)
		r = ctl_save_session(cc->ctl, c->chr, id, s, &session, e);
	if (r)
		return r;
	format_address(&c->config, address, sizeof(address));
	j = json_pack("{s:o, s:s, s:b, s:o, s:s, s:b, s:b}", "label", bytes_to_json(c->label),
		      "kind", kinds[c->config.kind], "server", c->config.server, "address",
		      bytes_to_json(address), "front", fronts[c->front], "peer", g.peer, "escaped",
		      g.escaped);
	if (g.path[0])
		json_object_set_new(j, "path", json_string(g.path));
	if (g.has_file)
		json_object_set_new(j, "file",
				    json_pack("[I, I]", (json_int_t)g.file_dev,
					      (json_int_t)g.file_ino));
	if (g.has_tty)
		json_object_set_new(j, "tty", tty_to_json(&g.tty));
	if (session)
		json_object_set_new(j, "session", session);
	*out = j;
	return j ? 0 : err_set(e, ENOMEM, "no memory for the list of character devices");
}

/* @what of those whose bit is in @who; of the others what they are. */
static int gather_consoles(const struct consoles_carry *cc, const bool *who, unsigned int what,
			   struct cpr_state *s, json_t **out, struct err *e)
{
	json_t *list = json_array(), *sets = NULL, *j;
	int r = 0;

	for (unsigned int i = 0; !r && i < cc->consoles->nr; i++) {
		r = gather_console(cc, i, !who || who[i] ? what : 0, s, &j, e);
		if (!r)
			json_array_append_new(list, j);
	}
	if (!r && what & CLIENT)
		r = ctl_save_fd_sets(cc->ctl, s, &sets, e);
	if (r) {
		json_decref(list);
		return r;
	}
	*out = json_pack("{s:b, s:o*, s:o}", "events",
			 migration_cap_get(cc->migration, CAP_EVENTS) && ctl_has_listeners(cc->ctl),
			 "sets", sets, "list", list);
	return *out ? 0 : err_set(e, ENOMEM, "no memory for the list of character devices");
}

static int gather(void *opaque, struct cpr_state *s, json_t **out, struct err *e)
{
	return gather_consoles(opaque, NULL, PLACE | CLIENT, s, out, e);
}

/* Numbers and the standard files mean something else in another process. */
static bool can_move(const struct console *c)
{
	return c->config.kind != CHARDEV_NULL && c->config.kind != CHARDEV_STDIO &&
	       c->config.kind != CHARDEV_FD;
}

static int announce(void *opaque, struct cpr_state *s, json_t **out, struct err *e)
{
	const struct consoles_carry *cc = opaque;
	bool who[CONSOLES_MAX];

	for (unsigned int i = 0; i < cc->consoles->nr; i++)
		who[i] = can_move(&cc->consoles->list[i]);
	return gather_consoles(cc, who, PLACE, s, out, e);
}

/* Whom the new side has asked for; what is no list of numbers asks for less. */
static void find_wanted(const struct consoles *cs, const json_t *wanted, bool *who)
{
	memset(who, 0, CONSOLES_MAX * sizeof(*who));
	for (size_t i = 0; i < json_array_size(wanted); i++) {
		const json_t *id = json_array_get(wanted, i);
		json_int_t n = json_integer_value(id);

		if (json_is_integer(id) && n >= 0 && n < cs->nr && can_move(&cs->list[n]))
			who[n] = true;
	}
}

static int give(void *opaque, const json_t *wanted, struct cpr_state *s, json_t **out,
		struct err *e)
{
	const struct consoles_carry *cc = opaque;
	bool who[CONSOLES_MAX];

	find_wanted(cc->consoles, wanted, who);
	return gather_consoles(cc, who, CLIENT, s, out, e);
}

static void given(void *opaque, const json_t *wanted)
{
	struct consoles_carry *cc = opaque;
	struct consoles *cs = cc->consoles;
	unsigned int gone = 0;
	bool who[CONSOLES_MAX];

	find_wanted(cs, wanted, who);
	for (unsigned int i = 0; i < cs->nr; i++)
		if (who[i])
			chardev_let_go(cs->list[i].chr);
	for (unsigned int i = 0; i < cs->nr_monitors; i++)
		gone += who[cs->monitors[i] - cs->list];
	if (!gone || gone < cs->nr_monitors)
		return;
	log_info("the monitors have followed the guest, this process ends");
	vm_request_shutdown(cc->vm, "host-qmp-quit");
}

static void take_clients(void *opaque, const struct cpr_state *s, const json_t *value);

void consoles_carry_init(struct consoles_carry *c, struct consoles *cs, struct ctl *ctl,
			 struct migration *m, struct vm *vm)
{
	json_t *ids = json_array();

	*c = (struct consoles_carry){
		.extra = { .key = CARRY_KEY, .gather = gather, .opaque = c },
		.clients = {
			.key = CLIENTS_KEY,
			.early = true,
			.gather = announce,
			.give = give,
			.given = given,
			.take = take_clients,
			.opaque = c,
		},
		.consoles = cs,
		.ctl = ctl,
		.migration = m,
		.vm = vm,
	};
	extras_register(m, &c->extra);
	extras_register(m, &c->clients);
	for (unsigned int i = 0; i < cs->nr; i++)
		if (cs->list[i].announced)
			json_array_append_new(ids, json_integer(cs->list[i].old_id));
	if (json_array_size(ids))
		extras_want(m, CLIENTS_KEY, ids);
	else
		json_decref(ids);
}

static int find_list(const struct cpr_state *s, const char *key, json_t **out, struct err *e)
{
	json_t *j, *list;
	int r = extras_find(s, key, &j, e);

	if (r || !j) {
		*out = NULL;
		return r;
	}
	list = json_object_get(j, "list");
	if (!json_is_array(list) || json_array_size(list) > CONSOLES_MAX) {
		json_decref(j);
		return err_set(e, EPROTO,
			       "the old side's list of character devices is none, or has more "
			       "than %d",
			       CONSOLES_MAX);
	}
	*out = j;
	return 0;
}

int consoles_find_carried(const struct cpr_state *s, json_t **out, struct err *e)
{
	return find_list(s, CARRY_KEY, out, e);
}

int consoles_find_announced(const struct cpr_state *s, json_t **out, struct err *e)
{
	return find_list(s, CLIENTS_KEY, out, e);
}

/* Numbers of the terminal; what is out of their range does not come from a terminal. */
static int tty_from_json(json_t *j, struct chardev_tty *out, struct err *e)
{
	json_int_t iflag, oflag, cflag, lflag;
	json_error_t why;
	json_t *cc;

	if (json_unpack_ex(j, &why, 0, "{s:I, s:I, s:I, s:I, s:o}", "iflag", &iflag, "oflag",
			   &oflag, "cflag", &cflag, "lflag", &lflag, "cc", &cc))
		return err_set(e, EPROTO, "the settings of a terminal are wrong: %s", why.text);
	if (json_array_size(cc) != ARRAY_SIZE(out->cc) || iflag < 0 || oflag < 0 || cflag < 0 ||
	    lflag < 0 || (iflag | oflag | cflag | lflag) > UINT32_MAX)
		return err_set(e, EPROTO, "the settings of a terminal are out of bounds");
	*out = (struct chardev_tty){
		.iflag = (uint32_t)iflag,
		.oflag = (uint32_t)oflag,
		.cflag = (uint32_t)cflag,
		.lflag = (uint32_t)lflag,
	};
	for (size_t i = 0; i < ARRAY_SIZE(out->cc); i++) {
		const json_t *c = json_array_get(cc, i);

		if (!json_is_integer(c) || json_integer_value(c) & ~(json_int_t)UINT8_MAX)
			return err_set(e, EPROTO, "a character of a terminal is none");
		out->cc[i] = (uint8_t)json_integer_value(c);
	}
	return 0;
}

/* An entry of the list, taken apart; borrowed. */
struct entry {
	const char *kind, *front, *path;
	char label[CHARDEV_MAX_ID];
	char address[ADDRESS_MAX];
	int server, peer, escaped;
	json_t *file, *tty, *session;
};

static int copy_text(json_t *from, const char *what, char *to, size_t n, struct err *e)
{
	AUTO_FREE char *bytes = bytes_from_json(from);

	if (!bytes || strlen(bytes) >= n)
		return err_set(e, EPROTO, "the %s of a character device is no text, or too long",
			       what);
	memcpy(to, bytes, strlen(bytes) + 1);
	return 0;
}

static int parse_entry(json_t *j, struct entry *out, struct err *e)
{
	json_t *label, *address;
	json_error_t why;
	int r;

	*out = (struct entry){ .path = "" };
	if (json_unpack_ex(j, &why, 0, "{s:o, s:s, s:b, s:o, s:s, s:b, s:b, s?s, s?o, s?o, s?o}",
			   "label", &label, "kind", &out->kind, "server", &out->server, "address",
			   &address, "front", &out->front, "peer", &out->peer, "escaped",
			   &out->escaped, "path", &out->path, "file", &out->file, "tty", &out->tty,
			   "session", &out->session))
		return err_set(e, EPROTO, "the description of a character device is wrong: %s",
			       why.text);
	r = copy_text(label, "label", out->label, sizeof(out->label), e);
	return r ? r : copy_text(address, "address", out->address, sizeof(out->address), e);
}

/* 1 and @out if the list has the device @c; *@id is its place. */
static int find_entry(const json_t *came, const struct console *c, struct entry *out, uint32_t *id,
		      struct err *e)
{
	json_t *list = json_object_get(came, "list");

	for (size_t i = 0; i < json_array_size(list); i++) {
		int r = parse_entry(json_array_get(list, i), out, e);

		if (r)
			return r;
		*id = (uint32_t)i;
		if (!strcmp(out->label, c->label))
			return !strcmp(out->kind, kinds[c->config.kind]) &&
			       !out->server == !c->config.server;
	}
	return 0;
}

static bool same_address(const struct entry *x, const struct console *c)
{
	char address[ADDRESS_MAX];

	format_address(&c->config, address, sizeof(address));
	return !strcmp(x->address, address);
}

/* Whoever is connected finds what they spoke to; a client socket's end is where it was. */
static bool has_place_for_peer(const struct entry *x, const struct console *c)
{
	return !strcmp(x->front, fronts[c->front]) && (x->server || same_address(x, c));
}

static int take(const struct cpr_state *s, const char *name, uint32_t id, int *out, struct err *e)
{
	if (cpr_state_find_fd(s, name, id) < 0)
		return 0;
	*out = cpr_state_dup_fd(s, name, id, e);
	return *out < 0 ? *out : 0;
}

static int take_entry(const struct entry *x, uint32_t id, const struct cpr_state *s,
		      const struct console *c, struct chardev_given *g, struct err *e)
{
	json_int_t dev, ino;
	int r = 0;

	if (strlen(x->path) >= sizeof(g->path))
		return err_set(e, EPROTO, "the path of a pseudo-terminal is too long");
	snprintf(g->path, sizeof(g->path), "%s", x->path);
	g->peer = x->peer;
	g->escaped = x->escaped;
	g->has_tty = x->tty;
	if (x->tty)
		r = tty_from_json(x->tty, &g->tty, e);
	if (!r && same_address(x, c)) {
		r = take(s, LISTEN_NAME, id, &g->listen_fd, e);
		if (!r)
			r = take(s, OWN_NAME, id, &g->own_fd, e);
		g->has_file = x->file;
		if (!r && x->file && json_unpack(x->file, "[I, I]", &dev, &ino))
			return err_set(e, EPROTO, "the file of a socket is not two numbers");
		if (x->file) {
			g->file_dev = (uint64_t)dev;
			g->file_ino = (uint64_t)ino;
		}
	}
	if (!r && has_place_for_peer(x, c))
		r = take(s, PEER_NAME, id, &g->peer_fd, e);
	return r;
}

int consoles_take_carried(const json_t *came, const struct cpr_state *s, const struct console *c,
			  struct chardev_given *out, struct err *e)
{
	struct chardev_given g = { .listen_fd = -1, .peer_fd = -1, .own_fd = -1 };
	struct entry x;
	uint32_t id;
	int r = find_entry(came, c, &x, &id, e);

	if (r <= 0)
		return r;
	r = take_entry(&x, id, s, c, &g, e);
	if (r) {
		chardev_close_given(&g);
		return err_prefix(e, "character device '%s'", c->label);
	}
	*out = g;
	return 1;
}

int consoles_take_announced(const json_t *announced, const struct cpr_state *s, struct console *c,
			    struct chardev_given *out, struct err *e)
{
	struct chardev_given g = { .listen_fd = -1, .peer_fd = -1, .own_fd = -1 };
	struct entry x;
	uint32_t id;
	int r = can_move(c) ? find_entry(announced, c, &x, &id, e) : 0;

	if (r <= 0 || !same_address(&x, c))
		return MIN(r, 0);
	r = take_entry(&x, id, s, c, &g, e);
	if (r) {
		chardev_close_given(&g);
		return err_prefix(e, "character device '%s'", c->label);
	}
	g.later = true;
	c->announced = true;
	c->old_id = id;
	*out = g;
	return 1;
}

/* The client of @c, if it has come. */
static int take_client(const struct consoles_carry *cc, const struct console *c,
		       const struct cpr_state *s, const json_t *came, struct err *e)
{
	struct entry x;
	uint32_t id;
	int fd = -1, r = find_entry(came, c, &x, &id, e);

	if (r <= 0 || !has_place_for_peer(&x, c))
		return MIN(r, 0);
	r = take(s, PEER_NAME, id, &fd, e);
	if (r || fd < 0)
		return r;
	chardev_take_peer(c->chr, fd);
	if (!x.session || !chardev_is_connected(c->chr))
		return 0;
	r = ctl_load_session(cc->ctl, c->chr, id, s, x.session, e);
	if (!r && cc->vm->runstate == RUNSTATE_RUNNING)
		ctl_tell_resumed(cc->ctl, c->chr);
	return r;
}

/* New side of a transfer: who was announced is here, or has to connect again. */
static void take_clients(void *opaque, const struct cpr_state *s, const json_t *value)
{
	struct consoles_carry *cc = opaque;
	struct consoles *cs = cc->consoles;
	struct err e;

	for (unsigned int i = 0; value && i < cs->nr; i++) {
		const struct console *c = &cs->list[i];

		if (!c->announced || !take_client(cc, c, s, value, &e))
			continue;
		log_warn("the client of '%s' has to connect again: %s", c->label, e.msg);
		chardev_disconnect(c->chr);
	}
	if (value && ctl_load_fd_sets(cc->ctl, s, json_object_get(value, "sets"), &e))
		log_warn("%s", e.msg);
	if (value && consoles_want_events(value))
		migration_cap_set(cc->migration, CAP_EVENTS, true);
	consoles_release(cs);
	ctl_resume_sessions(cc->ctl);
}

int consoles_load_sessions(const json_t *came, const struct cpr_state *s, struct consoles *cs,
			   struct ctl *ctl, struct err *e)
{
	for (unsigned int i = 0; i < cs->nr; i++) {
		const struct console *c = &cs->list[i];
		struct entry x;
		uint32_t id;
		int r = find_entry(came, c, &x, &id, e);

		if (r < 0)
			return r;
		/* A peer that went between the two looks at it has no session any more. */
		if (!r || !x.session || !has_place_for_peer(&x, c) || !chardev_is_connected(c->chr))
			continue;
		r = ctl_load_session(ctl, c->chr, id, s, x.session, e);
		if (r)
			return err_prefix(e, "the client of '%s'", c->label);
	}
	return ctl_load_fd_sets(ctl, s, json_object_get(came, "sets"), e);
}

bool consoles_want_events(const json_t *came)
{
	return json_is_true(json_object_get(came, "events"));
}
