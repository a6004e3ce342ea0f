/* SPDX-License-Identifier: MIT */
/* What may come next on a line of the human monitor. */
#include <stdbool.h>
#include <string.h>

#include "base/util.h"
#include "ctl/hmp.h"
#include "ctl/hmp_complete.h"
#include "update/params.h"

/* Longer words are never completed. */
#define MAX_WORD 64

/* Where the words go. */
struct target {
	void (*add)(void *to, const char *word);
	void *to;
};

static void add_table(const struct target *t, const char *(*word)(size_t i))
{
	const char *w;

	for (size_t i = 0; (w = word(i)); i++)
		t->add(t->to, w);
}

static void add_capabilities(const struct target *t)
{
	for (const struct cap_desc *d = migration_cap_table; d->name; d++)
		t->add(t->to, d->name);
}

static void add_parameters(const struct target *t)
{
	for (const struct param_desc *d = migration_param_table; d->name; d++)
		t->add(t->to, d->name);
}

static void add_modes(const struct target *t)
{
	for (int m = MODE_NORMAL; m < MODE_COUNT; m++)
		t->add(t->to, migration_mode_name((enum migration_mode)m));
}

static void add_switch(const struct target *t)
{
	t->add(t->to, "on");
	t->add(t->to, "off");
}

/* The words that line @line has before its last one, up to @max; returns how many. */
static size_t split_words(const char *line, char words[][MAX_WORD], size_t max)
{
	size_t n = 0;

	for (;;) {
		size_t len;

		line += strspn(line, " \t");
		len = strcspn(line, " \t");
		if (!line[len])
			return n;
		if (n < max) {
			len = MIN(len, (size_t)MAX_WORD - 1);
			memcpy(words[n], line, len);
			words[n][len] = '\0';
		}
		n++;
		line += strcspn(line, " \t");
	}
}

void hmp_complete(const char *line, void (*add)(void *to, const char *word), void *to)
{
	const struct target t = { .add = add, .to = to };
	char words[2][MAX_WORD];
	size_t n = split_words(line, words, ARRAY_SIZE(words));

	if (n == 0)
		add_table(&t, hmp_command_name);
	else if (n == 1 && (!strcmp(words[0], "help") || !strcmp(words[0], "?")))
		add_table(&t, hmp_command_name);
	else if (n == 1 && !strcmp(words[0], "info"))
		add_table(&t, hmp_info_name);
	else if (n == 1 && !strcmp(words[0], "migrate_set_capability"))
		add_capabilities(&t);
	else if (n == 2 && !strcmp(words[0], "migrate_set_capability"))
		add_switch(&t);
	else if (n == 1 && !strcmp(words[0], "migrate_set_parameter"))
		add_parameters(&t);
	else if (n == 2 && !strcmp(words[0], "migrate_set_parameter") && !strcmp(words[1], "mode"))
		add_modes(&t);
}
