/* SPDX-License-Identifier: MIT */
/* The real-time clock and CMOS memory: MC146818 at ports 0x70 and 0x71. */
#include <errno.h>
#include <string.h>

#include "base/util.h"
#include "dev/pc/rtc.h"
#include "dev/pc/rtc_time.h"
#include "host/clock.h"
#include "machine/layout.h"
#include "machine/vm.h"

enum {
	RTC_PORT_INDEX = 0,
	RTC_PORT_DATA = 1,
	RTC_NR_PORTS = 2,

	A_UPDATING = 0x80,
	A_DIVIDER_RESET = 0x60, /* both bits set */
	A_RESET = 0x26,

	B_SET = 0x80,
	B_PERIODIC = 0x40,
	B_ALARM = 0x20,
	B_UPDATE = 0x10,
	B_SQUARE_WAVE = 0x08,

	C_IRQ = 0x80,
	C_PERIODIC = B_PERIODIC,
	C_ALARM = B_ALARM,
	C_UPDATE = B_UPDATE,
	C_FLAGS = C_PERIODIC | C_ALARM | C_UPDATE,

	D_VALID = 0x80,

	UPDATING_NS = 244000, /* how long before an update the guest is warned */
};

/* What the calendar is kept to: 1900-01-01 to the end of 2199, and the offsets that reach it. */
#define TIME_MIN_NS   (INT64_C(-2208988800) * RTC_NS_PER_S)
#define TIME_MAX_NS   (INT64_C(7258118400) * RTC_NS_PER_S - 1)
#define OFFSET_MAX_NS INT64_C(9000000000000000000)

static const struct vs_field rtc_fields[] = {
	VS_FIELD_RANGE(struct rtc_state, offset_ns, -OFFSET_MAX_NS, OFFSET_MAX_NS),
	VS_FIELD_RANGE(struct rtc_state, synced_ns, TIME_MIN_NS, TIME_MAX_NS),
	VS_BUFFER(struct rtc_state, cmos),
	VS_FIELD_RANGE(struct rtc_state, index, 0, RTC_CMOS_BYTES - 1),
	VS_FIELD_RANGE(struct rtc_state, flags, 0, C_FLAGS),
	VS_END,
};

static const struct vs_desc rtc_desc = {
	.name = "mc146818rtc",
	.version = 1,
	.min_version = 1,
	.size = sizeof(struct rtc_state),
	.fields = rtc_fields,
};

static struct rtc *to_rtc(struct device *d)
{
	return CONTAINER_OF(d, struct rtc, dev);
}

static bool divider_runs(const struct rtc_state *s)
{
	return (s->cmos[RTC_A] & A_DIVIDER_RESET) != A_DIVIDER_RESET;
}

static bool time_runs(const struct rtc_state *s)
{
	return divider_runs(s) && !(s->cmos[RTC_B] & B_SET);
}

static int64_t clamp_time(int64_t ns)
{
	return MIN(MAX(ns, TIME_MIN_NS), TIME_MAX_NS);
}

/* The guest's time of day. */
static int64_t guest_now(const struct rtc_state *s)
{
	int64_t ns;

	if (__builtin_add_overflow((int64_t)clock_realtime_ns(), s->offset_ns, &ns))
		return TIME_MAX_NS;
	return clamp_time(ns);
}

static void set_time(struct rtc_state *s, int64_t ns)
{
	ns = clamp_time(ns);
	s->offset_ns = ns - (int64_t)clock_realtime_ns();
	s->synced_ns = ns;
}

/* Brings the flags up to now; nothing happened since if the host's clock was set back. */
static void sync_flags(struct rtc_state *s)
{
	int64_t now = guest_now(s), second, last;

	second = rtc_floor_div(now, RTC_NS_PER_S);
	last = rtc_floor_div(s->synced_ns, RTC_NS_PER_S);
	if (divider_runs(s) &&
	    rtc_periods(now, s->cmos[RTC_A]) > rtc_periods(s->synced_ns, s->cmos[RTC_A]))
		s->flags |= C_PERIODIC;
	if (time_runs(s) && second > last) {
		s->flags |= C_UPDATE;
		if (rtc_next_alarm(last, s->cmos[RTC_B], s->cmos) <= second)
			s->flags |= C_ALARM;
	}
	s->synced_ns = now;
}

static bool irq_level(const struct rtc_state *s)
{
	return s->flags & s->cmos[RTC_B] & C_FLAGS;
}

/* On changes only: a level told twice is a second edge to an IOAPIC that was loaded. */
static void update_irq(struct rtc *rtc)
{
	bool level = irq_level(&rtc->s);

	if (level == rtc->h.irq_level)
		return;
	rtc->h.irq_level = level;
	irq_set(&rtc->h.irq, level);
}

/* When the next event comes that would raise the interrupt, guest time. */
static int64_t next_event(const struct rtc_state *s)
{
	uint8_t wanted = s->cmos[RTC_B] & ~s->flags & C_FLAGS;
	int64_t second = rtc_floor_div(s->synced_ns, RTC_NS_PER_S);
	uint8_t a = s->cmos[RTC_A];
	int64_t at = RTC_NEVER, alarm;

	if (!divider_runs(s))
		return RTC_NEVER;
	if ((wanted & C_PERIODIC) && (a & 0xf))
		at = rtc_period_end(rtc_periods(s->synced_ns, a) + 1, a);
	if (!time_runs(s))
		return at;
	if (wanted & C_UPDATE)
		at = MIN(at, (second + 1) * RTC_NS_PER_S);
	if (wanted & C_ALARM) {
		alarm = rtc_next_alarm(second, s->cmos[RTC_B], s->cmos);
		if (alarm != RTC_NEVER)
			at = MIN(at, alarm * RTC_NS_PER_S);
	}
	return at;
}

/* Sets the timer for the next event; the loop's thread. */
static void rearm(void *opaque)
{
	struct rtc *rtc = opaque;
	int64_t at = next_event(&rtc->s), left;

	if (!rtc->h.running || at == RTC_NEVER) {
		loop_timer_cancel(&rtc->h.timer);
		return;
	}
	left = at - guest_now(&rtc->s);
	loop_timer_set(rtc->h.loop, &rtc->h.timer,
		       clock_boottime_ns() + (uint64_t)MAX(left, INT64_C(0)));
}

/* As rearm(), from any thread; wakes nobody if there is nothing to do. */
static void schedule_rearm(struct rtc *rtc)
{
	if (rtc->h.timer.armed || next_event(&rtc->s) != RTC_NEVER)
		loop_post(rtc->h.loop, &rtc->h.rearm);
}

static void timer_expired(void *opaque)
{
	struct rtc *rtc = opaque;

	if (!rtc->h.running)
		return;
	sync_flags(&rtc->s);
	update_irq(rtc);
	rearm(rtc);
}

static bool is_time_reg(unsigned int index)
{
	switch (index) {
	case RTC_SECONDS:
	case RTC_MINUTES:
	case RTC_HOURS:
	case RTC_WEEKDAY:
	case RTC_DAY:
	case RTC_MONTH:
	case RTC_YEAR:
	case RTC_CENTURY:
		return true;
	default:
		return false;
	}
}

static void latch_time(struct rtc_state *s)
{
	rtc_encode_time(rtc_floor_div(guest_now(s), RTC_NS_PER_S), s->cmos[RTC_B], s->cmos);
}

/* Lets the clock go on from the time registers, @frac_ns into the second. */
static void start_time(struct rtc_state *s, int64_t frac_ns)
{
	set_time(s, rtc_decode_time(s->cmos[RTC_B], s->cmos) * RTC_NS_PER_S + frac_ns);
}

static void write_time_reg(struct rtc_state *s, unsigned int index, uint8_t v)
{
	int64_t frac = rtc_floor_mod(guest_now(s), RTC_NS_PER_S);

	if (time_runs(s))
		latch_time(s);
	s->cmos[index] = v;
	if (time_runs(s))
		start_time(s, frac);
}

static void write_control(struct rtc_state *s, unsigned int index, uint8_t v)
{
	bool time_ran = time_runs(s), divider_ran = divider_runs(s);
	int64_t frac = rtc_floor_mod(guest_now(s), RTC_NS_PER_S);

	if (index == RTC_A)
		v &= ~A_UPDATING;
	else if (v & B_SET)
		v &= ~B_UPDATE;
	s->cmos[index] = v;
	if (time_ran && !time_runs(s))
		latch_time(s);
	if (!divider_ran && divider_runs(s))
		/* The first update comes half a second after the divider is let go. */
		start_time(s, RTC_NS_PER_S / 2);
	else if (!time_ran && time_runs(s))
		start_time(s, frac);
}

static uint8_t read_reg(struct rtc *rtc, unsigned int index)
{
	struct rtc_state *s = &rtc->s;
	uint8_t v;

	switch (index) {
	case RTC_A:
		v = s->cmos[RTC_A];
		if (time_runs(s) &&
		    rtc_floor_mod(guest_now(s), RTC_NS_PER_S) >= RTC_NS_PER_S - UPDATING_NS)
			v |= A_UPDATING;
		return v;
	case RTC_C:
		sync_flags(s);
		v = (uint8_t)(s->flags | (irq_level(s) ? C_IRQ : 0));
		s->flags = 0;
		update_irq(rtc);
		schedule_rearm(rtc);
		return v;
	case RTC_D:
		return D_VALID;
	default:
		if (is_time_reg(index) && time_runs(s))
			latch_time(s);
		return s->cmos[index];
	}
}

static void write_reg(struct rtc *rtc, unsigned int index, uint8_t v)
{
	struct rtc_state *s = &rtc->s;

	switch (index) {
	case RTC_C:
	case RTC_D:
		return;
	case RTC_A:
	case RTC_B:
		sync_flags(s);
		write_control(s, index, v);
		break;
	case RTC_SECONDS_ALARM:
	case RTC_MINUTES_ALARM:
	case RTC_HOURS_ALARM:
		sync_flags(s);
		s->cmos[index] = v;
		break;
	default:
		if (!is_time_reg(index)) {
			s->cmos[index] = v;
			return;
		}
		sync_flags(s);
		write_time_reg(s, index, v);
		break;
	}
	update_irq(rtc);
	schedule_rearm(rtc);
}

static uint64_t rtc_read(void *opaque, uint64_t offset, unsigned int size)
{
	struct rtc *rtc = opaque;

	(void)size;
	/* The index register is write-only. */
	return offset == RTC_PORT_DATA ? read_reg(rtc, rtc->s.index) : 0xff;
}

static void rtc_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
	struct rtc *rtc = opaque;

	(void)size;
	if (offset == RTC_PORT_DATA)
		write_reg(rtc, rtc->s.index, (uint8_t)value);
	else
		rtc->s.index = value & (RTC_CMOS_BYTES - 1);
}

static void rtc_loaded(struct device *d)
{
	struct rtc *rtc = to_rtc(d);
	bool level = irq_level(&rtc->s);

	if (level || rtc->h.irq_level)
		irq_set(&rtc->h.irq, level);
	rtc->h.irq_level = level;
	rearm(rtc);
}

static void rtc_run_changed(struct device *d, bool running)
{
	struct rtc *rtc = to_rtc(d);

	rtc->h.running = running;
	if (running) {
		sync_flags(&rtc->s);
		update_irq(rtc);
	}
	rearm(rtc);
}

/* The battery keeps time and memory; only interrupts are turned off. */
static void rtc_reset(struct device *d)
{
	struct rtc *rtc = to_rtc(d);

	rtc->s.cmos[RTC_B] &= ~(C_FLAGS | B_SQUARE_WAVE);
	rtc->s.flags = 0;
	rtc->s.index = 0;
	update_irq(rtc);
	rearm(rtc);
}

static void rtc_destroy(struct device *d)
{
	struct rtc *rtc = to_rtc(d);

	loop_timer_cancel(&rtc->h.timer);
	loop_work_cancel(rtc->h.loop, &rtc->h.rearm);
	free(rtc);
}

const struct device_class rtc_class = {
	.name = "mc146818rtc",
	.state = &rtc_desc,
	.state_offset = offsetof(struct rtc, s),
	.loaded = rtc_loaded,
	.run_changed = rtc_run_changed,
	.reset = rtc_reset,
	.destroy = rtc_destroy,
};

void rtc_init(struct rtc *rtc, struct irq irq, struct loop *loop)
{
	rtc->h.irq = irq;
	rtc->h.loop = loop;
	loop_timer_init(&rtc->h.timer, timer_expired, rtc);
	loop_work_init(&rtc->h.rearm, rearm, rtc);
	rtc->h.region = (struct io_region){
		.name = "mc146818rtc",
		.base = LAYOUT_PORT_CMOS,
		.size = RTC_NR_PORTS,
		.min_size = 1,
		.max_size = 1,
		.read = rtc_read,
		.write = rtc_write,
		.opaque = rtc,
	};
	rtc->s.cmos[RTC_A] = A_RESET;
	rtc->s.cmos[RTC_B] = RTC_B_24H;
	rtc->s.synced_ns = guest_now(&rtc->s);
}

int rtc_create(struct vm *vm, struct err *e)
{
	struct rtc *rtc = calloc(1, sizeof(*rtc));
	int r;

	if (!rtc)
		return err_set(e, ENOMEM, "no memory for the real-time clock");
	rtc_init(rtc, vm_irq(vm, LAYOUT_IRQ_RTC), vm->loop);
	r = iobus_add(&vm->pio, &rtc->h.region, e);
	if (r) {
		rtc_destroy(&rtc->dev);
		return r;
	}
	device_add(vm, &rtc->dev, &rtc_class);
	return 0;
}
