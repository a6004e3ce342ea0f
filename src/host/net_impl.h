/* SPDX-License-Identifier: MIT */
/* What the kinds of network back ends share (private to host/net*.c). */
#ifndef HOST_NET_IMPL_H
#define HOST_NET_IMPL_H

#include "host/net.h"

struct net_ops {
	int (*send)(struct net *n, unsigned int queue, const struct iovec *iov, int cnt);
	ssize_t (*receive)(struct net *n, unsigned int queue, const struct iovec *iov, int cnt);
	/* The last frame received was not taken. NULL: it is gone. */
	void (*put_back)(struct net *n);
	/* The queue's descriptor has room again; true: the front end may send. NULL: always. */
	bool (*flush)(struct net *n);
	/* A frame is there without a look at the descriptor. NULL: never. */
	bool (*has_frame)(const struct net *n);
	/* The queue's descriptor reports an error, and is not watched any more. */
	void (*failed)(struct net *n, unsigned int queue);
	/* net->running has changed. NULL: no matter. */
	void (*run_changed)(struct net *n);
	void (*set_offloads)(struct net *n, uint32_t bits);     /* or NULL */
	void (*set_active)(struct net *n, unsigned int queues); /* or NULL */
	void (*describe)(const struct net *n, char *buf, size_t size);
	void (*give)(const struct net *n, struct net_given *out); /* what is no queue's */
	void (*save)(const struct net *n, struct net_bytes *out); /* or NULL */
	void (*load)(struct net *n, const struct net_bytes *b);   /* or NULL */
	void (*close)(struct net *n, bool moved);
};

struct net_queue {
	struct net *net;
	unsigned int index;
	int fd; /* owned; -1: nobody is connected                           */
	struct loop_fd watch;
	uint32_t watched; /* EPOLL* bits                                     */
	bool reading;     /* the front end takes frames                      */
	bool blocked;     /* it waits for writable()                         */
};

struct net {
	struct loop *loop;
	struct net_config config;
	const struct net_ops *ops;
	void *own; /* the kind's */
	const struct net_front *front;
	void *front_opaque;
	void (*told)(void *opaque, const char *address);
	void *told_opaque;
	bool running, link, given;
	unsigned int header_bytes;
	uint32_t offloads;
	unsigned int nr_queues;
	struct net_queue queues[NET_MAX_QUEUES];
	struct loop_work again; /* frames are there that no descriptor tells of */
	struct net_stats stats;
};

int net_open_tap(struct net *n, struct err *e);
int net_open_stream(struct net *n, struct err *e);
/* Starts passt; n->queues[0] is its connection. */
int net_open_passt(struct net *n, struct err *e);

/* Watches for what the front end waits for. */
void net_update_watch(struct net_queue *q);
/* The queue has another descriptor, or none (-1); the old one is not closed. */
void net_set_fd(struct net_queue *q, int fd);
size_t net_iov_bytes(const struct iovec *iov, int cnt);

/*
 * Runs @argv and waits until it ends, at most @timeout_ms. Of this process's descriptors it gets the
 * standard ones and @keep_fd, if that is >= 0, under its number. An error has what it said at last.
 */
int net_run_command(char *const *argv, int keep_fd, int timeout_ms, struct err *e);

#endif
