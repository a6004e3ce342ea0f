/* SPDX-License-Identifier: MIT */
/* Doorbells with a KVM on paper: placed later, moved at once, handed over, rung and not lost. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/util.h"
#include "host/event.h"
#include "host/kvm.h"
#include "machine/vm.h"

#include "fd_count.h"

enum {
	NR = 8
};

/* What KVM has: as the kernel does, by what a descriptor is and not by its number. */
struct paper_kvm {
	struct {
		uint64_t gpa;
		uint64_t id;
		int fd;
	} known[NR];
	unsigned int nr, calls;
	int fail;
};

/* The VM's descriptor leads to it; there is one at a time. */
static struct paper_kvm kvm;

static uint64_t id_of(int fd)
{
	char path[64], link[64] = "";
	uint64_t id = 0;
	FILE *f;

	/* All eventfds are one inode; each has a number of its own. */
	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	f = fopen(path, "r");
	assert_non_null(f);
	while (fgets(link, sizeof(link), f))
		if (sscanf(link, "eventfd-id: %lu", &id) == 1)
			break;
	fclose(f);
	return id;
}

int kvm_ioeventfd(int vm_fd, uint64_t gpa, int fd, bool on, struct err *e)
{
	assert_int_equal(vm_fd, 77);
	kvm.calls++;
	if (kvm.fail)
		return err_set(e, kvm.fail, "on paper");
	for (unsigned int i = 0; i < kvm.nr; i++) {
		if (kvm.known[i].gpa != gpa)
			continue;
		if (on)
			return err_set(e, EEXIST, "there is one");
		if (kvm.known[i].id != id_of(fd))
			continue;
		close(kvm.known[i].fd);
		kvm.known[i] = kvm.known[--kvm.nr];
		return 0;
	}
	if (!on)
		return err_set(e, ENOENT, "there is none");
	assert_true(kvm.nr < NR);
	kvm.known[kvm.nr].gpa = gpa;
	kvm.known[kvm.nr].fd = dup(fd);
	kvm.known[kvm.nr++].id = id_of(fd);
	return 0;
}

/* The guest writes to @gpa: false if that comes to the process as an access. */
static bool guest_writes(uint64_t gpa)
{
	for (unsigned int i = 0; i < kvm.nr; i++)
		if (kvm.known[i].gpa == gpa) {
			event_ring(kvm.known[i].fd);
			return true;
		}
	return false;
}

struct world {
	struct vm vm;
	pthread_mutex_t lock;
	struct doorbell a, b;
	unsigned int rung_a, rung_b;
	struct err e;
};

static void count(void *opaque)
{
	++*(unsigned int *)opaque;
}

static void begin(struct world *w)
{
	*w = (struct world){ .vm.vm_fd = 77 };
	pthread_mutex_init(&w->lock, NULL);
	pthread_mutex_lock(&w->lock);
	assert_int_equal(loop_create(&w->vm.loop, &w->lock, &w->e), 0);
	doorbells_init(&w->vm);
}

static void make(struct world *w)
{
	assert_int_equal(doorbell_init(&w->a, &w->vm, "here/0", count, &w->rung_a, &w->e), 0);
	assert_int_equal(doorbell_init(&w->b, &w->vm, "here/1", count, &w->rung_b, &w->e), 0);
}

static void end(struct world *w)
{
	doorbell_fini(&w->a);
	doorbell_fini(&w->b);
	doorbells_fini(&w->vm);
	loop_destroy(w->vm.loop);
	pthread_mutex_unlock(&w->lock);
	pthread_mutex_destroy(&w->lock);
}

static void forget_kvm(void)
{
	for (unsigned int i = 0; i < kvm.nr; i++)
		close(kvm.known[i].fd);
	kvm = (struct paper_kvm){ 0 };
}

static void run_both(struct world *w, bool running)
{
	doorbell_run_changed(&w->a, running);
	doorbell_run_changed(&w->b, running);
}

/* Until nothing is to be done any more. */
static void settle(struct world *w)
{
	loop_run_once(w->vm.loop, 0);
	while (w->vm.doorbells.timer.armed)
		loop_run_once(w->vm.loop, -1);
	loop_run_once(w->vm.loop, 0);
}

static void kvm_is_told_a_little_later_one_at_a_time(void **state)
{
	unsigned int fds = fd_count();
	struct world w;

	(void)state;
	begin(&w);
	make(&w);
	doorbell_place(&w.a, 0x1000);
	doorbell_place(&w.b, 0x1004);
	run_both(&w, true);
	loop_run_once(w.vm.loop, 0);
	assert_int_equal(kvm.calls, 0);
	while (!kvm.calls)
		loop_run_once(w.vm.loop, -1);
	assert_int_equal(kvm.calls, 1);
	settle(&w);
	assert_int_equal(kvm.calls, 2);
	assert_true(guest_writes(0x1004));
	assert_true(guest_writes(0x1004));
	loop_run_once(w.vm.loop, 0);
	assert_int_equal(w.rung_a, 0);
	assert_int_equal(w.rung_b, 1);
	settle(&w);
	assert_int_equal(w.rung_b, 1);
	/* Told once is told. */
	run_both(&w, false);
	run_both(&w, true);
	settle(&w);
	assert_int_equal(kvm.calls, 2);
	end(&w);
	assert_int_equal(kvm.nr, 0);
	assert_int_equal(fd_count(), fds);
	forget_kvm();
}

static void one_that_moves_leaves_its_place_at_once(void **state)
{
	struct world w;

	(void)state;
	begin(&w);
	make(&w);
	run_both(&w, true);
	doorbell_place(&w.a, 0x1000);
	settle(&w);
	doorbell_place(&w.a, 0x1000);
	assert_int_equal(kvm.nr, 1);
	doorbell_place(&w.a, 0x2000);
	assert_int_equal(kvm.nr, 0);
	assert_false(guest_writes(0x1000));
	settle(&w);
	assert_true(guest_writes(0x2000));
	doorbell_remove(&w.a);
	doorbell_remove(&w.a);
	assert_int_equal(kvm.nr, 0);
	settle(&w);
	assert_int_equal(kvm.nr, 0);
	end(&w);
	forget_kvm();
}

static void a_stopped_guest_rings_nothing(void **state)
{
	struct world w;

	(void)state;
	begin(&w);
	make(&w);
	doorbell_place(&w.a, 0x1000);
	settle(&w);
	assert_int_equal(kvm.calls, 0);
	run_both(&w, true);
	settle(&w);
	assert_true(guest_writes(0x1000));
	run_both(&w, false);
	loop_run_once(w.vm.loop, 0);
	assert_int_equal(w.rung_a, 0);
	/* It does not ring for ever. */
	assert_false(event_take(w.a.fd));
	end(&w);
	forget_kvm();
}

static void a_kvm_that_refuses_is_not_asked_again(void **state)
{
	struct world w;

	(void)state;
	begin(&w);
	make(&w);
	kvm.fail = ENOSPC;
	doorbell_place(&w.a, 0x1000);
	doorbell_place(&w.b, 0x1004);
	run_both(&w, true);
	settle(&w);
	assert_int_equal(kvm.calls, 2);
	run_both(&w, false);
	run_both(&w, true);
	settle(&w);
	assert_int_equal(kvm.calls, 2);
	kvm.fail = 0;
	doorbell_place(&w.a, 0x3000);
	settle(&w);
	assert_true(guest_writes(0x3000));
	end(&w);
	forget_kvm();
}

/* The new image's machine, before it has the guest. */
static void adopt(struct world *old, struct world *new)
{
	const struct doorbell *d = NULL;

	begin(new);
	new->vm.graft = (struct graft *)new;
	while ((d = doorbells_next(&old->vm, d)))
		assert_int_equal(doorbells_give(&new->vm, d->name, dup(d->fd), &new->e), 0);
	make(new);
	assert_true(list_empty(&new->vm.doorbells.given));
}

static void a_new_image_goes_on_with_what_kvm_knows(void **state)
{
	unsigned int fds = fd_count();
	struct world old, new;

	(void)state;
	begin(&old);
	make(&old);
	run_both(&old, true);
	doorbell_place(&old.a, 0x1000);
	settle(&old);
	adopt(&old, &new);
	/* A state from before the stop: both doorbells were elsewhere. */
	doorbell_place(&new.a, 0x5000);
	doorbell_place(&new.b, 0x5004);
	/* Meanwhile the guest moves one, and places another one that KVM is told of. */
	doorbell_place(&old.a, 0x2000);
	doorbell_place(&old.b, 0x2004);
	settle(&old);
	run_both(&old, false);
	assert_true(guest_writes(0x2000));
	doorbell_place(&new.a, 0x2000);
	doorbell_place(&new.b, 0x2004);
	/* It changed nothing so far, and takes no ring from the old one. */
	assert_int_equal(kvm.calls, 4);
	loop_run_once(new.vm.loop, 0);
	assert_int_equal(new.rung_a, 0);
	new.vm.graft = NULL;
	run_both(&new, true);
	assert_true(guest_writes(0x2004));
	loop_run_once(new.vm.loop, 0);
	assert_int_equal(new.rung_a, 1);
	assert_int_equal(new.rung_b, 1);
	settle(&new);
	assert_int_equal(kvm.nr, 2);
	/* And can take away what it has taken over. */
	doorbell_remove(&new.a);
	doorbell_remove(&new.b);
	assert_int_equal(kvm.nr, 0);
	end(&new);
	end(&old);
	assert_int_equal(fd_count(), fds);
	forget_kvm();
}

static void a_new_image_can_move_one_before_it_has_asked(void **state)
{
	struct world old, new;

	(void)state;
	begin(&old);
	make(&old);
	run_both(&old, true);
	doorbell_place(&old.a, 0x1000);
	doorbell_place(&old.b, 0x1004);
	settle(&old);
	/* KVM does not know this one any more. */
	doorbell_remove(&old.b);
	adopt(&old, &new);
	doorbell_place(&new.a, 0x1000);
	doorbell_place(&new.b, 0x1004);
	new.vm.graft = NULL;
	run_both(&new, true);
	doorbell_place(&new.a, 0x6000);
	doorbell_place(&new.b, 0x6004);
	assert_int_equal(kvm.nr, 0);
	settle(&new);
	assert_true(guest_writes(0x6000));
	assert_true(guest_writes(0x6004));
	end(&new);
	end(&old);
	forget_kvm();
}

static void what_no_device_takes_is_closed(void **state)
{
	unsigned int fds = fd_count();
	char name[DOORBELL_NAME_MAX + 1];
	struct world w;
	int fd;

	(void)state;
	begin(&w);
	fd = event_create(&w.e);
	memset(name, 'x', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	assert_int_equal(doorbells_give(&w.vm, name, fd, &w.e), -EPROTO);
	assert_int_equal(doorbells_give(&w.vm, "gone/0", fd, &w.e), 0);
	doorbells_drop_given(&w.vm);
	doorbells_drop_given(&w.vm);
	end(&w);
	assert_int_equal(fd_count(), fds);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(kvm_is_told_a_little_later_one_at_a_time),
		cmocka_unit_test(one_that_moves_leaves_its_place_at_once),
		cmocka_unit_test(a_stopped_guest_rings_nothing),
		cmocka_unit_test(a_kvm_that_refuses_is_not_asked_again),
		cmocka_unit_test(a_new_image_goes_on_with_what_kvm_knows),
		cmocka_unit_test(a_new_image_can_move_one_before_it_has_asked),
		cmocka_unit_test(what_no_device_takes_is_closed),
	};

	return cmocka_run_group_tests_name("doorbell", tests, NULL, NULL);
}
