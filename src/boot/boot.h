/* SPDX-License-Identifier: MIT */
/* Cold start: what a guest finds in its RAM and on vCPU 0 when it begins. */
#ifndef BOOT_BOOT_H
#define BOOT_BOOT_H

/*
 * DOC: theory of operation
 *
 * boot_open() looks at the images and says everything that is wrong with them
 * before a machine exists. boot_load() puts them into RAM, now and after each
 * reset of the guest; it reads the files again and trusts nothing it saw the
 * first time, for they may have changed. A machine that arrives by an update
 * needs neither until its guest resets itself.
 *
 * What boot_load() puts into low memory, all but the ACPI tables the guest's to reuse:
 *
 *	0x00500  GDT                         boot/source.h
 *	0x06000  PVH start info, module list, memory map
 *	0x07000  zero page of the Linux boot protocol, stack up to 0x9000
 *	0x09000  page tables, 4 GiB identity-mapped
 *	0x20000  command line, up to 64 KiB
 *	0xe0000  ACPI tables                 boot/acpi.h, in a block of RAM of their own
 *
 * The kernel goes where it asks to be, the initial RAM disk as high as it may
 * below the end of low RAM.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct vm;
struct boot;

struct boot_config {
	bool firmware;            /* what boots is up to it (boot/rom.h); no images      */
	const char *kernel;       /* path of a Linux bzImage or a PVH ELF                */
	const char *initrd;       /* path, or NULL                                       */
	const char *append;       /* kernel command line, or NULL                        */
	int kernel_fd, initrd_fd; /* for a path that cannot be opened; 0: none; borrowed */
	unsigned int serial_mask; /* bit n: serial port n exists, for the ACPI tables    */
};

/*
 * Opens the images, checks all that can be checked against @ram_size, and keeps
 * the descriptors and copies of the strings. Any thread. The caller owns the result.
 */
int boot_open(struct boot **out, const struct boot_config *cfg, uint64_t ram_size, struct err *e);

/*
 * Writes everything to guest RAM and sets vCPU 0, just reset, at the entry. Main
 * thread, vCPUs paused. After a failure RAM is partly written and the guest must
 * not run. May be called any number of times.
 */
int boot_load(struct boot *b, struct vm *vm, struct err *e);

/* The open images, which stay @b's; -1: none. @b may be NULL. */
int boot_kernel_fd(const struct boot *b);
int boot_initrd_fd(const struct boot *b);

/* Closes the descriptors and frees @b, which may be NULL. */
void boot_close(struct boot *b);

#endif
