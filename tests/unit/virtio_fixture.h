/* SPDX-License-Identifier: MIT */
/* A driver of a virtio device on a PCI bus on paper: finds it, negotiates, sets its queues up. */
#ifndef TESTS_UNIT_VIRTIO_FIXTURE_H
#define TESTS_UNIT_VIRTIO_FIXTURE_H

#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>

#include "dev/virtio/virtio.h"
#include "pci_fixture.h"
#include "virtq_driver.h"

#define VIRTIO_BAR_AT  UINT64_C(0xd0100000)
#define VIRTIO_MSIX_AT UINT64_C(0xd0200000)

/* The machine, with memory of its own, and where the device's registers are. */
struct virtio_fixture {
	struct pci_fixture pci;
	struct drv_memory mem;
	unsigned int devfn;
	uint64_t common, notify, isr, device, device_bytes;
	uint32_t multiplier;
	unsigned int window; /* offset of the capability of type PCI_CFG */
};

static inline void virtio_fixture_init(struct virtio_fixture *f)
{
	*f = (struct virtio_fixture){ 0 };
	pci_fixture_init(&f->pci);
	drv_memory_init(&f->mem);
	f->pci.vm.mem = f->mem.map;
}

static inline void virtio_fixture_fini(struct virtio_fixture *f)
{
	pci_fixture_fini(&f->pci);
	drv_memory_fini(&f->mem);
}

/* Places the BARs, lets the device decode and be master, and finds the parts. */
static inline void virtio_find(struct virtio_fixture *f, unsigned int devfn)
{
	unsigned int at = cfg_get(&f->pci, devfn, PCI_CAPABILITIES, 1);

	f->devfn = devfn;
	cfg_set(&f->pci, devfn, PCI_BAR0 + 4, 4, (uint32_t)VIRTIO_MSIX_AT);
	cfg_set(&f->pci, devfn, PCI_BAR0 + 16, 4, (uint32_t)VIRTIO_BAR_AT);
	cfg_set(&f->pci, devfn, PCI_BAR0 + 20, 4, 0);
	cfg_set(&f->pci, devfn, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	for (unsigned int i = 0; at && i < 48; i++, at = cfg_get(&f->pci, devfn, at + 1, 1)) {
		uint64_t where = VIRTIO_BAR_AT + cfg_get(&f->pci, devfn, at + 8, 4);

		if (cfg_get(&f->pci, devfn, at, 1) != 0x09)
			continue;
		switch (cfg_get(&f->pci, devfn, at + 3, 1)) {
		case VIRTIO_PCI_CAP_COMMON_CFG:
			f->common = where;
			break;
		case VIRTIO_PCI_CAP_NOTIFY_CFG:
			f->notify = where;
			f->multiplier = cfg_get(&f->pci, devfn, at + 16, 4);
			break;
		case VIRTIO_PCI_CAP_ISR_CFG:
			f->isr = where;
			break;
		case VIRTIO_PCI_CAP_DEVICE_CFG:
			f->device = where;
			f->device_bytes = cfg_get(&f->pci, devfn, at + 12, 4);
			break;
		case VIRTIO_PCI_CAP_PCI_CFG:
			f->window = at;
			break;
		}
	}
}

static inline uint32_t common_get(struct virtio_fixture *f, unsigned int reg, unsigned int size)
{
	return (uint32_t)bus_get(&f->pci.vm.mmio, f->common + reg, size);
}

static inline void common_set(struct virtio_fixture *f, unsigned int reg, unsigned int size,
			      uint32_t v)
{
	bus_set(&f->pci.vm.mmio, f->common + reg, size, v);
}

static inline uint8_t virtio_status(struct virtio_fixture *f)
{
	return (uint8_t)common_get(f, VIRTIO_PCI_COMMON_STATUS, 1);
}

static inline void virtio_set(struct virtio_fixture *f, uint8_t status)
{
	common_set(f, VIRTIO_PCI_COMMON_STATUS, 1, status);
}

static inline uint64_t virtio_offered(struct virtio_fixture *f)
{
	uint64_t low, high;

	common_set(f, VIRTIO_PCI_COMMON_DFSELECT, 4, 0);
	low = common_get(f, VIRTIO_PCI_COMMON_DF, 4);
	common_set(f, VIRTIO_PCI_COMMON_DFSELECT, 4, 1);
	high = common_get(f, VIRTIO_PCI_COMMON_DF, 4);
	return high << 32 | low;
}

static inline void virtio_accept(struct virtio_fixture *f, uint64_t features)
{
	common_set(f, VIRTIO_PCI_COMMON_GFSELECT, 4, 0);
	common_set(f, VIRTIO_PCI_COMMON_GF, 4, (uint32_t)features);
	common_set(f, VIRTIO_PCI_COMMON_GFSELECT, 4, 1);
	common_set(f, VIRTIO_PCI_COMMON_GF, 4, (uint32_t)(features >> 32));
}

/* From reset to FEATURES_OK; false if that was refused. */
static inline bool virtio_negotiate(struct virtio_fixture *f, uint64_t features)
{
	virtio_set(f, 0);
	virtio_set(f, VIRTIO_CONFIG_S_ACKNOWLEDGE);
	virtio_set(f, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
	virtio_accept(f, features);
	virtio_set(f, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER |
			      VIRTIO_CONFIG_S_FEATURES_OK);
	return virtio_status(f) & VIRTIO_CONFIG_S_FEATURES_OK;
}

/* Sets a queue up where drv_init() has it, moved up by @at. */
static inline void virtio_set_queue(struct virtio_fixture *f, uint16_t index, uint16_t size,
				    uint16_t vector, uint32_t at)
{
	common_set(f, VIRTIO_PCI_COMMON_Q_SELECT, 2, index);
	common_set(f, VIRTIO_PCI_COMMON_Q_SIZE, 2, size);
	common_set(f, VIRTIO_PCI_COMMON_Q_MSIX, 2, vector);
	common_set(f, VIRTIO_PCI_COMMON_Q_DESCLO, 4, DRV_DESC + at);
	common_set(f, VIRTIO_PCI_COMMON_Q_DESCHI, 4, 0);
	common_set(f, VIRTIO_PCI_COMMON_Q_AVAILLO, 4, DRV_AVAIL + at);
	common_set(f, VIRTIO_PCI_COMMON_Q_AVAILHI, 4, 0);
	common_set(f, VIRTIO_PCI_COMMON_Q_USEDLO, 4, DRV_USED + at);
	common_set(f, VIRTIO_PCI_COMMON_Q_USEDHI, 4, 0);
	common_set(f, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
}

static inline void virtio_drive(struct virtio_fixture *f)
{
	virtio_set(f, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER |
			      VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK);
}

/* MSI-X on, each vector with a message of its own: data 0x40 and up. */
static inline void virtio_use_msix(struct virtio_fixture *f, unsigned int vectors)
{
	unsigned int cap = find_cap(&f->pci, f->devfn, 0x11);

	for (unsigned int i = 0; i < vectors; i++) {
		bus_set(&f->pci.vm.mmio, VIRTIO_MSIX_AT + 16 * i, 4, 0xfee00000);
		bus_set(&f->pci.vm.mmio, VIRTIO_MSIX_AT + 16 * i + 8, 4, 0x40 + i);
		bus_set(&f->pci.vm.mmio, VIRTIO_MSIX_AT + 16 * i + 12, 4, 0);
	}
	cfg_set(&f->pci, f->devfn, cap + 2, 2, 0x8000);
}

static inline void virtio_ring(struct virtio_fixture *f, unsigned int queue)
{
	bus_set(&f->pci.vm.mmio, f->notify + queue * f->multiplier, 2, queue);
}

/* The main loop's turn. */
static inline void virtio_turn(struct virtio_fixture *f)
{
	loop_run_once(f->pci.vm.loop, 0);
}

#endif
