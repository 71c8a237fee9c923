/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "cli/suggest.h"

#include <assert.h>
#include <string.h>

enum { WORD_MAX_LEN = 32 };

static unsigned min3(unsigned a, unsigned b, unsigned c)
{
	unsigned ab = a < b ? a : b;

	return ab < c ? ab : c;
}

/* Insertions, deletions, replacements and exchanges of neighbours that lead from @a to @b. */
static unsigned edit_distance(const char *a, size_t alen, const char *b, size_t blen)
{
	unsigned d[WORD_MAX_LEN + 1][WORD_MAX_LEN + 1];

	assert(alen <= WORD_MAX_LEN && blen <= WORD_MAX_LEN);
	for (unsigned i = 0; i <= alen; i++)
		d[i][0] = i;
	for (unsigned j = 0; j <= blen; j++)
		d[0][j] = j;
	for (size_t i = 1; i <= alen; i++) {
		for (size_t j = 1; j <= blen; j++) {
			unsigned replace = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);

			d[i][j] = min3(d[i - 1][j] + 1, d[i][j - 1] + 1, replace);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
			    d[i][j] > d[i - 2][j - 2] + 1)
				d[i][j] = d[i - 2][j - 2] + 1;
		}
	}
	return d[alen][blen];
}

void suggest_offer(struct suggestion *s, const char *candidate)
{
	size_t wlen = strlen(s->word), clen = strlen(candidate);
	unsigned distance;

	if (!wlen || wlen > WORD_MAX_LEN || clen > WORD_MAX_LEN)
		return;
	if (wlen >= 3 && !strncmp(s->word, candidate, wlen))
		distance = 0;
	else
		distance = edit_distance(s->word, wlen, candidate, clen);
	/* Two slips in a short word make it any other word. */
	if (distance > (wlen <= 4 ? 1u : 2u))
		return;
	if (!s->best || distance < s->distance) {
		s->best = candidate;
		s->distance = distance;
	}
}
