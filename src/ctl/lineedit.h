/* SPDX-License-Identifier: MIT */
/* Line editing, history and completion for a person at a terminal, by libedit. */
#ifndef CTL_LINEEDIT_H
#define CTL_LINEEDIT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"

struct line_edit;

/* Called back from the functions below, on their caller's thread. */
struct line_edit_ops {
	/* Bytes for the terminal. */
	void (*output)(void *opaque, const char *p, size_t n);
	/*
	 * Calls @add for every word that may stand where the last word of @before stands; @before
	 * is the line up to the cursor, and its last word may be empty. Words that begin
	 * otherwise are skipped.
	 */
	void (*complete)(void *opaque, const char *before, void (*add)(void *to, const char *word),
			 void *to);
};

/*
 * @terminal names the terminal's kind as TERM does; NULL or one that is not known: a VT100.
 * @prompt and @ops outlive the editor. Lines have less than @max bytes. The caller owns
 * the result. Nothing here waits.
 */
int line_edit_create(struct line_edit **out, const char *terminal, const char *prompt, size_t max,
		     const struct line_edit_ops *ops, void *opaque, struct err *e);
/* NULL is allowed. */
void line_edit_destroy(struct line_edit *le);

/* Shows the prompt and begins a line, in a window of that size (0: not known). */
void line_edit_begin(struct line_edit *le, unsigned int columns, unsigned int rows);

/*
 * Takes one byte that was typed, after line_edit_begin(). Returns the line if it is complete,
 * valid until the next call, else NULL. The next line has to be begun. What is no UTF-8 is
 * dropped; so is what a line has no room for, with a beep.
 */
const char *line_edit_type(struct line_edit *le, unsigned char byte);

/*
 * For an editor that goes on in another process: appends the line so far to @text, and how
 * many of its characters stand behind the cursor goes to *@behind. line_edit_set() brings a
 * line that has just begun there; -EINVAL if @text is no part of a line.
 */
void line_edit_get(struct line_edit *le, struct buf *text, size_t *behind);
int line_edit_set(struct line_edit *le, const void *text, size_t n, size_t behind, struct err *e);

#endif
