/* SPDX-License-Identifier: MIT */
/*
 * virtio_drv.h - a driver of modern virtio devices on PCI bus 0, for small guests.
 *
 * A guest finds a device, places its BARs, negotiates, sets queues up in memory of its own choice, and
 * says that it is ready:
 *
 *	vd_find(&d, VIRTIO_ID_RNG, 0) && vd_start(&d, BAR_GPA, WANTED_FEATURES) &&
 *	vd_queue(&d, &q, 0, 8, RING_GPA, VECTOR);
 *	vd_ready(&d);
 *
 * then adds chains with vq_add(), tells the device with vq_kick(), and takes what comes back with
 * vq_collect(). Every thing the device does that it must not do is counted in abi_head()->errors.
 */
#ifndef VIRTIO_DRV_H
#define VIRTIO_DRV_H

#include "guest.h"

#define VD_NO_VECTOR   0xffffu
#define VD_ID_NET      1
#define VD_ID_BLOCK    2
#define VD_ID_CONSOLE  3
#define VD_ID_RNG      4
#define VD_F_INDIRECT  (1ul << 28)
#define VD_F_EVENT_IDX (1ul << 29)
#define VD_F_VERSION_1 (1ul << 32)
#define VD_ACKNOWLEDGE 1
#define VD_DRIVER      2
#define VD_DRIVER_OK   4
#define VD_FEATURES_OK 8
#define VD_NEEDS_RESET 0x40
#define VQ_MAX         256
/* Bytes of guest memory of a queue with VQ_MAX entries, parts on pages of their own. */
#define VQ_BYTES 0x4000
/* Bytes of guest-physical addresses for the BARs of a device. */
#define VD_BAR_BYTES 0x10000

struct vd {
	uint8_t slot;
	uint8_t msix_cap; /* 0: none */
	uint64_t msix;    /* where its table is */
	uint64_t common, notify, isr, config;
	uint32_t multiplier;
	uint64_t features; /* negotiated */
};

struct vq_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};

struct vq_used {
	uint32_t id, len;
};

struct vq {
	struct vd *d;
	uint16_t index, size;
	volatile struct vq_desc *desc;
	volatile uint16_t *avail; /* flags, idx, entries, used_event */
	volatile uint8_t *used;   /* likewise                        */
	uint64_t notify;
	uint16_t avail_idx, told, used_idx;
	uint16_t free[VQ_MAX]; /* descriptors nobody uses, the first nr_free of them */
	uint16_t nr_free;
	uint16_t length[VQ_MAX]; /* of the chain that begins at a descriptor; 0: none does */
	uint64_t cookie[VQ_MAX]; /* of that chain                                          */
	uint64_t kicks, collected;
};

/* One buffer of a chain. */
struct vq_buf {
	uint64_t gpa;
	uint32_t len;
};

/* Configuration space of a function of bus 0. */
uint32_t pci_read(uint8_t slot, uint8_t reg);
void pci_write(uint8_t slot, uint8_t reg, uint32_t value);

/* The @nth device of virtio type @id; false if there is none. */
bool vd_find(struct vd *d, uint16_t id, unsigned int nth);
/*
 * Places its BARs at @gpa (VD_BAR_BYTES, in the PCI window from 0xd0000000 on), resets it and
 * negotiates: of @wanted what is offered, and VERSION_1. False, with an error counted, if it refuses.
 */
bool vd_start(struct vd *d, uint64_t gpa, uint64_t wanted);
/*
 * Sets queue @index up with @size entries in VQ_BYTES of memory at @gpa. Its interrupt is @vector of
 * this CPU (see idt_set()), by MSI-X vector @index; 0: it wants none. False as above.
 */
bool vd_queue(struct vd *d, struct vq *q, uint16_t index, uint16_t size, uint64_t gpa,
	      uint8_t vector);
/* Places its BARs elsewhere, while it goes on; then vq_moved() for each of its queues. */
void vd_move(struct vd *d, uint64_t gpa);
void vq_moved(struct vq *q);
/* DRIVER_OK. */
void vd_ready(struct vd *d);
/* The device asks to be reset. */
bool vd_is_broken(const struct vd *d);
/* Reads the device's configuration; @bytes 1, 2 or 4. */
uint32_t vd_config(const struct vd *d, uint32_t offset, uint32_t bytes);

/*
 * Makes a chain of @nr_out buffers to read and @nr_in to write available. False if there are not
 * enough descriptors. @cookie comes back.
 */
bool vq_add(struct vq *q, const struct vq_buf *bufs, unsigned int nr_out, unsigned int nr_in,
	    uint64_t cookie);
/* Notifies the device of what was added since, if it wants that. */
void vq_kick(struct vq *q);
/* A chain that came back, and what the device says it has written; false if there is none. */
bool vq_collect(struct vq *q, uint64_t *cookie, uint32_t *len);
/* Asks for an interrupt for the next one that comes back; true if there is one already. */
bool vq_want_interrupt(struct vq *q);

#endif
