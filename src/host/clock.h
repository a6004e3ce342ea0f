/* SPDX-License-Identifier: MIT */
/* The host's clocks. */
#ifndef HOST_CLOCK_H
#define HOST_CLOCK_H

#include <stdint.h>

/* Nanoseconds since boot, suspend included: never steps back, the same in all processes. */
uint64_t clock_boottime_ns(void);
/* Nanoseconds since 1970; may be set. */
uint64_t clock_realtime_ns(void);
/* The processor's time-stamp counter. */
uint64_t clock_tsc(void);

/* Lets the calling thread sleep for that long, or a little longer. */
void clock_sleep_ns(uint64_t ns);

#endif
