/* SPDX-License-Identifier: MIT */
/* The CPR protocol between two Batons: framed messages, some with a descriptor. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/trace.h"
#include "base/util.h"
#include "host/process.h"
#include "host/sock.h"
#include "update/wire.h"

enum {
	HEADER_BYTES = 8,
	FLAG_FD = 1, /* a descriptor comes along (socket) or its number is in front (memfd) */
};

void cpr_state_init(struct cpr_state *s)
{
	*s = (struct cpr_state){ .version = WIRE_VERSION, .state_fd = -1 };
}

void cpr_state_fini(struct cpr_state *s)
{
	for (size_t i = 0; i < s->nr_fds; i++) {
		trace_cpr_delete_fd(s->fds[i].name, (int)s->fds[i].id);
		close_fd(&s->fds[i].fd);
	}
	free(s->config);
	close_fd(&s->state_fd);
	*s = (struct cpr_state){ .state_fd = -1 };
}

void cpr_state_forget(struct cpr_state *s)
{
	for (size_t i = 0; i < s->nr_fds; i++)
		if (s->fds[i].made)
			close_fd(&s->fds[i].fd);
	s->nr_fds = 0;
	cpr_state_fini(s);
}

void cpr_state_drop(struct cpr_state *s, const char *prefix)
{
	size_t kept = 0;

	for (size_t i = 0; i < s->nr_fds; i++) {
		if (strncmp(s->fds[i].name, prefix, strlen(prefix))) {
			s->fds[kept++] = s->fds[i];
			continue;
		}
		trace_cpr_delete_fd(s->fds[i].name, (int)s->fds[i].id);
		close_fd(&s->fds[i].fd);
	}
	s->nr_fds = kept;
}

static int list_fd(struct cpr_state *s, const char *name, uint32_t id, int fd, struct err *e)
{
	struct wire_fd *f;

	if (s->nr_fds == WIRE_MAX_FDS)
		return err_set(e, E2BIG, "more than %d descriptors to hand over", WIRE_MAX_FDS);
	if (!name[0] || strlen(name) >= WIRE_NAME_MAX)
		return err_set(e, EINVAL, "'%s' is no name for a descriptor", name);
	if (cpr_state_find_fd(s, name, id) >= 0)
		return err_set(e, EEXIST, "descriptor '%s' %u is there twice", name, id);
	for (size_t i = 0; i < s->nr_fds; i++)
		if (s->fds[i].fd == fd)
			return err_set(e, EEXIST, "'%s' and '%s' are one descriptor",
				       s->fds[i].name, name);
	f = &s->fds[s->nr_fds++];
	snprintf(f->name, sizeof(f->name), "%s", name);
	f->id = id;
	f->fd = fd;
	f->made = false;
	return 0;
}

int cpr_state_add_fd(struct cpr_state *s, const char *name, uint32_t id, int fd, struct err *e)
{
	int r = list_fd(s, name, id, fd, e);

	if (!r)
		trace_cpr_save_fd(name, (int)id, fd);
	return r;
}

int cpr_state_add_made_fd(struct cpr_state *s, const char *name, uint32_t id, int fd, struct err *e)
{
	int r = cpr_state_add_fd(s, name, id, fd, e);

	if (!r)
		s->fds[s->nr_fds - 1].made = true;
	return r;
}

int cpr_state_find_fd(const struct cpr_state *s, const char *name, uint32_t id)
{
	for (size_t i = 0; i < s->nr_fds; i++)
		if (s->fds[i].id == id && !strcmp(s->fds[i].name, name))
			return s->fds[i].fd;
	return -1;
}

int cpr_state_dup_fd(const struct cpr_state *s, const char *name, uint32_t id, struct err *e)
{
	int fd = cpr_state_find_fd(s, name, id);

	trace_cpr_find_fd(name, (int)id, fd);
	if (fd < 0)
		return err_set(e, ENOENT, "the old side handed over no '%s'", name);
	return process_dup_fd(fd, e);
}

/* A place frames go to: a socket with descriptors beside, or bytes with numbers inside. */
struct sink {
	int sock; /* -1: @out */
	struct buf *out;
	uint64_t deadline_ns;
};

static int put_frame(const struct sink *to, enum wire_type type, const void *payload, size_t n,
		     int fd, struct err *e)
{
	bool number = to->sock < 0 && fd >= 0;
	AUTO_BUF local = { 0 };
	struct buf *b = to->sock < 0 ? to->out : &local;

	if (n > WIRE_MAX_PAYLOAD - 4)
		return err_set(e, EMSGSIZE,
			       "a message of %zu bytes is too long for the CPR channel: is the "
			       "command line that long?",
			       n);
	buf_put_be16(b, (uint16_t)type);
	buf_put_be16(b, fd >= 0 ? FLAG_FD : 0);
	buf_put_be32(b, (uint32_t)(n + (number ? 4 : 0)));
	if (number)
		buf_put_be32(b, (uint32_t)fd);
	buf_put(b, payload, n);
	if (b->failed)
		return err_set(e, ENOMEM, "no memory for a message");
	if (to->sock < 0)
		return 0;
	return sock_send_all(to->sock, b->data, b->len, fd, to->deadline_ns, e);
}

/* Likewise, of a payload that may have found no memory. */
static int put_built(const struct sink *to, enum wire_type type, const struct buf *payload, int fd,
		     struct err *e)
{
	if (payload->failed)
		return err_set(e, ENOMEM, "no memory for a message");
	return put_frame(to, type, payload->data, payload->len, fd, e);
}

static int put_state(const struct cpr_state *s, const struct sink *to, struct err *e)
{
	AUTO_BUF b = { 0 };
	int r;

	buf_put_be32(&b, s->version);
	buf_put_be32(&b, (uint32_t)s->pid);
	buf_put_be32(&b, s->mode);
	r = put_built(to, WIRE_HELLO, &b, -1, e);
	for (size_t i = 0; !r && i < s->nr_fds; i++) {
		b.len = 0;
		buf_put_be32(&b, s->fds[i].id);
		buf_put_str(&b, s->fds[i].name);
		r = put_built(to, WIRE_FD, &b, s->fds[i].fd, e);
	}
	if (!r)
		r = put_frame(to, WIRE_CONFIG, s->config, strlen(s->config), -1, e);
	if (!r)
		r = put_frame(to, WIRE_END, NULL, 0, -1, e);
	return r;
}

int cpr_state_send(const struct cpr_state *s, int sock, uint64_t deadline_ns, struct err *e)
{
	const struct sink to = { .sock = sock, .deadline_ns = deadline_ns };

	return put_state(s, &to, e);
}

int cpr_state_encode(const struct cpr_state *s, struct buf *out, struct err *e)
{
	const struct sink to = { .sock = -1, .out = out };

	return put_state(s, &to, e);
}

struct frame {
	enum wire_type type;
	bool has_fd;
	uint32_t len;
};

static int parse_header(const uint8_t *raw, struct frame *f, struct err *e)
{
	struct cursor c;
	uint16_t type, flags;

	cursor_init(&c, raw, HEADER_BYTES);
	type = cursor_be16(&c);
	flags = cursor_be16(&c);
	f->len = cursor_be32(&c);
	if (type < WIRE_HELLO || type > WIRE_WANT || flags & ~FLAG_FD)
		return err_set(e, EPROTO, "not a CPR message of Baton (type %u, flags %#x)", type,
			       flags);
	if (f->len > WIRE_MAX_PAYLOAD)
		return err_set(e, EMSGSIZE, "a CPR message of %u bytes is too long", f->len);
	f->type = (enum wire_type)type;
	f->has_fd = flags & FLAG_FD;
	return 0;
}

int wire_check_version(uint32_t version, struct err *e)
{
	if (version >= WIRE_VERSION_OLDEST && version <= WIRE_VERSION)
		return 0;
	return err_set(e, EPROTO,
		       "the peer speaks version %u of the CPR protocol, this side %d to %d",
		       version, WIRE_VERSION_OLDEST, WIRE_VERSION);
}

/* A peer that is newer speaks what this side does, or finds out that it does not. */
static int take_hello(struct cpr_state *s, struct cursor *c, struct err *e)
{
	s->version = MIN(cursor_be32(c), (uint32_t)WIRE_VERSION);
	s->pid = (pid_t)cursor_be32(c);
	s->mode = cursor_be32(c);
	if (c->failed || cursor_left(c))
		return err_set(e, EPROTO, "the peer's greeting is malformed");
	return wire_check_version(s->version, e);
}

static int take_fd_frame(struct cpr_state *s, struct cursor *c, int fd, struct err *e)
{
	char name[WIRE_NAME_MAX];
	uint32_t id = cursor_be32(c);
	size_t n = cursor_left(c);

	if (c->failed || !n || n >= sizeof(name) || fd < 0)
		return err_set(e, EPROTO, "a message with a descriptor is malformed");
	cursor_get(c, name, n);
	name[n] = '\0';
	return list_fd(s, name, id, fd, e);
}

/* Takes one frame into the state; *@fd is the descriptor that came, taken if used. */
static int take_frame(struct cpr_state *s, const struct frame *f, const uint8_t *payload, int *fd,
		      bool first, struct err *e)
{
	struct cursor c;
	int r;

	if (first != (f->type == WIRE_HELLO))
		return err_set(e, EPROTO, "the peer does not greet as a Baton does");
	if (f->has_fd != (f->type == WIRE_FD))
		return err_set(e, EPROTO, "a message has a descriptor that should not, or none");
	cursor_init(&c, payload, f->len);
	switch (f->type) {
	case WIRE_HELLO:
		return take_hello(s, &c, e);
	case WIRE_FD:
		r = take_fd_frame(s, &c, *fd, e);
		if (!r)
			*fd = -1;
		return r;
	case WIRE_CONFIG:
		if (s->config)
			return err_set(e, EPROTO, "the peer sent its configuration twice");
		s->config = strndup((const char *)payload, f->len);
		return s->config ? 0 : err_set(e, ENOMEM, "no memory for the configuration");
	case WIRE_END:
		return s->config ? 0 : err_set(e, EPROTO, "the peer sent no configuration");
	default:
		return err_set(e, EPROTO, "unexpected CPR message %d", f->type);
	}
}

/* Receives a header and its payload; @payload is set, with a NUL behind. */
static int recv_frame(int sock, struct frame *f, struct buf *payload, int *fd, uint64_t deadline_ns,
		      struct err *e)
{
	uint8_t raw[HEADER_BYTES];
	int r;

	r = sock_recv_all(sock, raw, sizeof(raw), fd, deadline_ns, e);
	if (!r)
		r = parse_header(raw, f, e);
	if (r)
		return r;
	payload->len = 0;
	buf_reserve(payload, (size_t)f->len + 1);
	if (payload->failed)
		return err_set(e, ENOMEM, "no memory for a message");
	r = sock_recv_all(sock, payload->data, f->len, fd, deadline_ns, e);
	if (r)
		return r;
	payload->data[f->len] = '\0';
	payload->len = f->len;
	return 0;
}

int cpr_state_recv(struct cpr_state *s, int sock, uint64_t deadline_ns, struct err *e)
{
	AUTO_BUF payload = { 0 };
	bool first = true;
	struct frame f;

	do {
		AUTO_CLOSE int fd = -1;
		int r = recv_frame(sock, &f, &payload, &fd, deadline_ns, e);

		if (!r && f.has_fd != (fd >= 0))
			r = err_set(e, EPROTO, "a descriptor is missing or came unannounced");
		if (!r)
			r = take_frame(s, &f, payload.data, &fd, first, e);
		if (r)
			return r;
		first = false;
	} while (f.type != WIRE_END);
	return 0;
}

int cpr_state_decode(struct cpr_state *s, const void *p, size_t n, struct err *e)
{
	struct cursor c;
	bool first = true;
	struct frame f;

	cursor_init(&c, p, n);
	do {
		const uint8_t *raw = cursor_take(&c, HEADER_BYTES), *payload;
		int fd = -1, r;

		if (!raw)
			return err_set(e, ENODATA, "the CPR state ends too early");
		r = parse_header(raw, &f, e);
		if (r)
			return r;
		payload = cursor_take(&c, f.len);
		if (!payload || (f.has_fd && f.len < 4))
			return err_set(e, ENODATA, "the CPR state ends too early");
		if (f.has_fd) {
			struct cursor num;

			cursor_init(&num, payload, 4);
			fd = (int)cursor_be32(&num);
			payload += 4;
			f.len -= 4;
			r = process_check_fd(fd, e);
			if (r)
				return r;
		}
		r = take_frame(s, &f, payload, &fd, first, e);
		if (r)
			return r;
		first = false;
	} while (f.type != WIRE_END);
	if (cursor_left(&c))
		return err_set(e, EPROTO, "the CPR state goes on after its end");
	return 0;
}

int wire_send(int sock, enum wire_type type, const void *payload, size_t n, uint64_t deadline_ns,
	      struct err *e)
{
	const struct sink to = { .sock = sock, .deadline_ns = deadline_ns };

	return put_frame(&to, type, payload, n, -1, e);
}

int wire_recv(int sock, enum wire_type *type, struct buf *payload, uint64_t deadline_ns,
	      struct err *e)
{
	AUTO_CLOSE int fd = -1;
	struct frame f;
	int r = recv_frame(sock, &f, payload, &fd, deadline_ns, e);

	if (!r && (f.has_fd || fd >= 0))
		r = err_set(e, EPROTO, "a message has a descriptor that should not");
	if (!r)
		*type = f.type;
	return r;
}
