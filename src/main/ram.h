/* SPDX-License-Identifier: MIT */
/* The guest's memory as the command line wants it, or as an update hands it over. */
#ifndef MAIN_RAM_H
#define MAIN_RAM_H

#include "base/err.h"
#include "machine/memmap.h"
#include "main/options.h"
#include "update/wire.h"

struct graft;

/*
 * Makes all blocks of RAM: main RAM from -m or -machine memory-backend=, the backends that
 * are not used, and the machine's own. With @cpr, what the old side handed over, the
 * memory of blocks the guest sees is taken from there by name and never made anew; with
 * @graft too it is used where it is mapped. The caller owns the result (memmap_fini()).
 */
int ram_create(struct memmap *out, const struct options *o, const struct cpr_state *cpr,
	       const struct graft *graft, struct err *e);

#endif
