/* SPDX-License-Identifier: MIT */
/* The devices of a PC: the one place that names them all. */
#ifndef DEV_PC_PC_H
#define DEV_PC_PC_H

#include "base/err.h"
#include "machine/device.h"
#include "machine/layout.h"

struct chardev;

struct pc_config {
	/* Back ends, not owned, outliving the machine. NULL: the machine has no such port. */
	struct chardev *serial[LAYOUT_NR_SERIAL];
};

/* All classes, for the audit of their state tables; ends with NULL. */
extern const struct device_class *const pc_classes[];

/*
 * Creates the devices, those that drive interrupt lines before the controllers
 * (see device_add()). The machine owns them, also those that were created before a
 * failure. Once, before the machine first runs; the caller holds the machine lock.
 */
int pc_create_devices(struct vm *vm, const struct pc_config *cfg, struct err *e);

/* Presses the machine's power button; what comes of it is the guest's business. Machine lock. */
void pc_power_button(struct vm *vm);

#endif
