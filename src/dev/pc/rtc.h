/* SPDX-License-Identifier: MIT */
/* The real-time clock and CMOS memory: MC146818 at ports 0x70 and 0x71. */
#ifndef DEV_PC_RTC_H
#define DEV_PC_RTC_H

/*
 * DOC: theory of operation
 *
 * The guest's time of day is the host's plus an offset that the guest changes by
 * setting its clock; the offset is state, the host's time is not, so the clock
 * keeps going over an update and from host to host.
 *
 * Nothing ticks. Whenever the guest looks or a timer fires, rtc_sync() works out
 * which update, alarm and periodic events lie between the last look
 * (synced_ns) and now, and sets their flags in register C. A host timer is armed
 * only for an event whose interrupt is enabled and whose flag is still clear.
 * Events that fell into a stop raise their flag once, when the guest runs again.
 *
 * With SET in register B, or the divider held in reset by register A, the time
 * registers are plain memory (cmos[]) until the clock is let go; otherwise they
 * are computed and their bytes in cmos[] mean nothing.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "host/loop.h"
#include "machine/device.h"
#include "machine/iobus.h"
#include "machine/irq.h"

#define RTC_CMOS_BYTES 128

/* Registers by index; the rest is memory. */
enum rtc_reg {
	RTC_SECONDS = 0x00,
	RTC_SECONDS_ALARM = 0x01,
	RTC_MINUTES = 0x02,
	RTC_MINUTES_ALARM = 0x03,
	RTC_HOURS = 0x04,
	RTC_HOURS_ALARM = 0x05,
	RTC_WEEKDAY = 0x06, /* 1: Sunday; always that of the date */
	RTC_DAY = 0x07,
	RTC_MONTH = 0x08,
	RTC_YEAR = 0x09,
	RTC_A = 0x0a, /* reset 0x26: 32 kHz divider, 1024 Hz       */
	RTC_B = 0x0b, /* reset 0x02: BCD, 24 hours, no interrupt   */
	RTC_C = 0x0c, /* interrupt flags, cleared by reading       */
	RTC_D = 0x0d,
	RTC_CENTURY = 0x32,
};

/* Guest-visible. */
struct rtc_state {
	int64_t offset_ns; /* guest's time of day minus the host's realtime clock   */
	int64_t synced_ns; /* guest's time of day up to which events are in @flags  */
	uint8_t cmos[RTC_CMOS_BYTES];
	uint32_t index; /* register that port 0x71 accesses, 0..127              */
	uint32_t flags; /* register C without its summary bit                    */
};

struct rtc_host {
	struct irq irq;          /* [c]                                             */
	struct loop *loop;       /* [c] not owned                                   */
	struct io_region region; /* [c]                                             */
	struct loop_timer timer; /* [l] the next enabled event                      */
	struct loop_work rearm;  /* has the loop's thread set the timer             */
	bool irq_level;          /* [m] how the line is driven now                  */
	bool running;            /* [m] the guest may be in                         */
};

struct rtc {
	struct device dev;
	struct rtc_state s;
	struct rtc_host h;
};

extern const struct device_class rtc_class;

/* Sets a zeroed clock up at the host's time, stopped. For rtc_create() and tests. */
void rtc_init(struct rtc *rtc, struct irq irq, struct loop *loop);

/*
 * Adds the clock to the machine. Its time is the host's (UTC) until a state is
 * loaded or the guest sets it. Before the machine first runs. On failure nothing is added.
 */
int rtc_create(struct vm *vm, struct err *e);

#endif
