/* SPDX-License-Identifier: MIT */
/* Drives of the command line: -drive and -blockdev. */
#ifndef MAIN_DRIVE_OPTIONS_H
#define MAIN_DRIVE_OPTIONS_H

#include "base/err.h"
#include "ctl/drives.h"

struct device_options;
struct vm;

/* In the order in which they were given. */
struct drive_options {
	struct drive_option *list; /* owned */
	unsigned int n;
};

int drive_options_parse(struct drive_options *o, const char *arg, struct err *e);
int drive_options_parse_blockdev(struct drive_options *o, const char *arg, struct err *e);
/*
 * Opens them in @ds, or takes them from what an old side has handed over, which includes what only
 * that side had. For a drive with an interface a device is added to @devices, which are
 * created later. The error names the option.
 */
int drive_options_create(const struct drive_options *o, struct drives *ds,
			 const struct drives_came *came, struct device_options *devices,
			 struct err *e);
void drive_options_fini(struct drive_options *o);

/* The answers to `help`, on standard output. */
void drive_options_print_help(const char *arg);
void drive_options_print_blockdev_help(const char *arg);

#endif
