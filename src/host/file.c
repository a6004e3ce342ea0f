/* SPDX-License-Identifier: MIT */
/* Files: images the guest boots from, and the files a state is written to. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/util.h"
#include "host/file.h"

static const char *file_kind(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFDIR:
		return "a directory";
	case S_IFIFO:
		return "a pipe";
	case S_IFSOCK:
		return "a socket";
	case S_IFCHR:
	case S_IFBLK:
		return "a device";
	default:
		return "something else";
	}
}

int file_open_ro(const char *path, int *fd, struct err *e)
{
	AUTO_CLOSE int f = -1;
	struct stat st;

	/* O_NONBLOCK so that opening a FIFO returns; it does not matter to regular files. */
	f = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (f < 0)
		return err_set_errno(e, "Could not open '%s'", path);
	if (fstat(f, &st))
		return err_set_errno(e, "cannot examine '%s'", path);
	if (!S_ISREG(st.st_mode))
		return err_set(e, EINVAL, "cannot use '%s': it is %s, not a regular file", path,
			       file_kind(st.st_mode));
	*fd = take_fd(&f);
	return 0;
}

int file_size(int fd, const char *path, uint64_t *size, struct err *e)
{
	struct stat st;

	if (fstat(fd, &st))
		return err_set_errno(e, "cannot get the size of '%s'", path);
	*size = (uint64_t)st.st_size;
	return 0;
}

int file_read_at(int fd, const char *path, uint64_t offset, void *p, size_t n, struct err *e)
{
	uint8_t *to = p;
	size_t done = 0;

	if (offset > INT64_MAX || n > INT64_MAX - offset)
		return err_set(e, EINVAL, "cannot read '%s' at offset %" PRIu64, path, offset);
	while (done < n) {
		ssize_t r = pread(fd, to + done, n - done, (off_t)(offset + done));

		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return err_set_errno(e,
					     "cannot read %zu bytes at offset %" PRIu64 " of '%s'",
					     n, offset, path);
		if (r == 0)
			return err_set(e, ENODATA,
				       "cannot read %zu bytes at offset %" PRIu64
				       " of '%s': the file ends after %" PRIu64,
				       n, offset, path, offset + done);
		done += (size_t)r;
	}
	return 0;
}

int file_create(const char *path, bool *created, struct err *e)
{
	AUTO_CLOSE int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	int flags;

	*created = fd >= 0;
	if (fd < 0)
		fd = open(path, O_WRONLY | O_CREAT | O_NONBLOCK | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_set_errno(e, "Could not create '%s'", path);
	flags = fcntl(fd, F_GETFL);
	fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
	return take_fd(&fd);
}

int file_check_name(int fd, const char *path, struct err *e)
{
	struct stat st, at;

	if (fstat(fd, &st) < 0 || stat(path, &at) < 0)
		return err_set_errno(e, "cannot find '%s' again", path);
	if (at.st_dev != st.st_dev || at.st_ino != st.st_ino)
		return err_set(e, ESTALE, "'%s' has become another file", path);
	return 0;
}

int file_begin(int fd, const char *path, uint64_t offset, struct err *e)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_set_errno(e, "cannot examine '%s'", path);
	if (S_ISREG(st.st_mode) && ftruncate(fd, (off_t)offset) < 0)
		return err_set_errno(e, "cannot truncate '%s'", path);
	return 0;
}

void file_discard(int fd, const char *path, uint64_t offset, bool created)
{
	struct stat st, at;

	if (fstat(fd, &st) || !S_ISREG(st.st_mode))
		return;
	/* The name may be another file's by now. */
	if (created && !stat(path, &at) && at.st_dev == st.st_dev && at.st_ino == st.st_ino)
		unlink(path);
	else if (ftruncate(fd, (off_t)offset))
		return;
}

int file_open_log(const char *path, struct err *e)
{
	int fd =
		open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0644);

	return fd < 0 ? err_set_errno(e, "cannot open the log '%s'", path) : fd;
}

int file_write_at(int fd, const char *path, uint64_t offset, const void *p, size_t n, struct err *e)
{
	const char *at = p;

	while (n) {
		ssize_t w = pwrite(fd, at, n, (off_t)offset);

		if (w < 0 && errno == EINTR)
			continue;
		if (w <= 0)
			return err_set_errno(e, "cannot write to '%s'", path);
		at += w;
		n -= (size_t)w;
		offset += (uint64_t)w;
	}
	return 0;
}

int file_create_memfd(const char *name, const void *p, size_t n, struct err *e)
{
	AUTO_CLOSE int fd = memfd_create(name, MFD_CLOEXEC);
	int r;

	if (fd < 0)
		return err_set_errno(e, "cannot create memory file '%s'", name);
	r = file_write_at(fd, name, 0, p, n, e);
	return r ? r : take_fd(&fd);
}
