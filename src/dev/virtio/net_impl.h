/* SPDX-License-Identifier: MIT */
/* virtio network card (virtio 1.2, section 5.1): what its parts share (private to dev/virtio/net*.c). */
#ifndef DEV_VIRTIO_NET_IMPL_H
#define DEV_VIRTIO_NET_IMPL_H

#include <stdbool.h>
#include <stdint.h>

#include "dev/virtio/virtio.h"
#include "host/net.h"

enum {
	VNET_MAC_BYTES = 6,
	VNET_MAX_MACS = 64, /* in the filter; with more everything passes */
	VNET_HEADER = 12,   /* struct virtio_net_hdr_v1                   */
	VNET_HELD_BYTES = NET_MAX_FRAME + VNET_HEADER + 4, /* a multiple of 8            */
};

/* What of received frames the driver wants, and its own address. */
struct vnet_filter {
	uint8_t mac[VNET_MAC_BYTES];      /* in use; the driver may change it      */
	uint8_t perm_mac[VNET_MAC_BYTES]; /* after a reset                        */
	bool promisc, allmulti, alluni, nomulti, nouni, nobcast;
	bool many_uni, many_multi; /* the lists were too long: all of that kind pass */
	uint32_t nr_macs;          /* in @macs                                  */
	uint32_t nr_uni;           /* the first of them are no groups           */
	uint8_t macs[VNET_MAX_MACS * VNET_MAC_BYTES];
};
extern const struct vs_desc vnet_filter_desc;

/* Guest-visible. */
struct virtio_net_state {
	struct virtio_state virtio;
	struct vnet_filter filter;
	uint32_t pairs;          /* queue pairs in use; the first ones                  */
	uint64_t guest_offloads; /* bits as features: what received frames may need     */
	bool link_up;            /* as the driver has been told                         */
	uint8_t reserved[7];
	uint16_t rx_seen[NET_MAX_QUEUES]; /* the most buffers each queue had at a time */
	/* A frame of a tap, with its header, that waits for more buffers. */
	uint32_t held_pair;
	uint32_t held_len; /* 0: there is none */
	uint8_t held[VNET_HELD_BYTES];
};

struct vnet_host {
	struct virtio virtio;
	struct backend *backend;         /* [c] claimed                                     */
	struct net *net;                 /* [c] its object                                 */
	unsigned int max_pairs;          /* [c]                                            */
	uint16_t mtu;                    /* [c] 0: not told                                 */
	uint64_t applied_offloads;       /* [l] as the back end has them; UINT64_MAX: not known */
	unsigned int applied_pairs;      /* [l] 0: not known                             */
	bool tx_blocked[NET_MAX_QUEUES]; /* [m] until writable()                      */
	uint64_t rx_filtered, rx_dropped, tx_dropped;
	/* Scratch, so that no stack need be large and nothing be allocated while the guest runs. */
	struct iovec iov[VIRTQUEUE_MAX_SEGMENTS], more_iov[VIRTQUEUE_MAX_SEGMENTS];
	uint16_t heads[VIRTQUEUE_MAX_SIZE];
	uint32_t lens[VIRTQUEUE_MAX_SIZE];
	uint8_t bounce[NET_MAX_FRAME + VNET_HEADER];
};

struct virtio_net {
	struct device dev;
	struct virtio_net_state s;
	struct vnet_host h;
	char user[DEVICE_ID_MAX]; /* [c] how the back end calls it */
};

/* Whether the driver wants a frame to the address @to. */
bool vnet_filter_passes(const struct vnet_filter *f, const uint8_t *to);
/* After a reset: everything passes, until the driver says otherwise. */
void vnet_filter_reset(struct vnet_filter *f);
/* Takes a command of class MAC or RX; false if it is malformed, and nothing has changed. */
bool vnet_filter_command(struct vnet_filter *f, uint8_t class, uint8_t command, const uint8_t *p,
			 size_t n);

/* What received frames may need of the driver, at most: bits as features. */
uint64_t vnet_guest_offloads(const struct virtio_net *n);

/* Serves the control queue. */
void vnet_handle_ctrl(struct virtio_net *n, unsigned int index);
/* One command of @n bytes, class and command included: VIRTIO_NET_OK or VIRTIO_NET_ERR. */
uint8_t vnet_ctrl_command(struct virtio_net *n, const uint8_t *p, size_t bytes);

/* Frames from the guest, and to it: the queue pair @pair. Main loop's thread. */
void vnet_transmit(struct virtio_net *n, unsigned int pair);
void vnet_receive(struct virtio_net *n, unsigned int pair);
/* The driver has added buffers for received frames. */
void vnet_handle_rx(struct virtio_net *n, unsigned int pair);
/* Tells the back end how the driver wants frames, where that has changed. */
void vnet_apply(struct virtio_net *n);

#endif
