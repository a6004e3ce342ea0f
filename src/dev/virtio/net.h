/* SPDX-License-Identifier: MIT */
/* virtio network card: virtio-net-pci. */
#ifndef DEV_VIRTIO_NET_H
#define DEV_VIRTIO_NET_H

#include "machine/device_type.h"

extern const struct device_type virtio_net_type;

#endif
