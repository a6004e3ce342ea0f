/* SPDX-License-Identifier: MIT */
/* Random bytes from the kernel. */
#ifndef HOST_RANDOM_H
#define HOST_RANDOM_H

#include <stddef.h>

#include "base/err.h"

/* Fills @n bytes at @p, as good as for keys; waits only in a host that has just been switched on. */
int random_fill(void *p, size_t n, struct err *e);

#endif
