/* SPDX-License-Identifier: MIT */
/* Network back ends: frames to and from a tap interface, a stream socket or passt. */
#ifndef HOST_NET_H
#define HOST_NET_H

/*
 * DOC: theory of operation
 *
 * A back end moves whole Ethernet frames between its descriptors and a front end, the network
 * card of a guest. Frames are vectors of buffers, so that they are sent from and received
 * into guest memory. Where net_header_bytes() is not 0, each begins with a virtio-net
 * header of that size, in which the kernel reads and says what is left to do: checksum, segments.
 *
 * The front end asks for what it can use: while net_set_reading() is on, readable() is called as
 * long as there are frames; after net_send() said -EAGAIN writable() is called once.
 * Nothing is watched, read, accepted or connected while the guest stands still
 * (net_set_running()), so whoever has the guest next finds all of it in the descriptors,
 * but for the bytes that net_bytes_save() tells.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "base/err.h"
#include "host/loop.h"

enum {
	NET_MAX_QUEUES = 16,
	NET_MAX_ID = 64,
	NET_MAX_FRAME = 69632, /* bytes, any header included                     */
	NET_MIN_FRAME = 14,    /* Ethernet's own header                          */
	NET_VNET_HEADER = 12,  /* struct virtio_net_hdr_mrg_rxbuf                */
	NET_BYTES_MAX = NET_MAX_FRAME + 4,
	NET_MAX_PASST_ARGS = 48,
	NET_PASST_TEXT = 2048,
};

enum net_kind {
	NET_TAP,
	NET_STREAM,
	NET_PASST,
};

enum net_address {
	NET_UNIX,
	NET_INET,
	NET_FD,
};

/* What a tap does for the guest; bits for net_set_offloads(). */
enum {
	NET_OFFLOAD_CSUM = 1 << 0, /* frames may come without a checksum             */
	NET_OFFLOAD_TSO4 = 1 << 1, /* and longer than the MTU, to be cut into pieces */
	NET_OFFLOAD_TSO6 = 1 << 2,
	NET_OFFLOAD_ECN = 1 << 3,
	NET_OFFLOAD_UFO = 1 << 4,
};

enum net_switch {
	NET_AUTO,
	NET_ON,
	NET_OFF,
};

/* Descriptors of the image before, which this one goes on with. */
struct net_given {
	int fds[NET_MAX_QUEUES]; /* [0] is the connection of a stream; -1: there is none */
	unsigned int nr_fds;
	int listen_fd;               /* of a stream's server, or -1                             */
	uint64_t file_dev, file_ino; /* of the server's file, which the last image removes */
};

struct net_config {
	enum net_kind kind;
	char id[NET_MAX_ID];

	/* NET_TAP */
	char ifname[16];         /* empty: the kernel chooses one                           */
	int fds[NET_MAX_QUEUES]; /* opened by others, taken over by net_open()         */
	unsigned int nr_fds;     /* 0: opened here                                    */
	unsigned int queues;     /* 0: one                                             */
	enum net_switch vnet_hdr;
	char script[256], downscript[256]; /* run with the interface's name; empty: none */

	/* NET_STREAM */
	enum net_address address;
	bool server, abstract;
	char path[108];
	char host[256], port[32];
	int fd; /* NET_FD: taken over by net_open()                        */
	uint64_t reconnect_ms;

	/* NET_PASST: @path is the program, empty: passt; words of its command line, each with its NUL */
	char passt[NET_PASST_TEXT];
	unsigned int nr_passt;

	struct net_given *given; /* taken over on success, as far as used; NULL: cold start */
};

/* Main loop's thread, as all here. */
struct net_front {
	void (*readable)(void *opaque, unsigned int queue);
	void (*writable)(void *opaque, unsigned int queue);
	/* net_link() may have changed. */
	void (*link_changed)(void *opaque);
};

struct net_stats {
	uint64_t rx_frames, tx_frames;
	uint64_t tx_dropped; /* the peer is not there, or refused the frame             */
	uint64_t rx_dropped; /* no frame, or too long                                   */
};

struct net;

/*
 * Opens a back end of @config, which is copied; descriptors in it are taken over on success. A
 * stream's client that is to connect again need not succeed now. @told hears of connections of a
 * stream that come (@address says whose) and go (NULL); it may be NULL. A script may
 * take 30 s, passt 10 s.
 */
int net_open(struct net **out, struct loop *loop, struct net_config *config,
	     void (*told)(void *opaque, const char *address), void *opaque, struct err *e);
/*
 * @moved: the guest goes on elsewhere with copies of the descriptors: no script is run, no file
 * removed. NULL is allowed.
 */
void net_close(struct net *n, bool moved);
/* Closes what net_config or net_given hold, after a failure. */
void net_close_config(struct net_config *c);
void net_close_given(struct net_given *g);

/* Gives the back end to a front end, which is not there yet; NULL takes it away. */
void net_attach(struct net *n, const struct net_front *front, void *opaque);
/*
 * The guest runs, or stands still: then nothing moves. Off after net_open(). All that was
 * taken from the front end has been sent or is in net_bytes_save().
 */
void net_set_running(struct net *n, bool running);

const struct net_config *net_get_config(const struct net *n);
unsigned int net_queues(const struct net *n);
/* 0 or NET_VNET_HEADER. */
unsigned int net_header_bytes(const struct net *n);
/* The NET_OFFLOAD bits there are; 0 without headers. */
uint32_t net_offloads(const struct net *n);
/* The descriptors came from the image before: the kernel's settings are as it left them. */
bool net_is_given(const struct net *n);
struct net_stats net_get_stats(const struct net *n);
/* One line on where it leads, for people. */
void net_describe(const struct net *n, char *buf, size_t size);

/*
 * Sends the frame, header first if there is one: 0. A frame that the back end refuses, or that
 * nobody receives, is counted and gone: 0, too. -EAGAIN: nothing was sent, writable() comes. At most
 * IOV_MAX parts.
 */
int net_send(struct net *n, unsigned int queue, const struct iovec *iov, int cnt);
/*
 * Receives a frame into @iov, which has NET_MAX_FRAME bytes: its length, header
 * included, or -EAGAIN. Of a header the last two bytes are the caller's to set.
 */
ssize_t net_receive(struct net *n, unsigned int queue, const struct iovec *iov, int cnt);
/*
 * The frame that net_receive() has just delivered has found no room: it is received again. False
 * if this back end cannot do that.
 */
bool net_put_back(struct net *n, unsigned int queue);
void net_set_reading(struct net *n, unsigned int queue, bool on);

/* What the guest's driver can do with received frames. */
void net_set_offloads(struct net *n, uint32_t bits);
/* Frames are spread over the first @queues queues. */
void net_set_active_queues(struct net *n, unsigned int queues);

/* The operator's switch: frames go nowhere while it is off. On after net_open(). */
void net_set_link(struct net *n, bool up);
bool net_link(const struct net *n);

/*
 * Lends the descriptors the next image has to have; nothing changes here. Those there are none
 * of are -1.
 */
void net_give(const struct net *n, struct net_given *out);

/*
 * What was read from or not yet written to a stream's @connection (a number the kernel
 * has for it): at most NET_BYTES_MAX each way. Frames and parts of frames. Loading
 * changes nothing unless the connection is the one that was given.
 */
struct net_bytes {
	uint64_t connection; /* 0: there is none */
	uint32_t in_len, out_len;
	uint8_t in[NET_BYTES_MAX], out[NET_BYTES_MAX];
};
void net_bytes_save(const struct net *n, struct net_bytes *out);
void net_bytes_load(struct net *n, const struct net_bytes *b);

#endif
