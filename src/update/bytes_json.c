/* SPDX-License-Identifier: MIT */
/* Bytes of any value, such as file names and arguments, as JSON text and back. */
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "update/bytes_json.h"

/* UTF-8 of characters 0x80 to 0xff: 110000xx 10xxxxxx. */
enum {
	FIRST_HIGH = 0x80,
	LEAD = 0xc0,
	NEXT = 0x80,
	NEXT_MASK = 0x3f,
};

json_t *bytes_to_json(const char *bytes)
{
	AUTO_FREE char *utf8 = malloc(2 * strlen(bytes) + 1);
	char *to = utf8;

	if (!utf8)
		return NULL;
	for (; *bytes; bytes++) {
		unsigned char c = (unsigned char)*bytes;

		if (c < FIRST_HIGH) {
			*to++ = (char)c;
		} else {
			*to++ = (char)(LEAD | c >> 6);
			*to++ = (char)(NEXT | (c & NEXT_MASK));
		}
	}
	*to = '\0';
	return json_string(utf8);
}

char *bytes_from_json(const json_t *text)
{
	const char *utf8 = json_string_value(text);
	AUTO_FREE char *bytes = utf8 ? malloc(strlen(utf8) + 1) : NULL;
	char *to = bytes;

	if (!bytes)
		return NULL;
	for (; *utf8; utf8++) {
		unsigned char c = (unsigned char)*utf8;

		if (c < FIRST_HIGH) {
			*to++ = (char)c;
			continue;
		}
		/* Two bytes, and no more than eight bits in them; the library has checked the rest. */
		if ((c & ~3u) != LEAD)
			return NULL;
		*to++ = (char)(c << 6 | ((unsigned char)*++utf8 & NEXT_MASK));
	}
	*to = '\0';
	return TAKE_PTR(bytes);
}
