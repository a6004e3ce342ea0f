/* SPDX-License-Identifier: MIT */
/* Devices of the command line: -device. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "dev/pc/pc.h"
#include "machine/device_list.h"
#include "machine/vm.h"
#include "main/device_options.h"
#include "update/extras.h"

int device_options_parse(struct device_options *o, const char *arg, struct err *e)
{
	struct device_spec *specs;
	int r;

	if (o->n == DEVICE_OPTIONS_MAX)
		return err_set(e, E2BIG, "more than %d devices", DEVICE_OPTIONS_MAX);
	specs = realloc(o->specs, (o->n + 1) * sizeof(*specs));
	if (!specs)
		return err_set(e, ENOMEM, "no memory for a device");
	o->specs = specs;
	r = device_spec_parse(&specs[o->n], arg, e);
	if (!r)
		o->n++;
	return r;
}

/* As an operator would find it on the command line. */
static int name_device(const struct device_spec *s, struct err *e)
{
	const char *id = s->config->id;

	return err_prefix(e, "-device %s%s%s", s->type->driver, *id ? ",id=" : "", id);
}

static int create_fresh(const struct device_options *o, struct vm *vm, struct err *e)
{
	struct device *d;
	int r = 0;

	for (unsigned int i = 0; !r && i < o->n; i++) {
		r = device_spec_create(vm, &o->specs[i], &d, e);
		if (r)
			r = name_device(&o->specs[i], e);
	}
	return r;
}

/* Each option is one of the old machine's devices, or was one. */
static int claim_all(const struct device_options *o, struct vm *vm, json_t *removed, struct err *e)
{
	for (unsigned int i = 0; i < o->n; i++) {
		const struct device_spec *s = &o->specs[i];
		struct device *d;
		json_t *gone;

		if (device_list_was_removed(removed, s)) {
			gone = device_spec_to_json(s);
			device_list_add_removed(vm, gone);
			json_decref(gone);
			continue;
		}
		if (device_list_claim(vm, s, &d, e))
			return name_device(s, e);
		d->hotplugged = false;
	}
	return 0;
}

int device_options_create(const struct device_options *o, struct vm *vm,
			  const struct cpr_state *cpr, struct err *e)
{
	json_t *devices = NULL, *removed = NULL;
	int r;

	if (!cpr)
		return create_fresh(o, vm, e);
	r = extras_find(cpr, "devices", &devices, e);
	if (!r)
		r = extras_find(cpr, "removed", &removed, e);
	if (!r)
		r = device_list_create(vm, devices, e);
	if (!r)
		r = claim_all(o, vm, removed, e);
	json_decref(devices);
	json_decref(removed);
	return r;
}

void device_options_fini(struct device_options *o)
{
	for (unsigned int i = 0; i < o->n; i++)
		device_spec_fini(&o->specs[i]);
	free(TAKE_PTR(o->specs));
	o->n = 0;
}

bool device_options_has_help(const char *arg)
{
	AUTO_FREE char *driver = strndup(arg, strcspn(arg, ","));

	return !strchr(arg, ',') || (driver && device_type_find(driver));
}

void device_options_print_help(const char *arg)
{
	AUTO_FREE char *driver = strndup(arg, strcspn(arg, ","));

	if (strchr(arg, ',')) {
		if (driver)
			device_type_print_help(driver);
		return;
	}
	device_type_print_help(NULL);
	printf("\nEach machine of type " LAYOUT_MACHINE_TYPE " has these:\n");
	for (unsigned int i = 0; pc_classes[i]; i++)
		printf("  %s\n", pc_classes[i]->name);
}
