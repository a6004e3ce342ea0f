/* SPDX-License-Identifier: MIT */
/* The I/O APIC, which KVM keeps. */
#ifndef DEV_PC_IOAPIC_H
#define DEV_PC_IOAPIC_H

#include <stdint.h>

#include "base/err.h"
#include "machine/device.h"

#define IOAPIC_NR_PINS 24

/*
 * Guest-visible. @irr holds the asserted pins that were not delivered yet: KVM
 * delivers them when the state is applied, and leaves out edges that were.
 */
struct ioapic_state {
	uint64_t base;                        /* guest-physical address               */
	uint64_t redirection[IOAPIC_NR_PINS]; /* reset: masked                        */
	uint64_t irr;                         /* bit per pin                          */
	uint32_t ioregsel;                    /* register that the window shows       */
	uint32_t id;
};

extern const struct device_class ioapic_class;

/* Adds the state of the VM's I/O APIC to the machine. */
int ioapic_create(struct vm *vm, struct err *e);

#endif
