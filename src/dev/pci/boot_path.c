/* SPDX-License-Identifier: MIT */
/* How firmware finds a PCI function in the boot order. */
#include <stdio.h>
#include <string.h>

#include "dev/pci/boot_path.h"
#include "dev/pci/host.h"

/* The root bus, by the ports of its configuration space. */
#define ROOT "/pci@i0cf8"

/* Puts the element of @f before what is in @out already. */
static void put_before(const struct pci_function *f, const char *name, char out[BOOT_PATH_MAX])
{
	unsigned int slot = f->devfn >> 3, fn = f->devfn & 7;
	char rest[BOOT_PATH_MAX];

	memcpy(rest, out, sizeof(rest));
	if (fn)
		snprintf(out, BOOT_PATH_MAX, "/%s@%x,%x%.*s", name, slot, fn, BOOT_PATH_MAX - 40,
			 rest);
	else
		snprintf(out, BOOT_PATH_MAX, "/%s@%x%.*s", name, slot, BOOT_PATH_MAX - 40, rest);
}

void pci_boot_path(const struct pci_function *f, const char *name, const char *rest,
		   char out[BOOT_PATH_MAX])
{
	char path[BOOT_PATH_MAX];

	snprintf(path, sizeof(path), "%s", rest);
	put_before(f, name, path);
	while ((f = f->bus->bridge))
		put_before(f, "pci-bridge", path);
	snprintf(out, BOOT_PATH_MAX, ROOT "%.*s", BOOT_PATH_MAX - (int)sizeof(ROOT), path);
}
