/* SPDX-License-Identifier: MIT */
/* Maps the memory a guest already has into this process's page tables, on a thread. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/trace.h"
#include "base/util.h"
#include "host/clock.h"
#include "host/cpus.h"
#include "host/kvm.h"
#include "host/mem.h"
#include "host/process.h"
#include "machine/prefault.h"

enum {
	PIECE = 2 << 20, /* bytes between two looks at the orders      */
	/*
	 * A thread that never sleeps may stay on the guest's processor until the next tick,
	 * some ms; one that wakes up is put where there is room.
	 */
	WORK_NS = 100000,
	REST_NS = 50000,
	NICE = 10, /* a tenth of the right to a processor that a thread with the guest has */
};

struct prefault {
	struct prefault_config cfg; /* [c] but for what follows                    */
	pthread_t thread;
	struct loop_work done_work;
	uint64_t bytes;        /* mapped; the thread's                        */
	bool pieces_go_to_kvm; /* the thread's                               */

	pthread_mutex_t lock; /* guards what follows                         */
	pthread_cond_t order, rest;
	bool working; /* a piece is being mapped                     */
	bool held;
	bool end;
	bool may_use_vcpu;
	bool moved; /* the processors to leave to the guest are others */
	cpu_set_t busy;
};

/* Waits while it is held. False: it is to end. */
static bool begin_piece(struct prefault *p)
{
	bool go, moved;
	cpu_set_t busy;

	pthread_mutex_lock(&p->lock);
	while (p->held && !p->end)
		pthread_cond_wait(&p->order, &p->lock);
	go = p->working = !p->end;
	p->pieces_go_to_kvm &= p->may_use_vcpu;
	moved = p->moved;
	p->moved = false;
	busy = p->busy;
	pthread_mutex_unlock(&p->lock);
	if (moved)
		cpus_avoid(&busy);
	return go;
}

static void end_piece(struct prefault *p)
{
	pthread_mutex_lock(&p->lock);
	p->working = false;
	pthread_cond_signal(&p->rest);
	pthread_mutex_unlock(&p->lock);
}

/* One piece, from @offset in @r on. False: no further one is worth an attempt. */
static bool map_piece(struct prefault *p, const struct mem_range *r, uint64_t offset, uint64_t size)
{
	struct err ignored;

	if (mem_map_present(r->block->fd, r->block->host + r->offset + offset, size, &ignored))
		return false;
	p->bytes += size;
	if (p->pieces_go_to_kvm)
		p->pieces_go_to_kvm =
			!kvm_pre_fault_memory(p->cfg.vcpu_fd, r->gpa + offset, size, &ignored);
	return true;
}

/* What @r has of [@offset, @end). */
static bool map_data(struct prefault *p, const struct mem_range *r, uint64_t offset, uint64_t end)
{
	uint64_t woke = clock_boottime_ns();
	bool ok = true;

	for (uint64_t n; offset < end && ok; offset += n) {
		/* To the next multiple, so that no piece has a part of a huge page. */
		n = MIN(end - offset, PIECE - offset % PIECE);
		if (!begin_piece(p))
			return false;
		ok = map_piece(p, r, offset, n);
		end_piece(p);
		if (clock_boottime_ns() - woke < WORK_NS)
			continue;
		clock_sleep_ns(REST_NS);
		woke = clock_boottime_ns();
	}
	return ok;
}

/* A range whose memory this process shares; what is private has nothing that came along. */
static bool map_range(struct prefault *p, const struct mem_range *r)
{
	uint64_t base = r->block->options.offset + r->offset, limit = base + r->size, end;
	uint64_t offset = base;

	if (r->block->fd < 0 || !r->block->share)
		return true;
	for (; offset < limit; offset = end) {
		uint64_t data = mem_next_data(r->block->fd, limit, offset, &end);

		if (data < limit && !map_data(p, r, data - base, MIN(end, limit) - base))
			return false;
	}
	return true;
}

static void *prefault_main(void *arg)
{
	struct prefault *p = arg;
	const struct memmap *m = p->cfg.mem;
	uint64_t start = clock_boottime_ns();

	process_be_nice(NICE);
	for (unsigned int i = 0; i < m->nr_ranges; i++)
		if (!map_range(p, &m->ranges[i]))
			break;
	trace_prefault_end(p->bytes, (clock_boottime_ns() - start) / 1000);
	loop_post(p->cfg.loop, &p->done_work);
	return NULL;
}

static void tell_done(void *opaque)
{
	const struct prefault *p = opaque;

	if (p->cfg.done)
		p->cfg.done(p->cfg.opaque);
}

int prefault_start(struct prefault **out, const struct prefault_config *cfg, struct err *e)
{
	struct prefault *p = calloc(1, sizeof(*p));
	int r;

	if (!p)
		return err_set(e, ENOMEM, "no memory to map guest RAM in advance");
	p->cfg = *cfg;
	p->pieces_go_to_kvm = p->may_use_vcpu = cfg->vcpu_fd >= 0;
	p->busy = cfg->busy;
	p->moved = true;
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->order, NULL);
	pthread_cond_init(&p->rest, NULL);
	loop_work_init(&p->done_work, tell_done, p);
	r = process_start_thread(&p->thread, "prefault", prefault_main, p, e);
	if (r) {
		free(p);
		return err_prefix(e, "guest RAM is not mapped in advance");
	}
	*out = p;
	return 0;
}

void prefault_hold(struct prefault *p)
{
	pthread_mutex_lock(&p->lock);
	p->held = true;
	p->may_use_vcpu = false;
	while (p->working)
		pthread_cond_wait(&p->rest, &p->lock);
	pthread_mutex_unlock(&p->lock);
}

void prefault_continue(struct prefault *p, const cpu_set_t *busy)
{
	pthread_mutex_lock(&p->lock);
	p->busy = *busy;
	p->moved = true;
	p->held = false;
	pthread_cond_signal(&p->order);
	pthread_mutex_unlock(&p->lock);
}

void prefault_end(struct prefault *p)
{
	if (!p)
		return;
	pthread_mutex_lock(&p->lock);
	p->end = true;
	pthread_cond_signal(&p->order);
	pthread_mutex_unlock(&p->lock);
	pthread_join(p->thread, NULL);
	loop_work_cancel(p->cfg.loop, &p->done_work);
	pthread_cond_destroy(&p->order);
	pthread_cond_destroy(&p->rest);
	pthread_mutex_destroy(&p->lock);
	free(p);
}
