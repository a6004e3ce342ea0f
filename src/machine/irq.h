/* SPDX-License-Identifier: MIT */
/* An interrupt line as a device sees it. */
#ifndef MACHINE_IRQ_H
#define MACHINE_IRQ_H

#include <stdbool.h>

/* Wiring, from the configuration; the level is derived from device state, never saved. */
struct irq {
	void (*set)(void *opaque, unsigned int line, bool level);
	void *opaque;
	unsigned int line;
};

/* Drives the line; repeated calls with one level are harmless. Machine lock. */
static inline void irq_set(const struct irq *irq, bool level)
{
	if (irq->set)
		irq->set(irq->opaque, irq->line, level);
}

#endif
