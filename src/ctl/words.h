/* SPDX-License-Identifier: MIT */
/* Cuts a command line into words, as a shell does. */
#ifndef CTL_WORDS_H
#define CTL_WORDS_H

#include "base/err.h"

/*
 * Blanks separate; 'single' quotes keep everything, "double" quotes all but a
 * backslash before one of " \ $ `; a backslash elsewhere keeps the next character.
 * No variables, no patterns. *@out is a NULL-terminated array of at least one word, to be
 * freed with words_free(). Fails on text without words and on a quote that is not closed.
 */
int words_split(const char *text, char ***out, struct err *e);
void words_free(char **words);

#endif
