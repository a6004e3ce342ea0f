/* SPDX-License-Identifier: MIT */
/* A PCI Express root port: a bridge to a bus with one slot, in which devices come and go. */
#ifndef DEV_PCI_ROOT_PORT_H
#define DEV_PCI_ROOT_PORT_H

/*
 * DOC: theory of operation
 *
 * Devices come and go by the PCI Express native hot-plug (PCI Express Base Specification,
 * section 6.7): one that was created on the bus behind the port is announced by a change of presence;
 * to have one back, the operator's request presses the slot's attention button, the guest stops using
 * the device, switches the power of the slot and its indicator off, and then the device is
 * removed. The guest may do the latter without being asked.
 *
 * What is announced follows from what is in the slot and what the slot's registers say of it, whenever
 * the guest runs: so an update between the two loses nothing.
 */

#include <stdint.h>

#include "base/err.h"
#include "dev/pci/host.h"
#include "dev/pci/pci.h"
#include "host/loop.h"
#include "machine/device.h"
#include "machine/device_type.h"

/* Guest-visible. */
struct root_port_state {
	struct pci_state pci;
	uint32_t release; /* 1: the guest has switched the power off, and what is there is to go */
	uint32_t reserved;
};

struct root_port_host {
	struct pci_function pci;
	struct pci_bus bus;
	unsigned int express; /* [c] offset of the capability           */
	bool hotplug;         /* [c]                                    */
	bool running;         /* [m] the guest may be in                */
	bool was_off; /* [m] power and indicator of the slot are off, as it was written last */
	bool irq;     /* [m] an event the guest wants to hear of */
	struct loop_work work;
};

struct root_port {
	struct device dev;
	struct root_port_state s;
	struct root_port_host h;
};

extern const struct device_class root_port_class;
/* pcie-root-port */
extern const struct device_type root_port_type;

#endif
