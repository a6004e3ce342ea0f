/* SPDX-License-Identifier: MIT */
/* What this process has mapped and open, as the kernel lists it. */
#ifndef HOST_MAPS_H
#define HOST_MAPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct map_range {
	uint64_t start; /* host address, a multiple of the page size */
	uint64_t end;   /* first address behind it                   */
};

/*
 * Ranges in ascending order that do not overlap, in memory of the caller's: nothing here
 * allocates, since that could change what is listed. -E2BIG if there are more than @cap.
 */
struct map_list {
	struct map_range *ranges;
	size_t nr, cap;
};

/*
 * The kernel's lists of both kinds, kept open: so they can also be read when this process may
 * open nothing more. Both descriptors are close-on-exec.
 */
struct proc_lists {
	int maps, fds;
};

int proc_lists_open(struct proc_lists *p, struct err *e);
void proc_lists_close(struct proc_lists *p);

/*
 * Everything mapped in this process now, but for what belongs to the process rather than to
 * its program: the first stack with the command line, the kernel's own pages ([vdso] and
 * such), and what KVM maps for itself on some processors. @text has @size bytes for the kernel's
 * list. Other threads must not map meanwhile.
 */
int map_list_read(struct map_list *l, const struct proc_lists *p, char *text, size_t size,
		  struct err *e);
/* Takes [start, end) out of the list. */
int map_list_remove(struct map_list *l, uint64_t start, uint64_t end, struct err *e);
/* Takes everything out of @l that is in @other. */
int map_list_subtract(struct map_list *l, const struct map_list *other, struct err *e);
bool map_list_equal(const struct map_list *a, const struct map_list *b);
/* Unmaps @nr ranges; what is not mapped any more is no error. */
void map_ranges_unmap(const struct map_range *ranges, size_t nr);

/* Numbers of open descriptors, ascending; in memory of the caller's too. */
struct fd_list {
	int *fds;
	size_t nr, cap;
};

/* All that are open now, or only those that are close-on-exec. Allocates nothing either. */
int fd_list_read(struct fd_list *l, const struct proc_lists *p, bool only_cloexec, struct err *e);
/* Takes everything out of @l that is in @other. */
void fd_list_subtract(struct fd_list *l, const struct fd_list *other);

#endif
