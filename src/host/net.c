/* SPDX-License-Identifier: MIT */
/* Network back ends: what all kinds have in common. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "host/net_impl.h"
#include "host/xfer.h"

static int (*const openers[])(struct net *n, struct err *e) = {
	[NET_TAP] = net_open_tap,
	[NET_STREAM] = net_open_stream,
	[NET_PASST] = net_open_passt,
};

size_t net_iov_bytes(const struct iovec *iov, int cnt)
{
	size_t n = 0;

	for (int i = 0; i < cnt; i++)
		n += iov[i].iov_len;
	return n;
}

static void queue_ready(void *opaque, uint32_t events);

void net_update_watch(struct net_queue *q)
{
	struct net *n = q->net;
	uint32_t events = 0;
	struct err e;

	if (n->running && q->fd >= 0)
		events = (q->reading ? EPOLLIN : 0) | (q->blocked ? EPOLLOUT : 0);
	if (events == q->watched)
		return;
	/* Without a watch at all an error is not reported for ever either. */
	if (q->watched && events) {
		loop_fd_set_events(n->loop, &q->watch, events);
	} else if (events) {
		if (loop_fd_add(n->loop, &q->watch, q->fd, events, queue_ready, q, &e)) {
			log_error("netdev '%s': %s", n->config.id, e.msg);
			return;
		}
	} else {
		loop_fd_del(n->loop, &q->watch);
	}
	q->watched = events;
}

void net_set_fd(struct net_queue *q, int fd)
{
	loop_fd_del(q->net->loop, &q->watch);
	q->watched = 0;
	q->fd = fd;
	net_update_watch(q);
}

/* The front end may have gone, stopped reading, or left frames behind. */
static void offer_frames(struct net_queue *q)
{
	struct net *n = q->net;

	if (n->front && n->running && q->reading)
		n->front->readable(n->front_opaque, q->index);
	if (n->front && n->running && q->reading && n->ops->has_frame && n->ops->has_frame(n))
		loop_post(n->loop, &n->again);
}

static void offer_again(void *opaque)
{
	struct net *n = opaque;

	offer_frames(&n->queues[0]);
}

static void queue_ready(void *opaque, uint32_t events)
{
	struct net_queue *q = opaque;
	struct net *n = q->net;
	bool room;

	if (events & (EPOLLERR | EPOLLHUP) && !(events & EPOLLIN)) {
		n->ops->failed(n, q->index);
		return;
	}
	if (events & EPOLLOUT && q->blocked) {
		room = !n->ops->flush || n->ops->flush(n);
		q->blocked = !room;
		net_update_watch(q);
		if (room && n->front)
			n->front->writable(n->front_opaque, q->index);
	}
	if (events & EPOLLIN)
		offer_frames(q);
}

static void take_config(struct net *n, struct net_config *config)
{
	struct net_given *g = config->given;

	/* What is the back end's now is not the caller's. */
	config->nr_fds = 0;
	config->fd = -1;
	n->config.given = NULL;
	for (unsigned int i = 0; g && i < n->nr_queues && i < g->nr_fds; i++)
		g->fds[i] = -1;
	if (g && config->server)
		g->listen_fd = -1;
	if (g)
		net_close_given(g);
}

int net_open(struct net **out, struct loop *loop, struct net_config *config,
	     void (*told)(void *opaque, const char *address), void *opaque, struct err *e)
{
	struct net *n = calloc(1, sizeof(*n));
	int r;

	if (!n)
		return err_set(e, ENOMEM, "no memory for netdev '%s'", config->id);
	n->loop = loop;
	n->config = *config;
	n->told = told;
	n->told_opaque = opaque;
	n->link = true;
	n->given = config->given;
	n->nr_queues = 1;
	loop_work_init(&n->again, offer_again, n);
	for (unsigned int i = 0; i < NET_MAX_QUEUES; i++)
		n->queues[i] = (struct net_queue){ .net = n, .index = i, .fd = -1, .watch.fd = -1 };
	r = openers[config->kind](n, e);
	if (r) {
		free(n);
		return err_prefix(e, "netdev '%s'", config->id);
	}
	take_config(n, config);
	*out = n;
	return 0;
}

void net_close(struct net *n, bool moved)
{
	if (!n)
		return;
	n->running = false;
	for (unsigned int i = 0; i < n->nr_queues; i++)
		net_update_watch(&n->queues[i]);
	loop_work_cancel(n->loop, &n->again);
	n->ops->close(n, moved);
	for (unsigned int i = 0; i < n->nr_queues; i++)
		close_fd(&n->queues[i].fd);
	free(n);
}

void net_close_given(struct net_given *g)
{
	for (unsigned int i = 0; i < g->nr_fds; i++)
		close_fd(&g->fds[i]);
	close_fd(&g->listen_fd);
	g->nr_fds = 0;
}

void net_close_config(struct net_config *c)
{
	for (unsigned int i = 0; i < c->nr_fds; i++)
		close_fd(&c->fds[i]);
	c->nr_fds = 0;
	close_fd(&c->fd);
}

void net_attach(struct net *n, const struct net_front *front, void *opaque)
{
	n->front = front;
	n->front_opaque = opaque;
	for (unsigned int i = 0; !front && i < n->nr_queues; i++) {
		n->queues[i].reading = n->queues[i].blocked = false;
		net_update_watch(&n->queues[i]);
	}
}

void net_set_running(struct net *n, bool running)
{
	if (n->running == running)
		return;
	n->running = running;
	for (unsigned int i = 0; i < n->nr_queues; i++)
		net_update_watch(&n->queues[i]);
	if (running)
		loop_post(n->loop, &n->again);
	else
		loop_work_cancel(n->loop, &n->again);
	if (n->ops->run_changed)
		n->ops->run_changed(n);
}

const struct net_config *net_get_config(const struct net *n)
{
	return &n->config;
}

unsigned int net_queues(const struct net *n)
{
	return n->nr_queues;
}

unsigned int net_header_bytes(const struct net *n)
{
	return n->header_bytes;
}

uint32_t net_offloads(const struct net *n)
{
	return n->offloads;
}

bool net_is_given(const struct net *n)
{
	return n->given;
}

struct net_stats net_get_stats(const struct net *n)
{
	return n->stats;
}

void net_describe(const struct net *n, char *buf, size_t size)
{
	n->ops->describe(n, buf, size);
}

int net_send(struct net *n, unsigned int queue, const struct iovec *iov, int cnt)
{
	struct net_queue *q = &n->queues[queue];
	int r;

	if (!n->link || q->fd < 0) {
		n->stats.tx_dropped++;
		return 0;
	}
	r = n->ops->send(n, queue, iov, cnt);
	if (r == -EAGAIN) {
		q->blocked = true;
		net_update_watch(q);
		return r;
	}
	if (r)
		n->stats.tx_dropped++;
	else
		n->stats.tx_frames++;
	return 0;
}

ssize_t net_receive(struct net *n, unsigned int queue, const struct iovec *iov, int cnt)
{
	ssize_t r;

	do {
		r = n->queues[queue].fd < 0 && !n->ops->has_frame
			    ? -EAGAIN
			    : n->ops->receive(n, queue, iov, cnt);
		if (r >= 0 && n->link) {
			n->stats.rx_frames++;
			return r;
		}
		if (r >= 0)
			n->stats.rx_dropped++;
	} while (r >= 0);
	return r;
}

bool net_put_back(struct net *n, unsigned int queue)
{
	(void)queue;
	if (!n->ops->put_back)
		return false;
	n->ops->put_back(n);
	n->stats.rx_frames--;
	return true;
}

void net_set_reading(struct net *n, unsigned int queue, bool on)
{
	struct net_queue *q = &n->queues[queue];

	if (q->reading == on)
		return;
	q->reading = on;
	net_update_watch(q);
	if (on && n->running && n->ops->has_frame && n->ops->has_frame(n))
		loop_post(n->loop, &n->again);
}

void net_set_offloads(struct net *n, uint32_t bits)
{
	if (n->ops->set_offloads)
		n->ops->set_offloads(n, bits);
}

void net_set_active_queues(struct net *n, unsigned int queues)
{
	if (n->ops->set_active)
		n->ops->set_active(n, queues);
}

void net_set_link(struct net *n, bool up)
{
	if (n->link == up)
		return;
	n->link = up;
	if (n->front)
		n->front->link_changed(n->front_opaque);
}

bool net_link(const struct net *n)
{
	return n->link;
}

void net_give(const struct net *n, struct net_given *out)
{
	*out = (struct net_given){ .nr_fds = n->nr_queues, .listen_fd = -1 };
	for (unsigned int i = 0; i < n->nr_queues; i++)
		out->fds[i] = n->queues[i].fd;
	n->ops->give(n, out);
}

void net_bytes_save(const struct net *n, struct net_bytes *out)
{
	out->connection = 0;
	out->in_len = out->out_len = 0;
	if (n->ops->save)
		n->ops->save(n, out);
}

void net_bytes_load(struct net *n, const struct net_bytes *b)
{
	if (n->ops->load)
		n->ops->load(n, b);
}

static int spawn(char *const *argv, int keep_fd, int said, pid_t *pid)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t none, defaults;
	int r;

	sigemptyset(&none);
	sigemptyset(&defaults);
	sigaddset(&defaults, SIGPIPE);
	posix_spawn_file_actions_init(&actions);
	posix_spawnattr_init(&attr);
	posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&actions, said, STDOUT_FILENO);
	posix_spawn_file_actions_adddup2(&actions, said, STDERR_FILENO);
	/* A descriptor that is duplicated to itself loses close-on-exec. */
	if (keep_fd >= 0)
		posix_spawn_file_actions_adddup2(&actions, keep_fd, keep_fd);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &defaults);
	posix_spawnattr_setpgroup(&attr, 0);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
						POSIX_SPAWN_SETPGROUP);
	r = posix_spawnp(pid, argv[0], &actions, &attr, argv, environ);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&actions);
	return r;
}

/* The last line of what a command has said, without its end. */
static void read_last_line(int fd, char *line, size_t size)
{
	ssize_t n;
	char *nl;

	line[0] = '\0';
	n = lseek(fd, 0, SEEK_END);
	n = pread(fd, line, size - 1, MAX(n - (ssize_t)size + 1, 0));
	line[MAX(n, 0)] = '\0';
	while ((nl = strrchr(line, '\n'))) {
		if (nl[1]) {
			memmove(line, nl + 1, strlen(nl + 1) + 1);
			return;
		}
		*nl = '\0';
	}
}

int net_run_command(char *const *argv, int keep_fd, int timeout_ms, struct err *e)
{
	AUTO_CLOSE int said = memfd_create("said", MFD_CLOEXEC);
	char line[256];
	struct err why;
	pid_t pid;
	int r;

	if (said < 0)
		return err_set_errno(e, "no memory for what '%s' says", argv[0]);
	r = spawn(argv, keep_fd, said, &pid);
	if (r)
		return err_set_code(e, r, "cannot run '%s'", argv[0]);
	r = xfer_wait_child(pid, -1, timeout_ms, argv[0], &why);
	if (!r)
		return 0;
	read_last_line(said, line, sizeof(line));
	return err_set(e, why.code, "%s%s%s", why.msg, line[0] ? ": " : "", line);
}
