/* SPDX-License-Identifier: MIT */
/* Unit tests of src/machine/ram_block.c and src/host/mem.c: memory of every kind. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/util.h"
#include "host/mem.h"
#include "machine/ram_block.h"

#include "fd_count.h"

#define SIZE (4 * MIB)

struct place {
	char dir[32], path[64];
};

static void place_init(struct place *p)
{
	strcpy(p->dir, "/tmp/ram-block-XXXXXX");
	assert_non_null(mkdtemp(p->dir));
	snprintf(p->path, sizeof(p->path), "%s/ram", p->dir);
}

static void place_fini(struct place *p)
{
	unlink(p->path);
	/* Fails if a test left a file behind. */
	assert_int_equal(rmdir(p->dir), 0);
}

static struct ram_block *make(const struct ram_config *c)
{
	struct err e = ERR_INIT;
	struct ram_block *b;

	if (ram_block_create(&b, c, -1, &e))
		fail_msg("%s", e.msg);
	memset(b->host, 0x5a, 4096);
	b->host[b->size - 1] = 1;
	return b;
}

/* The memory by its descriptor, as another process would see it. */
static bool is_shared_at(const struct ram_block *b, uint64_t offset)
{
	uint8_t byte = 0;

	return pread(b->fd, &byte, 1, (off_t)offset) == 1 && byte == 0x5a;
}

static void every_kind_of_memory_is_preserved_or_not_as_it_says(void **state)
{
	struct place p;

	(void)state;
	place_init(&p);
	for (unsigned int i = 0; i < 2 * RAM_BACKEND_COUNT; i++) {
		struct ram_config c = { .name = "r",
					.size = SIZE,
					.backend = (enum ram_backend)(i / 2),
					.path = p.path,
					.share = i % 2 };
		struct ram_block *b = make(&c);

		assert_int_equal(ram_block_is_preserved(b), c.share);
		assert_int_equal(b->fd >= 0, c.share || c.backend != RAM_BACKEND_RAM);
		if (b->fd >= 0)
			assert_int_equal(is_shared_at(b, 0), c.share);
		if (b->fd >= 0)
			assert_int_equal(fcntl(b->fd, F_GETFD), FD_CLOEXEC);
		assert_int_equal((uintptr_t)b->host % (2 * MIB), 0);
		assert_int_equal(ram_block_is_reopenable(b),
				 c.share && c.backend == RAM_BACKEND_FILE);
		ram_block_destroy(b);
		unlink(p.path);
	}
	place_fini(&p);
}

static void seals_are_as_asked_for(void **state)
{
	struct ram_config c = { .name = "r", .size = SIZE, .share = true };
	struct ram_block *b = make(&c);

	(void)state;
	assert_true(ftruncate(b->fd, SIZE / 2) < 0);
	ram_block_destroy(b);
	c.options.unsealed = true;
	b = make(&c);
	assert_int_equal(ftruncate(b->fd, 2 * SIZE), 0);
	ram_block_destroy(b);
}

static void offset_and_alignment_are_honoured(void **state)
{
	struct ram_config c = { .name = "r",
				.size = SIZE,
				.backend = RAM_BACKEND_FILE,
				.share = true,
				.options = { .offset = 8192, .align = 64 * MIB } };
	struct ram_block *b;
	struct stat st;
	struct place p;

	(void)state;
	place_init(&p);
	c.path = p.path;
	b = make(&c);
	assert_int_equal((uintptr_t)b->host % (64 * MIB), 0);
	assert_int_equal(fstat(b->fd, &st), 0);
	assert_int_equal(st.st_size, SIZE + 8192);
	assert_true(is_shared_at(b, 8192));
	assert_false(is_shared_at(b, 0));
	ram_block_destroy(b);
	place_fini(&p);
}

static void a_file_is_findable_while_it_has_its_name(void **state)
{
	struct ram_config c = {
		.name = "r", .size = SIZE, .backend = RAM_BACKEND_FILE, .share = true
	};
	struct ram_block *b;
	struct place p;

	(void)state;
	place_init(&p);
	c.path = p.path;
	b = make(&c);
	assert_true(ram_block_is_reopenable(b));
	unlink(p.path);
	assert_false(ram_block_is_reopenable(b));
	close(open(p.path, O_CREAT | O_RDWR, 0600));
	assert_false(ram_block_is_reopenable(b));
	ram_block_destroy(b);
	c.path = p.dir;
	b = make(&c);
	assert_false(ram_block_is_reopenable(b));
	ram_block_destroy(b);
	place_fini(&p);
}

static void what_fails_leaves_no_file_and_no_descriptor(void **state)
{
	static const struct {
		uint64_t size;
		struct ram_options options;
		int code;
	} rows[] = {
		{ SIZE, { .align = 12288 }, EINVAL },
		{ SIZE, { .align = 512 }, EINVAL },
		{ SIZE, { .align = 2 * GIB }, EINVAL },
		{ SIZE, { .offset = 1 }, EINVAL },
		{ SIZE, { .offset = INT64_MAX - 4095 }, EFBIG },
		{ SIZE, { .offset = UINT64_MAX - 4095 }, EFBIG },
		{ UINT64_MAX - 4095, { .offset = 4096 }, EFBIG },
		{ SIZE + 1, { 0 }, EINVAL },
		{ UINT64_C(1) << 50, { 0 }, 0 },
	};
	size_t fds = fd_count();
	struct place p;

	(void)state;
	place_init(&p);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct ram_config c = { .name = "r",
					.size = rows[i].size,
					.backend = RAM_BACKEND_FILE,
					.path = p.path,
					.share = true,
					.options = rows[i].options };
		struct ram_block *b = NULL;
		struct err e = ERR_INIT;

		assert_true(ram_block_create(&b, &c, -1, &e) < 0);
		assert_null(b);
		if (rows[i].code)
			assert_int_equal(e.code, rows[i].code);
		assert_int_equal(access(p.path, F_OK), -1);
	}
	assert_int_equal(fd_count(), fds);
	place_fini(&p);
}

static void read_only_memory_is_read_only(void **state)
{
	struct ram_config c = {
		.name = "r", .size = 4096, .backend = RAM_BACKEND_FILE, .readonly = true
	};
	struct err e = ERR_INIT;
	struct ram_block *b;
	struct place p;
	int fd;

	(void)state;
	place_init(&p);
	c.path = p.path;
	assert_int_equal(ram_block_create(&b, &c, -1, &e), -ENOENT);
	assert_int_equal(access(p.path, F_OK), -1);
	fd = open(p.path, O_CREAT | O_RDWR, 0600);
	assert_int_equal(write(fd, "text", 4), 4);
	assert_true(ram_block_create(&b, &c, -1, &e) < 0);
	assert_int_equal(ftruncate(fd, 4096), 0);
	assert_int_equal(ram_block_create(&b, &c, -1, &e), 0);
	assert_memory_equal(b->host, "text", 4);
	assert_int_equal(fcntl(b->fd, F_GETFL) & O_ACCMODE, O_RDONLY);
	ram_block_destroy(b);
	close(fd);
	place_fini(&p);
}

static void prealloc_gives_every_page_its_memory(void **state)
{
	struct ram_config c = {
		.name = "r", .size = SIZE, .share = true, .options.prealloc = true
	};
	unsigned char there[SIZE / 4096];
	struct err e = ERR_INIT;
	struct ram_block *b;

	(void)state;
	assert_int_equal(ram_block_create(&b, &c, -1, &e), 0);
	assert_int_equal(mincore(b->host, SIZE, there), 0);
	for (size_t i = 0; i < sizeof(there); i++)
		assert_true(there[i] & 1);
	ram_block_destroy(b);
	/* A mapping without write permission cannot be populated, and that is said. */
	c.options.prealloc = false;
	b = make(&c);
	assert_int_equal(mprotect(b->host, SIZE, PROT_READ), 0);
	assert_true(mem_populate(b->host, SIZE, &e) < 0);
	assert_non_null(strstr(e.msg, "prealloc"));
	ram_block_destroy(b);
}

static void data_is_found_where_it_was_written_only(void **state)
{
	AUTO_CLOSE int fd = memfd_create("sparse", MFD_CLOEXEC);
	int ends[2];

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, SIZE), 0);
	assert_false(mem_has_data(fd, 0, SIZE));
	assert_int_equal(pwrite(fd, "x", 1, MIB), 1);
	assert_false(mem_has_data(fd, 0, MIB));
	assert_true(mem_has_data(fd, MIB - 4096, 8192));
	assert_true(mem_has_data(fd, MIB, 4096));
	assert_false(mem_has_data(fd, MIB + 4096, SIZE - MIB - 4096));
	assert_false(mem_has_data(fd, SIZE, 4096));
	/* What cannot tell may have it anywhere. */
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	assert_true(mem_has_data(ends[0], 0, 4096));
	close(ends[0]);
	close(ends[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_kind_of_memory_is_preserved_or_not_as_it_says),
		cmocka_unit_test(seals_are_as_asked_for),
		cmocka_unit_test(offset_and_alignment_are_honoured),
		cmocka_unit_test(a_file_is_findable_while_it_has_its_name),
		cmocka_unit_test(what_fails_leaves_no_file_and_no_descriptor),
		cmocka_unit_test(read_only_memory_is_read_only),
		cmocka_unit_test(prealloc_gives_every_page_its_memory),
		cmocka_unit_test(data_is_found_where_it_was_written_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
