/* SPDX-License-Identifier: MIT */
/* Split virtqueues (virtio 1.2, section 2.7): the device's side of a ring in guest memory. */
#ifndef DEV_VIRTIO_VIRTQUEUE_H
#define DEV_VIRTIO_VIRTQUEUE_H

/*
 * DOC: theory of operation
 *
 * Everything in guest memory is hostile and may change any time: a descriptor is copied
 * once, then checked, then used. A ring that breaks the rules (a loop, an index out of range, memory
 * that is no RAM) is no error of ours: virtqueue_pop() says so once, and the device asks its driver for
 * a reset.
 *
 * A device takes chains until there is none, and gives each back once, in any order:
 *
 *	while ((r = virtqueue_pop(q, &chain, &e)) > 0) {
 *		...
 *		virtqueue_push(q, chain.head, bytes);
 *	}
 *
 * When virtqueue_pop() finds nothing it leaves the ring such that the driver notifies of the next
 * chain, unless the device has switched notifications off.
 *
 * Indices run freely modulo 65536. What the driver writes before its index is read with
 * acquire, what the device writes before its own is written with release; between writing an index
 * and reading the other side's wish to be told of it stands a full barrier.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/err.h"
#include "machine/memmap.h"
#include "state/vmstate.h"

enum {
	VIRTQUEUE_MAX_SIZE = 1024,
	VIRTQUEUE_MAX_SEGMENTS = 1026, /* of one chain, all parts */
};

/* Guest-visible. */
struct virtqueue_state {
	uint64_t desc, driver, device; /* guest-physical addresses of the three parts */
	uint32_t size;                 /* entries: a power of two up to the maximum     */
	uint16_t vector;               /* MSI-X vector or PCI_NO_VECTOR                 */
	uint16_t last_avail;           /* free-running: the next one to take            */
	uint16_t used;                 /* free-running: the next one to give back       */
	uint16_t signalled;            /* value of @used at the last interrupt          */
	bool signalled_valid;
	bool enabled;
	uint16_t reserved;
};
extern const struct vs_desc virtqueue_state_desc;

/* All with the machine lock held; [c] constant. */
struct virtqueue {
	const struct memmap *mem;  /* [c]                                   */
	struct virtqueue_state *s; /* [c] in the device's state             */
	uint32_t max_size;         /* [c] what it offers                    */
	bool event_idx, indirect;  /* negotiated                            */
	/* Host addresses of the parts while the queue is mapped, else NULL. */
	const uint8_t *desc;
	uint8_t *avail, *used;
	unsigned int in_flight; /* taken and not given back */
	unsigned int hint;      /* the range of memory that the last address was in */
	bool silent;            /* the device wants no notifications                */
	bool limited;           /* see virtqueue_begin()                            */
	unsigned int budget;    /* chains that may still be taken if @limited       */
	bool broken;            /* virtqueue_pop() has said why                     */
};

/*
 * A chain the driver has made available. Segments are host addresses, valid as long as the machine;
 * @iov has first what the device reads, then what it writes.
 */
struct virtq_chain {
	uint16_t head;
	unsigned int nr_out, nr_in; /* entries of @iov, none of them empty */
	uint64_t out_bytes, in_bytes;
	struct iovec *iov; /* given by the caller: VIRTQUEUE_MAX_SEGMENTS entries */
};

/*
 * Finds the parts of an enabled queue in memory, from what @s says; false, and the queue has nothing
 * to take, if its size is no power of two up to @max_size, or a part is misaligned or not in
 * RAM that a device can write. Also after a load; guest memory is not touched.
 */
bool virtqueue_map(struct virtqueue *q);
/* Forgets the parts: there is nothing to take, and what is pushed is dropped. */
void virtqueue_unmap(struct virtqueue *q);
/* Power-on state, unmapped; nothing is in flight any more. */
void virtqueue_reset(struct virtqueue *q);

/* 1: @c is filled. 0: there is none. -EINVAL, once: the ring is broken, with why. */
int virtqueue_pop(struct virtqueue *q, struct virtq_chain *c, struct err *e);
/*
 * Between these no more chains can be taken than the queue has entries, so that a driver that never
 * stops cannot keep the main loop; there seem to be none then. virtqueue_end() is true if there may
 * be one all the same.
 */
void virtqueue_begin(struct virtqueue *q);
bool virtqueue_end(struct virtqueue *q);
/* Puts back the chain that was taken last, as if it had not been. May be repeated, last one first. */
void virtqueue_unpop(struct virtqueue *q);
/*
 * A chain that was taken is neither given back nor in flight: the device remembers its head, which may
 * cross an update, and takes it once more later. Then as virtqueue_pop(); nothing of it is
 * trusted more for having been there before.
 */
void virtqueue_set_aside(struct virtqueue *q);
int virtqueue_take_again(struct virtqueue *q, uint16_t head, struct virtq_chain *c, struct err *e);
/* There may be one to take. */
bool virtqueue_has_avail(const struct virtqueue *q);
/* How many there are to take, as the driver says. */
uint16_t virtqueue_nr_avail(const struct virtqueue *q);
/*
 * Asks to be notified of the next chain that is made available, though there may be some that are
 * not taken, for they are too few. How many there are now: more if the driver was faster.
 */
uint16_t virtqueue_await_more(struct virtqueue *q);
/* Gives the chain back; the device has written @bytes of it. */
void virtqueue_push(struct virtqueue *q, uint16_t head, uint32_t bytes);
/*
 * virtqueue_push() in two parts, for several chains that the driver is to see at once: any number is
 * filled, then all are published.
 */
void virtqueue_fill(struct virtqueue *q, uint16_t head, uint32_t bytes);
void virtqueue_publish(struct virtqueue *q);
/* After pushes: whether the driver wants an interrupt for them. */
bool virtqueue_wants_interrupt(struct virtqueue *q);
/*
 * Asks the driver for notifications, or for none. After asking, virtqueue_has_avail() has to be looked
 * at again, for the driver may have been faster. Writes to guest memory.
 */
void virtqueue_set_notification(struct virtqueue *q, bool on);

/* Copies between a chain's parts and a buffer; how many bytes there were. */
size_t virtq_read(const struct virtq_chain *c, size_t offset, void *p, size_t n);
size_t virtq_write(const struct virtq_chain *c, size_t offset, const void *p, size_t n);

#endif
