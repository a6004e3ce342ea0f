/* SPDX-License-Identifier: MIT */
/* Which boot of which host this is. */
#ifndef HOST_HOSTID_H
#define HOST_HOSTID_H

#include <stdint.h>

#include "base/err.h"

#define HOST_BOOT_ID_BYTES 16

/*
 * The kernel's random id of this boot, the same in all processes until the host
 * reboots (proc(5), /proc/sys/kernel/random/boot_id). While it is the same,
 * boot-relative clocks can be compared.
 */
int host_boot_id(uint8_t id[HOST_BOOT_ID_BYTES], struct err *e);
/* Before chroot: keeps it in the environment, for images in this process that have no /proc. */
int host_keep_boot_id(struct err *e);

#endif
