/* SPDX-License-Identifier: MIT */
/* virtio-blk (virtio 1.2, section 5.2): a disk: the device, its configuration and its life. */
#include <errno.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_ids.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "dev/pci/boot_path.h"
#include "dev/virtio/blk.h"
#include "dev/virtio/blk_impl.h"
#include "host/clock.h"
#include "machine/vm.h"

#define BIT(n) (UINT64_C(1) << (n))

enum {
	CONFIG_BYTES = 60, /* up to what write-zeroes needs */
	PCI_CLASS_SCSI = 0x010000,
	QUEUE_SIZE = 256,
	MAX_BLOCK = 32768,
	HEADS = 16,
	SECTORS = 63,
	MAX_CYLINDERS = 16383,
};

/* What -device says. */
struct blk_config {
	struct virtio_config virtio;
	char drive[PROP_STRING_MAX];
	char serial[PROP_STRING_MAX];
	uint64_t num_queues, queue_size, seg_max;
	uint64_t logical_block, physical_block;
	uint8_t write_cache;
	uint8_t rerror, werror; /* enum disk_on_error */
	bool config_wce, discard, write_zeroes, share_rw, merging;
	uint64_t bootindex;
};

static bool has_aside(const void *state)
{
	const struct blk_state *s = state;

	for (size_t i = 0; i < ARRAY_SIZE(s->aside); i++)
		if (s->aside[i])
			return true;
	return false;
}

static const struct vs_field blk_aside_fields[] = {
	VS_ARRAY(struct blk_state, aside),
	VS_END,
};

static const struct vs_desc blk_aside_desc = {
	.name = "virtio-blk/aside",
	.version = 1,
	.min_version = 1,
	.size = sizeof(struct blk_state),
	.fields = blk_aside_fields,
};

static const struct vs_field blk_fields[] = {
	VS_STRUCT(struct blk_state, virtio, &virtio_state_desc),
	VS_FIELD(struct blk_state, capacity),
	VS_FIELD_RANGE(struct blk_state, block_bytes, DISK_SECTOR, MAX_BLOCK),
	VS_FIELD(struct blk_state, writeback),
	VS_BUFFER(struct blk_state, reserved),
	VS_END,
};

static const struct vs_subsection blk_subsections[] = {
	{ &blk_aside_desc, has_aside },
	{ NULL, NULL },
};

static const struct vs_desc blk_desc = {
	.name = "virtio-blk",
	.version = 1,
	.min_version = 1,
	.size = sizeof(struct blk_state),
	.fields = blk_fields,
	.subsections = blk_subsections,
};

static struct blk *to_blk(const struct device *d)
{
	return CONTAINER_OF(d, struct blk, dev);
}

static void fill_config(const struct blk *b, struct virtio_blk_config *c)
{
	uint64_t cylinders = b->s.capacity / (HEADS * SECTORS);
	uint32_t ratio = b->h.physical_block / b->s.block_bytes;

	*c = (struct virtio_blk_config){
		.capacity = b->s.capacity,
		.seg_max = b->h.seg_max,
		.geometry = { .cylinders = (uint16_t)MIN(cylinders, (uint64_t)MAX_CYLINDERS),
			      .heads = HEADS,
			      .sectors = SECTORS },
		.blk_size = b->s.block_bytes,
		.physical_block_exp = (uint8_t)__builtin_ctz(ratio ?: 1),
		.wce = b->s.writeback,
		.num_queues = (uint16_t)b->h.virtio.nr_queues,
		.max_discard_sectors = BLK_MAX_RANGE_SECTORS,
		.max_discard_seg = 1,
		.discard_sector_alignment = b->s.block_bytes / DISK_SECTOR,
		.max_write_zeroes_sectors = BLK_MAX_RANGE_SECTORS,
		.max_write_zeroes_seg = 1,
		.write_zeroes_may_unmap = 1,
	};
}

static void read_config(struct virtio *v, uint32_t offset, void *p, uint32_t size)
{
	struct virtio_blk_config c;

	fill_config(v->opaque, &c);
	memcpy(p, (const uint8_t *)&c + offset, size);
}

static void write_config(struct virtio *v, uint32_t offset, const void *p, uint32_t size)
{
	const uint32_t wce = offsetof(struct virtio_blk_config, wce);
	struct blk *b = v->opaque;

	/* The one byte that can be written. */
	if (offset <= wce && wce < offset + size && virtio_has(v, VIRTIO_BLK_F_CONFIG_WCE))
		b->s.writeback = ((const uint8_t *)p)[wce - offset] & 1;
}

static void driver_ok(struct virtio *v)
{
	struct blk *b = v->opaque;

	/* A driver that knows no cache expects that there is none (section 5.2.6.2). */
	if (!virtio_has(v, VIRTIO_BLK_F_FLUSH) && !virtio_has(v, VIRTIO_BLK_F_CONFIG_WCE))
		b->s.writeback = false;
}

/* Waits for the host, however long that takes: the memory is the guest's again afterwards. */
static void forget_requests(struct virtio *v)
{
	struct blk *b = v->opaque;
	struct err e;

	b->h.resetting = true;
	disk_drain(b->h.disk, UINT64_MAX, &e);
	b->h.resetting = false;
	b->h.filled = b->h.short_of_memory = b->h.retry = 0;
	memset(b->s.aside, 0, sizeof(b->s.aside));
	b->s.writeback = b->h.initial_writeback;
}

static const struct virtio_class blk_virtio = {
	.device_id = VIRTIO_ID_BLOCK,
	.pci_class = PCI_CLASS_SCSI,
	.features = BIT(VIRTIO_BLK_F_SEG_MAX) | BIT(VIRTIO_BLK_F_GEOMETRY) |
		    BIT(VIRTIO_BLK_F_BLK_SIZE) | BIT(VIRTIO_BLK_F_FLUSH) |
		    BIT(VIRTIO_BLK_F_TOPOLOGY) | BIT(VIRTIO_BLK_F_CONFIG_WCE) |
		    BIT(VIRTIO_BLK_F_MQ) | BIT(VIRTIO_BLK_F_DISCARD) |
		    BIT(VIRTIO_BLK_F_WRITE_ZEROES),
	.config_bytes = CONFIG_BYTES,
	.read_config = read_config,
	.write_config = write_config,
	.handle_queue = blk_handle_queue,
	.driver_ok = driver_ok,
	.reset = forget_requests,
};

static uint64_t capacity_of(const struct blk *b)
{
	return b->h.disk->bytes / b->s.block_bytes * (b->s.block_bytes / DISK_SECTOR);
}

static void resized(void *opaque)
{
	struct blk *b = opaque;

	b->s.capacity = capacity_of(b);
	virtio_notify_config(&b->h.virtio);
}

static const struct disk_front blk_front = {
	.batch_done = blk_batch_done,
	.resized = resized,
};

static void blk_reset(struct device *d)
{
	virtio_reset(&to_blk(d)->h.virtio);
}

static int blk_fits(const struct device *d, const void *state, struct err *e)
{
	const struct blk *b = to_blk(d);
	const struct blk_state *s = state;
	uint64_t there = b->h.disk->bytes / DISK_SECTOR;

	if (s->block_bytes != b->s.block_bytes)
		return err_set(e, EINVAL,
			       "the disk of %s has blocks of %u bytes in the state, of %u here: "
			       "logical_block_size= must be as it was",
			       d->path, s->block_bytes, b->s.block_bytes);
	if (s->capacity > there)
		return err_set(e, EINVAL,
			       "the guest was promised %llu bytes, image '%s' has %llu: make it as "
			       "long again (truncate -s) first",
			       (unsigned long long)s->capacity * DISK_SECTOR,
			       b->h.disk->config.path, (unsigned long long)there * DISK_SECTOR);
	return virtio_fits(&b->h.virtio, &s->virtio, e);
}

static int blk_capture(const struct device *d, void *state, struct err *e)
{
	const struct blk *b = to_blk(d);
	int r = virtio_check_idle(&b->h.virtio, e);

	if (!r)
		memcpy(state, &b->s, sizeof(b->s));
	return r;
}

/* Locks that came with the open file are those of the old side too, and stay as they are. */
static int check_inherited_locks(const struct disk *d, bool share_write, struct err *e)
{
	if (d->locks == disk_wanted_locks(d, share_write))
		return 0;
	return err_set(e, EINVAL,
		       "image '%s' is locked in another way: share-rw=, force-share= and locking= "
		       "must be as they were",
		       d->config.path);
}

static int blk_apply(struct device *d, const void *state, struct err *e)
{
	struct blk *b = to_blk(d);

	/* An image that was opened by name is ours from now on. */
	if (!b->h.disk->inherited) {
		int r = disk_lock(b->h.disk, b->h.share_write, e);

		if (r)
			return r;
	}
	memcpy(&b->s, state, sizeof(b->s));
	return 0;
}

static void blk_loaded(struct device *d)
{
	virtio_loaded(&to_blk(d)->h.virtio);
}

static void blk_run_changed(struct device *d, bool running)
{
	struct blk *b = to_blk(d);

	virtio_run_changed(&b->h.virtio, running);
	if (!running)
		return;
	b->h.disk->failed = false;
	blk_retry(b);
}

static int blk_quiesce(struct device *d, uint64_t deadline_ns, struct err *e)
{
	return disk_drain(to_blk(d)->h.disk, deadline_ns, e);
}

/* Also of one that is half made. */
static void free_blk(struct blk *b)
{
	struct err e;

	if (b->h.disk) {
		disk_drain(b->h.disk, UINT64_MAX, &e);
		disk_attach(b->h.disk, NULL, NULL);
	}
	boot_order_del(&b->h.boot);
	virtio_fini(&b->h.virtio);
	if (b->h.backend)
		backend_release(b->h.backend);
	blk_free_requests(b);
	free(b);
}

static void blk_destroy(struct device *d)
{
	struct blk *b = to_blk(d);

	b->h.resetting = true;
	free_blk(b);
}

const struct device_class blk_class = {
	.name = "virtio-blk",
	.state = &blk_desc,
	.state_offset = offsetof(struct blk, s),
	.fits = blk_fits,
	.capture = blk_capture,
	.apply = blk_apply,
	.loaded = blk_loaded,
	.run_changed = blk_run_changed,
	.quiesce = blk_quiesce,
	.reset = blk_reset,
	.destroy = blk_destroy,
};

static int check_block(const char *name, uint64_t n, struct err *e)
{
	if (n & (n - 1) || (n && n < DISK_SECTOR) || n > MAX_BLOCK)
		return err_set(e, EINVAL,
			       "Property virtio-blk-pci.%s doesn't take value %llu; it is a power "
			       "of two from %d to %d",
			       name, (unsigned long long)n, DISK_SECTOR, MAX_BLOCK);
	return 0;
}

/* What follows from the options and the image together. */
static int choose_blocks(struct blk *b, const struct blk_config *c, struct err *e)
{
	const struct disk *d = b->h.disk;
	uint32_t least = MAX(d->logical_block, d->align);
	int r = check_block("logical_block_size", c->logical_block, e);

	if (!r)
		r = check_block("physical_block_size", c->physical_block, e);
	if (r)
		return r;
	b->s.block_bytes = c->logical_block ? (uint32_t)c->logical_block : least;
	b->h.physical_block = c->physical_block ? (uint32_t)c->physical_block
						: MAX(d->physical_block, b->s.block_bytes);
	if (b->s.block_bytes < d->align)
		return err_set(e, EINVAL,
			       "logical_block_size=%u is needed at least, for image '%s' is opened "
			       "with O_DIRECT",
			       d->align, d->config.path);
	if (b->h.physical_block < b->s.block_bytes)
		return err_set(e, EINVAL, "logical_block_size > physical_block_size not supported");
	b->s.capacity = capacity_of(b);
	if (!b->s.capacity)
		return err_set(e, EINVAL, "image '%s' has not even one block of %u bytes",
			       d->config.path, b->s.block_bytes);
	return 0;
}

static int choose(struct blk *b, const struct blk_config *c, struct err *e)
{
	const struct disk_config *d = &b->h.disk->config;
	const char *serial = c->serial[0] ? c->serial : d->serial;

	if (strlen(serial) >= sizeof(b->h.serial))
		return err_set(e, EINVAL, "a serial number has %zu characters at most",
			       sizeof(b->h.serial) - 1);
	snprintf(b->h.serial, sizeof(b->h.serial), "%.20s", serial);
	b->h.rerror = c->rerror ? (enum disk_on_error)c->rerror : d->rerror;
	b->h.werror = c->werror ? (enum disk_on_error)c->werror : d->werror;
	if (b->h.rerror == DISK_ERROR_ENOSPC)
		return err_set(e, EINVAL, "'enospc' invalid read error action");
	if (b->h.rerror == DISK_ERROR_AUTO)
		b->h.rerror = DISK_ERROR_REPORT;
	if (b->h.werror == DISK_ERROR_AUTO)
		b->h.werror = DISK_ERROR_ENOSPC;
	b->h.share_write = c->share_rw;
	b->h.merging = c->merging;
	b->h.initial_writeback =
		c->write_cache == PROP_AUTO ? !d->writethrough : c->write_cache == PROP_ON;
	b->h.seg_max = (uint32_t)c->seg_max ?: (uint32_t)c->queue_size - 2;
	return choose_blocks(b, c, e);
}

static int init_virtio(struct blk *b, struct vm *vm, const struct blk_config *c, struct err *e)
{
	unsigned int queues = c->num_queues ? (unsigned int)c->num_queues
					    : MIN(vm->nr_vcpus, (unsigned int)BLK_MAX_QUEUES);
	uint64_t extra = 0, less = virtio_less(&c->virtio);

	if (b->h.disk->config.read_only)
		extra |= BIT(VIRTIO_BLK_F_RO);
	if (queues == 1)
		less |= BIT(VIRTIO_BLK_F_MQ);
	if (!c->config_wce)
		less |= BIT(VIRTIO_BLK_F_CONFIG_WCE);
	if (!c->discard || b->h.disk->config.read_only)
		less |= BIT(VIRTIO_BLK_F_DISCARD);
	if (!c->write_zeroes || b->h.disk->config.read_only)
		less |= BIT(VIRTIO_BLK_F_WRITE_ZEROES);
	b->h.virtio.opaque = b;
	virtio_configure(&b->h.virtio, &c->virtio);
	return virtio_init(&b->h.virtio, vm, &b->dev, &b->s.virtio, &c->virtio.device, &blk_virtio,
			   queues, (uint32_t)c->queue_size, extra, less, e);
}

static int take_drive(struct blk *b, struct vm *vm, const struct blk_config *c, struct err *e)
{
	int r;

	if (!c->drive[0])
		return err_set(e, EINVAL, "drive property not set");
	r = backend_claim(vm, BACKEND_DRIVE, c->drive, b->dev.id, &b->h.backend, e);
	if (r)
		return r;
	b->h.disk = b->h.backend->object;
	disk_attach(b->h.disk, &blk_front, b);
	return 0;
}

/* Where the guest is another process's, the lock comes with it, or is taken when it is loaded. */
static int lock_image(struct blk *b, const struct vm *vm, struct err *e)
{
	if (vm->foreign && b->h.disk->inherited)
		return check_inherited_locks(b->h.disk, b->h.share_write, e);
	return vm->foreign ? 0 : disk_lock(b->h.disk, b->h.share_write, e);
}

static int blk_create(struct vm *vm, const struct device_config *config, struct device **out,
		      struct err *e)
{
	const struct blk_config *c = (const struct blk_config *)config;
	struct blk *b = calloc(1, sizeof(*b));
	char path[BOOT_PATH_MAX];
	int r;

	if (!b)
		return err_set(e, ENOMEM, "no memory for a virtio-blk device");
	r = take_drive(b, vm, c, e);
	if (!r)
		r = choose(b, c, e);
	if (!r)
		r = lock_image(b, vm, e);
	if (!r)
		r = init_virtio(b, vm, c, e);
	if (!r) {
		pci_boot_path(&b->h.virtio.pci, "scsi", "/disk@0,0", path);
		r = boot_order_add(vm, &b->h.boot, c->bootindex, path, e);
	}
	if (r) {
		free_blk(b);
		return r;
	}
	if (!b->dev.id[0])
		b->h.backend->user = b->dev.path;
	device_add(vm, &b->dev, &blk_class);
	*out = &b->dev;
	return 0;
}

static void blk_get_chosen(const struct device *d, struct device_config *config)
{
	struct blk_config *c = (struct blk_config *)config;
	const struct blk *b = to_blk(d);

	c->num_queues = b->h.virtio.nr_queues;
	c->logical_block = b->s.block_bytes;
	c->physical_block = b->h.physical_block;
}

static const char *const on_error_names[] = {
	[DISK_ERROR_AUTO] = "auto",     [DISK_ERROR_REPORT] = "report",
	[DISK_ERROR_IGNORE] = "ignore", [DISK_ERROR_ENOSPC] = "enospc",
	[DISK_ERROR_STOP] = "stop",     NULL,
};

#define PROP_OF(member) .offset = offsetof(struct blk_config, member)

static const struct prop blk_props[] = {
	VIRTIO_PROPS(struct blk_config),
	{ .name = "drive",
	  .kind = PROP_STRING,
	  PROP_OF(drive),
	  .help = "the drive or node behind it" },
	{ .name = "serial",
	  .kind = PROP_STRING,
	  PROP_OF(serial),
	  .help = "serial number, up to 20 characters" },
	{ .name = "num-queues",
	  .kind = PROP_UINT,
	  PROP_OF(num_queues),
	  .chosen = true,
	  .max = BLK_MAX_QUEUES,
	  .help = "request queues; 0: one for each vCPU" },
	{ .name = "queue-size",
	  .kind = PROP_UINT,
	  PROP_OF(queue_size),
	  .min = 4,
	  .max = VIRTQUEUE_MAX_SIZE,
	  .initial = QUEUE_SIZE,
	  .help = "entries of a queue, a power of two" },
	{ .name = "seg-max",
	  .kind = PROP_UINT,
	  PROP_OF(seg_max),
	  .max = VIRTQUEUE_MAX_SIZE - 2,
	  .help = "pieces of memory of a request; 0: as many as a queue has entries, less 2" },
	{ .name = "logical_block_size",
	  .kind = PROP_SIZE,
	  PROP_OF(logical_block),
	  .chosen = true,
	  .max = MAX_BLOCK,
	  .help = "smallest block, a power of two from 512; 0: as the image demands" },
	{ .name = "physical_block_size",
	  .kind = PROP_SIZE,
	  PROP_OF(physical_block),
	  .chosen = true,
	  .max = MAX_BLOCK,
	  .help = "block that is written at once; 0: as the host's disk has it" },
	{ .name = "write-cache",
	  .kind = PROP_TRISTATE,
	  PROP_OF(write_cache),
	  .help = "the guest sees a cache of writes; auto: as the drive says" },
	{ .name = "config-wce",
	  .kind = PROP_BOOL,
	  PROP_OF(config_wce),
	  .initial = true,
	  .help = "the guest may switch that cache" },
	{ .name = "discard",
	  .kind = PROP_BOOL,
	  PROP_OF(discard),
	  .initial = true,
	  .help = "the guest may discard blocks" },
	{ .name = "write-zeroes",
	  .kind = PROP_BOOL,
	  PROP_OF(write_zeroes),
	  .initial = true,
	  .help = "the guest may ask for zeros" },
	{ .name = "share-rw",
	  .kind = PROP_BOOL,
	  PROP_OF(share_rw),
	  .help = "others may write to the image too" },
	{ .name = "request-merging",
	  .kind = PROP_BOOL,
	  PROP_OF(merging),
	  .initial = true,
	  .help = "requests that follow one another on the disk are carried out as one" },
	{ .name = "bootindex",
	  .kind = PROP_UINT,
	  PROP_OF(bootindex),
	  .max = BOOT_INDEX_NONE,
	  .initial = BOOT_INDEX_NONE,
	  .help = "its place among what firmware starts from" },
	{ .name = "rerror",
	  .kind = PROP_ENUM,
	  PROP_OF(rerror),
	  .values = on_error_names,
	  .help = "what to do if reading fails; auto: as the drive says" },
	{ .name = "werror",
	  .kind = PROP_ENUM,
	  PROP_OF(werror),
	  .values = on_error_names,
	  .help = "what to do if writing fails; auto: as the drive says" },
	{ .name = NULL },
};

static const struct device_class *const blk_classes[] = { &blk_class, NULL };

const struct device_type blk_type = {
	.driver = "virtio-blk-pci",
	.alias = "virtio-blk",
	.bus = "PCI",
	.help = "disk",
	.hotpluggable = true,
	.config_size = sizeof(struct blk_config),
	.props = blk_props,
	.classes = blk_classes,
	.create = blk_create,
	.unplug = pci_request_unplug,
	.get_chosen = blk_get_chosen,
};
