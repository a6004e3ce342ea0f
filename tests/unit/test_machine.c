/* SPDX-License-Identifier: MIT */
/* I/O buses, run states, guest memory and the list of devices. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/util.h"
#include "host/mem.h"
#include "machine/device.h"
#include "machine/iobus.h"
#include "machine/memmap.h"
#include "machine/runstate.h"
#include "machine/vm.h"

/* A region that notes what it is asked for. */
struct probe {
	struct io_region region;
	char log[128];
	uint64_t answer;
};

static void note(struct probe *p, const char *what, uint64_t offset, unsigned int size, uint64_t v)
{
	size_t n = strlen(p->log);

	snprintf(p->log + n, sizeof(p->log) - n, "%s%llu/%u=%llx ", what,
		 (unsigned long long)offset, size, (unsigned long long)v);
}

static uint64_t probe_read(void *opaque, uint64_t offset, unsigned int size)
{
	struct probe *p = opaque;

	note(p, "r", offset, size, p->answer);
	return p->answer;
}

static void probe_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
	note(opaque, "w", offset, size, value);
}

static void add(struct io_bus *bus, struct probe *p, uint64_t base, uint64_t size, uint8_t min,
		uint8_t max)
{
	struct err e;

	*p = (struct probe){
		.region = { .name = "probe",
			    .base = base,
			    .size = size,
			    .min_size = min,
			    .max_size = max,
			    .read = probe_read,
			    .write = probe_write,
			    .opaque = p },
		.answer = 0x1122334455667788,
	};
	assert_int_equal(iobus_add(bus, &p->region, &e), 0);
}

static uint64_t read_bus(struct io_bus *bus, uint64_t addr, unsigned int size)
{
	uint64_t v = 0;

	iobus_read(bus, addr, &v, size);
	return v;
}

static void write_bus(struct io_bus *bus, uint64_t addr, unsigned int size, uint64_t v)
{
	iobus_write(bus, addr, &v, size);
}

static void an_access_of_a_right_size_reaches_the_device(void **state)
{
	struct io_bus bus;
	struct probe p;

	(void)state;
	iobus_init(&bus);
	add(&bus, &p, 0x100, 0x10, 1, 8);
	assert_true(read_bus(&bus, 0x100, 1) == 0x88);
	assert_true(read_bus(&bus, 0x102, 2) == 0x7788);
	assert_true(read_bus(&bus, 0x104, 4) == 0x55667788);
	assert_true(read_bus(&bus, 0x108, 8) == 0x1122334455667788);
	assert_string_equal(p.log, "r0/1=1122334455667788 r2/2=1122334455667788 "
				   "r4/4=1122334455667788 r8/8=1122334455667788 ");
	p.log[0] = '\0';
	write_bus(&bus, 0x10f, 1, 0xffab);
	write_bus(&bus, 0x108, 4, 0x1ffffffff);
	assert_string_equal(p.log, "w15/1=ab w8/4=ffffffff ");
	assert_int_equal(bus.unclaimed, 0);
}

static void a_wider_access_is_split_little_endian(void **state)
{
	struct io_bus bus;
	struct probe p;

	(void)state;
	iobus_init(&bus);
	add(&bus, &p, 0x100, 0x10, 1, 1);
	assert_true(read_bus(&bus, 0x100, 4) == 0x88888888);
	write_bus(&bus, 0x102, 4, 0x11223344);
	assert_non_null(strstr(p.log, "w2/1=44 w3/1=33 w4/1=22 w5/1=11 "));
	p.region.max_size = 2;
	p.log[0] = '\0';
	write_bus(&bus, 0x100, 8, 0x1122334455667788);
	assert_string_equal(p.log, "w0/2=7788 w2/2=5566 w4/2=3344 w6/2=1122 ");
}

static void a_narrower_access_reads_ones_and_writes_nothing(void **state)
{
	struct io_bus bus;
	struct probe p;

	(void)state;
	iobus_init(&bus);
	add(&bus, &p, 0x100, 0x10, 4, 4);
	assert_true(read_bus(&bus, 0x100, 1) == 0xff);
	assert_true(read_bus(&bus, 0x104, 2) == 0xffff);
	write_bus(&bus, 0x100, 2, 0);
	assert_string_equal(p.log, "");
	assert_true(read_bus(&bus, 0x104, 4) == 0x55667788);
	/* What is left over of a wider one is narrower. */
	assert_true(read_bus(&bus, 0x10c, 8) == 0xffffffff55667788);
}

static void an_unclaimed_address_reads_ones_and_is_counted(void **state)
{
	struct io_bus bus;
	struct probe p;

	(void)state;
	iobus_init(&bus);
	add(&bus, &p, 0x100, 0x10, 1, 1);
	for (unsigned int size = 1; size <= 8; size *= 2)
		assert_true(read_bus(&bus, 0x200, size) == UINT64_MAX >> (64 - 8 * size));
	write_bus(&bus, 0xff, 1, 0);
	write_bus(&bus, 0x110, 1, 0);
	read_bus(&bus, UINT64_MAX, 1);
	assert_int_equal(bus.unclaimed, 7);
	assert_string_equal(p.log, "");
}

static void an_access_belongs_to_the_region_of_its_first_byte(void **state)
{
	struct probe low, high, wide;
	struct io_bus bus;

	(void)state;
	iobus_init(&bus);
	add(&bus, &low, 0x100, 2, 1, 1);
	add(&bus, &high, 0x102, 2, 1, 1);
	low.answer = 0x11;
	high.answer = 0x22;
	/* What is left beyond the first region's end goes on to the next. */
	assert_true(read_bus(&bus, 0x101, 2) == 0x2211);
	assert_true(read_bus(&bus, 0x100, 4) == 0x22221111);
	assert_true(read_bus(&bus, 0x103, 4) == 0xffffff22);
	write_bus(&bus, 0x101, 2, 0xbbaa);
	assert_non_null(strstr(low.log, "w1/1=aa "));
	assert_non_null(strstr(high.log, "w0/1=bb "));
	/* An access that begins before a region does not reach it. */
	low.log[0] = '\0';
	assert_true(read_bus(&bus, 0xff, 2) == 0xffff);
	assert_string_equal(low.log, "");
	/* Nor do bytes beyond its end reach a device that takes wide accesses. */
	iobus_del(&bus, &low.region);
	add(&bus, &wide, 0x100, 2, 1, 4);
	wide.answer = 0x4433;
	high.log[0] = '\0';
	assert_true(read_bus(&bus, 0x100, 4) == 0x22224433);
	assert_string_equal(wide.log, "r0/2=4433 ");
	assert_string_equal(high.log, "r0/1=22 r1/1=22 ");
}

static void regions_must_not_overlap(void **state)
{
	static const struct {
		uint64_t base, size;
		bool fits;
	} tries[] = {
		{ 0x100, 0x10, false }, { 0xff, 2, false },    { 0x10f, 1, false },
		{ 0x108, 1, false },    { 0, 0x1000, false },  { 0xf0, 0x10, true },
		{ 0x110, 0x10, true },  { 0x1000, 0x1, true },
	};
	struct probe first;
	struct io_bus bus;
	struct err e;

	(void)state;
	iobus_init(&bus);
	add(&bus, &first, 0x100, 0x10, 1, 1);
	for (size_t i = 0; i < ARRAY_SIZE(tries); i++) {
		struct io_region r = {
			.name = "new",
			.base = tries[i].base,
			.size = tries[i].size,
		};

		assert_int_equal(iobus_add(&bus, &r, &e), tries[i].fits ? 0 : -EEXIST);
		if (tries[i].fits)
			iobus_del(&bus, &r);
	}
	err_set(&e, 1, "before");
	iobus_add(&bus, &(struct io_region){ .name = "new", .base = 0x10f, .size = 2 }, &e);
	assert_string_equal(e.msg, "'new' at 0x10f overlaps 'probe' at 0x100");
}

#define MAY(from, to) runstate_may_change(RUNSTATE_##from, RUNSTATE_##to)

static void run_states_change_as_qemus_do(void **state)
{
	(void)state;
	assert_true(MAY(PRELAUNCH, RUNNING));
	assert_true(MAY(PRELAUNCH, INMIGRATE));
	assert_true(MAY(RUNNING, PAUSED));
	assert_true(MAY(RUNNING, FINISH_MIGRATE));
	assert_true(MAY(PAUSED, FINISH_MIGRATE));
	assert_true(MAY(FINISH_MIGRATE, POSTMIGRATE));
	assert_true(MAY(FINISH_MIGRATE, RUNNING));
	assert_true(MAY(FINISH_MIGRATE, PAUSED));
	assert_true(MAY(POSTMIGRATE, PRELAUNCH));
	assert_true(MAY(INMIGRATE, RUNNING));
	assert_true(MAY(INMIGRATE, PAUSED));
	assert_true(MAY(SUSPENDED, RUNNING));
	assert_true(MAY(SHUTDOWN, PRELAUNCH));

	assert_false(MAY(RUNNING, POSTMIGRATE));
	assert_false(MAY(RUNNING, INMIGRATE));
	assert_false(MAY(RUNNING, PRELAUNCH));
	assert_false(MAY(POSTMIGRATE, PAUSED));
	assert_false(MAY(POSTMIGRATE, POSTMIGRATE));
	assert_false(MAY(SHUTDOWN, RUNNING));
	assert_false(MAY(INTERNAL_ERROR, RUNNING));
	assert_false(MAY(PAUSED, INMIGRATE));
	assert_false(MAY(PAUSED, SHUTDOWN));
	assert_false(MAY(FINISH_MIGRATE, INMIGRATE));
	for (unsigned int s = 0; s < RUNSTATE_COUNT; s++)
		assert_false(runstate_may_change(s, s));
}

static void every_run_state_can_be_reached_and_left(void **state)
{
	bool reached[RUNSTATE_COUNT] = { [RUNSTATE_PRELAUNCH] = true };

	(void)state;
	for (unsigned int round = 0; round < RUNSTATE_COUNT; round++)
		for (unsigned int from = 0; from < RUNSTATE_COUNT; from++)
			for (unsigned int to = 0; to < RUNSTATE_COUNT; to++)
				if (reached[from] && runstate_may_change(from, to))
					reached[to] = true;
	for (unsigned int s = 0; s < RUNSTATE_COUNT; s++) {
		bool left = false;

		assert_true(reached[s]);
		for (unsigned int to = 0; to < RUNSTATE_COUNT; to++)
			left = left || runstate_may_change(s, to);
		assert_true(left);
	}
}

static void run_state_names_are_qemus_and_parse_back(void **state)
{
	static const char *const names[] = { "prelaunch",      "inmigrate", "running",
					     "paused",         "suspended", "finish-migrate",
					     "postmigrate",    "shutdown",  "io-error",
					     "internal-error", "watchdog" };
	enum runstate s = RUNSTATE_PAUSED;

	(void)state;
	assert_int_equal(ARRAY_SIZE(names), RUNSTATE_COUNT);
	for (unsigned int i = 0; i < RUNSTATE_COUNT; i++) {
		enum runstate got;

		assert_true(runstate_parse(names[i], &got));
		assert_string_equal(runstate_name(got), names[i]);
		assert_true(runstate_is_live(got) ==
			    (got == RUNSTATE_RUNNING || got == RUNSTATE_SUSPENDED));
	}
	assert_false(runstate_parse("guest-panicked", &s));
	assert_false(runstate_parse("Running", &s));
	assert_false(runstate_parse("", &s));
	assert_int_equal(s, RUNSTATE_PAUSED);
}

static int make_block(struct ram_block **out, const char *name, uint64_t size,
		      enum ram_backend backend, const char *path, bool share, int fd, struct err *e)
{
	const struct ram_config cfg = {
		.name = name, .size = size, .backend = backend, .path = path, .share = share
	};

	return ram_block_create(out, &cfg, fd, e);
}

/* A map over a block that claims @size bytes; only addresses are looked at. */
static void fake_map(struct memmap *m, struct ram_block *b, uint64_t size)
{
	*b = (struct ram_block){ .size = size,
				 .host = (uint8_t *)(uintptr_t)0x100000000000,
				 .fd = -1 };
	memmap_init(m, b);
}

static uint64_t offset_of(const struct memmap *m, gpa_t gpa, uint64_t len)
{
	uint8_t *p = memmap_host_ptr(m, gpa, len);

	return p ? (uint64_t)(p - m->ram->host) : UINT64_MAX;
}

static void small_ram_is_one_range_from_zero(void **state)
{
	struct ram_block b;
	struct memmap m;

	(void)state;
	fake_map(&m, &b, LAYOUT_LOW_RAM_MAX);
	assert_int_equal(m.nr_ranges, 1);
	assert_true(offset_of(&m, 0, 1) == 0);
	assert_true(offset_of(&m, LAYOUT_LOW_RAM_MAX - 1, 1) == LAYOUT_LOW_RAM_MAX - 1);
	assert_true(offset_of(&m, 0, LAYOUT_LOW_RAM_MAX) == 0);
	assert_null(memmap_host_ptr(&m, LAYOUT_LOW_RAM_MAX, 1));
	assert_null(memmap_host_ptr(&m, LAYOUT_HIGH_RAM, 1));
	assert_null(memmap_host_ptr(&m, 0, LAYOUT_LOW_RAM_MAX + 1));
}

static void large_ram_goes_around_the_hole(void **state)
{
	struct ram_block b;
	struct memmap m;

	(void)state;
	fake_map(&m, &b, LAYOUT_LOW_RAM_MAX + 4096);
	assert_int_equal(m.nr_ranges, 2);
	assert_true(offset_of(&m, LAYOUT_LOW_RAM_MAX - 4, 4) == LAYOUT_LOW_RAM_MAX - 4);
	assert_null(memmap_host_ptr(&m, LAYOUT_LOW_RAM_MAX - 4, 5));
	assert_null(memmap_host_ptr(&m, LAYOUT_LOW_RAM_MAX, 1));
	assert_null(memmap_host_ptr(&m, LAYOUT_LAPIC, 1));
	assert_null(memmap_host_ptr(&m, LAYOUT_HIGH_RAM - 1, 1));
	assert_true(offset_of(&m, LAYOUT_HIGH_RAM, 4096) == LAYOUT_LOW_RAM_MAX);
	assert_true(offset_of(&m, LAYOUT_HIGH_RAM + 4095, 1) == LAYOUT_LOW_RAM_MAX + 4095);
	assert_null(memmap_host_ptr(&m, LAYOUT_HIGH_RAM, 4097));
	assert_null(memmap_host_ptr(&m, LAYOUT_HIGH_RAM + 4096, 1));
}

/* Like fake_map(), for a block that is put on top. */
static void fake_block(struct ram_block *b, const char *name, uint64_t size)
{
	*b = (struct ram_block){ .size = size,
				 .host = (uint8_t *)(uintptr_t)0x200000000000,
				 .fd = -1 };
	strcpy(b->name, name);
}

static void a_block_on_top_cuts_the_range_below_in_two(void **state)
{
	struct ram_block b, top;
	struct memmap m;
	struct err e;

	(void)state;
	fake_map(&m, &b, LAYOUT_LOW_RAM_MAX + 4096);
	fake_block(&top, "tables", 0x20000);
	assert_int_equal(memmap_add_block(&m, &top, 0xe0000, &e), 0);
	assert_true(top.in_guest && top.gpa == 0xe0000);
	assert_int_equal(m.nr_ranges, 4);
	for (unsigned int i = 1; i < m.nr_ranges; i++)
		assert_true(m.ranges[i - 1].gpa + m.ranges[i - 1].size <= m.ranges[i].gpa);
	assert_true(offset_of(&m, 0xdffff, 1) == 0xdffff);
	assert_ptr_equal(memmap_host_ptr(&m, 0xe0000, 0x20000), top.host);
	assert_ptr_equal(memmap_host_ptr(&m, 0xfffff, 1), top.host + 0x1ffff);
	assert_null(memmap_host_ptr(&m, 0xdffff, 2));
	assert_null(memmap_host_ptr(&m, 0xfffff, 2));
	assert_true(offset_of(&m, 0x100000, 4096) == 0x100000);
	assert_true(offset_of(&m, LAYOUT_HIGH_RAM, 4096) == LAYOUT_LOW_RAM_MAX);
}

static void a_block_on_top_may_cover_edges_and_whole_ranges(void **state)
{
	struct ram_block b, top[3];
	struct memmap m;
	struct err e;

	(void)state;
	fake_map(&m, &b, 0x100000);
	fake_block(&top[0], "a", 0x1000);
	fake_block(&top[1], "b", 0x2000);
	fake_block(&top[2], "c", 0x1000);
	assert_int_equal(memmap_add_block(&m, &top[0], 0, &e), 0);
	assert_int_equal(m.nr_ranges, 2);
	assert_int_equal(memmap_add_block(&m, &top[1], 0xff000, &e), 0);
	assert_int_equal(m.nr_ranges, 3);
	assert_int_equal(memmap_add_block(&m, &top[2], LAYOUT_HIGH_RAM, &e), 0);
	assert_int_equal(m.nr_ranges, 4);
	assert_ptr_equal(memmap_host_ptr(&m, 0, 0x1000), top[0].host);
	assert_true(offset_of(&m, 0x1000, 0xfe000) == 0x1000);
	assert_ptr_equal(memmap_host_ptr(&m, 0xff000, 0x2000), top[1].host);
	assert_null(memmap_host_ptr(&m, 0x101000, 1));
	assert_ptr_equal(memmap_host_ptr(&m, LAYOUT_HIGH_RAM, 0x1000), top[2].host);
}

static void blocks_are_found_by_names_which_are_distinct(void **state)
{
	struct ram_block b, seen, unused, again, many[RAM_MAX_BLOCKS];
	struct memmap m;
	struct err e;

	(void)state;
	fake_map(&m, &b, 0x100000);
	strcpy(b.name, "ram0");
	fake_block(&unused, "unused", 0x1000);
	fake_block(&seen, "seen", 0x1000);
	fake_block(&again, "ram0", 0x1000);
	assert_int_equal(memmap_add_unused_block(&m, &unused, &e), 0);
	assert_int_equal(memmap_add_block(&m, &seen, 0xe0000, &e), 0);
	assert_int_equal(memmap_add_block(&m, &again, 0xf0000, &e), -EEXIST);
	assert_string_equal(e.msg, "two RAM blocks have the name 'ram0'");
	assert_int_equal(m.nr_ranges, 3);
	assert_ptr_equal(memmap_find_block(&m, "unused"), &unused);
	assert_null(memmap_find_block(&m, "nothing"));
	/* An update keeps what the guest sees, nothing else. */
	assert_ptr_equal(memmap_next_block(&m, NULL), &b);
	assert_ptr_equal(memmap_next_block(&m, &b), &seen);
	assert_null(memmap_next_block(&m, &seen));
	fake_block(&again, "odd", 0x1000);
	assert_int_equal(memmap_add_block(&m, &again, 0xe0001, &e), -EINVAL);
	assert_int_equal(memmap_add_block(&m, &again, -UINT64_C(0x1000), &e), -EINVAL);
	for (unsigned int i = 0; m.nr_blocks < RAM_MAX_BLOCKS; i++) {
		fake_block(&many[i], "x", 0x1000);
		many[i].name[1] = (char)('a' + i);
		assert_int_equal(memmap_add_unused_block(&m, &many[i], &e), 0);
	}
	assert_int_equal(memmap_add_unused_block(&m, &again, &e), -E2BIG);
}

static void a_range_that_wraps_around_is_not_ram(void **state)
{
	struct ram_block b;
	struct memmap m;

	(void)state;
	fake_map(&m, &b, LAYOUT_LOW_RAM_MAX + 4096);
	assert_null(memmap_host_ptr(&m, 16, UINT64_MAX));
	assert_null(memmap_host_ptr(&m, 16, UINT64_MAX - 15));
	assert_null(memmap_host_ptr(&m, LAYOUT_HIGH_RAM + 1, UINT64_MAX - LAYOUT_HIGH_RAM));
	assert_null(memmap_host_ptr(&m, UINT64_MAX, 1));
	assert_null(memmap_host_ptr(&m, UINT64_MAX, 2));
	assert_null(memmap_host_ptr(&m, UINT64_MAX - 1, 4));
}

static void copies_stay_within_ram(void **state)
{
	struct ram_block *b;
	uint8_t got[4] = { 0 };
	struct memmap m;
	struct err e;

	(void)state;
	assert_int_equal(make_block(&b, "ram0", 8192, RAM_BACKEND_MEMFD, NULL, true, -1, &e), 0);
	memmap_init(&m, b);
	assert_int_equal(memmap_write(&m, 8188, "abcd", 4, &e), 0);
	assert_int_equal(memmap_read(&m, 8188, got, 4, &e), 0);
	assert_memory_equal(got, "abcd", 4);
	assert_memory_equal(b->host + 8188, "abcd", 4);
	assert_int_equal(memmap_write(&m, 8189, "abcd", 4, &e), -EFAULT);
	assert_string_equal(e.msg, "guest memory 0x1ffd..0x2001 is not RAM");
	assert_int_equal(memmap_read(&m, 8189, got, 4, &e), -EFAULT);
	memmap_fini(&m);
	assert_null(m.ram);
}

static void a_ram_block_is_named_sealed_and_mapped(void **state)
{
	char link[64], target[64] = { 0 };
	struct ram_block *b;
	struct err e;

	(void)state;
	assert_int_equal(make_block(&b, "ram0", 8192, RAM_BACKEND_MEMFD, NULL, true, -1, &e), 0);
	snprintf(link, sizeof(link), "/proc/self/fd/%d", b->fd);
	assert_true(readlink(link, target, sizeof(target) - 1) > 0);
	assert_string_equal(target, "/memfd:ram0 (deleted)");
	assert_int_equal(fcntl(b->fd, F_GETFD), FD_CLOEXEC);
	assert_true(ftruncate(b->fd, 4096) < 0);
	assert_true(ftruncate(b->fd, 16384) < 0);
	assert_int_equal(b->host[8191], 0);
	ram_block_destroy(b);
	ram_block_destroy(NULL);
}

static void preserved_memory_is_mapped_again_shared_or_private(void **state)
{
	struct ram_block *old, *new, *private;
	struct err e;

	(void)state;
	assert_int_equal(make_block(&old, "ram0", 4096, RAM_BACKEND_MEMFD, NULL, true, -1, &e), 0);
	old->host[5] = 42;
	assert_int_equal(
		make_block(&new, "ram0", 4096, RAM_BACKEND_MEMFD, NULL, true, dup(old->fd), &e), 0);
	assert_int_equal(make_block(&private, "ram0", 4096, RAM_BACKEND_MEMFD, NULL, false,
				    dup(old->fd), &e),
			 0);
	assert_int_equal(new->host[5], 42);
	assert_int_equal(private->host[5], 42);
	new->host[5] = 43;
	assert_int_equal(old->host[5], 43);
	private->host[5] = 44;
	assert_int_equal(old->host[5], 43);
	ram_block_destroy(old);
	assert_int_equal(new->host[5], 43);
	ram_block_destroy(new);
	ram_block_destroy(private);
}

static void preserved_memory_that_is_too_small_stays_the_callers(void **state)
{
	struct ram_block *b = NULL;
	struct err e;
	int fd, fds[2];

	(void)state;
	fd = mem_create_memfd("small", 4096, &e);
	assert_true(fd >= 0);
	assert_int_equal(make_block(&b, "ram0", 8192, RAM_BACKEND_MEMFD, NULL, true, fd, &e),
			 -EINVAL);
	assert_string_equal(e.msg, "RAM block 'ram0': the memory of 'ram0' has 4096 bytes, 8192 "
				   "are needed");
	assert_null(b);
	assert_int_equal(close(fd), 0);
	/* What is no memory at all. */
	assert_int_equal(pipe(fds), 0);
	assert_true(make_block(&b, "ram0", 4096, RAM_BACKEND_MEMFD, NULL, true, fds[0], &e) < 0);
	assert_null(b);
	assert_int_equal(close(fds[0]), 0);
	close(fds[1]);
}

struct folder {
	char dir[32];
	char path[64]; /* of a file in it, made by the test */
};

static int setup_folder(void **state)
{
	struct folder *f = calloc(1, sizeof(*f));

	*state = f;
	strcpy(f->dir, "/tmp/baton-unit-XXXXXX");
	if (!mkdtemp(f->dir))
		return -1;
	snprintf(f->path, sizeof(f->path), "%s/ram", f->dir);
	return 0;
}

static int teardown_folder(void **state)
{
	struct folder *f = *state;

	unlink(f->path);
	rmdir(f->dir);
	free(f);
	return 0;
}

static void a_file_backs_ram_if_it_is_large_enough(void **state)
{
	const struct folder *f = *state;
	const char *dir = f->dir, *path = f->path;
	struct ram_block *b = NULL;
	char want[256];
	struct err e;

	assert_int_equal(make_block(&b, "ram0", 8192, RAM_BACKEND_FILE, path, true, -1, &e), 0);
	assert_string_equal(b->path, path);
	b->host[0] = 7;
	ram_block_destroy(b);
	/* The same file again, with a part of it, then with more than it has. */
	assert_int_equal(make_block(&b, "ram0", 4096, RAM_BACKEND_FILE, path, true, -1, &e), 0);
	assert_int_equal(b->host[0], 7);
	ram_block_destroy(b);
	assert_int_equal(make_block(&b, "ram0", 12288, RAM_BACKEND_FILE, path, true, -1, &e),
			 -EINVAL);
	snprintf(
		want, sizeof(want),
		"RAM block 'ram0': backing store size 0x2000 of %s does not match 'size' option 0x3000",
		path);
	assert_string_equal(e.msg, want);
	unlink(path);
	/* A directory gets a file without a name. */
	assert_int_equal(make_block(&b, "ram0", 4096, RAM_BACKEND_FILE, dir, true, -1, &e), 0);
	ram_block_destroy(b);
	assert_int_equal(rmdir(dir), 0);
	assert_int_equal(make_block(&b, "ram0", 4096, RAM_BACKEND_FILE, path, true, -1, &e),
			 -ENOENT);
	snprintf(want, sizeof(want),
		 "RAM block 'ram0': can't open backing store %s for guest RAM: No such file or "
		 "directory",
		 path);
	assert_string_equal(e.msg, want);
}

struct toy {
	uint32_t before;
	struct device dev;
	struct toy_state {
		uint32_t value;
	} s;
	unsigned int resets;
};

static void toy_reset(struct device *d)
{
	CONTAINER_OF(d, struct toy, dev)->resets++;
}

static const struct vs_field toy_fields[] = { VS_FIELD(struct toy_state, value), VS_END };

static const struct vs_desc toy_desc = {
	.name = "toy",
	.version = 1,
	.min_version = 1,
	.size = sizeof(struct toy_state),
	.fields = toy_fields,
};

static const struct device_class toy_class = {
	.name = "toy",
	.state = &toy_desc,
	.state_offset = offsetof(struct toy, s) - offsetof(struct toy, dev),
	.reset = toy_reset,
};

static const struct device_class mute_class = { .name = "mute", .stateless = true };

static void devices_keep_their_order_and_are_numbered_by_class(void **state)
{
	struct device mute = { 0 };
	struct toy toys[3] = { 0 };
	struct list *pos, *tmp;
	struct vm vm = { 0 };
	unsigned int i = 0;

	(void)state;
	list_init(&vm.devices);
	device_add(&vm, &toys[0].dev, &toy_class);
	device_add(&vm, &mute, &mute_class);
	device_add(&vm, &toys[1].dev, &toy_class);
	device_add(&vm, &toys[2].dev, &toy_class);
	const struct device *const order[] = { &toys[0].dev, &mute, &toys[1].dev, &toys[2].dev };

	list_for_each(pos, tmp, &vm.devices)
		assert_ptr_equal(CONTAINER_OF(pos, struct device, link), order[i++]);
	assert_int_equal(i, 4);
	assert_int_equal(mute.instance_id, 0);
	for (i = 0; i < 3; i++) {
		assert_int_equal(toys[i].dev.instance_id, i);
		assert_ptr_equal(toys[i].dev.vm, &vm);
		assert_ptr_equal(device_state(&toys[i].dev), &toys[i].s);
		assert_int_equal(toys[i].resets, 1);
	}
}

static void the_list_of_state_is_vcpus_then_devices_in_order(void **state)
{
	static const struct {
		const char *idstr;
		uint32_t instance;
	} want[] = { { "cpu", 0 },  { "apic", 0 }, { "cpu", 1 },
		     { "apic", 1 }, { "toy", 0 },  { "toy", 1 } };
	struct ram_block ram = { .name = "ram0", .size = 1 << 21 };
	struct vm vm = { .nr_vcpus = 2 };
	struct device mute = { 0 };
	struct toy toys[2] = { 0 };
	struct snapshot s;
	struct err e;

	(void)state;
	memmap_init(&vm.mem, &ram);
	list_init(&vm.devices);
	device_add(&vm, &toys[0].dev, &toy_class);
	device_add(&vm, &mute, &mute_class);
	device_add(&vm, &toys[1].dev, &toy_class);
	snapshot_init(&s, LAYOUT_MACHINE_TYPE);
	assert_int_equal(vm_list_state(&vm, VM_STATE_ALL, &s, &e), 0);
	assert_int_equal(s.nr_items, ARRAY_SIZE(want));
	for (size_t i = 0; i < ARRAY_SIZE(want); i++) {
		assert_string_equal(s.items[i].idstr, want[i].idstr);
		assert_int_equal(s.items[i].instance_id, want[i].instance);
	}
	assert_int_equal(s.nr_rams, 1);
	assert_string_equal(s.rams[0].name, "ram0");
	assert_int_equal(s.rams[0].size, 1 << 21);
	snapshot_fini(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_access_of_a_right_size_reaches_the_device),
		cmocka_unit_test(a_wider_access_is_split_little_endian),
		cmocka_unit_test(a_narrower_access_reads_ones_and_writes_nothing),
		cmocka_unit_test(an_unclaimed_address_reads_ones_and_is_counted),
		cmocka_unit_test(an_access_belongs_to_the_region_of_its_first_byte),
		cmocka_unit_test(regions_must_not_overlap),
		cmocka_unit_test(run_states_change_as_qemus_do),
		cmocka_unit_test(every_run_state_can_be_reached_and_left),
		cmocka_unit_test(run_state_names_are_qemus_and_parse_back),
		cmocka_unit_test(small_ram_is_one_range_from_zero),
		cmocka_unit_test(large_ram_goes_around_the_hole),
		cmocka_unit_test(a_block_on_top_cuts_the_range_below_in_two),
		cmocka_unit_test(a_block_on_top_may_cover_edges_and_whole_ranges),
		cmocka_unit_test(blocks_are_found_by_names_which_are_distinct),
		cmocka_unit_test(a_range_that_wraps_around_is_not_ram),
		cmocka_unit_test(copies_stay_within_ram),
		cmocka_unit_test(a_ram_block_is_named_sealed_and_mapped),
		cmocka_unit_test(preserved_memory_is_mapped_again_shared_or_private),
		cmocka_unit_test(preserved_memory_that_is_too_small_stays_the_callers),
		cmocka_unit_test_setup_teardown(a_file_backs_ram_if_it_is_large_enough,
						setup_folder, teardown_folder),
		cmocka_unit_test(devices_keep_their_order_and_are_numbered_by_class),
		cmocka_unit_test(the_list_of_state_is_vcpus_then_devices_in_order),
	};

	return cmocka_run_group_tests_name("machine", tests, NULL, NULL);
}
