/* SPDX-License-Identifier: MIT */
/* Bytes of any value, such as file names and arguments, as JSON text and back. */
#ifndef UPDATE_BYTES_JSON_H
#define UPDATE_BYTES_JSON_H

#include <jansson.h>

/*
 * JSON text is Unicode, and what the operator passes us need not be. Each byte becomes the
 * character of that number, so ASCII looks as it is. NULL without memory; the caller owns
 * the result.
 */
json_t *bytes_to_json(const char *bytes);
/* The bytes, the caller's; NULL for what bytes_to_json() does not make. */
char *bytes_from_json(const json_t *text);

#endif
