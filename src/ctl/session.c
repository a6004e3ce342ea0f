/* SPDX-License-Identifier: MIT */
/* The bytes of a monitor connection: input that waits, output that was not taken yet. */
#include "ctl/session.h"
#include "base/util.h"

/* How much input is taken at a time. */
#define INPUT_CHUNK 16384

static void flush(struct session *s)
{
	size_t left = session_unsent(s);

	if (left)
		s->out_pos += chardev_write(s->chr, s->out.data + s->out_pos, left);
	if (s->out_pos == s->out.len) {
		s->out.len = 0;
		s->out_pos = 0;
	} else if (s->out_pos > s->out.len / 2) {
		buf_consume(&s->out, s->out_pos);
		s->out_pos = 0;
	}
}

static size_t session_room(void *opaque)
{
	struct session *s = opaque;

	s->stalled = s->in.len || session_unsent(s) > SESSION_MAX_UNSENT;
	return s->stalled ? 0 : INPUT_CHUNK;
}

static void handle_input(struct session *s)
{
	uint64_t generation = s->generation;
	size_t pos = 0;
	bool more = true;
	size_t used;

	if (s->busy)
		return;
	s->busy = true;
	while (more && pos < s->in.len && session_unsent(s) <= SESSION_MAX_UNSENT) {
		used = 0;
		more = s->ops->process(s->opaque, s->in.data + pos, s->in.len - pos, &used);
		if (generation == s->generation) {
			pos += used;
		} else {
			/* The request has lost its peer, and with it the rest of the input. */
			generation = s->generation;
			pos = 0;
		}
	}
	buf_consume(&s->in, pos);
	s->busy = false;
}

void session_resume(struct session *s)
{
	handle_input(s);
	if (s->stalled && session_room(s) && !s->busy)
		chardev_accept_input(s->chr);
}

static void session_receive(void *opaque, const void *p, size_t n)
{
	struct session *s = opaque;

	buf_put(&s->in, p, n);
	if (s->in.failed)
		buf_fini(&s->in);
	handle_input(s);
}

static void session_writable(void *opaque)
{
	struct session *s = opaque;

	flush(s);
	session_resume(s);
}

static void session_connected(void *opaque, bool yes)
{
	struct session *s = opaque;

	s->generation++;
	s->connected = yes;
	s->in.len = 0;
	fd_store_clear(&s->fds);
	if (yes) {
		s->out.len = 0;
		s->out_pos = 0;
	}
	s->ops->connected(s->opaque, yes);
}

static void session_passed(void *opaque, const int *fds, size_t n)
{
	struct session *s = opaque;

	/* All requests before these are done; what they have left is nobody's any more. */
	if (!s->in.len && !s->busy)
		fd_store_drop_passed(&s->fds);
	fd_store_pass(&s->fds, fds, n);
}

static const struct chardev_front session_front = {
	.room = session_room,
	.receive = session_receive,
	.writable = session_writable,
	.connected = session_connected,
	.passed = session_passed,
	.drops_unanswered = true,
};

void session_start(struct session *s, struct chardev *chr, const struct session_ops *ops,
		   void *opaque)
{
	*s = (struct session){ .chr = chr, .ops = ops, .opaque = opaque };
	fd_store_init(&s->fds);
	/* All that will ever be taken at a time: no memory is wanted when a command comes. */
	buf_reserve(&s->in, INPUT_CHUNK);
	s->in.failed = false;
	chardev_attach(chr, &session_front, s);
}

void session_stop(struct session *s)
{
	flush(s);
	fd_store_clear(&s->fds);
	buf_fini(&s->in);
	buf_fini(&s->out);
}

void session_put(struct session *s, const void *p, size_t n)
{
	buf_put(&s->out, p, n);
	/* Without memory for the answer the client gets none, rather than half of it. */
	if (s->out.failed) {
		buf_fini(&s->out);
		s->out_pos = 0;
	}
	flush(s);
}

size_t session_unsent(const struct session *s)
{
	return s->out.len - s->out_pos;
}
