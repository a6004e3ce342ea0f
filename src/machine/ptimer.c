/* SPDX-License-Identifier: MIT */
/* A countdown timer for devices that count: periodic or one-shot, exact, with its own state. */
#include "machine/ptimer.h"
#include "base/util.h"

#define NS_PER_S UINT64_C(1000000000)
#define NEVER    UINT64_MAX

/* Of products of two 64-bit numbers. */
typedef unsigned __int128 wide;

static const struct ptimer_state reset_state = { .rate_num = 1, .rate_den = 1 };

static const struct vs_field ptimer_fields[] = {
	VS_FIELD(struct ptimer_state, limit),
	VS_FIELD(struct ptimer_state, count),
	VS_FIELD_RANGE(struct ptimer_state, rate_num, 1, UINT64_MAX),
	VS_FIELD(struct ptimer_state, start_ns),
	VS_FIELD(struct ptimer_state, phase),
	VS_FIELD(struct ptimer_state, fired),
	VS_FIELD_RANGE(struct ptimer_state, rate_den, 1, UINT32_MAX),
	VS_FIELD_RANGE(struct ptimer_state, mode, PTIMER_STOPPED, PTIMER_ONE_SHOT),
	VS_END,
};

const struct vs_desc ptimer_state_desc = {
	.name = "ptimer/state",
	.version = 1,
	.min_version = 1,
	.size = sizeof(struct ptimer_state),
	.reset = &reset_state,
	.fields = ptimer_fields,
};

/* A state that was loaded may say that it runs without a limit, which it cannot. */
static bool runs(const struct ptimer_state *s)
{
	return s->mode != PTIMER_STOPPED && s->limit && s->count;
}

static uint64_t phase(const struct ptimer_state *s)
{
	return s->phase % s->rate_den;
}

/* Whole ticks from the start until @now. */
static wide ticks_until(const struct ptimer_state *s, uint64_t now)
{
	wide t;

	if (now <= s->start_ns)
		return 0;
	t = (wide)(now - s->start_ns) * s->rate_den;
	return t < phase(s) ? 0 : (t - phase(s)) / s->rate_num;
}

/* Expiries from the start until @ticks have passed. */
static uint64_t expiries(const struct ptimer_state *s, wide ticks)
{
	wide n;

	if (ticks < s->count)
		return 0;
	if (s->mode == PTIMER_ONE_SHOT)
		return 1;
	n = 1 + (ticks - s->count) / s->limit;
	return n > UINT64_MAX ? UINT64_MAX : (uint64_t)n;
}

/* When the first expiry comes that was not delivered. */
static uint64_t next_expiry(const struct ptimer_state *s)
{
	wide ticks, t;

	if (!runs(s))
		return NEVER;
	/* At most 2^128 - 2^64, so adding the count cannot overflow either. */
	ticks = (wide)s->fired * s->limit + s->count;
	if (__builtin_mul_overflow(ticks, (wide)s->rate_num, &t) ||
	    __builtin_add_overflow(t, (wide)phase(s) + s->rate_den - 1, &t))
		return NEVER;
	t = t / s->rate_den + s->start_ns;
	return t < NEVER ? (uint64_t)t : NEVER;
}

static uint64_t count_after(const struct ptimer_state *s, wide ticks)
{
	if (ticks < s->count)
		return s->count - (uint64_t)ticks;
	if (s->mode == PTIMER_ONE_SHOT)
		return 0;
	return s->limit - (uint64_t)((ticks - s->count) % s->limit);
}

static uint64_t now_ns(const struct ptimer *p)
{
	return p->clock->now_ns(p->clock->opaque);
}

static void rearm(struct ptimer *p, uint64_t now)
{
	uint64_t at = p->live ? next_expiry(p->s) : NEVER;

	if (at == NEVER)
		p->clock->cancel_alarm(p->clock->opaque);
	else
		p->clock->set_alarm(p->clock->opaque, MAX(at, now + PTIMER_MIN_ALARM_NS));
}

/* Delivers what is due at @now; the handler may have changed everything afterwards. */
static void deliver(struct ptimer *p, uint64_t now)
{
	struct ptimer_state *s = p->s;
	uint64_t due;

	if (!p->live || !runs(s))
		return;
	due = expiries(s, ticks_until(s, now));
	if (due <= s->fired)
		return;
	due -= s->fired;
	s->fired += due;
	if (s->mode == PTIMER_ONE_SHOT) {
		s->mode = PTIMER_STOPPED;
		s->count = 0;
	}
	p->expired(p->opaque, due);
}

/* Lets counting go on from @count, from the tick under way on or, with @fresh, from now on. */
static void restart(struct ptimer_state *s, uint64_t now, uint64_t count, bool fresh)
{
	wide t = (wide)phase(s) + ticks_until(s, now) * s->rate_num;

	if (fresh || now <= s->start_ns) {
		s->start_ns = now;
		s->phase = 0;
	} else {
		s->start_ns += (uint64_t)(t / s->rate_den);
		s->phase = (uint64_t)(t % s->rate_den);
	}
	s->count = count;
	s->fired = 0;
	if (!s->limit || !count)
		s->mode = PTIMER_STOPPED;
}

static uint64_t current_count(const struct ptimer_state *s, uint64_t now)
{
	return runs(s) ? count_after(s, ticks_until(s, now)) : s->count;
}

void ptimer_init(struct ptimer *p, struct ptimer_state *s, const struct ptimer_clock *clock,
		 void (*expired)(void *opaque, uint64_t n), void *opaque)
{
	*s = reset_state;
	*p = (struct ptimer){ .s = s, .clock = clock, .expired = expired, .opaque = opaque };
}

static void set_rate(struct ptimer *p, uint64_t num, uint32_t den)
{
	uint64_t now = now_ns(p);

	deliver(p, now);
	restart(p->s, now, current_count(p->s, now), true);
	p->s->rate_num = num;
	p->s->rate_den = den;
	rearm(p, now);
}

void ptimer_set_period_ns(struct ptimer *p, uint64_t ns)
{
	set_rate(p, MAX(ns, UINT64_C(1)), 1);
}

void ptimer_set_freq(struct ptimer *p, uint32_t hz)
{
	set_rate(p, NS_PER_S, MAX(hz, 1u));
}

void ptimer_set_limit(struct ptimer *p, uint64_t limit, bool reload)
{
	uint64_t now = now_ns(p), count;

	deliver(p, now);
	count = reload ? limit : current_count(p->s, now);
	p->s->limit = limit;
	restart(p->s, now, count, reload);
	rearm(p, now);
}

void ptimer_set_count(struct ptimer *p, uint64_t count)
{
	uint64_t now = now_ns(p);

	deliver(p, now);
	/* A running timer that is set to 0 begins its next period. */
	if (!count && p->s->mode == PTIMER_PERIODIC)
		count = p->s->limit;
	restart(p->s, now, count, true);
	rearm(p, now);
}

void ptimer_start(struct ptimer *p, bool one_shot)
{
	struct ptimer_state *s = p->s;
	uint64_t now = now_ns(p), count;
	bool was_running;

	deliver(p, now);
	was_running = runs(s);
	count = current_count(s, now);
	s->mode = one_shot ? PTIMER_ONE_SHOT : PTIMER_PERIODIC;
	restart(s, now, count ? count : s->limit, !was_running);
	rearm(p, now);
}

void ptimer_stop(struct ptimer *p)
{
	uint64_t now = now_ns(p), count;

	deliver(p, now);
	count = current_count(p->s, now);
	p->s->mode = PTIMER_STOPPED;
	restart(p->s, now, count, true);
	rearm(p, now);
}

uint64_t ptimer_get_count(const struct ptimer *p)
{
	return current_count(p->s, now_ns(p));
}

bool ptimer_is_running(const struct ptimer *p)
{
	return runs(p->s);
}

void ptimer_sync(struct ptimer *p)
{
	uint64_t now = now_ns(p);

	deliver(p, now);
	rearm(p, now);
}

void ptimer_alarm(struct ptimer *p)
{
	ptimer_sync(p);
}

void ptimer_run_changed(struct ptimer *p, bool running)
{
	p->live = running;
	ptimer_sync(p);
}

void ptimer_loaded(struct ptimer *p)
{
	rearm(p, now_ns(p));
}

void ptimer_rebase(struct ptimer_state *s, int64_t delta_ns)
{
	s->start_ns += (uint64_t)delta_ns;
}
