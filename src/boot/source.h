/* SPDX-License-Identifier: MIT */
/* What both boot protocols share: the images, where things go, the memory map. */
#ifndef BOOT_SOURCE_H
#define BOOT_SOURCE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "machine/memmap.h"
#include "machine/vcpu.h"

/* Low memory that is used while a guest starts; boot/boot.h shows all of it. */
#define SOURCE_GDT         UINT64_C(0x500)
#define SOURCE_START_INFO  UINT64_C(0x6000)
#define SOURCE_ZERO_PAGE   UINT64_C(0x7000)
#define SOURCE_STACK_TOP   UINT64_C(0x8ff0)
#define SOURCE_PAGE_TABLES UINT64_C(0x9000)
#define SOURCE_CMDLINE     UINT64_C(0x20000)
#define SOURCE_LOW_END     UINT64_C(0x30000)
#define SOURCE_CMDLINE_MAX (SOURCE_LOW_END - SOURCE_CMDLINE - 1) /* without the NUL */

/* An image on the host. */
struct source_file {
	char *path;    /* owned; NULL: none */
	int fd;        /* owned, or -1      */
	uint64_t size; /* bytes, when last looked at */
};

/* What to boot, on how much RAM. */
struct source {
	struct source_file kernel;
	struct source_file initrd;
	char *append; /* owned, never NULL */
	uint64_t ram_size;
};

enum source_kind {
	SOURCE_BZIMAGE,
	SOURCE_PVH,
};

/*
 * Opens the image for reading and copies @path. What cannot be opened by its name is read through
 * a duplicate of @given, where that is > 0. Also after a failure @f is to be closed.
 */
int source_file_open(struct source_file *f, const char *path, int given, struct err *e);
/* Closes and frees what @f holds, if anything. */
void source_file_close(struct source_file *f);
/* Looks at the size again; refuses an empty file. */
int source_file_refresh(struct source_file *f, struct err *e);
/* Reads from the image into @p; -ENODATA if it ends too early. */
int source_file_read(const struct source_file *f, uint64_t offset, void *p, size_t n,
		     struct err *e);
/* Reads from the image into guest RAM; all of the range must be RAM. */
int source_file_load(const struct source_file *f, uint64_t offset, uint64_t n,
		     const struct memmap *m, gpa_t gpa, struct err *e);

/* Which protocol the kernel is for; if neither, the text says what the file looks like. */
int source_detect(const struct source *s, enum source_kind *kind, struct err *e);

/* Where RAM below 4 GiB ends. */
uint64_t source_low_end(uint64_t ram_size);

/*
 * Chooses the highest page-aligned place for the initial RAM disk that ends at or
 * below @limit and the end of low RAM and starts at or above @floor, below which
 * the kernel needs the memory. *@gpa is 0 if there is no RAM disk.
 */
int source_place_initrd(const struct source *s, gpa_t floor, gpa_t limit, gpa_t *gpa,
			struct err *e);

/* Refuses a command line of more than @max characters or SOURCE_CMDLINE_MAX. */
int source_check_cmdline(const struct source *s, uint64_t max, struct err *e);
/* Writes it to SOURCE_CMDLINE, with its NUL. */
int source_load_cmdline(const struct source *s, const struct memmap *m, struct err *e);

/* Writes the entry's descriptor table to SOURCE_GDT. */
int source_load_gdt(const struct memmap *m, bool long_mode, struct err *e);

/* The guest's memory map; the numbers are those of e820 and PVH alike. */
#define SOURCE_MAP_RAM      1u
#define SOURCE_MAP_RESERVED 2u
#define SOURCE_MAP_MAX      8

struct source_map_entry {
	gpa_t gpa;
	uint64_t size;
	uint32_t type;
};

/* Returns how many entries were written, in ascending order. */
unsigned int source_memory_map(uint64_t ram_size, struct source_map_entry map[SOURCE_MAP_MAX]);

#endif
