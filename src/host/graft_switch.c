/* SPDX-License-Identifier: MIT */
/* How a thread leaves its place in a program and another one goes on there. */
#include <asm/prctl.h>
#include <errno.h>
#include <linux/futex.h>
#include <stddef.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/util.h"
#include "host/graft_switch.h"

/*
 * DOC: theory of operation
 *
 * For each thread the kernel keeps a few addresses on behalf of the C library:
 * the base of thread-local storage (FS), where to clear the thread id when the thread
 * ends, the list of robust futexes and the area for restartable sequences. Who
 * leaves reads them into the context and takes them off the thread that ends, so that its
 * end changes nothing in them; who enters sets them for itself, and writes its own thread
 * id where the C library looks for it.
 *
 * From the moment the context is complete another thread may run on its stack, so what
 * the leaving thread still does must not use that: two system calls, in assembly, with
 * all signals blocked.
 */

enum {
	RSEQ_LENGTH = 32,
	KERNEL_SIGSET_BYTES = 8,
	/* Newer than the headers of Debian 12. */
	AUX_RSEQ_FEATURE_SIZE = 27,
	AUX_RSEQ_ALIGN = 28,
};

/* What the assembly below knows of struct graft_context. */
_Static_assert(offsetof(struct graft_context, rsp) == 0, "layout");
_Static_assert(offsetof(struct graft_context, fs_base) == 8, "layout");
_Static_assert(offsetof(struct graft_context, rseq) == 40, "layout");
_Static_assert(offsetof(struct graft_context, rseq_length) == 48, "layout");
_Static_assert(offsetof(struct graft_context, left) == 52, "layout");
_Static_assert(GRAFT_OPEN == 0 && GRAFT_NEW == 1, "values");
_Static_assert(SYS_futex == 202 && SYS_exit == 60 && SYS_exit_group == 231, "numbers");
_Static_assert(SYS_arch_prctl == 158 && SYS_rseq == 334 && ARCH_SET_FS == 0x1002, "numbers");
_Static_assert((FUTEX_WAKE | FUTEX_PRIVATE_FLAG) == 129 && RSEQ_SIG == 0x53053053, "numbers");

void graft_switch_out_asm(struct graft_context *c, uint32_t *verdict);
void graft_switch_in_asm(struct graft_context *c) __attribute__((noreturn));

__asm__(".pushsection .text\n"
	".globl graft_switch_out_asm\n"
	".type graft_switch_out_asm, @function\n"
	"graft_switch_out_asm:\n"
	"	pushq %rbp\n"
	"	pushq %rbx\n"
	"	pushq %r12\n"
	"	pushq %r13\n"
	"	pushq %r14\n"
	"	pushq %r15\n"
	"	subq $8, %rsp\n"
	"	stmxcsr (%rsp)\n"
	"	fnstcw 4(%rsp)\n"
	"	movq %rsp, 0(%rdi)\n"
	"	leaq 52(%rdi), %rbx\n" /* left */
	"	movl $1, %edx\n"
	"	testq %rsi, %rsi\n"
	"	jz 1f\n"
	/* The main thread: nothing is left behind when the verdict can be seen. */
	"	movl %edx, (%rbx)\n"
	"	movq %rsi, %rbx\n"
	"	xorl %eax, %eax\n"
	"	lock cmpxchgl %edx, (%rbx)\n"
	"	jz 2f\n"
	"	xorl %edi, %edi\n"
	"	movl $231, %eax\n" /* exit_group */
	"	syscall\n"
	"	hlt\n"
	"1:	xchgl %edx, (%rbx)\n"
	/* From here on the stack may be another thread's. */
	"2:	movq %rbx, %rdi\n"
	"	movl $129, %esi\n"
	"	movl $0x7fffffff, %edx\n"
	"	movl $202, %eax\n" /* futex(word, FUTEX_WAKE_PRIVATE, INT_MAX) */
	"	syscall\n"
	"	xorl %edi, %edi\n"
	"	movl $60, %eax\n" /* exit, of this thread */
	"	syscall\n"
	"	hlt\n"
	".size graft_switch_out_asm, . - graft_switch_out_asm\n"

	".globl graft_switch_in_asm\n"
	".type graft_switch_in_asm, @function\n"
	"graft_switch_in_asm:\n"
	"	movq %rdi, %rbx\n"
	"	movl $0x1002, %edi\n"
	"	movq 8(%rbx), %rsi\n"
	"	movl $158, %eax\n" /* arch_prctl(ARCH_SET_FS, fs_base) */
	"	syscall\n"
	"	movq 40(%rbx), %rdi\n"
	"	testq %rdi, %rdi\n"
	"	jz 1f\n"
	"	movl 48(%rbx), %esi\n"
	"	xorl %edx, %edx\n"
	"	movl $0x53053053, %r10d\n"
	"	movl $334, %eax\n" /* rseq(rseq, rseq_length, 0, RSEQ_SIG) */
	"	syscall\n"
	"1:	movq 0(%rbx), %rsp\n"
	"	ldmxcsr (%rsp)\n"
	"	fldcw 4(%rsp)\n"
	"	addq $8, %rsp\n"
	"	popq %r15\n"
	"	popq %r14\n"
	"	popq %r13\n"
	"	popq %r12\n"
	"	popq %rbx\n"
	"	popq %rbp\n"
	"	ret\n"
	".size graft_switch_in_asm, . - graft_switch_in_asm\n"
	".popsection\n");

static uint64_t fs_base(void)
{
	uint64_t base = 0;

	syscall(SYS_arch_prctl, ARCH_GET_FS, &base);
	return base;
}

/* Takes this thread's area off; returns its length, 0 if there is none, -errno. */
static int rseq_unregister(uint64_t area)
{
	uint32_t lengths[] = { RSEQ_LENGTH, 0 };
	uint64_t features = getauxval(AUX_RSEQ_FEATURE_SIZE), align = getauxval(AUX_RSEQ_ALIGN);

	if (!__rseq_size)
		return 0;
	/* C libraries since 2.40 register what the kernel says it uses. */
	if (align)
		lengths[1] = (uint32_t)MAX(align_up(features, align), (uint64_t)RSEQ_LENGTH);
	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++)
		if (lengths[i] &&
		    !syscall(SYS_rseq, area, lengths[i], RSEQ_FLAG_UNREGISTER, RSEQ_SIG))
			return (int)lengths[i];
	return -errno;
}

static uint64_t rseq_area(void)
{
	return __rseq_size ? fs_base() + (uint64_t)__rseq_offset : 0;
}

/* Where the C library keeps this thread's id; the kernel clears it when the thread ends. */
static int find_tid(uint64_t *out, struct err *e)
{
	pid_t *at = NULL;

	if (prctl(PR_GET_TID_ADDRESS, &at))
		return err_set_errno(e, "the kernel does not say where the thread id is kept");
	if (!at || *at != (pid_t)syscall(SYS_gettid))
		return err_set(e, ENOTSUP,
			       "this C library does not keep the thread id where the "
			       "kernel clears it");
	*out = (uintptr_t)at;
	return 0;
}

int graft_switch_check(struct err *e)
{
	uint64_t tid, area = rseq_area();
	int r = find_tid(&tid, e), length;

	if (r)
		return r;
	length = rseq_unregister(area);
	if (length < 0)
		return err_set_code(e, -length, "restartable sequences cannot be moved");
	if (length && syscall(SYS_rseq, area, length, 0, RSEQ_SIG))
		return err_set_errno(e, "restartable sequences cannot be set up again");
	return 0;
}

static void set_signal_mask(const uint64_t *mask, uint64_t *old)
{
	syscall(SYS_rt_sigprocmask, SIG_SETMASK, mask, old, KERNEL_SIGSET_BYTES);
}

int graft_switch_prepare_out(struct graft_context *c, struct err *e)
{
	const uint64_t all = UINT64_MAX;
	int r = find_tid(&c->tid_address, e), length;

	if (r)
		return r;
	if (syscall(SYS_get_robust_list, 0, &c->robust_list, &c->robust_length))
		return err_set_errno(e, "the kernel does not say where robust futexes are listed");
	c->fs_base = fs_base();
	c->rseq = rseq_area();
	length = rseq_unregister(c->rseq);
	if (length < 0)
		return err_set_code(e, -length, "restartable sequences cannot be moved");
	c->rseq_length = (uint32_t)length;
	set_signal_mask(&all, &c->signal_mask);
	syscall(SYS_set_tid_address, &c->scrap);
	syscall(SYS_set_robust_list, NULL, c->robust_length);
	return 0;
}

void graft_switch_out(struct graft_context *c, uint32_t *verdict)
{
	graft_switch_out_asm(c, verdict);
	set_signal_mask(&c->signal_mask, NULL);
	__atomic_store_n(&c->arrived, 1, __ATOMIC_RELEASE);
}

void graft_switch_prepare_in(struct graft_context *c, struct graft_place *own)
{
	const uint64_t all = UINT64_MAX;
	pid_t tid = (pid_t)syscall(SYS_gettid);
	int length;

	set_signal_mask(&all, &own->signal_mask);
	syscall(SYS_get_robust_list, 0, &own->robust_list, &own->robust_length);
	own->rseq = rseq_area();
	length = rseq_unregister(own->rseq);
	own->rseq_length = (uint32_t)(length > 0 ? length : 0);
	prctl(PR_GET_TID_ADDRESS, &own->tid_address);
	syscall(SYS_set_robust_list, c->robust_list, c->robust_length);
	*(volatile pid_t *)c->tid_address = tid;
	syscall(SYS_set_tid_address, c->tid_address);
}

void graft_switch_cancel_in(const struct graft_place *own)
{
	syscall(SYS_set_robust_list, own->robust_list, own->robust_length);
	syscall(SYS_set_tid_address, own->tid_address);
	if (own->rseq_length)
		syscall(SYS_rseq, own->rseq, own->rseq_length, 0, RSEQ_SIG);
	set_signal_mask(&own->signal_mask, NULL);
}

void graft_switch_in(struct graft_context *c)
{
	graft_switch_in_asm(c);
}
