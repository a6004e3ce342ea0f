/* SPDX-License-Identifier: MIT */
/* Random bytes from the kernel. */
#include <errno.h>
#include <stdint.h>
#include <sys/random.h>

#include "host/random.h"

int random_fill(void *p, size_t n, struct err *e)
{
	uint8_t *to = p;

	while (n) {
		ssize_t got = getrandom(to, n, 0);

		if (got < 0 && errno != EINTR)
			return err_set_errno(e, "cannot get %zu random bytes", n);
		if (got < 0)
			continue;
		to += got;
		n -= (size_t)got;
	}
	return 0;
}
