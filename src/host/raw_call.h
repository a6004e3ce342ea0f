/* SPDX-License-Identifier: MIT */
/* System calls for a child that shares our memory (private to host/). */
#ifndef HOST_RAW_CALL_H
#define HOST_RAW_CALL_H

/*
 * A child made with CLONE_VM runs with our thread-local storage, in which errno is, a
 * stack protector's canary and a sanitizer's state. It must not touch them: its functions
 * carry this attribute and call the kernel directly.
 */
#define IN_CHILD __attribute__((no_stack_protector, no_sanitize("thread", "address", "undefined")))

/* The system call @nr with four arguments; -errno on failure. */
IN_CHILD static inline long raw_call(long nr, long a, long b, long c, long d)
{
	register long r10 __asm__("r10") = d;
	long r;

	__asm__ volatile("syscall"
			 : "=a"(r)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10)
			 : "rcx", "r11", "memory");
	return r;
}

#endif
