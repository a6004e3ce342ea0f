/* SPDX-License-Identifier: MIT */
/* What -drive, -blockdev and blockdev-add say of an image. */
#ifndef CTL_DRIVE_OPTS_H
#define CTL_DRIVE_OPTS_H

#include <jansson.h>
#include <stdbool.h>

#include "base/err.h"
#include "host/disk.h"

/* Who uses the drive. */
enum drive_interface {
	DRIVE_IF_NONE,   /* whoever names it                  */
	DRIVE_IF_VIRTIO, /* a virtio-blk-pci made for it      */
};

struct drive_option {
	char id[DISK_NAME_MAX];        /* -drive id=, or the node's name: what devices name */
	char node_name[DISK_NAME_MAX]; /* empty: not given                                  */
	/* The name of the file below a raw node, if it has one or is one of its own. */
	char file_node[DISK_NAME_MAX];
	bool file_is_node; /* the image is that of node @file_node */
	bool is_blockdev;  /* not -drive                           */
	enum drive_interface interface;
	struct disk_config disk;
};

/* `file=PATH,format=raw,if=none,id=ID,...`; two commas in a value stand for one. */
int drive_parse_option(const char *text, struct drive_option *out, struct err *e);
/* The same keys for a node: `driver=raw,file.filename=PATH,node-name=NAME,...`, or JSON. */
int drive_parse_blockdev(const char *text, struct drive_option *out, struct err *e);
int drive_from_blockdev_json(json_t *args, struct drive_option *out, struct err *e);

/* All of it, as an update carries it; what comes back is checked. NULL: no memory. */
json_t *drive_option_to_json(const struct drive_option *o);
int drive_option_from_json(json_t *j, struct drive_option *out, struct err *e);

/* Name @i of the keys that -drive (or -blockdev) knows; NULL past the end. */
const char *drive_key(bool blockdev, size_t i);

#endif
