/* SPDX-License-Identifier: MIT */
/*
 * Scope-bound ownership: CLEANUP(free), CLEANUP(close), SCOPED_LOCK(); a value leaves its scope
 * alive only through steal_pointer() or steal_fd().
 */
#ifndef COMMON_CLEANUP_H
#define COMMON_CLEANUP_H

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#define CLEANUP(how) __attribute__((cleanup(cleanup_##how)))

static inline void cleanup_free(void *p)
{
	free(*(void **)p);
}

static inline void cleanup_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static inline void cleanup_unlock(pthread_mutex_t **m)
{
	if (*m)
		pthread_mutex_unlock(*m);
}

static inline pthread_mutex_t *scoped_lock(pthread_mutex_t *m)
{
	pthread_mutex_lock(m);
	return m;
}

#define SCOPED_LOCK_NAME2(line) scoped_lock_##line
#define SCOPED_LOCK_NAME(line)	SCOPED_LOCK_NAME2(line)

/* Hold @m until the end of the enclosing block. */
#define SCOPED_LOCK(m)                                                                             \
	CLEANUP(unlock)                                                                            \
	pthread_mutex_t *SCOPED_LOCK_NAME(__LINE__) __attribute__((unused)) = scoped_lock(m)

/* Take the pointer out of a CLEANUP variable: returns it and leaves NULL behind. */
#define steal_pointer(pp)                                                                          \
	({                                                                                         \
		__typeof__(pp) steal_pp_ = (pp);                                                   \
		__typeof__(*steal_pp_) steal_v_ = *steal_pp_;                                      \
		*steal_pp_ = NULL;                                                                 \
		steal_v_;                                                                          \
	})

/* Take the descriptor out of a CLEANUP(close) variable: returns it and leaves -1 behind. */
static inline int steal_fd(int *fd)
{
	int v = *fd;

	*fd = -1;
	return v;
}

#endif
