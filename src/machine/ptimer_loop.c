/* SPDX-License-Identifier: MIT */
/* The clock of countdown timers in a real machine: the host's, with an alarm in the event loop. */
#include "machine/ptimer_loop.h"
#include "host/clock.h"

static uint64_t loop_now_ns(void *opaque)
{
	(void)opaque;
	return clock_boottime_ns();
}

/* On the loop's thread. */
static void rearm(void *opaque)
{
	struct ptimer_loop *l = opaque;

	if (l->at_ns == UINT64_MAX)
		loop_timer_cancel(&l->alarm);
	else
		loop_timer_set(l->loop, &l->alarm, l->at_ns);
}

static void set_alarm(void *opaque, uint64_t at_ns)
{
	struct ptimer_loop *l = opaque;

	if (l->at_ns == at_ns)
		return;
	l->at_ns = at_ns;
	loop_post(l->loop, &l->rearm);
}

static void cancel_alarm(void *opaque)
{
	set_alarm(opaque, UINT64_MAX);
}

static void ring(void *opaque)
{
	struct ptimer_loop *l = opaque;

	/* It may have been moved since the loop's thread set it. */
	l->at_ns = UINT64_MAX;
	ptimer_alarm(l->timer);
}

void ptimer_loop_init(struct ptimer_loop *l, struct loop *loop, struct ptimer *timer)
{
	*l = (struct ptimer_loop){
		.clock = { .now_ns = loop_now_ns,
			   .set_alarm = set_alarm,
			   .cancel_alarm = cancel_alarm,
			   .opaque = l },
		.loop = loop,
		.timer = timer,
		.at_ns = UINT64_MAX,
	};
	loop_timer_init(&l->alarm, ring, l);
	loop_work_init(&l->rearm, rearm, l);
}

void ptimer_loop_fini(struct ptimer_loop *l)
{
	loop_timer_cancel(&l->alarm);
	loop_work_cancel(l->loop, &l->rearm);
}
