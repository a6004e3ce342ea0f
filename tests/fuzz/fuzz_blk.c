/* SPDX-License-Identifier: MIT */
/* A driver that does what the bytes say with the ring of a disk, on an image in memory. */
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/util.h"
#include "dev/virtio/blk.h"
#include "dev/virtio/blk_impl.h"
#include "fuzz.h"
#include "machine/vm.h"

enum {
	RAM = 0x10000,
	IMAGE_BYTES = 0x8000,
	SIZE = 32,
	DESC = 0,
	AVAIL = 0x1000,
	USED = 0x2000,
	HEADER = 0x3000, /* a good one is put there */
	MSIX_CAP = 0x40,
};

enum op {
	OP_POKE,
	OP_DESC,
	OP_HEADER, /* a header that is right but for its numbers */
	OP_OFFER,
	OP_RING,
	OP_STOP_AND_GO,
	OP_CUT, /* the image is cut off, or made whole */
	OP_RESET,
	OP_COUNT,
};

struct world {
	pthread_mutex_t lock;
	struct vm vm;
	struct ram_block ram;
	struct uring *uring;
	struct disk disk;
	struct backend backend;
	struct blk blk;
};

static const struct disk_front front = { .batch_done = blk_batch_done };

static void begin_queue(struct world *w)
{
	struct virtqueue *q = &w->blk.h.virtio.queues[0].q;

	virtqueue_reset(q);
	*q->s = (struct virtqueue_state){ .desc = DESC,
					  .driver = AVAIL,
					  .device = USED,
					  .size = SIZE,
					  .vector = PCI_NO_VECTOR,
					  .enabled = true };
	MUST(virtqueue_map(q));
	w->blk.s.virtio.status = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER |
				 VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK;
}

static void begin(struct world *w, uint8_t how)
{
	struct disk_config c = { .read_only = how & 1, .unmap = how & 2, .any_name = true };
	struct blk *b = &w->blk;
	struct virtio *v = &b->h.virtio;
	struct err e;
	int fd = memfd_create("image", MFD_CLOEXEC);

	pthread_mutex_init(&w->lock, NULL);
	pthread_mutex_lock(&w->lock);
	MUST(!loop_create(&w->vm.loop, &w->lock, &e) && !uring_create(&w->uring, w->vm.loop, &e));
	list_init(&w->vm.observers);
	loop_work_init(&w->vm.request_work, (void (*)(void *))abort, NULL);
	uring_make_synchronous(w->uring);
	MUST(!ftruncate(fd, IMAGE_BYTES));
	c.read_only = false;
	MUST(!disk_open(&w->disk, &c, fd, w->uring, &e));
	w->disk.config.read_only = how & 1;
	w->backend = (struct backend){ .kind = BACKEND_DRIVE, .id = "d", .object = &w->disk };
	w->ram = (struct ram_block){ .size = RAM, .host = calloc(1, RAM), .in_guest = true };
	w->vm.mem.ranges[0] = (struct mem_range){ 0, RAM, &w->ram, 0 };
	w->vm.mem.nr_ranges = 1;
	b->dev.vm = &w->vm;
	b->h.backend = &w->backend;
	b->h.disk = &w->disk;
	b->h.rerror = how & 4 ? DISK_ERROR_STOP : DISK_ERROR_REPORT;
	b->h.werror = how & 8 ? DISK_ERROR_STOP : DISK_ERROR_IGNORE;
	/* Told once, which is enough for the log. */
	b->h.told_ns = UINT64_MAX / 2;
	b->s.capacity = IMAGE_BYTES / DISK_SECTOR;
	b->s.block_bytes = how & 16 ? 4096 : DISK_SECTOR;
	b->s.writeback = how & 32;
	b->h.merging = !(how & 64);
	disk_attach(&w->disk, &front, b);
	v->vm = &w->vm;
	v->s = &b->s.virtio;
	v->nr_queues = 1;
	v->opaque = b;
	v->running = true;
	v->said_ns = UINT64_MAX / 2;
	v->pci.dev = &b->dev;
	v->pci.s = &b->s.virtio.pci;
	v->pci.msix_cap = MSIX_CAP;
	loop_work_init(&v->kick_work, (void (*)(void *))abort, NULL);
	b->s.virtio.pci.config[4] = 4;
	b->s.virtio.pci.config[MSIX_CAP + 3] = 0x80;
	b->s.virtio.config_vector = PCI_NO_VECTOR;
	b->s.virtio.features = UINT64_MAX;
	v->queues[0].q = (struct virtqueue){
		.mem = &w->vm.mem, .s = &b->s.virtio.queues[0], .max_size = SIZE, .indirect = true
	};
	v->queues[0].virtio = v;
	begin_queue(w);
}

static void end(struct world *w)
{
	struct err e;

	MUST(!disk_drain(&w->disk, UINT64_MAX, &e));
	blk_free_requests(&w->blk);
	disk_close(&w->disk);
	loop_work_cancel(w->vm.loop, &w->blk.h.virtio.kick_work);
	loop_work_cancel(w->vm.loop, &w->vm.request_work);
	uring_destroy(w->uring);
	loop_destroy(w->vm.loop);
	pthread_mutex_unlock(&w->lock);
	pthread_mutex_destroy(&w->lock);
	free(w->ram.host);
	free(w);
}

static void poke(struct world *w, uint64_t gpa, const void *p, size_t n)
{
	if (gpa <= RAM - n)
		memcpy(w->ram.host + gpa, p, n);
}

static void write_desc(struct world *w, struct fuzz_bytes *b)
{
	uint8_t at = fuzz_u8(b) % SIZE, how = fuzz_u8(b);
	struct vring_desc d = {
		.addr = how & 0x10 ? fuzz_u64(b) : fuzz_u16(b),
		.len = how & 0x20   ? fuzz_u32(b)
		       : how & 0x40 ? 512u * fuzz_u8(b)
				    : fuzz_u8(b),
		.flags = how & 7,
		.next = fuzz_u8(b) % (SIZE + 1),
	};

	poke(w, DESC + 16u * at, &d, sizeof(d));
}

static void write_header(struct world *w, struct fuzz_bytes *b)
{
	uint8_t how = fuzz_u8(b);
	struct virtio_blk_outhdr h = { .type = how % 16,
				       .sector = how & 0x80 ? fuzz_u64(b) : fuzz_u8(b) };

	poke(w, HEADER + (how & 0x70), &h, sizeof(h));
}

static void offer(struct world *w, struct fuzz_bytes *b)
{
	uint16_t idx, head = fuzz_u8(b) % (SIZE + 1);

	memcpy(&idx, w->ram.host + AVAIL + 2, 2);
	poke(w, AVAIL + 4 + 2u * (idx % SIZE), &head, 2);
	idx++;
	poke(w, AVAIL + 2, &idx, 2);
}

/* All that was taken is given back, set aside, or the driver has to reset the device. */
static void drain(struct world *w)
{
	struct err e;

	MUST(!disk_drain(&w->disk, UINT64_MAX, &e) && !w->disk.in_flight);
	MUST(!w->blk.h.virtio.queues[0].q.in_flight);
}

static void ring(struct world *w)
{
	struct virtio *v = &w->blk.h.virtio;

	if (!virtio_is_live(v))
		return;
	virtqueue_begin(&v->queues[0].q);
	blk_handle_queue(v, 0);
	virtqueue_end(&v->queues[0].q);
	drain(w);
}

static void step(struct world *w, struct fuzz_bytes *b)
{
	uint8_t data[16];
	uint16_t at;

	switch ((enum op)(fuzz_u8(b) % OP_COUNT)) {
	case OP_POKE:
		at = fuzz_u16(b);
		poke(w, at, data, fuzz_take(b, data, 1 + at % sizeof(data)));
		break;
	case OP_DESC:
		write_desc(w, b);
		break;
	case OP_HEADER:
		write_header(w, b);
		break;
	case OP_OFFER:
		offer(w, b);
		break;
	case OP_RING:
		ring(w);
		break;
	case OP_STOP_AND_GO:
		/* Bits as a state could have them. */
		if (fuzz_u8(b) & 1)
			w->blk.s.aside[fuzz_u8(b) % BLK_HEAD_WORDS] |= fuzz_u64(b);
		blk_retry(&w->blk);
		drain(w);
		break;
	case OP_CUT:
		MUST(!ftruncate(w->disk.fd, fuzz_u8(b) & 1 ? IMAGE_BYTES : fuzz_u16(b)));
		break;
	case OP_RESET:
	case OP_COUNT:
		memset(w->blk.s.aside, 0, sizeof(w->blk.s.aside));
		memset(w->ram.host + AVAIL, 0, 4);
		begin_queue(w);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_bytes b = { data, size };
	struct world *w = calloc(1, sizeof(*w));

	begin(w, fuzz_u8(&b));
	while (b.left)
		step(w, &b);
	end(w);
	return 0;
}
