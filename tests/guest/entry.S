/* SPDX-License-Identifier: MIT */
/*
 * entry.S - PVH entry, the way down to CPL 3, and the interrupt handlers.
 *
 * DOC: theory of operation
 *
 * Some KVMs run CPL 3 natively and emulate CPL 0 slowly and with few
 * instructions. So the part at CPL 0 is short: tables are assembled, not
 * computed; the work is done at CPL 3, with ports allowed by the I/O bitmap of
 * the TSS and all memory mapped for the user. Handlers count, acknowledge and
 * return. "int n" is not used: a CPL-3 program that needs CPL 0 sends an
 * interrupt to itself through the local APIC.
 */
#include "abi.h"

#define KCODE 0x10
#define KDATA 0x18
#define UDATA 0x2b
#define KCODE32 0x38
#define UCODE 0x33
#define TSS_SEL 0x40

#define TSS_BASE 0x160000
#define TSS_BYTES 0x2100
#define TSS_LIMIT (104 + 8192)
#define USER_STACK_BYTES 0x2000
#define KERNEL_STACK_BYTES 0x400
#define RFLAGS_IF 0x202

#define LAPIC 0xfee00000
#define LAPIC_ID (LAPIC + 0x20)
#define LAPIC_EOI (LAPIC + 0xb0)
#define LAPIC_TMICT (LAPIC + 0x380)
#define MSR_TSC_DEADLINE 0x6e0

	.section .note.pvh, "a", @note
	.align 4
	.long 4, 8, 18 /* XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz "Xen"
	.quad entry32

/* PVH: 32-bit protected mode, paging off, EBX = address of the start info. */
	.section .text.entry, "ax"
	.code32
	.globl entry32
entry32:
	cli
	cld
	rdtsc
	movl %eax, ABI_GPA + ABI_BOOT_TSC_OFFSET
	movl %edx, ABI_GPA + ABI_BOOT_TSC_OFFSET + 4
	incl ABI_GPA + ABI_BOOTS_OFFSET
	movl %ebx, start_info
	xorl %ebx, %ebx /* number of this CPU */
	jmp long_mode

/* An application processor, in flat 32-bit protected mode. */
ap_entry32:
	movl $KDATA, %eax
	movl %eax, %ds
	movl LAPIC_ID, %ebx
	shrl $24, %ebx
long_mode:
	movl $pml4, %eax
	movl %eax, %cr3
	movl $0x620, %eax /* PAE, OSFXSR, OSXMMEXCPT */
	movl %eax, %cr4
	movl $0xc0000080, %ecx
	movl $0x100, %eax /* LME */
	xorl %edx, %edx
	wrmsr
	movl $0x80000033, %eax /* PG, NE, ET, MP, PE */
	movl %eax, %cr0
	lgdt gdt_pointer
	ljmp $KCODE, $entry64

	.code64
entry64:
	movl $KDATA, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	lidt idt_pointer
	movl %ebx, %eax
	shll $4, %eax
	addl $TSS_SEL, %eax
	ltr %ax
	testl %ebx, %ebx
	jnz 1f
	movb $0xff, %al
	outb %al, $0x21
	outb %al, $0xa1
1:	movl %ebx, %eax
	incl %eax
	shll $13, %eax /* USER_STACK_BYTES */
	leaq user_stacks(%rax), %rsi
	subq $16, %rsi
	movl $kernel_stacks + KERNEL_STACK_BYTES, %esp
	movl %ebx, %eax
	shll $10, %eax /* KERNEL_STACK_BYTES */
	addq %rax, %rsp
	movl $UDATA, %eax
	pushq %rax
	pushq %rsi
	movl $RFLAGS_IF, %eax
	pushq %rax
	movl $UCODE, %eax
	pushq %rax
	movl $user_entry, %eax
	pushq %rax
	movq cpl0_hook, %rax
	testq %rax, %rax
	jz 2f
	jmp *%rax
	.globl cpl0_done
cpl0_done:
2:	movl %ebx, %edi
	iretq

user_entry:
	movl $UDATA, %eax
	movl %eax, %ds
	movl %eax, %es
	testl %edi, %edi
	jnz 3f
	movl start_info, %edi
	call guest_start
3:	call guest_start_ap
4:	pause
	jmp 4b

/* Copied to page 0x8000; the start-up interrupt enters it in real mode. */
	.globl ap_trampoline, ap_trampoline_end
	.code16
ap_trampoline:
	cli
	xorw %ax, %ax
	movw %ax, %ds
	lgdtl 0x8000 + (ap_gdt_pointer - ap_trampoline)
	movl $0x11, %eax
	movl %eax, %cr0
	ljmpl $KCODE32, $ap_entry32
	.align 4
ap_gdt_pointer:
	.word gdt_end - gdt - 1
	.long gdt
ap_trampoline_end:
	.code64

/* Exceptions: write down what happened and stop this vCPU. */
	.text
	.globl exception_stubs
	.align 16
exception_stubs:
	.set vector, 0
	.rept 32
	.align 16
	.if (vector != 8) && (vector < 10 || vector > 14) && (vector != 17) && (vector != 21)
	pushq $0
	.endif
	pushq $vector
	jmp exception_common
	.set vector, vector + 1
	.endr

exception_common:
	movq (%rsp), %rax
	incq %rax
	movq %rax, ABI_GPA + ABI_EXC_OFFSET
	movq 8(%rsp), %rax
	movq %rax, ABI_GPA + ABI_EXC_OFFSET + 8
	movq 16(%rsp), %rax
	movq %rax, ABI_GPA + ABI_EXC_OFFSET + 16
	movq %cr2, %rax
	movq %rax, ABI_GPA + ABI_EXC_OFFSET + 24
1:	cli
	hlt
	jmp 1b

/* Tell the local APIC that the handler is done. */
	.macro EOI
	pushq %rax
	movl $LAPIC_EOI, %eax
	movl $0, (%rax)
	popq %rax
	.endm

/* An interrupt nobody asked for. */
	.globl isr_spurious
isr_spurious:
	iretq

/* Count *isr_counter, nothing else. */
	.globl isr_count
isr_count:
	incq isr_counter
	EOI
	iretq

/* Sleep at CPL 0 until the next interrupt: CPL 3 cannot halt. */
	.globl isr_sleep
isr_sleep:
	EOI
	sti
	hlt
	iretq

/* Count and start a one-shot timer again. */
	.globl isr_oneshot
isr_oneshot:
	pushq %rax
	incq isr_counter
	pushq %rdx
	movl isr_argument, %eax
	movl $LAPIC_TMICT, %edx
	movl %eax, (%rdx)
	popq %rdx
	EOI
	popq %rax
	iretq

/* Count and set the TSC deadline one period on. */
	.globl isr_deadline
isr_deadline:
	pushq %rax
	pushq %rcx
	pushq %rdx
	incq isr_counter
	EOI
	rdtsc
	addl isr_argument, %eax
	adcl $0, %edx
	movl $MSR_TSC_DEADLINE, %ecx
	wrmsr
	popq %rdx
	popq %rcx
	popq %rax
	iretq

/* Read the debug registers and some MSRs into isr_values. */
	.globl isr_read_regs
isr_read_regs:
	pushq %rax
	pushq %rcx
	pushq %rdx
	movq %dr0, %rax
	movq %rax, isr_values
	movq %dr1, %rax
	movq %rax, isr_values + 8
	movq %dr2, %rax
	movq %rax, isr_values + 16
	movq %dr3, %rax
	movq %rax, isr_values + 24
	movq %dr6, %rax
	movq %rax, isr_values + 32
	movq %dr7, %rax
	movq %rax, isr_values + 40
	.set slot, 48
	.irp msr, 0xc0000081, 0xc0000082, 0xc0000084, 0xc0000102
	movl $\msr, %ecx
	rdmsr
	movl %eax, isr_values + slot
	movl %edx, isr_values + slot + 4
	.set slot, slot + 8
	.endr
	incq isr_counter
	EOI
	popq %rdx
	popq %rcx
	popq %rax
	iretq

/* Only wake the CPL-3 loop: the UART's data is read there. */
	.globl isr_uart
isr_uart:
	pushq %rax
	pushq %rdx
	incq isr_counter
	movl $0x3fd, %edx
1:	inb (%dx), %al
	testb $2, %al
	jz 2f
	incq isr_argument
2:	testb $1, %al
	jz 3f
	movl $0x3f8, %edx
	inb (%dx), %al
	movzbl isr_ring_head, %edx
	movb %al, isr_ring(%rdx)
	incb isr_ring_head
	movl $0x3fd, %edx
	jmp 1b
3:	EOI
	popq %rdx
	popq %rax
	iretq

/* One handler for each vCPU: counts in the vCPU's own slot. */
	.globl isr_ipi_stubs
	.align 32
isr_ipi_stubs:
	.set cpu, 0
	.rept ABI_CPUS_MAX
	.align 32
	incq ABI_GPA + ABI_BODY_OFFSET + 16 + cpu * 64 + 56
	EOI
	iretq
	.set cpu, cpu + 1
	.endr

	.data
	.align 8
	.globl start_info, cpl0_hook, isr_counter, isr_argument, isr_values
	.globl isr_ring, isr_ring_head
start_info:
	.quad 0
/* Code to run at CPL 0 before the first iretq; it jumps to cpl0_done. */
	.weak cpl0_hook
cpl0_hook:
	.quad 0
isr_counter:
	.quad 0
isr_argument:
	.quad 0
isr_values:
	.fill 16, 8, 0
isr_ring_head:
	.quad 0
isr_ring:
	.fill 256, 1, 0

	.align 8
gdt:
	.quad 0
	.quad 0
	.quad 0x00af9b000000ffff /* 0x10 CPL-0 code */
	.quad 0x00cf93000000ffff /* 0x18 CPL-0 data */
	.quad 0x00cffb000000ffff /* 0x20 CPL-3 32-bit code */
	.quad 0x00cff3000000ffff /* 0x28 CPL-3 data */
	.quad 0x00affb000000ffff /* 0x30 CPL-3 code */
	.quad 0x00cf9b000000ffff /* 0x38 CPL-0 32-bit code */
	.set cpu, 0
	.rept ABI_CPUS_MAX
	.word TSS_LIMIT, (TSS_BASE + cpu * TSS_BYTES) & 0xffff
	.byte (TSS_BASE + cpu * TSS_BYTES) >> 16, 0x89, 0, 0
	.quad 0
	.set cpu, cpu + 1
	.endr
gdt_end:
gdt_pointer:
	.word gdt_end - gdt - 1
	.quad gdt
idt_pointer:
	.word 256 * 16 - 1
	.quad idt

/* Identity map of the first ABI_MAPPED_GIB, user, 2 MiB pages. */
	.align 4096
pml4:
	.quad pdpt + 7
	.fill 511, 8, 0
pdpt:
	.set i, 0
	.rept ABI_MAPPED_GIB
	.quad page_dirs + 4096 * i + 7
	.set i, i + 1
	.endr
	.fill 512 - ABI_MAPPED_GIB, 8, 0
page_dirs:
	.set i, 0
	.rept 512 * ABI_MAPPED_GIB
	.if (i == 0x7f6) || (i == 0x7f7) /* IOAPIC, local APIC: uncached */
	.quad (i << 21) + 0x97
	.else
	.quad (i << 21) + 0x87
	.endif
	.set i, i + 1
	.endr
	.globl idt
idt:
	.fill 512, 8, 0

	.align 16
user_stacks:
	.fill USER_STACK_BYTES * ABI_CPUS_MAX, 1, 0
kernel_stacks:
	.fill KERNEL_STACK_BYTES * ABI_CPUS_MAX, 1, 0

	.section .tss, "aw", @progbits
	.set cpu, 0
	.rept ABI_CPUS_MAX
	.long 0
	.quad kernel_stacks + KERNEL_STACK_BYTES * (cpu + 1)
	.fill 90, 1, 0
	.word 104
	.fill 8192, 1, 0
	.byte 0xff
	.fill TSS_BYTES - 104 - 8193, 1, 0
	.set cpu, cpu + 1
	.endr
	.section .note.GNU-stack, "", @progbits
