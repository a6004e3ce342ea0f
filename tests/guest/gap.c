/* SPDX-License-Identifier: MIT */
/*
 * gap.c - samples the TSC without pause and keeps patterns in its memory.
 *
 * Options: pattern=SIZE (static part), changing=SIZE, thr=CYCLES (shortest gap
 * that is recorded), touch=1|2 (read or write all RAM once at the start),
 * sleep=MS (sleep after each step until the timer's next tick, every MS; what
 * it sleeps is recorded as gaps).
 */
#include "guest.h"

#define PAGE             4096ul
#define WORDS            (PAGE / 8)
#define SAMPLES_PER_STEP 4096
#define STATIC_SEED      0x5bd1e995u
#define VECTOR_TICK      0x40
#define VECTOR_SLEEP     0x50
#define LVT_PERIODIC     0x20000u
#define DIVIDE_BY_1      0xb
#define NS_PER_MS        1000000u

const uint64_t guest_kind = ABI_KIND_GAP;

/* In a crawl RAM is visited so often on average: few pages are left out then. */
#define CRAWL_VISITS 8

static volatile struct abi_gap *gap(void)
{
	return abi_body();
}

static inline uint64_t mix(uint64_t x)
{
	x *= 0x9e3779b97f4a7c15ul;
	return x ^ x >> 29;
}

static void page_fill(uint64_t gpa, uint64_t seed)
{
	volatile uint64_t *p = (volatile uint64_t *)gpa;
	unsigned int i;

	for (i = 0; i < WORDS; i++)
		p[i] = mix((gpa + i * 8) ^ seed);
}

static uint64_t page_verify(uint64_t gpa, uint64_t seed)
{
	volatile uint64_t *p = (volatile uint64_t *)gpa;
	uint64_t wrong = 0;
	unsigned int i;

	for (i = 0; i < WORDS; i++)
		wrong += p[i] != mix((gpa + i * 8) ^ seed);
	return wrong;
}

/* One page of each part; round is the number of steps done before. */
static void memory_step(uint64_t round)
{
	volatile struct abi_gap *g = gap();
	uint64_t pages, gpa, pass, wrong;

	pages = g->static_bytes / PAGE;
	if (pages) {
		gpa = g->static_gpa + round % pages * PAGE;
		wrong = page_verify(gpa, STATIC_SEED);
		g->static_errors += wrong;
		abi_head()->errors += wrong;
		g->static_checks++;
	}
	pages = g->changing_bytes / PAGE;
	if (pages) {
		gpa = g->changing_gpa + round % pages * PAGE;
		pass = round / pages;
		wrong = page_verify(gpa, pass << 32);
		g->changing_errors += wrong;
		abi_head()->errors += wrong;
		page_fill(gpa, (pass + 1) << 32);
		g->changing_checks++;
	}
}

static uint64_t sample(uint64_t prev)
{
	volatile struct abi_gap *g = gap();
	volatile struct abi_ring_entry *ring;
	uint64_t threshold = g->threshold, now, d;
	unsigned int i;

	ring = (volatile struct abi_ring_entry *)(ABI_GPA + ABI_RING_OFFSET);
	for (i = 0; i < SAMPLES_PER_STEP; i++) {
		now = rdtsc();
		if (__builtin_expect(now < prev, 0)) {
			g->backward++;
			abi_head()->errors++;
			prev = now;
			continue;
		}
		d = now - prev;
		if (__builtin_expect(d > threshold, 0)) {
			ring += g->gaps % ABI_RING_ENTRIES;
			ring->tsc_start = prev;
			ring->tsc_end = now;
			ring -= g->gaps % ABI_RING_ENTRIES;
			g->gap_sum += d;
			if (d > g->gap_max)
				g->gap_max = d;
			g->gaps++;
		}
		prev = now;
	}
	g->samples += SAMPLES_PER_STEP;
	g->last_tsc = prev;
	return prev;
}

/* Ranges of RAM are few; a table keeps the search out of the measured loop. */
struct range {
	uint64_t first_page, start;
};

/*
 * Writes to pages of all RAM in a random order, and notes how long each
 * stretch of it took: what a guest that uses its memory has of its speed.
 */
static uint64_t crawl(void)
{
	volatile uint64_t *curve = (volatile uint64_t *)(ABI_GPA + ABI_CURVE_OFFSET);
	uint64_t start, end = ABI_GPA + ABI_SIZE, pages = 0, x = 0x2545f4914f6cdd1dul;
	uint64_t begin = rdtsc(), from, steps, i, a;
	struct range range[4];
	unsigned int n = 0, r, e;

	while (n < 4 && ram_range_from(end, &start, &end)) {
		range[n].first_page = pages;
		range[n++].start = start;
		pages += (end - start) / PAGE;
	}
	steps = pages * CRAWL_VISITS / ABI_CURVE_ENTRIES + 1;
	for (e = 0; e < ABI_CURVE_ENTRIES; e++) {
		from = rdtsc();
		for (i = 0; i < steps; i++) {
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
			/* The high half of a product: no division. */
			a = (uint64_t)((unsigned __int128)x * pages >> 64);
			for (r = n - 1; a < range[r].first_page; r--)
				;
			a = range[r].start + (a - range[r].first_page) * PAGE;
			*(volatile uint64_t *)a = *(volatile uint64_t *)a;
		}
		curve[e] = rdtsc() - from;
	}
	return rdtsc() - begin;
}

static void sleep_init(uint64_t ms)
{
	lapic_enable();
	idt_set(VECTOR_SLEEP, isr_sleep);
	idt_set(VECTOR_TICK, isr_count);
	lapic_write(LAPIC_REG_TIMER_DIVIDE, DIVIDE_BY_1);
	lapic_write(LAPIC_REG_LVT_TIMER, LVT_PERIODIC | VECTOR_TICK);
	lapic_write(LAPIC_REG_TIMER_INITIAL, (uint32_t)(ms * NS_PER_MS));
}

void guest_main(void)
{
	volatile struct abi_gap *g = gap();
	uint64_t start, end = ABI_GPA + ABI_SIZE, a, prev, round = 0;
	uint64_t touch = option_number("touch", 0);
	uint64_t sleep_ms = option_number("sleep", 0);

	g->threshold = option_number("thr", 100000);
	g->static_gpa = ABI_PATTERN_GPA;
	g->static_bytes = option_number("pattern", 1ul << 20) & ~(PAGE - 1);
	g->changing_gpa = g->static_gpa + g->static_bytes;
	g->changing_bytes = option_number("changing", 256ul << 10) & ~(PAGE - 1);
	while (touch && ram_range_from(end, &start, &end)) {
		for (a = start; a < end; a += PAGE) {
			volatile uint64_t *p = (volatile uint64_t *)a;

			if (touch == 2)
				*p = *p;
			else
				(void)*p;
		}
	}
	for (a = 0; a < g->static_bytes; a += PAGE)
		page_fill(g->static_gpa + a, STATIC_SEED);
	for (a = 0; a < g->changing_bytes; a += PAGE)
		page_fill(g->changing_gpa + a, 0);
	if (sleep_ms)
		sleep_init(sleep_ms);
	guest_ready();
	prev = rdtsc();
	for (;;) {
		prev = sample(prev);
		memory_step(round++);
		abi_head()->heartbeat++;
		if (sleep_ms)
			lapic_send_self(VECTOR_SLEEP);
		switch (request_poll()) {
		case 0:
			break;
		case ABI_REQUEST_CRAWL:
			request_done(crawl());
			break;
		default:
			request_done(0);
		}
	}
}
