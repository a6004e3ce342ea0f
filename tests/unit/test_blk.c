/* SPDX-License-Identifier: MIT */
/* virtio-blk: requests good and bad, errors of the host, state. */
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dev/virtio/blk.h"
#include "dev/virtio/blk_impl.h"
#include "virtio_fixture.h"

enum {
	SIZE = 64,
	NEXT = VRING_DESC_F_NEXT,
	WRITE = VRING_DESC_F_WRITE,
	IMAGE_BYTES = 1 << 20,
	HEADER = DRV_DATA,
	STATUS = DRV_DATA + 0x100,
	DATA = DRV_DATA + 0x1000,
};

#define V1   (UINT64_C(1) << VIRTIO_F_VERSION_1)
#define F(n) (UINT64_C(1) << VIRTIO_BLK_F_##n)

struct world {
	struct virtio_fixture f;
	struct drv drv;
	struct uring *uring;
	struct disk disk;
	struct backend backend;
	struct blk *blk;
	char path[64];
	unsigned int errors; /* told to the operator */
	struct vm_observer observer;
};

static void on_event(void *opaque, enum vm_event event, const char *detail)
{
	(void)opaque;
	(void)event;
	(void)detail;
}

static void no_matter(void *opaque)
{
	(void)opaque;
}

static void on_disk_error(void *opaque, const struct vm_disk_error *error)
{
	assert_string_equal(error->drive, "d0");
	((struct world *)opaque)->errors++;
}

static int create(struct world *w, const char *text, struct err *e)
{
	struct device_spec spec;
	struct device *d;
	int r = device_spec_parse(&spec, text, e);

	if (r)
		return r;
	r = device_spec_create(&w->f.pci.vm, &spec, &d, e);
	device_spec_fini(&spec);
	if (!r)
		w->blk = CONTAINER_OF(d, struct blk, dev);
	return r;
}

static struct world *begin_with(const struct disk_config *extra, const char *text)
{
	struct world *w = calloc(1, sizeof(*w));
	struct disk_config c = extra ? *extra : (struct disk_config){ .serial = "SERIAL" };
	struct err e;
	int fd;

	strcpy(w->path, "/tmp/test-blk-XXXXXX");
	fd = mkstemp(w->path);
	assert_int_equal(ftruncate(fd, IMAGE_BYTES), 0);
	close(fd);
	virtio_fixture_init(&w->f);
	w->f.pci.vm.nr_vcpus = 1;
	list_init(&w->f.pci.vm.boot_order);
	loop_work_init(&w->f.pci.vm.request_work, no_matter, NULL);
	w->observer =
		(struct vm_observer){ .event = on_event, .disk_error = on_disk_error, .opaque = w };
	vm_observe(&w->f.pci.vm, &w->observer);
	assert_int_equal(uring_create(&w->uring, w->f.pci.vm.loop, &e), 0);
	strcpy(c.path, w->path);
	assert_int_equal(disk_open(&w->disk, &c, -1, w->uring, &e), 0);
	w->backend = (struct backend){ .kind = BACKEND_DRIVE, .id = "d0", .object = &w->disk };
	assert_int_equal(backend_add(&w->f.pci.vm, &w->backend, &e), 0);
	if (create(w, text, &e))
		fail_msg("%s", e.msg);
	return w;
}

static void end(struct world *w)
{
	vm_destroy_devices(&w->f.pci.vm);
	backend_del(&w->backend);
	disk_close(&w->disk);
	uring_destroy(w->uring);
	virtio_fixture_fini(&w->f);
	unlink(w->path);
	free(w);
}

/* The driver is ready with what is offered of @features. */
static void drive(struct world *w, uint64_t features)
{
	virtio_find(&w->f, 0x08);
	assert_true(virtio_negotiate(&w->f, virtio_offered(&w->f) & (features | V1)));
	drv_init(&w->drv, &w->f.mem, SIZE, false);
	virtio_set_queue(&w->f, 0, SIZE, 0xffff, 0);
	virtio_drive(&w->f);
	w->blk->dev.class->run_changed(&w->blk->dev, true);
}

static struct world *begin(void)
{
	struct world *w = begin_with(NULL, "virtio-blk-pci,drive=d0,id=v,addr=1");

	drive(w, ~UINT64_C(0));
	return w;
}

static void put_header(struct world *w, uint32_t type, uint64_t sector)
{
	struct virtio_blk_outhdr h = { .type = type, .sector = sector };

	memcpy(drv_ptr(&w->f.mem, HEADER), &h, sizeof(h));
	*(uint8_t *)drv_ptr(&w->f.mem, STATUS) = 0xee;
}

/* Header, @bytes of data, status: as most drivers do it. */
static void chain(struct world *w, uint32_t type, uint64_t sector, uint32_t bytes, bool in)
{
	put_header(w, type, sector);
	drv_set(&w->drv, 0, HEADER, 16, NEXT, bytes ? 1 : 2);
	drv_set(&w->drv, 1, DATA, bytes, NEXT | (in ? WRITE : 0), 2);
	drv_set(&w->drv, 2, STATUS, 1, WRITE, 0);
}

static int answer(struct world *w, struct vring_used_elem *out)
{
	virtio_ring(&w->f, 0);
	for (int i = 0; i < 500; i++) {
		loop_run_once(w->f.pci.vm.loop, 2);
		if (drv_collect(&w->drv, out))
			return 1;
		if (virtio_status(&w->f) & VIRTIO_CONFIG_S_NEEDS_RESET)
			return -1;
	}
	return 0;
}

static uint8_t status_of(struct world *w)
{
	struct vring_used_elem used;

	drv_offer(&w->drv, 0);
	assert_int_equal(answer(w, &used), 1);
	assert_int_equal(used.id, 0);
	return *(uint8_t *)drv_ptr(&w->f.mem, STATUS);
}

static uint8_t request(struct world *w, uint32_t type, uint64_t sector, uint32_t bytes, bool in)
{
	chain(w, type, sector, bytes, in);
	return status_of(w);
}

static void what_the_driver_writes_it_reads(void **state)
{
	struct world *w = begin();
	uint8_t *p = drv_ptr(&w->f.mem, DATA), back[4096];
	int fd = open(w->path, O_RDONLY | O_CLOEXEC);

	(void)state;
	for (unsigned int i = 0; i < 4096; i++)
		p[i] = (uint8_t)(i * 3);
	assert_int_equal(request(w, VIRTIO_BLK_T_OUT, 8, 4096, false), VIRTIO_BLK_S_OK);
	assert_int_equal(request(w, VIRTIO_BLK_T_FLUSH, 0, 0, false), VIRTIO_BLK_S_OK);
	assert_int_equal(pread(fd, back, 4096, 4096), 4096);
	assert_memory_equal(back, p, 4096);
	memcpy(back, p, 4096);
	memset(p, 0, 4096);
	assert_int_equal(request(w, VIRTIO_BLK_T_IN, 8, 4096, true), VIRTIO_BLK_S_OK);
	assert_memory_equal(back, p, 4096);
	close(fd);
	end(w);
}

/* Section 2.7.4.2: how a request is cut into descriptors is the driver's choice. */
static void any_layout_of_a_request_will_do(void **state)
{
	struct world *w = begin();
	uint8_t *p = drv_ptr(&w->f.mem, DATA);

	(void)state;
	memset(p, 0x41, 1024);
	/* Header in two pieces, the second with data behind it; status behind data. */
	put_header(w, VIRTIO_BLK_T_OUT, 2);
	memcpy(p - 6, (uint8_t *)drv_ptr(&w->f.mem, HEADER) + 10, 6);
	drv_set(&w->drv, 0, HEADER, 10, NEXT, 1);
	drv_set(&w->drv, 1, DATA - 6, 6 + 511, NEXT, 2);
	drv_set(&w->drv, 2, DATA + 511, 1, NEXT, 3);
	drv_set(&w->drv, 3, STATUS, 1, WRITE, 0);
	assert_int_equal(status_of(w), VIRTIO_BLK_S_OK);
	memset(p, 0, 1024);
	put_header(w, VIRTIO_BLK_T_IN, 2);
	drv_set(&w->drv, 0, HEADER, 16, NEXT, 1);
	drv_set(&w->drv, 1, DATA, 3, NEXT | WRITE, 2);
	drv_set(&w->drv, 2, DATA + 3, 510, WRITE, 0);
	p[512] = 0xee;
	status_of(w);
	assert_int_equal(p[512], VIRTIO_BLK_S_OK);
	for (unsigned int i = 0; i < 512; i++)
		assert_int_equal(p[i], 0x41);
	end(w);
}

static void bad_ranges_are_errors_of_the_request(void **state)
{
	static const struct {
		uint32_t type;
		uint64_t sector;
		uint32_t bytes;
		bool in;
		uint8_t status;
	} bad[] = {
		{ VIRTIO_BLK_T_IN, IMAGE_BYTES / 512, 512, true, VIRTIO_BLK_S_IOERR },
		{ VIRTIO_BLK_T_IN, IMAGE_BYTES / 512 - 1, 1024, true, VIRTIO_BLK_S_IOERR },
		{ VIRTIO_BLK_T_IN, UINT64_MAX, 512, true, VIRTIO_BLK_S_IOERR },
		{ VIRTIO_BLK_T_IN, UINT64_MAX / 512 + 1, 512, true, VIRTIO_BLK_S_IOERR },
		{ VIRTIO_BLK_T_OUT, UINT64_MAX - 3, 2048, false, VIRTIO_BLK_S_IOERR },
		{ VIRTIO_BLK_T_OUT, 0, 511, false, VIRTIO_BLK_S_IOERR },
		{ VIRTIO_BLK_T_IN, 0, 513, true, VIRTIO_BLK_S_IOERR },
		{ VIRTIO_BLK_T_SCSI_CMD, 0, 512, true, VIRTIO_BLK_S_UNSUPP },
		{ 0xffffffff, 0, 512, true, VIRTIO_BLK_S_UNSUPP },
		{ VIRTIO_BLK_T_DISCARD, 0, 15, false, VIRTIO_BLK_S_UNSUPP },
		{ VIRTIO_BLK_T_WRITE_ZEROES, 0, 32, false, VIRTIO_BLK_S_UNSUPP },
	};
	struct world *w = begin();

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(request(w, bad[i].type, bad[i].sector, bad[i].bytes, bad[i].in),
				 bad[i].status);
	assert_int_equal(virtio_status(&w->f) & VIRTIO_CONFIG_S_NEEDS_RESET, 0);
	assert_int_equal(w->errors, 0);
	end(w);
}

static void zeros_and_discards_have_one_range(void **state)
{
	static const struct {
		struct virtio_blk_discard_write_zeroes r;
		uint32_t type;
		uint8_t status;
	} cases[] = {
		{ { 0, 2, 0 }, VIRTIO_BLK_T_WRITE_ZEROES, VIRTIO_BLK_S_OK },
		{ { 0, 2, 1 }, VIRTIO_BLK_T_WRITE_ZEROES, VIRTIO_BLK_S_OK },
		{ { 0, 2, 2 }, VIRTIO_BLK_T_WRITE_ZEROES, VIRTIO_BLK_S_UNSUPP },
		{ { 0, 2, 0 }, VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_S_OK },
		{ { 0, 2, 1 }, VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_S_UNSUPP },
		{ { 2047, 2, 0 }, VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_S_IOERR },
		{ { UINT64_MAX, 1, 0 }, VIRTIO_BLK_T_WRITE_ZEROES, VIRTIO_BLK_S_IOERR },
		{ { 0, UINT32_MAX, 0 }, VIRTIO_BLK_T_WRITE_ZEROES, VIRTIO_BLK_S_IOERR },
	};
	struct world *w = begin();
	uint8_t *p = drv_ptr(&w->f.mem, DATA);

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		memset(p, 0x33, 1024);
		assert_int_equal(request(w, VIRTIO_BLK_T_OUT, 0, 1024, false), VIRTIO_BLK_S_OK);
		memcpy(p, &cases[i].r, sizeof(cases[i].r));
		assert_int_equal(request(w, cases[i].type, 0, sizeof(cases[i].r), false),
				 cases[i].status);
		assert_int_equal(request(w, VIRTIO_BLK_T_IN, 0, 1024, true), VIRTIO_BLK_S_OK);
		/* What is discarded may stay: discard=unmap was not said. */
		assert_int_equal(p[1023], cases[i].status == VIRTIO_BLK_S_OK &&
							  cases[i].type == VIRTIO_BLK_T_WRITE_ZEROES
						  ? 0
						  : 0x33);
	}
	end(w);
}

static void the_serial_number_is_told(void **state)
{
	struct world *w = begin();

	(void)state;
	assert_int_equal(request(w, VIRTIO_BLK_T_GET_ID, 0, 20, true), VIRTIO_BLK_S_OK);
	assert_string_equal(drv_ptr(&w->f.mem, DATA), "SERIAL");
	assert_int_equal(request(w, VIRTIO_BLK_T_GET_ID, 0, 3, true), VIRTIO_BLK_S_OK);
	assert_int_equal(request(w, VIRTIO_BLK_T_GET_ID, 0, 500, true), VIRTIO_BLK_S_OK);
	end(w);
}

static void a_request_without_its_parts_breaks_the_device(void **state)
{
	(void)state;
	for (int i = 0; i < 4; i++) {
		struct world *w = begin();
		struct vring_used_elem used;

		put_header(w, VIRTIO_BLK_T_IN, 0);
		drv_set(&w->drv, 0, HEADER, i == 0 ? 15 : 16, i == 1 ? 0 : NEXT, 1);
		drv_set(&w->drv, 1, STATUS, 1, WRITE, 0);
		if (i == 2)
			drv_set(&w->drv, 0, STATUS, 16, WRITE, 0);
		if (i == 3)
			drv_set(&w->drv, 1, DRV_RAM * 4, 512, WRITE, 0);
		drv_offer(&w->drv, 0);
		assert_int_equal(answer(w, &used), -1);
		/* Nothing is in flight that would keep the guest from being updated. */
		assert_int_equal(w->blk->h.virtio.queues[0].q.in_flight, 0);
		/* A reset makes it good. */
		drive(w, ~UINT64_C(0));
		assert_int_equal(request(w, VIRTIO_BLK_T_IN, 0, 512, true), VIRTIO_BLK_S_OK);
		end(w);
	}
}

static void a_read_only_disk_is_not_written(void **state)
{
	const struct disk_config c = { .read_only = true };
	struct world *w = begin_with(&c, "virtio-blk-pci,drive=d0,addr=1");

	(void)state;
	drive(w, ~UINT64_C(0));
	assert_true(w->blk->s.virtio.features & F(RO));
	assert_false(w->blk->s.virtio.features & (F(DISCARD) | F(WRITE_ZEROES)));
	assert_int_equal(request(w, VIRTIO_BLK_T_OUT, 0, 512, false), VIRTIO_BLK_S_IOERR);
	assert_int_equal(request(w, VIRTIO_BLK_T_IN, 0, 512, true), VIRTIO_BLK_S_OK);
	assert_int_equal(w->errors, 0);
	end(w);
}

/* The image is cut off behind the device's back, so that reads fail. */
static void errors_of_the_host_are_reported_or_ignored(void **state)
{
	struct world *w = begin();

	(void)state;
	assert_int_equal(truncate(w->path, 0), 0);
	assert_int_equal(request(w, VIRTIO_BLK_T_IN, 0, 512, true), VIRTIO_BLK_S_IOERR);
	assert_int_equal(request(w, VIRTIO_BLK_T_IN, 0, 512, true), VIRTIO_BLK_S_IOERR);
	assert_int_equal(w->errors, 1);
	end(w);
	w = begin_with(NULL, "virtio-blk-pci,drive=d0,addr=1,rerror=ignore");
	drive(w, ~UINT64_C(0));
	assert_int_equal(truncate(w->path, 0), 0);
	assert_int_equal(request(w, VIRTIO_BLK_T_IN, 0, 512, true), VIRTIO_BLK_S_OK);
	end(w);
}

static void a_failed_request_is_set_aside_and_done_again(void **state)
{
	struct world *w = begin_with(NULL, "virtio-blk-pci,drive=d0,addr=1,rerror=stop");
	const struct device_class *class = &blk_class;
	struct vring_used_elem used;
	struct blk_state saved;
	struct device *d;
	struct err e;

	(void)state;
	drive(w, ~UINT64_C(0));
	d = &w->blk->dev;
	assert_int_equal(truncate(w->path, 0), 0);
	chain(w, VIRTIO_BLK_T_IN, 0, 512, true);
	drv_offer(&w->drv, 0);
	assert_int_equal(answer(w, &used), 0);
	assert_true(w->f.pci.vm.io_error_requested);
	assert_true(w->disk.failed);
	class->run_changed(d, false);
	assert_int_equal(class->quiesce(d, 0, &e), 0);
	assert_int_equal(class->capture(d, &saved, &e), 0);
	assert_int_equal(saved.aside[0], 1);
	assert_int_equal(truncate(w->path, IMAGE_BYTES), 0);
	/* As in another process: nothing but the state is left. */
	memset(w->blk->s.aside, 0, sizeof(w->blk->s.aside));
	assert_int_equal(class->fits(d, &saved, &e), 0);
	assert_int_equal(class->apply(d, &saved, &e), 0);
	class->loaded(d);
	class->run_changed(d, true);
	assert_int_equal(answer(w, &used), 1);
	assert_int_equal(*(uint8_t *)drv_ptr(&w->f.mem, STATUS), VIRTIO_BLK_S_OK);
	assert_int_equal(w->blk->s.aside[0], 0);
	assert_false(w->disk.failed);
	end(w);
}

enum {
	BLOCK = 4096,
	BLOCK_SECTORS = BLOCK / 512,
};

/* Request @i, with memory and descriptors of its own, of the block @block. */
static void offer_block(struct world *w, uint16_t i, bool in, uint64_t block)
{
	const uint64_t at = DATA + i * UINT64_C(3) * BLOCK;
	const struct virtio_blk_outhdr h = {
		.type = in ? VIRTIO_BLK_T_IN : VIRTIO_BLK_T_OUT,
		.sector = block * BLOCK_SECTORS,
	};

	memcpy(drv_ptr(&w->f.mem, at), &h, sizeof(h));
	*(uint8_t *)drv_ptr(&w->f.mem, at + BLOCK) = 0xee;
	memset(drv_ptr(&w->f.mem, at + 2 * BLOCK), in ? 0 : 'a' + i, BLOCK);
	drv_set(&w->drv, 3 * i, at, 16, NEXT, 3 * i + 1);
	drv_set(&w->drv, 3 * i + 1, at + 2 * BLOCK, BLOCK, NEXT | (in ? WRITE : 0), 3 * i + 2);
	drv_set(&w->drv, 3 * i + 2, at + BLOCK, 1, WRITE, 0);
	drv_offer(&w->drv, 3 * i);
}

/* Has them all taken at once; how many requests the image gets. Waits for @nr answers. */
static unsigned int carry_out(struct world *w, unsigned int nr)
{
	struct vring_used_elem used;
	unsigned int at_once;

	blk_handle_queue(&w->blk->h.virtio, 0);
	at_once = w->disk.in_flight;
	for (int i = 0; i < 500 && nr; i++) {
		loop_run_once(w->f.pci.vm.loop, 2);
		while (nr && drv_collect(&w->drv, &used))
			nr--;
	}
	assert_int_equal(nr, 0);
	assert_int_equal(w->disk.in_flight, 0);
	return at_once;
}

static uint8_t status_at(struct world *w, unsigned int i)
{
	return *(uint8_t *)drv_ptr(&w->f.mem, DATA + (3 * i + 1) * UINT64_C(4096));
}

static unsigned int carry_out_neighbours(struct world *w)
{
	static const uint64_t blocks[] = { 1, 2, 3, 5, 6, 7 };
	unsigned int at_once;
	uint8_t back[BLOCK];
	int fd;

	/* Three writes, one elsewhere, two reads that would go on where it ended. */
	for (uint16_t i = 0; i < 6; i++)
		offer_block(w, i, i > 3, blocks[i]);
	at_once = carry_out(w, 6);
	fd = open(w->path, O_RDONLY | O_CLOEXEC);
	for (unsigned int i = 0; i < 6; i++) {
		assert_int_equal(status_at(w, i), VIRTIO_BLK_S_OK);
		assert_int_equal(pread(fd, back, BLOCK, (off_t)(blocks[i] * BLOCK)), BLOCK);
		for (unsigned int k = 0; k < BLOCK; k++)
			assert_int_equal(back[k], i > 3 ? 0 : 'a' + i);
	}
	close(fd);
	return at_once;
}

static void requests_that_follow_one_another_are_one(void **state)
{
	struct world *w = begin();

	(void)state;
	assert_int_equal(carry_out_neighbours(w), 3);
	end(w);
	w = begin_with(NULL, "virtio-blk-pci,drive=d0,id=v,addr=1,request-merging=off");
	drive(w, ~UINT64_C(0));
	assert_int_equal(carry_out_neighbours(w), 6);
	end(w);
}

/* Each has the end it would have had alone. */
static void of_merged_requests_only_those_fail_that_must(void **state)
{
	struct world *w = begin();

	(void)state;
	assert_int_equal(truncate(w->path, 2 * BLOCK), 0);
	for (uint16_t i = 0; i < 4; i++)
		offer_block(w, i, true, i);
	assert_int_equal(carry_out(w, 4), 1);
	for (unsigned int i = 0; i < 4; i++)
		assert_int_equal(status_at(w, i), i < 2 ? VIRTIO_BLK_S_OK : VIRTIO_BLK_S_IOERR);
	end(w);
}

static void nothing_is_taken_while_the_guest_is_stopped(void **state)
{
	struct world *w = begin();
	struct vring_used_elem used;
	struct blk_state saved;
	struct err e;

	(void)state;
	blk_class.run_changed(&w->blk->dev, false);
	chain(w, VIRTIO_BLK_T_IN, 0, 512, true);
	drv_offer(&w->drv, 0);
	assert_int_equal(answer(w, &used), 0);
	assert_int_equal(w->disk.in_flight, 0);
	assert_int_equal(blk_class.capture(&w->blk->dev, &saved, &e), 0);
	blk_class.run_changed(&w->blk->dev, true);
	assert_int_equal(answer(w, &used), 1);
	end(w);
}

static void a_state_that_does_not_fit_is_refused(void **state)
{
	struct world *w = begin();
	struct blk_state s;
	struct err e;

	(void)state;
	blk_class.run_changed(&w->blk->dev, false);
	assert_int_equal(blk_class.capture(&w->blk->dev, &s, &e), 0);
	assert_int_equal(blk_class.fits(&w->blk->dev, &s, &e), 0);
	s.capacity++;
	assert_int_equal(blk_class.fits(&w->blk->dev, &s, &e), -EINVAL);
	assert_non_null(strstr(e.msg, "the guest was promised"));
	s.capacity = UINT64_MAX;
	assert_int_equal(blk_class.fits(&w->blk->dev, &s, &e), -EINVAL);
	s.capacity = 8;
	s.block_bytes = 4096;
	assert_int_equal(blk_class.fits(&w->blk->dev, &s, &e), -EINVAL);
	assert_non_null(strstr(e.msg, "logical_block_size= must be as it was"));
	end(w);
}

/* Heads of chains that never were, from a state of somebody else. */
static void set_aside_by_a_hostile_state(void **state)
{
	struct world *w = begin();

	(void)state;
	blk_class.run_changed(&w->blk->dev, false);
	memset(w->blk->s.aside, 0xff, sizeof(w->blk->s.aside));
	blk_class.run_changed(&w->blk->dev, true);
	for (int i = 0; i < 20; i++)
		loop_run_once(w->f.pci.vm.loop, 1);
	assert_true(virtio_status(&w->f) & VIRTIO_CONFIG_S_NEEDS_RESET);
	drive(w, ~UINT64_C(0));
	assert_int_equal(w->blk->s.aside[0], 0);
	assert_int_equal(request(w, VIRTIO_BLK_T_IN, 0, 512, true), VIRTIO_BLK_S_OK);
	end(w);
}

static void the_cache_of_writes_is_what_the_driver_knows_of(void **state)
{
	struct world *w = begin();
	uint64_t wce = offsetof(struct virtio_blk_config, wce);

	(void)state;
	assert_true(w->blk->s.writeback);
	bus_set(&w->f.pci.vm.mmio, w->f.device + wce, 1, 0);
	assert_false(w->blk->s.writeback);
	assert_int_equal(bus_get(&w->f.pci.vm.mmio, w->f.device + wce, 1), 0);
	assert_int_equal(request(w, VIRTIO_BLK_T_OUT, 0, 512, false), VIRTIO_BLK_S_OK);
	drive(w, ~(F(FLUSH) | F(CONFIG_WCE)));
	assert_false(w->blk->s.writeback);
	drive(w, ~UINT64_C(0));
	assert_true(w->blk->s.writeback);
	end(w);
}

static void a_new_size_is_told_to_the_driver(void **state)
{
	struct world *w = begin();
	struct err e;

	(void)state;
	assert_int_equal(bus_get(&w->f.pci.vm.mmio, w->f.device, 8), IMAGE_BYTES / 512);
	assert_int_equal(disk_resize(&w->disk, 2 * IMAGE_BYTES, &e), 0);
	assert_int_equal(bus_get(&w->f.pci.vm.mmio, w->f.device, 8), 2 * IMAGE_BYTES / 512);
	assert_true(bus_get(&w->f.pci.vm.mmio, w->f.isr, 1) & 2);
	assert_int_equal(request(w, VIRTIO_BLK_T_IN, IMAGE_BYTES / 512, 512, true),
			 VIRTIO_BLK_S_OK);
	end(w);
}

static void options_that_do_not_fit_are_refused(void **state)
{
	static const struct {
		const char *text, *why;
	} bad[] = {
		{ "virtio-blk-pci", "drive property not set" },
		{ "virtio-blk-pci,drive=d1", "there is no drive 'd1'" },
		{ "virtio-blk-pci,drive=d0", "is used by device 'v' already" },
		{ "virtio-blk-pci,drive=d0,logical_block_size=513", "power of two" },
		{ "virtio-blk-pci,drive=d0,logical_block_size=65536", "logical_block_size" },
		{ "virtio-blk-pci,drive=d0,logical_block_size=4096,physical_block_size=512",
		  "not supported" },
		{ "virtio-blk-pci,drive=d0,num-queues=33", "num-queues" },
		{ "virtio-blk-pci,drive=d0,queue-size=100", "power of two" },
		{ "virtio-blk-pci,drive=d0,queue-size=2048", "queue-size" },
		{ "virtio-blk-pci,drive=d0,rerror=enospc", "'enospc' invalid read error action" },
		{ "virtio-blk-pci,drive=d0,serial=123456789012345678901", "20 characters" },
		{ "virtio-blk-pci,drive=d0,addr=1", "slot" },
	};
	struct world *w = begin();
	struct err e;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		if (i == 3) {
			device_remove(&w->blk->dev);
			w->blk = NULL;
		}
		if (i + 1 == ARRAY_SIZE(bad)) {
			assert_int_equal(create(w, "virtio-rng-pci,addr=1", &e), 0);
			w->blk = NULL;
		}
		assert_true(create(w, bad[i].text, &e) < 0);
		if (!strstr(e.msg, bad[i].why))
			fail_msg("%s: %s", bad[i].text, e.msg);
		assert_null(i >= 3 ? w->backend.user : NULL);
	}
	end(w);
}

static void firmware_finds_it_by_its_place(void **state)
{
	struct world *w = begin_with(NULL, "virtio-blk-pci,drive=d0,addr=4.1,bootindex=7");

	(void)state;
	assert_string_equal(w->blk->h.boot.path, "/pci@i0cf8/scsi@4,1/disk@0,0");
	assert_int_equal(w->blk->h.boot.index, 7);
	end(w);
}

static void each_byte_of_the_state_is_described_once(void **state)
{
	struct err e;

	(void)state;
	if (vs_audit(blk_class.state, &e))
		fail_msg("%s", e.msg);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_the_driver_writes_it_reads),
		cmocka_unit_test(any_layout_of_a_request_will_do),
		cmocka_unit_test(bad_ranges_are_errors_of_the_request),
		cmocka_unit_test(zeros_and_discards_have_one_range),
		cmocka_unit_test(the_serial_number_is_told),
		cmocka_unit_test(a_request_without_its_parts_breaks_the_device),
		cmocka_unit_test(a_read_only_disk_is_not_written),
		cmocka_unit_test(errors_of_the_host_are_reported_or_ignored),
		cmocka_unit_test(a_failed_request_is_set_aside_and_done_again),
		cmocka_unit_test(requests_that_follow_one_another_are_one),
		cmocka_unit_test(of_merged_requests_only_those_fail_that_must),
		cmocka_unit_test(nothing_is_taken_while_the_guest_is_stopped),
		cmocka_unit_test(a_state_that_does_not_fit_is_refused),
		cmocka_unit_test(set_aside_by_a_hostile_state),
		cmocka_unit_test(the_cache_of_writes_is_what_the_driver_knows_of),
		cmocka_unit_test(a_new_size_is_told_to_the_driver),
		cmocka_unit_test(options_that_do_not_fit_are_refused),
		cmocka_unit_test(firmware_finds_it_by_its_place),
		cmocka_unit_test(each_byte_of_the_state_is_described_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
