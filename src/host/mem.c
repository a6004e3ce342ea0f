/* SPDX-License-Identifier: MIT */
/* Memory of the host: shared memory objects, files and their mappings. */
#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/util.h"
#include "host/mem.h"

int mem_create_memfd(const char *name, uint64_t size, struct err *e)
{
	AUTO_CLOSE int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0)
		return err_set_errno(e, "cannot create shared memory '%s'", name);
	if (ftruncate(fd, (off_t)size) < 0)
		return err_set_errno(e, "cannot give shared memory '%s' %llu bytes", name,
				     (unsigned long long)size);
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return err_set_errno(e, "cannot seal shared memory '%s'", name);
	return take_fd(&fd);
}

int mem_open_file(const char *path, uint64_t size, struct err *e)
{
	AUTO_CLOSE int fd = open(path, O_RDWR | O_CLOEXEC | O_CREAT, 0600);
	struct stat st;

	if (fd < 0 && errno == EISDIR)
		fd = open(path, O_RDWR | O_CLOEXEC | O_TMPFILE, 0600);
	if (fd < 0)
		return err_set_errno(e, "can't open backing store %s for guest RAM", path);
	if (fstat(fd, &st) < 0)
		return err_set_errno(e, "cannot examine %s", path);
	if (S_ISREG(st.st_mode) && st.st_size == 0 && ftruncate(fd, (off_t)size) < 0)
		return err_set_errno(e, "cannot give %s %llu bytes", path,
				     (unsigned long long)size);
	if (S_ISREG(st.st_mode) && st.st_size > 0 && (uint64_t)st.st_size < size)
		return err_set(e, EINVAL,
			       "backing store %s has %lld bytes, the memory backend wants %llu",
			       path, (long long)st.st_size, (unsigned long long)size);
	return take_fd(&fd);
}

int mem_check_size(int fd, uint64_t size, const char *what, struct err *e)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_set_errno(e, "cannot examine the memory of '%s'", what);
	if (S_ISREG(st.st_mode) && (uint64_t)st.st_size < size)
		return err_set(e, EINVAL, "the memory of '%s' has %lld bytes, %llu are needed",
			       what, (long long)st.st_size, (unsigned long long)size);
	return 0;
}

int mem_map(int fd, uint64_t size, bool share, void **out, struct err *e)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       (share ? MAP_SHARED : MAP_PRIVATE) | MAP_NORESERVE, fd, 0);

	if (p == MAP_FAILED)
		return err_set_errno(e, "cannot map %llu bytes of memory",
				     (unsigned long long)size);
	/* Guest memory has no place in our core dumps or child processes. */
	madvise(p, size, MADV_DONTDUMP);
	madvise(p, size, MADV_DONTFORK);
	*out = p;
	return 0;
}

void mem_unmap(void *p, uint64_t size)
{
	munmap(p, size);
}

uint64_t mem_next_data(int fd, uint64_t size, uint64_t offset, uint64_t *end)
{
	off_t data = lseek(fd, (off_t)offset, SEEK_DATA), hole;

	if (data < 0 && errno == ENXIO) {
		*end = size;
		return size;
	}
	/* A file system that does not know: it may be anywhere. */
	hole = data < 0 ? -1 : lseek(fd, data, SEEK_HOLE);
	if (hole < 0) {
		*end = size;
		return offset;
	}
	*end = MIN((uint64_t)hole, size);
	return MIN((uint64_t)data, size);
}

bool mem_is_at(int fd, const char *path)
{
	struct stat a, b;

	return !fstat(fd, &a) && !stat(path, &b) && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

uint64_t mem_guest_max(void)
{
	unsigned int eax = 0, ebx, ecx, edx, bits = 36;

	if (__get_cpuid(0x80000008, &eax, &ebx, &ecx, &edx) && (eax & 0xff) >= 36)
		bits = eax & 0xff;
	/* Half of the 47 bits of user space is left for everything else. */
	return UINT64_C(1) << MIN(bits - 1, 46u);
}
