/* SPDX-License-Identifier: MIT */
/* Saving to and loading from a stream that holds the guest's memory: cpr-reboot, normal mode. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "host/clock.h"
#include "host/file.h"
#include "host/mem.h"
#include "host/process.h"
#include "host/sock.h"
#include "host/xfer.h"
#include "machine/vm.h"
#include "state/stream_ram.h"
#include "update/channel_open.h"
#include "update/handover.h"
#include "update/ram_sample.h"

/*
 * DOC: theory of operation
 *
 * The guest is stopped and its device state gathered as in the other modes; then a
 * thread writes that and the memory, which may take long, while the main loop goes on
 * answering its monitors. The thread touches nothing of the machine but the memory and
 * the snapshot, which nobody else uses meanwhile. Loading is the same backwards: the
 * thread fills memory and snapshot, and the main loop then applies the snapshot.
 * Cancelling makes every wait of the thread end, so joining it is short.
 */

enum {
	STALL_MS = 30000,     /* a save of which no byte is taken for so long has failed   */
	SAVE_END_MS = 300000, /* a command may have to write what it took to a slow disk */
	LOAD_END_MS = 10000,
	FAILED_END_MS = 1000,
};

struct streaming {
	struct migration *m;
	pthread_t thread;
	bool running; /* the thread is to be joined                     */
	bool sending;
	bool locked; /* the RAM's files, for a load that has not succeeded */
	int cancel_fd;
	pid_t child; /* exec: of the channel; 0: none, or waited for    */
	char what[256];
	struct stream_progress progress;
	int result;
	struct err err;
	struct loop_work done;
};

static void mark_blocks(struct migration *m, bool loading)
{
	struct snapshot *s = &m->snap;
	bool ignore = m->ignore_shared || (loading && m->adopt_capabilities);

	s->ignore_shared = ignore;
	s->adopt_capabilities = loading && m->adopt_capabilities;
	for (size_t i = 0; i < s->nr_rams; i++) {
		struct ram_block *b = memmap_find_block(&m->vm->mem, s->rams[i].name);

		s->rams[i].in_place = ignore && ram_block_is_reopenable(b);
		s->rams[i].zeroed = loading && b->fresh;
		/* Once a load has begun nobody knows what is in it. */
		b->fresh = b->fresh && !loading;
	}
}

static uint64_t next_data(void *opaque, const struct snapshot_ram *ram, uint64_t offset,
			  uint64_t *end)
{
	const struct streaming *st = opaque;
	const struct ram_block *b = memmap_find_block(&st->m->vm->mem, ram->name);
	uint64_t base = b->options.offset, data;

	/* What a private mapping holds is not in its file. */
	if (!b->share || b->fd < 0) {
		*end = ram->size;
		return offset;
	}
	data = mem_next_data(b->fd, base + ram->size, base + offset, end);
	*end -= base;
	return data - base;
}

static int write_pieces(void *opaque, struct iovec *iov, int n, struct err *e)
{
	struct streaming *st = opaque;

	return xfer_writev(st->m->main_fd, st->cancel_fd, STALL_MS, iov, n, st->what, e);
}

static int read_piece(void *opaque, void *p, size_t room, size_t *got, struct err *e)
{
	struct streaming *st = opaque;

	return xfer_read(st->m->main_fd, st->cancel_fd, p, room, got, st->what, e);
}

/*
 * The command at the other end of a pipe has the last word on whether all went well. After a
 * failure of ours it gets a moment to end by itself, with a status that may say more.
 */
static int finish_child(struct streaming *st, int r)
{
	int limit_ms = st->sending ? SAVE_END_MS : LOAD_END_MS, w;
	pid_t pid = st->child;
	struct err why;

	if (!pid)
		return r;
	/* Only a whole state has an end: what is cut off should not look like one. */
	if (!r)
		close_fd(&st->m->main_fd);
	st->child = 0;
	w = xfer_wait_child(pid, st->cancel_fd, r ? FAILED_END_MS : limit_ms, st->what, &why);
	close_fd(&st->m->main_fd);
	if (!w || (r && w == -ETIMEDOUT))
		return r;
	st->err = why;
	return w;
}

static struct ram_sample *sample_item(struct migration *m)
{
	return snapshot_find(&m->snap, ram_sample_desc.name, 0)->state;
}

static void *transfer(void *arg)
{
	struct streaming *st = arg;
	struct migration *m = st->m;
	int r;

	if (st->sending) {
		const struct stream_sink sink = { write_pieces, next_data, st };

		ram_sample_take(sample_item(m), &m->snap, &m->vm->mem);
		r = stream_write(&m->snap, &sink, &st->progress, &st->err);
		if (!r)
			r = xfer_sync(m->main_fd, st->what, &st->err);
		xfer_end(m->main_fd);
	} else {
		const struct stream_source source = { read_piece, st };

		r = stream_read(&m->snap, &source, &st->progress, &st->err);
		if (!r)
			r = ram_sample_check(sample_item(m), &m->snap, &m->vm->mem, &st->err);
	}
	st->result = finish_child(st, r);
	loop_post(m->vm->loop, &st->done);
	return NULL;
}

static void on_done(void *opaque)
{
	struct streaming *st = opaque;
	struct migration *m = st->m;
	struct err e;

	pthread_join(st->thread, NULL);
	st->running = false;
	m->state_bytes = st->progress.bytes;
	m->pages_normal = st->progress.pages_normal;
	m->pages_zero = st->progress.pages_zero;
	if (st->result) {
		if (!m->incoming)
			err_prefix(&st->err, "the state cannot be saved");
		else
			err_prefix(&st->err, "load of migration failed");
		/* The attempt's end frees @st. */
		e = st->err;
		handover_abort(m, &e);
		return;
	}
	m->main_created = m->main_begun = false;
	if (m->incoming)
		handover_times(m)->received = clock_boottime_ns();
	else
		migration_set_status(m, MIGRATION_DEVICE);
	handover_continue(m);
}

static int start_thread(struct streaming *st, struct err *e)
{
	int r = process_start_thread(&st->thread, st->sending ? "save" : "load", transfer, st, e);

	if (r)
		return err_prefix(e, "the state cannot be moved");
	st->running = true;
	return STEP_WAIT;
}

/* The command of an exec channel, its words and a NULL; freed by the caller. */
static char **command_words(const struct channel *c)
{
	char **argv = calloc(c->nr_args + 1, sizeof(*argv));
	const char *p = c->file;

	for (unsigned int i = 0; argv && i < c->nr_args; i++) {
		argv[i] = (char *)p;
		p += strlen(p) + 1;
	}
	return argv;
}

static int run_command(struct streaming *st, int *fd, struct err *e)
{
	AUTO_FREE char **argv = command_words(&st->m->main_channel);
	pid_t pid;

	if (!argv)
		return err_set(e, ENOMEM, "no memory for a command");
	pid = xfer_spawn(argv, st->sending, fd, e);
	if (pid < 0)
		return pid;
	st->child = pid;
	return 0;
}

static int create_streaming(struct migration *m, bool sending, struct err *e)
{
	struct streaming *st = calloc(1, sizeof(*st));
	char uri[4300];

	if (!st)
		return err_set(e, ENOMEM, "no memory to move the state");
	st->m = m;
	st->sending = sending;
	snprintf(st->what, sizeof(st->what), "%s",
		 channel_text(&m->main_channel, uri, sizeof(uri)));
	loop_work_init(&st->done, on_done, st);
	m->streaming = st;
	st->cancel_fd = xfer_cancel_create(e);
	return st->cancel_fd < 0 ? st->cancel_fd : 0;
}

static int list_state(struct migration *m, struct err *e)
{
	int r = migration_list_state(m, e);

	return r ? r : snapshot_add(&m->snap, ram_sample_desc.name, 0, &ram_sample_desc, e);
}

int streaming_open(struct migration *m, struct err *e)
{
	const struct channel *c = &m->main_channel;
	struct streaming *st;
	int r;

	r = list_state(m, e);
	if (!r)
		r = create_streaming(m, true, e);
	if (r)
		return r;
	st = m->streaming;
	switch (c->transport) {
	case TRANSPORT_UNIX:
	case TRANSPORT_INET:
		r = m->main_fd = channel_connect(c, -1, e);
		break;
	case TRANSPORT_FD:
		r = m->main_fd = take_fd(&m->given_fd);
		break;
	case TRANSPORT_EXEC:
		r = run_command(st, &m->main_fd, e);
		break;
	case TRANSPORT_FILE:
		r = m->main_fd = file_create(c->file, &m->main_created, e);
		break;
	}
	channel_trace_outgoing(c, m, r, e);
	return r < 0 ? r : STEP_NEXT;
}

int streaming_send(struct migration *m, struct err *e)
{
	const struct channel *c = &m->main_channel;
	int r = 0;

	m->main_begun = c->transport == TRANSPORT_FILE;
	if (m->main_begun)
		r = file_begin(m->main_fd, c->file, c->offset, e);
	if (!r && m->main_begun && c->offset)
		r = xfer_seek(m->main_fd, c->offset, c->file, e);
	if (r)
		return r;
	mark_blocks(m, false);
	return start_thread(m->streaming, e);
}

static int begin_to_read(struct migration *m, struct err *e)
{
	int r;

	migration_set_status(m, MIGRATION_ACTIVE);
	r = memmap_lock(&m->vm->mem, e);
	if (r)
		return r;
	m->streaming->locked = true;
	mark_blocks(m, true);
	return start_thread(m->streaming, e);
}

static void on_peer(void *opaque, uint32_t events)
{
	struct migration *m = opaque;
	struct err e;
	int conn = sock_accept(m->main_fd, &e);

	(void)events;
	if (conn < 0) {
		handover_abort(m, &e);
		return;
	}
	loop_fd_del(m->vm->loop, &m->main_watch);
	close_fd(&m->main_fd);
	channel_unlink(&m->main_channel);
	m->main_fd = conn;
	channel_trace_incoming(&m->main_channel, m);
	if (begin_to_read(m, &e) < 0)
		handover_abort(m, &e);
}

static int wait_for_peer(struct migration *m, int listener, struct err *e)
{
	int r;

	if (listener < 0)
		return listener;
	m->main_fd = listener;
	r = loop_fd_add(m->vm->loop, &m->main_watch, listener, EPOLLIN, on_peer, m, e);
	return r ? r : STEP_WAIT;
}

int streaming_listen(struct migration *m, struct err *e)
{
	const struct channel *c = &m->main_channel;
	struct err no_socket;
	int r;

	r = list_state(m, e);
	if (!r)
		r = create_streaming(m, false, e);
	if (r)
		return r;
	switch (c->transport) {
	case TRANSPORT_UNIX:
	case TRANSPORT_INET:
		return wait_for_peer(m, channel_listen(c, e), e);
	case TRANSPORT_FD:
		r = m->given_fd >= 0 ? take_fd(&m->given_fd) : channel_inherited_fd(c, e);
		if (r >= 0 && !sock_check_listening(r, &no_socket))
			return wait_for_peer(m, r, e);
		m->main_fd = r;
		break;
	case TRANSPORT_EXEC:
		r = run_command(m->streaming, &m->main_fd, e);
		break;
	case TRANSPORT_FILE:
		r = file_open_ro(c->file, &m->main_fd, e);
		if (!r)
			r = xfer_seek(m->main_fd, c->offset, c->file, e);
		break;
	}
	if (r >= 0)
		channel_trace_incoming(c, m);
	return r < 0 ? r : begin_to_read(m, e);
}

void streaming_undo(struct migration *m)
{
	struct streaming *st = m->streaming;

	if (!st)
		return;
	if (st->running) {
		xfer_cancel(st->cancel_fd);
		pthread_join(st->thread, NULL);
		st->running = false;
		loop_work_cancel(m->vm->loop, &st->done);
	}
	if (st->child) {
		struct err ignored;

		close_fd(&m->main_fd);
		xfer_cancel(st->cancel_fd);
		xfer_wait_child(st->child, st->cancel_fd, 0, st->what, &ignored);
		st->child = 0;
	}
	if (st->locked)
		memmap_unlock(&m->vm->mem);
	st->locked = false;
	handover_discard_file(m);
}

void streaming_let_go(struct migration *m)
{
	for (size_t i = 0; i < m->snap.nr_rams; i++)
		m->let_go |= m->snap.rams[i].in_place;
	if (!m->let_go)
		return;
	free(m->let_go_sample);
	m->let_go_sample = malloc(sizeof(*m->let_go_sample));
	if (m->let_go_sample)
		*m->let_go_sample = *sample_item(m);
	m->let_go_stamp = memmap_stamp(&m->vm->mem);
	m->vm->foreign = true;
	memmap_unlock(&m->vm->mem);
}

int streaming_take_back(struct migration *m, struct err *e)
{
	int r = m->let_go ? memmap_lock(&m->vm->mem, e) : 0;

	/* Another process may have had it in between. */
	if (!r && m->let_go) {
		if (m->let_go_stamp != memmap_stamp(&m->vm->mem))
			r = err_set(e, ESTALE, "another machine has had it since");
		else
			r = m->let_go_sample
				    ? ram_sample_check_blocks(m->let_go_sample, &m->vm->mem, e)
				    : err_set(e, ENOMEM, "what it held then was not kept");
		if (r)
			memmap_unlock(&m->vm->mem);
	}
	if (r)
		return err_prefix(e, "the guest was saved, and its memory left in place");
	if (m->let_go)
		m->vm->foreign = false;
	m->let_go = false;
	return 0;
}

void streaming_release(struct migration *m)
{
	struct streaming *st = m->streaming;

	if (!st)
		return;
	/* After a load that succeeded the machine has its RAM for good. */
	st->locked = st->locked && m->vm->foreign;
	streaming_undo(m);
	close_fd(&st->cancel_fd);
	free(TAKE_PTR(m->streaming));
}

void streaming_info(const struct migration *m, struct migration_info *out)
{
	const struct streaming *st = m->streaming;

	if (!st)
		return;
	out->bytes = st->progress.bytes;
	out->pages_normal = st->progress.pages_normal;
	out->pages_zero = st->progress.pages_zero;
	out->pages_left = st->progress.pages_left;
}
