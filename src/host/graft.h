/* SPDX-License-Identifier: MIT */
/* A second program image in this process, and the threads' change from one to the other. */
#ifndef HOST_GRAFT_H
#define HOST_GRAFT_H

/*
 * DOC: theory of operation
 *
 * The new image is mapped beside the old one (host/image.h) and started in a
 * child that shares the address space and the descriptors, but is a process of
 * its own: what exits, crashes or hangs there is only the child, and SIGKILL ends
 * it whatever state it is in. Its C library makes threads and thread-local
 * storage of its own. The old image's main thread waits meanwhile, so that whatever is
 * mapped or opened in that time is the new image's.
 *
 * A thread of the new image "leaves": it puts its registers into a context and
 * ends as a thread of the child. A thread of the old image "enters" a context: it
 * takes over stack, thread-local storage, signal mask and what else the kernel keeps for a
 * C library, and goes on there. So when the new image's main thread leaves as the
 * last one, all threads of the process go over to the new image, with the process id,
 * thread ids, priorities and places they had. The old image, in which nobody is any
 * more, is then unmapped.
 *
 * The word @verdict decides, by compare-and-swap from GRAFT_OPEN: the new image
 * sets GRAFT_NEW in the very moment its main thread leaves; the old one sets
 * GRAFT_OLD to give up. Before GRAFT_NEW nothing of the old image has changed.
 *
 * struct graft is the whole contract between the two images. Members are only ever
 * added at the end; GRAFT_VERSION rises with each addition, GRAFT_OLDEST when an old
 * image that lacks some cannot be served any more.
 */

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define GRAFT_VERSION 1
#define GRAFT_OLDEST  1

/* The environment variable by which a new image finds the contract: its address. */
#define GRAFT_VARIABLE "BATON_CPR_GRAFT"

enum {
	GRAFT_NAME_MAX = 64,
	GRAFT_ERROR_MAX = 1024,
	GRAFT_SHARED_BYTES = 256,
	GRAFT_MAX_KEPT = 64,
	GRAFT_SIGNALS = 64,
};

/* Verdicts, see above. */
enum graft_verdict {
	GRAFT_OPEN,
	GRAFT_NEW,
	GRAFT_OLD,
};

/* How far the new image is. */
enum graft_progress {
	GRAFT_STARTING,
	GRAFT_READY,  /* built; waits for the state */
	GRAFT_FAILED, /* gave up; says why          */
};

/* Where a thread of the new image goes on. */
struct graft_context {
	uint64_t rsp;         /* callee-saved registers lie on that stack */
	uint64_t fs_base;     /* thread-local storage                     */
	uint64_t tid_address; /* where the C library keeps its thread id  */
	uint64_t robust_list; /* of futexes, with its length              */
	uint64_t robust_length;
	uint64_t rseq; /* restartable sequences area; 0: none      */
	uint32_t rseq_length;
	uint32_t left; /* futex: 1 once nothing of the child uses it */
	uint64_t signal_mask;
	uint32_t arrived; /* 1 once a thread of the process goes on there */
	uint32_t scrap;   /* the child's thread id goes here when it ends */
};

/* Memory of the old image that stays where it is. */
struct graft_kept {
	char name[GRAFT_NAME_MAX];
	uint64_t start;
	uint64_t size;
};

struct graft_bytes {
	uint64_t data; /* address in the contract's memory */
	uint64_t len;
	uint64_t cap;
};

struct graft {
	uint64_t magic;
	uint32_t version; /* the old image's GRAFT_VERSION                         */
	uint32_t nr_contexts;
	uint64_t size;     /* of the contract's memory, this struct at its beginning */
	uint32_t verdict;  /* futex, enum graft_verdict                              */
	uint32_t progress; /* futex, enum graft_progress; the new image's            */
	uint32_t offered;  /* futex, 1: @state is there; the old image's             */
	int32_t child;     /* process id of the child                                */
	int32_t program;   /* descriptor of the new program                          */
	uint32_t nr_kept;
	uint64_t contexts;            /* address of nr_contexts contexts                        */
	uint64_t handler;             /* of signals by which the child would crash              */
	struct graft_bytes cpr_state; /* what update/ hands over before the stop */
	struct graft_bytes machine;   /* what machine/ does                      */
	struct graft_bytes rehearsal; /* a state of the devices from before the stop */
	struct graft_bytes state;     /* that after the stop                     */
	struct graft_bytes leftover_maps; /* struct map_range: the old image's   */
	struct graft_bytes leftover_fds;  /* int: the old image's                */
	struct graft_kept kept[GRAFT_MAX_KEPT];
	uint64_t actions[GRAFT_SIGNALS][4]; /* the kernel's sigactions the new image wants */
	uint64_t strings[4];                /* its arguments, begin and end; its environment */
	uint64_t auxv, auxv_len;
	uint64_t record; /* the old image's own                                         */
	uint32_t spin;   /* there are processors enough to wait without sleeping        */
	char error[GRAFT_ERROR_MAX];        /* progress GRAFT_FAILED: why          */
	uint8_t shared[GRAFT_SHARED_BYTES]; /* for update/: times of the pause   */
};

/* What the old image gives. Borrowed. */
struct graft_config {
	char *const *command;
	unsigned int
		nr_contexts; /* the main thread's, and one for each other thread that goes over */
	const struct graft_kept *kept;
	unsigned int nr_kept;
	bool spin; /* see graft_wait_verdict() */
	const void *cpr_state, *machine, *rehearsal;
	size_t cpr_state_len, machine_len, rehearsal_len;
};

/*
 * Old image, main thread.
 *
 * graft_check() looks at the program without starting it. graft_start() loads and starts
 * it; from then on until graft_wait_ready() has returned, nothing of the old image may map,
 * unmap, open or close. That one returns 0 once the new image is ready; -errno with the
 * reason if it gives up, ends or needs longer. graft_offer() hands the state over,
 * graft_wait_taken() returns true if the new image has taken the guest: then the caller
 * calls graft_enter_main(). On false, with the reason, and after any failure
 * graft_roll_back() ends the child and removes what it left; it may be called at
 * any time before the verdict is GRAFT_NEW.
 */
int graft_check(const char *program, struct err *e);
int graft_start(struct graft **out, const struct graft_config *c, struct err *e);
int graft_wait_ready(struct graft *g, uint64_t deadline_ns, struct err *e);
int graft_offer(struct graft *g, const void *state, size_t n, struct err *e);
bool graft_wait_taken(struct graft *g, uint64_t deadline_ns, struct err *e);
/* The verdict GRAFT_OLD, unless it is GRAFT_NEW already: then false. Any thread. */
bool graft_take_back(struct graft *g);
void graft_roll_back(struct graft *g);

/*
 * Waits until there is a verdict. If that is GRAFT_NEW, this thread becomes the one of context
 * @index, else this returns. Any thread of the old image but the main one. With
 * graft_config.spin it does not sleep at first, since waking up takes longer than the rest.
 */
void graft_wait_verdict(struct graft *g, unsigned int index);
/* The main thread becomes that of the new image. */
void graft_enter_main(struct graft *g) __attribute__((noreturn));

/*
 * New image.
 *
 * graft_inherit() returns the contract if this image was started by graft_start(), else
 * NULL, or NULL with @e->code set if it cannot be used. graft_leave() returns in a thread of
 * the old image's process, after the verdict GRAFT_NEW; a thread that comes later than that
 * never returns. The main thread leaves by graft_commit(), as the last one: that is the moment
 * when the new image gets the process. It returns in the process; it does not if the old
 * image gave up before. graft_finish() then removes the old image; graft_close() lets go of
 * the contract.
 */
struct graft *graft_inherit(struct err *e);
void graft_leave(struct graft *g, unsigned int index);
/* Waits until the threads of contexts 1... have left. */
void graft_wait_left(struct graft *g);
/*
 * Says that all is ready, and waits for the state, which stays the contract's. From then on
 * all signals are blocked, and no thread may be started, until graft_commit() has returned.
 */
void graft_wait_offer(struct graft *g);
/* Says why this image cannot take over; the process ends, without any clean-up. */
void graft_fail(struct graft *g, const char *why) __attribute__((noreturn));
void graft_commit(struct graft *g);
void graft_finish(struct graft *g);
void graft_close(struct graft *g);

/* Where memory of that name and size is; NULL if the old image did not keep it. */
void *graft_find_kept(const struct graft *g, const char *name, uint64_t size);

/* Room for what both images of update/ want to share. */
static inline void *graft_shared(struct graft *g)
{
	return g->shared;
}

static inline const void *graft_data(const struct graft_bytes *b)
{
	return (const void *)(uintptr_t)b->data;
}

#endif
