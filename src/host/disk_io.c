/* SPDX-License-Identifier: MIT */
/* Images of disks: requests, in pieces that the file takes. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "base/util.h"
#include "host/disk.h"

enum {
	BOUNCE_BYTES = 1 << 20,
	ZERO_BYTES = 64 << 10,
	/* Of one system call: Linux takes 2 GiB less a page. */
	PIECE_BYTES = 1 << 30,
	ZERO_WAYS = 3,
};

static const uint8_t zeros[ZERO_BYTES] __attribute__((aligned(4096)));

static void on_done(struct uring_op *op, int64_t result);

static void finish(struct disk_request *r, int result)
{
	free(r->buffer);
	r->buffer = NULL;
	r->disk->in_flight--;
	r->done(r, result);
}

static void queue(struct disk_request *r)
{
	uring_queue(r->disk->uring, &r->io);
}

/* done() is told from the loop, never from within the call that was wrong. */
static void queue_error(struct disk_request *r, int error)
{
	r->error = error;
	r->io.kind = URING_NOP;
	queue(r);
}

/* Takes @n bytes off the front of the request's memory. */
static void advance(struct disk_request *r, uint64_t n)
{
	r->finished += n;
	while (r->nr_iov && n >= r->iov->iov_len) {
		n -= r->iov->iov_len;
		r->iov++;
		r->nr_iov--;
	}
	if (n) {
		r->iov->iov_base = (uint8_t *)r->iov->iov_base + n;
		r->iov->iov_len -= n;
	}
}

/* Copies between the front of the request's memory, which stays, and the buffer. */
static void copy(const struct disk_request *r, uint64_t n, bool to_buffer)
{
	uint8_t *buf = r->buffer;

	for (unsigned int i = 0; n && i < r->nr_iov; i++) {
		size_t part = MIN(n, r->iov[i].iov_len);

		if (to_buffer)
			memcpy(buf, r->iov[i].iov_base, part);
		else
			memcpy(r->iov[i].iov_base, buf, part);
		buf += part;
		n -= part;
	}
}

static bool is_aligned(const struct disk *d, const struct iovec *v)
{
	return !(((uintptr_t)v->iov_base | v->iov_len) & (d->align_memory - 1)) &&
	       !(v->iov_len & (d->align - 1));
}

/* As much of the memory as one system call takes, in place. */
static bool piece_in_place(struct disk_request *r)
{
	const struct disk *d = r->disk;
	uint64_t bytes = 0;
	unsigned int n = 0;

	while (n < r->nr_iov && n < IOV_MAX && bytes < PIECE_BYTES) {
		const struct iovec *v = &r->iov[n];

		if (d->align > 1 && !is_aligned(d, v))
			break;
		/* What is larger than a piece goes alone, and the kernel takes what it can. */
		if (n && v->iov_len > PIECE_BYTES)
			break;
		bytes += v->iov_len;
		n++;
	}
	r->io.iov = r->iov;
	r->io.nr_iov = n;
	return n;
}

static void start_transfer(struct disk_request *r)
{
	struct disk *d = r->disk;
	uint64_t n = MIN(r->bytes - r->finished, (uint64_t)BOUNCE_BYTES);

	r->io.kind = r->op == DISK_READ ? URING_READV : URING_WRITEV;
	r->io.flags = r->op == DISK_WRITE && r->sync && !d->config.no_flush ? RWF_DSYNC : 0;
	r->io.offset = r->offset + r->finished;
	free(r->buffer);
	r->buffer = NULL;
	if (r->bytes != r->finished && !piece_in_place(r)) {
		if (posix_memalign(&r->buffer, MAX(d->align_memory, 4096u), n)) {
			r->buffer = NULL;
			queue_error(r, -ENOMEM);
			return;
		}
		if (r->op == DISK_WRITE)
			copy(r, n, true);
		r->piece = (struct iovec){ .iov_base = r->buffer, .iov_len = n };
		r->io.iov = &r->piece;
		r->io.nr_iov = 1;
	}
	queue(r);
}

static void start_sync(struct disk_request *r)
{
	r->syncing = true;
	r->io.kind = r->disk->config.no_flush ? URING_NOP : URING_FDATASYNC;
	queue(r);
}

/* A range of the file is freed, or made to read as zeros. */
static void start_fallocate(struct disk_request *r, bool punch)
{
	struct disk *d = r->disk;
	uint64_t start = r->offset, end = r->offset + r->bytes;

	/* Devices free whole blocks only, and freeing less than asked for is allowed. */
	if (r->op == DISK_DISCARD && d->is_device) {
		start = align_up(start, d->logical_block);
		end -= end % d->logical_block;
	}
	if (end <= start) {
		queue_error(r, 0);
		return;
	}
	r->io.kind = URING_FALLOCATE;
	r->io.flags = punch ? FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE : FALLOC_FL_ZERO_RANGE;
	r->io.offset = start;
	r->io.length = end - start;
	queue(r);
}

static void start_writing_zeros(struct disk_request *r)
{
	r->piece = (struct iovec){ .iov_base = (void *)(uintptr_t)zeros,
				   .iov_len = MIN(r->bytes - r->finished, (uint64_t)ZERO_BYTES) };
	r->io.kind = URING_WRITEV;
	r->io.flags = 0;
	r->io.iov = &r->piece;
	r->io.nr_iov = 1;
	r->io.offset = r->offset + r->finished;
	queue(r);
}

/* Way @attempt of making zeros: the one that was asked for, the other one, by writing them. */
static void start_zero(struct disk_request *r)
{
	const struct disk *d = r->disk;

	for (; r->attempt < ZERO_WAYS - 1; r->attempt++) {
		bool punch = r->unmap == !r->attempt;

		if (punch ? d->lacks_punch : d->lacks_zero)
			continue;
		start_fallocate(r, punch);
		return;
	}
	start_writing_zeros(r);
}

static void on_transfer(struct disk_request *r, int64_t result)
{
	struct disk *d = r->disk;
	uint64_t n = result, left = r->bytes - r->finished;

	if (n > left)
		n = left;
	if (r->op == DISK_READ && r->buffer)
		copy(r, n, false);
	advance(r, n);
	left -= n;
	if (!left) {
		finish(r, 0);
		return;
	}
	if (n && !(d->align > 1 && (r->offset + r->finished) & (d->align - 1))) {
		start_transfer(r);
		return;
	}
	/* Behind the end of the file: the rest of its last sector is zeros, the rest is missing. */
	if (r->op == DISK_READ && left < DISK_SECTOR && r->offset + r->bytes == d->bytes) {
		for (; r->nr_iov; advance(r, r->iov->iov_len))
			memset(r->iov->iov_base, 0, r->iov->iov_len);
		finish(r, 0);
		return;
	}
	finish(r, r->op == DISK_READ ? -EIO : -ENOSPC);
}

static void on_zero(struct disk_request *r, int64_t result)
{
	struct disk *d = r->disk;

	if (r->io.kind == URING_FALLOCATE && (result == -EOPNOTSUPP || result == -ENODEV)) {
		if (r->io.flags & FALLOC_FL_PUNCH_HOLE)
			d->lacks_punch = true;
		else
			d->lacks_zero = true;
		r->attempt++;
		start_zero(r);
		return;
	}
	if (result < 0) {
		finish(r, (int)result);
		return;
	}
	r->finished += r->io.kind == URING_WRITEV ? (uint64_t)result : r->bytes;
	if (r->io.kind == URING_WRITEV && !result)
		finish(r, -ENOSPC);
	else if (r->finished < r->bytes)
		start_writing_zeros(r);
	else if (r->sync)
		start_sync(r);
	else
		finish(r, 0);
}

static void on_discard(struct disk_request *r, int64_t result)
{
	/* A hint: where nothing can be freed, nothing is. */
	if (result == -EOPNOTSUPP || result == -ENODEV) {
		r->disk->lacks_punch = true;
		result = 0;
	}
	if (result < 0)
		finish(r, (int)result);
	else if (r->sync)
		start_sync(r);
	else
		finish(r, 0);
}

static void on_done(struct uring_op *op, int64_t result)
{
	struct disk_request *r = CONTAINER_OF(op, struct disk_request, io);

	if (result == -EINTR || result == -EAGAIN) {
		queue(r);
		return;
	}
	if (op->kind == URING_NOP && !r->syncing) {
		finish(r, r->error);
		return;
	}
	if (r->syncing || r->op == DISK_FLUSH)
		finish(r, (int)result);
	else if (r->op == DISK_ZERO)
		on_zero(r, result);
	else if (r->op == DISK_DISCARD)
		on_discard(r, result);
	else if (result < 0)
		finish(r, (int)result);
	else
		on_transfer(r, result);
}

static int check(const struct disk *d, const struct disk_request *r)
{
	if (r->op == DISK_FLUSH)
		return 0;
	if (r->bytes > d->bytes || r->offset > d->bytes - r->bytes)
		return -EINVAL;
	if (r->op != DISK_READ && d->config.read_only)
		return -EROFS;
	if (r->op != DISK_DISCARD && d->align > 1 && (r->offset | r->bytes) & (d->align - 1))
		return -EINVAL;
	return 0;
}

void disk_submit(struct disk *d, struct disk_request *r)
{
	int error = check(d, r);

	r->disk = d;
	r->io = (struct uring_op){
		.fd = d->fd, .user = &d->user, .blocks = d->blocks, .done = on_done
	};
	r->finished = 0;
	r->error = 0;
	r->buffer = NULL;
	r->attempt = 0;
	r->syncing = false;
	d->in_flight++;
	if (error || (!r->bytes && r->op != DISK_FLUSH))
		queue_error(r, error);
	else if (r->op == DISK_FLUSH)
		start_sync(r);
	else if (r->op == DISK_ZERO)
		start_zero(r);
	else if (r->op == DISK_DISCARD && (!d->config.unmap || d->lacks_punch))
		queue_error(r, 0);
	else if (r->op == DISK_DISCARD)
		start_fallocate(r, true);
	else
		start_transfer(r);
}

void disk_attach(struct disk *d, const struct disk_front *front, void *opaque)
{
	d->front = front;
	d->opaque = opaque;
}

int disk_drain(struct disk *d, uint64_t deadline_ns, struct err *e)
{
	while (d->in_flight)
		if (!uring_wait(d->uring, deadline_ns))
			return err_set(e, ETIMEDOUT,
				       "%u requests to image '%s' are under way, and the host does "
				       "not answer them",
				       d->in_flight, d->config.path);
	return 0;
}
