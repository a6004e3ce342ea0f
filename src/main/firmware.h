/* SPDX-License-Identifier: MIT */
/* Whether the guest starts in firmware, and what it is told there: -bios and -fw_cfg. */
#ifndef MAIN_FIRMWARE_H
#define MAIN_FIRMWARE_H

#include <stdbool.h>

#include "base/err.h"
#include "boot/rom.h"
#include "main/ram.h"

struct options;
struct vm;

struct firmware {
	bool on; /* the guest starts in it, not in a kernel */
	struct rom rom;
};

/* Checks the syntax of an argument of -fw_cfg, which options keep as it is. */
int firmware_check_fw_cfg(const char *arg, struct err *e);

/*
 * Decides: -bios, or no -kernel and a device one can boot from, or that the old machine has firmware.
 * Opens the image unless the old machine's is taken over. firmware_fini() also after a failure.
 */
int firmware_plan(struct firmware *f, const struct options *o, const struct ram_origin *from,
		  struct err *e);
void firmware_fini(struct firmware *f);

/*
 * Adds fw_cfg to the machine, if there is firmware or -fw_cfg. @serial_mask: bit n: serial port n
 * exists. Files are read only if the machine is a new one.
 */
int firmware_create_fw_cfg(const struct firmware *f, struct vm *vm, const struct options *o,
			   unsigned int serial_mask, struct err *e);

#endif
