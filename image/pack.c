/* SPDX-License-Identifier: MIT */
/*
 * Where each blob of a batch goes (docs/format.md section 4.1).
 *
 * A blob owns the sectors whose first byte it contains.  Two rules make sure that it owns a sector
 * of every unit it touches, so that ownership bits alone say which units are free:
 *
 *   P1  it owns at least one sector: a frame that ends before the next sector begins is lengthened;
 *   P2  it does not start behind the first byte of a unit's last sector: there it would touch the
 *       unit without owning anything in it, and moves to the next unit instead.
 *
 * A blob's place depends on those before it only, so a batch may be laid out again as it grows.
 */
#include "config.h"

#include "image/pack.h"

#define LAST_SECTOR (UNIT_SIZE - SECTOR_SIZE)

static uint32_t align_up(uint32_t n, uint32_t to)
{
	return (n + to - 1) & ~(to - 1);
}

/* The first place at or after @end where a blob may start (P2: @last is LAST_SECTOR). */
static uint32_t start_after(uint32_t end, uint32_t last)
{
	return end % UNIT_SIZE > last ? align_up(end, UNIT_SIZE) : end;
}

/* What a frame of @len bytes at @at occupies (P1). */
static uint32_t stored_length(uint32_t at, uint32_t len, uint32_t granule)
{
	uint32_t to_sector = align_up(at, SECTOR_SIZE) - at;

	return align_up(len > to_sector ? len : to_sector + 1, granule);
}

uint32_t pack_layout_until(const struct geometry *g, struct pack_blob *blob, unsigned n,
			   uint32_t last)
{
	const uint32_t granule = 1u << granule_shift(g);
	uint32_t end = 0;

	for (unsigned i = 0; i < n; i++) {
		struct pack_blob *b = &blob[i];

		assert(b->len > 0 && b->len <= BLOB_MAX_GRANULES * granule);
		b->at = start_after(end, last);
		b->stored = stored_length(b->at, b->len, granule);
		end = b->at + b->stored;
	}
	return align_up(end, UNIT_SIZE);
}

uint32_t pack_layout(const struct geometry *g, struct pack_blob *blob, unsigned n)
{
	return pack_layout_until(g, blob, n, LAST_SECTOR);
}
