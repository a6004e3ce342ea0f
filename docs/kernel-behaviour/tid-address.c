/* SPDX-License-Identifier: MIT */
/* set_tid_address moves the word that is cleared, and woken, when a thread ends. */
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "fact.h"

#ifndef PR_GET_TID_ADDRESS
#define PR_GET_TID_ADDRESS 40
#endif

static int first = 1, second = 1;
static int told; /* what PR_GET_TID_ADDRESS says: 1 the first, 2 the second, -1 nothing */

static int thread(void *arg)
{
	int *at = NULL;

	(void)arg;
	syscall(SYS_set_tid_address, &second);
	if (syscall(SYS_prctl, PR_GET_TID_ADDRESS, &at, 0, 0, 0))
		told = -1;
	else
		told = at == &second ? 2 : 1;
	return 0;
}

int main(void)
{
	static char stack[64 << 10] __attribute__((aligned(16)));
	const int flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD |
			  CLONE_SYSVSEM | CLONE_CHILD_CLEARTID;
	const struct timespec limit = { .tv_sec = 10 };

	/* It has no TLS of its own, so it shares errno with us, who only wait. */
	NEED(clone(thread, stack + sizeof(stack), flags, NULL, NULL, NULL, &first));
	while (__atomic_load_n(&second, __ATOMIC_ACQUIRE))
		if (syscall(SYS_futex, &second, FUTEX_WAIT, 1, &limit, NULL, 0) &&
		    errno == ETIMEDOUT)
			FAILS("the thread ended and the second word was not cleared");
	CHECK(first == 1);
	CHECK(told != 1);
	HOLDS("the word set last was cleared and its waiter woken, the first was left alone; "
	      "PR_GET_TID_ADDRESS %s",
	      told == 2 ? "tells it" : "is not built into this kernel");
}
