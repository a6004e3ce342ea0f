/* SPDX-License-Identifier: MIT */
/* The event loop: descriptors, timers and calls from other threads, on one thread. */
#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>

#include "base/log.h"
#include "base/util.h"
#include "host/clock.h"
#include "host/loop.h"

enum {
	LOOP_MAX_EVENTS = 32
};

struct loop {
	pthread_mutex_t *lock; /* [c] not owned                              */
	int epoll_fd;
	int wake_fd;        /* eventfd: work was posted, or quit           */
	struct list timers; /* by deadline                                 */
	struct list hooks;
	pthread_mutex_t work_lock;
	struct list work; /* guarded by work_lock                        */
	bool quit;        /* atomic                                      */
	/* The events of the round being handled; entries of removed watches are cleared. */
	struct epoll_event events[LOOP_MAX_EVENTS];
	int nr_events;
};

int loop_create(struct loop **out, pthread_mutex_t *lock, struct err *e)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = NULL };
	struct loop *l = calloc(1, sizeof(*l));
	int r;

	if (!l)
		return err_set(e, ENOMEM, "no memory for the event loop");
	l->lock = lock;
	list_init(&l->timers);
	list_init(&l->hooks);
	list_init(&l->work);
	pthread_mutex_init(&l->work_lock, NULL);
	l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (l->epoll_fd < 0 || l->wake_fd < 0 ||
	    epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, l->wake_fd, &ev) < 0) {
		r = err_set_errno(e, "cannot create the event loop");
		loop_destroy(l);
		return r;
	}
	*out = l;
	return 0;
}

void loop_destroy(struct loop *l)
{
	if (!l)
		return;
	close_fd(&l->epoll_fd);
	close_fd(&l->wake_fd);
	pthread_mutex_destroy(&l->work_lock);
	free(l);
}

static void wake(struct loop *l)
{
	uint64_t one = 1;

	/* Full means that a wake-up is already on its way. */
	if (write(l->wake_fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
		log_error("cannot wake the event loop: %m");
}

void loop_quit(struct loop *l)
{
	__atomic_store_n(&l->quit, true, __ATOMIC_RELEASE);
	wake(l);
}

int loop_fd_add(struct loop *l, struct loop_fd *w, int fd, uint32_t events,
		void (*ready)(void *opaque, uint32_t events), void *opaque, struct err *e)
{
	struct epoll_event ev = { .events = events, .data.ptr = w };

	if (epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0)
		return err_set_errno(e, "cannot watch descriptor %d", fd);
	w->fd = fd;
	w->ready = ready;
	w->opaque = opaque;
	return 0;
}

void loop_fd_set_events(struct loop *l, struct loop_fd *w, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.ptr = w };

	if (w->fd >= 0 && epoll_ctl(l->epoll_fd, EPOLL_CTL_MOD, w->fd, &ev) < 0)
		log_error("cannot change the watch on descriptor %d: %m", w->fd);
}

void loop_fd_del(struct loop *l, struct loop_fd *w)
{
	if (w->fd < 0)
		return;
	epoll_ctl(l->epoll_fd, EPOLL_CTL_DEL, w->fd, NULL);
	w->fd = -1;
	for (int i = 0; i < l->nr_events; i++)
		if (l->events[i].data.ptr == w)
			l->events[i].events = 0;
}

void loop_timer_init(struct loop_timer *t, void (*expired)(void *opaque), void *opaque)
{
	list_init(&t->link);
	t->armed = false;
	t->expired = expired;
	t->opaque = opaque;
}

void loop_timer_cancel(struct loop_timer *t)
{
	list_del(&t->link);
	t->armed = false;
}

void loop_timer_set(struct loop *l, struct loop_timer *t, uint64_t deadline_ns)
{
	struct list *pos, *tmp;

	loop_timer_cancel(t);
	t->deadline_ns = deadline_ns;
	t->armed = true;
	list_for_each(pos, tmp, &l->timers)
		if (CONTAINER_OF(pos, struct loop_timer, link)->deadline_ns > deadline_ns)
			break;
	list_add(pos, &t->link);
}

void loop_work_init(struct loop_work *w, void (*run)(void *opaque), void *opaque)
{
	list_init(&w->link);
	w->queued = false;
	w->run = run;
	w->opaque = opaque;
}

void loop_post(struct loop *l, struct loop_work *w)
{
	bool queued;

	pthread_mutex_lock(&l->work_lock);
	queued = w->queued;
	if (!queued) {
		w->queued = true;
		list_add(&l->work, &w->link);
	}
	pthread_mutex_unlock(&l->work_lock);
	if (!queued)
		wake(l);
}

void loop_work_cancel(struct loop *l, struct loop_work *w)
{
	pthread_mutex_lock(&l->work_lock);
	list_del(&w->link);
	w->queued = false;
	pthread_mutex_unlock(&l->work_lock);
}

void loop_hook_add(struct loop *l, struct loop_hook *h, void (*run)(void *opaque), void *opaque)
{
	h->run = run;
	h->opaque = opaque;
	list_add(&l->hooks, &h->link);
}

void loop_hook_del(struct loop_hook *h)
{
	list_del(&h->link);
}

static void run_hooks(struct loop *l)
{
	struct list *pos, *tmp;

	list_for_each(pos, tmp, &l->hooks) {
		struct loop_hook *h = CONTAINER_OF(pos, struct loop_hook, link);

		h->run(h->opaque);
	}
}

static void run_timers(struct loop *l)
{
	uint64_t now = clock_boottime_ns();

	while (!list_empty(&l->timers)) {
		struct loop_timer *t = CONTAINER_OF(l->timers.next, struct loop_timer, link);

		if (t->deadline_ns > now)
			return;
		loop_timer_cancel(t);
		t->expired(t->opaque);
	}
}

/* What is posted from now on is done in the next round, so that descriptors have their turn. */
static size_t count_work(struct loop *l)
{
	struct list *pos, *tmp;
	size_t n = 0;

	pthread_mutex_lock(&l->work_lock);
	list_for_each(pos, tmp, &l->work)
		n++;
	pthread_mutex_unlock(&l->work_lock);
	return n;
}

static void run_work(struct loop *l)
{
	struct loop_work *w;

	for (size_t n = count_work(l); n; n--) {
		pthread_mutex_lock(&l->work_lock);
		w = NULL;
		if (!list_empty(&l->work)) {
			w = CONTAINER_OF(l->work.next, struct loop_work, link);
			list_del(&w->link);
			w->queued = false;
		}
		pthread_mutex_unlock(&l->work_lock);
		if (!w)
			return;
		w->run(w->opaque);
	}
}

/* Returns a timeout for epoll_pwait2, or NULL for none. */
static struct timespec *wait_time(struct loop *l, int timeout_ms, struct timespec *ts)
{
	uint64_t ns = timeout_ms < 0 ? UINT64_MAX : (uint64_t)timeout_ms * 1000000;

	if (!list_empty(&l->timers)) {
		uint64_t at = CONTAINER_OF(l->timers.next, struct loop_timer, link)->deadline_ns;
		uint64_t now = clock_boottime_ns();

		ns = MIN(ns, at > now ? at - now : 0);
	}
	if (ns == UINT64_MAX)
		return NULL;
	ts->tv_sec = (time_t)(ns / 1000000000);
	ts->tv_nsec = (long)(ns % 1000000000);
	return ts;
}

void loop_run_once(struct loop *l, int timeout_ms)
{
	struct timespec ts, *wait;
	uint64_t drained;
	int n;

	run_hooks(l);
	wait = wait_time(l, timeout_ms, &ts);
	pthread_mutex_unlock(l->lock);
	n = epoll_pwait2(l->epoll_fd, l->events, LOOP_MAX_EVENTS, wait, NULL);
	pthread_mutex_lock(l->lock);
	if (n < 0 && errno != EINTR)
		log_error("the event loop cannot wait: %m");
	l->nr_events = MAX(n, 0);
	for (int i = 0; i < l->nr_events; i++) {
		struct loop_fd *w = l->events[i].data.ptr;

		if (!w) {
			/* Only resets the counter. */
			if (read(l->wake_fd, &drained, sizeof(drained)) < 0 && errno != EAGAIN)
				log_error("cannot read the event loop's wake-up: %m");
		} else if (l->events[i].events) {
			w->ready(w->opaque, l->events[i].events);
		}
	}
	l->nr_events = 0;
	run_work(l);
	run_timers(l);
}

void loop_run(struct loop *l)
{
	while (!__atomic_load_n(&l->quit, __ATOMIC_ACQUIRE))
		loop_run_once(l, -1);
}
