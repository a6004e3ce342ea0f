/* SPDX-License-Identifier: MIT */
/* Images of disks: requests, alignment, ends of files, locks. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/util.h"
#include "fd_count.h"
#include "host/clock.h"
#include "host/disk.h"

enum {
	IMAGE_BYTES = 1 << 20,
};

struct fixture {
	pthread_mutex_t lock;
	struct loop *loop;
	struct uring *uring;
	char path[64];
	struct disk_config config;
};

struct request {
	struct disk_request r;
	struct iovec iov[4];
	int result;
	bool done;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct err e;
	int fd;

	pthread_mutex_init(&f->lock, NULL);
	pthread_mutex_lock(&f->lock);
	assert_int_equal(loop_create(&f->loop, &f->lock, &e), 0);
	assert_int_equal(uring_create(&f->uring, f->loop, &e), 0);
	snprintf(f->path, sizeof(f->path), "/tmp/test-disk-XXXXXX");
	fd = mkstemp(f->path);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, IMAGE_BYTES), 0);
	close(fd);
	snprintf(f->config.path, sizeof(f->config.path), "%s", f->path);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	unlink(f->path);
	uring_destroy(f->uring);
	pthread_mutex_unlock(&f->lock);
	loop_destroy(f->loop);
	pthread_mutex_destroy(&f->lock);
	free(f);
	return 0;
}

static void on_done(struct disk_request *r, int result)
{
	struct request *q = CONTAINER_OF(r, struct request, r);

	assert_false(q->done);
	q->done = true;
	q->result = result;
}

static void start(struct disk *d, struct request *q, enum disk_op op, uint64_t offset, void *p,
		  uint64_t n)
{
	*q = (struct request){ .r = { .op = op, .offset = offset, .bytes = n, .done = on_done } };
	q->iov[0] = (struct iovec){ .iov_base = p, .iov_len = n };
	q->r.iov = q->iov;
	q->r.nr_iov = 1;
	disk_submit(d, &q->r);
	assert_false(q->done);
}

static int wait_for(struct fixture *f, struct request *q)
{
	for (int i = 0; i < 1000 && !q->done; i++)
		loop_run_once(f->loop, 10);
	assert_true(q->done);
	return q->result;
}

static int transfer(struct fixture *f, struct disk *d, enum disk_op op, uint64_t offset, void *p,
		    uint64_t n)
{
	struct request q;

	start(d, &q, op, offset, p, n);
	return wait_for(f, &q);
}

static void open_disk(struct fixture *f, struct disk *d)
{
	struct err e;

	assert_int_equal(disk_open(d, &f->config, -1, f->uring, &e), 0);
}

static void check_round_trip(struct fixture *f, struct disk *d, size_t misaligned)
{
	AUTO_FREE uint8_t *memory = aligned_alloc(4096, 3 << 20);
	uint8_t *out = memory + misaligned, *in = memory + (1 << 20) + misaligned;
	const size_t n = IMAGE_BYTES - 8192;

	for (size_t i = 0; i < n; i++)
		out[i] = (uint8_t)(i * 7 + i / 512);
	memset(in, 0, n);
	assert_int_equal(transfer(f, d, DISK_WRITE, 4096, out, n), 0);
	assert_int_equal(transfer(f, d, DISK_FLUSH, 0, NULL, 0), 0);
	assert_int_equal(transfer(f, d, DISK_READ, 4096, in, n), 0);
	assert_memory_equal(in, out, n);
}

static void what_is_written_is_read(void **state)
{
	struct fixture *f = *state;
	struct disk d;

	open_disk(f, &d);
	assert_int_equal(d.bytes, IMAGE_BYTES);
	check_round_trip(f, &d, 0);
	check_round_trip(f, &d, 3);
	disk_close(&d);
}

static void without_io_uring_requests_work_as_well(void **state)
{
	struct fixture *f = *state;
	struct disk d;

	uring_make_synchronous(f->uring);
	open_disk(f, &d);
	check_round_trip(f, &d, 5);
	disk_close(&d);
}

static void direct_io_takes_memory_that_is_not_aligned(void **state)
{
	struct fixture *f = *state;
	struct disk d;
	struct err e;

	f->config.direct = true;
	if (disk_open(&d, &f->config, -1, f->uring, &e)) {
		assert_non_null(strstr(e.msg, "has no O_DIRECT"));
		print_message("SKIPPED: THIS FILE SYSTEM HAS NO O_DIRECT\n");
		skip();
	}
	assert_true(d.align >= 512);
	check_round_trip(f, &d, 0);
	check_round_trip(f, &d, 1);
	check_round_trip(f, &d, 512);
	disk_close(&d);
}

static void several_requests_are_under_way_at_once(void **state)
{
	struct fixture *f = *state;
	uint8_t blocks[16][4096], back[4096];
	struct request q[16];
	struct disk d;
	struct err e;

	open_disk(f, &d);
	for (unsigned int i = 0; i < 16; i++) {
		memset(blocks[i], (int)i + 1, sizeof(blocks[i]));
		start(&d, &q[i], DISK_WRITE, i * 4096, blocks[i], 4096);
	}
	assert_int_equal(d.in_flight, 16);
	assert_int_equal(disk_drain(&d, clock_boottime_ns() + UINT64_C(5000000000), &e), 0);
	assert_int_equal(d.in_flight, 0);
	for (unsigned int i = 0; i < 16; i++) {
		assert_true(q[i].done);
		assert_int_equal(q[i].result, 0);
		assert_int_equal(transfer(f, &d, DISK_READ, i * 4096, back, 4096), 0);
		assert_memory_equal(back, blocks[i], 4096);
	}
	disk_close(&d);
}

static void requests_beyond_the_end_are_errors(void **state)
{
	struct fixture *f = *state;
	uint8_t b[1024];
	struct disk d;

	open_disk(f, &d);
	assert_int_equal(transfer(f, &d, DISK_READ, IMAGE_BYTES - 512, b, 1024), -EINVAL);
	assert_int_equal(transfer(f, &d, DISK_WRITE, UINT64_MAX - 511, b, 512), -EINVAL);
	assert_int_equal(transfer(f, &d, DISK_ZERO, IMAGE_BYTES, NULL, 512), -EINVAL);
	assert_int_equal(transfer(f, &d, DISK_READ, IMAGE_BYTES, b, 0), 0);
	disk_close(&d);
}

static void the_last_sector_is_filled_up_with_zeros(void **state)
{
	struct fixture *f = *state;
	uint8_t b[1024];
	struct disk d;

	assert_int_equal(truncate(f->path, 4096 + 100), 0);
	open_disk(f, &d);
	assert_int_equal(d.bytes, 4096 + 512);
	memset(b, 0x55, sizeof(b));
	assert_int_equal(transfer(f, &d, DISK_READ, 4096 - 512, b, 1024), 0);
	for (unsigned int i = 0; i < sizeof(b); i++)
		assert_int_equal(b[i], 0);
	memset(b, 0x66, sizeof(b));
	assert_int_equal(transfer(f, &d, DISK_WRITE, 4096, b, 512), 0);
	memset(b, 0, sizeof(b));
	assert_int_equal(transfer(f, &d, DISK_READ, 4096, b, 512), 0);
	assert_int_equal(b[511], 0x66);
	disk_close(&d);
}

static void an_image_that_became_shorter_gives_errors(void **state)
{
	struct fixture *f = *state;
	uint8_t b[4096];
	struct disk d;
	struct err e;

	open_disk(f, &d);
	assert_int_equal(disk_check_size(&d, &e), 0);
	assert_int_equal(truncate(f->path, 8192 + 512), 0);
	assert_int_equal(transfer(f, &d, DISK_READ, 4096, b, 4096), 0);
	assert_int_equal(transfer(f, &d, DISK_READ, 8192, b, 4096), -EIO);
	assert_int_equal(transfer(f, &d, DISK_READ, 65536, b, 4096), -EIO);
	assert_int_equal(disk_check_size(&d, &e), -ENODATA);
	assert_non_null(strstr(e.msg, "promised 1048576"));
	disk_close(&d);
}

static void zeros_and_discards_reach_the_file(void **state)
{
	struct fixture *f = *state;
	uint8_t b[8192];
	struct request q;
	struct disk d;
	struct stat st;

	f->config.unmap = true;
	open_disk(f, &d);
	for (int way = 0; way < 4; way++) {
		memset(b, 0x77, sizeof(b));
		assert_int_equal(transfer(f, &d, DISK_WRITE, 0, b, sizeof(b)), 0);
		/* The last way is to write them. */
		d.lacks_zero = way >= 2;
		d.lacks_punch = way == 3;
		start(&d, &q, DISK_ZERO, 512, NULL, 7000 / 512 * 512);
		q.r.unmap = way == 1;
		assert_int_equal(wait_for(f, &q), 0);
		assert_int_equal(transfer(f, &d, DISK_READ, 0, b, sizeof(b)), 0);
		assert_int_equal(b[511], 0x77);
		for (unsigned int i = 512; i < 512 + 7000 / 512 * 512; i++)
			assert_int_equal(b[i], 0);
		assert_int_equal(b[512 + 7000 / 512 * 512], 0x77);
	}
	d.lacks_punch = false;
	assert_int_equal(transfer(f, &d, DISK_DISCARD, 0, NULL, IMAGE_BYTES), 0);
	assert_int_equal(fstat(d.fd, &st), 0);
	assert_int_equal(st.st_size, IMAGE_BYTES);
	assert_int_equal(transfer(f, &d, DISK_READ, 0, b, 512), 0);
	if (!d.lacks_punch)
		assert_int_equal(b[0], 0);
	disk_close(&d);
}

static void a_read_only_image_is_not_written(void **state)
{
	struct fixture *f = *state;
	uint8_t b[512] = { 0 };
	struct disk d;

	f->config.read_only = true;
	open_disk(f, &d);
	assert_int_equal(transfer(f, &d, DISK_WRITE, 0, b, 512), -EROFS);
	assert_int_equal(transfer(f, &d, DISK_DISCARD, 0, NULL, 512), -EROFS);
	assert_int_equal(transfer(f, &d, DISK_READ, 0, b, 512), 0);
	disk_close(&d);
}

static void a_second_writer_is_refused(void **state)
{
	struct fixture *f = *state;
	struct disk a, b;
	struct err e;

	open_disk(f, &a);
	open_disk(f, &b);
	assert_int_equal(disk_lock(&a, false, &e), 0);
	assert_int_equal(disk_lock(&b, false, &e), -EAGAIN);
	assert_non_null(strstr(e.msg, "Failed to get \"write\" lock"));
	assert_int_equal(b.locks, 0);
	/* What could not be had has left nothing behind. */
	assert_int_equal(disk_lock(&a, false, &e), 0);
	disk_close(&b);
	f->config.read_only = true;
	open_disk(f, &b);
	assert_int_equal(disk_lock(&b, false, &e), -EAGAIN);
	assert_non_null(strstr(e.msg, "Failed to get shared \"write\" lock"));
	disk_close(&a);
	/* Readers can be many. */
	open_disk(f, &a);
	assert_int_equal(disk_lock(&a, false, &e), 0);
	assert_int_equal(disk_lock(&b, false, &e), 0);
	disk_close(&a);
	disk_close(&b);
}

static void writers_that_share_get_along(void **state)
{
	struct fixture *f = *state;
	struct disk a, b;
	struct err e;

	open_disk(f, &a);
	open_disk(f, &b);
	assert_int_equal(disk_lock(&a, false, &e), 0);
	assert_int_equal(disk_lock(&a, true, &e), 0);
	assert_int_equal(disk_lock(&b, true, &e), 0);
	assert_int_equal(disk_lock(&a, false, &e), -EAGAIN);
	assert_int_equal(a.locks, DISK_LOCK_READ | DISK_LOCK_WRITE);
	disk_close(&a);
	disk_close(&b);
}

static bool is_locked(int fd, off_t byte)
{
	struct flock l = { .l_type = F_WRLCK, .l_start = byte, .l_len = 1 };

	assert_int_equal(fcntl(fd, F_OFD_GETLK, &l), 0);
	return l.l_type != F_UNLCK;
}

static void the_bytes_are_those_of_qemu(void **state)
{
	struct fixture *f = *state;
	struct disk d;
	struct err e;
	int fd = open(f->path, O_RDWR | O_CLOEXEC);

	open_disk(f, &d);
	assert_int_equal(disk_lock(&d, false, &e), 0);
	for (off_t byte = 90; byte < 220; byte++)
		assert_int_equal(is_locked(fd, byte), byte == 100 || byte == 101 || byte == 201);
	assert_int_equal(disk_lock(&d, true, &e), 0);
	assert_false(is_locked(fd, 201));
	disk_close(&d);
	assert_false(is_locked(fd, 100));
	f->config.locking = DISK_LOCK_OFF;
	open_disk(f, &d);
	assert_int_equal(disk_lock(&d, false, &e), 0);
	assert_false(is_locked(fd, 100));
	disk_close(&d);
	close(fd);
}

static void a_given_descriptor_keeps_its_locks(void **state)
{
	struct fixture *f = *state;
	struct disk a, b, other;
	struct err e;

	open_disk(f, &a);
	assert_int_equal(disk_lock(&a, false, &e), 0);
	assert_int_equal(disk_open(&b, &f->config, dup(a.fd), f->uring, &e), 0);
	disk_close(&a);
	open_disk(f, &other);
	assert_int_equal(disk_lock(&other, false, &e), -EAGAIN);
	disk_close(&b);
	assert_int_equal(disk_lock(&other, false, &e), 0);
	disk_close(&other);
}

static void expect_refused_fd(struct fixture *f, int fd, const char *why)
{
	struct disk d;
	struct err e;

	assert_true(disk_open(&d, &f->config, fd, f->uring, &e) < 0);
	assert_non_null(strstr(e.msg, why));
	close(fd);
}

static void a_given_descriptor_must_be_of_that_file(void **state)
{
	struct fixture *f = *state;
	unsigned int fds = fd_count();

	expect_refused_fd(f, memfd_create("other", MFD_CLOEXEC), "another file");
	expect_refused_fd(f, open(f->path, O_RDONLY | O_CLOEXEC), "read-only=on must be as it was");
	f->config.read_only = true;
	expect_refused_fd(f, open(f->path, O_RDWR | O_CLOEXEC), "read-only=off must be as it was");
	f->config.read_only = false;
	f->config.direct = true;
	expect_refused_fd(f, open(f->path, O_RDWR | O_CLOEXEC), "cache.direct=off");
	assert_int_equal(fd_count(), fds);
}

static void expect_refused(struct fixture *f, const char *path, const char *why)
{
	struct disk d;
	struct err e;

	snprintf(f->config.path, sizeof(f->config.path), "%s", path);
	assert_true(disk_open(&d, &f->config, -1, f->uring, &e) < 0);
	assert_non_null(strstr(e.msg, why));
	assert_int_equal(d.fd, -1);
}

static void put(const char *path, off_t at, const void *p, size_t n)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	assert_int_equal(pwrite(fd, p, n, at), n);
	close(fd);
}

static void what_is_no_raw_image_is_refused_with_the_cure(void **state)
{
	struct fixture *f = *state;
	unsigned int fds = fd_count();
	struct disk d;

	expect_refused(f, "/nonexistent/image", "No such file");
	expect_refused(f, ".", "is a directory");
	expect_refused(f, "/dev/null", "neither a file nor a block device");
	put(f->path, 0, "QFI\xfb", 4);
	expect_refused(f, f->path, "qemu-img convert -O raw");
	f->config.format_is_known = true;
	open_disk(f, &d);
	disk_close(&d);
	f->config.format_is_known = false;
	put(f->path, 0, "QED", 4);
	expect_refused(f, f->path, "format qed");
	put(f->path, 0, "\0\0\0\0", 4);
	put(f->path, 64, "\x7f\x10\xda\xbe", 4);
	expect_refused(f, f->path, "format vdi");
	f->config.driver = DISK_DEVICE;
	expect_refused(f, f->path, "to be a block device");
	f->config.driver = DISK_ANY;
	assert_int_equal(truncate(f->path, 0), 0);
	expect_refused(f, f->path, "is empty");
	unlink(f->path);
	assert_int_equal(mkfifo(f->path, 0600), 0);
	expect_refused(f, f->path, "neither a file nor a block device");
	assert_int_equal(fd_count(), fds);
}

static void resizing_changes_the_file(void **state)
{
	struct fixture *f = *state;
	uint8_t b[512];
	struct disk d;
	struct err e;

	open_disk(f, &d);
	assert_int_equal(disk_resize(&d, 0, &e), -EINVAL);
	assert_int_equal(disk_resize(&d, 1000, &e), -EINVAL);
	assert_int_equal(disk_resize(&d, 2 * IMAGE_BYTES, &e), 0);
	assert_int_equal(transfer(f, &d, DISK_READ, 2 * IMAGE_BYTES - 512, b, 512), 0);
	assert_int_equal(disk_resize(&d, 4096, &e), 0);
	assert_int_equal(transfer(f, &d, DISK_READ, 4096, b, 512), -EINVAL);
	disk_close(&d);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(what_is_written_is_read),
		T(without_io_uring_requests_work_as_well),
		T(direct_io_takes_memory_that_is_not_aligned),
		T(several_requests_are_under_way_at_once),
		T(requests_beyond_the_end_are_errors),
		T(the_last_sector_is_filled_up_with_zeros),
		T(an_image_that_became_shorter_gives_errors),
		T(zeros_and_discards_reach_the_file),
		T(a_read_only_image_is_not_written),
		T(a_second_writer_is_refused),
		T(writers_that_share_get_along),
		T(the_bytes_are_those_of_qemu),
		T(a_given_descriptor_keeps_its_locks),
		T(a_given_descriptor_must_be_of_that_file),
		T(what_is_no_raw_image_is_refused_with_the_cure),
		T(resizing_changes_the_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
