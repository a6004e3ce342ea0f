/* SPDX-License-Identifier: MIT */
/* Gathering guest RAM into huge pages: whole pieces become one page each, with what was in them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/util.h"
#include "host/clock.h"
#include "host/mem.h"
#include "machine/hugepages.h"
#include "machine/memmap.h"

enum {
	PAGE = 4096,
	PIECE = MEM_HUGE_PAGE,
	PIECES = 16,
	RAM_BYTES = PIECES * PIECE,
};

struct fixture {
	struct memmap mem;
	pthread_mutex_t lock;
	struct loop *loop;
	struct hugepages *hugepages;
	struct loop_timer timer;
	bool may_scan, timed_out;
	unsigned int asked;
};

/* Pieces 0 to 7 are written whole, 8 to 11 but for one page, the others not at all. */
static int set_up(void **state)
{
	const struct ram_config cfg = { .name = "ram", .size = RAM_BYTES, .share = true };
	struct fixture *f = calloc(1, sizeof(*f));
	struct ram_block *b;
	struct err e;

	if (!f || ram_block_create(&b, &cfg, -1, &e))
		return -1;
	for (size_t page = 0; page < 12 * PIECE / PAGE; page++) {
		uint64_t mark = page * 0x9e3779b97f4a7c15u;

		if (page >= 8 * PIECE / PAGE && page % (PIECE / PAGE) == 77)
			continue;
		if (pwrite(b->fd, &mark, sizeof(mark), (off_t)(page * PAGE)) != sizeof(mark))
			return -1;
	}
	memmap_init(&f->mem, b);
	pthread_mutex_init(&f->lock, NULL);
	pthread_mutex_lock(&f->lock);
	if (loop_create(&f->loop, &f->lock, &e))
		return -1;
	f->may_scan = true;
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	hugepages_destroy(f->hugepages);
	loop_timer_cancel(&f->timer);
	loop_destroy(f->loop);
	pthread_mutex_unlock(&f->lock);
	pthread_mutex_destroy(&f->lock);
	memmap_fini(&f->mem);
	free(f);
	return 0;
}

static bool may_scan(void *opaque, cpu_set_t *busy)
{
	struct fixture *f = opaque;

	f->asked++;
	CPU_ZERO(busy);
	return f->may_scan;
}

static void on_timeout(void *opaque)
{
	struct fixture *f = opaque;

	f->timed_out = true;
	loop_quit(f->loop);
}

static void create(struct fixture *f)
{
	const struct hugepages_config cfg = {
		.mem = &f->mem,
		.loop = f->loop,
		.may_scan = may_scan,
		.opaque = f,
		.first_ns = 0,
	};
	struct err e;

	if (!mem_may_make_huge()) {
		print_message(
			"SKIPPED: THIS HOST GIVES NO TRANSPARENT HUGE PAGES, OR IS TOO OLD\n");
		skip();
	}
	assert_int_equal(hugepages_create(&f->hugepages, &cfg, &e), 0);
}

static void run_for(struct fixture *f, uint64_t ms)
{
	f->timed_out = false;
	loop_timer_init(&f->timer, on_timeout, f);
	loop_timer_set(f->loop, &f->timer, clock_boottime_ns() + ms * 1000000);
	while (!f->timed_out)
		loop_run_once(f->loop, -1);
}

/* Bytes of guest RAM that this process maps as huge pages. */
static size_t huge_bytes(const struct fixture *f)
{
	FILE *maps = fopen("/proc/self/smaps", "r");
	unsigned long start, kib;
	bool ours = false;
	size_t sum = 0;
	char line[512];

	assert_non_null(maps);
	while (fgets(line, sizeof(line), maps)) {
		if (sscanf(line, "%lx-%*x %*s", &start) == 1 && strchr(line, '-') &&
		    !strstr(line, "kB"))
			ours = start >= (uintptr_t)f->mem.ram->host &&
			       start < (uintptr_t)f->mem.ram->host + RAM_BYTES;
		else if (ours && sscanf(line, "ShmemPmdMapped: %lu kB", &kib) == 1)
			sum += kib * 1024;
	}
	fclose(maps);
	return sum;
}

/* Until that many are, for at most 20 s: a busy host takes its time. */
static void wait_for_huge(struct fixture *f, size_t bytes)
{
	for (int i = 0; i < 200 && huge_bytes(f) < bytes; i++)
		run_for(f, 100);
	assert_int_equal(huge_bytes(f), bytes);
}

static uint64_t allocated(const struct fixture *f)
{
	struct stat st;

	assert_int_equal(fstat(f->mem.ram->fd, &st), 0);
	return (uint64_t)st.st_blocks * 512;
}

static void whole_pieces_become_huge_pages_with_what_was_in_them(void **state)
{
	struct fixture *f = *state;
	uint64_t before = allocated(f);

	create(f);
	wait_for_huge(f, 8 * PIECE);
	assert_int_equal(allocated(f), before);
	for (size_t page = 0; page < RAM_BYTES / PAGE; page++) {
		bool written = page < 8 * PIECE / PAGE ||
			       (page < 12 * PIECE / PAGE && page % (PIECE / PAGE) != 77);
		uint64_t mark;

		memcpy(&mark, f->mem.ram->host + page * PAGE, sizeof(mark));
		assert_int_equal(mark, written ? page * 0x9e3779b97f4a7c15u : 0);
	}
}

static void nothing_is_done_while_it_may_not_be(void **state)
{
	struct fixture *f = *state;

	f->may_scan = false;
	create(f);
	run_for(f, 100);
	assert_int_not_equal(f->asked, 0);
	assert_int_equal(huge_bytes(f), 0);
}

static void a_rest_ends_the_thread_wherever_it_is(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < 20; i++) {
		create(f);
		run_for(f, (uint64_t)i % 4);
		hugepages_rest(f->hugepages);
		hugepages_rest(f->hugepages);
		hugepages_destroy(TAKE_PTR(f->hugepages));
	}
}

static void private_memory_is_left_alone(void **state)
{
	struct fixture *f = *state;

	f->mem.ram->share = false;
	create(f);
	run_for(f, 200);
	assert_int_not_equal(f->asked, 0);
	assert_int_equal(huge_bytes(f), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(whole_pieces_become_huge_pages_with_what_was_in_them),
		TEST(nothing_is_done_while_it_may_not_be),
		TEST(a_rest_ends_the_thread_wherever_it_is),
		TEST(private_memory_is_left_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
