/* SPDX-License-Identifier: MIT */
/* The ACPI tables that describe the machine to its guest. */
#ifndef BOOT_ACPI_H
#define BOOT_ACPI_H

/*
 * DOC: theory of operation
 *
 * The tables follow each other at @base, the RSDP first: RSDP, FACS, DSDT,
 * FADT, MADT, MCFG, XSDT. They depend on the arguments alone, so every start of one
 * machine makes the same bytes. There is no ACPI timer; the power button is the fixed
 * one, its interrupt the SCI. The PCI host bridge has the windows of the layout, and the
 * system may control hot-plug of PCI Express by itself.
 */

#include "base/buf.h"
#include "base/err.h"
#include "machine/layout.h"

/*
 * Appends the tables to the empty buffer @out, for a machine of @nr_vcpus whose
 * local APIC ids are 0, 1, 2, ... and which has serial port n if bit n of
 * @serial_mask is set, and @ram_size bytes of RAM. @base is where they will stand in the guest, a multiple
 * of 64 below 4 GiB. -E2BIG if they need more than LAYOUT_ACPI_END -
 * LAYOUT_ACPI_TABLES bytes. Pure; any thread.
 */
int acpi_build(struct buf *out, gpa_t base, unsigned int nr_vcpus, unsigned int serial_mask,
	       uint64_t ram_size, struct err *e);

#endif
