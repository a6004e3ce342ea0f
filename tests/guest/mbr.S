/* SPDX-License-Identifier: MIT */
/*
 * mbr.S - the first sector of a disk, which firmware starts: says so on the serial port and with
 * the firmware's own call, and counts its rounds at 0x7004 and its boots at 0x7000.
 */
	.code16
	.text
	.globl _start
_start:
	xorw	%ax, %ax
	movw	%ax, %ds
	movw	%ax, %ss
	movw	$0x6f00, %sp
	incl	0x7000
	movw	$text, %si
1:	lodsb
	testb	%al, %al
	jz	2f
	movb	$0x0e, %ah
	movw	$7, %bx
	int	$0x10
	jmp	1b
	/* The second sector, by the firmware's extended read, to 0x7e00. */
2:	movw	$packet, %si
	movb	$0x42, %ah
	movb	$0x80, %dl
	int	$0x13
	jc	4f
	movw	$0x7e00, %si
	movw	$0x3f8, %dx
3:	lodsb
	testb	%al, %al
	jz	4f
	outb	%al, %dx
	jmp	3b
4:	incl	0x7004
	jmp	4b

text:	.asciz	"started from a disk\r\n"
	.balign 4
packet:	.byte	16, 0
	.word	1, 0x7e00, 0
	.quad	1
	.org 510
	.word	0xaa55
	.ascii	"second sector read\r\n\0"
	.org 1024
