/* SPDX-License-Identifier: MIT */
/* virtio network card: the control queue (virtio 1.2, section 5.1.6.5). */
#include <errno.h>
#include <linux/virtio_net.h>

#include "base/util.h"
#include "dev/virtio/net_impl.h"

#define BIT(n) (UINT64_C(1) << (n))

static uint8_t set_pairs(struct virtio_net *n, uint8_t command, const uint8_t *p, size_t bytes)
{
	uint32_t pairs;

	if (!virtio_has(&n->h.virtio, VIRTIO_NET_F_MQ) ||
	    command != VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET || bytes != 2)
		return VIRTIO_NET_ERR;
	pairs = p[0] | (uint32_t)p[1] << 8;
	if (!pairs || pairs > n->h.max_pairs)
		return VIRTIO_NET_ERR;
	n->s.pairs = pairs;
	vnet_apply(n);
	for (unsigned int i = 0; i < 2 * pairs; i++)
		virtio_kick(&n->h.virtio, i);
	return VIRTIO_NET_OK;
}

static uint8_t set_offloads(struct virtio_net *n, uint8_t command, const uint8_t *p, size_t bytes)
{
	uint64_t bits = 0;

	if (!virtio_has(&n->h.virtio, VIRTIO_NET_F_CTRL_GUEST_OFFLOADS) ||
	    command != VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET || bytes != 8)
		return VIRTIO_NET_ERR;
	for (unsigned int i = 0; i < 8; i++)
		bits |= (uint64_t)p[i] << 8 * i;
	if (bits & ~vnet_guest_offloads(n))
		return VIRTIO_NET_ERR;
	n->s.guest_offloads = bits;
	vnet_apply(n);
	return VIRTIO_NET_OK;
}

static uint8_t filter(struct virtio_net *n, const uint8_t *p, size_t bytes)
{
	static const unsigned int needed[2][6] = {
		{ VIRTIO_NET_F_CTRL_RX, VIRTIO_NET_F_CTRL_RX, VIRTIO_NET_F_CTRL_RX_EXTRA,
		  VIRTIO_NET_F_CTRL_RX_EXTRA, VIRTIO_NET_F_CTRL_RX_EXTRA,
		  VIRTIO_NET_F_CTRL_RX_EXTRA },
		{ VIRTIO_NET_F_CTRL_RX, VIRTIO_NET_F_CTRL_MAC_ADDR },
	};

	if (p[1] >= ARRAY_SIZE(needed[0]) || !needed[p[0]][p[1]] ||
	    !virtio_has(&n->h.virtio, needed[p[0]][p[1]]))
		return VIRTIO_NET_ERR;
	return vnet_filter_command(&n->s.filter, p[0], p[1], p + 2, bytes - 2) ? VIRTIO_NET_OK
									       : VIRTIO_NET_ERR;
}

uint8_t vnet_ctrl_command(struct virtio_net *n, const uint8_t *p, size_t bytes)
{
	if (bytes < 2)
		return VIRTIO_NET_ERR;
	switch (p[0]) {
	case VIRTIO_NET_CTRL_RX:
	case VIRTIO_NET_CTRL_MAC:
		return filter(n, p, bytes);
	case VIRTIO_NET_CTRL_MQ:
		return set_pairs(n, p[1], p + 2, bytes - 2);
	case VIRTIO_NET_CTRL_GUEST_OFFLOADS:
		return set_offloads(n, p[1], p + 2, bytes - 2);
	default:
		return VIRTIO_NET_ERR;
	}
}

void vnet_handle_ctrl(struct virtio_net *n, unsigned int index)
{
	struct virtqueue *q = &n->h.virtio.queues[index].q;
	struct virtq_chain c = { .iov = n->h.more_iov };
	bool any = false;
	struct err e;
	int r;

	while ((r = virtqueue_pop(q, &c, &e)) > 0) {
		uint8_t *p = n->h.bounce;
		uint8_t ack = VIRTIO_NET_ERR;

		if (c.out_bytes < 2 || !c.in_bytes) {
			r = err_set(&e, EINVAL, "a command has %llu bytes, and %llu for the answer",
				    (unsigned long long)c.out_bytes,
				    (unsigned long long)c.in_bytes);
			virtqueue_unpop(q);
			break;
		}
		if (c.out_bytes <= sizeof(n->h.bounce))
			ack = vnet_ctrl_command(n, p, virtq_read(&c, 0, p, c.out_bytes));
		virtq_write(&c, 0, &ack, 1);
		virtqueue_push(q, c.head, 1);
		any = true;
	}
	if (any)
		virtio_notify(&n->h.virtio, index);
	if (r < 0)
		virtio_broken(&n->h.virtio, &e);
}
