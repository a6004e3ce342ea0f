/* SPDX-License-Identifier: MIT */
/* The guest's memory as the command line wants it, or as an update hands it over. */
#ifndef MAIN_RAM_H
#define MAIN_RAM_H

#include "base/err.h"
#include "machine/memmap.h"
#include "main/options.h"
#include "update/wire.h"

struct graft;
struct rom;

/* What of an old machine's memory there is to be taken over. */
struct ram_origin {
	const struct cpr_state *cpr; /* NULL: there is no old machine             */
	const struct graft *graft;   /* it is mapped already; NULL: by descriptor */
	bool trial;                  /* nothing is made that the old machine has not */
	struct ram_source source;    /* the same, for the machine's own blocks    */
};

/* All arguments outlive @from, which stays where it is while devices are created. */
void ram_origin_init(struct ram_origin *from, const struct options *o, const struct cpr_state *cpr,
		     const struct graft *graft);

/*
 * Makes the blocks of RAM: main RAM from -m or -machine memory-backend=, the backends that
 * are not used, and @rom's or, if that is NULL, the ACPI tables'. With an old machine the
 * memory of blocks the guest sees is taken from there by name and never made anew; in a
 * graft it is used where it is mapped. The caller owns the result (memmap_fini()).
 */
int ram_create(struct memmap *out, const struct options *o, const struct ram_origin *from,
	       struct rom *rom, struct err *e);

#endif
