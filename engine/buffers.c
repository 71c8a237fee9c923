/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "engine/buffers.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "image/store.h"

/* In the memory of a buffer that is not in use. */
struct unused {
	struct unused *next;
};

struct buffers {
	size_t size, max; /* constant */

	pthread_mutex_t lock; /* what follows */
	size_t n;
	struct unused *unused;
};

errint_t buffers_new(size_t size, size_t max_bytes, struct buffers **out)
{
	struct buffers *b = calloc(1, sizeof(*b));

	if (!b)
		return log_err(-ENOMEM, "cannot set up the data path");
	b->size = size;
	b->max = max_bytes > size ? max_bytes / size : 1;
	pthread_mutex_init(&b->lock, NULL);
	*out = b;
	return 0;
}

void buffers_free(struct buffers *b)
{
	if (!b)
		return;
	buffers_shrink(b);
	assert(!b->n);
	pthread_mutex_destroy(&b->lock);
	free(b);
}

uint8_t *buffers_get(struct buffers *b)
{
	SCOPED_LOCK(&b->lock);
	struct unused *u = b->unused;

	if (u) {
		b->unused = u->next;
		return (uint8_t *)u;
	}
	if (b->n == b->max)
		return NULL;
	uint8_t *buffer = store_buffer(b->size);

	b->n += buffer != NULL;
	return buffer;
}

void buffers_put(struct buffers *b, uint8_t *buffer)
{
	struct unused *u = (struct unused *)buffer;

	SCOPED_LOCK(&b->lock);
	u->next = b->unused;
	b->unused = u;
}

void buffers_shrink(struct buffers *b)
{
	SCOPED_LOCK(&b->lock);
	while (b->unused) {
		struct unused *u = b->unused;

		b->unused = u->next;
		free(u);
		b->n--;
	}
}
