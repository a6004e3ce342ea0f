/* SPDX-License-Identifier: MIT */
/* Writes files and blocks, syncs them, and reads them back from the disk. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lab/guest-load/load.h"
#include "lab/guest-load/stream.h"

enum {
	FILE_MAX = 192 << 10,
	FILE_STEP = 16 << 10, /* largest piece of one write */
	TRIM_EVERY = 40,      /* files */
	DIRECT_BATCH = 8,
	PATH_BYTES = 256,
};

static const uint64_t file_magic = 0x626174b0f11e0001, block_magic = 0x626174b0b10c0001;

/* At the head of each file and each block. */
struct mark {
	uint64_t magic;
	uint32_t place, generation;
	uint64_t length; /* of all, this included */
	uint64_t seed;   /* of what follows */
};

static int write_all(int fd, const char *buf, size_t len)
{
	while (len) {
		size_t piece = 512 + stream_word(len, 7) % FILE_STEP;
		ssize_t n = write(fd, buf, piece < len ? piece : len);

		if (n < 0)
			return -errno;
		buf += n;
		len -= (size_t)n;
	}
	return 0;
}

static uint64_t sum_of(const struct mark *m)
{
	return stream_word(m->magic ^ m->place, m->generation);
}

/* True if what is in the buffer is what its mark says. */
static bool mark_holds(const char *buf, size_t len, uint64_t magic, uint32_t place, struct mark *m)
{
	uint64_t at;

	if (len < sizeof(*m))
		return false;
	memcpy(m, buf, sizeof(*m));
	return m->magic == magic && m->place == place && m->length == len &&
	       stream_check(buf + sizeof(*m), len - sizeof(*m), m->seed, 0, &at);
}

/* The whole file, from the disk if @cold; its length or -errno. */
static ssize_t read_file(const char *path, char *buf, size_t size, bool cold)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t len = 0;
	ssize_t n = 0;

	if (fd < 0)
		return -errno;
	if (cold)
		posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	while (len < size && (n = read(fd, buf + len, size - len)) > 0)
		len += (size_t)n;
	n = n < 0 ? -errno : (ssize_t)len;
	close(fd);
	return n;
}

static void slot_path(char path[PATH_BYTES], const char *dir, int slot, const char *suffix)
{
	snprintf(path, PATH_BYTES, "%s/file.%d%s", dir, slot, suffix);
}

/* Write a new file beside the old one, sync it, and put it in the old one's place. */
static int replace_file(struct load *l, int slot, uint32_t generation, char *buf)
{
	char path[PATH_BYTES], fresh[PATH_BYTES];
	struct mark m = {
		.magic = file_magic,
		.place = (uint32_t)slot,
		.generation = generation,
		.seed = stream_word(l->boot_seed, generation) ^ (uint64_t)slot,
	};
	int fd, dir, r;

	m.length = sizeof(m) + m.seed % (FILE_MAX - sizeof(m));
	memcpy(buf, &m, sizeof(m));
	stream_fill(buf + sizeof(m), m.length - sizeof(m), m.seed, 0);
	slot_path(path, l->dir, slot, "");
	slot_path(fresh, l->dir, slot, ".new");
	fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	r = write_all(fd, buf, m.length);
	if (r == 0 && fsync(fd) < 0)
		r = -errno;
	close(fd);
	if (r == 0 && rename(fresh, path) < 0)
		r = -errno;
	dir = open(l->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (r == 0 && fsync(dir) < 0)
		r = -errno;
	close(dir);
	if (r == 0)
		l->written += m.length;
	return r;
}

static void verify_file(struct load *l, int slot, char *buf)
{
	char path[PATH_BYTES];
	uint32_t generation = l->generation[slot];
	struct mark m;
	ssize_t n;

	if (!generation)
		return;
	slot_path(path, l->dir, slot, "");
	n = read_file(path, buf, FILE_MAX, true);
	if (n < 0)
		load_bad(l, "cannot read %s: %s", path, strerror((int)-n));
	else if (!mark_holds(buf, (size_t)n, file_magic, (uint32_t)slot, &m))
		load_bad(l, "%s is damaged", path);
	else if (m.generation != generation)
		load_bad(l, "%s is of generation %u, not %u", path, m.generation, generation);
	else
		l->verified += (uint64_t)n;
}

/* Have the file system discard what it does not use. */
static void trim(struct load *l)
{
	struct fstrim_range range = { .len = UINT64_MAX };
	int fd = open(l->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd >= 0 && ioctl(fd, FITRIM, &range) == 0)
		l->trims++;
	else if (errno != EOPNOTSUPP)
		load_bad(l, "cannot discard free space: %s", strerror(errno));
	if (fd >= 0)
		close(fd);
}

void *load_files_main(void *arg)
{
	struct load *l = arg;
	char *buf = malloc(FILE_MAX);

	for (uint32_t turn = 0; buf && !l->stop; turn++) {
		int slot = (int)(turn % LOAD_SLOTS), r;
		uint32_t generation = turn / LOAD_SLOTS + 1;

		r = replace_file(l, slot, generation, buf);
		if (r < 0) {
			load_bad(l, "cannot write file %d: %s", slot, strerror(-r));
			load_nap(1000000);
			continue;
		}
		l->generation[slot] = generation;
		verify_file(l, slot, buf);
		verify_file(l, (int)(stream_word(l->boot_seed, turn) % LOAD_SLOTS), buf);
		l->rounds++;
		if (turn % TRIM_EVERY == TRIM_EVERY - 1)
			trim(l);
	}
	free(buf);
	return NULL;
}

static void make_block(struct load *l, char *buf, uint32_t place, uint32_t generation)
{
	struct mark m = {
		.magic = block_magic,
		.place = place,
		.generation = generation,
		.length = LOAD_BLOCK,
		.seed = stream_word(l->boot_seed ^ place, generation),
	};

	memcpy(buf, &m, sizeof(m));
	stream_fill(buf + sizeof(m), LOAD_BLOCK - sizeof(m), m.seed, 0);
}

/* Rewrite a block and read another; -errno of the disk. */
static int direct_step(struct load *l, int fd, char *buf, uint64_t turn, uint32_t blocks,
		       _Atomic uint32_t *generation)
{
	uint32_t place = (uint32_t)(stream_word(turn, 1) % blocks);
	struct mark m;

	make_block(l, buf, place, generation[place] + 1);
	if (pwrite(fd, buf, LOAD_BLOCK, (off_t)place * LOAD_BLOCK) != LOAD_BLOCK)
		return errno ? -errno : -EIO;
	generation[place]++;
	l->written += LOAD_BLOCK;
	if (turn % DIRECT_BATCH == 0 && fdatasync(fd) < 0)
		return -errno;
	place = (uint32_t)(stream_word(turn, 2) % blocks);
	if (!generation[place])
		return 0;
	if (pread(fd, buf, LOAD_BLOCK, (off_t)place * LOAD_BLOCK) != LOAD_BLOCK)
		return errno ? -errno : -EIO;
	if (!mark_holds(buf, LOAD_BLOCK, block_magic, place, &m) ||
	    m.generation != generation[place])
		load_bad(l, "block %u is not as it was written", place);
	l->verified += LOAD_BLOCK;
	return 0;
}

void *load_direct_main(void *arg)
{
	struct load *l = arg;
	char path[PATH_BYTES], *buf = aligned_alloc(LOAD_BLOCK, LOAD_BLOCK);
	int fd, r = 0;

	snprintf(path, sizeof(path), "%s/blocks", l->dir);
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_DIRECT | O_CLOEXEC, 0600);
	if (fd < 0 || !buf || posix_fallocate(fd, 0, (off_t)LOAD_BLOCKS * LOAD_BLOCK)) {
		load_bad(l, "cannot make %s: %s", path, strerror(errno));
		return NULL;
	}
	for (uint64_t turn = 0; !l->stop && r == 0; turn++) {
		r = direct_step(l, fd, buf, turn, LOAD_BLOCKS, l->block_generation);
		l->rounds++;
		load_nap(1000);
	}
	if (r == 0 && fsync(fd) < 0)
		r = -errno;
	if (r < 0)
		load_bad(l, "%s: %s", path, strerror(-r));
	close(fd);
	free(buf);
	return NULL;
}

/* Use a second disk while it is there. That it goes is no fault, what it returns can be. */
static void use_hot(struct load *l, int fd, char *buf)
{
	_Atomic uint32_t generation[LOAD_HOT_BLOCKS] = { 0 };
	uint64_t turn = 0;
	int r = 0;

	l->hot_disks++;
	while (!l->stop && r == 0 && access("/sys/block/vdb", F_OK) == 0) {
		r = direct_step(l, fd, buf, turn++, LOAD_HOT_BLOCKS, generation);
		if (r == 0)
			l->hot_blocks++;
		load_nap(2000);
	}
	if (r < 0 && access("/sys/block/vdb", F_OK) == 0)
		load_nap(500000);
	if (r < 0 && access("/sys/block/vdb", F_OK) == 0)
		load_bad(l, "/dev/vdb: %s", strerror(-r));
}

void *load_hot_main(void *arg)
{
	struct load *l = arg;
	char *buf = aligned_alloc(LOAD_BLOCK, LOAD_BLOCK);

	while (buf && !l->stop) {
		int fd = -1;

		/* The kernel warns of a node without its device. */
		if (access("/sys/block/vdb", F_OK) == 0)
			fd = open("/dev/vdb", O_RDWR | O_DIRECT | O_CLOEXEC);
		if (fd >= 0) {
			use_hot(l, fd, buf);
			close(fd);
		}
		load_nap(100000);
	}
	free(buf);
	return NULL;
}

uint64_t load_check_all(const char *dir, uint64_t *files, uint64_t *bad)
{
	char path[PATH_BYTES], *buf = malloc(FILE_MAX);
	uint64_t sum = 0;
	struct mark m;
	int fd;

	*files = *bad = 0;
	for (int slot = 0; buf && slot < LOAD_SLOTS; slot++) {
		ssize_t n;

		slot_path(path, dir, slot, "");
		n = read_file(path, buf, FILE_MAX, true);
		if (n == -ENOENT)
			continue;
		(*files)++;
		if (n < 0 || !mark_holds(buf, (size_t)n, file_magic, (uint32_t)slot, &m))
			(*bad)++;
		else
			sum += sum_of(&m);
	}
	snprintf(path, sizeof(path), "%s/blocks", dir);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0)
		posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	for (uint32_t i = 0; buf && fd >= 0 && i < LOAD_BLOCKS; i++) {
		if (pread(fd, buf, LOAD_BLOCK, (off_t)i * LOAD_BLOCK) != LOAD_BLOCK)
			(*bad)++;
		else if (!mark_holds(buf, LOAD_BLOCK, block_magic, i, &m))
			*bad += m.magic != 0;
		else
			sum += sum_of(&m);
	}
	if (fd >= 0)
		close(fd);
	*files += fd >= 0;
	free(buf);
	return sum;
}
