/* SPDX-License-Identifier: MIT */
/* Memory for JSON values that is there when the heap has none. */
#include <jansson.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/json_memory.h"

enum {
	ALIGN = 16,
};

static uint8_t reserve[JSON_MEMORY_RESERVE] __attribute__((aligned(16)));
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards what follows */
static size_t used, most, pieces;

static void *take_from_reserve(size_t size)
{
	void *p = NULL;

	if (size > sizeof(reserve) - ALIGN)
		return NULL;
	size = (size + ALIGN - 1) & ~(size_t)(ALIGN - 1);
	pthread_mutex_lock(&lock);
	if (size <= sizeof(reserve) - used) {
		p = reserve + used;
		used += size;
		pieces++;
		if (used > most)
			most = used;
	}
	pthread_mutex_unlock(&lock);
	return p;
}

static void *allocate(size_t size)
{
	void *p = malloc(size);

	return p ? p : take_from_reserve(size);
}

static void release(void *p)
{
	if ((uint8_t *)p < reserve || (uint8_t *)p >= reserve + sizeof(reserve)) {
		free(p);
		return;
	}
	pthread_mutex_lock(&lock);
	if (!--pieces)
		used = 0;
	pthread_mutex_unlock(&lock);
}

void json_memory_init(void)
{
	json_set_alloc_funcs(allocate, release);
}

static int put_piece(const char *piece, size_t n, void *opaque)
{
	struct buf *b = opaque;

	buf_put(b, piece, n);
	return b->failed ? -1 : 0;
}

bool json_put(struct buf *b, const json_t *v, size_t flags)
{
	size_t len = b->len;

	if (v && !json_dump_callback(v, put_piece, b, flags))
		return true;
	b->len = len;
	return false;
}

char *json_text(const json_t *v, size_t flags)
{
	struct buf b = { 0 };

	if (json_put(&b, v, flags))
		buf_put_u8(&b, 0);
	else
		b.failed = true;
	if (b.failed)
		buf_fini(&b);
	return (char *)b.data;
}

size_t json_memory_reserve_used(void)
{
	size_t n;

	pthread_mutex_lock(&lock);
	n = most;
	pthread_mutex_unlock(&lock);
	return n;
}
