/* SPDX-License-Identifier: MIT */
/* virtio-rng (virtio 1.2, section 5.4): random bytes for the guest. */
#ifndef DEV_VIRTIO_RNG_H
#define DEV_VIRTIO_RNG_H

/*
 * DOC: theory of operation
 *
 * The driver makes buffers available, the device fills them with the kernel's random bytes, at most
 * RNG_CHUNK of each, so that a large one does not hold the main loop up. Nothing is ever in flight.
 *
 * With max-bytes it gives so many in each period; what is left of that is state. A period begins
 * when the first byte of it is given, and anew when the guest goes on after a stop.
 */

#include <stdbool.h>
#include <stdint.h>

#include "dev/virtio/virtio.h"
#include "host/loop.h"
#include "machine/device_type.h"

enum {
	RNG_QUEUE_SIZE = 8,
	RNG_CHUNK = 65536,
};

struct rng_config {
	struct virtio_config virtio;
	uint64_t max_bytes; /* in a period; INT64_MAX: as many as are wanted */
	uint64_t period_ms;
};

/* Guest-visible. */
struct rng_state {
	struct virtio_state virtio;
	uint64_t left; /* bytes that may still be given in this period */
};

struct rng {
	struct device dev;
	struct rng_state s;
	struct {
		struct virtio virtio;
		struct loop_timer timer;                  /* [l] to the end of the period   */
		uint64_t max_bytes, period_ns;            /* [c]                            */
		struct iovec iov[VIRTQUEUE_MAX_SEGMENTS]; /* of the chain at hand */
	} h;
};

extern const struct device_class rng_class;
extern const struct device_type rng_type;

#endif
