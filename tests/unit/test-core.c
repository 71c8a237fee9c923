/* SPDX-License-Identifier: MIT */
/*
 * The live core at its edges: files that end anywhere, space that runs out, images whose checksums
 * are right and whose contents are not.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/lib/live.h"
#include "tests/lib/mem_store.h"
#include "tests/lib/surgery.h"

/* ---- where the file ends ---------------------------------------------------------------- */

/* A file may end right behind its last used unit (R3); what is allocated there later must not make
 * it look truncated. */
static void file_ends_within_region(void **state)
{
	struct live l;

	(void)state;
	live_new(&l, 4 * GIB, GIB);
	live_open(&l);
	live_put(&l, 0, CLUSTER, 1);
	live_close(&l);
	/* Region 1: header, and one cluster. */
	assert_int_equal(store_truncate(l.st, (128ull << 20) + (16 + 16) * 4096), 0);
	live_open(&l);
	live_put(&l, CLUSTER, 4096, 2);
	live_close(&l);
	live_check(&l);
	live_open(&l);
	live_expect(&l, 0, CLUSTER, 1);
	live_expect(&l, CLUSTER, 4096, 2);
	live_expect(&l, CLUSTER + 4096, CLUSTER - 4096, 0);
	live_close(&l);
	live_free(&l);
}

/* A device cannot grow, and its end need not be a region's. */
static void device_ends_within_region(void **state)
{
	const uint64_t device = 129 * MIB; /* 15 clusters behind the second region's header */
	unsigned written = 0;
	struct live l;

	(void)state;
	live_new(&l, device, GIB);
	assert_int_equal(store_truncate(l.st, device), 0);
	live_open(&l);
	while (written < 64 && !live_try_put(&l, (uint64_t)written * CLUSTER, 4096, 7))
		written++;
	assert_in_range(written, 0, 15);
	live_close(&l);
	live_check(&l);
	live_open(&l);
	for (unsigned i = 0; i < written; i++)
		live_expect(&l, (uint64_t)i * CLUSTER, 4096, 7);
	live_close(&l);
	live_free(&l);
}

/* ---- space runs out --------------------------------------------------------------------- */

/* Nodes have their reserve (A3): data is refused first, a checkpoint never, nor opening. */
static void nodes_run_out(void **state)
{
	unsigned n = 0, kept;
	errint_t err = 0;
	struct live l;

	(void)state;
	live_new(&l, 256 * MIB, 64 * GIB);
	l.opts.max_regions = 2;
	l.opts.dirty_cap = 10;
	/* All but 200 units of the only region that nodes can have. */
	l.opts.journal_length = (32768 - 512 - 200) * 4096ull;
	live_open(&l);
	while (n < 400 && !(err = live_try_put(&l, n * LEAF, 4096, (uint8_t)(n + 1))))
		n++;
	assert_int_equal(err, -ENOSPC);
	assert_true(n > 80);
	assert_int_equal(image_checkpoint(l.im), 0);
	/* What needs no new node goes on. */
	for (unsigned i = 0; i < n; i++)
		live_put(&l, i * LEAF, 4096, (uint8_t)(i + 2));
	live_crash(&l);

	live_open(&l);
	kept = n / 2;
	for (unsigned i = kept; i < n; i++)
		assert_int_equal(engine_discard(l.t, i * LEAF, CLUSTER), 0);
	live_close(&l);
	live_check(&l);
	live_open(&l);
	live_put(&l, n * LEAF, 4096, 5);
	for (unsigned i = 0; i < kept; i++)
		live_expect(&l, i * LEAF, 4096, (uint8_t)(i + 2));
	live_close(&l);
	live_check(&l);
	live_free(&l);
}

/* No room for the journal: nothing has changed. */
static void journal_has_no_place(void **state)
{
	const size_t head = 1 * MIB;
	uint8_t *before = store_buffer(head), *after = store_buffer(head);
	struct live l;

	(void)state;
	live_new(&l, 256 * MIB, GIB);
	l.opts.max_regions = 1;
	l.opts.journal_length = 127 * MIB;
	assert_int_equal(store_read(l.st, before, head, 0), 0);
	assert_int_equal(live_try_open(&l), -ENOSPC);
	assert_int_equal(store_read(l.st, after, head, 0), 0);
	assert_memory_equal(before, after, head);
	l.opts.max_regions = 2;
	live_open(&l);
	live_close(&l);
	live_free(&l);
	free(before);
	free(after);
}

/* ---- sound checksums, unsound contents -------------------------------------------------- */

/* An image with one cluster, whose descriptor is then replaced by @d. */
static void with_desc(struct live *l, struct desc d)
{
	struct surgery s;

	live_new(l, 4 * GIB, GIB);
	live_open(l);
	live_put(l, 0, CLUSTER, 1);
	live_close(l);
	surgery_begin(&s, l->st);
	s.sb.incompat = le64_make(INCOMPAT_ZSTD_BLOBS);
	surgery_set_desc(&s, 0, d);
	surgery_super(&s);
}

/* Freeing it is a fail-stop, and not the end of the process. */
static void freeing_stops(struct desc d)
{
	struct live l;

	with_desc(&l, d);
	live_open(&l);
	assert_int_equal(engine_discard(l.t, 0, CLUSTER), -EIO);
	assert_int_equal(engine_flush(l.t), -EIO);
	assert_int_equal(live_try_close(&l), -EIO);
	live_free(&l);
}

static void extent_of_another_class(void **state)
{
	const uint64_t granules = 1ull << (27 - 5); /* of a region */

	(void)state;
	/* A blob among the clusters of a DATA region, where nothing is aligned to it; shorter than
	 * a unit, and longer. */
	freeing_stops(desc_zstd_make(granules + (17 * 4096 >> 5), 20, 1, 0));
	freeing_stops(desc_zstd_make(granules + (17 * 4096 >> 5), 200, 1, 0));
	/* A cluster where nothing is in use. */
	freeing_stops(desc_raw_make(32768 + 1024, 1, 0xffff, 0));
}

/* ----------------------------------------------------------------------------------------- */

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(file_ends_within_region),
		cmocka_unit_test(device_ends_within_region),
		cmocka_unit_test(nodes_run_out),
		cmocka_unit_test(journal_has_no_place),
		cmocka_unit_test(extent_of_another_class),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
