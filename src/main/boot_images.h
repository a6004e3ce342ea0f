/* SPDX-License-Identifier: MIT */
/* What a guest boots from, for the next image in this process, which may not find it by name. */
#ifndef MAIN_BOOT_IMAGES_H
#define MAIN_BOOT_IMAGES_H

#include "update/extras.h"

struct boot;
struct boot_config;

struct boot_images {
	struct extra extra;
	const struct boot *boot; /* NULL: there are none */
};

/* Old image: kernel and initial RAM disk of @boot, which outlives @m's updates, go along. */
void boot_images_carry(struct boot_images *images, const struct boot *boot, struct migration *m);
/* New image: those in @s, if any, for @cfg; they stay @s's. */
void boot_images_find(const struct cpr_state *s, struct boot_config *cfg);

#endif
