/* SPDX-License-Identifier: MIT */
/* Terminals: pairs of them, and the size of their windows. */
#ifndef HOST_TTY_H
#define HOST_TTY_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

/*
 * Makes a pseudo-terminal whose slave side is in raw mode; the caller owns *@master, which is
 * close-on-exec and does not wait, and, unless it is NULL, *@slave. The slave's path goes to
 * @path, of @n bytes.
 */
int tty_open_pair(int *master, int *slave, char *path, size_t n, struct err *e);

/* Whether somebody has the slave side of @master open; it was open once. */
bool tty_has_peer(int master);

/* Characters in the window of terminal @fd; 0 if that is not known. */
void tty_get_size(int fd, unsigned int *columns, unsigned int *rows);
void tty_set_size(int fd, unsigned int columns, unsigned int rows);

#endif
