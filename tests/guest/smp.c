/* SPDX-License-Identifier: MIT */
/*
 * smp.c - starts other vCPUs; each counts in its own slot at CPL 3, watches the
 * TSC and takes interrupts sent by the first.
 *
 * Options: cpus=N (2 to 16), ipi=CYCLES between two interrupts to one vCPU.
 */
#include "guest.h"

#define TRAMPOLINE_GPA    0x8000
#define START_CYCLES      30000
#define START_WAIT_CYCLES 6000000000ul
#define VECTOR_IPI        0x60
#define IPI_STUB_BYTES    32

const uint64_t guest_kind = ABI_KIND_SMP;

extern uint8_t ap_trampoline[], ap_trampoline_end[];
void guest_start_ap(unsigned int cpu);

_Static_assert(offsetof(struct abi_smp, slot) == 16, "isr_ipi_stubs");
_Static_assert(sizeof(struct abi_smp_slot) == 64, "isr_ipi_stubs");
_Static_assert(offsetof(struct abi_smp_slot, ipi_received) == 56, "isr_ipi_stubs");

static volatile struct abi_smp *smp(void)
{
	return abi_body();
}

static void tsc_watch(unsigned int cpu, uint64_t cpus)
{
	volatile struct abi_smp_slot *own = &smp()->slot[cpu];
	uint64_t other = 0, seen, now;
	unsigned int i;

	for (i = 0; i < cpus; i++) {
		seen = smp()->slot[i].last_tsc;
		if (i != cpu && seen > other)
			other = seen;
	}
	__asm__ volatile("lfence" ::: "memory");
	now = rdtsc();
	if (now < own->last_tsc) {
		own->backward++;
		__atomic_fetch_add((uint64_t *)&abi_head()->errors, 1, __ATOMIC_RELAXED);
	}
	if (now < other) {
		own->skew++;
		if (other - now > own->skew_max)
			own->skew_max = other - now;
	}
	own->last_tsc = now;
	own->count++;
}

static void ipi_target(unsigned int cpu)
{
	lapic_write(LAPIC_REG_ICR_HIGH, (uint32_t)smp()->slot[cpu].apic_id << 24);
}

static bool ap_start(unsigned int cpu)
{
	uint64_t begin, before = smp()->started;

	smp()->slot[cpu].apic_id = cpu;
	ipi_target(cpu);
	lapic_write(LAPIC_REG_ICR_LOW, LAPIC_ICR_INIT | LAPIC_ICR_ASSERT);
	spin_cycles(START_CYCLES);
	ipi_target(cpu);
	lapic_write(LAPIC_REG_ICR_LOW, LAPIC_ICR_STARTUP | LAPIC_ICR_ASSERT | TRAMPOLINE_GPA >> 12);
	begin = rdtsc();
	while (smp()->started == before)
		if (rdtsc() - begin > START_WAIT_CYCLES)
			return false;
	return true;
}

/* Entered by every CPU but the first, at CPL 3. */
void guest_start_ap(unsigned int cpu)
{
	lapic_enable();
	__atomic_fetch_add((uint64_t *)&smp()->started, 1, __ATOMIC_SEQ_CST);
	for (;;)
		tsc_watch(cpu, smp()->cpus);
}

static void ipi_step(uint64_t cpus, uint64_t every, uint64_t *next)
{
	volatile struct abi_smp_slot *s;
	unsigned int i;

	if (rdtsc() < *next)
		return;
	for (i = 1; i < cpus; i++) {
		s = &smp()->slot[i];
		if (s->ipi_sent != s->ipi_received)
			continue;
		s->ipi_sent++;
		ipi_target(i);
		lapic_write(LAPIC_REG_ICR_LOW, LAPIC_ICR_ASSERT | (VECTOR_IPI + i));
	}
	*next = rdtsc() + every;
}

void guest_main(void)
{
	uint64_t every = option_number("ipi", 1000000), next = 0;
	uint64_t cpus = option_number("cpus", 2);
	uint8_t *to = (uint8_t *)TRAMPOLINE_GPA;
	uint8_t *from;
	unsigned int i;

	if (cpus > ABI_CPUS_MAX)
		cpus = ABI_CPUS_MAX;
	for (from = ap_trampoline; from < ap_trampoline_end; from++)
		*to++ = *from;
	for (i = 0; i < ABI_CPUS_MAX; i++)
		idt_set((uint8_t)(VECTOR_IPI + i),
			(void (*)(void))((uint64_t)isr_ipi_stubs + i * IPI_STUB_BYTES));
	smp()->cpus = cpus;
	smp()->started = 1;
	lapic_enable();
	for (i = 1; i < cpus; i++)
		if (!ap_start(i))
			abi_head()->errors++;
	guest_ready();
	for (;;) {
		tsc_watch(0, cpus);
		ipi_step(cpus, every, &next);
		abi_head()->heartbeat++;
		if (request_poll())
			request_done(0);
	}
}
