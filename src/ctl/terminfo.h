/* SPDX-License-Identifier: MIT */
/* The terminal library under libedit, apart from it because of its macros. */
#ifndef CTL_TERMINFO_H
#define CTL_TERMINFO_H

/*
 * Leaves the description of a terminal that was looked up last. libedit has copied what it
 * needs of it; what is left would be the delays that some terminals ask for, and the library
 * sleeps for those.
 */
void terminfo_detach(void);

#endif
