/* SPDX-License-Identifier: MIT */
/* What this process has mapped and open, as the kernel lists it. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/util.h"
#include "host/maps.h"

enum {
	NAME_FIELD = 5, /* of a line of /proc/PID/maps, from 0 */
};

static int add_range(struct map_list *l, uint64_t start, uint64_t end, struct err *e)
{
	if (l->nr && l->ranges[l->nr - 1].end == start) {
		l->ranges[l->nr - 1].end = end;
		return 0;
	}
	if (l->nr == l->cap)
		return err_set(e, E2BIG, "this process has more than %zu mappings", l->cap);
	l->ranges[l->nr++] = (struct map_range){ .start = start, .end = end };
	return 0;
}

int proc_lists_open(struct proc_lists *p, struct err *e)
{
	AUTO_CLOSE int maps = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	AUTO_CLOSE int fds = -1;

	if (maps < 0)
		return err_set_errno(e, "cannot open /proc/self/maps");
	fds = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fds < 0)
		return err_set_errno(e, "cannot open /proc/self/fd");
	*p = (struct proc_lists){ .maps = take_fd(&maps), .fds = take_fd(&fds) };
	return 0;
}

void proc_lists_close(struct proc_lists *p)
{
	close_fd(&p->maps);
	close_fd(&p->fds);
}

/* Returns the length; the text is NUL-terminated. */
static ssize_t read_text(int fd, char *text, size_t size, struct err *e)
{
	size_t len = 0;
	ssize_t n = 1;

	if (lseek(fd, 0, SEEK_SET))
		return err_set_errno(e, "cannot read /proc/self/maps");
	while (n > 0 && len < size - 1) {
		n = read(fd, text + len, size - 1 - len);
		if (n < 0)
			return err_set_errno(e, "cannot read /proc/self/maps");
		len += (size_t)n;
	}
	if (n > 0)
		return err_set(e, E2BIG, "this process has too many mappings");
	text[len] = '\0';
	return (ssize_t)len;
}

/* What the process has, whichever program it runs. */
static bool is_process_own(const char *line)
{
	/*
	 * The last is memory that is shared and has no file, which no image has of its own: KVM
	 * maps a page of it on a processor that virtualizes the local APIC's accesses, or three
	 * for real mode, and the guest needs it as long as the VM lives.
	 */
	static const char *const own[] = { "[stack]",    "[vdso]",    "[vvar",
					   "[vsyscall]", "[uprobes]", "/dev/zero (deleted)" };
	unsigned int field = 0;

	while (*line && field < NAME_FIELD) {
		line += strcspn(line, " ");
		line += strspn(line, " ");
		field++;
	}
	for (size_t i = 0; i < ARRAY_SIZE(own); i++)
		if (!strncmp(line, own[i], strlen(own[i])))
			return true;
	return false;
}

int map_list_read(struct map_list *l, const struct proc_lists *p, char *text, size_t size,
		  struct err *e)
{
	ssize_t n = read_text(p->maps, text, size, e);
	char *save = NULL, *end;
	int r = 0;

	if (n < 0)
		return (int)n;
	l->nr = 0;
	for (char *line = strtok_r(text, "\n", &save); line && !r;
	     line = strtok_r(NULL, "\n", &save)) {
		uint64_t from = strtoull(line, &end, 16);
		uint64_t to = *end == '-' ? strtoull(end + 1, &end, 16) : 0;

		if (to <= from || *end != ' ')
			r = err_set(e, EPROTO, "/proc/self/maps has the line '%s'", line);
		else if (!is_process_own(line))
			r = add_range(l, from, to, e);
	}
	return r;
}

int map_list_remove(struct map_list *l, uint64_t start, uint64_t end, struct err *e)
{
	for (size_t i = 0; i < l->nr; i++) {
		struct map_range *o = &l->ranges[i];
		const struct map_range was = *o;

		if (was.end <= start || was.start >= end)
			continue;
		if (was.start < start && was.end > end) {
			if (l->nr == l->cap)
				return err_set(e, E2BIG, "more than %zu mappings", l->cap);
			memmove(o + 1, o, (l->nr - i) * sizeof(*o));
			l->nr++;
			o[0].end = start;
			o[1].start = end;
			return 0;
		}
		if (was.start < start) {
			o->end = start;
		} else if (was.end > end) {
			o->start = end;
		} else {
			memmove(o, o + 1, (l->nr - i - 1) * sizeof(*o));
			l->nr--;
			i--;
		}
	}
	return 0;
}

int map_list_subtract(struct map_list *l, const struct map_list *other, struct err *e)
{
	int r = 0;

	for (size_t i = 0; i < other->nr && !r; i++)
		r = map_list_remove(l, other->ranges[i].start, other->ranges[i].end, e);
	return r;
}

bool map_list_equal(const struct map_list *a, const struct map_list *b)
{
	return a->nr == b->nr && !memcmp(a->ranges, b->ranges, a->nr * sizeof(a->ranges[0]));
}

void map_ranges_unmap(const struct map_range *ranges, size_t nr)
{
	for (size_t i = 0; i < nr; i++)
		munmap((void *)(uintptr_t)ranges[i].start, ranges[i].end - ranges[i].start);
}

static int add_fd(struct fd_list *l, int fd, struct err *e)
{
	size_t at = l->nr;

	if (l->nr == l->cap)
		return err_set(e, E2BIG, "this process has more than %zu open descriptors", l->cap);
	for (; at && l->fds[at - 1] > fd; at--)
		l->fds[at] = l->fds[at - 1];
	l->fds[at] = fd;
	l->nr++;
	return 0;
}

static int add_entry(struct fd_list *l, const char *name, bool only_cloexec, struct err *e)
{
	int fd = (int)strtol(name, NULL, 10), flags;

	if (name[0] == '.')
		return 0;
	flags = fcntl(fd, F_GETFD);
	return flags >= 0 && (!only_cloexec || flags & FD_CLOEXEC) ? add_fd(l, fd, e) : 0;
}

int fd_list_read(struct fd_list *l, const struct proc_lists *p, bool only_cloexec, struct err *e)
{
	union {
		struct dirent64 first;
		char bytes[4096];
	} room;
	long n;
	int r = 0;

	if (lseek(p->fds, 0, SEEK_SET))
		return err_set_errno(e, "cannot list the open descriptors");
	l->nr = 0;
	while ((n = syscall(SYS_getdents64, p->fds, room.bytes, sizeof(room.bytes))) > 0) {
		const struct dirent64 *d;

		for (long at = 0; !r && at < n; at += d->d_reclen) {
			d = (const struct dirent64 *)(room.bytes + at);
			r = add_entry(l, d->d_name, only_cloexec, e);
		}
		if (r)
			return r;
	}
	return n < 0 ? err_set_errno(e, "cannot list the open descriptors") : 0;
}

void fd_list_subtract(struct fd_list *l, const struct fd_list *other)
{
	size_t left = 0, o = 0;

	for (size_t i = 0; i < l->nr; i++) {
		while (o < other->nr && other->fds[o] < l->fds[i])
			o++;
		if (o == other->nr || other->fds[o] != l->fds[i])
			l->fds[left++] = l->fds[i];
	}
	l->nr = left;
}
