/* SPDX-License-Identifier: MIT */
/* Numbers and sizes as people write them. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/parse.h"
#include "base/util.h"

int parse_size(const char *s, uint64_t unit, uint64_t *out, struct err *e)
{
	static const char suffixes[] = "BKMGT";
	unsigned long long v;
	const char *suffix;
	char *end;

	if (!isdigit((unsigned char)s[0]))
		return err_set(e, EINVAL, "'%s' is not a size", s);
	errno = 0;
	v = strtoull(s, &end, s[0] == '0' && (s[1] == 'x' || s[1] == 'X') ? 16 : 10);
	if (errno == ERANGE)
		return err_set(e, ERANGE, "size '%s' is too large", s);
	if (*end) {
		suffix = strchr(suffixes, toupper((unsigned char)*end));
		if (!suffix || end[1])
			return err_set(e, EINVAL,
				       "'%s' is not a size (a number, then nothing, K, M, G or T)",
				       s);
		unit = UINT64_C(1) << (10 * (suffix - suffixes));
	}
	if (v > (uint64_t)INT64_MAX / unit)
		return err_set(e, ERANGE, "size '%s' is too large", s);
	*out = v * unit;
	return 0;
}

int parse_uint(const char *s, uint64_t max, uint64_t *out, struct err *e)
{
	unsigned long long v;
	char *end;

	if (!isdigit((unsigned char)s[0]))
		return err_set(e, EINVAL, "'%s' is not a number", s);
	errno = 0;
	v = strtoull(s, &end, 10);
	if (*end)
		return err_set(e, EINVAL, "'%s' is not a number", s);
	if (errno == ERANGE || v > max)
		return err_set(e, ERANGE, "'%s' is more than %llu", s, (unsigned long long)max);
	*out = v;
	return 0;
}

int parse_bool(const char *s, bool *out, struct err *e)
{
	static const char *const yes[] = { "on", "yes", "true", "y" };
	static const char *const no[] = { "off", "no", "false", "n" };

	for (size_t i = 0; i < ARRAY_SIZE(yes); i++) {
		if (!strcmp(s, yes[i])) {
			*out = true;
			return 0;
		}
		if (!strcmp(s, no[i])) {
			*out = false;
			return 0;
		}
	}
	return err_set(e, EINVAL, "'%s' is neither on nor off", s);
}

int parse_pieces(char *text,
		 int (*set)(void *opaque, char *key, char *value, bool first, struct err *e),
		 void *opaque, struct err *e)
{
	bool first = true;
	char *piece;
	int r = 0;

	while (!r && (piece = strsep(&text, ","))) {
		char *value = strchr(piece, '=');

		if (value)
			*value++ = '\0';
		r = set(opaque, piece, value, first, e);
		first = false;
	}
	return r;
}
