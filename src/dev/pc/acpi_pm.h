/* SPDX-License-Identifier: MIT */
/* ACPI fixed hardware: power button, soft-off and their interrupt (ACPI 6.5, section 4.8). */
#ifndef DEV_PC_ACPI_PM_H
#define DEV_PC_ACPI_PM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "machine/device.h"
#include "machine/iobus.h"
#include "machine/irq.h"

/* Guest-visible: the PM1a registers. */
struct acpi_pm_state {
	uint16_t status;  /* events that happened, cleared by writing ones    */
	uint16_t enable;  /* events that interrupt                            */
	uint16_t control; /* without SCI_EN, which is always set, and SLP_EN  */
};

struct acpi_pm_host {
	struct irq irq;           /* [c]                            */
	struct io_region event;   /* [c] status and enable          */
	struct io_region control; /* [c]                            */
	bool irq_level;           /* [m] how the line is driven now */
};

struct acpi_pm {
	struct device dev;
	struct acpi_pm_state s;
	struct acpi_pm_host h;
};

extern const struct device_class acpi_pm_class;

/* Sets a zeroed block up. For acpi_pm_create() and tests. */
void acpi_pm_init(struct acpi_pm *pm, struct irq irq);

/*
 * Adds the block to the machine. A guest that enters S5 asks for shutdown;
 * other sleep types do nothing. Before the machine first runs. On failure
 * nothing is added.
 */
int acpi_pm_create(struct vm *vm, struct err *e);

/* Presses the power button. @d is of acpi_pm_class. Machine lock. */
void acpi_pm_power_button(struct device *d);

#endif
