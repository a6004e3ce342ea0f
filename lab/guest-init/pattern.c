/* SPDX-License-Identifier: MIT */
/* Memory with known contents: one large area only read, small ones rewritten. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#include "guestwatch.h"

/* As in worker.c: the workers keep values in the FPU's registers. */
#pragma GCC target("general-regs-only")

/* A word that follows from its place and a seed, spread over all 64 bits. */
static uint64_t word_at(uint64_t seed, uint64_t index)
{
	uint64_t x = (seed + index) * 0x9e3779b97f4a7c15;

	x ^= x >> 29;
	return x * 0xbf58476d1ce4e5b9;
}

static uint64_t *map_pages(uint64_t pages)
{
	void *p = mmap(NULL, pages * GW_PAGE_WORDS * sizeof(uint64_t), PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (p == MAP_FAILED) {
		fprintf(stderr, "guestwatch: no memory for %llu pages\n",
			(unsigned long long)pages);
		exit(1);
	}
	return p;
}

void gw_pattern_init(struct gw_pattern *p)
{
	const uint64_t words = (uint64_t)GW_PAGES * GW_PAGE_WORDS;

	p->seed = gw_clock_ns(CLOCK_REALTIME) ^ gw_cycles() << 20;
	p->words = map_pages(GW_PAGES);
	for (uint64_t i = 0; i < words; i++)
		p->words[i] = word_at(p->seed, i);
}

void gw_pattern_step(struct gw_pattern *p)
{
	uint64_t turn = p->cursor++, page = turn % GW_PAGES, hash = page;
	const uint64_t *word = p->words + page * GW_PAGE_WORDS;
	struct gw_pass *pass = &p->pass[turn / GW_PAGES % GW_PASSES];
	bool good = true;

	for (uint64_t i = 0; i < GW_PAGE_WORDS; i++) {
		good &= word[i] == word_at(p->seed, page * GW_PAGE_WORDS + i);
		hash = (hash ^ word[i]) * 0x100000001b3;
	}
	if (!good)
		p->bad_pages++;
	pass->hash += hash;
	if (++pass->pages_done == GW_PAGES) {
		p->hash = pass->hash;
		pass->hash = 0;
		pass->pages_done = 0;
		p->passes++;
	}
}

void gw_dirty_step(struct gw_worker *k)
{
	uint64_t which = k->count % GW_DIRTY_PAGES, gen = k->dirty_generation[which];
	uint64_t seed = (uint64_t)k->cpu << 56 ^ which << 48;
	uint64_t *word;
	bool good = true;

	if (!k->dirty)
		k->dirty = map_pages(GW_DIRTY_PAGES);
	word = k->dirty + which * GW_PAGE_WORDS;
	for (uint64_t i = 0; i < GW_PAGE_WORDS; i++) {
		good &= gen == 0 || word[i] == word_at(seed ^ gen, i);
		word[i] = word_at(seed ^ (gen + 1), i);
	}
	k->dirty_generation[which] = gen + 1;
	if (!good)
		k->watch->pattern.bad_pages++;
}
