/* SPDX-License-Identifier: MIT */
/*
 * Owns: the comparison of what is marked used with what is referred to (I3, I4, I5, I7, I9, A1).
 *
 * For each region there is one map, by units or by sectors as its class has it: what its bitmap
 * marks used and nothing has referred to yet.  A reference takes its pieces out of it.  One that
 * does not find them all there is reported at once, after a second look at the bitmap, which tells
 * pieces that were never marked from those that something else has taken; what is left in the end
 * are leaks.
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
#include <sys/mman.h>

#include "common/bitmap.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "image/alloc.h"
#include "image/check_blobs.h"
#include "image/check_parts.h"

/* At most 80 MiB of maps. */
#define REGIONS_AT_ONCE 1024u

#define SECTOR_MAP_BYTES (REGION_SECTORS / 8)
#define UNIT_MAP_BYTES	 (REGION_UNITS / 8)

struct refs_region {
	/* Constant once refs_open() has returned. */
	uint64_t region;
	uint8_t class_;
	uint8_t fits; /* bit for each enum ref_kind that the class may hold (A1) */
	bool by_sector;
	bool damaged; /* its bitmap is not known: nothing can be compared */

	pthread_mutex_t lock; /* protects the contents of what follows */
	uint8_t *left; /* marked used, but for what R2 reserves, and not referred to so far */
	uint8_t *used; /* the bitmap, once something was found wrong; NULL: not read again */
	struct blob_places blobs;
};

/* Memory for maps: one piece for many of them, and of the size of a large page, because small ones
 * by the thousand cost more than what they are used for. */
#define SLAB_BYTES (2u << 20)

struct slab {
	struct slab *next;
	size_t used;
	uint8_t map[];
};

/* What a thread that opens regions works with. */
struct opener {
	uint8_t *room; /* ALLOC_BITS_ROOM bytes */
	struct slab *slab;
};

struct refs {
	struct check *c;
	uint64_t first, n;	     /* regions */
	struct refs_region **region; /* NULL: not in use */
	struct opener opener[WALK_MAX_THREADS];
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

/* Units and dead sectors that the bitmap marks. */
static void count_bits(const struct refs_region *r, const uint8_t *bits, uint32_t *used,
		       uint32_t *dead)
{
	*used = *dead = 0;
	if (!r->by_sector) {
		*used = (uint32_t)bits_count(bits, 0, REGION_UNITS);
		return;
	}
	for (unsigned u = 0; u < REGION_UNITS; u++)
		*used += bits[u] != 0;
	*dead = *used * UNIT_SECTORS - (uint32_t)bits_count(bits, 0, REGION_SECTORS);
}

/* Compare the bitmap with the counts that are kept for it (I7), and add it to the totals. */
static void count_region(struct refs *refs, const struct refs_region *r, const uint8_t *bits,
			 const struct disk_alloc_entry *e)
{
	const struct image_info *info = &refs->c->info;
	uint32_t used = REGION_UNITS - le32_get(e->free_units), dead = le32_get(e->dead_sectors);
	uint32_t end = REGION_UNITS;

	/* What was read just now was compared with its counts when it was validated. */
	if (!info->read_only || info->replayed)
		count_bits(r, bits, &used, &dead);
	while (end && !(r->by_sector ? bits[end - 1] : bit_test(bits, end - 1)))
		end--;
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

static size_t map_bytes(const struct refs_region *r)
{
	return r->by_sector ? SECTOR_MAP_BYTES : UNIT_MAP_BYTES;
}

/* The map for @r, whose bitmap is in o->room. */
static bool region_map(struct refs *refs, struct opener *o, struct refs_region *r)
{
	size_t bytes = map_bytes(r);
	unsigned reserved = reserved_units(refs->c, r);

	if (!o->slab || o->slab->used + bytes > SLAB_BYTES - sizeof(struct slab)) {
		struct slab *slab = aligned_alloc(SLAB_BYTES, SLAB_BYTES);

		if (!slab)
			return false;
		/* A wish: where it is not granted, all is as before.  Small images do without. */
		if (o->slab)
			(void)madvise(slab, SLAB_BYTES, MADV_HUGEPAGE);
		*slab = (struct slab){.next = o->slab};
		o->slab = slab;
	}
	r->left = o->slab->map + o->slab->used;
	o->slab->used += bytes;
	memcpy(r->left, o->room, bytes);
	bits_clear(r->left, 0, r->by_sector ? reserved * (size_t)UNIT_SECTORS : reserved);
	atomic_fetch_add(&refs->memory, bytes + (r->by_sector ? BLOB_PLACES_TYPICAL : 0));
	return true;
}

/* Fill @r in. */
static errint_t region_fill(struct refs *refs, struct opener *o, struct refs_region *r,
			    bool *in_use)
{
	struct check *c = refs->c;
	struct disk_alloc_entry entry;
	errint_t err = alloc_copy_bits(c->im, r->region, o->room, &entry, &r->by_sector);

	if (err == -ENOMEM)
		return log_err(err, "%s: cannot check region %" PRIu64, c->st->name, r->region);
	*in_use = err || entry.in_use;
	if (!*in_use)
		return 0;
	r->class_ = entry.class_;
	r->fits = class_fits(entry.class_);
	if (err) {
		r->damaged = true;
		atomic_store(&c->incomplete, true);
		check_corrupt(c, "region %" PRIu64 " at offset 0x%" PRIx64 ": its bitmap %s",
			      r->region, r->region << REGION_SHIFT,
			      err == -EBADMSG ? "is damaged" : "cannot be read");
		return 0;
	}
	if (!region_map(refs, o, r))
		return log_err(-ENOMEM, "%s: cannot check region %" PRIu64, c->st->name, r->region);
	count_region(refs, r, o->room, &entry);
	return 0;
}

static errint_t region_open(void *arg, unsigned worker, uint64_t i)
{
	struct refs *refs = arg;
	struct opener *o = &refs->opener[worker];
	struct refs_region *r = calloc(1, sizeof(*r));
	bool in_use = false;
	errint_t err;

	if (!o->room)
		o->room = aligned_alloc(UNIT_SIZE, ALLOC_BITS_ROOM);
	if (!o->room || !r) {
		free(r);
		return log_err(-ENOMEM, "%s: cannot check the space", refs->c->st->name);
	}
	pthread_mutex_init(&r->lock, NULL);
	r->region = refs->first + refs->n + i;
	err = region_fill(refs, o, r, &in_use);
	if (in_use)
		refs->region[refs->n + i] = r;
	else
		region_free(r);
	return err;
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
		/* Steps, so that the memory is not exceeded by much. */
		uint64_t step = c->opts->memory ? 1 : REGIONS_AT_ONCE;

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
	for (unsigned i = 0; i < WALK_MAX_THREADS; i++) {
		free(refs->opener[i].room);
		while (refs->opener[i].slab) {
			struct slab *slab = refs->opener[i].slab;

			refs->opener[i].slab = slab->next;
			free(slab);
		}
	}
	free(refs->region);
	free(refs);
}

/* --- adding references --------------------------------------------------------------------------
 */

/* Long enough for any owner. */
#define OWNER_MAX 128

static const char *owner(const struct refs_cursor *cur, const struct ref *ref, char buf[OWNER_MAX])
{
	char whose[CHECK_WHOSE_MAX];

	switch (ref->kind) {
	case REF_RAW:
	case REF_BLOB:
		snprintf(buf, OWNER_MAX, "cluster %" PRIu64 " (disk offset 0x%" PRIx64 ")%s",
			 ref->index, ref->index << cur->refs->c->lim.geo.cluster_shift,
			 check_whose(cur->snapshot, whose));
		break;
	case REF_NODE:
		snprintf(buf, OWNER_MAX, "node %" PRIu64 " of level %u%s", ref->index, ref->level,
			 check_whose(cur->snapshot, whose));
		break;
	case REF_SNAPTAB:
		return "the snapshot table";
	case REF_JOURNAL:
		return "the journal";
	}
	return buf;
}

/* Take the bits [from, from + len) out of @left if they are all there; otherwise nothing changes.
 */
static bool take_bits(uint8_t *left, size_t from, size_t len)
{
	size_t first = from / 64, last = (from + len - 1) / 64;
	uint64_t low = ~0ull << from % 64, high = ~0ull >> (63 - (from + len - 1) % 64);

	for (size_t i = first; i <= last; i++) {
		uint64_t mask = (i == first ? low : ~0ull) & (i == last ? high : ~0ull);

		if (~le64toh(load_words(left + 8 * i)) & mask)
			return false;
	}
	for (size_t i = first; i <= last; i++) {
		uint64_t mask = (i == first ? low : ~0ull) & (i == last ? high : ~0ull);
		uint64_t w = load_words(left + 8 * i) & ~htole64(mask);

		memcpy(left + 8 * i, &w, sizeof(w));
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

/* Read the bitmap of @r once more.  False, with the failure reported, when that cannot be done. */
static bool read_again(struct check *c, struct refs_region *r)
{
	CLEANUP(free) uint8_t *bits = aligned_alloc(UNIT_SIZE, ALLOC_BITS_ROOM);
	struct disk_alloc_entry entry;
	bool by_sector;

	if (r->used)
		return true;
	errint_t err = bits ? alloc_copy_bits(c->im, r->region, bits, &entry, &by_sector) : -ENOMEM;
	if (!err)
		r->used = malloc(map_bytes(r));
	if (r->used)
		memcpy(r->used, bits, map_bytes(r));
	else
		check_corrupt(c, "region %" PRIu64 ": its bitmap cannot be read again", r->region);
	return r->used;
}

/*
 * Say what keeps these bits from being taken, if anything, then take what is there.  Returns true
 * when none of them was taken before.
 */
static bool take_bad_bits(struct refs_cursor *cur, struct refs_region *r, const struct ref *ref,
			  size_t from, size_t len)
{
	struct check *c = cur->refs->c;
	const unsigned per_bit = r->by_sector ? SECTOR_SIZE : UNIT_SIZE;
	const char *piece = r->by_sector ? "sectors" : "units";
	size_t marked, left = bits_count(r->left, from, len), i = from;
	uint64_t base = r->region << REGION_SHIFT;
	char who[OWNER_MAX];

	if (left == len || !read_again(c, r)) {
		bits_clear(r->left, from, len);
		return true;
	}
	marked = bits_count(r->used, from, len);
	while (i < from + len && (!bit_test(r->used, i) || bit_test(r->left, i)))
		i++;
	if (left != marked)
		check_corrupt(c,
			      "%s: %zu of its %zu %s at offset 0x%" PRIx64
			      " are used by something else as well, the first at 0x%" PRIx64,
			      owner(cur, ref, who), marked - left, len, piece, ref->e.off,
			      base + i * per_bit);
	if (marked != len)
		check_corrupt(c,
			      "%s: %zu of its %zu %s at offset 0x%" PRIx64
			      " are not marked used, the first at 0x%" PRIx64,
			      owner(cur, ref, who), len - marked, len, piece, ref->e.off,
			      base + bits_next_clear(r->used, from, from + len) * per_bit);
	bits_clear(r->left, from, len);
	return left == marked;
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
			      owner(cur, ref, who), ref->e.off, region);
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

/* @ref owns its sectors alone: what is left to compare is bytes. */
static void add_place(struct refs_cursor *cur, struct refs_region *r, const struct ref *ref)
{
	if (ref->kind == REF_BLOB && r->by_sector &&
	    blob_places_add(&r->blobs, &cur->refs->c->lim.geo, ref->e))
		atomic_store(&cur->refs->err, -ENOMEM);
}

/* Take what @ref refers to, when nothing is wrong with that. */
static bool add_if_sound(struct refs_cursor *cur, struct refs_region *r, const struct ref *ref)
{
	size_t from, len;

	if (!(r->fits >> ref->kind & 1))
		return false;
	bits_of(r, ref->e, &from, &len);
	if (!take_bits(r->left, from, len))
		return false;
	add_place(cur, r, ref);
	return true;
}

bool refs_add(struct refs_cursor *cur, const struct ref *ref)
{
	struct check *c = cur->refs->c;
	struct refs_region *r = cursor_region(cur, ref);
	char who[OWNER_MAX];
	size_t from, len;

	if (!r)
		return true;
	assert((ref->e.off + ref->e.len - 1) >> REGION_SHIFT == r->region);
	if (add_if_sound(cur, r, ref))
		return true;
	if (!(r->fits >> ref->kind & 1))
		check_corrupt(c,
			      "%s: offset 0x%" PRIx64 " is in region %" PRIu64
			      " of class %s, where it must not be",
			      owner(cur, ref, who), ref->e.off, r->region, class_name(r->class_));
	/* What it uses there is no leak on top of that. */
	bits_of(r, ref->e, &from, &len);
	if (!take_bad_bits(cur, r, ref, from, len))
		return false;
	add_place(cur, r, ref);
	return true;
}

/* Does @b begin where @a ends?  For blobs that is so too when the packing rule (P2) moved @b from
 * the last sector of a unit, which is @a's, to the next unit. */
static inline bool follows(struct extent a, struct extent b)
{
	uint64_t end = a.off + a.len;

	/* Regions begin with a header: no run crosses their borders. */
	return b.off == end || (!(b.off & (SECTOR_SIZE - 1)) && b.off - end < SECTOR_SIZE);
}

unsigned refs_run_length(const struct geometry *g, const struct desc *entry, unsigned n)
{
	enum desc_type type = desc_type(entry[0]);
	struct extent e = desc_extent(g, entry[0]);
	unsigned i = 1;

	if (type == DESC_RAW) {
		/* The unit is the lowest part of w0, and the rest is the same for all. */
		while (i < n && entry[i].w0 == entry[i - 1].w0 + cluster_units(g))
			i++;
		return i;
	}
	for (; i < n && desc_type(entry[i]) == type; i++) {
		struct extent next = desc_extent(g, entry[i]);

		if (!next.len || !follows(e, next))
			break;
		e = next;
	}
	return i;
}

void refs_add_run(struct refs_cursor *cur, uint64_t vcluster, const struct desc *entry, unsigned n)
{
	const struct geometry *g = &cur->refs->c->lim.geo;
	struct extent e = desc_extent(g, entry[0]), last = desc_extent(g, entry[n - 1]);
	struct ref ref = {.kind = desc_type(entry[0]) == DESC_ZSTD ? REF_BLOB : REF_RAW,
			  .index = vcluster,
			  .e = {e.off, last.off + last.len - e.off}};
	struct refs_region *r = cursor_region(cur, &ref);

	assert((ref.e.off + ref.e.len - 1) >> REGION_SHIFT == e.off >> REGION_SHIFT);
	if (r && add_if_sound(cur, r, &ref))
		return;
	/* Something is wrong: find out with which of them. */
	for (unsigned i = 0; i < n && r; i++) {
		ref.index = vcluster + i;
		ref.e = desc_extent(g, entry[i]);
		(void)refs_add(cur, &ref);
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
	return r->by_sector ? r->left[u] : bit_test(r->left, u);
}

/* The first leaked unit from @u on, or REGION_UNITS. */
static unsigned next_leaked(const struct refs_region *r, unsigned u)
{
	const unsigned per_word = r->by_sector ? 8 : 64;

	while (u < REGION_UNITS && !unit_leaked(r, u)) {
		if (u % per_word == 0 && !load_words(r->left + u / per_word * 8))
			u += per_word;
		else
			u++;
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

static errint_t region_compare(void *arg, unsigned worker, uint64_t i)
{
	struct refs *refs = arg;
	struct check *c = refs->c;
	struct refs_region *r = refs->region[i];

	(void)worker;
	if (!r || r->damaged)
		return 0;
	errint_t err =
		blob_places_compare(&r->blobs, &c->lim.geo, r->region << REGION_SHIFT, overlap, c);
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
