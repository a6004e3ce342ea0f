/* SPDX-License-Identifier: MIT */
/* Memory of the host: shared memory objects, files and their mappings. */
#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/memfd.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/util.h"
#include "host/mem.h"

#define SMALL_PAGE UINT64_C(4096)

/* Newer than the C library's headers of Debian 12. */
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

int mem_create_memfd_with(const char *name, uint64_t size, bool seal, bool hugetlb,
			  uint64_t page_size, struct err *e)
{
	unsigned int flags = MFD_CLOEXEC | (seal ? MFD_ALLOW_SEALING : 0);
	AUTO_CLOSE int fd = -1;

	if (page_size & (page_size - 1))
		return err_set(e, EINVAL, "huge pages of %llu bytes: the size is no power of 2",
			       (unsigned long long)page_size);
	if (hugetlb)
		flags |= MFD_HUGETLB;
	if (hugetlb && page_size)
		flags |= (unsigned int)__builtin_ctzll(page_size) << MFD_HUGE_SHIFT;
	fd = memfd_create(name, flags);
	if (fd < 0 && hugetlb && page_size && (errno == ENODEV || errno == EINVAL))
		return err_set(e, ENODEV, "this host has no huge pages of %llu bytes",
			       (unsigned long long)page_size);
	if (fd < 0)
		return err_set_errno(e, "cannot create shared memory '%s'", name);
	if (hugetlb && size % mem_page_size(fd))
		return err_set(e, EINVAL,
			       "memory size 0x%llx must be a multiple of the page size 0x%llx",
			       (unsigned long long)size, (unsigned long long)mem_page_size(fd));
	if (ftruncate(fd, (off_t)size) < 0)
		return err_set_errno(e, "cannot give shared memory '%s' %llu bytes", name,
				     (unsigned long long)size);
	if (seal && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return err_set_errno(e, "cannot seal shared memory '%s'", name);
	return take_fd(&fd);
}

int mem_create_memfd(const char *name, uint64_t size, struct err *e)
{
	return mem_create_memfd_with(name, size, true, false, 0, e);
}

int mem_create_shm(uint64_t size, struct err *e)
{
	AUTO_CLOSE int fd = -1;
	uint64_t number;
	char name[48];

	if (getrandom(&number, sizeof(number), 0) != sizeof(number))
		return err_set_errno(e, "cannot choose a name for shared memory");
	snprintf(name, sizeof(name), "/baton-%d-%016llx", getpid(), (unsigned long long)number);
	fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_set_errno(e, "cannot create POSIX shared memory");
	shm_unlink(name);
	if (ftruncate(fd, (off_t)size) < 0)
		return err_set_errno(e, "cannot give POSIX shared memory %llu bytes",
				     (unsigned long long)size);
	return take_fd(&fd);
}

/* A file without a name in directory @path, for file systems without O_TMPFILE too. */
static int open_unlinked(const char *path)
{
	char name[4200];
	int fd = open(path, O_RDWR | O_CLOEXEC | O_TMPFILE, 0600);

	if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL))
		return fd;
	snprintf(name, sizeof(name), "%s/baton-ram.XXXXXX", path);
	fd = mkostemp(name, O_CLOEXEC);
	if (fd >= 0)
		unlink(name);
	return fd;
}

static int open_path(const char *path, bool readonly, bool *created)
{
	int fd = open(path, (readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC);

	*created = false;
	if (fd < 0 && errno == EISDIR)
		return open_unlinked(path);
	if (fd >= 0 || errno != ENOENT || readonly)
		return fd;
	fd = open(path, O_RDWR | O_CLOEXEC | O_CREAT | O_EXCL, 0600);
	*created = fd >= 0;
	return fd;
}

static int size_file(int fd, const char *path, uint64_t size, bool readonly, struct err *e)
{
	uint64_t page = mem_page_size(fd);
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_set_errno(e, "cannot examine %s", path);
	if (S_ISDIR(st.st_mode))
		return err_set(e, EISDIR, "%s is a directory, which cannot be read-only memory",
			       path);
	if (!S_ISREG(st.st_mode))
		return err_set(e, EINVAL, "%s is no regular file", path);
	if (page > SMALL_PAGE && size % page)
		return err_set(
			e, EINVAL,
			"memory size 0x%llx must be a multiple of the page size 0x%llx of %s",
			(unsigned long long)size, (unsigned long long)page, path);
	if (st.st_size == 0 && !readonly) {
		if (ftruncate(fd, (off_t)size) < 0)
			return err_set_errno(e, "cannot give %s %llu bytes", path,
					     (unsigned long long)size);
		return 0;
	}
	if ((uint64_t)st.st_size < size)
		return err_set(
			e, EINVAL,
			"backing store size 0x%llx of %s does not match 'size' option 0x%llx",
			(unsigned long long)st.st_size, path, (unsigned long long)size);
	return 0;
}

int mem_open_file(const char *path, uint64_t size, bool readonly, bool *created, struct err *e)
{
	AUTO_CLOSE int fd = -1;
	bool made;
	int r;

	fd = open_path(path, readonly, &made);
	if (fd < 0)
		return err_set_errno(e, "can't open backing store %s for guest RAM", path);
	r = size_file(fd, path, size, readonly, e);
	if (r && made)
		unlink(path);
	if (r)
		return r;
	*created = made;
	return take_fd(&fd);
}

bool mem_is_file(int fd, const char *path)
{
	struct stat a, b;

	return path[0] && !fstat(fd, &a) && !stat(path, &b) && a.st_dev == b.st_dev &&
	       a.st_ino == b.st_ino;
}

uint64_t mem_page_size(int fd)
{
	struct statfs fs;

	if (fd >= 0 && !fstatfs(fd, &fs) && fs.f_type == HUGETLBFS_MAGIC)
		return (uint64_t)fs.f_bsize;
	return SMALL_PAGE;
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

/* An address range of @m->size bytes, aligned, that nothing else can take meanwhile. */
static void *reserve_addresses(const struct mem_mapping *m)
{
	uint64_t align = MAX(m->align, SMALL_PAGE);
	uint8_t *p = mmap(NULL, m->size + align, PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	uint64_t before, after;

	if (p == MAP_FAILED)
		return p;
	before = align_up((uintptr_t)p, align) - (uintptr_t)p;
	after = align - before;
	if (before)
		munmap(p, before);
	if (after)
		munmap(p + before + m->size, after);
	return p + before;
}

int mem_map_ram(const struct mem_mapping *m, void **out, struct err *e)
{
	int flags = MAP_FIXED | (m->share ? MAP_SHARED : MAP_PRIVATE) |
		    (m->reserve ? 0 : MAP_NORESERVE) | (m->fd < 0 ? MAP_ANONYMOUS : 0);
	uint64_t page = mem_page_size(m->fd);
	void *p = reserve_addresses(m), *at = p;

	if (p != MAP_FAILED)
		p = mmap(at, m->size, PROT_READ | (m->readonly ? 0 : PROT_WRITE), flags, m->fd,
			 (off_t)m->offset);
	if (p == MAP_FAILED) {
		err_set_errno(e, "cannot map %llu bytes of memory", (unsigned long long)m->size);
		if (at != MAP_FAILED)
			munmap(at, m->size);
		if (e->code == ENOMEM && page > SMALL_PAGE)
			err_set(e, ENOMEM,
				"the host has not %llu huge pages of %llu kB free; "
				"/sys/kernel/mm/hugepages has their number",
				(unsigned long long)(m->size / page),
				(unsigned long long)(page / KIB));
		return -e->code;
	}
	madvise(p, m->size, m->dump ? MADV_DODUMP : MADV_DONTDUMP);
	/* Guest memory has no place in our child processes. */
	madvise(p, m->size, MADV_DONTFORK);
	if (m->huge)
		madvise(p, m->size, MADV_HUGEPAGE);
	if (m->merge)
		madvise(p, m->size, MADV_MERGEABLE);
	*out = p;
	return 0;
}

int mem_populate(void *p, uint64_t size, struct err *e)
{
	if (!madvise(p, size, MADV_POPULATE_WRITE))
		return 0;
	switch (errno) {
	case ENOMEM:
		return err_set(e, ENOMEM,
			       "prealloc: the host has not enough memory for all %llu bytes",
			       (unsigned long long)size);
	case EFAULT:
		return err_set(
			e, EFAULT,
			"prealloc: touching the memory would raise SIGBUS: its file system or "
			"the host's pool of huge pages has not %llu bytes",
			(unsigned long long)size);
	case EHWPOISON:
		return err_set(e, EHWPOISON, "prealloc: the host's memory has a hardware error");
	case EINVAL:
		return err_set(e, ENOTSUP,
			       "prealloc: the host's kernel cannot populate memory "
			       "(Linux 5.14 or later can)");
	default:
		return err_set_errno(e, "prealloc: cannot populate %llu bytes of memory",
				     (unsigned long long)size);
	}
}

/*
 * For reading: the kernel then maps 16 pages that are there with one fault, as writable as
 * the mapping is. For writing it takes them one by one, four times as long.
 */
static int map_range(uint8_t *p, uint64_t size, struct err *e)
{
	if (madvise(p, size, MADV_POPULATE_READ))
		return err_set_errno(e, "cannot map %llu bytes of memory in advance",
				     (unsigned long long)size);
	return 0;
}

int mem_map_present(int fd, void *p, uint64_t size, struct err *e)
{
	unsigned char in_memory[512];
	uint8_t *at = p, *end = at + size;
	int r = 0;

	/* Huge pages are always in memory, and of them mincore() tells what is mapped. */
	if (mem_page_size(fd) > SMALL_PAGE)
		return map_range(p, size, e);
	while (at < end && !r) {
		size_t n = MIN((size_t)(end - at) / SMALL_PAGE, sizeof(in_memory));

		if (mincore(at, n * SMALL_PAGE, in_memory))
			return err_set_errno(e, "cannot find out what of the RAM is in memory");
		for (size_t i = 0, run; i < n && !r; i += run) {
			for (run = 1; i + run < n && !((in_memory[i] ^ in_memory[i + run]) & 1);)
				run++;
			if (in_memory[i] & 1)
				r = map_range(at + i * SMALL_PAGE, run * SMALL_PAGE, e);
		}
		at += n * SMALL_PAGE;
	}
	return r;
}

bool mem_is_tmpfs(int fd)
{
	struct statfs fs;

	return !fstatfs(fd, &fs) && fs.f_type == TMPFS_MAGIC;
}

/*
 * Linux can do it from 6.1 on. This was tested on 6.18; in the lab, whose kernel is 6.1, a guest took a
 * triple fault while its RAM was gathered, which QEMU's TCG, as the lab used it then, may have caused by
 * itself.
 */
static bool kernel_is_trusted_to_gather(void)
{
	unsigned int major = 0, minor = 0;
	struct utsname u;

	return !uname(&u) && sscanf(u.release, "%u.%u", &major, &minor) == 2 &&
	       (major > 6 || (major == 6 && minor >= 12));
}

bool mem_may_make_huge(void)
{
	char text[128] = "";
	int fd = open("/sys/kernel/mm/transparent_hugepage/enabled", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	if (fd >= 0)
		close(fd);
	return n > 0 && !strstr(text, "[never]") && kernel_is_trusted_to_gather();
}

int mem_make_huge(void *p, struct err *e)
{
	unsigned char in_memory[MEM_HUGE_PAGE / SMALL_PAGE];

	if (mincore(p, MEM_HUGE_PAGE, in_memory))
		return err_set_errno(e, "cannot find out what of the RAM is in memory");
	for (size_t i = 0; i < sizeof(in_memory); i++)
		if (!(in_memory[i] & 1))
			return err_set(e, ENODATA, "some of the memory is not there");
	if (madvise(p, MEM_HUGE_PAGE, MADV_COLLAPSE))
		return err_set_errno(e, "cannot gather memory into a huge page");
	return 0;
}

int mem_discard(void *p, uint64_t size, struct err *e)
{
	if (madvise(p, size, MADV_REMOVE))
		return err_set_errno(e, "cannot discard %llu bytes of memory",
				     (unsigned long long)size);
	return 0;
}

void mem_unmap(void *p, uint64_t size)
{
	munmap(p, size);
}

static int set_lock(int fd, short type, uint64_t offset, uint64_t size)
{
	struct flock lock = {
		.l_type = type,
		.l_whence = SEEK_SET,
		.l_start = (off_t)offset,
		.l_len = (off_t)size,
	};

	return fcntl(fd, F_OFD_SETLK, &lock);
}

int mem_lock(int fd, uint64_t offset, uint64_t size, struct err *e)
{
	struct stat st;

	if (fstat(fd, &st) || !S_ISREG(st.st_mode) || !set_lock(fd, F_WRLCK, offset, size))
		return 0;
	if (errno == EAGAIN || errno == EACCES)
		return err_set(e, EBUSY, "another machine uses this memory");
	/* A file system without locks protects nothing, but works. */
	return errno == EINVAL || errno == ENOLCK || errno == EBADF
		       ? 0
		       : err_set_errno(e, "the memory cannot be locked");
}

void mem_unlock(int fd, uint64_t offset, uint64_t size)
{
	set_lock(fd, F_UNLCK, offset, size);
}

uint64_t mem_stamp(int fd)
{
	struct stat st;

	if (fstat(fd, &st))
		return 0;
	return (uint64_t)st.st_mtim.tv_sec * 1000000000 + (uint64_t)st.st_mtim.tv_nsec;
}

void mem_touch(int fd)
{
	/* Fails on a file system that keeps no times, where nobody can look either. */
	futimens(fd, NULL);
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

bool mem_has_data(int fd, uint64_t offset, uint64_t n)
{
	off_t data = lseek(fd, (off_t)offset, SEEK_DATA);

	return data < 0 ? errno != ENXIO : (uint64_t)data < offset + n;
}

uint64_t mem_guest_max(void)
{
	unsigned int eax = 0, ebx, ecx, edx, bits = 36;

	if (__get_cpuid(0x80000008, &eax, &ebx, &ecx, &edx) && (eax & 0xff) >= 36)
		bits = eax & 0xff;
	/* Half of the 47 bits of user space is left for everything else. */
	return UINT64_C(1) << MIN(bits - 1, 46u);
}
