/* SPDX-License-Identifier: MIT */
/* PCI buses by name, and who has which place on them. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "dev/pci/host.h"
#include "dev/pci/regs.h"
#include "machine/vm.h"

enum {
	SLOTS = 32,
	FUNCTIONS = 8,
};

int pci_bus_init(struct pci_bus *bus, struct pci_function *bridge, const char *name, struct err *e)
{
	struct pci_host *host = bridge->bus->host;

	if (*name && pci_bus_find(host, name))
		return err_set(e, EEXIST, "there is a bus with the name '%s' already", name);
	bus->host = host;
	bus->bridge = bridge;
	snprintf(bus->name, sizeof(bus->name), "%s", name);
	list_add(&host->h.buses, &bus->link);
	bridge->secondary = bus;
	return 0;
}

void pci_bus_fini(struct pci_bus *bus)
{
	if (!bus->host)
		return;
	list_del(&bus->link);
	bus->bridge->secondary = NULL;
	bus->host = NULL;
}

struct pci_bus *pci_bus_find(const struct pci_host *host, const char *name)
{
	for (const struct list *pos = host->h.buses.next; pos != &host->h.buses; pos = pos->next) {
		struct pci_bus *b = CONTAINER_OF(pos, struct pci_bus, link);

		if (!strcmp(b->name, name))
			return b;
	}
	return NULL;
}

static bool slot_is_free(const struct pci_bus *bus, unsigned int slot)
{
	for (unsigned int i = 0; i < FUNCTIONS; i++)
		if (bus->functions[slot * FUNCTIONS + i])
			return false;
	return true;
}

/* Behind a port there is one device. */
static unsigned int nr_slots(const struct pci_bus *bus)
{
	return bus->bridge ? 1 : SLOTS;
}

static int first_free(const struct pci_bus *bus)
{
	for (unsigned int slot = 0; slot < nr_slots(bus); slot++)
		if (slot_is_free(bus, slot))
			return (int)(slot * FUNCTIONS);
	return -1;
}

/* Devices that come while the guest runs may do so on some buses; before that, everywhere. */
static bool may_come(const struct pci_bus *bus, bool plugged)
{
	const struct vm *vm = bus->host->dev.vm;

	return !plugged || bus->hotpluggable || vm->foreign || vm->runstate == RUNSTATE_PRELAUNCH ||
	       vm->runstate == RUNSTATE_INMIGRATE;
}

/* The root bus; or, if an endpoint cannot come there any more, the first that has room. */
static struct pci_bus *default_bus(const struct pci_host *host, bool plugged)
{
	for (const struct list *pos = host->h.buses.next; pos != &host->h.buses; pos = pos->next) {
		struct pci_bus *b = CONTAINER_OF(pos, struct pci_bus, link);

		if (may_come(b, plugged) && first_free(b) >= 0)
			return b;
	}
	return CONTAINER_OF(host->h.buses.next, struct pci_bus, link);
}

static int in_use(const struct pci_function *by, uint8_t devfn, struct err *e)
{
	const struct device *d = by->dev;

	return err_set(e, EBUSY, "PCI: slot %u function %u not available, in use by %s%s%s",
		       devfn >> 3, devfn & 7, d->class ? d->class->name : "another device",
		       *d->id ? ",id=" : "", d->id);
}

/* Function 0 says whether there are others. */
static int check_functions(const struct pci_bus *bus, uint8_t devfn, bool multifunction,
			   struct err *e)
{
	const struct pci_function *const *slot =
		(const struct pci_function *const *)&bus->functions[devfn & ~7];

	if (devfn & 7 && slot[0] && !(slot[0]->initial[PCI_HEADER_TYPE] & PCI_HEADER_MULTIFUNCTION))
		return err_set(e, EBUSY,
			       "PCI: slot %u has a device without multifunction=on: no function %u "
			       "can be beside it",
			       devfn >> 3, devfn & 7);
	for (unsigned int i = 1; i < FUNCTIONS && !(devfn & 7) && !multifunction; i++)
		if (slot[i])
			return err_set(e, EBUSY,
				       "PCI: %u.0 indicates single function, but %u.%u is already "
				       "populated",
				       devfn >> 3, devfn >> 3, i);
	return 0;
}

int pci_bus_choose(const struct pci_host *host, const struct device_config *config,
		   const struct pci_ident *ident, struct pci_bus **out, uint8_t *devfn,
		   struct err *e)
{
	struct pci_bus *bus = *config->bus ? pci_bus_find(host, config->bus)
					   : default_bus(host, config->plugged && !ident->bridge);
	int at = config->addr, r;

	if (!bus)
		return err_set(e, ENOENT, "Bus '%s' not found", config->bus);
	if (!may_come(bus, config->plugged))
		return err_set(e, EOPNOTSUPP, "Bus '%s' does not support hotplugging", bus->name);
	if (ident->bridge && bus->bridge)
		return err_set(e, EINVAL, "a port cannot be on bus '%s', which is behind a port",
			       bus->name);
	if (at < 0)
		at = first_free(bus);
	if (at < 0)
		return err_set(e, ENOSPC,
			       "PCI: no slot/function available on bus '%s', all in use or "
			       "reserved",
			       bus->name);
	if (at >= (int)nr_slots(bus) * FUNCTIONS)
		return err_set(e, EINVAL, "PCI: slot %d is not valid for bus '%s', the last is %u",
			       at / FUNCTIONS, bus->name, nr_slots(bus) - 1);
	if (bus->functions[at])
		return in_use(bus->functions[at], (uint8_t)at, e);
	r = check_functions(bus, (uint8_t)at, ident->multifunction, e);
	if (r)
		return r;
	*out = bus;
	*devfn = (uint8_t)at;
	return 0;
}
