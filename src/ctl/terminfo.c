/* SPDX-License-Identifier: MIT */
/* The terminal library under libedit, apart from it because of its macros. */
#include <curses.h>
#include <term.h>

#include "ctl/terminfo.h"

void terminfo_detach(void)
{
	set_curterm(NULL);
}
