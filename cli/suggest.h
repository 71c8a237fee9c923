/* SPDX-License-Identifier: MIT */
/* What a user may have meant. */
#ifndef CLI_SUGGEST_H
#define CLI_SUGGEST_H

#include <stddef.h>

/*
 * The most similar of the candidates seen so far.  Start from zeros with @word set; offer each
 * candidate (kept, not copied); read @best, NULL when none is similar enough to be worth
 * mentioning.
 */
struct suggestion {
	const char *word;
	const char *best;
	unsigned distance;
};

void suggest_offer(struct suggestion *s, const char *candidate);

#endif
