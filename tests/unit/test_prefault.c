/* SPDX-License-Identifier: MIT */
/* Mapping guest RAM in advance: what is there is mapped, and nothing else. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/util.h"
#include "machine/memmap.h"
#include "machine/prefault.h"

enum {
	PAGE = 4096,
	RAM_BYTES = 64 << 20,
	DATA_AT = 10 << 20, /* not at the start of a piece */
	DATA_BYTES = (5 << 20) + 3 * PAGE
};

struct fixture {
	struct memmap mem;
	pthread_mutex_t lock;
	struct loop *loop;
	struct prefault *prefault;
	bool done;
};

/* Data at two places, written by another mapping than the guest's. */
static int set_up(void **state)
{
	const struct ram_config cfg = { .name = "ram", .size = RAM_BYTES, .share = true };
	struct fixture *f = calloc(1, sizeof(*f));
	uint8_t *data = malloc(DATA_BYTES);
	struct ram_block *b;
	struct err e;

	if (!f || !data || ram_block_create(&b, &cfg, -1, &e))
		return -1;
	memset(data, 0x5a, DATA_BYTES);
	if (pwrite(b->fd, data, DATA_BYTES, DATA_AT) != DATA_BYTES ||
	    pwrite(b->fd, data, PAGE, RAM_BYTES - PAGE) != PAGE)
		return -1;
	free(data);
	memmap_init(&f->mem, b);
	pthread_mutex_init(&f->lock, NULL);
	pthread_mutex_lock(&f->lock);
	if (loop_create(&f->loop, &f->lock, &e))
		return -1;
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	prefault_end(f->prefault);
	loop_destroy(f->loop);
	pthread_mutex_unlock(&f->lock);
	pthread_mutex_destroy(&f->lock);
	memmap_fini(&f->mem);
	free(f);
	return 0;
}

static void on_done(void *opaque)
{
	struct fixture *f = opaque;

	f->done = true;
	prefault_end(TAKE_PTR(f->prefault));
	loop_quit(f->loop);
}

static void start(struct fixture *f)
{
	const struct prefault_config cfg = {
		.mem = &f->mem,
		.loop = f->loop,
		.vcpu_fd = -1,
		.done = on_done,
		.opaque = f,
	};
	struct err e;

	assert_int_equal(prefault_start(&f->prefault, &cfg, &e), 0);
}

/* Pages of guest RAM from @offset on that are in this process's page tables. */
static size_t mapped(const struct fixture *f, uint64_t offset, uint64_t bytes)
{
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	uintptr_t at = (uintptr_t)f->mem.ram->host + offset;
	size_t n = 0;
	uint64_t entry;

	assert_true(fd >= 0);
	for (uint64_t i = 0; i < bytes / PAGE; i++) {
		assert_int_equal(pread(fd, &entry, 8, (off_t)((at / PAGE + i) * 8)), 8);
		n += entry >> 63;
	}
	close(fd);
	return n;
}

static uint64_t allocated(const struct fixture *f)
{
	struct stat st;

	assert_int_equal(fstat(f->mem.ram->fd, &st), 0);
	return (uint64_t)st.st_blocks * 512;
}

static void what_was_written_is_mapped_and_holes_stay_holes(void **state)
{
	struct fixture *f = *state;
	uint64_t before = allocated(f);

	assert_int_equal(mapped(f, 0, RAM_BYTES), 0);
	start(f);
	loop_run(f->loop);
	assert_true(f->done);
	assert_int_equal(mapped(f, DATA_AT, DATA_BYTES), DATA_BYTES / PAGE);
	assert_int_equal(mapped(f, RAM_BYTES - PAGE, PAGE), 1);
	assert_int_equal(mapped(f, 0, RAM_BYTES), DATA_BYTES / PAGE + 1);
	assert_int_equal(allocated(f), before);
}

static void what_is_mapped_can_be_written_without_a_fault(void **state)
{
	struct fixture *f = *state;
	const uint8_t *p = f->mem.ram->host + DATA_AT;

	start(f);
	loop_run(f->loop);
	for (size_t i = 0; i < DATA_BYTES; i += PAGE)
		assert_int_equal(p[i], 0x5a);
	memset(f->mem.ram->host + DATA_AT, 1, DATA_BYTES);
	assert_int_equal(p[DATA_BYTES - 1], 1);
}

static void a_thread_that_is_held_maps_nothing_until_it_goes_on(void **state)
{
	const cpu_set_t nowhere = { 0 };
	struct fixture *f = *state;
	size_t then;

	start(f);
	prefault_hold(f->prefault);
	then = mapped(f, 0, RAM_BYTES);
	usleep(20000);
	assert_int_equal(mapped(f, 0, RAM_BYTES), then);
	prefault_continue(f->prefault, &nowhere);
	loop_run(f->loop);
	assert_int_equal(mapped(f, 0, RAM_BYTES), DATA_BYTES / PAGE + 1);
}

static void a_thread_ends_wherever_it_is(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < 50; i++) {
		start(f);
		if (i % 3 == 1)
			prefault_hold(f->prefault);
		usleep(i * 10);
		prefault_end(TAKE_PTR(f->prefault));
	}
	assert_false(f->done);
}

static void private_memory_is_left_alone(void **state)
{
	struct fixture *f = *state;

	f->mem.ram->share = false;
	start(f);
	loop_run(f->loop);
	assert_int_equal(mapped(f, 0, RAM_BYTES), 0);
}

/* Pages of it that the host has in memory. */
static size_t in_memory(const void *p)
{
	static unsigned char vec[DATA_BYTES / PAGE];
	size_t n = 0;

	assert_int_equal(mincore((void *)(uintptr_t)p, DATA_BYTES, vec), 0);
	for (size_t i = 0; i < sizeof(vec); i++)
		n += vec[i] & 1;
	return n;
}

static void what_is_on_a_disk_only_is_not_read(void **state)
{
	struct fixture *f = *state;
	struct ram_config cfg = {
		.name = "file",
		.size = DATA_BYTES,
		.backend = RAM_BACKEND_FILE,
		.path = "prefault-test.ram",
		.share = true,
	};
	AUTO_FREE uint8_t *data = calloc(1, DATA_BYTES);
	struct ram_block *b;
	struct err e;

	assert_non_null(data);
	assert_int_equal(ram_block_create(&b, &cfg, -1, &e), 0);
	unlink(cfg.path);
	memmap_fini(&f->mem);
	memmap_init(&f->mem, b);
	assert_int_equal(pwrite(b->fd, data, DATA_BYTES, 0), DATA_BYTES);
	assert_int_equal(fsync(b->fd), 0);
	assert_int_equal(posix_fadvise(b->fd, 0, 0, POSIX_FADV_DONTNEED), 0);
	if (in_memory(b->host)) {
		print_message("SKIPPED: THIS FILE SYSTEM IS IN MEMORY\n");
		skip();
	}
	assert_int_equal(pread(b->fd, data, PAGE, 0), PAGE);
	assert_int_not_equal(in_memory(b->host), 0);
	start(f);
	loop_run(f->loop);
	assert_true(mapped(f, 0, DATA_BYTES) >= 1);
	assert_true(mapped(f, 0, DATA_BYTES) < DATA_BYTES / PAGE / 2);
	assert_true(in_memory(b->host) < DATA_BYTES / PAGE / 2);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(what_was_written_is_mapped_and_holes_stay_holes),
		TEST(what_is_mapped_can_be_written_without_a_fault),
		TEST(a_thread_that_is_held_maps_nothing_until_it_goes_on),
		TEST(a_thread_ends_wherever_it_is),
		TEST(private_memory_is_left_alone),
		TEST(what_is_on_a_disk_only_is_not_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
