/* SPDX-License-Identifier: MIT */
/* Gathers guest RAM into huge pages, on a thread, while the guest runs. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/trace.h"
#include "base/util.h"
#include "host/clock.h"
#include "host/cpus.h"
#include "host/mem.h"
#include "host/process.h"
#include "machine/hugepages.h"

#define INTERVAL_MIN_NS UINT64_C(2000000000)
#define INTERVAL_MAX_NS UINT64_C(256000000000)

enum {
	PIECE = MEM_HUGE_PAGE,
	/* Of a piece that took t, the rest is twice that; one that was huge already takes no t. */
	REST_MAX_NS = 20000000,
	NO_REST_NS = 50000,
	FAILURES_MAX = 16, /* in a row: the host has reasons that will not go away soon */
};

struct hugepages {
	struct hugepages_config cfg; /* [c]                                       */
	struct loop_timer timer;     /* [l] to the next scan                      */
	struct loop_work done_work;
	uint64_t interval_ns; /* [l]                                       */
	bool scanning;        /* [l] there is a thread                     */
	pthread_t thread;
	cpu_set_t busy;    /* [c] while scanning: where the guest ran at its begin */
	bool end;          /* [a]                                       */
	uint64_t gathered; /* the thread's, then [l]: bytes in this scan */
	unsigned int failures;
};

/* One piece of RAM, all of which was written at some time. False: the scan is over. */
static bool gather_piece(struct hugepages *h, void *p)
{
	uint64_t start = clock_boottime_ns(), took;
	struct err ignored;
	int r;

	if (__atomic_load_n(&h->end, __ATOMIC_ACQUIRE))
		return false;
	r = mem_make_huge(p, &ignored);
	took = clock_boottime_ns() - start;
	if (r == -ENODATA)
		return true;
	if (r) {
		h->failures++;
		return r != -ENOMEM && h->failures < FAILURES_MAX;
	}
	h->failures = 0;
	if (took < NO_REST_NS)
		return true;
	h->gathered += PIECE;
	clock_sleep_ns(MIN(2 * took, (uint64_t)REST_MAX_NS));
	return true;
}

/* [@offset, @end) of the block's file. */
static bool gather_data(struct hugepages *h, const struct ram_block *b, uint64_t offset,
			uint64_t end)
{
	uint64_t base = b->options.offset;

	offset = (offset + PIECE - 1) / PIECE * PIECE;
	for (; offset + PIECE <= end; offset += PIECE)
		if (!gather_piece(h, b->host + (offset - base)))
			return false;
	return true;
}

/* Huge pages are those of the file: mapping and file have to agree on where one begins. */
static bool can_gather(const struct ram_block *b)
{
	return b->in_guest && b->fd >= 0 && b->share && !b->readonly && b->size >= PIECE &&
	       ((uintptr_t)b->host - b->options.offset) % PIECE == 0 && mem_is_tmpfs(b->fd);
}

static bool gather_block(struct hugepages *h, const struct ram_block *b)
{
	uint64_t offset = b->options.offset, limit = offset + b->size, end;

	for (; offset < limit; offset = end) {
		uint64_t data = mem_next_data(b->fd, limit, offset, &end);

		if (data < limit && !gather_data(h, b, data, MIN(end, limit)))
			return false;
	}
	return true;
}

static void *scan_main(void *arg)
{
	struct hugepages *h = arg;
	const struct memmap *m = h->cfg.mem;
	uint64_t start = clock_boottime_ns();

	cpus_avoid(&h->busy);
	for (unsigned int i = 0; i < m->nr_blocks; i++)
		if (can_gather(m->blocks[i]) && !gather_block(h, m->blocks[i]))
			break;
	trace_hugepages_scan_end(h->gathered, (clock_boottime_ns() - start) / 1000);
	loop_post(h->cfg.loop, &h->done_work);
	return NULL;
}

static void wait_for_next(struct hugepages *h)
{
	loop_timer_set(h->cfg.loop, &h->timer, clock_boottime_ns() + h->interval_ns);
}

static void end_scan(struct hugepages *h)
{
	pthread_join(h->thread, NULL);
	loop_work_cancel(h->cfg.loop, &h->done_work);
	h->scanning = false;
	if (h->gathered && !h->failures)
		h->interval_ns = INTERVAL_MIN_NS;
	else
		h->interval_ns = MIN(2 * h->interval_ns, INTERVAL_MAX_NS);
	wait_for_next(h);
}

static void on_done(void *opaque)
{
	end_scan(opaque);
}

static void on_timer(void *opaque)
{
	struct hugepages *h = opaque;
	struct err e;

	if (h->scanning)
		return;
	if (!h->cfg.may_scan(h->cfg.opaque, &h->busy)) {
		wait_for_next(h);
		return;
	}
	h->gathered = 0;
	h->failures = 0;
	h->end = false;
	if (process_start_thread(&h->thread, "hugepages", scan_main, h, &e)) {
		log_warn("RAM is not gathered into huge pages: %s", e.msg);
		return;
	}
	h->scanning = true;
}

int hugepages_create(struct hugepages **out, const struct hugepages_config *cfg, struct err *e)
{
	struct hugepages *h = calloc(1, sizeof(*h));

	if (!h)
		return err_set(e, ENOMEM, "no memory to gather RAM into huge pages");
	h->cfg = *cfg;
	h->interval_ns = INTERVAL_MIN_NS;
	loop_timer_init(&h->timer, on_timer, h);
	loop_work_init(&h->done_work, on_done, h);
	if (mem_may_make_huge())
		loop_timer_set(cfg->loop, &h->timer, clock_boottime_ns() + cfg->first_ns);
	*out = h;
	return 0;
}

void hugepages_rest(struct hugepages *h)
{
	if (!h || !h->scanning)
		return;
	__atomic_store_n(&h->end, true, __ATOMIC_RELEASE);
	end_scan(h);
}

void hugepages_destroy(struct hugepages *h)
{
	if (!h)
		return;
	hugepages_rest(h);
	loop_timer_cancel(&h->timer);
	free(h);
}
