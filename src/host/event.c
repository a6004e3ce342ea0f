/* SPDX-License-Identifier: MIT */
/* Eventfds: what threads, or the kernel, ring for the event loop to hear. */
#include <errno.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/log.h"
#include "host/event.h"

int event_create(struct err *e)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	return fd < 0 ? err_set_errno(e, "cannot create an eventfd") : fd;
}

void event_ring(int fd)
{
	uint64_t one = 1;

	/* Full means that it has been rung. */
	if (write(fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
		log_error("cannot ring eventfd %d: %m", fd);
}

bool event_take(int fd)
{
	uint64_t rung;

	return read(fd, &rung, sizeof(rung)) == (ssize_t)sizeof(rung);
}
