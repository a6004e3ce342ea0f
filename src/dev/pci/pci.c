/* SPDX-License-Identifier: MIT */
/* PCI functions: configuration space, capabilities and BARs. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "dev/pci/host.h"
#include "dev/pci/msix.h"
#include "dev/pci/pci.h"
#include "dev/pci/regs.h"
#include "machine/movable.h"
#include "machine/vm.h"

static const struct vs_field msix_fields[] = {
	VS_FIELD(struct pci_msix_entry, addr),
	VS_FIELD(struct pci_msix_entry, data),
	VS_FIELD_RANGE(struct pci_msix_entry, ctrl, 0, PCI_MSIX_VECTOR_MASKED),
	VS_END,
};

static const struct vs_desc msix_desc = {
	.name = "pci/msix",
	.version = 1,
	.min_version = 1,
	.size = sizeof(struct pci_msix_entry),
	.fields = msix_fields,
};

static const struct vs_field pci_state_fields[] = {
	VS_BUFFER(struct pci_state, config),
	VS_FIELD_RANGE(struct pci_state, nr_vectors, 0, PCI_MSIX_MAX),
	VS_FIELD_RANGE(struct pci_state, intx_level, 0, 1),
	VS_FIELD(struct pci_state, msix_pending),
	VS_STRUCT_ARRAY_VAR(struct pci_state, msix, nr_vectors, &msix_desc),
	VS_END,
};

const struct vs_desc pci_state_desc = {
	.name = "pci/function",
	.version = 1,
	.min_version = 1,
	.size = sizeof(struct pci_state),
	.fields = pci_state_fields,
};

static uint64_t get_le(const uint8_t *p, unsigned int bytes)
{
	uint64_t v = 0;

	while (bytes--)
		v = v << 8 | p[bytes];
	return v;
}

static void set_le(uint8_t *p, uint64_t v, unsigned int bytes)
{
	for (unsigned int i = 0; i < bytes; i++)
		p[i] = (uint8_t)(v >> (8 * i));
}

void pci_set_dynamic16(struct pci_function *f, unsigned int offset, uint16_t value, uint16_t bits)
{
	uint16_t old = pci_get16(f, offset);

	set_le(f->s->config + offset, (old & ~bits) | (value & bits), 2);
}

static void set_initial(struct pci_function *f, unsigned int offset, uint64_t value, uint64_t mask,
			unsigned int bytes)
{
	set_le(f->initial + offset, value, bytes);
	set_le(f->mask + offset, mask, bytes);
}

void pci_set_initial8(struct pci_function *f, unsigned int offset, uint8_t value, uint8_t mask)
{
	set_initial(f, offset, value, mask, 1);
}

void pci_set_initial16(struct pci_function *f, unsigned int offset, uint16_t value, uint16_t mask)
{
	set_initial(f, offset, value, mask, 2);
}

void pci_set_initial32(struct pci_function *f, unsigned int offset, uint32_t value, uint32_t mask)
{
	set_initial(f, offset, value, mask, 4);
}

void pci_set_header(struct pci_function *f, const struct pci_ident *ident)
{
	uint16_t command = PCI_COMMAND_MASTER | PCI_COMMAND_PARITY | PCI_COMMAND_SERR;
	uint8_t type = ident->bridge ? PCI_HEADER_BRIDGE : 0;

	if (ident->multifunction)
		type |= PCI_HEADER_MULTIFUNCTION;
	if (ident->bridge)
		command |= PCI_COMMAND_IO | PCI_COMMAND_MEMORY;
	if (ident->intx) {
		command |= PCI_COMMAND_NO_INTX;
		pci_set_initial8(f, PCI_INTERRUPT_PIN, 1, 0);
	}
	pci_set_initial16(f, PCI_VENDOR, ident->vendor, 0);
	pci_set_initial16(f, PCI_DEVICE, ident->device, 0);
	pci_set_initial16(f, PCI_COMMAND, 0, command);
	pci_set_initial8(f, PCI_REVISION, ident->revision, 0);
	set_initial(f, PCI_CLASS, ident->class_code, 0, 3);
	pci_set_initial8(f, PCI_CACHE_LINE, 0, 0xff);
	pci_set_initial8(f, PCI_HEADER_TYPE, type, 0);
	pci_set_initial8(f, PCI_INTERRUPT_LINE, 0, 0xff);
	if (ident->bridge)
		return;
	pci_set_initial16(f, PCI_SUBSYSTEM_VENDOR, ident->subsystem_vendor, 0);
	pci_set_initial16(f, PCI_SUBSYSTEM, ident->subsystem, 0);
}

static int add_express(struct pci_function *f, struct err *e)
{
	bool integrated = !f->bus->bridge;
	int cap = pci_add_capability(f, PCI_CAP_EXPRESS, PCI_EXP_BYTES, e);
	unsigned int at = (unsigned int)cap;

	if (cap < 0)
		return cap;
	pci_set_initial16(f, at + PCI_EXP_FLAGS,
			  PCI_EXP_VERSION |
				  (integrated ? PCI_EXP_TYPE_INTEGRATED : PCI_EXP_TYPE_ENDPOINT)
					  << PCI_EXP_TYPE_SHIFT,
			  0);
	pci_set_initial32(f, at + PCI_EXP_DEV_CAP, PCI_EXP_DEV_CAP_ROLE, 0);
	pci_set_initial16(f, at + PCI_EXP_DEV_CTL, 0, PCI_EXP_DEV_CTL_BITS);
	if (integrated)
		return 0;
	pci_set_initial32(f, at + PCI_EXP_LINK_CAP, PCI_EXP_LINK_X1_2500, 0);
	pci_set_initial16(f, at + PCI_EXP_LINK_STA, PCI_EXP_LINK_X1_2500, 0);
	return 0;
}

static void set_place(struct pci_function *f, struct device *dev,
		      const struct device_config *config)
{
	char path[DEVICE_PATH_MAX];
	const struct pci_function *bridge = f->bus->bridge;
	unsigned int slot = f->devfn >> 3, fn = f->devfn & 7;

	if (bridge)
		snprintf(path, sizeof(path), "%.*s:%02x.%u", DEVICE_PATH_MAX - 8, bridge->dev->path,
			 slot, fn);
	else
		snprintf(path, sizeof(path), "0000:00:%02x.%u", slot, fn);
	memcpy(dev->path, path, sizeof(path));
	snprintf(dev->id, sizeof(dev->id), "%s", config->id);
	snprintf(dev->bus, sizeof(dev->bus), "%s", f->bus->name);
	dev->addr = f->devfn;
}

int pci_function_init(struct pci_function *f, struct vm *vm, struct device *dev,
		      struct pci_state *s, const struct device_config *config,
		      const struct pci_ident *ident, struct err *e)
{
	struct pci_bus *bus;
	uint8_t devfn;
	int r;

	if (!vm->pci)
		return err_set(e, ENOENT, "No 'PCI' bus found for device '%s'", config->id);
	r = pci_bus_choose(vm->pci, config, ident, &bus, &devfn, e);
	if (r)
		return r;
	f->vm = vm;
	f->dev = dev;
	f->bus = bus;
	f->devfn = devfn;
	f->s = s;
	f->next_cap = PCI_FIRST_CAPABILITY;
	pci_set_header(f, ident);
	set_place(f, dev, config);
	bus->functions[devfn] = f;
	if (bus->changed)
		bus->changed(bus);
	/* A bridge's capability is not an endpoint's. */
	r = ident->bridge || ident->conventional ? 0 : add_express(f, e);
	if (r)
		pci_function_fini(f);
	return r;
}

void pci_function_fini(struct pci_function *f)
{
	struct pci_host *host;

	if (!f->bus)
		return;
	host = f->bus->host;
	f->s->intx_level = 0;
	pci_host_update_intx(host, f);
	for (unsigned int i = 0; i < PCI_NR_BARS; i++)
		pci_bar_unmap(f, i);
	f->bus->functions[f->devfn] = NULL;
	if (f->bus->changed)
		f->bus->changed(f->bus);
	pci_host_remap(host);
	f->bus = NULL;
}

int pci_add_capability(struct pci_function *f, uint8_t id, unsigned int bytes, struct err *e)
{
	unsigned int at = f->next_cap, link = PCI_CAPABILITIES;

	if (bytes < 2 || at + bytes > PCI_CONFIG_BYTES)
		return err_set(e, ENOSPC, "no room for capability %#x of %u bytes at %#x", id,
			       bytes, at);
	while (f->initial[link])
		link = f->initial[link] + 1u;
	f->initial[link] = (uint8_t)at;
	f->initial[PCI_STATUS] |= PCI_STATUS_CAPABILITIES;
	f->initial[at] = id;
	/* After one that ends with the space there is no further one. */
	f->next_cap = (uint16_t)align_up(at + bytes, 4);
	return (int)at;
}

static uint64_t bar_size(enum pci_bar_kind kind, uint64_t size)
{
	uint64_t least = kind == PCI_BAR_IO ? 4 : 4096, n = least;

	while (n < size)
		n <<= 1;
	return n;
}

static struct pci_bar *add_bar(struct pci_function *f, unsigned int index, enum pci_bar_kind kind,
			       uint64_t size)
{
	struct pci_bar *b = &f->bars[index];
	unsigned int at = PCI_BAR0 + 4 * index;
	bool is64 = kind == PCI_BAR_MEM64 || kind == PCI_BAR_MEM64_PREF;
	uint32_t low = kind == PCI_BAR_IO ? PCI_BAR_IO_SPACE : is64 ? PCI_BAR_64 : 0;

	if (kind == PCI_BAR_MEM64_PREF)
		low |= PCI_BAR_PREFETCHABLE;
	b->kind = kind;
	b->size = bar_size(kind, size);
	pci_set_initial32(f, at, low, (uint32_t) ~(b->size - 1));
	if (is64)
		pci_set_initial32(f, at + 4, 0, (uint32_t)(~(b->size - 1) >> 32));
	f->mask[PCI_COMMAND] |= kind == PCI_BAR_IO ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY;
	return b;
}

void pci_add_bar(struct pci_function *f, unsigned int index, enum pci_bar_kind kind, uint64_t size,
		 const struct io_region *region)
{
	struct pci_bar *b = add_bar(f, index, kind, size);

	b->region = *region;
	b->region.size = b->size;
	list_init(&b->region.link);
}

/* The guest's accesses as they come where KVM cannot map the block. */
static uint64_t ram_read(void *opaque, uint64_t offset, unsigned int size)
{
	const struct ram_block *b = opaque;
	uint64_t v = UINT64_MAX;

	if (offset + size <= b->size)
		memcpy(&v, b->host + offset, size);
	return v;
}

static void ram_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
	struct ram_block *b = opaque;

	if (offset + size <= b->size && !b->readonly)
		memcpy(b->host + offset, &value, size);
}

void pci_add_ram_bar(struct pci_function *f, unsigned int index, enum pci_bar_kind kind,
		     struct ram_block *block)
{
	const struct io_region region = {
		.name = block->name,
		.min_size = 1,
		.max_size = 8,
		.read = ram_read,
		.write = ram_write,
		.opaque = block,
	};

	pci_add_bar(f, index, kind, block->size, &region);
	f->bars[index].ram = block;
}

uint64_t pci_bar_address(const struct pci_function *f, unsigned int index)
{
	const struct pci_bar *b = &f->bars[index];
	unsigned int at = PCI_BAR0 + 4 * index;
	uint64_t v = pci_get32(f, at);

	if (b->kind == PCI_BAR_MEM64 || b->kind == PCI_BAR_MEM64_PREF)
		v |= (uint64_t)pci_get32(f, at + 4) << 32;
	return v & ~(b->size - 1);
}

static struct io_bus *bus_of(const struct pci_function *f, const struct pci_bar *b)
{
	return b->kind == PCI_BAR_IO ? &f->vm->pio : &f->vm->mmio;
}

void pci_bar_unmap(struct pci_function *f, unsigned int index)
{
	struct pci_bar *b = &f->bars[index];

	if (!b->mapped)
		return;
	iobus_del(bus_of(f, b), &b->region);
	if (b->ram)
		movable_unmap(f->vm, b->ram);
	b->mapped = false;
	if (f->bar_moved)
		f->bar_moved(f, index);
}

void pci_bar_map(struct pci_function *f, unsigned int index)
{
	struct pci_bar *b = &f->bars[index];
	struct err ignored;

	/* A platform device is in the way of what the guest asks for: it has no BAR then. */
	b->region.base = b->address;
	b->mapped = !iobus_add(bus_of(f, b), &b->region, &ignored);
	/* Without KVM's help each access leaves the guest, and the region serves it. */
	if (b->mapped && b->ram)
		movable_map(f->vm, b->ram, b->address, &ignored);
	if (b->mapped && f->bar_moved)
		f->bar_moved(f, index);
}

void pci_reset(struct pci_function *f)
{
	*f->s = (struct pci_state){ 0 };
	memcpy(f->s->config, f->initial, sizeof(f->initial));
	f->s->nr_vectors = f->nr_vectors;
	for (unsigned int i = 0; i < f->nr_vectors; i++)
		f->s->msix[i].ctrl = PCI_MSIX_VECTOR_MASKED;
	pci_loaded(f);
}

void pci_loaded(struct pci_function *f)
{
	pci_host_remap(f->bus->host);
	pci_host_update_intx(f->bus->host, f);
}

static uint8_t fixed_bits(const struct pci_function *f, unsigned int i)
{
	return (uint8_t) ~(f->mask[i] | f->w1c[i] | f->dynamic[i]);
}

int pci_check_state(const struct pci_function *f, const struct pci_state *s, struct err *e)
{
	for (unsigned int i = 0; i < PCI_CONFIG_BYTES; i++)
		if ((s->config[i] ^ f->initial[i]) & fixed_bits(f, i))
			return err_set(e, EINVAL,
				       "configuration space of %s differs at %#x: %#04x in the "
				       "state, %#04x here",
				       f->dev->path, i, s->config[i], f->initial[i]);
	return msix_check_state(f, s, e);
}

bool pci_is_master(const struct pci_function *f)
{
	return pci_get16(f, PCI_COMMAND) & PCI_COMMAND_MASTER;
}

void pci_set_intx(struct pci_function *f, bool level)
{
	if (f->s->intx_level == level)
		return;
	f->s->intx_level = level;
	pci_host_update_intx(f->bus->host, f);
}

uint32_t pci_config_read(struct pci_function *f, unsigned int offset, unsigned int size)
{
	uint8_t bytes[4] = { 0 };

	if (f->config_reading)
		f->config_reading(f, offset, size);

	/* There are no extended capabilities. */
	for (unsigned int i = 0; i < size && offset + i < PCI_CONFIG_BYTES; i++) {
		bytes[i] = f->s->config[offset + i];
		if (offset + i == PCI_STATUS && f->s->intx_level)
			bytes[i] |= PCI_STATUS_INTERRUPT;
	}
	return (uint32_t)get_le(bytes, size);
}

static bool touches(unsigned int offset, unsigned int size, unsigned int reg, unsigned int bytes)
{
	return offset < reg + bytes && reg < offset + size;
}

void pci_config_write(struct pci_function *f, unsigned int offset, unsigned int size,
		      uint32_t value)
{
	bool was_open = msix_is_open(f);

	for (unsigned int i = 0; i < size && offset + i < PCI_CONFIG_BYTES; i++, value >>= 8) {
		uint8_t *p = &f->s->config[offset + i], v = (uint8_t)value;

		*p = (uint8_t)((*p & ~f->mask[offset + i]) | (v & f->mask[offset + i]));
		*p = (uint8_t)(*p & ~(v & f->w1c[offset + i]));
	}
	/* Header fields that say where something is, of either type. */
	if (touches(offset, size, PCI_COMMAND, 2) || touches(offset, size, PCI_BAR0, 0x24)) {
		pci_host_remap(f->bus->host);
		pci_host_update_intx(f->bus->host, f);
	}
	if (!was_open)
		msix_send_pending(f);
	if (f->config_written)
		f->config_written(f, offset, size);
}
