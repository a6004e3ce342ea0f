/* SPDX-License-Identifier: MIT */
/* The MC146818's arithmetic: time of day as register bytes and back, alarms, rates. */
#include "dev/pc/rtc_time.h"
#include "base/util.h"
#include "dev/pc/rtc.h"

enum {
	HOUR_PM = 0x80,   /* in 12-hour mode                      */
	ALARM_ANY = 0xc0, /* both bits set: matches every value   */
	DIVIDER_HZ = 32768,
	YEAR_MIN = 1900,
	YEAR_MAX = 2199,
	DAY_S = 86400,
};

int64_t rtc_floor_div(int64_t v, int64_t by)
{
	return v / by - (v % by < 0);
}

int64_t rtc_floor_mod(int64_t v, int64_t by)
{
	int64_t m = v % by;

	return m < 0 ? m + by : m;
}

static uint8_t to_reg(unsigned int v, uint8_t reg_b)
{
	return (uint8_t)(reg_b & RTC_B_BINARY ? v : v / 10 % 10 << 4 | v % 10);
}

static unsigned int from_reg(uint8_t v, uint8_t reg_b)
{
	return reg_b & RTC_B_BINARY ? v : (v >> 4) * 10u + (v & 0xf);
}

static uint8_t hour_to_reg(unsigned int hour, uint8_t reg_b)
{
	if (reg_b & RTC_B_24H)
		return to_reg(hour, reg_b);
	return (uint8_t)(to_reg((hour + 11) % 12 + 1, reg_b) | (hour >= 12 ? HOUR_PM : 0));
}

static unsigned int hour_from_reg(uint8_t v, uint8_t reg_b)
{
	if (reg_b & RTC_B_24H)
		return MIN(from_reg(v, reg_b), 23u);
	return MIN(from_reg(v & ~HOUR_PM, reg_b), 12u) % 12 + (v & HOUR_PM ? 12 : 0);
}

/*
 * Calendar by the trick of years that begin in March: leap days come last, and
 * the days before month m (0: March) are (153 m + 2) / 5. An era is 400 years.
 */
static int64_t days_from_date(int64_t year, unsigned int month, unsigned int day)
{
	int64_t y = month <= 2 ? year - 1 : year;
	int64_t era = rtc_floor_div(y, 400), yoe = rtc_floor_mod(y, 400);
	int64_t doy = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;

	return era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
}

static void date_from_days(int64_t days, int64_t *year, unsigned int *month, unsigned int *day)
{
	int64_t era = rtc_floor_div(days + 719468, 146097);
	int64_t doe = rtc_floor_mod(days + 719468, 146097);
	int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
	int64_t m = (5 * doy + 2) / 153;

	*day = (unsigned int)(doy - (153 * m + 2) / 5 + 1);
	*month = (unsigned int)(m < 10 ? m + 3 : m - 9);
	*year = era * 400 + yoe + (*month <= 2);
}

void rtc_encode_time(int64_t seconds, uint8_t b, uint8_t *cmos)
{
	int64_t days = rtc_floor_div(seconds, DAY_S), year;
	unsigned int tod = (unsigned int)rtc_floor_mod(seconds, DAY_S);
	unsigned int month, day;

	date_from_days(days, &year, &month, &day);
	cmos[RTC_SECONDS] = to_reg(tod % 60, b);
	cmos[RTC_MINUTES] = to_reg(tod / 60 % 60, b);
	cmos[RTC_HOURS] = hour_to_reg(tod / 3600, b);
	cmos[RTC_WEEKDAY] = to_reg((unsigned int)rtc_floor_mod(days + 4, 7) + 1, b);
	cmos[RTC_DAY] = to_reg(day, b);
	cmos[RTC_MONTH] = to_reg(month, b);
	cmos[RTC_YEAR] = to_reg((unsigned int)rtc_floor_mod(year, 100), b);
	cmos[RTC_CENTURY] = to_reg((unsigned int)rtc_floor_div(year, 100), b);
}

int64_t rtc_decode_time(uint8_t b, const uint8_t *cmos)
{
	int64_t year = from_reg(cmos[RTC_CENTURY], b) * 100 + MIN(from_reg(cmos[RTC_YEAR], b), 99u);
	unsigned int month = MIN(MAX(from_reg(cmos[RTC_MONTH], b), 1u), 12u);
	unsigned int day = MIN(MAX(from_reg(cmos[RTC_DAY], b), 1u), 31u);
	unsigned int hour = hour_from_reg(cmos[RTC_HOURS], b);
	unsigned int minute = MIN(from_reg(cmos[RTC_MINUTES], b), 59u);
	unsigned int second = MIN(from_reg(cmos[RTC_SECONDS], b), 59u);

	year = MIN(MAX(year, (int64_t)YEAR_MIN), (int64_t)YEAR_MAX);
	return days_from_date(year, month, day) * DAY_S + hour * 3600 + minute * 60 + second;
}

static bool alarm_matches(uint8_t alarm, uint8_t value)
{
	return (alarm & ALARM_ANY) == ALARM_ANY || alarm == value;
}

/* Whether some second of the day matches. */
static bool alarm_can_match(uint8_t b, const uint8_t *cmos)
{
	bool hour = false, minute = false, second = false;

	for (unsigned int i = 0; i < 60; i++) {
		hour |= i < 24 && alarm_matches(cmos[RTC_HOURS_ALARM], hour_to_reg(i, b));
		minute |= alarm_matches(cmos[RTC_MINUTES_ALARM], to_reg(i, b));
		second |= alarm_matches(cmos[RTC_SECONDS_ALARM], to_reg(i, b));
	}
	return hour && minute && second;
}

int64_t rtc_next_alarm(int64_t seconds, uint8_t b, const uint8_t *cmos)
{
	unsigned int start = (unsigned int)rtc_floor_mod(seconds, DAY_S) + 1, t = start;

	if (!alarm_can_match(b, cmos))
		return RTC_NEVER;
	/* Skips whole hours and minutes that do not match; a day later it is the same again. */
	while (t < start + DAY_S) {
		unsigned int tod = t % DAY_S;

		if (!alarm_matches(cmos[RTC_HOURS_ALARM], hour_to_reg(tod / 3600, b)))
			t += 3600 - tod % 3600;
		else if (!alarm_matches(cmos[RTC_MINUTES_ALARM], to_reg(tod / 60 % 60, b)))
			t += 60 - tod % 60;
		else if (!alarm_matches(cmos[RTC_SECONDS_ALARM], to_reg(tod % 60, b)))
			t++;
		else
			return seconds + 1 + (t - start);
	}
	return RTC_NEVER;
}

/* Divider ticks of a period: 2^(rate - 1), where rates 1 and 2 stand for 8 and 9. */
static int64_t period_ticks(uint8_t reg_a)
{
	unsigned int rate = reg_a & 0xf;

	return rate ? INT64_C(1) << ((rate < 3 ? rate + 7 : rate) - 1) : 0;
}

int64_t rtc_periods(int64_t ns, uint8_t reg_a)
{
	int64_t ticks = period_ticks(reg_a);
	int64_t s = rtc_floor_div(ns, RTC_NS_PER_S), frac = rtc_floor_mod(ns, RTC_NS_PER_S);

	if (!ticks)
		return 0;
	return rtc_floor_div(s * DIVIDER_HZ + frac * DIVIDER_HZ / RTC_NS_PER_S, ticks);
}

int64_t rtc_period_end(int64_t n, uint8_t reg_a)
{
	int64_t ticks = n * period_ticks(reg_a);
	int64_t s = rtc_floor_div(ticks, DIVIDER_HZ), left = rtc_floor_mod(ticks, DIVIDER_HZ);

	return s * RTC_NS_PER_S + (left * RTC_NS_PER_S + DIVIDER_HZ - 1) / DIVIDER_HZ;
}
