/* SPDX-License-Identifier: MIT */
/* Addresses of hosts by name, without waiting for a name server for ever. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/util.h"
#include "host/process.h"
#include "host/resolve.h"

/* One look-up; shared by the thread that does it and the one that waits. */
struct lookup {
	pthread_mutex_t lock;
	pthread_cond_t done_cond;
	char *host, *port;     /* [c] */
	struct addrinfo hints; /* [c] */
	/* Under the lock: */
	bool done;
	bool abandoned; /* nobody waits any more: the thread frees it */
	int result;     /* of getaddrinfo() */
	struct addrinfo *list;
};

static void lookup_destroy(struct lookup *l)
{
	if (l->list)
		freeaddrinfo(l->list);
	pthread_cond_destroy(&l->done_cond);
	pthread_mutex_destroy(&l->lock);
	free(l->host);
	free(l->port);
	free(l);
}

static struct lookup *lookup_create(const char *host, const char *port,
				    const struct addrinfo *hints)
{
	struct lookup *l = calloc(1, sizeof(*l));
	pthread_condattr_t attr;

	if (!l)
		return NULL;
	l->hints = *hints;
	pthread_mutex_init(&l->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&l->done_cond, &attr);
	pthread_condattr_destroy(&attr);
	l->host = strdup(host);
	l->port = strdup(port);
	if (l->host && l->port)
		return l;
	lookup_destroy(l);
	return NULL;
}

static void *look_up(void *opaque)
{
	struct lookup *l = opaque;
	struct addrinfo *list = NULL;
	int r = getaddrinfo(l->host, l->port, &l->hints, &list);
	bool abandoned;

	pthread_mutex_lock(&l->lock);
	l->result = r;
	l->list = r ? NULL : list;
	l->done = true;
	abandoned = l->abandoned;
	pthread_cond_signal(&l->done_cond);
	pthread_mutex_unlock(&l->lock);
	if (abandoned)
		lookup_destroy(l);
	return NULL;
}

static int start(struct lookup *l)
{
	pthread_attr_t attr;
	sigset_t all, old;
	pthread_t thread;
	int r;

	process_fill_blocked(&all);
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&thread, &attr, look_up, l);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	return r;
}

/* The result of getaddrinfo(), or false and @l is the thread's. */
static bool wait_for(struct lookup *l, int limit_ms, int *result, struct addrinfo **list)
{
	struct timespec end;
	bool done;

	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec += limit_ms / 1000;
	end.tv_nsec += limit_ms % 1000 * 1000000L;
	if (end.tv_nsec >= 1000000000) {
		end.tv_sec++;
		end.tv_nsec -= 1000000000;
	}
	pthread_mutex_lock(&l->lock);
	while (!l->done && pthread_cond_timedwait(&l->done_cond, &l->lock, &end) != ETIMEDOUT)
		;
	done = l->done;
	l->abandoned = !done;
	pthread_mutex_unlock(&l->lock);
	if (!done)
		return false;
	*result = l->result;
	*list = TAKE_PTR(l->list);
	lookup_destroy(l);
	return true;
}

int resolve_inet(const char *host, const char *port, bool server, int limit_ms,
		 struct addrinfo **list, struct err *e)
{
	struct addrinfo hints = {
		.ai_socktype = SOCK_STREAM,
		.ai_flags = (server ? AI_PASSIVE : 0) | AI_NUMERICHOST,
	};
	struct addrinfo *found = NULL;
	struct lookup *l;
	int r;

	r = getaddrinfo(host[0] ? host : NULL, port, &hints, &found);
	if (r == EAI_NONAME && host[0]) {
		hints.ai_flags &= ~AI_NUMERICHOST;
		l = lookup_create(host, port, &hints);
		r = l ? start(l) : ENOMEM;
		if (r) {
			if (l)
				lookup_destroy(l);
			return err_set_code(e, r, "cannot look up the address of %s", host);
		}
		if (!wait_for(l, limit_ms, &r, &found))
			return err_set(e, ETIMEDOUT,
				       "address resolution failed for %s:%s: no answer within %g s",
				       host, port, limit_ms / 1e3);
	}
	if (r)
		return err_set(e, EINVAL, "address resolution failed for %s:%s: %s", host, port,
			       gai_strerror(r));
	*list = found;
	return 0;
}
