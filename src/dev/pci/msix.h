/* SPDX-License-Identifier: MIT */
/* MSI-X: a function's table of messages and which of them wait. */
#ifndef DEV_PCI_MSIX_H
#define DEV_PCI_MSIX_H

#include <stdbool.h>

#include "base/err.h"
#include "dev/pci/pci.h"

/* Messages are sent when their vectors are not masked: enabled, and not masked as a whole. */
bool msix_is_open(const struct pci_function *f);
/* Sends what waits and may be sent now. Machine lock. */
void msix_send_pending(struct pci_function *f);
/* The state has the vectors of @f, with values that they can have. */
int msix_check_state(const struct pci_function *f, const struct pci_state *s, struct err *e);

#endif
