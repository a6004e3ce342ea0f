/* SPDX-License-Identifier: MIT */
/* Between the device (virtio.c) and its transport (virtio_pci.c); private to them. */
#ifndef DEV_VIRTIO_VIRTIO_IMPL_H
#define DEV_VIRTIO_VIRTIO_IMPL_H

#include "dev/virtio/virtio.h"

/* Bits of the interrupt status register. */
enum {
	VIRTIO_ISR_QUEUE = 1,
	VIRTIO_ISR_CONFIG = 2,
};

/* What the driver does, by whatever transport. Machine lock. */
void virtio_set_status(struct virtio *v, uint8_t status);
void virtio_set_driver_features(struct virtio *v, uint32_t value);
/* The queue's addresses and size are set: it goes into use. */
void virtio_enable_queue(struct virtio *v, struct virtio_queue *vq);
void virtio_kick_all(struct virtio *v);

/* The transport's part of virtio_init(), after the members of @v were set. */
int virtio_pci_init(struct virtio *v, struct vm *vm, struct device *dev,
		    const struct device_config *config, struct err *e);
/* Sends @vector, or raises the pin for @isr. */
void virtio_pci_interrupt(struct virtio *v, uint16_t vector, uint8_t isr);
/* Doorbells are where the guest has the BAR now. After anything that changes that. */
void virtio_pci_place_doorbells(struct virtio *v);

#endif
