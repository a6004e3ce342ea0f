/* SPDX-License-Identifier: MIT */
/* The MC146818's arithmetic: time of day as register bytes and back, alarms, rates. */
#ifndef DEV_PC_RTC_TIME_H
#define DEV_PC_RTC_TIME_H

#include <stdbool.h>
#include <stdint.h>

#define RTC_NS_PER_S INT64_C(1000000000)

/* Bits of register B that say how the time registers are written. */
#define RTC_B_24H    0x02
#define RTC_B_BINARY 0x04

/* No time: what rtc_next_alarm() returns for an alarm that never comes. */
#define RTC_NEVER INT64_MAX

/* Quotient rounded down and its remainder, 0 <= remainder < @by. */
int64_t rtc_floor_div(int64_t v, int64_t by);
int64_t rtc_floor_mod(int64_t v, int64_t by);

/* Writes the time @seconds (since 1970, any value) into the time registers, as @reg_b asks. */
void rtc_encode_time(int64_t seconds, uint8_t reg_b, uint8_t *cmos);

/*
 * The time in the time registers. Values that no clock shows are bent to the
 * nearest that it can, the year to 1900..2199.
 */
int64_t rtc_decode_time(uint8_t reg_b, const uint8_t *cmos);

/* The first second after @seconds that the alarm registers match, or RTC_NEVER. */
int64_t rtc_next_alarm(int64_t seconds, uint8_t reg_b, const uint8_t *cmos);

/* Periods of the rate in register A that ended before @ns; 0 for rate 0. */
int64_t rtc_periods(int64_t ns, uint8_t reg_a);
/* When period number @n of that rate ends, ns rounded up. */
int64_t rtc_period_end(int64_t n, uint8_t reg_a);

#endif
