/* SPDX-License-Identifier: MIT */
/* What devices a machine can have: types one asks for by name, and all their classes. */
#include <stddef.h>

#include "dev/pc/fw_cfg.h"
#include "dev/pc/pc.h"
#include "dev/pci/bochs_display.h"
#include "dev/pci/i6300esb.h"
#include "dev/pci/root_port.h"
#include "dev/types.h"
#include "dev/virtio/blk.h"
#include "dev/virtio/net.h"
#include "dev/virtio/rng.h"
#include "dev/virtio/vserial.h"

/* One line per type, in the order of -device help. */
/* clang-format off */
const struct device_type *const device_types[] = {
	&bochs_display_type,
	&i6300esb_type,
	&root_port_type,
	&rng_type,
	&blk_type,
	&virtio_net_type,
	&vserial_type,
	&virtserialport_type,
	&virtconsole_type,
	NULL,
};
/* clang-format on */

/* Of devices that options other than -device make. */
static const struct device_class *const other_classes[] = { &fw_cfg_class, NULL };

static bool is_listed(const struct device_class *const *list, const struct device_class *c)
{
	while (*list && *list != c)
		list++;
	return *list != NULL;
}

/* Whether class @k of type @t was there before: of the machine, or of another type. */
static bool is_repeated(unsigned int t, unsigned int k)
{
	const struct device_class *c = device_types[t]->classes[k];

	if (is_listed(pc_classes, c))
		return true;
	for (unsigned int i = 0; i < t; i++)
		if (is_listed(device_types[i]->classes, c))
			return true;
	return false;
}

const struct device_class *dev_class_at(unsigned int index)
{
	unsigned int n = 0;

	for (unsigned int i = 0; pc_classes[i]; i++)
		if (n++ == index)
			return pc_classes[i];
	for (unsigned int i = 0; other_classes[i]; i++)
		if (n++ == index)
			return other_classes[i];
	for (unsigned int t = 0; device_types[t]; t++)
		for (unsigned int k = 0; device_types[t]->classes[k]; k++)
			if (!is_repeated(t, k) && n++ == index)
				return device_types[t]->classes[k];
	return NULL;
}
