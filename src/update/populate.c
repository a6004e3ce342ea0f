/* SPDX-License-Identifier: MIT */
/* When an update maps guest RAM in advance, and for how long. */
#include <stdlib.h>

#include "base/log.h"
#include "base/util.h"
#include "host/clock.h"
#include "host/kvm.h"
#include "host/loop.h"
#include "machine/prefault.h"
#include "machine/vcpu.h"
#include "machine/vm.h"
#include "update/handover.h"
#include "update/populate.h"

/* What the old side waits at most: this, and so much for each GiB beyond the first. */
#define AHEAD_NS         UINT64_C(40000000)
#define AHEAD_PER_GIB_NS UINT64_C(80000000)
#define AHEAD_MAX_NS     UINT64_C(5000000000)

struct populate {
	struct migration *m;
	struct prefault *prefault;
	struct loop_timer limit;
	void (*ready)(struct migration *m); /* NULL: called already */
};

static void be_ready(struct populate *p)
{
	void (*ready)(struct migration * m) = p->ready;

	p->ready = NULL;
	loop_timer_cancel(&p->limit);
	if (ready)
		ready(p->m);
}

static void on_done(void *opaque)
{
	struct migration *m = opaque;
	struct populate *p = m->populate;

	loop_timer_cancel(&p->limit);
	prefault_end(p->prefault);
	m->populate = NULL;
	be_ready(p);
	free(p);
}

static void on_limit(void *opaque)
{
	struct populate *p = opaque;

	prefault_hold(p->prefault);
	be_ready(p);
}

static bool begin(struct migration *m, bool behind)
{
	struct prefault_config cfg = {
		.mem = &m->vm->mem,
		.loop = m->vm->loop,
		.vcpu_fd =
			behind || !kvm_can_pre_fault(m->vm->vm_fd) ? -1 : vcpu_fd(m->vm->vcpus[0]),
		.done = on_done,
		.opaque = m,
	};
	struct populate *p = calloc(1, sizeof(*p));
	struct err e;
	int r;

	if (!p)
		return false;
	owner_busy(&m->owner, &cfg.busy);
	r = prefault_start(&p->prefault, &cfg, &e);
	if (r) {
		log_warn("%s", e.msg);
		free(p);
		return false;
	}
	p->m = m;
	loop_timer_init(&p->limit, on_limit, p);
	m->populate = p;
	return true;
}

static uint64_t time_ahead(const struct migration *m)
{
	uint64_t gib = m->vm->mem.ram->size / GIB;

	return MIN(AHEAD_NS + (gib > 1 ? gib - 1 : 0) * AHEAD_PER_GIB_NS, AHEAD_MAX_NS);
}

bool populate_ahead(struct migration *m, void (*ready)(struct migration *m))
{
	if (!begin(m, false))
		return false;
	m->populate->ready = ready;
	loop_timer_set(m->vm->loop, &m->populate->limit, clock_boottime_ns() + time_ahead(m));
	return true;
}

void populate_behind(struct migration *m)
{
	cpu_set_t busy;

	if (m->populate) {
		owner_busy(&m->owner, &busy);
		prefault_continue(m->populate->prefault, &busy);
	} else if (m->mode == MODE_CPR_EXEC) {
		begin(m, true);
	}
}

void populate_end(struct migration *m)
{
	struct populate *p = TAKE_PTR(m->populate);

	if (!p)
		return;
	loop_timer_cancel(&p->limit);
	prefault_end(p->prefault);
	free(p);
}
