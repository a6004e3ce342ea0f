/* SPDX-License-Identifier: MIT */
/* A thread may unregister its area of restartable sequences and register another one. */
#include <linux/rseq.h>
#include <sched.h>
#include <stddef.h>
#include <sys/syscall.h>

#include "fact.h"

/* Of the C library (2.35 and later): where its area is, from the thread pointer. */
extern const ptrdiff_t __rseq_offset __attribute__((weak));
extern const unsigned int __rseq_size __attribute__((weak));

enum {
	SIGNATURE = 0x53053053, /* on x86, by agreement */
	AREA = 32
};

static long rseq(void *area, unsigned int bytes, int flags)
{
	return syscall(SYS_rseq, area, bytes, flags, SIGNATURE);
}

int main(void)
{
	static struct {
		struct rseq r;
		char room[256];
	} ours __attribute__((aligned(256)));
	struct rseq *libc;
	cpu_set_t one;

	if (!&__rseq_offset || !&__rseq_size || !__rseq_size)
		SKIPS("the C library has registered no area");
	libc = (struct rseq *)((char *)__builtin_thread_pointer() + __rseq_offset);
	CHECK(rseq(&ours, AREA, 0) < 0 && (errno == EINVAL || errno == EBUSY));
	CHECK(rseq(libc, AREA, RSEQ_FLAG_UNREGISTER) == 0);
	ours.r.cpu_id = (uint32_t)RSEQ_CPU_ID_UNINITIALIZED;
	CHECK(rseq(&ours, AREA, 0) == 0);
	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	NEED(sched_setaffinity(0, sizeof(one), &one));
	CHECK(CPU_ISSET(((volatile struct rseq *)&ours.r)->cpu_id, &one));
	CHECK(rseq(&ours, AREA, RSEQ_FLAG_UNREGISTER) == 0);
	CHECK(rseq(libc, AREA, 0) == 0);
	HOLDS("the area was unregistered, another one registered and kept up to date, and back");
}
