/* SPDX-License-Identifier: MIT */
/* The owner word: which process may run the guest. */
#ifndef UPDATE_OWNER_H
#define UPDATE_OWNER_H

/*
 * DOC: theory of operation
 *
 * One 32-bit word in a page that the old and the new side both map. It changes
 * only by compare-and-swap:
 *
 *	OLD -> OFFERED		old side: the guest is stopped, its state is saved
 *	OFFERED -> NEW		new side: the state is loaded, I enter the guest
 *	OFFERED -> OLD		old side: took it back, I resume the guest
 *
 * Whatever happens to messages, deadlines and processes, at most one of the two
 * swaps from OFFERED succeeds; so at most one side runs the guest, and a side
 * that lives can always find out whether it is the one.
 */

#include <sched.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "machine/vm.h"

/* When what happened in the pause, CLOCK_BOOTTIME ns; for the report only. */
struct owner_times {
	uint64_t stop;     /* old: the guest is told to stop        */
	uint64_t stopped;  /* old: all vCPUs are out                */
	uint64_t saved;    /* old: the state is encoded             */
	uint64_t received; /* new: the state is here and undamaged  */
	uint64_t loaded;   /* new: KVM has it                       */
	uint64_t entered;  /* new: the first vCPU enters the guest  */
	uint64_t holder;   /* old: process id of the child that holds the memory past exec */
};

/* What was saved for the next image of cpr-exec. */
struct owner_state {
	uint64_t length; /* of the stream, bytes; 0: the old image does not tell */
	uint64_t xxh3;   /* of the stream        */
};

/* Where the guest's vCPUs run, by index: the processor's number and 1 more; 0: unknown, or nowhere. */
struct owner_places {
	uint16_t cpu[VM_MAX_VCPUS];
};

/* Until when the next image of cpr-exec is to run the guest, or the old one does again. */
struct owner_deadline {
	uint64_t ns;       /* CLOCK_BOOTTIME; 0: there is none */
	uint64_t limit_ms; /* that it comes from */
};

enum owner_side {
	OWNER_OLD = 0x4f4c4431,
	OWNER_OFFERED = 0x4f464652,
	OWNER_NEW = 0x4e455731,
};

struct owner {
	int fd;                  /* owned memfd; goes to the other side */
	struct owner_page *page; /* its mapping, shared                 */
};

#define OWNER_FD_NAME "baton-owner" /* its name among the descriptors handed over */

#define OWNER_INIT       \
	{                \
		.fd = -1 \
	}

/* A new page with the word OLD. */
int owner_create(struct owner *o, struct err *e);
/* The page in @fd, which comes from the old side; ownership of @fd moves on success. */
int owner_open(struct owner *o, int fd, struct err *e);
void owner_fini(struct owner *o);

/* The swaps; false: the word was something else. Any thread. */
bool owner_offer(struct owner *o);
bool owner_take_back(struct owner *o);
bool owner_claim(struct owner *o);

/* The word itself, for process_hold_memory(). */
const uint32_t *owner_word(const struct owner *o);

/* In the shared page; each side writes its own members. Never trusted for more than a report. */
struct owner_times *owner_times(struct owner *o);

/* In the page too: which state belongs to the offer, for cpr-exec. Any thread. */
struct owner_state *owner_state(struct owner *o);

/*
 * In the page too: advice from the old side, never trusted. At first where its vCPUs run, for what
 * works in the meantime to keep away; at the stop where they have just been, for the new
 * side's to go there.
 */
struct owner_places *owner_places(struct owner *o);
/* As a set. */
void owner_busy(const struct owner *o, cpu_set_t *out);

/* In the page too, written by the old side of cpr-exec. */
struct owner_deadline *owner_deadline(struct owner *o);

/* The word now. */
enum owner_side owner_get(const struct owner *o);

#endif
