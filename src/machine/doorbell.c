/* SPDX-License-Identifier: MIT */
/* Doorbells: addresses a guest writes to, to have a device look at something soon. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/util.h"
#include "host/clock.h"
#include "host/event.h"
#include "host/kvm.h"
#include "machine/doorbell.h"
#include "machine/vm.h"

/* After an update the guest has better to do than wait for KVM; and it is told one at a time. */
#define FIRST_NS UINT64_C(20000000)
#define NEXT_NS  UINT64_C(1000000)

/* An eventfd of the old image's, until its doorbell is made. */
struct given {
	struct list link;
	char name[DOORBELL_NAME_MAX];
	int fd;
};

static void tell_kvm_later(struct vm *vm)
{
	loop_post(vm->loop, &vm->doorbells.work);
}

static void set_timer(void *opaque)
{
	struct vm *vm = opaque;

	if (!vm->doorbells.timer.armed)
		loop_timer_set(vm->loop, &vm->doorbells.timer, clock_boottime_ns() + FIRST_NS);
}

static void on_ring(void *opaque, uint32_t events)
{
	struct doorbell *d = opaque;

	(void)events;
	if (event_take(d->fd) && d->running)
		d->rung(d->opaque);
}

static int watch(struct doorbell *d, struct err *e)
{
	if (d->watch.fd >= 0)
		return 0;
	return loop_fd_add(d->vm->loop, &d->watch, d->fd, EPOLLIN, on_ring, d, e);
}

static void tell_kvm(struct doorbell *d)
{
	struct doorbells *ds = &d->vm->doorbells;
	struct err e;
	int r = watch(d, &e);

	/* There already: from the image before. */
	if (!r)
		r = kvm_ioeventfd(d->vm->vm_fd, d->gpa, d->fd, true, &e);
	d->known = !r || r == -EEXIST;
	d->certain = true;
	if (d->known || ds->refused)
		return;
	ds->refused = true;
	log_warn("notifications of '%s' take the long way: %s", d->name, e.msg);
}

static void on_timer(void *opaque)
{
	struct vm *vm = opaque;
	struct list *pos, *tmp;

	/* The machine's KVM objects are another image's. */
	if (vm->graft)
		return;
	list_for_each(pos, tmp, &vm->doorbells.list) {
		struct doorbell *d = CONTAINER_OF(pos, struct doorbell, link);

		if (!d->placed || d->certain || !d->running)
			continue;
		tell_kvm(d);
		loop_timer_set(vm->loop, &vm->doorbells.timer, clock_boottime_ns() + NEXT_NS);
		return;
	}
}

void doorbells_init(struct vm *vm)
{
	struct doorbells *ds = &vm->doorbells;

	list_init(&ds->list);
	list_init(&ds->given);
	loop_timer_init(&ds->timer, on_timer, vm);
	loop_work_init(&ds->work, set_timer, vm);
}

void doorbells_fini(struct vm *vm)
{
	doorbells_drop_given(vm);
	loop_timer_cancel(&vm->doorbells.timer);
	if (vm->loop)
		loop_work_cancel(vm->loop, &vm->doorbells.work);
}

static int take_given(struct vm *vm, const char *name)
{
	struct list *pos, *tmp;

	list_for_each(pos, tmp, &vm->doorbells.given) {
		struct given *g = CONTAINER_OF(pos, struct given, link);
		int fd = g->fd;

		if (strcmp(g->name, name))
			continue;
		list_del(&g->link);
		free(g);
		return fd;
	}
	return -1;
}

int doorbell_init(struct doorbell *d, struct vm *vm, const char *name, void (*rung)(void *opaque),
		  void *opaque, struct err *e)
{
	int fd = take_given(vm, name);

	*d = (struct doorbell){ .vm = vm, .fd = -1, .watch = LOOP_FD_INIT };
	snprintf(d->name, sizeof(d->name), "%s", name);
	d->rung = rung;
	d->opaque = opaque;
	/* The old image's may be known to KVM, wherever the device's state will place it. */
	d->known = fd >= 0;
	if (fd < 0)
		fd = event_create(e);
	if (fd < 0)
		return err_prefix(e, "notifications of '%s'", name);
	d->fd = fd;
	list_add(&vm->doorbells.list, &d->link);
	return 0;
}

static void take_from_kvm(struct doorbell *d)
{
	struct err e;

	/* One that it may have, it need not have. */
	if (d->known && !d->vm->graft && kvm_ioeventfd(d->vm->vm_fd, d->gpa, d->fd, false, &e) &&
	    e.code != ENOENT)
		log_error("notifications of '%s' cannot be moved: %s", d->name, e.msg);
}

void doorbell_remove(struct doorbell *d)
{
	if (!d->placed)
		return;
	take_from_kvm(d);
	d->placed = false;
	/* What is not the machine's yet is not changed, so nothing is known better than before. */
	if (d->vm->graft)
		return;
	d->known = false;
	d->certain = false;
}

void doorbell_place(struct doorbell *d, gpa_t gpa)
{
	if (d->placed && d->gpa == gpa)
		return;
	doorbell_remove(d);
	d->placed = true;
	d->gpa = gpa;
	if (d->running)
		tell_kvm_later(d->vm);
}

void doorbell_run_changed(struct doorbell *d, bool running)
{
	struct err e;

	d->running = running;
	if (!running || !d->placed)
		return;
	/* KVM may be writing to it; the old image's loop has seen what came before. */
	if (d->known && watch(d, &e))
		log_error("notifications of '%s' are lost: %s", d->name, e.msg);
	if (!d->certain)
		tell_kvm_later(d->vm);
}

void doorbell_fini(struct doorbell *d)
{
	if (!d->vm)
		return;
	doorbell_remove(d);
	loop_fd_del(d->vm->loop, &d->watch);
	list_del(&d->link);
	close_fd(&d->fd);
	d->vm = NULL;
}

const struct doorbell *doorbells_next(const struct vm *vm, const struct doorbell *prev)
{
	const struct list *pos = prev ? prev->link.next : vm->doorbells.list.next;

	return pos == &vm->doorbells.list ? NULL : CONTAINER_OF(pos, struct doorbell, link);
}

int doorbells_give(struct vm *vm, const char *name, int fd, struct err *e)
{
	struct given *g;

	if (strlen(name) >= sizeof(g->name))
		return err_set(e, EPROTO, "no doorbell has the name '%s'", name);
	g = calloc(1, sizeof(*g));
	if (!g)
		return err_set(e, ENOMEM, "no memory for a doorbell");
	snprintf(g->name, sizeof(g->name), "%s", name);
	g->fd = fd;
	list_add(&vm->doorbells.given, &g->link);
	return 0;
}

void doorbells_drop_given(struct vm *vm)
{
	struct list *pos, *tmp;

	list_for_each(pos, tmp, &vm->doorbells.given) {
		struct given *g = CONTAINER_OF(pos, struct given, link);

		close_fd(&g->fd);
		list_del(&g->link);
		free(g);
	}
}
