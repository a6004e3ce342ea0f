/* SPDX-License-Identifier: MIT */
/* What has state in a machine, as one side of an update tells the other before the guest stops. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/parse.h"
#include "base/util.h"
#include "update/sections.h"

enum {
	NAME_BYTES = SIZEOF_FIELD(struct snapshot_item, idstr) + sizeof(" 4294967295")
};

static void put_name(char name[NAME_BYTES], const char *idstr, uint32_t instance)
{
	snprintf(name, NAME_BYTES, "%s %u", idstr, instance);
}

json_t *sections_list(const struct snapshot *s)
{
	json_t *list = json_array();
	char name[NAME_BYTES];

	for (size_t i = 0; i < s->nr_items; i++) {
		if (snapshot_item_is_left_out(&s->items[i]))
			continue;
		put_name(name, s->items[i].idstr, s->items[i].instance_id);
		json_array_append_new(list, json_string(name));
	}
	return list;
}

json_t *sections_versions(const struct snapshot *s)
{
	json_t *versions = json_object();

	for (size_t i = 0; i < s->nr_items; i++)
		json_object_set_new(versions, s->items[i].idstr,
				    json_integer(s->items[i].desc->version));
	return versions;
}

/* The item called @name, "idstr instance"; the idstr in @idstr. */
static struct snapshot_item *find_named(const struct snapshot *s, const char *name,
					char idstr[NAME_BYTES])
{
	const char *space = strrchr(name, ' ');
	uint64_t instance;
	struct err ignored;

	if (!space || space - name >= NAME_BYTES ||
	    parse_uint(space + 1, UINT32_MAX, &instance, &ignored))
		return NULL;
	memcpy(idstr, name, (size_t)(space - name));
	idstr[space - name] = '\0';
	return snapshot_find_loading(s, idstr, (uint32_t)instance);
}

static bool list_has(json_t *list, const char *idstr, uint32_t instance)
{
	char name[NAME_BYTES];
	const char *s;

	put_name(name, idstr, instance);
	for (size_t i = 0; i < json_array_size(list); i++) {
		s = json_string_value(json_array_get(list, i));
		if (s && !strcmp(s, name))
			return true;
	}
	return false;
}

static int check_version(const struct vs_desc *d, json_t *version, struct err *e)
{
	json_int_t v = json_integer_value(version);

	if (!version)
		return 0;
	if (!json_is_integer(version) || v < 0 || v > UINT32_MAX)
		return err_set(e, EINVAL, "the old machine's version of '%s' is no version",
			       d->name);
	return vs_check_version(d, (uint32_t)v, e);
}

int sections_check(const struct snapshot *ours, json_t *theirs, json_t *versions, struct err *e)
{
	for (size_t i = 0; i < json_array_size(theirs); i++) {
		const char *name = json_string_value(json_array_get(theirs, i));
		const struct snapshot_item *it = NULL;
		char idstr[NAME_BYTES];
		int r;

		if (name)
			it = find_named(ours, name, idstr);
		if (!it)
			return err_set(e, EINVAL, "the old machine has '%s', this one has not",
				       name ? name : "something without a name");
		r = check_version(it->desc, json_object_get(versions, idstr), e);
		if (r)
			return r;
	}
	for (size_t i = 0; i < ours->nr_items; i++) {
		const struct snapshot_item *it = &ours->items[i];

		if (it->optional || it->dispensable ||
		    list_has(theirs, it->idstr, it->instance_id) ||
		    (it->alias_idstr[0] &&
		     list_has(theirs, it->alias_idstr, it->alias_instance_id)))
			continue;
		return err_set(e, EINVAL, "this machine has '%s %u', the old one has not",
			       it->idstr, it->instance_id);
	}
	return 0;
}
