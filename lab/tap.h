/* SPDX-License-Identifier: MIT */
/* The network between this machine and the guest: a tap interface of its own. */
#ifndef LAB_TAP_H
#define LAB_TAP_H

#include "base/err.h"

#define TAP_NAME "batonlab0"

/*
 * Make the interface in a network namespace of its own, where it is nobody else's business, with
 * the host's address. It lasts as long as the processes of this namespace.
 */
int tap_set_up(struct err *e);

#endif
