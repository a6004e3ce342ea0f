/* SPDX-License-Identifier: MIT */
/* virtio-blk (virtio 1.2, section 5.2): a disk. */
#ifndef DEV_VIRTIO_BLK_H
#define DEV_VIRTIO_BLK_H

/*
 * DOC: theory of operation
 *
 * A request is taken from a ring and goes to the image with the guest's memory in place; several are
 * under way, and each is given back when it is done. While the guest is stopped for an update
 * nothing is taken, and quiesce() waits for what is under way. So no request is in flight
 * when the state is saved.
 *
 * A request that fails on the host, where the operator wants the guest to be stopped then, is
 * set aside: its head is noted in the state, and it is read from the ring and done again when the
 * guest goes on, here or after an update.
 *
 * The capacity is what the guest was told when the device was made, or when the drive was resized. It
 * is state: an image that has become shorter is refused.
 */

#include <stdbool.h>
#include <stdint.h>

#include "dev/virtio/virtio.h"
#include "host/disk.h"
#include "machine/backend.h"
#include "machine/boot_order.h"
#include "machine/device_type.h"

enum {
	BLK_MAX_QUEUES = 32,
	BLK_HEAD_WORDS = VIRTQUEUE_MAX_SIZE / 64,
};

/* Guest-visible. */
struct blk_state {
	struct virtio_state virtio;
	uint64_t capacity;    /* in units of 512 bytes                         */
	uint32_t block_bytes; /* of a logical block: a power of two            */
	bool writeback;       /* there is a cache of writes, which the driver flushes */
	uint8_t reserved[3];
	uint64_t aside[BLK_MAX_QUEUES * BLK_HEAD_WORDS]; /* bit for each head that was set aside */
};

struct blk_request {
	struct disk_request io;
	struct blk *blk;
	struct blk_request *next;   /* of the free, the plugged, or the merged ones */
	struct blk_request *merged; /* of one that carries others: the first */
	uint16_t queue, head;
	uint32_t in_bytes;
	uint8_t *status; /* in guest memory */
	struct iovec iov[VIRTQUEUE_MAX_SEGMENTS];
};

/* Reads or writes that follow one another on the disk, not yet submitted. */
struct blk_plug {
	struct blk_request *first, *last;
	unsigned int nr, nr_iov;
	uint64_t bytes;
};

struct blk_host {
	struct virtio virtio;
	struct backend *backend; /* claimed; NULL: not yet                       */
	struct disk *disk;       /* its image                                    */
	struct blk_request *free;
	struct blk_plug plug;     /* empty but while a queue is looked at            */
	uint32_t filled;          /* bit for each queue that has something to publish */
	uint32_t short_of_memory; /* bit for each queue that waits for some         */
	uint32_t retry;           /* bit for each queue with requests set aside to try again */
	uint64_t told_ns;         /* when an error was last told                    */
	uint32_t physical_block, seg_max;
	enum disk_on_error rerror, werror;
	bool resetting; /* what is in flight is waited for, and not looked at */
	bool share_write;
	bool merging;
	bool initial_writeback;
	char serial[DISK_SERIAL_MAX];
	struct boot_entry boot;
};

struct blk {
	struct device dev;
	struct blk_state s;
	struct blk_host h;
};

extern const struct device_class blk_class;
extern const struct device_type blk_type;

#endif
