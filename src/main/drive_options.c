/* SPDX-License-Identifier: MIT */
/* Drives of the command line: -drive and -blockdev. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/util.h"
#include "main/device_options.h"
#include "main/drive_options.h"

static int add(struct drive_options *o, const char *arg,
	       int (*parse)(const char *text, struct drive_option *out, struct err *e),
	       struct err *e)
{
	struct drive_option *list;
	int r;

	if (o->n == DRIVES_MAX)
		return err_set(e, E2BIG, "more than %d drives", DRIVES_MAX);
	list = realloc(o->list, (o->n + 1) * sizeof(*list));
	if (!list)
		return err_set(e, ENOMEM, "no memory for a drive");
	o->list = list;
	r = parse(arg, &list[o->n], e);
	if (!r)
		o->n++;
	return r;
}

int drive_options_parse(struct drive_options *o, const char *arg, struct err *e)
{
	return add(o, arg, drive_parse_option, e);
}

int drive_options_parse_blockdev(struct drive_options *o, const char *arg, struct err *e)
{
	return add(o, arg, drive_parse_blockdev, e);
}

static int add_device(const struct drive *d, struct device_options *devices, struct err *e)
{
	char text[DISK_NAME_MAX + 32];

	snprintf(text, sizeof(text), "virtio-blk-pci,drive=%s", d->option.id);
	return device_options_parse(devices, text, e);
}

int drive_options_create(const struct drive_options *o, struct drives *ds,
			 const struct drives_came *came, struct device_options *devices,
			 struct err *e)
{
	struct drive *d;
	int r = 0;

	for (unsigned int i = 0; !r && i < o->n; i++) {
		const struct drive_option *opt = &o->list[i];

		if (drives_was_removed(came, opt))
			continue;
		r = drives_add(ds, opt, came, &d, e);
		if (!r)
			d->of_options = true;
		if (!r && opt->interface == DRIVE_IF_VIRTIO)
			r = add_device(d, devices, e);
		if (r)
			return err_prefix(e, opt->is_blockdev ? "-blockdev" : "-drive");
	}
	return drives_add_carried(ds, came, e);
}

void drive_options_fini(struct drive_options *o)
{
	free(TAKE_PTR(o->list));
	o->n = 0;
}

static void print_keys(const char *option, bool blockdev)
{
	const char *key;

	printf("%s options:\n", option);
	for (size_t i = 0; (key = drive_key(blockdev, i)); i++)
		printf("  %s=<value>\n", key);
}

void drive_options_print_help(const char *arg)
{
	(void)arg;
	print_keys("drive", false);
}

void drive_options_print_blockdev_help(const char *arg)
{
	(void)arg;
	print_keys("blockdev", true);
}
