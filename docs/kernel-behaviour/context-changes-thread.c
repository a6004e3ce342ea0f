/* SPDX-License-Identifier: MIT */
/* A kernel thread can go on in the C library's context of another: FS base and rseq area. */
#include <asm/prctl.h>
#include <linux/rseq.h>
#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <sys/syscall.h>

#include "fact.h"

extern const ptrdiff_t __rseq_offset __attribute__((weak));
extern const unsigned int __rseq_size __attribute__((weak));

enum {
	SIGNATURE = 0x53053053,
	AREA = 32
};

/* The context that is lent; its own kernel thread sleeps in a way that uses nothing of it. */
struct lent {
	unsigned long fs;
	pthread_t self;
	int ready, back; /* futex words */
};

static __thread int mark;

static long raw(long nr, long a, long b, long c, long d)
{
	register long r10 __asm__("r10") = d;
	long r;

	__asm__ volatile("syscall"
			 : "=a"(r)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10)
			 : "rcx", "r11", "memory");
	return r;
}

static long rseq_of(unsigned long fs, int flags)
{
	if (!&__rseq_offset || !&__rseq_size || !__rseq_size)
		return 0;
	return raw(SYS_rseq, (long)fs + __rseq_offset, AREA, flags, SIGNATURE);
}

static void *lender(void *arg)
{
	struct lent *l = arg;

	mark = 2;
	errno = 22;
	l->self = pthread_self();
	l->fs = (unsigned long)__builtin_thread_pointer();
	rseq_of(l->fs, RSEQ_FLAG_UNREGISTER);
	__atomic_store_n(&l->ready, 1, __ATOMIC_RELEASE);
	while (!__atomic_load_n(&l->back, __ATOMIC_ACQUIRE))
		raw(SYS_sched_yield, 0, 0, 0, 0);
	rseq_of(l->fs, 0);
	return (void *)(long)mark;
}

/* All that is found in between is kept on the stack, which stays. */
struct found {
	long in, out, rseq_in, rseq_out;
	pthread_t self;
	int mark, error, mutex;
	void *heap;
};

__attribute__((noinline)) static void work_there(struct found *f)
{
	pthread_mutex_t m = PTHREAD_ERRORCHECK_MUTEX_INITIALIZER_NP;

	f->self = pthread_self();
	f->mark = mark;
	f->error = errno;
	f->heap = malloc(100000);
	sched_yield();
	f->mutex = pthread_mutex_lock(&m) || pthread_mutex_lock(&m) != EDEADLK ||
		   pthread_mutex_unlock(&m);
	mark = 3;
}

int main(void)
{
	unsigned long fs = (unsigned long)__builtin_thread_pointer();
	struct lent l = { 0 };
	struct found f = { 0 };
	pthread_t thread;
	void *end;

	mark = 1;
	errno = 0;
	CHECK(!pthread_create(&thread, NULL, lender, &l));
	while (!__atomic_load_n(&l.ready, __ATOMIC_ACQUIRE))
		sched_yield();
	f.rseq_out = rseq_of(fs, RSEQ_FLAG_UNREGISTER);
	f.in = raw(SYS_arch_prctl, ARCH_SET_FS, (long)l.fs, 0, 0);
	f.rseq_in = rseq_of(l.fs, 0);
	work_there(&f);
	rseq_of(l.fs, RSEQ_FLAG_UNREGISTER);
	f.out = raw(SYS_arch_prctl, ARCH_SET_FS, (long)fs, 0, 0);
	rseq_of(fs, 0);
	CHECK(!f.in && !f.out && !f.rseq_in && !f.rseq_out);
	CHECK(f.self == l.self && pthread_self() != l.self);
	CHECK(f.mark == 2 && mark == 1);
	CHECK(f.error == 22);
	CHECK(f.heap && !f.mutex);
	free(f.heap);
	__atomic_store_n(&l.back, 1, __ATOMIC_RELEASE);
	CHECK(!pthread_join(thread, &end) && (long)end == 3);
	HOLDS("this thread was another one to the C library, worked as it, and came back");
}
