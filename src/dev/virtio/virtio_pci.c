/* SPDX-License-Identifier: MIT */
/* virtio over PCI (virtio 1.2, section 4.1): capabilities, registers, interrupts, doorbells. */
#include <linux/pci_regs.h>
#include <linux/virtio_pci.h>
#include <stddef.h>
#include <string.h>

#include "base/util.h"
#include "dev/virtio/virtio_impl.h"
#include "machine/vm.h"

/* BARs as QEMU's modern devices have them, and what is where in the second one. */
enum {
	MSIX_BAR = 1,
	REGS_BAR = 4,
	PART_BYTES = 0x1000,
	COMMON_AT = 0x0000,
	ISR_AT = 0x1000,
	DEVICE_AT = 0x2000,
	NOTIFY_AT = 0x3000,
	REGS_BYTES = 0x4000,
	NOTIFY_MULTIPLIER = 4,
};

enum {
	VENDOR = 0x1af4,
	DEVICE_BASE = 0x1040,
	SUBSYSTEM = 0x1100,
	REVISION = 1,
	COMMON_BYTES = sizeof(struct virtio_pci_common_cfg),
};

_Static_assert(VIRTIO_MAX_QUEUES *NOTIFY_MULTIPLIER <= PART_BYTES, "queues have room for notices");

static struct virtio_queue *selected(struct virtio *v)
{
	return v->s->queue_select < v->nr_queues ? &v->queues[v->s->queue_select] : NULL;
}

static void fill_queue_part(struct virtio *v, struct virtio_pci_common_cfg *c)
{
	const struct virtio_queue *vq = selected(v);
	const struct virtqueue_state *q;

	c->queue_msix_vector = PCI_NO_VECTOR;
	if (!vq)
		return;
	q = vq->q.s;
	c->queue_size = (uint16_t)q->size;
	c->queue_msix_vector = q->vector;
	c->queue_enable = q->enabled;
	c->queue_notify_off = (uint16_t)vq->index;
	c->queue_desc_lo = (uint32_t)q->desc;
	c->queue_desc_hi = (uint32_t)(q->desc >> 32);
	c->queue_avail_lo = (uint32_t)q->driver;
	c->queue_avail_hi = (uint32_t)(q->driver >> 32);
	c->queue_used_lo = (uint32_t)q->device;
	c->queue_used_hi = (uint32_t)(q->device >> 32);
}

static uint32_t half(uint64_t v, uint32_t select)
{
	return select > 1 ? 0 : (uint32_t)(v >> 32 * select);
}

/* All registers as they read now; none of them changes by being read. */
static uint64_t common_read(struct virtio *v, uint64_t offset, unsigned int size)
{
	const struct virtio_state *s = v->s;
	struct virtio_pci_common_cfg c = {
		.device_feature_select = s->device_feature_select,
		.device_feature = half(v->features, s->device_feature_select),
		.guest_feature_select = s->driver_feature_select,
		.guest_feature = half(s->features, s->driver_feature_select),
		.msix_config = s->config_vector,
		.num_queues = (uint16_t)v->nr_queues,
		.device_status = s->status,
		.config_generation = s->generation,
		.queue_select = s->queue_select,
	};
	uint64_t value = 0;

	fill_queue_part(v, &c);
	if (offset + size <= sizeof(c))
		memcpy(&value, (const uint8_t *)&c + offset, size);
	return value;
}

static uint16_t check_vector(const struct virtio *v, uint16_t vector)
{
	return vector < v->pci.nr_vectors ? vector : PCI_NO_VECTOR;
}

static void set_half(uint64_t *to, bool high, uint32_t value)
{
	*to = high ? (*to & UINT32_MAX) | (uint64_t)value << 32
		   : (*to & ~(uint64_t)UINT32_MAX) | value;
}

static void write_queue(struct virtio *v, uint64_t offset, unsigned int size, uint32_t value)
{
	struct virtio_queue *vq = selected(v);
	struct virtqueue_state *q;

	if (!vq)
		return;
	q = vq->q.s;
	if (offset == VIRTIO_PCI_COMMON_Q_MSIX && size == 2) {
		q->vector = check_vector(v, (uint16_t)value);
		return;
	}
	/* What is in use stays as it is until the device is reset. */
	if (q->enabled)
		return;
	if (size == 2) {
		if (offset == VIRTIO_PCI_COMMON_Q_ENABLE && value == 1)
			virtio_enable_queue(v, vq);
		else if (offset == VIRTIO_PCI_COMMON_Q_SIZE && value && !(value & (value - 1)) &&
			 value <= vq->q.max_size)
			q->size = value;
	} else if (size == 4) {
		switch (offset & ~4u) {
		case VIRTIO_PCI_COMMON_Q_DESCLO:
			set_half(&q->desc, offset & 4, value);
			break;
		case VIRTIO_PCI_COMMON_Q_AVAILLO:
			set_half(&q->driver, offset & 4, value);
			break;
		case VIRTIO_PCI_COMMON_Q_USEDLO:
			set_half(&q->device, offset & 4, value);
			break;
		}
	}
}

/* Registers are written as wide as they are (section 4.1.3.1); anything else is not understood. */
static void common_write(struct virtio *v, uint64_t offset, unsigned int size, uint32_t value)
{
	struct virtio_state *s = v->s;

	switch (offset << 4 | size) {
	case VIRTIO_PCI_COMMON_DFSELECT << 4 | 4:
		s->device_feature_select = value;
		break;
	case VIRTIO_PCI_COMMON_GFSELECT << 4 | 4:
		s->driver_feature_select = value;
		break;
	case VIRTIO_PCI_COMMON_GF << 4 | 4:
		virtio_set_driver_features(v, value);
		break;
	case VIRTIO_PCI_COMMON_MSIX << 4 | 2:
		s->config_vector = check_vector(v, (uint16_t)value);
		break;
	case VIRTIO_PCI_COMMON_STATUS << 4 | 1:
		virtio_set_status(v, (uint8_t)value);
		break;
	case VIRTIO_PCI_COMMON_Q_SELECT << 4 | 2:
		s->queue_select = (uint16_t)value;
		break;
	default:
		write_queue(v, offset, size, value);
		break;
	}
}

/* Reading it takes it back, and the pin with it. */
static uint64_t isr_read(struct virtio *v)
{
	uint8_t isr = v->s->isr;

	v->s->isr = 0;
	pci_set_intx(&v->pci, false);
	return isr;
}

static uint64_t device_read(struct virtio *v, uint64_t offset, unsigned int size)
{
	uint32_t bytes = v->class->config_bytes;
	uint64_t value = 0;

	if (offset < bytes)
		v->class->read_config(v, (uint32_t)offset, &value,
				      MIN(size, bytes - (uint32_t)offset));
	return value;
}

static uint64_t regs_read(void *opaque, uint64_t offset, unsigned int size)
{
	struct virtio *v = opaque;

	switch (offset & ~(uint64_t)(PART_BYTES - 1)) {
	case COMMON_AT:
		return common_read(v, offset, size);
	case ISR_AT:
		return offset == ISR_AT ? isr_read(v) : 0;
	case DEVICE_AT:
		return device_read(v, offset - DEVICE_AT, size);
	default:
		return 0;
	}
}

static void regs_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
	struct virtio *v = opaque;
	uint64_t queue = (offset - NOTIFY_AT) / NOTIFY_MULTIPLIER;

	switch (offset & ~(uint64_t)(PART_BYTES - 1)) {
	case COMMON_AT:
		common_write(v, offset, size, (uint32_t)value);
		break;
	case DEVICE_AT:
		offset -= DEVICE_AT;
		if (v->class->write_config && offset + size <= v->class->config_bytes)
			v->class->write_config(v, (uint32_t)offset, &value, size);
		break;
	case NOTIFY_AT:
		if (queue < v->nr_queues)
			virtio_kick(v, (unsigned int)queue);
		break;
	}
}

/* Section 4.1.4.9: a window in configuration space, for those that cannot reach the BAR. */
static bool window_access(const struct virtio *v, uint32_t *offset, unsigned int *size)
{
	const struct pci_function *f = &v->pci;
	uint32_t at = pci_get32(f, v->window + VIRTIO_PCI_CAP_OFFSET);
	uint32_t n = pci_get32(f, v->window + VIRTIO_PCI_CAP_LENGTH);

	if (pci_get8(f, v->window + VIRTIO_PCI_CAP_BAR) != REGS_BAR)
		return false;
	if ((n != 1 && n != 2 && n != 4) || at % n || at >= REGS_BYTES)
		return false;
	*offset = at;
	*size = n;
	return true;
}

static bool touches(unsigned int offset, unsigned int size, unsigned int reg, unsigned int bytes)
{
	return offset < reg + bytes && reg < offset + size;
}

static void config_reading(struct pci_function *f, unsigned int offset, unsigned int size)
{
	struct virtio *v = CONTAINER_OF(f, struct virtio, pci);
	unsigned int data = v->window + sizeof(struct virtio_pci_cap), n;
	uint32_t at;
	uint64_t value;

	if (!touches(offset, size, data, 4) || !window_access(v, &at, &n))
		return;
	value = regs_read(v, at, n);
	memcpy(f->s->config + data, &value, n);
}

static void config_written(struct pci_function *f, unsigned int offset, unsigned int size)
{
	struct virtio *v = CONTAINER_OF(f, struct virtio, pci);
	unsigned int data = v->window + sizeof(struct virtio_pci_cap), n;
	uint64_t value = 0;
	uint32_t at;

	if (touches(offset, size, data, 4) && window_access(v, &at, &n)) {
		memcpy(&value, f->s->config + data, n);
		regs_write(v, at, n, value);
	}
	/* Queues that were not looked at while the device was not a bus master. */
	if (touches(offset, size, PCI_COMMAND, 2))
		virtio_kick_all(v);
}

static void bar_moved(struct pci_function *f, unsigned int index)
{
	if (index == REGS_BAR)
		virtio_pci_place_doorbells(CONTAINER_OF(f, struct virtio, pci));
}

void virtio_pci_place_doorbells(struct virtio *v)
{
	const struct pci_bar *b = &v->pci.bars[REGS_BAR];

	for (unsigned int i = 0; i < v->nr_queues; i++) {
		struct virtio_queue *vq = &v->queues[i];

		/* Not yet made, or on its way out. */
		if (!vq->bell.vm)
			continue;
		if (!b->mapped)
			doorbell_remove(&vq->bell);
		else if (vq->q.s->enabled)
			doorbell_place(&vq->bell, b->region.base + NOTIFY_AT +
							  (uint64_t)i * NOTIFY_MULTIPLIER);
	}
}

void virtio_pci_interrupt(struct virtio *v, uint16_t vector, uint8_t isr)
{
	if (pci_msix_enabled(&v->pci)) {
		if (vector != PCI_NO_VECTOR)
			pci_notify(&v->pci, vector);
		return;
	}
	v->s->isr |= isr;
	pci_set_intx(&v->pci, true);
}

static int add_part(struct virtio *v, uint8_t type, uint32_t at, uint32_t bytes, unsigned int more,
		    struct err *e)
{
	int cap = pci_add_capability(&v->pci, PCI_CAP_ID_VNDR, sizeof(struct virtio_pci_cap) + more,
				     e);
	uint8_t *p = v->pci.initial + cap;

	if (cap < 0)
		return cap;
	p[VIRTIO_PCI_CAP_LEN] = (uint8_t)(sizeof(struct virtio_pci_cap) + more);
	p[VIRTIO_PCI_CAP_CFG_TYPE] = type;
	p[VIRTIO_PCI_CAP_BAR] = REGS_BAR;
	pci_set_initial32(&v->pci, (unsigned int)cap + VIRTIO_PCI_CAP_OFFSET, at, 0);
	pci_set_initial32(&v->pci, (unsigned int)cap + VIRTIO_PCI_CAP_LENGTH, bytes, 0);
	return cap;
}

static int add_window(struct virtio *v, struct err *e)
{
	struct pci_function *f = &v->pci;
	int cap = add_part(v, VIRTIO_PCI_CAP_PCI_CFG, 0, 0, 4, e);
	unsigned int at = (unsigned int)cap;

	if (cap < 0)
		return cap;
	f->initial[at + VIRTIO_PCI_CAP_BAR] = 0;
	f->mask[at + VIRTIO_PCI_CAP_BAR] = 0xff;
	pci_set_initial32(f, at + VIRTIO_PCI_CAP_OFFSET, 0, UINT32_MAX);
	pci_set_initial32(f, at + VIRTIO_PCI_CAP_LENGTH, 0, UINT32_MAX);
	pci_set_initial32(f, at + sizeof(struct virtio_pci_cap), 0, UINT32_MAX);
	v->window = (uint8_t)at;
	return 0;
}

static int add_capabilities(struct virtio *v, struct err *e)
{
	unsigned int vectors = v->nr_vectors < 0 ? 0 : (unsigned int)v->nr_vectors;
	int r, notify;

	if (!v->nr_vectors)
		vectors = v->nr_queues + 1;
	r = vectors ? pci_add_msix(&v->pci, MSIX_BAR, vectors, e) : 0;
	if (r >= 0)
		r = add_part(v, VIRTIO_PCI_CAP_COMMON_CFG, COMMON_AT, COMMON_BYTES, 0, e);
	if (r < 0)
		return r;
	notify = add_part(v, VIRTIO_PCI_CAP_NOTIFY_CFG, NOTIFY_AT, v->nr_queues * NOTIFY_MULTIPLIER,
			  4, e);
	if (notify < 0)
		return notify;
	pci_set_initial32(&v->pci, (unsigned int)notify + VIRTIO_PCI_NOTIFY_CAP_MULT,
			  NOTIFY_MULTIPLIER, 0);
	r = add_part(v, VIRTIO_PCI_CAP_ISR_CFG, ISR_AT, 1, 0, e);
	if (r >= 0 && v->class->config_bytes)
		r = add_part(v, VIRTIO_PCI_CAP_DEVICE_CFG, DEVICE_AT, v->class->config_bytes, 0, e);
	return r < 0 ? r : add_window(v, e);
}

int virtio_pci_init(struct virtio *v, struct vm *vm, struct device *dev,
		    const struct device_config *config, struct err *e)
{
	const struct pci_ident ident = {
		.vendor = VENDOR,
		.device = (uint16_t)(DEVICE_BASE + v->class->device_id),
		.subsystem_vendor = VENDOR,
		.subsystem = SUBSYSTEM,
		.revision = REVISION,
		.class_code = v->class->pci_class,
		.intx = true,
	};
	const struct io_region regs = {
		.name = "virtio",
		.min_size = 1,
		.max_size = 4,
		.read = regs_read,
		.write = regs_write,
		.opaque = v,
	};
	int r = pci_function_init(&v->pci, vm, dev, &v->s->pci, config, &ident, e);

	if (r)
		return r;
	r = add_capabilities(v, e);
	if (r)
		return r;
	pci_add_bar(&v->pci, REGS_BAR, PCI_BAR_MEM64_PREF, REGS_BYTES, &regs);
	v->pci.config_written = config_written;
	v->pci.config_reading = config_reading;
	v->pci.bar_moved = bar_moved;
	return 0;
}
