/* SPDX-License-Identifier: MIT */
/* Devices of the command line: -device. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "dev/pc/pc.h"
#include "machine/vm.h"
#include "main/device_options.h"

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

int device_options_create(const struct device_options *o, struct vm *vm, struct err *e)
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

void device_options_fini(struct device_options *o)
{
	for (unsigned int i = 0; i < o->n; i++)
		device_spec_fini(&o->specs[i]);
	free(TAKE_PTR(o->specs));
	o->n = 0;
}

void device_options_print_help(const char *arg)
{
	AUTO_FREE char *driver = strndup(arg, strcspn(arg, ","));

	if (arg[strcspn(arg, ",")] && driver) {
		if (!device_type_print_help(driver))
			printf("'%s' is not a valid device model name\n", driver);
		return;
	}
	device_type_print_help(NULL);
	printf("\nEach machine of type " LAYOUT_MACHINE_TYPE " has these:\n");
	for (unsigned int i = 0; pc_classes[i]; i++)
		printf("  %s\n", pc_classes[i]->name);
}
