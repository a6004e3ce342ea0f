/* SPDX-License-Identifier: MIT */
/* The PCI host bridge: the buses, how the guest reaches configuration space, interrupt pins. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "dev/pci/host.h"
#include "dev/pci/regs.h"
#include "machine/vm.h"

enum {
	HOST_VENDOR = 0x1b36,
	HOST_DEVICE = 0x0008,
	HOST_CLASS = 0x060000,

	ADDRESS_BITS = 0x00fffffc,
};

#define ADDRESS_ENABLE UINT32_C(0x80000000)
/* Beyond, a BAR is nowhere. */
#define PHYS_END (UINT64_C(1) << 52)

static const struct vs_field pci_host_fields[] = {
	VS_FIELD(struct pci_host_state, config_address),
	VS_END,
};

static const struct vs_desc pci_host_desc = {
	.name = "pci-host",
	.version = 1,
	.min_version = 1,
	.size = sizeof(struct pci_host_state),
	.fields = pci_host_fields,
};

unsigned int pci_function_gsi(const struct pci_function *f)
{
	/* A bridge hands the pins of its device 0 on to its own. */
	while (f->bus->bridge)
		f = f->bus->bridge;
	return LAYOUT_GSI_INTX(f->devfn >> 3, 0);
}

void pci_host_update_intx(struct pci_host *host, const struct pci_function *f)
{
	unsigned int gsi = pci_function_gsi(f);
	const struct pci_function *o = NULL;
	bool level = false;

	while ((o = pci_host_next(host, o)))
		level = level || (o->s->intx_level && pci_function_gsi(o) == gsi &&
				  !(pci_get16(o, PCI_COMMAND) & PCI_COMMAND_NO_INTX));
	irq_set(&host->h.intx[gsi - LAYOUT_GSI_PCI], level);
}

struct pci_function *pci_host_find(const struct pci_host *host, unsigned int bus, uint8_t devfn)
{
	const struct list *pos;

	for (pos = host->h.buses.next; pos != &host->h.buses; pos = pos->next) {
		const struct pci_bus *b = CONTAINER_OF(pos, struct pci_bus, link);

		if (pci_bus_number(b) == bus && (bus || !b->bridge))
			return b->functions[devfn];
	}
	return NULL;
}

static struct pci_function *first_on(const struct pci_bus *bus, unsigned int devfn)
{
	for (; devfn < PCI_DEVFNS; devfn++)
		if (bus->functions[devfn])
			return bus->functions[devfn];
	return NULL;
}

struct pci_function *pci_host_next(const struct pci_host *host, const struct pci_function *prev)
{
	struct pci_function *f;

	if (!prev)
		return first_on(&host->h.root, 0);
	f = prev->secondary ? first_on(prev->secondary, 0) : NULL;
	while (!f && prev) {
		f = first_on(prev->bus, prev->devfn + 1u);
		prev = prev->bus->bridge;
	}
	return f;
}

struct pci_function *pci_function_of(const struct device *d)
{
	struct pci_function *f = NULL;

	while (d->vm->pci && (f = pci_host_next(d->vm->pci, f)))
		if (f->dev == d)
			return f;
	return NULL;
}

/* The window goes from @base, in its upper bits, to the end of the piece that @limit is in. */
static bool window_has(uint64_t base, uint64_t limit, uint64_t granule, uint64_t addr,
		       uint64_t size)
{
	base &= ~(granule - 1);
	limit |= granule - 1;
	return base < limit && addr >= base && addr + (size - 1) <= limit;
}

bool pci_bridge_forwards(const struct pci_function *b, bool io, uint64_t addr, uint64_t size)
{
	uint64_t pref_base = pci_get16(b, PCI_PREF_BASE) & 0xfff0u;
	uint64_t pref_limit = pci_get16(b, PCI_PREF_LIMIT) & 0xfff0u;

	if (!(pci_get16(b, PCI_COMMAND) & (io ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY)))
		return false;
	if (io)
		return window_has((pci_get8(b, PCI_IO_BASE) & 0xf0u) << 8,
				  (pci_get8(b, PCI_IO_LIMIT) & 0xf0u) << 8, 4 * KIB, addr, size);
	if (window_has((uint64_t)(pci_get16(b, PCI_MEM_BASE) & 0xfff0u) << 16,
		       (uint64_t)(pci_get16(b, PCI_MEM_LIMIT) & 0xfff0u) << 16, MIB, addr, size))
		return true;
	return window_has((uint64_t)pci_get32(b, PCI_PREF_BASE_HIGH) << 32 | pref_base << 16,
			  (uint64_t)pci_get32(b, PCI_PREF_LIMIT_HIGH) << 32 | pref_limit << 16, MIB,
			  addr, size);
}

static bool is_ram(const struct memmap *m, uint64_t addr, uint64_t size)
{
	for (unsigned int i = 0; i < m->nr_ranges; i++)
		if (addr < m->ranges[i].gpa + m->ranges[i].size && m->ranges[i].gpa < addr + size)
			return true;
	return false;
}

/* The layout has room for a BAR there. */
static bool is_allowed(const struct vm *vm, bool io, uint64_t addr, uint64_t size)
{
	uint64_t end = addr + size;

	if (end < addr)
		return false;
	if (io)
		return addr >= LAYOUT_PCI_PIO && end <= LAYOUT_PCI_PIO_END;
	if (addr < LAYOUT_HIGH_RAM && (addr < LAYOUT_PCI_MMIO || end > LAYOUT_PCI_MMIO_END))
		return false;
	return end <= PHYS_END && !is_ram(&vm->mem, addr, size);
}

static bool wants(const struct pci_function *f, const struct pci_bar *b, uint64_t addr)
{
	bool io = b->kind == PCI_BAR_IO;
	uint16_t enable = io ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY;

	return b->kind != PCI_BAR_NONE && pci_get16(f, PCI_COMMAND) & enable &&
	       is_allowed(f->vm, io, addr, b->size) &&
	       (!f->bus->bridge || pci_bridge_forwards(f->bus->bridge, io, addr, b->size));
}

/* A BAR before this one in the order is there. */
static bool is_taken(const struct pci_host *host, const struct pci_bar *of)
{
	const struct pci_function *f = NULL;

	while ((f = pci_host_next(host, f)))
		for (unsigned int i = 0; i < PCI_NR_BARS; i++) {
			const struct pci_bar *b = &f->bars[i];

			if (b == of)
				return false;
			if (b->wanted && (b->kind == PCI_BAR_IO) == (of->kind == PCI_BAR_IO) &&
			    b->address < of->address + of->size &&
			    of->address < b->address + b->size)
				return true;
		}
	return false;
}

void pci_host_remap(struct pci_host *host)
{
	struct pci_function *f = NULL;

	/* First what goes: it may be in the way of what comes. */
	while ((f = pci_host_next(host, f)))
		for (unsigned int i = 0; i < PCI_NR_BARS; i++) {
			struct pci_bar *b = &f->bars[i];
			uint64_t was = b->address;

			b->address = b->kind == PCI_BAR_NONE ? 0 : pci_bar_address(f, i);
			b->wanted = wants(f, b, b->address) && !is_taken(host, b);
			if (b->mapped && (!b->wanted || b->address != was))
				pci_bar_unmap(f, i);
		}
	while ((f = pci_host_next(host, f)))
		for (unsigned int i = 0; i < PCI_NR_BARS; i++)
			if (f->bars[i].wanted && !f->bars[i].mapped)
				pci_bar_map(f, i);
}

static uint64_t config_read(const struct pci_host *host, unsigned int bus, unsigned int devfn,
			    unsigned int reg, unsigned int size)
{
	struct pci_function *f = pci_host_find(host, bus, (uint8_t)devfn);

	return f ? pci_config_read(f, reg, size) : UINT32_MAX;
}

static void config_write(const struct pci_host *host, unsigned int bus, unsigned int devfn,
			 unsigned int reg, unsigned int size, uint64_t value)
{
	struct pci_function *f = pci_host_find(host, bus, (uint8_t)devfn);

	if (f)
		pci_config_write(f, reg, size, (uint32_t)value);
}

static uint64_t address_read(void *opaque, uint64_t offset, unsigned int size)
{
	const struct pci_host *host = opaque;

	(void)offset;
	(void)size;
	return host->s.config_address;
}

static void address_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
	struct pci_host *host = opaque;

	(void)offset;
	(void)size;
	host->s.config_address = (uint32_t)value & (ADDRESS_ENABLE | ADDRESS_BITS);
}

static uint64_t data_read(void *opaque, uint64_t offset, unsigned int size)
{
	const struct pci_host *host = opaque;
	uint32_t a = host->s.config_address;

	if (!(a & ADDRESS_ENABLE))
		return UINT32_MAX;
	return config_read(host, a >> 16 & 0xff, a >> 8 & 0xff, (a & 0xfc) + (unsigned int)offset,
			   size);
}

static void data_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
	const struct pci_host *host = opaque;
	uint32_t a = host->s.config_address;

	if (a & ADDRESS_ENABLE)
		config_write(host, a >> 16 & 0xff, a >> 8 & 0xff, (a & 0xfc) + (unsigned int)offset,
			     size, value);
}

static uint64_t ecam_read(void *opaque, uint64_t offset, unsigned int size)
{
	return config_read(opaque, (unsigned int)(offset >> 20), offset >> 12 & 0xff,
			   offset & 0xfff, size);
}

static void ecam_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
	config_write(opaque, (unsigned int)(offset >> 20), offset >> 12 & 0xff, offset & 0xfff,
		     size, value);
}

static void pci_host_reset(struct device *d)
{
	struct pci_host *host = CONTAINER_OF(d, struct pci_host, dev);

	host->s = (struct pci_host_state){ 0 };
}

static void pci_host_destroy(struct device *d)
{
	struct pci_host *host = CONTAINER_OF(d, struct pci_host, dev);

	iobus_del(&d->vm->pio, &host->h.address);
	iobus_del(&d->vm->pio, &host->h.data);
	iobus_del(&d->vm->mmio, &host->h.ecam);
	d->vm->pci = NULL;
	free(host);
}

static int host_fits(const struct device *d, const void *state, struct err *e)
{
	const struct pci_host_state *s = state;

	if (s->config_address & ~(ADDRESS_ENABLE | ADDRESS_BITS))
		return err_set(e, EINVAL, "configuration address %#x of '%s' has reserved bits",
			       s->config_address, d->class->name);
	return 0;
}

const struct device_class pci_host_class = {
	.name = "pci-host",
	.state = &pci_host_desc,
	.state_offset = offsetof(struct pci_host, s),
	.optional = true,
	.fits = host_fits,
	.reset = pci_host_reset,
	.destroy = pci_host_destroy,
};

static void init_function(struct pci_host *host, struct vm *vm)
{
	static const struct pci_ident ident = {
		.vendor = HOST_VENDOR,
		.device = HOST_DEVICE,
		.class_code = HOST_CLASS,
	};
	struct pci_function *f = &host->h.function;

	f->vm = vm;
	f->dev = &host->dev;
	f->bus = &host->h.root;
	f->s = &host->h.config;
	f->bus->functions[0] = f;
	pci_set_header(f, &ident);
	/* It always decodes memory and reaches it; nothing of it can be written. */
	memset(f->mask, 0, sizeof(f->mask));
	pci_set_initial16(f, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 0);
	memcpy(f->s->config, f->initial, sizeof(f->initial));
}

static int add_regions(struct pci_host *host, struct vm *vm, struct err *e)
{
	int r;

	host->h.address = (struct io_region){ .name = "PCI configuration address",
					      .base = LAYOUT_PORT_PCI_ADDR,
					      .size = 1,
					      .exact_size = 4,
					      .min_size = 4,
					      .max_size = 4,
					      .read = address_read,
					      .write = address_write,
					      .opaque = host };
	host->h.data = (struct io_region){ .name = "PCI configuration data",
					   .base = LAYOUT_PORT_PCI_DATA,
					   .size = 4,
					   .min_size = 1,
					   .max_size = 4,
					   .read = data_read,
					   .write = data_write,
					   .opaque = host };
	host->h.ecam = (struct io_region){ .name = "PCI configuration space",
					   .base = LAYOUT_PCI_ECAM,
					   .size = LAYOUT_PCI_ECAM_BYTES,
					   .min_size = 1,
					   .max_size = 4,
					   .read = ecam_read,
					   .write = ecam_write,
					   .opaque = host };
	r = iobus_add(&vm->pio, &host->h.address, e);
	if (r)
		return r;
	r = iobus_add(&vm->pio, &host->h.data, e);
	if (!r) {
		r = iobus_add(&vm->mmio, &host->h.ecam, e);
		if (r)
			iobus_del(&vm->pio, &host->h.data);
	}
	if (r)
		iobus_del(&vm->pio, &host->h.address);
	return r;
}

int pci_host_create(struct vm *vm, struct err *e)
{
	struct pci_host *host = calloc(1, sizeof(*host));
	int r;

	if (!host)
		return err_set(e, ENOMEM, "no memory for the PCI host bridge");
	list_init(&host->h.buses);
	host->h.root.host = host;
	snprintf(host->h.root.name, sizeof(host->h.root.name), "%s", PCI_ROOT_BUS);
	list_add(&host->h.buses, &host->h.root.link);
	host->h.send_msi = vm_signal_msi;
	for (unsigned int i = 0; i < PCI_NR_INTX_LINES; i++)
		host->h.intx[i] = vm_irq(vm, LAYOUT_GSI_PCI + i);
	r = add_regions(host, vm, e);
	if (r) {
		free(host);
		return r;
	}
	init_function(host, vm);
	vm->pci = host;
	device_add(vm, &host->dev, &pci_host_class);
	return 0;
}
