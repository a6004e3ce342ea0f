/* SPDX-License-Identifier: MIT */
/* How many descriptors this process has open: for tests that must not leak any. */
#ifndef TESTS_UNIT_FD_COUNT_H
#define TESTS_UNIT_FD_COUNT_H

#include <dirent.h>

static inline unsigned int fd_count(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned int n = 0;

	if (!d)
		return 0;
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

#endif
