/* SPDX-License-Identifier: MIT */
/* Eventfds: what threads, or the kernel, ring for the event loop to hear. */
#ifndef HOST_EVENT_H
#define HOST_EVENT_H

#include <stdbool.h>

#include "base/err.h"

/* Returns a new one, which does not block. */
int event_create(struct err *e);
/* Rings it, so that it becomes readable. Any thread. */
void event_ring(int fd);
/* Makes it quiet again; false if it was. */
bool event_take(int fd);

#endif
