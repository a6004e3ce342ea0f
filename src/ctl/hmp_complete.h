/* SPDX-License-Identifier: MIT */
/* What may come next on a line of the human monitor. */
#ifndef CTL_HMP_COMPLETE_H
#define CTL_HMP_COMPLETE_H

/*
 * Calls @add for each word that may stand where the last word of @line, which may be empty or
 * begun, stands.
 */
void hmp_complete(const char *line, void (*add)(void *to, const char *word), void *to);

#endif
