/* SPDX-License-Identifier: MIT */
/* A machine with PCI buses and a platform on paper, and toy devices to put on them. */
#ifndef TESTS_UNIT_PCI_FIXTURE_H
#define TESTS_UNIT_PCI_FIXTURE_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/util.h"
#include "dev/pc/reset.h"
#include "dev/pci/host.h"
#include "dev/pci/pci.h"
#include "dev/pci/regs.h"
#include "machine/vm.h"

enum {
	TOY_VECTORS = 3,
	TOY_IO_BYTES = 64,
	TOY_MEM_BYTES = 16384,
};

struct toy_state {
	struct pci_state pci;
};

/* BAR 0: memory of 16 KiB, 64 bits. BAR 2: 64 ports. BAR 3: MSI-X. */
struct toy {
	struct device dev;
	struct toy_state s;
	struct {
		struct pci_function pci;
	} h;
	uint64_t last_offset, last_value;
	unsigned int accesses, resets;
};

struct pci_fixture {
	struct vm vm;
	struct ram_block ram;
	bool level[PCI_NR_INTX_LINES];
	uint64_t msi_addr;
	uint32_t msi_data;
	unsigned int msis;
};

static inline uint64_t toy_read(void *opaque, uint64_t offset, unsigned int size)
{
	struct toy *t = opaque;

	(void)size;
	t->accesses++;
	t->last_offset = offset;
	return 0x70790000 + offset;
}

static inline void toy_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
	struct toy *t = opaque;

	(void)size;
	t->accesses++;
	t->last_offset = offset;
	t->last_value = value;
}

static inline void toy_reset(struct device *d)
{
	struct toy *t = CONTAINER_OF(d, struct toy, dev);

	t->resets++;
	pci_reset(&t->h.pci);
}

static inline void toy_loaded(struct device *d)
{
	pci_loaded(&CONTAINER_OF(d, struct toy, dev)->h.pci);
}

static inline int toy_fits(const struct device *d, const void *state, struct err *e)
{
	const struct toy *t = CONTAINER_OF(d, struct toy, dev);

	return pci_check_state(&t->h.pci, &((const struct toy_state *)state)->pci, e);
}

static inline void toy_destroy(struct device *d)
{
	struct toy *t = CONTAINER_OF(d, struct toy, dev);

	pci_function_fini(&t->h.pci);
	free(t);
}

static const struct vs_field toy_fields[] = {
	VS_STRUCT(struct toy_state, pci, &pci_state_desc),
	VS_END,
};

static const struct vs_desc toy_desc = {
	.name = "toy",
	.version = 1,
	.min_version = 1,
	.size = sizeof(struct toy_state),
	.fields = toy_fields,
};

static const struct device_class toy_class = {
	.name = "toy",
	.state = &toy_desc,
	.state_offset = offsetof(struct toy, s),
	.fits = toy_fits,
	.reset = toy_reset,
	.loaded = toy_loaded,
	.destroy = toy_destroy,
};

static inline int toy_create(struct vm *vm, const char *id, const char *bus, int addr, bool plugged,
			     struct toy **out, struct err *e)
{
	static const struct pci_ident ident = {
		.vendor = 0x1b36,
		.device = 0x00ff,
		.subsystem_vendor = 0x1af4,
		.subsystem = 0x1100,
		.revision = 2,
		.class_code = 0xff0102,
		.intx = true,
	};
	struct device_config config = { .addr = addr, .plugged = plugged };
	struct io_region region = {
		.name = "toy", .min_size = 1, .max_size = 8, .read = toy_read, .write = toy_write
	};
	struct toy *t = calloc(1, sizeof(*t));
	int r;

	snprintf(config.id, sizeof(config.id), "%s", id);
	snprintf(config.bus, sizeof(config.bus), "%s", bus);
	region.opaque = t;
	r = pci_function_init(&t->h.pci, vm, &t->dev, &t->s.pci, &config, &ident, e);
	if (r) {
		free(t);
		return r;
	}
	pci_add_bar(&t->h.pci, 0, PCI_BAR_MEM64, TOY_MEM_BYTES - 100, &region);
	pci_add_bar(&t->h.pci, 2, PCI_BAR_IO, TOY_IO_BYTES, &region);
	assert_int_equal(pci_add_msix(&t->h.pci, 3, TOY_VECTORS, e), 0);
	device_add(vm, &t->dev, &toy_class);
	*out = t;
	return 0;
}

static inline struct toy *toy_add(struct pci_fixture *f, const char *id, const char *bus, int addr)
{
	struct toy *t = NULL;
	struct err e = ERR_INIT;

	if (toy_create(&f->vm, id, bus, addr, false, &t, &e))
		fail_msg("%s", e.msg);
	return t;
}

static inline void fixture_set_line(void *opaque, unsigned int line, bool level)
{
	((struct pci_fixture *)opaque)->level[line] = level;
}

static inline void fixture_send_msi(struct vm *vm, uint64_t addr, uint32_t data)
{
	struct pci_fixture *f = CONTAINER_OF(vm, struct pci_fixture, vm);

	f->msis++;
	f->msi_addr = addr;
	f->msi_data = data;
}

/* Low RAM of 128 MiB, and 1 GiB above 4 GiB; buses, reset ports. */
static inline void pci_fixture_init(struct pci_fixture *f)
{
	struct err e;

	*f = (struct pci_fixture){ .ram = { .name = "pc.ram" } };
	list_init(&f->vm.devices);
	list_init(&f->vm.backends);
	list_init(&f->vm.observers);
	doorbells_init(&f->vm);
	iobus_init(&f->vm.pio);
	iobus_init(&f->vm.mmio);
	pthread_mutex_init(&f->vm.lock, NULL);
	pthread_mutex_lock(&f->vm.lock);
	assert_int_equal(loop_create(&f->vm.loop, &f->vm.lock, &e), 0);
	f->vm.kvm_fd = f->vm.vm_fd = -1;
	f->vm.mem.ranges[0] = (struct mem_range){ .size = 128 * MIB, .block = &f->ram };
	f->vm.mem.ranges[1] =
		(struct mem_range){ .gpa = LAYOUT_HIGH_RAM, .size = GIB, .block = &f->ram };
	f->vm.mem.nr_ranges = 2;
	assert_int_equal(reset_create(&f->vm, &e), 0);
	assert_int_equal(pci_host_create(&f->vm, &e), 0);
	for (unsigned int i = 0; i < PCI_NR_INTX_LINES; i++)
		f->vm.pci->h.intx[i] =
			(struct irq){ .set = fixture_set_line, .opaque = f, .line = i };
	f->vm.pci->h.send_msi = fixture_send_msi;
}

static inline void pci_fixture_fini(struct pci_fixture *f)
{
	vm_destroy_devices(&f->vm);
	doorbells_fini(&f->vm);
	json_decref(f->vm.removed);
	assert_true(list_empty(&f->vm.mmio.regions));
	loop_destroy(f->vm.loop);
	pthread_mutex_unlock(&f->vm.lock);
	pthread_mutex_destroy(&f->vm.lock);
}

static inline uint64_t bus_get(struct io_bus *bus, uint64_t addr, unsigned int size)
{
	uint64_t v = 0;

	iobus_read(bus, addr, &v, size);
	return v;
}

static inline void bus_set(struct io_bus *bus, uint64_t addr, unsigned int size, uint64_t v)
{
	iobus_write(bus, addr, &v, size);
}

/* As a guest, through the window of bus 0. */
static inline uint64_t ecam_address(unsigned int bus, unsigned int devfn, unsigned int reg)
{
	return LAYOUT_PCI_ECAM + ((uint64_t)bus << 20 | (uint64_t)devfn << 12 | reg);
}

static inline uint32_t cfg_get(struct pci_fixture *f, unsigned int devfn, unsigned int reg,
			       unsigned int size)
{
	return (uint32_t)bus_get(&f->vm.mmio, ecam_address(0, devfn, reg), size);
}

static inline void cfg_set(struct pci_fixture *f, unsigned int devfn, unsigned int reg,
			   unsigned int size, uint32_t v)
{
	bus_set(&f->vm.mmio, ecam_address(0, devfn, reg), size, v);
}

/* The capability's offset, by walking the list as a guest does; 0: none. */
static inline unsigned int find_cap(struct pci_fixture *f, unsigned int devfn, uint8_t id)
{
	unsigned int at = cfg_get(f, devfn, PCI_CAPABILITIES, 1);

	for (unsigned int i = 0; at && i < 48; i++, at = cfg_get(f, devfn, at + 1, 1))
		if (cfg_get(f, devfn, at, 1) == id)
			return at;
	return 0;
}

#endif
