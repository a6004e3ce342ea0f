/* SPDX-License-Identifier: MIT */
/* Network back ends on a tap interface, with one queue or several. */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "host/net_impl.h"
#include "host/process.h"

/*
 * DOC: theory of operation
 *
 * Each queue is a descriptor of the same interface. The kernel spreads frames over those that are
 * attached. A descriptor that is handed over keeps what was set on it, and the interface
 * stays up as long as one is open: nothing is set again on the new side.
 */

#define TUN_PATH "/dev/net/tun"

enum {
	SCRIPT_MS = 30000
};

struct tap {
	char name[IFNAMSIZ];
	bool opened; /* by this program or the one before: it runs scripts */
};

static int send_tap(struct net *n, unsigned int queue, const struct iovec *iov, int cnt)
{
	ssize_t r;

	do
		r = writev(n->queues[queue].fd, iov, cnt);
	while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : 0;
}

static void tap_failed(struct net *n, unsigned int queue)
{
	struct tap *t = n->own;
	bool was_blocked = n->queues[queue].blocked;

	log_error("netdev '%s': queue %u of tap '%s' is gone", n->config.id, queue, t->name);
	/* The descriptor stays: it is what the next image is told of. */
	n->queues[queue].reading = n->queues[queue].blocked = false;
	net_update_watch(&n->queues[queue]);
	/* Frames that wait for it are dropped, so that those to come are tried. */
	if (was_blocked && n->front)
		n->front->writable(n->front_opaque, queue);
}

static ssize_t receive_tap(struct net *n, unsigned int queue, const struct iovec *iov, int cnt)
{
	ssize_t r;

	do
		r = readv(n->queues[queue].fd, iov, cnt);
	while (r < 0 && errno == EINTR);
	if (r >= 0)
		return r;
	if (errno != EAGAIN)
		tap_failed(n, queue);
	return -EAGAIN;
}

static void set_offloads(struct net *n, uint32_t bits)
{
	static const struct {
		uint32_t ours, kernels;
	} map[] = {
		{ NET_OFFLOAD_CSUM, TUN_F_CSUM }, { NET_OFFLOAD_TSO4, TUN_F_TSO4 },
		{ NET_OFFLOAD_TSO6, TUN_F_TSO6 }, { NET_OFFLOAD_ECN, TUN_F_TSO_ECN },
		{ NET_OFFLOAD_UFO, TUN_F_UFO },
	};
	unsigned long flags = 0;

	if (!n->header_bytes)
		return;
	for (size_t i = 0; i < ARRAY_SIZE(map); i++)
		if (bits & map[i].ours)
			flags |= map[i].kernels;
	if (ioctl(n->queues[0].fd, TUNSETOFFLOAD, flags) < 0)
		log_error("netdev '%s': the kernel refuses offloads 0x%x: %m", n->config.id, bits);
}

static void set_active(struct net *n, unsigned int queues)
{
	/* A tap of one queue knows no other way. */
	for (unsigned int i = 0; n->nr_queues > 1 && i < n->nr_queues; i++) {
		struct ifreq ifr = { .ifr_flags =
					     i < queues ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE };

		/* EINVAL: it is so already; the image before may have seen to it. */
		if (ioctl(n->queues[i].fd, TUNSETQUEUE, &ifr) < 0 && errno != EINVAL)
			log_error("netdev '%s': queue %u cannot be switched: %m", n->config.id, i);
	}
}

static void describe(const struct net *n, char *buf, size_t size)
{
	const struct tap *t = n->own;

	snprintf(buf, size, "type=tap,ifname=%s,queues=%u,script=%s,downscript=%s", t->name,
		 n->nr_queues, n->config.script[0] ? n->config.script : "no",
		 n->config.downscript[0] ? n->config.downscript : "no");
}

static void give(const struct net *n, struct net_given *out)
{
	(void)n;
	(void)out;
}

static int run_script(const struct net *n, const char *script, struct err *e)
{
	const struct tap *t = n->own;
	char path[sizeof(n->config.script)], name[IFNAMSIZ];
	char *const argv[] = { path, name, NULL };

	snprintf(path, sizeof(path), "%s", script);
	snprintf(name, sizeof(name), "%s", t->name);
	return net_run_command(argv, -1, SCRIPT_MS, e);
}

static void close_tap(struct net *n, bool moved)
{
	struct tap *t = n->own;
	struct err e;

	if (!moved && t->opened && n->config.downscript[0] &&
	    run_script(n, n->config.downscript, &e))
		log_error("netdev '%s': network script: %s", n->config.id, e.msg);
	free(t);
}

static const struct net_ops tap_ops = {
	.send = send_tap,
	.receive = receive_tap,
	.failed = tap_failed,
	.set_offloads = set_offloads,
	.set_active = set_active,
	.describe = describe,
	.give = give,
	.close = close_tap,
};

/* What is known of descriptor @fd: it is a tap that carries nothing but frames. */
static int look_at(int fd, struct ifreq *ifr, struct err *e)
{
	int r = process_check_fd(fd, e);

	if (r)
		return r;
	memset(ifr, 0, sizeof(*ifr));
	if (ioctl(fd, TUNGETIFF, ifr) < 0)
		return err_set_errno(e, "descriptor %d is no tap", fd);
	if (!(ifr->ifr_flags & IFF_TAP) || !(ifr->ifr_flags & IFF_NO_PI))
		return err_set(
			e, EINVAL,
			"descriptor %d is a tun, or a tap without IFF_NO_PI: its packets are "
			"no Ethernet frames",
			fd);
	return 0;
}

static int set_header(struct net *n, bool present, struct err *e)
{
	int size = NET_VNET_HEADER, now = 0;

	if (!present && n->config.vnet_hdr == NET_ON)
		return err_set(e, ENOTSUP,
			       "vnet_hdr=on, but the tap was opened without IFF_VNET_HDR");
	if (!present)
		return 0;
	for (unsigned int i = 0; i < n->nr_queues; i++) {
		/* A queue that is detached has what it was given before. */
		if (!ioctl(n->queues[i].fd, TUNGETVNETHDRSZ, &now) && now == size)
			continue;
		if (ioctl(n->queues[i].fd, TUNSETVNETHDRSZ, &size) < 0 && !n->given)
			return err_set_errno(e, "the kernel knows no virtio-net header of %d bytes",
					     size);
	}
	n->header_bytes = NET_VNET_HEADER;
	n->offloads = NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO4 | NET_OFFLOAD_TSO6 | NET_OFFLOAD_ECN;
	return 0;
}

/* Descriptors that others opened, in their order; they stay the caller's if this fails. */
static int adopt(struct net *n, const int *fds, unsigned int nr, struct err *e)
{
	struct tap *t = n->own;
	bool header = true;
	struct ifreq ifr;
	int r;

	for (unsigned int i = 0; i < nr; i++) {
		r = look_at(fds[i], &ifr, e);
		/* A detached queue belongs to no interface; the first one is never detached. */
		if (r == -EBADFD && i && n->given)
			continue;
		if (r)
			return r;
		if (i && strncmp(ifr.ifr_name, t->name, sizeof(t->name)))
			return err_set(
				e, EINVAL,
				"descriptors %d and %d are of two interfaces, '%s' and '%.*s'",
				fds[0], fds[i], t->name, IFNAMSIZ, ifr.ifr_name);
		snprintf(t->name, sizeof(t->name), "%.*s", IFNAMSIZ - 1, ifr.ifr_name);
		if (!(ifr.ifr_flags & IFF_VNET_HDR))
			header = false;
	}
	if (nr > 1 && !(ifr.ifr_flags & IFF_MULTI_QUEUE) && !n->given)
		return err_set(e, EINVAL, "tap '%s' was made without multi_queue", t->name);
	for (unsigned int i = 0; i < nr; i++) {
		n->queues[i].fd = fds[i];
		fcntl(fds[i], F_SETFD, FD_CLOEXEC);
		fcntl(fds[i], F_SETFL, fcntl(fds[i], F_GETFL) | O_NONBLOCK);
	}
	n->nr_queues = nr;
	return set_header(n, header, e);
}

static int open_queue(struct net *n, bool header, int *out, struct err *e)
{
	const unsigned int nr = MAX(n->config.queues, 1u);
	struct tap *t = n->own;
	AUTO_CLOSE int fd = open(TUN_PATH, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	struct ifreq ifr = { 0 };

	if (fd < 0)
		return err_set_errno(e, "cannot open %s", TUN_PATH);
	ifr.ifr_flags = (short)(IFF_TAP | IFF_NO_PI | (header ? IFF_VNET_HDR : 0) |
				(nr > 1 ? IFF_MULTI_QUEUE : 0));
	memcpy(ifr.ifr_name, t->name, sizeof(t->name));
	if (ioctl(fd, TUNSETIFF, &ifr) < 0) {
		if (errno == EINVAL)
			return err_set_errno(
				e,
				"cannot open tap '%s' with %u queues: one that is there "
				"has to be a tap, with multi_queue just if there are "
				"several",
				t->name, nr);
		return err_set_errno(e, "cannot open tap '%s'", t->name[0] ? t->name : "tap%d");
	}
	memcpy(t->name, ifr.ifr_name, sizeof(t->name));
	t->name[sizeof(t->name) - 1] = '\0';
	*out = take_fd(&fd);
	return 0;
}

static int open_new(struct net *n, struct err *e)
{
	const unsigned int nr = MAX(n->config.queues, 1u);
	bool header = n->config.vnet_hdr != NET_OFF;
	struct tap *t = n->own;
	int r;

	snprintf(t->name, sizeof(t->name), "%s", n->config.ifname[0] ? n->config.ifname : "tap%d");
	for (unsigned int i = 0; i < nr; i++) {
		r = open_queue(n, header, &n->queues[i].fd, e);
		if (r)
			return r;
		n->nr_queues = i + 1;
	}
	r = set_header(n, header, e);
	if (!r && n->config.script[0]) {
		r = run_script(n, n->config.script, e);
		if (r)
			return err_prefix(e, "network script");
	}
	return r;
}

int net_open_tap(struct net *n, struct err *e)
{
	const struct net_given *given = n->config.given;
	struct tap *t = calloc(1, sizeof(*t));
	int r;

	if (!t)
		return err_set(e, ENOMEM, "no memory for a tap");
	n->ops = &tap_ops;
	n->own = t;
	t->opened = !n->config.nr_fds;
	if (given)
		r = adopt(n, given->fds, given->nr_fds, e);
	else if (n->config.nr_fds)
		r = adopt(n, n->config.fds, n->config.nr_fds, e);
	else
		r = open_new(n, e);
	if (!r)
		return 0;
	for (unsigned int i = 0; !given && !n->config.nr_fds && i < n->nr_queues; i++)
		close_fd(&n->queues[i].fd);
	free(t);
	return r;
}
