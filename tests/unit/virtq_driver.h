/* SPDX-License-Identifier: MIT */
/* A driver's side of a split virtqueue in a piece of memory, for tests. */
#ifndef TESTS_UNIT_VIRTQ_DRIVER_H
#define TESTS_UNIT_VIRTQ_DRIVER_H

#include <linux/virtio_ring.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "dev/virtio/virtqueue.h"
#include "machine/memmap.h"

enum {
	DRV_RAM = 1 << 20,
	DRV_DESC = 0x10000, /* where the parts of the ring are */
	DRV_AVAIL = 0x18000,
	DRV_USED = 0x20000,
	DRV_DATA = 0x40000, /* what the buffers are made of    */
};

/* Guest memory, in two ranges that touch, and then a third one that can only be read. */
struct drv_memory {
	struct memmap map;
	struct ram_block ram, rom;
	uint8_t *host, *rom_host;
};

#define DRV_SPLIT (0x80000)
#define DRV_ROM   (0x200000)

static inline void drv_memory_init(struct drv_memory *m)
{
	*m = (struct drv_memory){ .host = calloc(1, DRV_RAM), .rom_host = calloc(1, 4096) };
	m->ram = (struct ram_block){ .size = DRV_RAM, .host = m->host, .in_guest = true };
	m->rom = (struct ram_block){
		.size = 4096, .host = m->rom_host, .in_guest = true, .readonly = true
	};
	m->map.ram = &m->ram;
	m->map.ranges[0] = (struct mem_range){ 0, DRV_SPLIT, &m->ram, 0 };
	/* What follows in guest memory is elsewhere on the host: the last quarter comes first. */
	m->map.ranges[1] = (struct mem_range){ DRV_SPLIT, DRV_RAM / 4, &m->ram, DRV_RAM * 3 / 4 };
	m->map.ranges[2] =
		(struct mem_range){ DRV_SPLIT + DRV_RAM / 4, DRV_RAM / 4, &m->ram, DRV_SPLIT };
	m->map.ranges[3] = (struct mem_range){ DRV_ROM, 4096, &m->rom, 0 };
	m->map.nr_ranges = 4;
}

static inline void drv_memory_fini(struct drv_memory *m)
{
	free(m->host);
	free(m->rom_host);
}

static inline void *drv_ptr(const struct drv_memory *m, gpa_t gpa)
{
	return memmap_host_ptr(&m->map, gpa, 1);
}

struct drv {
	struct drv_memory *mem;
	struct vring_desc *desc;
	uint16_t *avail; /* flags, idx, ring, used_event                      */
	uint8_t *used;
	uint32_t size;
	bool event_idx;
	uint16_t avail_idx, kicked; /* the last index the device was told of  */
	uint16_t used_seen;
};

static inline void drv_init(struct drv *d, struct drv_memory *m, uint32_t size, bool event_idx)
{
	*d = (struct drv){ .mem = m, .size = size, .event_idx = event_idx };
	d->desc = drv_ptr(m, DRV_DESC);
	d->avail = drv_ptr(m, DRV_AVAIL);
	d->used = drv_ptr(m, DRV_USED);
	memset(d->desc, 0, 16 * (size_t)size);
	memset(d->avail, 0, 6 + 2 * (size_t)size);
	memset(d->used, 0, 6 + 8 * (size_t)size);
}

/* What a device's queue has to say to be that of drv_init(). */
static inline struct virtqueue_state drv_state(const struct drv *d)
{
	return (struct virtqueue_state){
		.desc = DRV_DESC,
		.driver = DRV_AVAIL,
		.device = DRV_USED,
		.size = d->size,
		.vector = 0xffff,
		.last_avail = d->avail_idx,
		.used = d->used_seen,
		.enabled = true,
	};
}

static inline void drv_set(struct drv *d, unsigned int i, gpa_t gpa, uint32_t len, uint16_t flags,
			   uint16_t next)
{
	d->desc[i] = (struct vring_desc){ .addr = gpa, .len = len, .flags = flags, .next = next };
}

/* Makes the chain at @head available. */
static inline void drv_offer(struct drv *d, uint16_t head)
{
	d->avail[2 + (d->avail_idx & (d->size - 1))] = head;
	d->avail_idx++;
	__atomic_store_n(&d->avail[1], d->avail_idx, __ATOMIC_RELEASE);
}

/* Whether the device wants to be notified of what was offered since the last call. */
static inline bool drv_must_kick(struct drv *d)
{
	uint16_t old = d->kicked, event;

	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	d->kicked = d->avail_idx;
	event = __atomic_load_n(
		(uint16_t *)(d->used + (d->event_idx ? 4 + 8 * (size_t)d->size : 0)),
		__ATOMIC_RELAXED);
	if (!d->event_idx)
		return !(event & VRING_USED_F_NO_NOTIFY);
	return vring_need_event(event, d->avail_idx, old);
}

/* The next chain the device gave back; false if there is none. */
static inline bool drv_collect(struct drv *d, struct vring_used_elem *out)
{
	if (__atomic_load_n((uint16_t *)(d->used + 2), __ATOMIC_ACQUIRE) == d->used_seen)
		return false;
	memcpy(out, d->used + 4 + 8 * (size_t)(d->used_seen & (d->size - 1)), sizeof(*out));
	d->used_seen++;
	return true;
}

/* Asks for an interrupt with the next chain; true if one has come meanwhile. */
static inline bool drv_want_interrupt(struct drv *d)
{
	__atomic_store_n(&d->avail[2 + d->size], d->used_seen, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return __atomic_load_n((uint16_t *)(d->used + 2), __ATOMIC_ACQUIRE) != d->used_seen;
}

#endif
