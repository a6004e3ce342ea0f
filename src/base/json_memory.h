/* SPDX-License-Identifier: MIT */
/* Memory for JSON values that is there when the heap has none. */
#ifndef BASE_JSON_MEMORY_H
#define BASE_JSON_MEMORY_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

/*
 * DOC: theory of operation
 *
 * Libjansson does not tell all of its failures: a value whose memory is missing is left out of the
 * one it belongs to, a character out of a text that is read. What an image tells the next one
 * would be wrong, and the guest lost. So a reserve is set aside, which costs nothing until it is used, and
 * serves while the heap refuses. It is whole again once all that came from it has been given back.
 *
 * The library has one allocator for a whole process, which is told nothing but a size. So the reserve
 * is at file scope, as nothing else here but trace_control is; a mutex guards it.
 */

enum {
	/* Far more than all that an update writes and reads. */
	JSON_MEMORY_RESERVE = 4 << 20,
};

/* Before the first JSON value is made; once for a process image. */
void json_memory_init(void);

/*
 * Appends @v as text, with jansson's @flags. False, and nothing is appended, if there is no memory or
 * no value (NULL).
 */
bool json_put(struct buf *b, const json_t *v, size_t flags);
/*
 * @v as text, with jansson's @flags; NULL if there is no memory. Not json_dumps(), whose text may
 * be the reserve's: this one is given back with free().
 */
char *json_text(const json_t *v, size_t flags);

/* Bytes of the reserve that were ever in use; any thread. For tests. */
size_t json_memory_reserve_used(void);

#endif
