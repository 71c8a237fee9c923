/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "common/room.h"

#include <sys/mman.h>

void *room_new(size_t len)
{
	void *room = mmap(NULL, len, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return room == MAP_FAILED ? NULL : room;
}

void room_empty(void *room, size_t len)
{
	madvise(room, len, MADV_DONTNEED);
}

void room_free(void *room, size_t len)
{
	if (room)
		munmap(room, len);
}
