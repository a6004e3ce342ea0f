/* SPDX-License-Identifier: MIT */
/* Doorbells: addresses a guest writes to, to have a device look at something soon. */
#ifndef MACHINE_DOORBELL_H
#define MACHINE_DOORBELL_H

/*
 * DOC: theory of operation
 *
 * A doorbell is an eventfd that the main loop watches. KVM writes to it when the guest writes to
 * its address (KVM_IOEVENTFD), so a vCPU does not leave the guest for the process. To tell KVM takes
 * a while, so that is done a little after a doorbell got its place, one at a time, on the main
 * loop; until then the guest's access comes to the device like any other, and the device does
 * what it does when the doorbell rings. A doorbell that moves is taken from KVM at once.
 *
 * While the guest is stopped a ring is swallowed: whoever owns the doorbell looks at everything
 * when the guest goes on. So nothing has to be switched off in an update's pause, and a ring that
 * comes between is not lost.
 *
 * In a graft KVM goes on writing to the old image's eventfds. Each exists from the beginning and has
 * a name, and the new image goes on with those it was given. Which of them KVM knows at that
 * moment need not be known: where KVM finds that it has one already, all is well.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/list.h"
#include "host/loop.h"
#include "machine/layout.h"

struct vm;

#define DOORBELL_NAME_MAX 48

struct doorbell {
	struct list link;
	struct vm *vm;                /* [c]                                          */
	char name[DOORBELL_NAME_MAX]; /* [c] the same in the next image               */
	int fd;                       /* [c] its eventfd, owned; -1: there is none    */
	struct loop_fd watch;         /* [l]                                          */
	gpa_t gpa;                    /* [m] if @placed                               */
	bool placed;                  /* [m]                                          */
	bool known;                   /* [m] KVM has it at @gpa, or may have          */
	bool certain;                 /* [m] it has, or does not want it              */
	bool running;                 /* [m] the guest may be in                      */
	void (*rung)(void *opaque);   /* [c] main loop's thread, while the guest runs */
	void *opaque;
};

/* Of a machine; part of struct vm. */
struct doorbells {
	struct list list;        /* [m] struct doorbell                */
	struct list given;       /* [l] those of the old image that nobody has taken */
	struct loop_timer timer; /* [l] to telling KVM of the next one */
	struct loop_work work;   /* sets it                            */
	bool refused;            /* [l] KVM did not want one, which was said */
};

/* With the machine; vm->loop is there. doorbells_fini() when no device is left. */
void doorbells_init(struct vm *vm);
void doorbells_fini(struct vm *vm);

/*
 * Makes a doorbell, which @d is, or goes on with the one of that name that was given. All
 * functions from here on: machine lock.
 */
int doorbell_init(struct doorbell *d, struct vm *vm, const char *name, void (*rung)(void *opaque),
		  void *opaque, struct err *e);
/* Main loop's thread. One that is zeroed is allowed. */
void doorbell_fini(struct doorbell *d);
/* It is at @gpa from now on, and nowhere else. Any thread. */
void doorbell_place(struct doorbell *d, gpa_t gpa);
/* It is nowhere. Any thread. */
void doorbell_remove(struct doorbell *d);
/* The guest is about to run, or has stopped. To be called by the device's run_changed(). */
void doorbell_run_changed(struct doorbell *d, bool running);

/*
 * In a graft: what the new image needs. The one after @prev, the first for NULL; NULL at the
 * end. doorbells_give() takes @fd over, for the doorbell that will have the name;
 * doorbells_drop_given() closes what no device has taken.
 */
const struct doorbell *doorbells_next(const struct vm *vm, const struct doorbell *prev);
int doorbells_give(struct vm *vm, const char *name, int fd, struct err *e);
void doorbells_drop_given(struct vm *vm);

#endif
