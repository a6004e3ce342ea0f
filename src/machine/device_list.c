/* SPDX-License-Identifier: MIT */
/* The devices one has asked for, as they travel in an update's configuration. */
#include <errno.h>
#include <string.h>

#include "base/util.h"
#include "machine/device_list.h"
#include "machine/vm.h"

json_t *device_list_to_json(const struct vm *vm)
{
	json_t *list = json_array();
	bool failed = !list;

	for (const struct list *pos = vm->devices.next; !failed && pos != &vm->devices;
	     pos = pos->next) {
		const struct device *d = CONTAINER_OF(pos, struct device, link);

		if (d->spec)
			failed = json_array_append_new(list, device_to_json(d)) != 0;
	}
	if (failed)
		json_decref(TAKE_PTR(list));
	return list;
}

json_t *device_list_removed(const struct vm *vm)
{
	return vm->removed ? json_deep_copy(vm->removed) : json_array();
}

void device_list_add_removed(struct vm *vm, json_t *device)
{
	if (!vm->removed)
		vm->removed = json_array();
	json_array_append(vm->removed, device);
}

/* How messages call a device that is asked for. */
static const char *name_of(const struct device_spec *s)
{
	return *s->config->id ? s->config->id : s->type->driver;
}

static int create_one(struct vm *vm, const json_t *j, struct err *e)
{
	struct device *d = NULL;
	struct device_spec s;
	int r = device_spec_from_json(&s, j, e);

	if (r)
		return err_prefix(e, "a device of the old machine cannot be had here");
	r = device_spec_create(vm, &s, &d, e);
	if (r)
		r = err_prefix(e, "device '%s' of the old machine cannot be had here", name_of(&s));
	else
		d->hotplugged = d->unclaimed = true;
	device_spec_fini(&s);
	return r;
}

int device_list_create(struct vm *vm, const json_t *devices, struct err *e)
{
	int r = 0;

	if (devices && !json_is_array(devices))
		return err_set(e, EPROTO, "the old side's list of devices is no list");
	for (size_t i = 0; !r && i < json_array_size(devices); i++)
		r = create_one(vm, json_array_get(devices, i), e);
	return r;
}

/* The name of @s's spec as the device has it, to compare with. */
static int compare(const struct device *d, const struct device_spec *s, struct err *e)
{
	struct device_spec theirs;
	json_t *j = device_to_json(d);
	int r = j ? device_spec_from_json(&theirs, j, e)
		  : err_set(e, ENOMEM, "no memory to compare devices");

	json_decref(j);
	if (r)
		return r;
	r = device_spec_check_same(s, &theirs, e);
	device_spec_fini(&theirs);
	return r;
}

static bool is_candidate(const struct device *d, const struct device_spec *s)
{
	return d->unclaimed && !strcmp(d->id, s->config->id) &&
	       (*d->id || d->spec->type == s->type);
}

int device_list_claim(struct vm *vm, const struct device_spec *s, struct device **out,
		      struct err *e)
{
	bool candidate = false;

	for (const struct list *pos = vm->devices.next; pos != &vm->devices; pos = pos->next) {
		struct device *d = CONTAINER_OF(pos, struct device, link);
		struct err why;

		if (!is_candidate(d, s))
			continue;
		if (compare(d, s, candidate ? &why : e)) {
			candidate = true;
			continue;
		}
		d->unclaimed = false;
		*out = d;
		return 0;
	}
	if (candidate)
		return err_prefix(e, "device '%s' is another one in the old machine", name_of(s));
	return err_set(e, ENOENT, "the old machine has no device '%s'", name_of(s));
}

bool device_list_was_removed(json_t *removed, const struct device_spec *s)
{
	for (size_t i = 0; i < json_array_size(removed); i++) {
		struct device_spec gone;
		struct err ignored;
		bool same;

		if (device_spec_from_json(&gone, json_array_get(removed, i), &ignored))
			continue;
		same = !strcmp(gone.config->id, s->config->id) &&
		       !device_spec_check_same(s, &gone, &ignored);
		device_spec_fini(&gone);
		if (same)
			json_array_remove(removed, i);
		if (same)
			return true;
	}
	return false;
}

void device_list_hold(struct vm *vm)
{
	vm->devices_held = true;
}

void device_list_release(struct vm *vm)
{
	struct list *pos = vm->devices.next;

	vm->devices_held = false;
	while (!vm->foreign && pos != &vm->devices) {
		struct device *d = CONTAINER_OF(pos, struct device, link);

		pos = pos->next;
		if (!d->leaving)
			continue;
		device_remove(d);
		/* It may have taken others along. */
		pos = vm->devices.next;
	}
}
