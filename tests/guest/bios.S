/* SPDX-License-Identifier: MIT */
/*
 * bios.S - firmware of 64 KiB for tests: counts its boots and its rounds, and reads fw_cfg.
 *
 * In low memory it leaves numbers for the test, 32 bits each:
 *	0x500	boots: it adds 1 when it starts
 *	0x504	rounds: it adds 1 for ever
 *	0x508	a word of low memory that is 0x600df00d in its image and that it overwrites: as
 *		found at the start
 *	0x50c	the first 4 bytes of fw_cfg's item 0
 *	0x510	sum of the first 256 bytes of the image, as they are below 1 MiB, each round
 *	0x514	the byte at 4 GiB - 16, read by way of fw_cfg's neighbour: 0xea, a far jump
 *	0x518	the bytes that item 0x20, the first file, begins with, read once a round
 * On the serial port it says "boot" once per boot.
 */
	.code16
	.text
	.globl _start
_start:
	.ascii "Baton's test firmware\0"
	.balign 16
entry:
	cli
	xorw	%ax, %ax
	movw	%ax, %ds
	movw	%ax, %ss
	movw	$0x7000, %sp
	movw	$0xf000, %ax
	movw	%ax, %es
	incl	0x500
	movl	%es:variable, %eax
	movl	%eax, 0x508
	movl	$0, %es:variable
	/* "boot" on COM1. */
	movw	$text, %si
	movw	$0x3f8, %dx
1:	movb	%es:(%si), %al
	testb	%al, %al
	jz	2f
	outb	%al, %dx
	incw	%si
	jmp	1b
2:	movw	$0x510, %dx
	xorw	%ax, %ax
	outw	%ax, %dx
	movw	$0x50c, %di
	call	read4
	movb	%es:0xfff0, %al
	movb	%al, 0x514
round:
	movw	$0x510, %dx
	movw	$0x20, %ax
	outw	%ax, %dx
	movw	$0x518, %di
	call	read4
	xorl	%eax, %eax
	xorl	%ecx, %ecx
	xorw	%si, %si
3:	movb	%es:(%si), %cl
	addl	%ecx, %eax
	incw	%si
	cmpw	$256, %si
	jb	3b
	movl	%eax, 0x510
	incl	0x504
	jmp	round

/* Four bytes of the selected item to ds:di. */
read4:
	movw	$0x511, %dx
	movw	$4, %cx
4:	inb	%dx, %al
	movb	%al, (%di)
	incw	%di
	loop	4b
	ret

text:	.asciz	"boot\r\n"
	.balign 4
	.org 0x8000
variable:
	.long	0x600df00d
	.org 0xfff0
	.byte	0xea		/* jmp f000:entry */
	.word	entry, 0xf000
	.org 0x10000
