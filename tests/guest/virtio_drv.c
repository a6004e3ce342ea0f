/* SPDX-License-Identifier: MIT */
/* virtio_drv.c - a driver of modern virtio devices on PCI bus 0, for small guests. */
#include "virtio_drv.h"

#define PORT_ADDRESS 0xcf8
#define PORT_DATA    0xcfc
#define ENABLE       0x80000000u
#define SLOTS        32
#define VENDOR       0x1af4u
#define ID_BASE      0x1040u

#define REG_ID         0x00
#define REG_COMMAND    0x04
#define REG_BAR0       0x10
#define REG_CAPS       0x34
#define COMMAND        6u /* memory, bus master */
#define COMMAND_MASTER 4u
#define BARS           6
#define BAR_64         4u
#define CAP_VENDOR     0x09
#define CAP_MSIX       0x11
#define MSIX_ENABLE    0x80000000u

#define CFG_COMMON 1
#define CFG_NOTIFY 2
#define CFG_ISR    3
#define CFG_DEVICE 4

#define C_DEV_SELECT 0x00
#define C_DEV_BITS   0x04
#define C_DRV_SELECT 0x08
#define C_DRV_BITS   0x0c
#define C_STATUS     0x14
#define C_SELECT     0x16
#define C_SIZE       0x18
#define C_VECTOR     0x1a
#define C_ENABLE     0x1c
#define C_NOTIFY     0x1e
#define C_DESC       0x20
#define C_AVAIL      0x28
#define C_USED       0x30

#define DESC_NEXT      1
#define DESC_WRITE     2
#define AVAIL_NO_IRQ   1
#define USED_NO_NOTIFY 1

static void outl(uint16_t port, uint32_t value)
{
	__asm__ volatile("outl %0, %1" ::"a"(value), "Nd"(port));
}

static uint32_t inl(uint16_t port)
{
	uint32_t value;

	__asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

static volatile uint8_t *reg8(uint64_t a)
{
	return (volatile uint8_t *)a;
}

static volatile uint16_t *reg16(uint64_t a)
{
	return (volatile uint16_t *)a;
}

static volatile uint32_t *reg32(uint64_t a)
{
	return (volatile uint32_t *)a;
}

uint32_t pci_read(uint8_t slot, uint8_t reg)
{
	outl(PORT_ADDRESS, ENABLE | (uint32_t)slot << 11 | (reg & 0xfcu));
	return inl(PORT_DATA) >> (reg & 3) * 8;
}

void pci_write(uint8_t slot, uint8_t reg, uint32_t value)
{
	outl(PORT_ADDRESS, ENABLE | (uint32_t)slot << 11 | (reg & 0xfcu));
	outl(PORT_DATA, value);
}

bool vd_find(struct vd *d, uint16_t id, unsigned int nth)
{
	uint8_t slot;

	for (slot = 0; slot < SLOTS; slot++) {
		if (pci_read(slot, REG_ID) != (VENDOR | (ID_BASE + id) << 16) || nth--)
			continue;
		*d = (struct vd){ .slot = slot };
		return true;
	}
	return false;
}

/* One after the other from @gpa on, each aligned to its size. */
static void place_bars(struct vd *d, uint64_t gpa, uint64_t bars[BARS])
{
	unsigned int i, reg;
	uint32_t low, size;

	for (i = 0; i < BARS; i++) {
		reg = REG_BAR0 + 4 * i;
		pci_write(d->slot, (uint8_t)reg, ~0u);
		low = pci_read(d->slot, (uint8_t)reg);
		size = ~(low & ~0xfu) + 1;
		bars[i] = 0;
		if (!low)
			continue;
		gpa = (gpa + size - 1) & ~(uint64_t)(size - 1);
		pci_write(d->slot, (uint8_t)reg, (uint32_t)gpa);
		bars[i] = gpa;
		gpa += size;
		if (low & BAR_64)
			pci_write(d->slot, (uint8_t)(REG_BAR0 + 4 * ++i), 0);
	}
	pci_write(d->slot, REG_COMMAND, COMMAND);
}

static void find_parts(struct vd *d, const uint64_t bars[BARS])
{
	uint8_t at = (uint8_t)pci_read(d->slot, REG_CAPS), type;
	uint64_t where;

	for (; at; at = (uint8_t)pci_read(d->slot, at + 1)) {
		uint8_t id = (uint8_t)pci_read(d->slot, at);

		if (id == CAP_MSIX) {
			where = pci_read(d->slot, at + 4);
			d->msix_cap = at;
			d->msix = bars[where & 7] + (where & ~7ul);
		}
		if (id != CAP_VENDOR)
			continue;
		type = (uint8_t)pci_read(d->slot, at + 3);
		where = bars[(uint8_t)pci_read(d->slot, at + 4) % BARS] + pci_read(d->slot, at + 8);
		if (type == CFG_COMMON)
			d->common = where;
		if (type == CFG_NOTIFY) {
			d->notify = where;
			d->multiplier = pci_read(d->slot, at + 16);
		}
		if (type == CFG_ISR)
			d->isr = where;
		if (type == CFG_DEVICE)
			d->config = where;
	}
}

static bool fail(void)
{
	abi_head()->errors++;
	return false;
}

static void set_status(const struct vd *d, uint8_t bits)
{
	*reg8(d->common + C_STATUS) = *reg8(d->common + C_STATUS) | bits;
}

bool vd_start(struct vd *d, uint64_t gpa, uint64_t wanted)
{
	uint64_t bars[BARS], offered;

	place_bars(d, gpa, bars);
	find_parts(d, bars);
	if (!d->common || !d->notify || !d->isr)
		return fail();
	*reg8(d->common + C_STATUS) = 0;
	while (*reg8(d->common + C_STATUS))
		;
	set_status(d, VD_ACKNOWLEDGE);
	set_status(d, VD_DRIVER);
	*reg32(d->common + C_DEV_SELECT) = 0;
	offered = *reg32(d->common + C_DEV_BITS);
	*reg32(d->common + C_DEV_SELECT) = 1;
	offered |= (uint64_t)*reg32(d->common + C_DEV_BITS) << 32;
	d->features = offered & (wanted | VD_F_VERSION_1);
	*reg32(d->common + C_DRV_SELECT) = 0;
	*reg32(d->common + C_DRV_BITS) = (uint32_t)d->features;
	*reg32(d->common + C_DRV_SELECT) = 1;
	*reg32(d->common + C_DRV_BITS) = (uint32_t)(d->features >> 32);
	set_status(d, VD_FEATURES_OK);
	if (!(*reg8(d->common + C_STATUS) & VD_FEATURES_OK))
		return fail();
	if (d->msix_cap)
		pci_write(d->slot, d->msix_cap, MSIX_ENABLE);
	return true;
}

static void set_vector(struct vd *d, uint16_t entry, uint8_t vector)
{
	uint64_t at = d->msix + 16 * (uint64_t)entry;

	*reg32(at) = (uint32_t)LAPIC_GPA;
	*reg32(at + 4) = 0;
	*reg32(at + 8) = vector;
	*reg32(at + 12) = 0;
}

static void set_address(const struct vd *d, uint32_t reg, uint64_t gpa)
{
	*reg32(d->common + reg) = (uint32_t)gpa;
	*reg32(d->common + reg + 4) = (uint32_t)(gpa >> 32);
}

bool vd_queue(struct vd *d, struct vq *q, uint16_t index, uint16_t size, uint64_t gpa,
	      uint8_t vector)
{
	uint16_t i;

	if (size > VQ_MAX)
		return fail();
	memset((void *)gpa, 0, VQ_BYTES);
	memset(q, 0, sizeof(*q));
	q->d = d;
	q->index = index;
	q->size = size;
	q->desc = (volatile struct vq_desc *)gpa;
	q->avail = reg16(gpa + 0x1000);
	q->used = reg8(gpa + 0x2000);
	for (i = 0; i < size; i++)
		q->free[q->nr_free++] = i;
	*reg16(d->common + C_SELECT) = index;
	if (*reg16(d->common + C_SIZE) < size)
		return fail();
	*reg16(d->common + C_SIZE) = size;
	set_address(d, C_DESC, gpa);
	set_address(d, C_AVAIL, gpa + 0x1000);
	set_address(d, C_USED, gpa + 0x2000);
	if (vector) {
		set_vector(d, index, vector);
		*reg16(d->common + C_VECTOR) = index;
		if (*reg16(d->common + C_VECTOR) != index)
			return fail();
	} else {
		q->avail[0] = AVAIL_NO_IRQ;
	}
	vq_moved(q);
	*reg16(d->common + C_ENABLE) = 1;
	return true;
}

void vd_move(struct vd *d, uint64_t gpa)
{
	uint64_t bars[BARS];

	/* What is being moved is nowhere meanwhile. */
	pci_write(d->slot, REG_COMMAND, COMMAND_MASTER);
	place_bars(d, gpa, bars);
	find_parts(d, bars);
}

void vq_moved(struct vq *q)
{
	const struct vd *d = q->d;

	*reg16(d->common + C_SELECT) = q->index;
	q->notify = d->notify + *reg16(d->common + C_NOTIFY) * (uint64_t)d->multiplier;
}

void vd_ready(struct vd *d)
{
	set_status(d, VD_DRIVER_OK);
}

bool vd_is_broken(const struct vd *d)
{
	return *reg8(d->common + C_STATUS) & VD_NEEDS_RESET;
}

uint32_t vd_config(const struct vd *d, uint32_t offset, uint32_t bytes)
{
	uint64_t at = d->config + offset;

	return bytes == 1 ? *reg8(at) : bytes == 2 ? *reg16(at) : *reg32(at);
}

bool vq_add(struct vq *q, const struct vq_buf *bufs, unsigned int nr_out, unsigned int nr_in,
	    uint64_t cookie)
{
	unsigned int n = nr_out + nr_in, i;
	uint16_t head = 0, at;

	if (!n || n > q->nr_free)
		return false;
	/* From the last to the first, so that each knows the one that follows. */
	for (i = n; i--;) {
		at = q->free[--q->nr_free];
		q->desc[at].addr = bufs[i].gpa;
		q->desc[at].len = bufs[i].len;
		q->desc[at].flags =
			(uint16_t)((i + 1 < n ? DESC_NEXT : 0) | (i >= nr_out ? DESC_WRITE : 0));
		q->desc[at].next = head;
		head = at;
	}
	q->length[head] = (uint16_t)n;
	q->cookie[head] = cookie;
	q->avail[2 + (q->avail_idx & (q->size - 1))] = head;
	__atomic_store_n(&q->avail[1], ++q->avail_idx, __ATOMIC_RELEASE);
	return true;
}

void vq_kick(struct vq *q)
{
	uint16_t told = q->told, event;

	if (told == q->avail_idx)
		return;
	q->told = q->avail_idx;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (q->d->features & VD_F_EVENT_IDX) {
		event = *(volatile uint16_t *)(q->used + 4 + 8 * q->size);
		if ((uint16_t)(q->avail_idx - event - 1) >= (uint16_t)(q->avail_idx - told))
			return;
	} else if (*(volatile uint16_t *)q->used & USED_NO_NOTIFY) {
		return;
	}
	q->kicks++;
	*reg16(q->notify) = q->index;
}

/* Its descriptors are free again. */
static void release(struct vq *q, uint16_t head)
{
	uint16_t n = q->length[head], at = head;

	q->length[head] = 0;
	while (n--) {
		q->free[q->nr_free++] = at;
		at = q->desc[at].next;
	}
}

bool vq_collect(struct vq *q, uint64_t *cookie, uint32_t *len)
{
	uint16_t idx = __atomic_load_n((volatile uint16_t *)(q->used + 2), __ATOMIC_ACQUIRE);
	volatile struct vq_used *u;
	uint32_t id;

	if (idx == q->used_idx)
		return false;
	u = (volatile struct vq_used *)(q->used + 4) + (q->used_idx & (q->size - 1));
	id = u->id;
	/* Not one of ours, or given back twice. */
	if (id >= q->size || !q->length[id] || (uint16_t)(idx - q->used_idx) > q->size)
		return fail();
	*cookie = q->cookie[id];
	*len = u->len;
	release(q, (uint16_t)id);
	q->used_idx++;
	q->collected++;
	return true;
}

bool vq_want_interrupt(struct vq *q)
{
	q->avail[2 + q->size] = q->used_idx;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return __atomic_load_n((volatile uint16_t *)(q->used + 2), __ATOMIC_ACQUIRE) != q->used_idx;
}
