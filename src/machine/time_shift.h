/* SPDX-License-Identifier: MIT */
/* From the clocks of the host that a state was saved on to those of the host it is loaded on. */
#ifndef MACHINE_TIME_SHIFT_H
#define MACHINE_TIME_SHIFT_H

/*
 * DOC: theory of operation
 *
 * A state holds readings of host clocks: CLOCK_BOOTTIME when a LAPIC was read, the host's
 * TSC that the guest's is an offset to. On the same boot of the host both go on and need no
 * correction. After a reboot, or on another host, both have started anew; what is left is
 * CLOCK_REALTIME, from which follows how long the guest was away: nothing, should it have
 * gone back.
 *
 * A shift is found once per load and is the same for all vCPUs, so that what their TSCs
 * differed by before, usually nothing, is what they differ by afterwards.
 *
 * Of other state nothing needs it: kvmclock brings the readings and does the same
 * (dev/pc/kvmclock.h), the real-time clock is an offset to CLOCK_REALTIME, KVM lets the
 * 8254 count anew when it is set, whatever load time it is told, the TSC deadline is in the
 * guest's TSC, and ACPI has no timer here. A device with a struct ptimer would need
 * ptimer_rebase().
 */

#include <stdbool.h>
#include <stdint.h>

#include "host/hostid.h"

/* The clocks of a host, read together. */
struct host_time {
	uint64_t realtime_ns;
	uint64_t boottime_ns;
	uint8_t boot_id[HOST_BOOT_ID_BYTES];
};

/* All zero: the same boot. Both numbers are to be added, and wrap. */
struct time_shift {
	bool other_boot;
	uint64_t boottime_ns; /* from our CLOCK_BOOTTIME to the saving host's     */
	uint64_t tsc;         /* from a TSC offset there to one here, guest ticks */
};

/* The clocks of this host now; @boot_id is the caller's word. */
struct host_time host_time_now(const uint8_t boot_id[HOST_BOOT_ID_BYTES]);

/* How long a state that was saved at @saved has been away, by the clocks that can tell. */
uint64_t host_time_elapsed_ns(const struct host_time *saved, const struct host_time *now);

/*
 * The shift for a state that was saved about @saved. On another boot the TSC's part is missing
 * still, see time_shift_set_tsc().
 */
struct time_shift time_shift_find(const struct host_time *saved, const struct host_time *now);

/* What the saving host's CLOCK_BOOTTIME would show where ours shows @ns. */
uint64_t time_shift_boottime(const struct time_shift *t, uint64_t ns);

/* The two clocks of a host at about one instant: CLOCK_BOOTTIME, and the TSC in guest ticks. */
struct tsc_reading {
	uint64_t boottime_ns;
	uint64_t tsc;
};

/*
 * Completes the shift of another boot for a guest whose TSC runs at @khz, from a reading of
 * either host.
 */
void time_shift_set_tsc(struct time_shift *t, const struct tsc_reading *saved,
			const struct tsc_reading *now, uint32_t khz);

#endif
