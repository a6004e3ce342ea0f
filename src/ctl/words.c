/* SPDX-License-Identifier: MIT */
/* Cuts a command line into words, as a shell does. */
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "base/util.h"
#include "ctl/words.h"

void words_free(char **words)
{
	for (char **w = words; w && *w; w++)
		free(*w);
	free(words);
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/*
 * Copies one word from *@p to @out, which has room for all of the text. Returns 0
 * at its end, or the quote or backslash that nothing follows.
 */
static char take_word(const char **p, char *out)
{
	const char *s = *p;
	char quote = 0;

	for (; *s && (quote || !is_blank(*s)); s++) {
		if (*s == '\\' && quote != '\'') {
			if (!s[1])
				return quote ? quote : '\\';
			if (quote && !strchr("\"\\$`", s[1]))
				*out++ = '\\';
			*out++ = *++s;
		} else if (quote ? *s == quote : (*s == '\'' || *s == '"')) {
			quote = quote ? 0 : *s;
		} else {
			*out++ = *s;
		}
	}
	*out = '\0';
	*p = s;
	return quote;
}

static int add_word(char **words, size_t n, const char *word, struct err *e)
{
	words[n] = strdup(word);
	return words[n] ? 0 : err_set(e, ENOMEM, "out of memory");
}

static int split(const char *text, char *word, char **words, struct err *e)
{
	const char *p = text;
	size_t n = 0;
	char open;
	int ret;

	for (;;) {
		while (is_blank(*p))
			p++;
		if (!*p)
			break;
		open = take_word(&p, word);
		if (open == '\\')
			return err_set(e, EINVAL,
				       "Text ended just after a \"\\\" character. "
				       "(The text was \"%.256s\")",
				       text);
		if (open)
			return err_set(e, EINVAL,
				       "Text ended before matching quote was found for %c. "
				       "(The text was \"%.256s\")",
				       open, text);
		ret = add_word(words, n++, word, e);
		if (ret < 0)
			return ret;
	}
	return n ? 0 : err_set(e, EINVAL, "Text was empty (or contained only whitespace)");
}

int words_split(const char *text, char ***out, struct err *e)
{
	size_t len = strlen(text);
	AUTO_FREE char *word = malloc(len + 1);
	/* Every word but the last takes at least two characters. */
	char **words = calloc(len / 2 + 2, sizeof(*words));
	int ret;

	if (!word || !words) {
		free(words);
		return err_set(e, ENOMEM, "out of memory");
	}
	ret = split(text, word, words, e);
	if (ret < 0)
		words_free(words);
	else
		*out = words;
	return ret;
}
