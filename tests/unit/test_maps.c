/* SPDX-License-Identifier: MIT */
/* Lists of what this process has mapped and open. */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/util.h"
#include "host/maps.h"

#define PAGE UINT64_C(4096)

enum {
	ROOM = 4096
};

static struct map_range ranges[ROOM], more[ROOM];
static int fds[ROOM], more_fds[ROOM];
static char text[1 << 20];

static struct map_list empty(void)
{
	return (struct map_list){ .ranges = ranges, .cap = ROOM };
}

static struct map_list read_now(struct map_range *room)
{
	struct map_list l = { .ranges = room, .cap = ROOM };
	struct proc_lists p;
	struct err e;

	assert_int_equal(proc_lists_open(&p, &e), 0);
	assert_int_equal(map_list_read(&l, &p, text, sizeof(text), &e), 0);
	proc_lists_close(&p);
	assert_int_equal(p.maps, -1);
	assert_int_equal(p.fds, -1);
	return l;
}

static bool has(const struct map_list *l, const void *at)
{
	for (size_t i = 0; i < l->nr; i++)
		if (l->ranges[i].start <= (uintptr_t)at && (uintptr_t)at < l->ranges[i].end)
			return true;
	return false;
}

static void *map(size_t size, int prot, int flags)
{
	void *p = mmap(NULL, size, prot, flags | MAP_ANONYMOUS, -1, 0);

	assert_true(p != MAP_FAILED);
	return p;
}

static void what_is_mapped_is_listed_in_order(void **state)
{
	void *p = map(PAGE, PROT_NONE, MAP_PRIVATE);
	struct map_list l = read_now(ranges);
	int local;

	(void)state;
	assert_true(l.nr > 4);
	assert_true(has(&l, p));
	assert_true(has(&l, ranges));
	assert_true(has(&l, (void *)(uintptr_t)what_is_mapped_is_listed_in_order));
	for (size_t i = 0; i < l.nr; i++) {
		assert_true(l.ranges[i].start < l.ranges[i].end);
		assert_true(!i || l.ranges[i - 1].end < l.ranges[i].start);
	}
	/* The first stack, and the kernel's pages, are no image's. */
	assert_false(has(&l, &local));
	assert_false(has(&l, (void *)getauxval(AT_SYSINFO_EHDR)));
	munmap(p, PAGE);
	l = read_now(ranges);
	assert_false(has(&l, p));
}

static void memory_that_kvm_maps_for_itself_is_no_images(void **state)
{
	/* As KVM maps the page of the local APIC. */
	void *p = map(PAGE, PROT_READ | PROT_WRITE, MAP_SHARED);
	struct map_list l = read_now(ranges);

	(void)state;
	assert_false(has(&l, p));
	munmap(p, PAGE);
}

static void the_difference_is_what_was_mapped_between(void **state)
{
	struct map_list before = read_now(ranges), after;
	uint8_t *p = map(3 * PAGE, PROT_READ, MAP_PRIVATE);
	struct err e;

	(void)state;
	after = read_now(more);
	assert_int_equal(map_list_subtract(&after, &before, &e), 0);
	assert_int_equal(after.nr, 1);
	assert_int_equal(after.ranges[0].start, (uintptr_t)p);
	assert_int_equal(after.ranges[0].end, (uintptr_t)p + 3 * PAGE);
	map_ranges_unmap(after.ranges, after.nr);
	after = read_now(more);
	assert_true(map_list_equal(&before, &after));
}

static void check(const struct map_list *l, const uint64_t *want, size_t n)
{
	assert_int_equal(l->nr, n);
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(l->ranges[i].start, want[2 * i]);
		assert_int_equal(l->ranges[i].end, want[2 * i + 1]);
	}
}

static void parts_are_taken_out_of_ranges(void **state)
{
	static const struct map_range start[] = { { 10, 20 }, { 30, 40 }, { 50, 60 } };
	static const struct {
		uint64_t from, to, want[8];
		size_t n;
	} cases[] = {
		{ 0, 10, { 10, 20, 30, 40, 50, 60 }, 3 },
		{ 20, 30, { 10, 20, 30, 40, 50, 60 }, 3 },
		{ 60, 70, { 10, 20, 30, 40, 50, 60 }, 3 },
		{ 10, 20, { 30, 40, 50, 60 }, 2 },
		{ 5, 15, { 15, 20, 30, 40, 50, 60 }, 3 },
		{ 15, 25, { 10, 15, 30, 40, 50, 60 }, 3 },
		{ 33, 36, { 10, 20, 30, 33, 36, 40, 50, 60 }, 4 },
		{ 15, 55, { 10, 15, 55, 60 }, 2 },
		{ 0, 100, { 0 }, 0 },
		{ 30, 60, { 10, 20 }, 1 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct map_list l = empty();
		struct err e;

		memcpy(ranges, start, sizeof(start));
		l.nr = ARRAY_SIZE(start);
		assert_int_equal(map_list_remove(&l, cases[i].from, cases[i].to, &e), 0);
		check(&l, cases[i].want, cases[i].n);
	}
}

static void a_list_that_is_full_is_refused(void **state)
{
	struct map_list l = { .ranges = ranges, .cap = 1, .nr = 1 };
	struct proc_lists p;
	struct err e;

	(void)state;
	ranges[0] = (struct map_range){ .start = 10, .end = 40 };
	assert_int_equal(map_list_remove(&l, 20, 30, &e), -E2BIG);
	assert_int_equal(l.nr, 1);
	assert_int_equal(proc_lists_open(&p, &e), 0);
	assert_int_equal(map_list_read(&l, &p, text, sizeof(text), &e), -E2BIG);
	assert_non_null(strstr(e.msg, "more than 1 mappings"));
	l.cap = ROOM;
	assert_int_equal(map_list_read(&l, &p, text, 100, &e), -E2BIG);
	assert_non_null(strstr(e.msg, "too many mappings"));
	/* The same lists can be read again. */
	assert_int_equal(map_list_read(&l, &p, text, sizeof(text), &e), 0);
	proc_lists_close(&p);
}

static struct fd_list read_fds(const struct proc_lists *p, int *room, bool cloexec)
{
	struct fd_list l = { .fds = room, .cap = ROOM };
	struct err e;

	assert_int_equal(fd_list_read(&l, p, cloexec, &e), 0);
	return l;
}

static bool has_fd(const struct fd_list *l, int fd)
{
	for (size_t i = 0; i < l->nr; i++)
		if (l->fds[i] == fd)
			return true;
	return false;
}

static void open_descriptors_are_listed_in_order(void **state)
{
	AUTO_CLOSE int kept = dup(2), closed = fcntl(2, F_DUPFD_CLOEXEC, 200);
	struct fd_list all, some;
	struct proc_lists p;
	struct err e;

	(void)state;
	assert_int_equal(proc_lists_open(&p, &e), 0);
	all = read_fds(&p, fds, false);
	some = read_fds(&p, more_fds, true);
	for (size_t i = 1; i < all.nr; i++)
		assert_true(all.fds[i - 1] < all.fds[i]);
	assert_true(has_fd(&all, 2) && has_fd(&all, kept) && has_fd(&all, closed));
	assert_false(has_fd(&some, kept));
	assert_true(has_fd(&some, closed) && has_fd(&some, p.fds) && has_fd(&some, p.maps));
	fd_list_subtract(&all, &some);
	assert_true(has_fd(&all, kept));
	assert_false(has_fd(&all, closed));
	all.cap = 1;
	assert_int_equal(fd_list_read(&all, &p, false, &e), -E2BIG);
	proc_lists_close(&p);
}

static void lists_are_read_without_a_free_descriptor_or_an_allocation(void **state)
{
	struct map_list l = empty();
	struct proc_lists p;
	struct rlimit old, none;
	struct fd_list all;
	size_t used;
	struct err e;

	(void)state;
	assert_int_equal(proc_lists_open(&p, &e), 0);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	none = (struct rlimit){ .rlim_cur = 3, .rlim_max = old.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	used = mallinfo2().uordblks;
	assert_int_equal(map_list_read(&l, &p, text, sizeof(text), &e), 0);
	all = read_fds(&p, fds, false);
	assert_int_equal(mallinfo2().uordblks, used);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_true(l.nr > 4);
	assert_true(has_fd(&all, p.maps));
	proc_lists_close(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_mapped_is_listed_in_order),
		cmocka_unit_test(memory_that_kvm_maps_for_itself_is_no_images),
		cmocka_unit_test(the_difference_is_what_was_mapped_between),
		cmocka_unit_test(parts_are_taken_out_of_ranges),
		cmocka_unit_test(a_list_that_is_full_is_refused),
		cmocka_unit_test(open_descriptors_are_listed_in_order),
		cmocka_unit_test(lists_are_read_without_a_free_descriptor_or_an_allocation),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
