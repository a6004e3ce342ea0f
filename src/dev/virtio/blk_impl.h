/* SPDX-License-Identifier: MIT */
/* Between the requests of a virtio-blk device (blk.c) and the device itself; private to them. */
#ifndef DEV_VIRTIO_BLK_IMPL_H
#define DEV_VIRTIO_BLK_IMPL_H

#include "dev/virtio/blk.h"

enum {
	BLK_MAX_RANGE_SECTORS = 4194303, /* of one discard, or of zeros: 2 GiB less a sector */
};

/* Hook of struct virtio_class. */
void blk_handle_queue(struct virtio *v, unsigned int index);
/* Hook of struct disk_front. */
void blk_batch_done(void *opaque);
/* Does again what was set aside. The guest goes on. */
void blk_retry(struct blk *b);
void blk_free_requests(struct blk *b);

#endif
