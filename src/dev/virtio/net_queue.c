/* SPDX-License-Identifier: MIT */
/* virtio network card: frames from the guest and to it (virtio 1.2, sections 5.1.6.2 to 5.1.6.4). */
#include <errno.h>
#include <string.h>

#include <linux/virtio_net.h>

#include "base/util.h"
#include "dev/virtio/net_impl.h"

/*
 * DOC: theory of operation
 *
 * A frame of the guest goes to the back end from where it is in guest memory. One for the
 * guest is received into the first chain of buffers that is free; what does not fit is in
 * @bounce and copied to the next ones (VIRTIO_NET_F_MRG_RXBUF). If these are too few, the frame goes
 * back to where it came from, or, from a tap, is held until the driver has added some.
 *
 * While frames come in, the driver need not tell of each buffer it adds; while a batch goes out, not
 * of each frame.
 */

enum {
	RX_BATCH = 128,   /* frames before others have their turn              */
	MAX_PARTS = 1000, /* of a frame that need not be copied together        */
	NUM_BUFFERS = 10, /* offset in the header                               */
};

/* Leaves the first @skip bytes out of @iov in place; how many entries to leave out at its begin. */
static int skip_bytes(struct iovec *iov, int cnt, size_t skip)
{
	int i = 0;

	for (; i < cnt && skip >= iov[i].iov_len; i++)
		skip -= iov[i].iov_len;
	if (i < cnt) {
		iov[i].iov_base = (uint8_t *)iov[i].iov_base + skip;
		iov[i].iov_len -= skip;
	}
	return i;
}

/* 0: it is the back end's, or dropped. -EAGAIN. -EINVAL: the driver broke a rule. */
static int transmit_one(struct virtio_net *n, unsigned int pair, struct virtq_chain *c,
			struct err *e)
{
	struct iovec *iov = c->iov, flat = { n->h.bounce, 0 };
	int cnt = (int)c->nr_out, skipped;
	uint64_t frame = c->out_bytes - VNET_HEADER;

	if (c->out_bytes < VNET_HEADER)
		return err_set(e, EINVAL, "a frame has %llu bytes, which is no header",
			       (unsigned long long)c->out_bytes);
	if (frame < NET_MIN_FRAME || c->out_bytes > NET_MAX_FRAME) {
		n->h.tx_dropped++;
		return 0;
	}
	if (cnt > MAX_PARTS) {
		flat.iov_len = virtq_read(c, 0, n->h.bounce, c->out_bytes);
		iov = &flat;
		cnt = 1;
	}
	if (!net_header_bytes(n->h.net)) {
		skipped = skip_bytes(iov, cnt, VNET_HEADER);
		iov += skipped;
		cnt -= skipped;
	}
	return net_send(n->h.net, pair, iov, cnt);
}

void vnet_transmit(struct virtio_net *n, unsigned int pair)
{
	const unsigned int index = 2 * pair + 1;
	struct virtqueue *q = &n->h.virtio.queues[index].q;
	struct virtq_chain c = { .iov = n->h.iov };
	bool any = false;
	struct err e;
	int r = 0;

	if (n->h.tx_blocked[pair])
		return;
	virtqueue_set_notification(q, false);
	for (;;) {
		r = virtqueue_pop(q, &c, &e);
		/* One that comes now is notified, or seen here. */
		if (!r) {
			virtqueue_set_notification(q, true);
			if (!virtqueue_has_avail(q))
				break;
			virtqueue_set_notification(q, false);
			continue;
		}
		if (r < 0)
			break;
		r = transmit_one(n, pair, &c, &e);
		if (r == -EAGAIN) {
			virtqueue_unpop(q);
			n->h.tx_blocked[pair] = true;
			r = 0;
			break;
		}
		if (r) {
			virtqueue_unpop(q);
			break;
		}
		virtqueue_push(q, c.head, 0);
		any = true;
	}
	if (any)
		virtio_notify(&n->h.virtio, index);
	if (r < 0)
		virtio_broken(&n->h.virtio, &e);
}

/*
 * Puts the @rest bytes of a frame, which are in @bounce, into further chains; the first one, @c, is
 * full. Their number, -ENOBUFS if there are not enough, -EINVAL if the ring is broken. On
 * failure only @c is left as taken.
 */
static int spread(struct virtio_net *n, struct virtqueue *q, const struct virtq_chain *c,
		  size_t rest, struct err *e)
{
	struct virtq_chain more = { .iov = n->h.more_iov };
	const uint8_t *p = n->h.bounce;
	int nr = 1, r = 1;

	n->h.heads[0] = c->head;
	n->h.lens[0] = (uint32_t)c->in_bytes;
	while (rest) {
		size_t part;

		r = nr < VIRTQUEUE_MAX_SIZE ? virtqueue_pop(q, &more, e) : 0;
		if (r <= 0)
			break;
		part = virtq_write(&more, 0, p, rest);
		n->h.heads[nr] = more.head;
		n->h.lens[nr++] = (uint32_t)part;
		p += part;
		rest -= part;
		/* One that only the device reads is no buffer. */
		if (!part) {
			r = err_set(e, EINVAL, "a buffer for received frames cannot be written");
			break;
		}
	}
	if (r > 0)
		return nr;
	while (--nr)
		virtqueue_unpop(q);
	return r ? r : -ENOBUFS;
}

/*
 * A received frame of @len bytes, header included, is in @c's buffers, and the rest of it in
 * @bounce. -ENOBUFS if that finds no room.
 */
static int deliver(struct virtio_net *n, struct virtqueue *q, struct virtq_chain *c, size_t len,
		   struct err *e)
{
	uint8_t num[2];
	int nr = 1;

	if (len > c->in_bytes) {
		if (!virtio_has(&n->h.virtio, VIRTIO_NET_F_MRG_RXBUF))
			return -EMSGSIZE;
		nr = spread(n, q, c, len - c->in_bytes, e);
		if (nr < 0)
			return nr;
	} else {
		n->h.heads[0] = c->head;
		n->h.lens[0] = (uint32_t)len;
	}
	num[0] = (uint8_t)nr;
	num[1] = (uint8_t)(nr >> 8);
	virtq_write(c, NUM_BUFFERS, num, sizeof(num));
	for (int i = 0; i < nr; i++)
		virtqueue_fill(q, n->h.heads[i], n->h.lens[i]);
	virtqueue_publish(q);
	return 0;
}

/* Receives a frame into @c's buffers and @bounce; its length with header, or -EAGAIN. */
static ssize_t receive_frame(struct virtio_net *n, unsigned int pair, struct virtq_chain *c)
{
	const size_t gap = VNET_HEADER - net_header_bytes(n->h.net);
	static const uint8_t zeros[VNET_HEADER];
	struct iovec *iov = n->h.more_iov;
	int cnt = (int)c->nr_in, skipped;
	size_t done;
	ssize_t len;

	if (cnt > MAX_PARTS) {
		iov[0] = (struct iovec){ n->h.bounce, NET_MAX_FRAME };
		len = net_receive(n->h.net, pair, iov, 1);
		if (len < 0)
			return len;
		virtq_write(c, 0, zeros, gap);
		done = virtq_write(c, gap, n->h.bounce, (size_t)len);
		memmove(n->h.bounce, n->h.bounce + done, (size_t)len - done);
		return len + (ssize_t)gap;
	}
	memcpy(iov, c->iov + c->nr_out, (size_t)cnt * sizeof(*iov));
	skipped = skip_bytes(iov, cnt, gap);
	iov[cnt] = (struct iovec){ n->h.bounce, NET_MAX_FRAME };
	len = net_receive(n->h.net, pair, iov + skipped, cnt + 1 - skipped);
	if (len < 0)
		return len;
	virtq_write(c, 0, zeros, gap);
	return len + (ssize_t)gap;
}

/* Copies what is at @offset of @c's buffers and then of @bounce. */
static void read_back(const struct virtio_net *n, const struct virtq_chain *c, size_t offset,
		      uint8_t *to, size_t bytes)
{
	const struct iovec *iov = c->iov + c->nr_out;

	for (unsigned int i = 0; i <= c->nr_in && bytes; i++) {
		const uint8_t *base = i < c->nr_in ? iov[i].iov_base : n->h.bounce;
		size_t len = i < c->nr_in ? iov[i].iov_len : NET_MAX_FRAME;

		if (offset >= len) {
			offset -= len;
			continue;
		}
		len = MIN(len - offset, bytes);
		memcpy(to, base + offset, len);
		to += len;
		bytes -= len;
		offset = 0;
	}
}

/*
 * There are too few buffers for a frame that was received. It waits for more; unless there are as many as there
 * ever were, or another one waits.
 */
static int set_aside(struct virtio_net *n, unsigned int pair, const struct virtq_chain *c,
		     size_t len)
{
	struct virtqueue *q = &n->h.virtio.queues[2 * pair].q;
	bool hopeless = virtqueue_nr_avail(q) + 1u >= n->s.rx_seen[pair];

	if (!hopeless && net_put_back(n->h.net, pair)) {
		virtqueue_unpop(q);
		return -ENOBUFS;
	}
	if (hopeless || n->s.held_len) {
		n->h.rx_dropped++;
		virtqueue_unpop(q);
		return 1;
	}
	read_back(n, c, 0, n->s.held, len);
	n->s.held_len = (uint32_t)len;
	n->s.held_pair = pair;
	virtqueue_unpop(q);
	return -ENOBUFS;
}

/* The frame that waited. Results as receive_one(), but for 0. */
static int deliver_held(struct virtio_net *n, unsigned int pair, struct virtq_chain *c,
			struct err *e)
{
	struct virtqueue *q = &n->h.virtio.queues[2 * pair].q;
	size_t done = virtq_write(c, 0, n->s.held, n->s.held_len);
	int r;

	memcpy(n->h.bounce, n->s.held + done, n->s.held_len - done);
	r = deliver(n, q, c, n->s.held_len, e);
	if (r)
		virtqueue_unpop(q);
	if (r == -ENOBUFS && virtqueue_nr_avail(q) < n->s.rx_seen[pair])
		return r;
	n->s.held_len = 0;
	if (r == -EMSGSIZE || r == -ENOBUFS)
		n->h.rx_dropped++;
	return r == -EINVAL ? r : 1;
}

/*
 * 1: a frame was delivered or dropped. 0: there is no frame. -ENOBUFS: there is one, and too few
 * buffers. -EINVAL: the driver broke a rule. If nothing was delivered @c was given back.
 */
static int receive_one(struct virtio_net *n, unsigned int pair, struct virtq_chain *c,
		       struct err *e)
{
	struct virtqueue *q = &n->h.virtio.queues[2 * pair].q;
	uint8_t to[VNET_MAC_BYTES];
	ssize_t len;
	int r;

	if (c->in_bytes < VNET_HEADER) {
		virtqueue_unpop(q);
		return err_set(e, EINVAL, "a buffer for received frames has %llu bytes",
			       (unsigned long long)c->in_bytes);
	}
	if (n->s.held_len && n->s.held_pair == pair)
		return deliver_held(n, pair, c, e);
	len = receive_frame(n, pair, c);
	if (len < 0) {
		virtqueue_unpop(q);
		return 0;
	}
	read_back(n, c, VNET_HEADER, to, sizeof(to));
	if (!vnet_filter_passes(&n->s.filter, to)) {
		n->h.rx_filtered++;
		virtqueue_unpop(q);
		return 1;
	}
	r = deliver(n, q, c, (size_t)len, e);
	if (r == -ENOBUFS)
		return set_aside(n, pair, c, (size_t)len);
	if (r)
		virtqueue_unpop(q);
	if (r == -EMSGSIZE)
		n->h.rx_dropped++;
	return r == -EINVAL ? r : 1;
}

/* Stops reading until the driver adds a buffer to the @had; true if it has done so already. */
static bool more_than(struct virtio_net *n, unsigned int pair, struct virtqueue *q, uint16_t had)
{
	if (virtqueue_await_more(q) > had) {
		virtqueue_set_notification(q, false);
		return true;
	}
	net_set_reading(n->h.net, pair, false);
	return false;
}

void vnet_receive(struct virtio_net *n, unsigned int pair)
{
	const unsigned int index = 2 * pair;
	struct virtqueue *q = &n->h.virtio.queues[index].q;
	struct virtq_chain c = { .iov = n->h.iov };
	bool any = false;
	struct err e;
	int r = 1;

	if (!virtio_is_live(&n->h.virtio) || pair >= n->s.pairs || !q->avail) {
		net_set_reading(n->h.net, pair, false);
		return;
	}
	virtqueue_set_notification(q, false);
	for (unsigned int i = 0; r > 0 && i < RX_BATCH; i++) {
		uint16_t had = virtqueue_nr_avail(q);

		n->s.rx_seen[pair] = MAX(n->s.rx_seen[pair], had);
		r = virtqueue_pop(q, &c, &e);
		if (r > 0)
			r = receive_one(n, pair, &c, &e);
		else if (!r)
			r = -ENOBUFS;
		any = any || r > 0;
		if (r == -ENOBUFS)
			r = more_than(n, pair, q, had) ? 1 : 0;
	}
	if (any)
		virtio_notify(&n->h.virtio, index);
	if (r < 0) {
		net_set_reading(n->h.net, pair, false);
		virtio_broken(&n->h.virtio, &e);
	}
}

void vnet_handle_rx(struct virtio_net *n, unsigned int pair)
{
	struct virtqueue *q = &n->h.virtio.queues[2 * pair].q;

	if (n->s.held_len && n->s.held_pair == pair) {
		/* Bounded by itself; a budget could leave too few buffers for the frame. */
		q->limited = false;
		vnet_receive(n, pair);
		/* It still waits, for the buffer that the driver has just been asked to tell of. */
		if (n->s.held_len && n->s.held_pair == pair)
			return;
	}
	if (virtqueue_nr_avail(q) || more_than(n, pair, q, 0)) {
		virtqueue_set_notification(q, false);
		net_set_reading(n->h.net, pair, true);
	}
}
