/* SPDX-License-Identifier: MIT */
/* A worker: samples the clocks, verifies memory and registers, counts. */
#include <sched.h>
#include <time.h>

#include "guestwatch.h"

/*
 * Nothing here is compiled to touch the FPU's registers, nor does what is called in
 * a round without a fault; so they hold known values all the time.
 */
#pragma GCC target("general-regs-only")

enum {
	BUSY_NS = 9000000,
	SLEEP_NS = 1000000,
	XMM_WORDS = 32,
};

uint64_t gw_clock_ns(int clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

uint64_t gw_cycles(void)
{
	return __builtin_ia32_rdtsc();
}

static void raise_max(_Atomic uint64_t *max, uint64_t value)
{
	uint64_t old = *max;

	while (value > old && !atomic_compare_exchange_weak(max, &old, value))
		;
}

/*
 * The highest time any vCPU has seen is loaded before the clock is read, so a
 * reading below it is a step back, on this vCPU or against another.
 */
static uint64_t sample_clock(struct watch *w, int clock, _Atomic uint64_t *max)
{
	uint64_t seen = *max, now = gw_clock_ns(clock);

	if (now < seen) {
		w->clocks.step_clock = clock;
		w->clocks.step = seen - now;
		w->clocks.steps_back++;
	}
	raise_max(max, now);
	return now;
}

static void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
}

/* All sixteen, from and to memory. */
static void xmm_load(const uint64_t from[XMM_WORDS])
{
	__asm__ volatile("movdqu 0x00(%0), %%xmm0; movdqu 0x10(%0), %%xmm1;"
			 "movdqu 0x20(%0), %%xmm2; movdqu 0x30(%0), %%xmm3;"
			 "movdqu 0x40(%0), %%xmm4; movdqu 0x50(%0), %%xmm5;"
			 "movdqu 0x60(%0), %%xmm6; movdqu 0x70(%0), %%xmm7;"
			 "movdqu 0x80(%0), %%xmm8; movdqu 0x90(%0), %%xmm9;"
			 "movdqu 0xa0(%0), %%xmm10; movdqu 0xb0(%0), %%xmm11;"
			 "movdqu 0xc0(%0), %%xmm12; movdqu 0xd0(%0), %%xmm13;"
			 "movdqu 0xe0(%0), %%xmm14; movdqu 0xf0(%0), %%xmm15"
			 :
			 : "r"(from)
			 : "memory");
}

static void xmm_store(uint64_t to[XMM_WORDS])
{
	__asm__ volatile("movdqu %%xmm0, 0x00(%0); movdqu %%xmm1, 0x10(%0);"
			 "movdqu %%xmm2, 0x20(%0); movdqu %%xmm3, 0x30(%0);"
			 "movdqu %%xmm4, 0x40(%0); movdqu %%xmm5, 0x50(%0);"
			 "movdqu %%xmm6, 0x60(%0); movdqu %%xmm7, 0x70(%0);"
			 "movdqu %%xmm8, 0x80(%0); movdqu %%xmm9, 0x90(%0);"
			 "movdqu %%xmm10, 0xa0(%0); movdqu %%xmm11, 0xb0(%0);"
			 "movdqu %%xmm12, 0xc0(%0); movdqu %%xmm13, 0xd0(%0);"
			 "movdqu %%xmm14, 0xe0(%0); movdqu %%xmm15, 0xf0(%0)"
			 :
			 : "r"(to)
			 : "memory");
}

static void check_xmm(struct gw_worker *k, const uint64_t wanted[XMM_WORDS])
{
	uint64_t is[XMM_WORDS], wrong = 0;

	xmm_store(is);
	for (int i = 0; i < XMM_WORDS; i++)
		wrong |= is[i] ^ wanted[i];
	if (!wrong)
		return;
	k->watch->pattern.bad_pages++;
	gw_say(k->watch, "guestwatch: a register of the FPU has changed on vCPU %d", k->cpu);
	xmm_load(wanted);
}

void *gw_worker_main(void *arg)
{
	struct gw_worker *k = arg;
	struct watch *w = k->watch;
	const struct timespec nap = { .tv_nsec = SLEEP_NS };
	uint64_t xmm_wanted[XMM_WORDS], last_ns, last_cycles, busy_since;

	for (int i = 0; i < XMM_WORDS; i++)
		xmm_wanted[i] = w->pattern.words[i + k->cpu] | 1;

	pin(k->cpu);
	xmm_load(xmm_wanted);
	last_ns = busy_since = gw_clock_ns(CLOCK_MONOTONIC);
	last_cycles = gw_cycles();
	for (;;) {
		uint64_t now = sample_clock(w, CLOCK_MONOTONIC, &w->clocks.mono_max_ns);
		uint64_t cycles = gw_cycles();

		sample_clock(w, CLOCK_REALTIME, &w->clocks.real_max_ns);
		if (now > last_ns)
			raise_max(&k->gap_ns, now - last_ns);
		if (cycles > last_cycles)
			raise_max(&k->gap_cycles, cycles - last_cycles);
		if (cycles < last_cycles) {
			w->clocks.step_clock = GW_CLOCK_TSC;
			w->clocks.step = last_cycles - cycles;
			w->clocks.steps_back++;
		}
		last_ns = now;
		last_cycles = cycles;
		gw_pattern_step(&w->pattern);
		gw_dirty_step(k);
		check_xmm(k, xmm_wanted);
		k->count++;
		if (now - busy_since > BUSY_NS) {
			nanosleep(&nap, NULL);
			busy_since = gw_clock_ns(CLOCK_MONOTONIC);
		}
	}
	return NULL;
}
