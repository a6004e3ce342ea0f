/* SPDX-License-Identifier: MIT */
/*
 * mbr.S - the first sector of a disk, which firmware starts: says so by the firmware's call, has it
 * read the second sector, prints what is there, and counts its rounds at 0x7004 and its boots at
 * 0x7000.
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
	call	print
	/* The second sector, by the firmware's extended read, to 0x7e00. */
	movw	$packet, %si
	movb	$0x42, %ah
	movb	$0x80, %dl
	int	$0x13
	jc	1f
	movw	$0x7e00, %si
	call	print
1:	incl	0x7004
	jmp	1b

/* The text at ds:si, by the firmware. */
print:	lodsb
	testb	%al, %al
	jz	2f
	movb	$0x0e, %ah
	movw	$7, %bx
	int	$0x10
	jmp	print
2:	ret

text:	.asciz	"started from a disk\r\n"
	.balign 4
packet:	.byte	16, 0
	.word	1, 0x7e00, 0
	.quad	1
	.org 510
	.word	0xaa55
	.ascii	"second sector read\r\n\0"
	.org 1024
