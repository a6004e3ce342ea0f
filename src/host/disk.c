/* SPDX-License-Identifier: MIT */
/* Images of disks: opening, size, alignment and locks. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/util.h"
#include "host/disk.h"

enum {
	MAX_BLOCK = 64 << 10,
	/* Where QEMU's locks lie, and the numbers of the two permissions among its five. */
	LOCK_PERM_BASE = 100,
	LOCK_SHARED_BASE = 200,
	PERM_READ = 0,
	PERM_WRITE = 1,
};

/* A lock is one byte; who has the byte opposite to it stands in the way. */
static const struct lock {
	enum disk_lock_bit bit;
	off_t byte, opposite;
	const char *what;
} locks[] = {
	{ DISK_LOCK_READ, LOCK_PERM_BASE + PERM_READ, LOCK_SHARED_BASE + PERM_READ,
	  "\"consistent read\"" },
	{ DISK_LOCK_WRITE, LOCK_PERM_BASE + PERM_WRITE, LOCK_SHARED_BASE + PERM_WRITE,
	  "\"write\"" },
	{ DISK_LOCK_NO_WRITE, LOCK_SHARED_BASE + PERM_WRITE, LOCK_PERM_BASE + PERM_WRITE,
	  "shared \"write\"" },
};

/* What other formats begin with. */
static const struct magic {
	const char *format;
	unsigned int offset, bytes;
	const char *magic;
} magics[] = {
	{ "qcow2", 0, 4, "QFI\xfb" },
	{ "qed", 0, 4, "QED\0" },
	{ "vmdk", 0, 4, "KDMV" },
	{ "vmdk", 0, 4, "COWD" },
	{ "vhdx", 0, 8, "vhdxfile" },
	{ "vpc", 0, 8, "conectix" },
	{ "vdi", 64, 4, "\x7f\x10\xda\xbe" },
	{ "luks", 0, 6, "LUKS\xba\xbe" },
	{ "parallels", 0, 16, "WithoutFreeSpace" },
	{ "parallels", 0, 16, "WithouFreSpacExt" },
};

static int check_format(const struct disk *d, struct err *e)
{
	/* As O_DIRECT wants it on any device; a short file has less. */
	uint8_t head[4096] __attribute__((aligned(4096)));
	ssize_t n = pread(d->fd, head, sizeof(head), 0);

	for (size_t i = 0; n > 0 && i < ARRAY_SIZE(magics); i++) {
		const struct magic *m = &magics[i];

		if ((size_t)n >= m->offset + m->bytes &&
		    !memcmp(head + m->offset, m->magic, m->bytes))
			return err_set(
				e, EMEDIUMTYPE,
				"image '%s' has the format %s, and only raw ones can be used: "
				"`qemu-img convert -O raw %s NEW` makes one; with format=raw "
				"its bytes are used as they are",
				d->config.path, m->format, d->config.path);
	}
	return 0;
}

static int open_path(struct disk_config *c, struct err *e)
{
	int flags = O_CLOEXEC | O_NONBLOCK | (c->direct ? O_DIRECT : 0);
	int fd = open(c->path, flags | (c->read_only ? O_RDONLY : O_RDWR));

	if (fd < 0 && c->auto_read_only && !c->read_only &&
	    (errno == EACCES || errno == EPERM || errno == EROFS)) {
		c->read_only = true;
		fd = open(c->path, flags | O_RDONLY);
	}
	if (fd < 0 && errno == EISDIR)
		return err_set(e, EISDIR, "image '%s' is a directory", c->path);
	if (fd < 0 && errno == EINVAL && c->direct)
		return err_set(e, EINVAL,
			       "image '%s': its file system has no O_DIRECT, which cache=none and "
			       "cache.direct=on ask for",
			       c->path);
	if (fd < 0)
		return err_set_errno(e, "cannot open image '%s'%s", c->path,
				     c->read_only ? "" : " for reading and writing");
	return fd;
}

static bool is_same(const struct stat *a, const struct stat *b)
{
	if (S_ISBLK(a->st_mode) && S_ISBLK(b->st_mode))
		return a->st_rdev == b->st_rdev;
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* A file somebody else opened: what cannot be changed without changing it for them too. */
static int check_given(struct disk_config *c, int fd, const struct stat *st, struct err *e)
{
	int flags = fcntl(fd, F_GETFL);
	struct stat named;
	bool read_only;

	if (flags < 0)
		return err_set_errno(e, "image '%s': its descriptor cannot be used", c->path);
	read_only = (flags & O_ACCMODE) == O_RDONLY;
	if (c->auto_read_only && read_only)
		c->read_only = true;
	if (read_only != c->read_only)
		return err_set(e, EINVAL, "image '%s' is open %s: read-only=%s must be as it was",
			       c->path, read_only ? "for reading only" : "for writing",
			       read_only ? "on" : "off");
	if (!(flags & O_DIRECT) != !c->direct)
		return err_set(e, EINVAL,
			       "image '%s' is open %s O_DIRECT: cache.direct=%s must be as it was",
			       c->path, flags & O_DIRECT ? "with" : "without",
			       flags & O_DIRECT ? "on" : "off");
	/* The name may be gone meanwhile; it must not be another file's. */
	if (!c->any_name && !stat(c->path, &named) && !is_same(&named, st))
		return err_set(e, EINVAL, "'%s' is another file than the image in use", c->path);
	return 0;
}

static int check_kind(const struct disk_config *c, const struct stat *st, struct err *e)
{
	if (S_ISDIR(st->st_mode))
		return err_set(e, EISDIR, "image '%s' is a directory", c->path);
	if (!S_ISREG(st->st_mode) && !S_ISBLK(st->st_mode))
		return err_set(e, EINVAL, "image '%s' is neither a file nor a block device",
			       c->path);
	if (c->driver == DISK_FILE && !S_ISREG(st->st_mode))
		return err_set(e, EINVAL,
			       "'file' driver requires '%s' to be a regular file; driver "
			       "host_device is for block devices",
			       c->path);
	if (c->driver == DISK_DEVICE && !S_ISBLK(st->st_mode))
		return err_set(e, EINVAL,
			       "'host_device' driver requires '%s' to be a block device; driver "
			       "file is for files",
			       c->path);
	return 0;
}

static int get_bytes(const struct disk *d, uint64_t *out, struct err *e)
{
	struct stat st;

	if (d->is_device) {
		if (ioctl(d->fd, BLKGETSIZE64, out) < 0)
			return err_set_errno(e, "size of '%s'", d->config.path);
		return 0;
	}
	if (fstat(d->fd, &st) < 0)
		return err_set_errno(e, "size of image '%s'", d->config.path);
	*out = (uint64_t)st.st_size;
	return 0;
}

static bool is_block_size(uint32_t n)
{
	return n >= DISK_SECTOR && n <= MAX_BLOCK && !(n & (n - 1));
}

/* What O_DIRECT demands; kernels before 6.1 do not tell, and are asked by trying. */
static void probe_alignment(struct disk *d)
{
	uint8_t buf[2 * 4096] __attribute__((aligned(8192)));

	d->align = d->align_memory = 1;
	if (!d->config.direct)
		return;
#ifdef STATX_DIOALIGN
	struct statx x;

	if (!statx(d->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &x) && x.stx_mask & STATX_DIOALIGN &&
	    x.stx_dio_offset_align) {
		d->align = x.stx_dio_offset_align;
		d->align_memory = x.stx_dio_mem_align ?: d->align;
		return;
	}
#endif
	d->align = d->align_memory = 4096;
	if (d->is_device)
		d->align = d->align_memory = d->logical_block;
	else if (pread(d->fd, buf + DISK_SECTOR, DISK_SECTOR, 0) >= 0)
		d->align = d->align_memory = DISK_SECTOR;
}

static void probe_blocks(struct disk *d)
{
	unsigned int physical = 0;
	int logical = 0;

	d->logical_block = d->physical_block = DISK_SECTOR;
	if (!d->is_device)
		return;
	if (!ioctl(d->fd, BLKSSZGET, &logical) && is_block_size((uint32_t)logical))
		d->logical_block = d->physical_block = (uint32_t)logical;
	if (!ioctl(d->fd, BLKPBSZGET, &physical) && is_block_size(physical))
		d->physical_block = MAX(physical, d->logical_block);
}

/* Fills @d, whose descriptor is open. */
static int look(struct disk *d, bool given, struct err *e)
{
	struct disk_config *c = &d->config;
	struct statfs fs;
	struct stat st;
	uint64_t bytes;
	int r;

	if (fstat(d->fd, &st) < 0)
		return err_set_errno(e, "image '%s'", c->path);
	r = check_kind(c, &st, e);
	if (!r && given)
		r = check_given(c, d->fd, &st, e);
	if (r)
		return r;
	/* Nothing waits where it must not, and a ring would give up early otherwise. */
	if (!given && fcntl(d->fd, F_SETFL, c->direct ? O_DIRECT : 0) < 0)
		return err_set_errno(e, "image '%s'", c->path);
	d->is_device = S_ISBLK(st.st_mode);
	/* It says that it can be asked not to wait for its server, and waits all the same. */
	d->blocks = !fstatfs(d->fd, &fs) && fs.f_type == (__fsword_t)FUSE_SUPER_MAGIC;
	probe_blocks(d);
	probe_alignment(d);
	r = get_bytes(d, &bytes, e);
	if (r)
		return r;
	if (!bytes)
		return err_set(e, EINVAL,
			       "image '%s' is empty; `truncate -s SIZE` makes room in it", c->path);
	if (bytes > INT64_MAX - DISK_SECTOR)
		return err_set(e, EFBIG, "image '%s' is too large", c->path);
	d->bytes = align_up(bytes, DISK_SECTOR);
	return given || c->format_is_known ? 0 : check_format(d, e);
}

static void end_of_batch(void *opaque)
{
	struct disk *d = opaque;

	if (d->front)
		d->front->batch_done(d->opaque);
}

int disk_open(struct disk *d, const struct disk_config *config, int fd, struct uring *u,
	      struct err *e)
{
	bool given = fd >= 0;
	int r;

	*d = (struct disk){ .config = *config, .fd = fd, .inherited = given, .uring = u };
	uring_user_init(&d->user, end_of_batch, d);
	if (!given)
		fd = d->fd = open_path(&d->config, e);
	if (fd < 0) {
		d->fd = -1;
		return fd;
	}
	r = look(d, given, e);
	if (r && !given)
		close(fd);
	if (r)
		d->fd = -1;
	return r;
}

void disk_close(struct disk *d)
{
	close_fd(&d->fd);
}

uint32_t disk_wanted_locks(const struct disk *d, bool share_write)
{
	const struct disk_config *c = &d->config;
	uint32_t bits = DISK_LOCK_READ;

	if (c->locking == DISK_LOCK_OFF)
		return 0;
	if (!c->read_only)
		bits |= DISK_LOCK_WRITE;
	if (!share_write && !c->share)
		bits |= DISK_LOCK_NO_WRITE;
	return bits;
}

static int set_lock(const struct disk *d, const struct lock *l, bool on)
{
	struct flock f = { .l_type = on ? F_RDLCK : F_UNLCK,
			   .l_whence = SEEK_SET,
			   .l_start = l->byte,
			   .l_len = 1 };

	return fcntl(d->fd, F_OFD_SETLK, &f) < 0 ? -errno : 0;
}

/* Whether somebody else has the byte opposite to @l. */
static bool stands_in_the_way(const struct disk *d, const struct lock *l)
{
	struct flock f = {
		.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = l->opposite, .l_len = 1
	};

	return !fcntl(d->fd, F_OFD_GETLK, &f) && f.l_type != F_UNLCK;
}

static void set_locks(struct disk *d, uint32_t bits)
{
	for (size_t i = 0; i < ARRAY_SIZE(locks); i++)
		if ((d->locks ^ bits) & locks[i].bit &&
		    !set_lock(d, &locks[i], bits & locks[i].bit))
			d->locks ^= locks[i].bit;
}

int disk_lock(struct disk *d, bool share_write, struct err *e)
{
	uint32_t before = d->locks, wanted = disk_wanted_locks(d, share_write);
	int r = 0;

	for (size_t i = 0; !r && i < ARRAY_SIZE(locks); i++) {
		if (!(wanted & ~d->locks & locks[i].bit))
			continue;
		r = set_lock(d, &locks[i], true);
		if (!r)
			d->locks |= locks[i].bit;
	}
	if (r) {
		set_locks(d, before);
		if (d->config.locking == DISK_LOCK_AUTO)
			return 0;
		return err_set_code(e, r == -EAGAIN ? EAGAIN : EOPNOTSUPP,
				    "image '%s' cannot be locked, as locking=on demands: %s",
				    d->config.path, strerror(-r));
	}
	for (size_t i = 0; i < ARRAY_SIZE(locks); i++) {
		if (!(wanted & locks[i].bit) || !stands_in_the_way(d, &locks[i]))
			continue;
		set_locks(d, before);
		return err_set(e, EAGAIN,
			       "Failed to get %s lock: is another process using the image [%s]?",
			       locks[i].what, d->config.path);
	}
	set_locks(d, wanted);
	return 0;
}

uint64_t disk_allocated(const struct disk *d)
{
	struct stat st;

	/* In units of 512 bytes, whatever a block is. */
	return fstat(d->fd, &st) < 0 ? 0 : (uint64_t)st.st_blocks * 512;
}

int disk_check_size(const struct disk *d, struct err *e)
{
	uint64_t bytes;
	int r = get_bytes(d, &bytes, e);

	if (!r && align_up(bytes, DISK_SECTOR) < d->bytes)
		r = err_set(e, ENODATA,
			    "image '%s' has %llu bytes, and the guest was promised %llu: make it "
			    "as long again (truncate -s) first",
			    d->config.path, (unsigned long long)bytes,
			    (unsigned long long)d->bytes);
	return r;
}

int disk_resize(struct disk *d, uint64_t bytes, struct err *e)
{
	uint64_t there;
	int r;

	if (d->config.read_only)
		return err_set(e, EACCES, "image '%s' is read-only", d->config.path);
	if (!bytes || bytes % DISK_SECTOR || bytes > INT64_MAX)
		return err_set(e, EINVAL, "a size has to be a multiple of %d bytes, and not 0",
			       DISK_SECTOR);
	if (!d->is_device && ftruncate(d->fd, (off_t)bytes) < 0)
		return err_set_errno(e, "cannot resize image '%s'", d->config.path);
	r = get_bytes(d, &there, e);
	if (!r && there < bytes)
		r = err_set(e, EINVAL, "device '%s' has %llu bytes and cannot be made longer",
			    d->config.path, (unsigned long long)there);
	if (!r) {
		d->bytes = bytes;
		if (d->front)
			d->front->resized(d->opaque);
	}
	return r;
}
