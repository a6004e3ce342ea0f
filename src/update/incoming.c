/* SPDX-License-Identifier: MIT */
/* The new side's steps of a hand-over. */
#include <errno.h>
#include <jansson.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include "base/log.h"
#include "base/parse.h"
#include "base/trace.h"
#include "base/util.h"
#include "host/clock.h"
#include "host/file.h"
#include "host/graft.h"
#include "host/privileges.h"
#include "host/process.h"
#include "host/sock.h"
#include "machine/globalstate.h"
#include "machine/vcpu.h"
#include "machine/vm.h"
#include "update/bytes_json.h"
#include "update/channel_open.h"
#include "update/fallback.h"
#include "update/grafting.h"
#include "update/handover.h"
#include "update/late.h"
#include "update/populate.h"

enum {
	RECEIVE_CHUNK = 256 << 10,
	/* How long the first entry may take before the answer goes without it. */
	ENTRY_WAIT_NS = 50000000,
	INHERIT_ATTEMPTS = 5,
	INHERIT_INTERVAL_NS = 5000000,
};
#define DEADLINE_CPR_STATE_NS UINT64_C(10000000000)

static uint64_t soon(void)
{
	return clock_boottime_ns() + DEADLINE_MESSAGE_NS;
}

/*
 * A listening socket for the CPR channel. An old side that gave up its privileges can only connect
 * to a file of its own: so it is made as the user that this process becomes, where that user may.
 */
static int listen_cpr(const struct channel *c, const struct privileges *becomes, struct err *e)
{
	int fd;

	if (c->transport != TRANSPORT_UNIX && c->transport != TRANSPORT_FD)
		return err_set(e, EINVAL, "bad cpr channel socket type; must be unix");
	if (!becomes)
		return channel_listen(c, e);
	privileges_use_files_as(becomes->uid, becomes->gid);
	fd = channel_listen(c, e);
	privileges_use_files_as(geteuid(), getegid());
	return fd == -EACCES ? channel_listen(c, e) : fd;
}

int migration_recv_cpr(const struct channel *cpr, const struct privileges *becomes,
		       struct cpr_state *state, int *sock, struct err *e)
{
	AUTO_CLOSE int conn = -1, listener = -1;
	pid_t pid;
	uid_t uid;
	int r;

	cpr_state_init(state);
	listener = listen_cpr(cpr, becomes, e);
	if (listener < 0)
		return listener;
	r = conn = sock_accept(listener, e);
	channel_unlink(cpr);
	trace_cpr_transfer_input(cpr->path);
	if (r >= 0)
		r = sock_peer(conn, &pid, &uid, e);
	if (r < 0)
		return r;
	if (uid != geteuid() && !(becomes && uid == becomes->uid))
		return err_set(e, EPERM, "process %d connected as user %u; it must be user %u", pid,
			       uid, geteuid());
	r = cpr_state_recv(state, conn, clock_boottime_ns() + DEADLINE_CPR_STATE_NS, e);
	if (!r && state->mode != MODE_CPR_TRANSFER)
		r = err_set(e, EPROTO, "the old side is not in mode cpr-transfer");
	if (r) {
		migration_refuse_cpr(conn, e->msg);
		cpr_state_fini(state);
		return err_prefix(e, "the CPR state of process %d cannot be used", pid);
	}
	*sock = take_fd(&conn);
	trace_cpr_state_load(migration_mode_name(MODE_CPR_TRANSFER));
	return 0;
}

void migration_refuse_cpr(int sock, const char *why)
{
	struct err ignored;

	if (sock >= 0)
		wire_send(sock, WIRE_REFUSE, why, strlen(why), soon(), &ignored);
}

static int read_inherited(int fd, struct cpr_state *state, struct err *e)
{
	AUTO_FREE uint8_t *bytes = NULL;
	uint64_t size;
	int r;

	r = file_size(fd, EXEC_STATE_NAME, &size, e);
	if (r)
		return r;
	if (size > STREAM_MAX_BYTES)
		return err_set(e, EFBIG, "%s is too large", EXEC_STATE_NAME);
	bytes = malloc(size + 1);
	if (!bytes)
		return err_set(e, ENOMEM, "no memory for %s", EXEC_STATE_NAME);
	r = file_read_at(fd, EXEC_STATE_NAME, 0, bytes, size, e);
	if (!r)
		r = cpr_state_decode(state, bytes, size, e);
	for (size_t i = 0; !r && i < state->nr_fds; i++)
		r = process_keep_fd(state->fds[i].fd, false, e);
	return r;
}

/*
 * The old image is gone, and how to go back to it is in what is to be read: a host that is short
 * of something gets another chance, and another.
 */
static int read_inherited_surely(struct cpr_state *state, struct err *e)
{
	int fd = state->state_fd, r;

	for (int i = 0; (r = read_inherited(fd, state, e)) && i < INHERIT_ATTEMPTS; i++) {
		if (r == -EPROTO || r == -EFBIG)
			break;
		log_warn("%s; it is tried again", e->msg);
		clock_sleep_ns(INHERIT_INTERVAL_NS);
		/* Its descriptors stay open for the next attempt. */
		state->nr_fds = 0;
		state->state_fd = -1;
		cpr_state_fini(state);
		cpr_state_init(state);
		state->state_fd = fd;
	}
	return r;
}

int migration_inherit_cpr(struct cpr_state *state, bool trial, struct err *e)
{
	const char *text = getenv(EXEC_STATE_NAME);
	AUTO_CLOSE int fd = -1;
	uint64_t number;
	int r;

	if (!text)
		return 0;
	r = parse_uint(text, INT32_MAX, &number, e);
	unsetenv(EXEC_STATE_NAME);
	if (r)
		return err_prefix(e, "%s", EXEC_STATE_NAME);
	fd = (int)number;
	cpr_state_init(state);
	/* Kept until the guest is taken over, see update/fallback.h. */
	state->state_fd = take_fd(&fd);
	r = process_keep_fd(state->state_fd, false, e);
	if (!r)
		r = read_inherited_surely(state, e);
	if (!r && (state->mode != MODE_CPR_EXEC || (!trial && state->pid != getpid())))
		r = err_set(e, EPROTO, "it was made by process %d, this is %d", state->pid,
			    getpid());
	if (r) {
		/* Descriptors of a state that is not ours are not ours to close. */
		state->nr_fds = 0;
		cpr_state_fini(state);
		return err_prefix(e, "%s cannot be used", EXEC_STATE_NAME);
	}
	return 1;
}

int migration_attach_graft(struct migration *m, struct graft *g, struct cpr_state *state,
			   struct err *e)
{
	int r;

	m->incoming = true;
	m->mode = MODE_CPR_GRAFT;
	r = machine_config_check(m, state->config, e);
	if (r)
		return r;
	m->ram_by_cpr = true;
	m->graft = g;
	m->image_fd = g->program;
	m->peer_pid = state->pid;
	return 0;
}

int migration_incoming_graft(struct migration *m, struct err *e)
{
	m->start_ns = clock_boottime_ns();
	return handover_start(m, STEP_RECEIVE, e);
}

int migration_inherit_graft(struct graft *g, struct cpr_state *state, struct err *e)
{
	int r;

	cpr_state_init(state);
	r = cpr_state_decode(state, graft_data(&g->cpr_state), g->cpr_state.len, e);
	if (!r && state->mode != MODE_CPR_GRAFT)
		r = err_set(e, EPROTO, "the old image is not in mode cpr-graft");
	if (!r)
		trace_cpr_state_load(migration_mode_name(MODE_CPR_GRAFT));
	return r;
}

int migration_attach_cpr(struct migration *m, struct cpr_state *state, int *sock, struct err *e)
{
	AUTO_CLOSE int fd = -1;
	int r;

	r = machine_config_check(m, state->config, e);
	if (!r)
		r = fd = cpr_state_dup_fd(state, OWNER_FD_NAME, 0, e);
	if (r >= 0)
		r = owner_open(&m->owner, fd, e);
	if (r < 0)
		return r;
	take_fd(&fd);
	m->incoming = true;
	m->ram_by_cpr = true;
	m->mode = (enum migration_mode)state->mode;
	m->peer_pid = state->pid;
	m->cpr = *state;
	m->cpr_sock = take_fd(sock);
	*state = (struct cpr_state){ .state_fd = -1 };
	return 0;
}

bool migration_is_fallback(void)
{
	return getenv(EXEC_FALLBACK_NAME) != NULL;
}

bool migration_came_back(struct migration *m, struct channel *main_channel)
{
	const char *why = getenv(EXEC_FALLBACK_NAME);
	struct err ignored;
	AUTO_FREE char *file = NULL;
	json_t *config;
	bool ok;

	if (!why)
		return false;
	snprintf(m->fallback_reason, sizeof(m->fallback_reason),
		 "the new image could not take the guest over: %s", why);
	unsetenv(EXEC_FALLBACK_NAME);
	log_error("%s; it goes on in the old one", m->fallback_reason);
	config = json_loads(m->cpr.config ? m->cpr.config : "", 0, NULL);
	file = bytes_from_json(json_object_get(config, "state"));
	ok = file && !channel_set_file(main_channel, file, &ignored);
	if (ok)
		main_channel->offset =
			(uint64_t)json_integer_value(json_object_get(config, "state-offset"));
	json_decref(config);
	return ok;
}

bool migration_waits_for_load(const struct migration *m)
{
	json_t *config = json_loads(m->cpr.config ? m->cpr.config : "", 0, NULL);
	bool wait = json_is_true(json_object_get(config, "wait"));

	json_decref(config);
	return wait;
}

/* Each vCPU goes where the old side's has just left. */
static void take_places(struct migration *m)
{
	const struct owner_places *p = owner_places(&m->owner);

	for (unsigned int i = 0; i < m->vm->nr_vcpus; i++)
		vcpu_place(m->vm->vcpus[i], p->cpu[i] - 1);
	vcpu_rouse_all(m->vm);
}

/* The state is complete once the offer came and as many bytes as it says. */
static void check_complete(struct migration *m)
{
	struct err e;

	if (!m->offer_known || m->stream.len < m->offer_len)
		return;
	if (m->stream.len > m->offer_len ||
	    stream_hash(m->stream.data, m->stream.len) != m->offer_hash) {
		err_set(&e, EPROTO,
			"what came on the main channel is not the state the old side offered");
		handover_abort(m, &e);
		return;
	}
	handover_times(m)->received = clock_boottime_ns();
	loop_fd_del(m->vm->loop, &m->main_watch);
	loop_fd_del(m->vm->loop, &m->cpr_watch);
	handover_continue(m);
}

static void on_state_bytes(void *opaque, uint32_t events)
{
	struct migration *m = opaque;
	struct err e;
	ssize_t n;

	(void)events;
	buf_reserve(&m->stream, RECEIVE_CHUNK);
	if (m->stream.failed || m->stream.len > STREAM_MAX_BYTES) {
		err_set(&e, ENOMEM, "the state on the main channel is too long");
		handover_abort(m, &e);
		return;
	}
	n = read(m->main_fd, m->stream.data + m->stream.len, RECEIVE_CHUNK);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n < 0) {
		err_set_errno(&e, "cannot read the main channel");
		handover_abort(m, &e);
		return;
	}
	if (n == 0) {
		/* The offer, on the other channel, says whether this was all. */
		loop_fd_del(m->vm->loop, &m->main_watch);
		if (m->offer_known && m->stream.len < m->offer_len) {
			err_set(&e, ENODATA, "the main channel ended after %zu of %llu bytes",
				m->stream.len, (unsigned long long)m->offer_len);
			handover_abort(m, &e);
		}
		return;
	}
	m->stream.len += (size_t)n;
	check_complete(m);
}

/* Whoever connects later finds nothing, not even a file. */
static void incoming_stop_listening(struct migration *m)
{
	if (m->main_listens)
		channel_unlink(&m->main_channel);
	m->main_listens = false;
}

static void on_main_connection(void *opaque, uint32_t events)
{
	struct migration *m = opaque;
	struct err e;
	int conn;

	(void)events;
	conn = sock_accept(m->main_fd, &e);
	if (conn < 0) {
		handover_abort(m, &e);
		return;
	}
	loop_fd_del(m->vm->loop, &m->main_watch);
	close_fd(&m->main_fd);
	incoming_stop_listening(m);
	m->main_fd = conn;
	channel_trace_incoming(&m->main_channel, m);
	sock_set_blocking(conn, 0);
	migration_set_status(m, MIGRATION_ACTIVE);
	if (loop_fd_add(m->vm->loop, &m->main_watch, conn, EPOLLIN, on_state_bytes, m, &e))
		handover_abort(m, &e);
}

static void on_old_side(void *opaque, uint32_t events)
{
	struct migration *m = opaque;
	AUTO_BUF payload = { 0 };
	enum wire_type type;
	struct cursor c;
	struct err e;

	(void)events;
	if (wire_recv(m->cpr_sock, &type, &payload, soon(), &e)) {
		err_prefix(&e, "the old side (process %d) has gone", m->peer_pid);
		handover_abort(m, &e);
		return;
	}
	cursor_init(&c, payload.data, payload.len);
	if (type == WIRE_OFFER && m->step == STEP_RECEIVE && payload.len == 16 && !m->offer_known) {
		m->offer_len = cursor_be64(&c);
		m->offer_hash = cursor_be64(&c);
		m->offer_known = true;
		take_places(m);
		check_complete(m);
		return;
	}
	if (type == WIRE_CANCEL)
		err_set(&e, ECANCELED, "the old side gave up: %.*s",
			(int)MIN(payload.len, sizeof(e.msg)), (const char *)payload.data);
	else
		err_set(&e, EPROTO, "the old side sent message %d, which has no place here", type);
	handover_abort(m, &e);
}

/* What can be taken over here, and from what kind of channel. */
static int check_incoming(const struct migration *m, enum migration_mode mode,
			  const struct channel *c, struct err *e)
{
	if (m->vm->runstate != RUNSTATE_INMIGRATE)
		return err_set(e, EINVAL, "'-incoming' was not specified on the command line");
	if (m->step != STEP_IDLE)
		return err_set(e, EBUSY, "The incoming migration has already been started");
	/* Its memory is that of a guest which runs, or may run, elsewhere. */
	if (m->ram_by_cpr && !m->owner.page)
		return err_set(e, EPERM,
			       "the update that this process was started for has failed; a new "
			       "attempt needs a new process");
	if (!m->owner.page && !migration_mode_streams(mode))
		return err_set(
			e, EINVAL,
			"mode %s needs the CPR state of the old process, which did not come: "
			"start with a cpr channel in -incoming, or set mode to cpr-reboot "
			"or normal to load a guest whose memory is in the stream or in a file",
			migration_mode_name(mode));
	if (mode == MODE_CPR_EXEC && c->transport != TRANSPORT_FILE)
		return err_set(e, EINVAL, "Migration requires seekable transport (e.g. file)");
	if (mode == MODE_CPR_TRANSFER && c->transport == TRANSPORT_FILE)
		return err_set(e, EINVAL, "Migration requires streamable transport (eg unix)");
	if (mode == MODE_CPR_TRANSFER && c->transport == TRANSPORT_EXEC)
		return err_set(e, ENOTSUP,
			       "cpr-transfer needs a main channel of type unix, inet or fd");
	if (mode == MODE_CPR_TRANSFER && c->transport == TRANSPORT_INET && !strcmp(c->port, "0"))
		return err_set(e, EINVAL,
			       "cpr-transfer cannot use port 0: the old side could not know where "
			       "to connect");
	return 0;
}

static int receive(struct migration *m, enum migration_mode mode,
		   const struct channel *main_channel, bool exit_on_error, struct err *e)
{
	int r = check_incoming(m, mode, main_channel, e);

	if (!r)
		r = migration_list_state(m, e);
	if (r)
		return r;
	if (main_channel->transport == TRANSPORT_FD && main_channel->fd >= 0) {
		m->given_fd = process_dup_fd(main_channel->fd, e);
		if (m->given_fd < 0)
			return err_prefix(e, "fd:%s", main_channel->path);
	}
	m->main_channel = *main_channel;
	m->mode = mode;
	m->incoming = true;
	/* The only owner must not end because a file name was wrong. */
	m->exit_on_error = exit_on_error && mode != MODE_CPR_EXEC;
	m->start_ns = clock_boottime_ns();
	m->error[0] = '\0';
	migration_set_status(m, MIGRATION_SETUP);
	return handover_start(m, STEP_RECEIVE, e);
}

/* What came over the CPR channel decides, else the operator. */
static enum migration_mode incoming_mode(const struct migration *m, enum migration_mode wanted)
{
	return m->owner.page ? m->mode : wanted;
}

int migration_incoming(struct migration *m, const struct channel *main_channel, bool exit_on_error,
		       struct err *e)
{
	enum migration_mode mode = incoming_mode(m, (enum migration_mode)m->params.mode);

	m->ignore_shared = m->caps[CAP_IGNORE_SHARED];
	m->adopt_capabilities = false;
	return receive(m, mode, main_channel, exit_on_error, e);
}

int migration_cprload(struct migration *m, const char *file, struct err *e)
{
	enum migration_mode mode = incoming_mode(m, MODE_CPR_REBOOT);
	struct channel c;
	int r = channel_set_file(&c, file, e);

	if (!r && m->vm->runstate != RUNSTATE_INMIGRATE)
		r = err_set(e, EINVAL,
			    "cprload needs a process that waits for a guest: start it with "
			    "-incoming defer");
	if (r)
		return r;
	m->adopt_capabilities = true;
	return receive(m, mode, &c, false, e);
}

void migration_incoming_defer(struct migration *m)
{
	struct err e;

	if (m->cpr_sock < 0 || wire_send(m->cpr_sock, WIRE_WAITING, NULL, 0, soon(), &e) == 0)
		return;
	log_warn("the old side was not told that this side waits: %s", e.msg);
}

/*
 * An older state of this very guest would be undamaged, and wrong. A release that did not say
 * which state it saved left the length at 0, which no state has.
 */
static int check_offered(struct migration *m, struct err *e)
{
	const struct owner_state *s = owner_state(&m->owner);

	if (!s->length)
		return 0;
	if (s->length == m->stream.len && s->xxh3 == stream_hash(m->stream.data, m->stream.len))
		return 0;
	return err_set(e, ESTALE,
		       "'%s' does not hold the state that was saved when this image was "
		       "started",
		       m->main_channel.file);
}

static int read_state_file(struct migration *m, struct err *e)
{
	const struct channel *c = &m->main_channel;
	AUTO_CLOSE int fd = -1;
	uint64_t size = 0;
	int r;

	r = file_open_ro(c->file, &fd, e);
	if (!r)
		r = file_size(fd, c->file, &size, e);
	if (r)
		return r;
	channel_trace_incoming(c, m);
	size = size > c->offset ? size - c->offset : 0;
	if (size > STREAM_MAX_BYTES)
		return err_set(e, EFBIG, "'%s' is %llu bytes long, more than any machine's state",
			       c->file, (unsigned long long)size);
	m->stream.len = 0;
	buf_reserve(&m->stream, size + 1);
	if (m->stream.failed)
		return err_set(e, ENOMEM, "no memory to read '%s'", c->file);
	r = file_read_at(fd, c->file, c->offset, m->stream.data, size, e);
	m->stream.len = r ? 0 : size;
	return r;
}

static int send_ready(struct migration *m, struct err *e)
{
	AUTO_BUF ready = { 0 };

	if (late_send_wants(m, e))
		return -e->code;
	buf_put_be32(&ready, m->cpr.version);
	buf_put_be32(&ready, (uint32_t)getpid());
	return wire_send(m->cpr_sock, WIRE_READY, ready.data, ready.len, soon(), e);
}

static void say_ready(struct migration *m)
{
	struct err e;

	if (send_ready(m, &e))
		handover_abort(m, &e);
}

int incoming_receive(struct migration *m, struct err *e)
{
	struct loop *l = m->vm->loop;
	int r;

	if (migration_mode_streams(m->mode))
		return streaming_listen(m, e);
	if (m->mode == MODE_CPR_EXEC) {
		migration_set_status(m, MIGRATION_ACTIVE);
		r = read_state_file(m, e);
		if (!r)
			r = check_offered(m, e);
		handover_times(m)->received = clock_boottime_ns();
		return r;
	}
	if (m->mode == MODE_CPR_GRAFT)
		return grafting_receive(m, e);
	r = m->main_fd =
		m->given_fd >= 0 ? take_fd(&m->given_fd) : channel_listen(&m->main_channel, e);
	if (r >= 0)
		r = sock_check_listening(r, e);
	if (r < 0)
		return r;
	m->main_listens = true;
	/* Room for the state, so that the pause does not pay for growing it. */
	buf_reserve(&m->stream, RECEIVE_CHUNK);
	r = loop_fd_add(l, &m->main_watch, m->main_fd, EPOLLIN, on_main_connection, m, e);
	if (!r)
		r = loop_fd_add(l, &m->cpr_watch, m->cpr_sock, EPOLLIN, on_old_side, m, e);
	if (r)
		return r;
	r = populate_ahead(m, say_ready) ? 0 : send_ready(m, e);
	return r ? r : STEP_WAIT;
}

void incoming_undo_receive(struct migration *m)
{
	vcpu_unplace_all(m->vm);
	streaming_undo(m);
	incoming_stop_listening(m);
}

int incoming_load(struct migration *m, struct err *e)
{
	int r = 0;

	if (m->mode == MODE_CPR_EXEC)
		take_places(m);
	if (m->mode == MODE_CPR_GRAFT) {
		r = grafting_decode(m, e);
	} else if (!migration_mode_streams(m->mode)) {
		m->state_bytes = m->stream.len;
		r = stream_decode(m->stream.data, m->stream.len, &m->snap, e);
	}
	if (!r)
		r = vm_load_state(m->vm, handover_scope(m), &m->snap, e);
	if (r)
		return err_prefix(e, "load of migration failed");
	m->saved_runstate = global_state_get(
		snapshot_find(&m->snap, global_state_desc.name, 0)->state, &m->vm->was_suspended);
	handover_times(m)->loaded = clock_boottime_ns();
	trace_migrate_global_state_post_load(runstate_name(m->saved_runstate));
	trace_vmstate_downtime_checkpoint("dst-precopy-loadvm-completed");
	return STEP_NEXT;
}

int incoming_claim(struct migration *m, struct err *e)
{
	if (m->mode == MODE_CPR_GRAFT)
		return grafting_commit(m, e);
	if (m->mode == MODE_CPR_EXEC)
		fallback_end();
	if (!owner_claim(&m->owner))
		return err_set(e, ECANCELED, "the old side took the guest back");
	m->vm->foreign = false;
	return STEP_NEXT;
}

/* Until the first vCPU is in the guest, which the answer promises. */
static uint64_t wait_for_entry(const struct vm *vm)
{
	uint64_t limit = clock_boottime_ns() + ENTRY_WAIT_NS, entered;

	while (!(entered = vcpu_entered_ns(vm->vcpus[0]))) {
		if (clock_boottime_ns() > limit)
			return limit;
		sched_yield();
	}
	return entered;
}

int incoming_run(struct migration *m, struct err *e)
{
	struct owner_times *t = handover_times(m);
	struct vm *vm = m->vm;

	if (m->mode == MODE_CPR_GRAFT) {
		grafting_arm(m);
		return STEP_NEXT;
	}
	if (migration_mode_streams(m->mode))
		memmap_touch(&vm->mem);
	vm->foreign = false;
	m->ram_by_cpr = false;
	t->entered = clock_boottime_ns();
	if (runstate_is_live(m->saved_runstate) && m->autostart) {
		vm_start(vm);
		/* A guest in S3 is entered when it is woken up. */
		if (vm->runstate == RUNSTATE_RUNNING)
			t->entered = wait_for_entry(vm);
	} else if (runstate_is_live(m->saved_runstate)) {
		vm_set_runstate(vm, RUNSTATE_PAUSED);
	} else {
		vm_set_runstate(vm, m->saved_runstate);
	}
	vcpu_unplace_all(vm);
	trace_vmstate_downtime_checkpoint("dst-precopy-bh-vm-started");
	/* The guest is ours; an old side that does not hear it finds out by the word. */
	if (m->cpr_sock >= 0 && wire_send(m->cpr_sock, WIRE_RUNNING, NULL, 0, soon(), e))
		log_warn("the old side was not told that the guest runs here: %s", e->msg);
	populate_behind(m);
	return STEP_NEXT;
}
