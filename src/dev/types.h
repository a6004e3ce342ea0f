/* SPDX-License-Identifier: MIT */
/* What devices a machine can have: types one asks for by name, and all their classes. */
#ifndef DEV_TYPES_H
#define DEV_TYPES_H

#include "machine/device.h"
#include "machine/device_type.h"

/*
 * Class @index of all, each once: the machine's own in order of loading, then those of
 * device_types[]. NULL from the first past the end on. For whoever looks at all state tables.
 */
const struct device_class *dev_class_at(unsigned int index);

#endif
