/* SPDX-License-Identifier: MIT */
/* Asynchronous file I/O by io_uring, its completions on the event loop. */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "host/clock.h"
#include "host/uring.h"

enum {
	SUBMIT_ENTRIES = 256,
	/* More may be in flight; the kernel then keeps what has no room yet. */
	COMPLETE_ENTRIES = 2048,
	/* Rounds of completions that lead to new operations, before others get their turn. */
	MAX_ROUNDS = 16,
	NS_PER_S = 1000000000,
};

struct uring {
	struct loop *loop;
	struct loop_hook hook;
	struct loop_fd watch;
	struct loop_work again;
	struct io_uring ring;
	bool has_ring;
	bool synchronous;       /* there is and will be no ring                    */
	struct list queued;     /* struct uring_op: not yet in the ring           */
	unsigned int prepared;  /* in the ring, not yet submitted                 */
	unsigned int in_flight; /* all that are not done                        */
	struct list touched;    /* struct uring_user: has had completions        */
};

static void turn(void *opaque);

int uring_create(struct uring **out, struct loop *loop, struct err *e)
{
	struct uring *u = calloc(1, sizeof(*u));

	if (!u)
		return err_set(e, ENOMEM, "no memory for disk I/O");
	u->loop = loop;
	u->watch.fd = -1;
	list_init(&u->queued);
	list_init(&u->touched);
	loop_work_init(&u->again, turn, u);
	loop_hook_add(loop, &u->hook, turn, u);
	*out = u;
	return 0;
}

void uring_destroy(struct uring *u)
{
	if (!u)
		return;
	loop_hook_del(&u->hook);
	loop_work_cancel(u->loop, &u->again);
	loop_fd_del(u->loop, &u->watch);
	if (u->has_ring)
		io_uring_queue_exit(&u->ring);
	free(u);
}

void uring_user_init(struct uring_user *user, void (*batch_done)(void *opaque), void *opaque)
{
	list_init(&user->link);
	user->touched = false;
	user->batch_done = batch_done;
	user->opaque = opaque;
}

static void on_readable(void *opaque, uint32_t events)
{
	(void)events;
	turn(opaque);
}

/* A thread that is not interrupted by completions it will look for anyway; Linux 5.19. */
static int init_ring(struct uring *u)
{
	struct io_uring_params p = {
		.flags =
			IORING_SETUP_CQSIZE | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
		.cq_entries = COMPLETE_ENTRIES,
	};
	int r = io_uring_queue_init_params(SUBMIT_ENTRIES, &u->ring, &p);

	if (r != -EINVAL)
		return r;
	p = (struct io_uring_params){ .flags = IORING_SETUP_CQSIZE,
				      .cq_entries = COMPLETE_ENTRIES };
	return io_uring_queue_init_params(SUBMIT_ENTRIES, &u->ring, &p);
}

static void ensure_ring(struct uring *u)
{
	struct err e;
	int r;

	if (u->has_ring || u->synchronous)
		return;
	r = init_ring(u);
	if (r) {
		err_set_code(&e, -r, "the kernel permits no io_uring");
	} else if (loop_fd_add(u->loop, &u->watch, u->ring.ring_fd, EPOLLIN, on_readable, u, &e)) {
		io_uring_queue_exit(&u->ring);
		r = -e.code;
	}
	if (!r) {
		u->has_ring = true;
		return;
	}
	log_warn("%s; disk requests are carried out one after the other, and the guest's devices "
		 "wait meanwhile",
		 e.msg);
	u->synchronous = true;
}

void uring_queue(struct uring *u, struct uring_op *op)
{
	list_add(&u->queued, &op->link);
	u->in_flight++;
}

static void finish(struct uring *u, struct uring_op *op, int64_t result)
{
	struct uring_user *user = op->user;

	u->in_flight--;
	if (!user->touched) {
		user->touched = true;
		list_add(&u->touched, &user->link);
	}
	op->done(op, result);
}

static void end_batch(struct uring *u)
{
	while (!list_empty(&u->touched)) {
		struct uring_user *user = CONTAINER_OF(u->touched.next, struct uring_user, link);

		list_del(&user->link);
		user->touched = false;
		user->batch_done(user->opaque);
	}
}

static int64_t carry_out(const struct uring_op *op)
{
	int64_t r = 0;

	switch (op->kind) {
	case URING_NOP:
		break;
	case URING_READV:
		r = preadv2(op->fd, op->iov, (int)op->nr_iov, (off_t)op->offset, 0);
		break;
	case URING_WRITEV:
		r = pwritev2(op->fd, op->iov, (int)op->nr_iov, (off_t)op->offset, (int)op->flags);
		break;
	case URING_FDATASYNC:
		r = fdatasync(op->fd);
		break;
	case URING_FALLOCATE:
		r = fallocate(op->fd, (int)op->flags, (off_t)op->offset, (off_t)op->length);
		break;
	}
	return r < 0 ? -errno : r;
}

static struct uring_op *take_queued(struct uring *u)
{
	struct uring_op *op;

	if (list_empty(&u->queued))
		return NULL;
	op = CONTAINER_OF(u->queued.next, struct uring_op, link);
	list_del(&op->link);
	return op;
}

/* Those that were queued when it was called; how many. */
static unsigned int carry_out_queued(struct uring *u)
{
	struct list *pos, *tmp;
	unsigned int n = 0, done = 0;

	list_for_each(pos, tmp, &u->queued)
		n++;
	for (; done < n; done++) {
		struct uring_op *op = take_queued(u);

		finish(u, op, carry_out(op));
	}
	end_batch(u);
	return done;
}

static void fill(struct io_uring_sqe *sqe, struct uring_op *op)
{
	switch (op->kind) {
	case URING_NOP:
		io_uring_prep_nop(sqe);
		break;
	case URING_READV:
		io_uring_prep_readv(sqe, op->fd, op->iov, op->nr_iov, op->offset);
		break;
	case URING_WRITEV:
		io_uring_prep_writev2(sqe, op->fd, op->iov, op->nr_iov, op->offset, (int)op->flags);
		break;
	case URING_FDATASYNC:
		io_uring_prep_fsync(sqe, op->fd, IORING_FSYNC_DATASYNC);
		break;
	case URING_FALLOCATE:
		io_uring_prep_fallocate(sqe, op->fd, (int)op->flags, (off_t)op->offset,
					(off_t)op->length);
		break;
	}
	if (op->blocks)
		sqe->flags |= IOSQE_ASYNC;
	io_uring_sqe_set_data(sqe, op);
}

/* What does not fit, or the kernel does not take now, stays for the next round. */
static void submit(struct uring *u)
{
	struct io_uring_sqe *sqe;
	int r = 0;

	while (r >= 0 && (u->prepared || !list_empty(&u->queued))) {
		while (!list_empty(&u->queued) && (sqe = io_uring_get_sqe(&u->ring))) {
			fill(sqe, take_queued(u));
			u->prepared++;
		}
		r = io_uring_submit(&u->ring);
		if (r > 0)
			u->prepared -= MIN((unsigned int)r, u->prepared);
		else if (!r)
			break;
	}
}

static unsigned int reap(struct uring *u)
{
	struct io_uring_cqe *cqe;
	unsigned int n = 0;

	while (n < COMPLETE_ENTRIES && !io_uring_peek_cqe(&u->ring, &cqe)) {
		struct uring_op *op = io_uring_cqe_get_data(cqe);
		int result = cqe->res;

		io_uring_cqe_seen(&u->ring, cqe);
		finish(u, op, result);
		n++;
	}
	end_batch(u);
	return n;
}

/* Submits and handles what is complete, and what that leads to; how many completions. */
static unsigned int step(struct uring *u)
{
	unsigned int total = 0, n;

	for (unsigned int i = 0; i < MAX_ROUNDS && u->in_flight; i++) {
		ensure_ring(u);
		if (u->synchronous) {
			n = carry_out_queued(u);
		} else {
			submit(u);
			n = reap(u);
		}
		total += n;
		if (!n)
			break;
	}
	/* Nothing that will happen by itself leads here again. */
	if (u->prepared || !list_empty(&u->queued))
		loop_post(u->loop, &u->again);
	return total;
}

static void turn(void *opaque)
{
	step(opaque);
}

/* Until the ring is readable; false at the deadline. A signal is none of our business. */
static bool wait_readable(const struct uring *u, uint64_t deadline_ns)
{
	struct pollfd p = { .fd = u->ring.ring_fd, .events = POLLIN };
	uint64_t now = clock_boottime_ns(), ns = deadline_ns > now ? deadline_ns - now : 0;
	struct timespec ts = { .tv_sec = (time_t)(ns / NS_PER_S),
			       .tv_nsec = (long)(ns % NS_PER_S) };

	return ppoll(&p, 1, deadline_ns == UINT64_MAX ? NULL : &ts, NULL) || ns;
}

bool uring_wait(struct uring *u, uint64_t deadline_ns)
{
	while (u->in_flight) {
		if (step(u))
			return true;
		/* One look after the deadline: what came in time counts. */
		if (u->has_ring && !wait_readable(u, deadline_ns))
			return step(u);
	}
	return false;
}

unsigned int uring_in_flight(const struct uring *u)
{
	return u->in_flight;
}

void uring_make_synchronous(struct uring *u)
{
	u->synchronous = true;
}
