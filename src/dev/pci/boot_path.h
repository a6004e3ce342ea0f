/* SPDX-License-Identifier: MIT */
/* How firmware finds a PCI function in the boot order. */
#ifndef DEV_PCI_BOOT_PATH_H
#define DEV_PCI_BOOT_PATH_H

#include "dev/pci/pci.h"
#include "machine/boot_order.h"

/*
 * Open Firmware path of @f, which is on its bus: @name is what kind of device it is there, @rest
 * what is behind it, e.g. "scsi" and "/disk@0,0": /pci@i0cf8/pci-bridge@1/scsi@0/disk@0,0.
 */
void pci_boot_path(const struct pci_function *f, const char *name, const char *rest,
		   char out[BOOT_PATH_MAX]);

#endif
