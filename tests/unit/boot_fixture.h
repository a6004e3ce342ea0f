/* SPDX-License-Identifier: MIT */
/* What the tests of src/boot share: images in memory, RAM without a machine, little-endian. */
#ifndef UNIT_BOOT_FIXTURE_H
#define UNIT_BOOT_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/util.h"
#include "boot/boot.h"
#include "boot/source.h"
#include "machine/memmap.h"

/* A file without a name on disk: @path leads to it while @fd is open. */
struct fixture_file {
	int fd;
	char path[64];
};

static inline void fixture_file_init(struct fixture_file *f, const void *p, size_t n)
{
	f->fd = memfd_create("image", MFD_CLOEXEC);
	assert_true(f->fd >= 0);
	if (n)
		assert_int_equal(pwrite(f->fd, p, n, 0), n);
	snprintf(f->path, sizeof(f->path), "/proc/self/fd/%d", f->fd);
}

static inline void fixture_file_resize(struct fixture_file *f, uint64_t n)
{
	assert_int_equal(ftruncate(f->fd, (off_t)n), 0);
}

static inline void fixture_file_patch(struct fixture_file *f, uint64_t at, const void *p, size_t n)
{
	assert_int_equal(pwrite(f->fd, p, n, (off_t)at), n);
}

static inline void fixture_set_le(uint8_t *p, uint64_t v, unsigned int bytes)
{
	for (unsigned int i = 0; i < bytes; i++)
		p[i] = (uint8_t)(v >> (8 * i));
}

static inline uint64_t fixture_get_le(const uint8_t *p, unsigned int bytes)
{
	uint64_t v = 0;

	while (bytes--)
		v = v << 8 | p[bytes];
	return v;
}

/* Opens what @cfg says for @ram_size; returns the result and closes. @e holds the text. */
static inline int fixture_try(const struct boot_config *cfg, uint64_t ram_size, struct err *e)
{
	struct boot *b = NULL;
	int ret;

	*e = (struct err)ERR_INIT;
	ret = boot_open(&b, cfg, ram_size, e);
	if (ret < 0) {
		assert_null(b);
		assert_int_equal(ret, -e->code);
		assert_true(strlen(e->msg) > 10);
	}
	boot_close(b);
	return ret;
}

/* The boot must be refused with a text that has @text in it. */
static inline void fixture_refused(const struct boot_config *cfg, uint64_t ram_size,
				   const char *text)
{
	struct err e;

	assert_true(fixture_try(cfg, ram_size, &e) < 0);
	if (!strstr(e.msg, text))
		fail_msg("expected '%s' in: %s", text, e.msg);
}

static inline void fixture_source_init(struct source *s, const char *kernel, const char *initrd,
				       char *append, uint64_t ram_size)
{
	struct err e = ERR_INIT;

	*s = (struct source){ .kernel.fd = -1, .initrd.fd = -1, .append = append };
	s->ram_size = ram_size;
	assert_int_equal(source_file_open(&s->kernel, kernel, 0, &e), 0);
	if (initrd)
		assert_int_equal(source_file_open(&s->initrd, initrd, 0, &e), 0);
}

static inline void fixture_source_fini(struct source *s)
{
	source_file_close(&s->kernel);
	source_file_close(&s->initrd);
}

static inline void fixture_ram_init(struct memmap *m, uint64_t size)
{
	const struct ram_config cfg = { .name = "ram0", .size = size, .share = true };
	struct err e = ERR_INIT;
	struct ram_block *ram;

	assert_int_equal(ram_block_create(&ram, &cfg, -1, &e), 0);
	memmap_init(m, ram);
}

#endif
