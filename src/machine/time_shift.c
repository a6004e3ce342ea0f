/* SPDX-License-Identifier: MIT */
/* From the clocks of the host that a state was saved on to those of the host it is loaded on. */
#include "machine/time_shift.h"

#include <string.h>

#include "host/clock.h"

#define NS_PER_MS UINT64_C(1000000)

static uint64_t elapsed(uint64_t then, uint64_t now)
{
	return now > then ? now - then : 0;
}

static bool same_boot(const struct host_time *a, const struct host_time *b)
{
	return !memcmp(a->boot_id, b->boot_id, sizeof(a->boot_id));
}

struct host_time host_time_now(const uint8_t boot_id[HOST_BOOT_ID_BYTES])
{
	struct host_time t = {
		.realtime_ns = clock_realtime_ns(),
		.boottime_ns = clock_boottime_ns(),
	};

	memcpy(t.boot_id, boot_id, sizeof(t.boot_id));
	return t;
}

uint64_t host_time_elapsed_ns(const struct host_time *saved, const struct host_time *now)
{
	return same_boot(saved, now) ? elapsed(saved->boottime_ns, now->boottime_ns)
				     : elapsed(saved->realtime_ns, now->realtime_ns);
}

struct time_shift time_shift_find(const struct host_time *saved, const struct host_time *now)
{
	if (same_boot(saved, now))
		return (struct time_shift){ 0 };
	return (struct time_shift){
		.other_boot = true,
		.boottime_ns =
			saved->boottime_ns + host_time_elapsed_ns(saved, now) - now->boottime_ns,
	};
}

uint64_t time_shift_boottime(const struct time_shift *t, uint64_t ns)
{
	return ns + t->boottime_ns;
}

void time_shift_set_tsc(struct time_shift *t, const struct tsc_reading *saved,
			const struct tsc_reading *now, uint32_t khz)
{
	unsigned __int128 ns =
		elapsed(saved->boottime_ns, time_shift_boottime(t, now->boottime_ns));

	t->tsc = saved->tsc + (uint64_t)(ns * khz / NS_PER_MS) - now->tsc;
}
