/* SPDX-License-Identifier: MIT */
/* virtio-blk (virtio 1.2, section 5.2): a disk: requests. */
#include <errno.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/util.h"
#include "dev/virtio/blk.h"
#include "dev/virtio/blk_impl.h"
#include "host/clock.h"
#include "machine/vm.h"

/* Errors are told to the operator once in that time. */
#define TELL_NS UINT64_C(1000000000)

#define BIT(n) (UINT64_C(1) << (n))

enum {
	SERIAL_BYTES = 20,
	/* What several requests may be merged into: enough for a host's disk to be at its best. */
	MERGED_BYTES = 1 << 20,
};

static struct virtqueue *queue_of(struct blk *b, unsigned int index)
{
	return &b->h.virtio.queues[index].q;
}

static struct blk_request *get_request(struct blk *b)
{
	struct blk_request *r = b->h.free;

	if (r)
		b->h.free = r->next;
	else
		r = malloc(sizeof(*r));
	if (r)
		r->blk = b;
	return r;
}

static void put_request(struct blk_request *r)
{
	r->next = r->blk->h.free;
	r->blk->h.free = r;
}

void blk_free_requests(struct blk *b)
{
	while (b->h.free) {
		struct blk_request *r = b->h.free;

		b->h.free = r->next;
		free(r);
	}
}

/* What was given back is shown to the driver, once for many. */
static void publish(struct blk *b)
{
	while (b->h.filled) {
		unsigned int i = (unsigned int)__builtin_ctz(b->h.filled);

		b->h.filled &= b->h.filled - 1;
		virtqueue_publish(queue_of(b, i));
		virtio_notify(&b->h.virtio, i);
	}
}

static void give_back(struct blk_request *r, uint8_t status)
{
	struct blk *b = r->blk;

	*r->status = status;
	virtqueue_fill(queue_of(b, r->queue), r->head, r->in_bytes);
	b->h.filled |= 1u << r->queue;
	put_request(r);
}

static uint64_t *aside_word(struct blk *b, unsigned int queue, unsigned int head)
{
	return &b->s.aside[queue * BLK_HEAD_WORDS + head / 64];
}

static void set_aside(struct blk_request *r)
{
	struct blk *b = r->blk;

	virtqueue_set_aside(queue_of(b, r->queue));
	*aside_word(b, r->queue, r->head) |= BIT(r->head % 64);
	put_request(r);
}

static enum disk_on_error action_on(const struct blk *b, bool write, int error)
{
	enum disk_on_error a = write ? b->h.werror : b->h.rerror;

	if (a == DISK_ERROR_ENOSPC)
		return error == ENOSPC ? DISK_ERROR_STOP : DISK_ERROR_REPORT;
	return a;
}

static void tell_error(struct blk *b, bool write, int error, enum disk_on_error action)
{
	const struct vm_disk_error what = {
		.drive = b->h.backend->id,
		.action = action == DISK_ERROR_STOP     ? "stop"
			  : action == DISK_ERROR_IGNORE ? "ignore"
							: "report",
		.reason = strerror(error),
		.write = write,
		.no_space = error == ENOSPC,
	};
	uint64_t now = clock_boottime_ns();

	if (action != DISK_ERROR_STOP && b->h.told_ns && now - b->h.told_ns < TELL_NS)
		return;
	b->h.told_ns = now;
	log_warn("drive '%s': cannot %s: %s", what.drive, write ? "write" : "read", what.reason);
	vm_notify_disk_error(b->dev.vm, &what);
}

static void request_failed(struct blk_request *r, int error)
{
	struct blk *b = r->blk;
	bool write = r->io.op != DISK_READ;
	enum disk_on_error action = action_on(b, write, error);

	/* The driver has given it up already; and this may be its vCPU's thread. */
	if (b->h.resetting) {
		give_back(r, VIRTIO_BLK_S_IOERR);
		return;
	}
	tell_error(b, write, error, action);
	if (action == DISK_ERROR_STOP) {
		b->h.disk->failed = true;
		b->h.disk->no_space = error == ENOSPC;
		set_aside(r);
		vm_request_io_error(b->dev.vm);
	} else {
		give_back(r, action == DISK_ERROR_IGNORE ? VIRTIO_BLK_S_OK : VIRTIO_BLK_S_IOERR);
	}
}

static void request_done(struct disk_request *io, int result)
{
	struct blk_request *r = CONTAINER_OF(io, struct blk_request, io);

	if (result)
		request_failed(r, -result);
	else
		give_back(r, VIRTIO_BLK_S_OK);
}

/* The range is of whole logical blocks on the disk. */
static bool is_on_disk(const struct blk *b, uint64_t sector, uint64_t bytes)
{
	uint64_t sectors = bytes / DISK_SECTOR;

	return !(bytes % b->s.block_bytes) && !(sector % (b->s.block_bytes / DISK_SECTOR)) &&
	       sectors <= b->s.capacity && sector <= b->s.capacity - sectors;
}

static void prepare(struct blk_request *r, enum disk_op op, uint64_t sector, uint64_t bytes)
{
	struct blk *b = r->blk;

	r->io.op = op;
	r->io.offset = sector * DISK_SECTOR;
	r->io.bytes = bytes;
	r->io.sync = !b->s.writeback;
	r->io.done = request_done;
}

/* The requests that @carrier stands for have the same end, unless it is a failure: whose is it? */
static void carrier_done(struct disk_request *io, int result)
{
	struct blk_request *carrier = CONTAINER_OF(io, struct blk_request, io);
	struct blk_request *r = carrier->merged, *next;

	put_request(carrier);
	for (; r; r = next) {
		next = r->next;
		if (!result)
			give_back(r, VIRTIO_BLK_S_OK);
		else if (r->blk->h.resetting)
			request_failed(r, -result);
		else
			disk_submit(r->blk->h.disk, &r->io);
	}
}

/* One request in place of those of @p; false if there is no memory. */
static bool submit_merged(struct blk *b, const struct blk_plug *p)
{
	struct blk_request *carrier = get_request(b);

	if (!carrier)
		return false;
	carrier->merged = p->first;
	carrier->io = (struct disk_request){
		.op = p->first->io.op,
		.offset = p->first->io.offset,
		.bytes = p->bytes,
		.sync = p->first->io.sync,
		.iov = carrier->iov,
		.done = carrier_done,
	};
	for (const struct blk_request *r = p->first; r; r = r->next) {
		memcpy(carrier->iov + carrier->io.nr_iov, r->io.iov,
		       r->io.nr_iov * sizeof(*r->io.iov));
		carrier->io.nr_iov += r->io.nr_iov;
	}
	disk_submit(b->h.disk, &carrier->io);
	return true;
}

/* Submits what is plugged. */
static void unplug(struct blk *b)
{
	const struct blk_plug p = b->h.plug;
	struct blk_request *next;

	b->h.plug = (struct blk_plug){ 0 };
	if (p.nr > 1 && submit_merged(b, &p))
		return;
	for (struct blk_request *r = p.first; r; r = next) {
		next = r->next;
		disk_submit(b->h.disk, &r->io);
	}
}

static bool continues(const struct blk_plug *p, const struct disk_request *io)
{
	const struct disk_request *last = &p->last->io;

	return io->op == last->op && io->sync == last->sync &&
	       io->offset == last->offset + last->bytes && p->bytes + io->bytes <= MERGED_BYTES &&
	       p->nr_iov + io->nr_iov <= VIRTQUEUE_MAX_SEGMENTS;
}

/* Submits @r together with those it continues, when the queue was looked at. */
static void plug(struct blk_request *r)
{
	struct blk *b = r->blk;
	struct blk_plug *p = &b->h.plug;

	if (p->nr && !(b->h.merging && continues(p, &r->io)))
		unplug(b);
	r->next = NULL;
	if (p->nr)
		p->last->next = r;
	else
		p->first = r;
	p->last = r;
	p->nr++;
	p->nr_iov += r->io.nr_iov;
	p->bytes += r->io.bytes;
}

static void submit(struct blk_request *r, enum disk_op op, uint64_t sector, uint64_t bytes)
{
	prepare(r, op, sector, bytes);
	disk_submit(r->blk->h.disk, &r->io);
}

/* Sets what is to be moved: @nr entries from @iov on, without @skip bytes at their begin. */
static void set_memory(struct blk_request *r, struct iovec *iov, unsigned int nr, size_t skip)
{
	while (nr && skip >= iov->iov_len) {
		skip -= iov->iov_len;
		iov++;
		nr--;
	}
	if (skip) {
		iov->iov_base = (uint8_t *)iov->iov_base + skip;
		iov->iov_len -= skip;
	}
	r->io.iov = iov;
	r->io.nr_iov = nr;
}

static void start_read(struct blk_request *r, struct virtq_chain *c, uint64_t sector)
{
	uint64_t bytes = c->in_bytes - 1;
	struct iovec *last = &c->iov[c->nr_out + c->nr_in - 1];

	if (!is_on_disk(r->blk, sector, bytes)) {
		give_back(r, VIRTIO_BLK_S_IOERR);
		return;
	}
	/* The status byte is the last one. */
	last->iov_len--;
	set_memory(r, c->iov + c->nr_out, c->nr_in - !last->iov_len, 0);
	prepare(r, DISK_READ, sector, bytes);
	plug(r);
}

static void start_write(struct blk_request *r, struct virtq_chain *c, uint64_t sector)
{
	uint64_t bytes = c->out_bytes - sizeof(struct virtio_blk_outhdr);

	if (!is_on_disk(r->blk, sector, bytes) || r->blk->h.disk->config.read_only) {
		give_back(r, VIRTIO_BLK_S_IOERR);
		return;
	}
	set_memory(r, c->iov, c->nr_out, sizeof(struct virtio_blk_outhdr));
	prepare(r, DISK_WRITE, sector, bytes);
	plug(r);
}

/* One range, as the configuration says. */
static void start_range(struct blk_request *r, const struct virtq_chain *c, bool discard)
{
	struct virtio_blk_discard_write_zeroes range;
	struct blk *b = r->blk;
	uint64_t bytes;

	if (!virtio_has(&b->h.virtio, discard ? VIRTIO_BLK_F_DISCARD : VIRTIO_BLK_F_WRITE_ZEROES) ||
	    c->out_bytes != sizeof(struct virtio_blk_outhdr) + sizeof(range)) {
		give_back(r, VIRTIO_BLK_S_UNSUPP);
		return;
	}
	virtq_read(c, sizeof(struct virtio_blk_outhdr), &range, sizeof(range));
	bytes = (uint64_t)range.num_sectors * DISK_SECTOR;
	if (range.flags & ~VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP || (discard && range.flags)) {
		give_back(r, VIRTIO_BLK_S_UNSUPP);
		return;
	}
	if (range.num_sectors > BLK_MAX_RANGE_SECTORS || !is_on_disk(b, range.sector, bytes) ||
	    b->h.disk->config.read_only) {
		give_back(r, VIRTIO_BLK_S_IOERR);
		return;
	}
	r->io.unmap = range.flags & VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP && b->h.disk->config.unmap;
	submit(r, discard ? DISK_DISCARD : DISK_ZERO, range.sector, bytes);
}

static void give_serial(struct blk_request *r, struct virtq_chain *c)
{
	char id[SERIAL_BYTES] = { 0 };
	uint64_t room = c->in_bytes - 1;

	memcpy(id, r->blk->h.serial, strnlen(r->blk->h.serial, sizeof(id)));
	virtq_write(c, 0, id, MIN(room, sizeof(id)));
	give_back(r, VIRTIO_BLK_S_OK);
}

/* The parts of @c that are always there: -EINVAL if they are not. */
static int find_parts(struct blk_request *r, const struct virtq_chain *c,
		      struct virtio_blk_outhdr *header, struct err *e)
{
	const struct iovec *last = &c->iov[c->nr_out + c->nr_in - 1];

	if (!c->in_bytes || virtq_read(c, 0, header, sizeof(*header)) != sizeof(*header))
		return err_set(e, EINVAL,
			       "a request to a disk has %llu bytes to read and %llu to write: no "
			       "header, or no room for a status",
			       (unsigned long long)c->out_bytes, (unsigned long long)c->in_bytes);
	r->status = (uint8_t *)last->iov_base + last->iov_len - 1;
	r->in_bytes = (uint32_t)MIN(c->in_bytes, (uint64_t)UINT32_MAX);
	r->head = c->head;
	return 0;
}

static int start_request(struct blk_request *r, struct virtq_chain *c, struct err *e)
{
	struct virtio_blk_outhdr header;
	int ret = find_parts(r, c, &header, e);

	if (ret) {
		/* Nobody waits for it: the driver is to reset the device. */
		virtqueue_set_aside(queue_of(r->blk, r->queue));
		put_request(r);
		return ret;
	}
	switch (header.type) {
	case VIRTIO_BLK_T_IN:
		start_read(r, c, header.sector);
		break;
	case VIRTIO_BLK_T_OUT:
		start_write(r, c, header.sector);
		break;
	case VIRTIO_BLK_T_FLUSH:
		submit(r, DISK_FLUSH, 0, 0);
		break;
	case VIRTIO_BLK_T_GET_ID:
		give_serial(r, c);
		break;
	case VIRTIO_BLK_T_DISCARD:
		start_range(r, c, true);
		break;
	case VIRTIO_BLK_T_WRITE_ZEROES:
		start_range(r, c, false);
		break;
	default:
		give_back(r, VIRTIO_BLK_S_UNSUPP);
		break;
	}
	return 0;
}

/* Takes one chain, the next or the one at @head, and starts it: 1, or 0 if there is none. */
static int take_request(struct blk *b, unsigned int index, int head, struct err *e)
{
	struct virtqueue *q = queue_of(b, index);
	struct blk_request *r = get_request(b);
	struct virtq_chain c;
	int ret;

	if (!r) {
		b->h.short_of_memory |= 1u << index;
		return 0;
	}
	c.iov = r->iov;
	ret = head < 0 ? virtqueue_pop(q, &c, e) : virtqueue_take_again(q, (uint16_t)head, &c, e);
	if (ret <= 0) {
		put_request(r);
		return ret;
	}
	r->queue = (uint16_t)index;
	ret = start_request(r, &c, e);
	return ret ? ret : 1;
}

/* What was set aside is done again; what cannot be taken now stays for the next look. */
static int retry_queue(struct blk *b, unsigned int index, struct err *e)
{
	for (unsigned int head = 0; head < VIRTQUEUE_MAX_SIZE; head++) {
		uint64_t *word = aside_word(b, index, head);
		int r;

		if (!(*word & BIT(head % 64)))
			continue;
		r = take_request(b, index, (int)head, e);
		if (r < 0)
			return r;
		if (r)
			*word &= ~BIT(head % 64);
		else
			b->h.retry |= 1u << index;
	}
	return 0;
}

void blk_handle_queue(struct virtio *v, unsigned int index)
{
	struct virtqueue *q = &v->queues[index].q;
	struct blk *b = v->opaque;
	struct err e;
	int r = 0;

	if (b->h.retry & 1u << index && !b->h.disk->failed) {
		b->h.retry &= ~(1u << index);
		r = retry_queue(b, index, &e);
	}
	if (r < 0) {
		unplug(b);
		publish(b);
		virtio_broken(v, &e);
		return;
	}
	/* While requests are taken the driver need not say that there are more. */
	do {
		virtqueue_set_notification(q, false);
		while ((r = take_request(b, index, -1, &e)) > 0)
			;
		virtqueue_set_notification(q, true);
	} while (!r && !(b->h.short_of_memory & 1u << index) && virtqueue_has_avail(q) &&
		 !(q->limited && !q->budget));
	unplug(b);
	publish(b);
	/* A request that is done leaves its memory; without any this asks again. */
	if (b->h.short_of_memory & 1u << index && !b->h.disk->in_flight) {
		b->h.short_of_memory &= ~(1u << index);
		virtio_kick(v, index);
	}
	if (r < 0)
		virtio_broken(v, &e);
}

void blk_batch_done(void *opaque)
{
	struct blk *b = opaque;
	uint32_t waiting = b->h.short_of_memory;

	publish(b);
	b->h.short_of_memory = 0;
	for (unsigned int i = 0; waiting; i++, waiting >>= 1)
		if (waiting & 1)
			virtio_kick(&b->h.virtio, i);
}

void blk_retry(struct blk *b)
{
	struct err e;
	int r = 0;

	for (unsigned int i = 0; !r && i < b->h.virtio.nr_queues; i++)
		if (virtio_is_live(&b->h.virtio))
			r = retry_queue(b, i, &e);
		else
			b->h.retry |= 1u << i;
	unplug(b);
	publish(b);
	if (r < 0)
		virtio_broken(&b->h.virtio, &e);
}
