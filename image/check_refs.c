/* SPDX-License-Identifier: MIT */
/*
 * Owns: the comparison of what is marked used with what is referred to (I3, I4, I5, I7, I9, A1).
 *
 * For each region two maps of the same shape, by units or by sectors as its class has it: what its
 * bitmap says, and what was referred to so far.  A reference that finds its pieces not marked is
 * reported at once, as is one that finds them taken; what is marked in the end and was never taken
 * is a leak.
 *
 * Bytes: a blob owns the sectors whose first byte it contains, so two blobs that own no sector in
 * common can only overlap inside one sector, which the first of them owns and ends in, and in whose
 * interior the second begins (P1 keeps a third one out).  So it is enough to compare each blob with
 * its predecessor in the region: check_blobs.c.
 */
#include "config.h"

#include <assert.h>
#include <endian.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/bitmap.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "image/alloc.h"
#include "image/check_blobs.h"
#include "image/check_parts.h"

#define SECTOR_MAP_BYTES (REGION_SECTORS / 8)
#define UNIT_MAP_BYTES	 (REGION_UNITS / 8)

struct refs_region {
	/* Constant once refs_open() has returned. */
	uint64_t region;
	uint8_t *used; /* as marked */
	uint8_t class_;
	uint8_t fits; /* bit for each enum ref_kind that the class may hold (A1) */
	bool by_sector;
	bool damaged; /* @used is not known: nothing can be compared */

	pthread_mutex_t lock; /* protects the contents of what follows */
	uint8_t *seen;	      /* as referred to; what R2 reserves is set from the start */
	struct blob_places blobs;
};

struct refs {
	struct check *c;
	uint64_t first, n;	     /* regions */
	struct refs_region **region; /* NULL: not in use */
	_Atomic uint64_t memory;
	_Atomic uint64_t used_units, end_used;
	_Atomic errint_t err; /* of refs_add(), which has no way to return it */
};

static const char *class_name(unsigned class_)
{
	static const char *const name[] = {"none", "data", "blob", "meta", "mixed"};

	return class_ < sizeof(name) / sizeof(*name) ? name[class_] : "unknown";
}

/* --- opening ------------------------------------------------------------------------------------
 */

/* Units that R2 keeps from being used for anything else. */
static unsigned reserved_units(const struct check *c, const struct refs_region *r)
{
	unsigned cu = cluster_units(&c->lim.geo);

	if (!r->region)
		return REGION0_START >> UNIT_SHIFT;
	return r->class_ == CLASS_DATA && cu > REGION_HEADER_UNITS ? cu : REGION_HEADER_UNITS;
}

static uint64_t load_words(const uint8_t *p)
{
	uint64_t w;

	memcpy(&w, p, sizeof(w));
	return w;
}

/* Compare the bitmap with the counts that are kept for it (I7), and add it to the totals. */
static void count_region(struct refs *refs, const struct refs_region *r,
			 const struct disk_alloc_entry *e)
{
	uint32_t used = 0, end = REGION_UNITS, dead = 0;

	if (r->by_sector) {
		for (unsigned u = 0; u < REGION_UNITS; u++)
			used += r->used[u] != 0;
		while (end && !r->used[end - 1])
			end--;
		dead = used * UNIT_SECTORS - (uint32_t)bits_count(r->used, 0, REGION_SECTORS);
	} else {
		used = (uint32_t)bits_count(r->used, 0, REGION_UNITS);
		while (end && !bit_test(r->used, end - 1))
			end--;
	}
	if (le32_get(e->free_units) != REGION_UNITS - used)
		check_corrupt(refs->c,
			      "region %" PRIu64 " at offset 0x%" PRIx64 ": %" PRIu32
			      " units are free in the bitmap, its entry says %" PRIu32,
			      r->region, r->region << REGION_SHIFT, REGION_UNITS - used,
			      le32_get(e->free_units));
	if (le32_get(e->dead_sectors) != dead)
		check_corrupt(refs->c,
			      "region %" PRIu64 " at offset 0x%" PRIx64 ": %" PRIu32
			      " sectors are dead in the bitmap, its entry says %" PRIu32,
			      r->region, r->region << REGION_SHIFT, dead,
			      le32_get(e->dead_sectors));
	atomic_fetch_add(&refs->used_units, used);
	uint64_t last = r->region * REGION_UNITS + end, seen = atomic_load(&refs->end_used);
	while (last > seen && !atomic_compare_exchange_weak(&refs->end_used, &seen, last))
		;
}

static void region_free(struct refs_region *r)
{
	if (!r)
		return;
	free(r->used);
	free(r->seen);
	blob_places_free(&r->blobs);
	pthread_mutex_destroy(&r->lock);
	free(r);
}

/* What a region of @class_ may hold, as bits by enum ref_kind (A1). */
static uint8_t class_fits(unsigned class_)
{
	const unsigned meta = 1u << REF_NODE | 1u << REF_SNAPTAB | 1u << REF_JOURNAL;

	switch (class_) {
	case CLASS_DATA:
		return 1u << REF_RAW;
	case CLASS_BLOB:
		return 1u << REF_BLOB;
	case CLASS_META:
		return (uint8_t)meta;
	case CLASS_MIXED:
		return (uint8_t)(meta | 1u << REF_RAW | 1u << REF_BLOB);
	default:
		return 0;
	}
}

/* The maps for @r, @bits being the one that the image has. */
static bool region_maps(struct refs *refs, struct refs_region *r, const uint8_t *bits)
{
	size_t bytes = r->by_sector ? SECTOR_MAP_BYTES : UNIT_MAP_BYTES;

	r->used = malloc(bytes);
	r->seen = calloc(1, bytes);
	if (!r->used || !r->seen)
		return false;
	memcpy(r->used, bits, bytes);
	unsigned reserved = reserved_units(refs->c, r);
	bits_set(r->seen, 0, r->by_sector ? reserved * (size_t)UNIT_SECTORS : reserved);
	atomic_fetch_add(&refs->memory, 2 * bytes + (r->by_sector ? BLOB_PLACES_TYPICAL : 0));
	return true;
}

static errint_t region_open(void *arg, uint64_t i)
{
	struct refs *refs = arg;
	struct check *c = refs->c;
	uint64_t region = refs->first + refs->n + i;
	CLEANUP(free) uint8_t *bits = aligned_alloc(UNIT_SIZE, SECTOR_MAP_BYTES);
	struct refs_region *r = calloc(1, sizeof(*r));
	struct disk_alloc_entry entry;
	errint_t err;

	if (!bits || !r) {
		free(r);
		return log_err(-ENOMEM, "%s: cannot check region %" PRIu64, c->st->name, region);
	}
	pthread_mutex_init(&r->lock, NULL);
	r->region = region;
	err = alloc_copy_bits(c->im, region, bits, &entry, &r->by_sector);
	if (err == -ENOMEM || (!err && !entry.in_use)) {
		region_free(r);
		return err;
	}
	refs->region[refs->n + i] = r;
	r->class_ = entry.class_;
	r->fits = class_fits(entry.class_);
	if (err) {
		r->damaged = true;
		atomic_store(&c->incomplete, true);
		check_corrupt(c, "region %" PRIu64 " at offset 0x%" PRIx64 ": its bitmap %s",
			      region, region << REGION_SHIFT,
			      err == -EBADMSG ? "is damaged" : "cannot be read");
		return 0;
	}
	if (!region_maps(refs, r, bits))
		return log_err(-ENOMEM, "%s: cannot check region %" PRIu64, c->st->name, region);
	count_region(refs, r, &entry);
	return 0;
}

errint_t refs_open(struct check *c, uint64_t first, struct refs **out, uint64_t *end)
{
	struct refs *refs = calloc(1, sizeof(*refs));
	uint64_t budget = c->opts->memory ? c->opts->memory : CHECK_MEMORY;
	errint_t err = 0;

	assert(first < c->nregions);
	if (!refs)
		return log_err(-ENOMEM, "%s: cannot check the space", c->st->name);
	refs->c = c;
	refs->first = first;
	refs->region = calloc(c->nregions - first, sizeof(struct refs_region *));
	if (!refs->region) {
		free(refs);
		return log_err(-ENOMEM, "%s: cannot check the space", c->st->name);
	}
	while (!err && first + refs->n < c->nregions && atomic_load(&refs->memory) < budget) {
		/* Small steps, so that the memory is not exceeded by much. */
		uint64_t step = c->opts->memory ? 1 : 64;

		if (step > c->nregions - first - refs->n)
			step = c->nregions - first - refs->n;
		err = check_parallel(c, step, refs, region_open);
		refs->n += step;
	}
	if (err) {
		refs_free(refs);
		return err;
	}
	c->used_units += refs->used_units;
	if (refs->end_used > c->end_used)
		c->end_used = refs->end_used;
	*end = first + refs->n;
	*out = refs;
	return 0;
}

void refs_free(struct refs *refs)
{
	for (uint64_t i = 0; i < refs->n; i++)
		region_free(refs->region[i]);
	free(refs->region);
	free(refs);
}

/* --- adding references --------------------------------------------------------------------------
 */

/* Long enough for any owner. */
#define OWNER_MAX 96

static const char *owner(const struct check *c, const struct ref *ref, char buf[OWNER_MAX])
{
	switch (ref->kind) {
	case REF_RAW:
	case REF_BLOB:
		snprintf(buf, OWNER_MAX, "cluster %" PRIu64 " (disk offset 0x%" PRIx64 ")",
			 ref->index, ref->index << c->lim.geo.cluster_shift);
		break;
	case REF_NODE:
		snprintf(buf, OWNER_MAX, "node %" PRIu64 " of level %u", ref->index, ref->level);
		break;
	case REF_SNAPTAB:
		return "the snapshot table";
	case REF_JOURNAL:
		return "the journal";
	}
	return buf;
}

/*
 * Take the bits [from, from + len) if all of them are marked used and none is taken.  Otherwise
 * nothing changes.
 */
static bool take_bits(const uint8_t *used, uint8_t *seen, size_t from, size_t len)
{
	size_t first = from / 64, last = (from + len - 1) / 64;
	uint64_t low = ~0ull << from % 64, high = ~0ull >> (63 - (from + len - 1) % 64);

	for (size_t i = first; i <= last; i++) {
		uint64_t mask = (i == first ? low : ~0ull) & (i == last ? high : ~0ull);
		uint64_t u = le64toh(load_words(used + 8 * i));

		if ((u & mask) != mask || (le64toh(load_words(seen + 8 * i)) & mask))
			return false;
	}
	for (size_t i = first; i <= last; i++) {
		uint64_t mask = (i == first ? low : ~0ull) & (i == last ? high : ~0ull);
		uint64_t s = load_words(seen + 8 * i) | htole64(mask);

		memcpy(seen + 8 * i, &s, sizeof(s));
	}
	return true;
}

/* The bits of @e in the maps of @r. */
static void bits_of(const struct refs_region *r, struct extent e, size_t *from, size_t *len)
{
	uint64_t first, end;

	if (r->by_sector) {
		blob_owned_sectors(e, &first, &end);
		*from = first & (REGION_SECTORS - 1);
	} else {
		first = e.off >> UNIT_SHIFT;
		end = (e.off + e.len + UNIT_SIZE - 1) >> UNIT_SHIFT;
		*from = first & (REGION_UNITS - 1);
	}
	*len = end - first;
}

/* take_bits() refused: say why, then take them all the same. */
static void take_bad_bits(struct check *c, struct refs_region *r, const struct ref *ref,
			  size_t from, size_t len)
{
	const unsigned per_bit = r->by_sector ? SECTOR_SIZE : UNIT_SIZE;
	const char *piece = r->by_sector ? "sectors" : "units";
	size_t taken = bits_count(r->seen, from, len), marked = bits_count(r->used, from, len);
	uint64_t base = r->region << REGION_SHIFT;
	char who[OWNER_MAX];

	owner(c, ref, who);
	if (taken)
		check_corrupt(c,
			      "%s: %zu of its %zu %s at offset 0x%" PRIx64
			      " are used by something else as well, the first at 0x%" PRIx64,
			      owner(c, ref, who), taken, len, piece, ref->e.off,
			      base + bits_next_set(r->seen, from, from + len) * per_bit);
	if (marked != len)
		check_corrupt(c,
			      "%s: %zu of its %zu %s at offset 0x%" PRIx64
			      " are not marked used, the first at 0x%" PRIx64,
			      owner(c, ref, who), len - marked, len, piece, ref->e.off,
			      base + bits_next_clear(r->used, from, from + len) * per_bit);
	bits_set(r->seen, from, len);
}

/* The region of @ref, locked; NULL when it is not at hand or nothing can be said, which is then
 * reported. */
static struct refs_region *cursor_region(struct refs_cursor *cur, const struct ref *ref)
{
	struct refs *refs = cur->refs;
	uint64_t region = ref->e.off >> REGION_SHIFT;
	char who[OWNER_MAX];

	if (cur->held && cur->held->region == region)
		return cur->held;
	if (region - refs->first >= refs->n)
		return NULL;
	struct refs_region *r = refs->region[region - refs->first];
	if (!r)
		check_corrupt(refs->c,
			      "%s: offset 0x%" PRIx64 " is in region %" PRIu64
			      ", which is not in use",
			      owner(refs->c, ref, who), ref->e.off, region);
	if (!r || r->damaged)
		return NULL;
	refs_release(cur);
	pthread_mutex_lock(&r->lock);
	cur->held = r;
	return r;
}

void refs_release(struct refs_cursor *cur)
{
	if (cur->held)
		pthread_mutex_unlock(&cur->held->lock);
	cur->held = NULL;
}

void refs_add(struct refs_cursor *cur, const struct ref *ref)
{
	struct check *c = cur->refs->c;
	struct refs_region *r = cursor_region(cur, ref);
	char who[OWNER_MAX];
	size_t from, len;

	if (!r)
		return;
	assert((ref->e.off + ref->e.len - 1) >> REGION_SHIFT == r->region);
	if (!(r->fits >> ref->kind & 1)) {
		check_corrupt(c,
			      "%s: offset 0x%" PRIx64 " is in region %" PRIu64
			      " of class %s, where it must not be",
			      owner(c, ref, who), ref->e.off, r->region, class_name(r->class_));
		/* What it uses there is no leak on top of that. */
	}
	bits_of(r, ref->e, &from, &len);
	if (!take_bits(r->used, r->seen, from, len))
		take_bad_bits(c, r, ref, from, len);
	else if (ref->kind == REF_BLOB && r->by_sector &&
		 blob_places_add(&r->blobs, &c->lim.geo, ref->e))
		atomic_store(&cur->refs->err, -ENOMEM);
}

void refs_add_run(struct refs_cursor *cur, const struct ref *ref, unsigned n)
{
	struct refs_region *r = cursor_region(cur, ref);
	struct extent e = {ref->e.off, ref->e.len * n};
	struct ref one = *ref;
	size_t from, len;

	assert(ref->kind == REF_RAW && n > 0);
	if (r && r->fits >> REF_RAW & 1) {
		bits_of(r, e, &from, &len);
		if (take_bits(r->used, r->seen, from, len))
			return;
	}
	/* Something is wrong: find out with which of them. */
	for (unsigned i = 0; i < n; i++) {
		refs_add(cur, &one);
		one.index++;
		one.e.off += one.e.len;
	}
}

/* --- comparing ----------------------------------------------------------------------------------
 */

static void overlap(void *arg, uint64_t off)
{
	check_corrupt(arg,
		      "offset 0x%" PRIx64
		      ": a compressed cluster begins where what precedes it has not ended",
		      off);
}

/* Is unit @u marked, in whole or in part, without anybody referring to that? */
static bool unit_leaked(const struct refs_region *r, unsigned u)
{
	if (r->by_sector)
		return r->used[u] & (uint8_t)~r->seen[u];
	return bit_test(r->used, u) && !bit_test(r->seen, u);
}

/* The first leaked unit from @u on, or REGION_UNITS. */
static unsigned next_leaked(const struct refs_region *r, unsigned u)
{
	const unsigned per_word = r->by_sector ? 8 : 64;

	while (u < REGION_UNITS) {
		size_t at = u / per_word * 8;

		if (load_words(r->used + at) & ~load_words(r->seen + at)) {
			if (unit_leaked(r, u))
				return u;
			u++;
		} else {
			u = (u / per_word + 1) * per_word;
		}
	}
	return u;
}

static void compare_leaks(struct check *c, const struct refs_region *r)
{
	for (unsigned u = next_leaked(r, 0), end; u < REGION_UNITS; u = next_leaked(r, end)) {
		for (end = u + 1; end < REGION_UNITS && unit_leaked(r, end);)
			end++;
		check_leak(c, end - u,
			   "offset 0x%" PRIx64 ": %u unit%s of region %" PRIu64
			   " (%s) marked used%s, but nothing refers to %s",
			   (r->region << REGION_SHIFT) + ((uint64_t)u << UNIT_SHIFT), end - u,
			   end - u > 1 ? "s" : "", r->region, class_name(r->class_),
			   r->by_sector ? ", at least in part" : "", end - u > 1 ? "them" : "it");
	}
}

static errint_t region_compare(void *arg, uint64_t i)
{
	struct refs *refs = arg;
	struct check *c = refs->c;
	struct refs_region *r = refs->region[i];

	if (!r || r->damaged)
		return 0;
	errint_t err = blob_places_compare(&r->blobs, &c->lim.geo, r->region << REGION_SHIFT,
					   r->seen, overlap, c);
	if (err)
		return err;
	if (!atomic_load(&c->incomplete))
		compare_leaks(c, r);
	return 0;
}

errint_t refs_compare(struct refs *refs)
{
	if (refs->err)
		return log_err(refs->err, "%s: cannot check the space", refs->c->st->name);
	return check_parallel(refs->c, refs->n, refs, region_compare);
}
