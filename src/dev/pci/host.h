/* SPDX-License-Identifier: MIT */
/* The PCI host bridge: the buses, how the guest reaches configuration space, interrupt pins. */
#ifndef DEV_PCI_HOST_H
#define DEV_PCI_HOST_H

/*
 * DOC: theory of operation
 *
 * Each machine has one, with the root bus "pcie.0". A function's configuration space is reached
 * by bus, device and function number through two ports or through the ECAM window (PCI Express
 * Base Specification, section 7.2). Which bus has which number is up to the guest, who programs it
 * into the bridges; so is what a bridge forwards.
 *
 * Which BARs are mapped is a function of the state of all functions, and nothing else: see
 * pci_host_remap(). So a machine that takes the state over maps the same ones.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/list.h"
#include "dev/pci/pci.h"
#include "dev/pci/regs.h"
#include "machine/device.h"
#include "machine/iobus.h"
#include "machine/irq.h"

struct vm;

#define PCI_BUS_NAME_MAX 64
#define PCI_ROOT_BUS     "pcie.0"

struct pci_bus {
	struct list link;
	char name[PCI_BUS_NAME_MAX]; /* [c]                                              */
	struct pci_host *host;       /* [c]                                              */
	struct pci_function *bridge; /* [c] this is the bus behind it; NULL: the root bus */
	bool hotpluggable;           /* [c] functions may come and go while the guest runs */
	/* [c] A function came to it or went; it may be half made or half gone. NULL: no matter. */
	void (*changed)(struct pci_bus *bus);
	struct pci_function *functions[PCI_DEVFNS]; /* [m]                              */
};

/* Guest-visible, beside a configuration space that is constant. */
struct pci_host_state {
	uint32_t
		config_address; /* port 0xcf8: bit 31 enables, 23-16 bus, 15-8 devfn, 7-2 register */
};

struct pci_host {
	struct device dev;
	struct pci_host_state s;
	struct {
		struct pci_function function; /* 00:00.0                          */
		struct pci_state config;      /* its state, all constant          */
		struct pci_bus root;
		struct list buses; /* [m] struct pci_bus, the root's first */
		struct io_region address, data, ecam;
		struct irq intx[PCI_NR_INTX_LINES]; /* [c] */
		/* [c] Delivers a message: vm_signal_msi(). */
		void (*send_msi)(struct vm *vm, uint64_t addr, uint32_t data);
	} h;
};

extern const struct device_class pci_host_class;

/* Adds it to the machine. Before the machine first runs and before any other PCI device. */
int pci_host_create(struct vm *vm, struct err *e);

/* A bus behind @bridge, which is on the root bus; in the registry until pci_bus_fini(). -EEXIST. */
int pci_bus_init(struct pci_bus *bus, struct pci_function *bridge, const char *name, struct err *e);
/* Nothing is on it any more. One that was never put there is allowed. */
void pci_bus_fini(struct pci_bus *bus);
/* By name; NULL: there is none. */
struct pci_bus *pci_bus_find(const struct pci_host *host, const char *name);
/* A bus and a free place on it, as pci_function_init() says. */
int pci_bus_choose(const struct pci_host *host, const struct device_config *config,
		   const struct pci_ident *ident, struct pci_bus **bus, uint8_t *devfn,
		   struct err *e);
/* The number by which the guest reaches the bus; 0 for one behind a bridge: it does not. */
static inline unsigned int pci_bus_number(const struct pci_bus *bus)
{
	return bus->bridge ? pci_get8(bus->bridge, PCI_SECONDARY_BUS) : 0;
}

/* The function that answers there, or NULL. */
struct pci_function *pci_host_find(const struct pci_host *host, unsigned int bus, uint8_t devfn);
/*
 * Walks all functions, those behind a bridge after it, each bus by devfn: the one after @prev,
 * the first for NULL; NULL at the end.
 */
struct pci_function *pci_host_next(const struct pci_host *host, const struct pci_function *prev);
/* The function of a device, or NULL: it is no PCI device. */
struct pci_function *pci_function_of(const struct device *d);
/*
 * Maps BARs where the guest wants them now, and unmaps the others. Of BARs that overlap, the first
 * in the order of pci_host_next() is mapped; none is where a platform device or RAM is, outside
 * the windows of the layout or not forwarded by the bridge in front of it.
 */
void pci_host_remap(struct pci_host *host);
/* Drives the interrupt line of @f: the level of all pins that are wired to it. */
void pci_host_update_intx(struct pci_host *host, const struct pci_function *f);
/* The global system interrupt its INTA# is wired to. */
unsigned int pci_function_gsi(const struct pci_function *f);
/* The header of an endpoint or a bridge, in initial values and masks. */
void pci_set_header(struct pci_function *f, const struct pci_ident *ident);
/* Where the guest has put BAR @index, which there is. */
uint64_t pci_bar_address(const struct pci_function *f, unsigned int index);
/* For pci_host_remap(): at bar->address; off the machine's bus, if it is on it. */
void pci_bar_map(struct pci_function *f, unsigned int index);
void pci_bar_unmap(struct pci_function *f, unsigned int index);
/* Whether a bridge with a type 1 header forwards [@addr, @addr + @size) to the bus behind it. */
bool pci_bridge_forwards(const struct pci_function *bridge, bool io, uint64_t addr, uint64_t size);

#endif
