/* SPDX-License-Identifier: MIT */
/* All tables that travel as sections of their own, and states of them filled with chance. */
#ifndef TESTS_UNIT_ALL_STATES_H
#define TESTS_UNIT_ALL_STATES_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/util.h"
#include "dev/types.h"
#include "machine/globalstate.h"
#include "machine/vcpu_state.h"
#include "state/snapshot.h"
#include "update/ram_sample.h"

enum {
	MAX_DESCS = 64
};

static inline size_t all_descs(const struct vs_desc **descs)
{
	const struct device_class *c;
	size_t n = 0;

	descs[n++] = &vcpu_state_desc;
	descs[n++] = &vcpu_apic_state_desc;
	descs[n++] = &global_state_desc;
	descs[n++] = &ram_sample_desc;
	for (unsigned int i = 0; (c = dev_class_at(i)); i++) {
		assert_true(n < MAX_DESCS);
		if (c->state)
			descs[n++] = c->state;
	}
	return n;
}

/* Chance that is the same on every host: splitmix64. */
static inline uint64_t chance(uint64_t *seed)
{
	uint64_t z = (*seed += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static inline void fill_state(const struct vs_desc *d, void *s, uint64_t *seed);

static inline void fill_elem(const struct vs_field *f, void *p, bool is_count, uint64_t *seed)
{
	uint64_t v = chance(seed);

	if (f->kind == VS_KIND_STRUCT) {
		fill_state(f->sub, p, seed);
		return;
	}
	if (f->kind == VS_KIND_BOOL || f->kind == VS_KIND_BUFFER)
		v &= f->kind == VS_KIND_BOOL ? 1 : 0xff;
	else if (is_count)
		v = 1 + v % 5;
	else if (f->has_range && f->max - f->min != UINT64_MAX)
		v = f->min + v % (f->max - f->min + 1);
	/* Little-endian, as the machines this is for. */
	memcpy(p, &v, f->elem_size);
}

/* Each field gets a value that its table accepts; counts of variable parts stay small. */
static inline void fill_state(const struct vs_desc *d, void *s, uint64_t *seed)
{
	if (d == &global_state_desc) {
		global_state_set(s, RUNSTATE_PAUSED, chance(seed) & 1);
		return;
	}
	for (const struct vs_field *f = d->fields; f->name; f++) {
		bool is_count = false;
		uint32_t n = f->count;

		for (const struct vs_field *v = d->fields; v->name; v++)
			is_count = is_count || (v->var_len && v->len_offset == f->offset);
		if (f->var_len)
			n = *(const uint32_t *)((const char *)s + f->len_offset);
		for (uint32_t i = 0; i < n; i++)
			fill_elem(f, (char *)s + f->offset + (size_t)i * f->elem_size, is_count,
				  seed);
	}
	for (const struct vs_subsection *sub = d->subsections; sub && sub->desc; sub++)
		fill_state(sub->desc, s, seed);
	/* Its check wants names that end. */
	for (uint32_t i = 0; d == &ram_sample_desc && i < RAM_MAX_BLOCKS; i++)
		((struct ram_sample *)s)->blocks[i].name[RAM_BLOCK_NAME_MAX - 1] = 0;
}

/* A machine with two vCPUs and two of each device, nothing in its states yet. */
static inline void list_all_states(struct snapshot *s)
{
	const struct vs_desc *descs[MAX_DESCS];
	size_t n = all_descs(descs);
	struct err e;

	snapshot_init(s, LAYOUT_MACHINE_TYPE);
	assert_int_equal(snapshot_add_ram(s, "pc.ram", 64 * MIB, &e), 0);
	for (unsigned int copy = 0; copy < 2; copy++)
		for (size_t i = 0; i < n; i++)
			if (!copy || descs[i] != &global_state_desc)
				assert_int_equal(snapshot_add(s, descs[i]->name,
							      SNAPSHOT_AUTO_INSTANCE, descs[i], &e),
						 0);
}

static inline void fill_all_states(struct snapshot *s, uint64_t seed)
{
	list_all_states(s);
	for (size_t i = 0; i < s->nr_items; i++)
		fill_state(s->items[i].desc, s->items[i].state, &seed);
}

#endif
