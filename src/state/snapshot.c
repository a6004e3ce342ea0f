/* SPDX-License-Identifier: MIT */
/* The state of a whole machine at one instant, held apart from the machine. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "state/snapshot.h"

void snapshot_init(struct snapshot *s, const char *machine)
{
	*s = (struct snapshot){ 0 };
	snprintf(s->machine, sizeof(s->machine), "%s", machine);
}

void snapshot_fini(struct snapshot *s)
{
	for (size_t i = 0; i < s->nr_items; i++)
		free(s->items[i].state);
	free(s->items);
	free(s->rams);
	*s = (struct snapshot){ 0 };
}

struct snapshot_item *snapshot_find(const struct snapshot *s, const char *idstr,
				    uint32_t instance_id)
{
	for (size_t i = 0; i < s->nr_items; i++)
		if (s->items[i].instance_id == instance_id && !strcmp(s->items[i].idstr, idstr))
			return &s->items[i];
	return NULL;
}

struct snapshot_item *snapshot_find_loading(const struct snapshot *s, const char *idstr,
					    uint32_t instance_id)
{
	struct snapshot_item *it = snapshot_find(s, idstr, instance_id);

	for (size_t i = 0; !it && i < s->nr_items; i++)
		if (s->items[i].alias_idstr[0] && s->items[i].alias_instance_id == instance_id &&
		    !strcmp(s->items[i].alias_idstr, idstr))
			it = &s->items[i];
	return it;
}

/* One more than the highest; below the reserved value, whatever others chose. */
static uint32_t free_instance(const struct snapshot *s, const char *idstr)
{
	uint32_t id = 0;

	for (size_t i = 0; i < s->nr_items; i++)
		if (!strcmp(s->items[i].idstr, idstr) && s->items[i].instance_id >= id)
			id = s->items[i].instance_id + 1;
	if (id != SNAPSHOT_AUTO_INSTANCE)
		return id;
	for (id = 0; snapshot_find(s, idstr, id);)
		id++;
	return id;
}

int snapshot_add(struct snapshot *s, const char *idstr, uint32_t instance_id,
		 const struct vs_desc *desc, struct err *e)
{
	struct snapshot_item *it;
	void *p;

	if (desc->unmigratable)
		return err_set(e, EOPNOTSUPP, "State blocked by non-migratable device '%s'", idstr);
	if (strlen(idstr) >= sizeof(it->idstr))
		return err_set(e, ENAMETOOLONG, "'%s' is too long to be the name of a state",
			       idstr);
	if (instance_id == SNAPSHOT_AUTO_INSTANCE)
		instance_id = free_instance(s, idstr);
	if (snapshot_find_loading(s, idstr, instance_id))
		return err_set(e, EEXIST, "two things with the state name '%s' %u", idstr,
			       instance_id);
	if (s->nr_items == s->cap_items) {
		size_t cap = s->cap_items ? s->cap_items * 2 : 16;

		p = realloc(s->items, cap * sizeof(*s->items));
		if (!p)
			return err_set(e, ENOMEM, "no memory for the state of '%s'", idstr);
		s->items = p;
		s->cap_items = cap;
	}
	p = calloc(1, desc->size);
	if (!p)
		return err_set(e, ENOMEM, "no memory for the state of '%s'", idstr);
	/* Its pages are there from now on: a state is put into it while the guest stands still. */
	explicit_bzero(p, desc->size);
	it = &s->items[s->nr_items++];
	*it = (struct snapshot_item){ .instance_id = instance_id, .desc = desc, .state = p };
	snprintf(it->idstr, sizeof(it->idstr), "%s", idstr);
	return 0;
}

int snapshot_add_alias(struct snapshot *s, const char *idstr, uint32_t instance_id, struct err *e)
{
	struct snapshot_item *it = &s->items[s->nr_items - 1];

	if (strlen(idstr) >= sizeof(it->alias_idstr))
		return err_set(e, ENAMETOOLONG, "'%s' is too long to be the name of a state",
			       idstr);
	if (instance_id == SNAPSHOT_AUTO_INSTANCE || snapshot_find_loading(s, idstr, instance_id))
		return err_set(e, EEXIST, "two things with the state name '%s' %u", idstr,
			       instance_id);
	snprintf(it->alias_idstr, sizeof(it->alias_idstr), "%s", idstr);
	it->alias_instance_id = instance_id;
	return 0;
}

bool snapshot_item_is_left_out(const struct snapshot_item *it)
{
	const uint8_t *p = it->state, *reset = it->desc->reset;

	for (uint32_t i = 0; it->optional && i < it->desc->size; i++)
		if (p[i] != (reset ? reset[i] : 0))
			return false;
	return it->optional;
}

int snapshot_add_ram(struct snapshot *s, const char *name, uint64_t size, struct err *e)
{
	struct snapshot_ram *p = realloc(s->rams, (s->nr_rams + 1) * sizeof(*p));

	if (!p)
		return err_set(e, ENOMEM, "no memory to list RAM block '%s'", name);
	s->rams = p;
	p = &s->rams[s->nr_rams++];
	*p = (struct snapshot_ram){ .size = size, .in_place = true };
	snprintf(p->name, sizeof(p->name), "%s", name);
	return 0;
}
