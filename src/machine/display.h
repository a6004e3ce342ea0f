/* SPDX-License-Identifier: MIT */
/* Displays of the machine: what one can take a picture of. */
#ifndef MACHINE_DISPLAY_H
#define MACHINE_DISPLAY_H

#include <stdint.h>

#include "base/err.h"
#include "base/list.h"

struct device;
struct vm;

enum picture_format {
	PICTURE_XRGB8888, /* 32 bits a pixel, little-endian: blue first */
	PICTURE_BGRX8888, /* the same, big-endian: a byte of nothing, red, green, blue */
	PICTURE_RGB565,   /* 16 bits, little-endian                     */
};

/* What a display shows. The guest may change it any time. */
struct picture {
	uint32_t width, height; /* pixels                             */
	uint64_t stride;        /* bytes from one row to the next     */
	enum picture_format format;
	const uint8_t *pixels; /* all rows are readable; the device's */
};

/* Embedded in its device; added before the device is, and taken off before it goes. */
struct display {
	struct list link;
	struct device *dev;
	/* Says what is shown now, or why nothing is: -ENODATA, or -EINVAL for what cannot be. */
	int (*look)(void *opaque, struct picture *out, struct err *e);
	void *opaque;
};

/* Machine lock. */
void display_add(struct vm *vm, struct display *d);
void display_del(struct display *d);
/* The display of the device @id or, if that is NULL, the first one; NULL: there is none. */
struct display *display_find(const struct vm *vm, const char *id);

#endif
