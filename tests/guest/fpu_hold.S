/* SPDX-License-Identifier: MIT */
/* fpu_hold.S - keep known values in all registers and look at them for long. */
#include "abi.h"

#define LAPIC_EOI 0xfee000b0
#define CR4_OSXSAVE 0x40000
#define MSR_FS_BASE 0xc0000100
#define MSR_GS_BASE 0xc0000101

/*
 * void fpu_hold(void): loads FPU and general registers from hold_fx_in,
 * hold_ymm_in and hold_gpr, compares the general ones hold_loops times with
 * hold_gpr (hold_gpr_bad counts differences) and dumps the FPU's to hold_fx_out
 * and hold_ymm_out.
 */
	.text
	.globl fpu_hold
fpu_hold:
	pushq %rbx
	pushq %rbp
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
	movq %rsp, hold_rsp
	fxrstor64 hold_fx_in
	cmpq $0, hold_avx
	je 1f
	.irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
	vinsertf128 $1, hold_ymm_in + 16 * \n, %ymm\n, %ymm\n
	.endr
1:	.set i, 0
	.irp r, rax,rcx,rdx,rbx,rbp,rsi,rdi,r8,r9,r10,r11,r12,r13,r14,r15
	movq hold_gpr + 8 * i, %\r
	.set i, i + 1
	.endr
2:	.set i, 0
	.irp r, rax,rcx,rdx,rbx,rbp,rsi,rdi,r8,r9,r10,r11,r12,r13,r14,r15
	cmpq hold_gpr + 8 * i, %\r
	jne 3f
	.set i, i + 1
	.endr
	cmpq hold_rsp, %rsp
	jne 3f
	decq hold_loops
	jnz 2b
	jmp 4f
3:	incq hold_gpr_bad
	movq hold_rsp, %rsp
4:	fxsave64 hold_fx_out
	cmpq $0, hold_avx
	je 5f
	.irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
	vextractf128 $1, %ymm\n, hold_ymm_out + 16 * \n
	.endr
5:	popq %r15
	popq %r14
	popq %r13
	popq %r12
	popq %rbp
	popq %rbx
	ret

/* Handler: let CPL 3 use AVX. */
	.globl isr_avx_on
isr_avx_on:
	pushq %rax
	pushq %rcx
	pushq %rdx
	movq %cr4, %rax
	orq $CR4_OSXSAVE, %rax
	movq %rax, %cr4
	xorl %ecx, %ecx
	xorl %edx, %edx
	movl $7, %eax
	xsetbv
	incq isr_counter
	movl $LAPIC_EOI, %eax
	movl $0, (%rax)
	popq %rdx
	popq %rcx
	popq %rax
	iretq

/* At CPL 0, once: debug registers, MSRs, segment bases. RBX is kept. */
set_registers:
	movl $0x1111000, %eax
	movq %rax, %dr0
	movl $0x2222000, %eax
	movq %rax, %dr1
	movl $0x3333000, %eax
	movq %rax, %dr2
	movl $0x4444000, %eax
	movq %rax, %dr3
	.set i, 0
	.irp msr, 0xc0000081, 0xc0000082, 0xc0000084, 0xc0000102
	movl $\msr, %ecx
	movl hold_msr + 8 * i, %eax
	movl hold_msr + 8 * i + 4, %edx
	wrmsr
	.set i, i + 1
	.endr
	xorl %edx, %edx
	movl $MSR_FS_BASE, %ecx
	movl $fs_word, %eax
	wrmsr
	movl $MSR_GS_BASE, %ecx
	movl $gs_word, %eax
	wrmsr
	jmp cpl0_done

	.data
	.globl cpl0_hook, hold_fx_in, hold_fx_out, hold_ymm_in, hold_ymm_out
	.globl hold_gpr, hold_loops, hold_gpr_bad, hold_avx, hold_msr
	.globl fs_word, gs_word
	.align 64
hold_fx_in:
	.fill 512, 1, 0
hold_fx_out:
	.fill 512, 1, 0
hold_ymm_in:
	.fill 256, 1, 0
hold_ymm_out:
	.fill 256, 1, 0
hold_gpr:
	.fill 15, 8, 0
hold_rsp:
	.quad 0
hold_loops:
	.quad 0
hold_gpr_bad:
	.quad 0
hold_avx:
	.quad 0
fs_word:
	.quad 0
gs_word:
	.quad 0
/* STAR, LSTAR, SFMASK, KERNEL_GS_BASE */
hold_msr:
	.quad 0x0023001000000000
	.quad 0x0000000000123450
	.quad 0x0000000000047700
	.quad 0x0000000000654320
cpl0_hook:
	.quad set_registers
	.section .note.GNU-stack, "", @progbits
