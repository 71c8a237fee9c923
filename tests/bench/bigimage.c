/* SPDX-License-Identifier: MIT */
/*
 * Makes large images that hold metadata only, for benchmarks of what reads metadata: the data is a
 * hole.  Of the same disk it can also make a qcow2 image, for a comparison of like with like.
 *
 *	bigimage FORMAT KIND LAYOUT SIZE MAPPED FILE
 *
 * FORMAT  ublk or qcow2
 * KIND    raw: clusters stored as they are; zstd: compressed ones, 24 KiB on average
 * LAYOUT  dense: the first MAPPED bytes of the disk; spread: runs of clusters at the same distance
 *	   from each other all over the disk, so that every leaf of the map is there
 * SIZE, MAPPED  bytes of the disk and of what is mapped of it, with K, M, G, T
 */
#include "config.h"

#include <endian.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <fcntl.h>

#include "image/bulk.h"

#define CLUSTER_SHIFT 16
#define CLUSTER	      (1ull << CLUSTER_SHIFT)
#define BATCH	      64u  /* blobs placed together, as convert does */
#define LEAF	      256u /* clusters of a leaf: the distance of runs in the spread layout */

struct disk {
	uint64_t clusters; /* of the disk */
	uint64_t leaves;   /* with something mapped */
	unsigned per_leaf; /* clusters mapped in each */
	bool zstd;
};

static void die(const char *what)
{
	perror(what);
	exit(1);
}

/* Stored bytes of a compressed cluster: 8 to 40 KiB, the same for every image. */
static uint32_t stored_size(uint64_t cluster)
{
	uint64_t z = (cluster + 1) * 0x9e3779b97f4a7c15ull;

	z = (z ^ z >> 29) * 0xbf58476d1ce4e5b9ull;
	return 8192 + (uint32_t)(z >> 40) % 32768;
}

/* --- ublk-img ------------------------------------------------------------------------------- */

static void add_raw(struct bulk *b, uint64_t cluster, unsigned n)
{
	struct bulk_place place;

	for (; n; n -= place.n, cluster += place.n) {
		if (bulk_place_raw(b, n, &place) ||
		    bulk_map_raw(b, cluster, place.n, place.file_off))
			exit(1);
	}
}

static void add_zstd(struct bulk *b, uint64_t cluster, unsigned n)
{
	struct bulk_blob blob[BATCH];
	struct bulk_place place;

	for (; n; n -= place.n, cluster += place.n) {
		unsigned batch = n < BATCH ? n : BATCH;

		for (unsigned i = 0; i < batch; i++)
			blob[i] = (struct bulk_blob){.vcluster = cluster + i,
						     .len = stored_size(cluster + i)};
		if (bulk_place_blobs(b, blob, batch, &place) ||
		    bulk_map_blobs(b, blob, place.n, place.file_off))
			exit(1);
	}
}

static void make_ublk(const struct disk *d, const char *path)
{
	struct image_params params = {.size = d->clusters << CLUSTER_SHIFT, .creator = "bigimage"};
	struct store *st;
	struct bulk *b;

	if (store_file_open(path, STORE_FILE_CREATE | STORE_FILE_BUFFERED, &st) ||
	    bulk_begin(st, &params, &b))
		exit(1);
	for (uint64_t leaf = 0; leaf < d->leaves; leaf++) {
		if (d->zstd)
			add_zstd(b, leaf * LEAF, d->per_leaf);
		else
			add_raw(b, leaf * LEAF, d->per_leaf);
	}
	if (bulk_finish(b))
		exit(1);
	store_close(st);
}

/* --- qcow2 ---------------------------------------------------------------------------------- */

/* Version 3, 64 KiB clusters, 16-bit refcounts; in the order header, refcount table, refcount
 * blocks, L1, L2 tables, data. */
#define L2_ENTRIES     8192u
#define REFBLOCK_SHIFT 15
#define COPIED	       (1ull << 63)
#define COMPRESSED     (1ull << 62)
#define SECTORS_SHIFT  54 /* 62 - (16 - 8) */

struct qcow2 {
	uint64_t *l1, *l2; /* all L2 tables, one after the other */
	uint16_t *ref;	   /* by host cluster */
	uint64_t l1_clusters, l2_tables, table_clusters, blocks, total;
};

struct qcow2_header {
	uint32_t magic, version;
	uint64_t backing_off;
	uint32_t backing_len, cluster_bits;
	uint64_t size;
	uint32_t crypt, l1_size;
	uint64_t l1_off, table_off;
	uint32_t table_clusters, nsnapshots;
	uint64_t snapshots_off, incompat, compat, autoclear;
	uint32_t refcount_order, header_len;
	uint64_t end;
};

static void put(int fd, const void *buf, size_t len, uint64_t off)
{
	const char *p = buf;

	while (len) {
		ssize_t n = pwrite(fd, p, len, (off_t)off);
		if (n < 0)
			die("write");
		p += n;
		off += (uint64_t)n;
		len -= (size_t)n;
	}
}

static void *zeroed(size_t n, size_t size)
{
	void *p = calloc(n ? n : 1, size);

	if (!p)
		die("memory");
	return p;
}

/* Fill the L2 tables and the refcounts of the data, which begins at host byte @at.  Without
 * tables, only find the end. */
static uint64_t place_qcow2(struct qcow2 *q, const struct disk *d, uint64_t at)
{
	for (uint64_t leaf = 0; leaf < d->leaves; leaf++) {
		for (unsigned i = 0; i < d->per_leaf; i++) {
			uint64_t v = leaf * LEAF + i;
			uint64_t len = d->zstd ? stored_size(v) : CLUSTER;
			uint64_t sectors = ((at + len - 1) >> 9) - (at >> 9);

			if (q->l2) {
				q->l2[v] =
					htobe64(d->zstd ? COMPRESSED | sectors << SECTORS_SHIFT | at
							: COPIED | at);
				uint64_t last = ((at & ~511ull) + (sectors << 9)) >> CLUSTER_SHIFT;
				for (uint64_t c = at >> CLUSTER_SHIFT; c <= last && d->zstd; c++)
					q->ref[c]++;
				if (!d->zstd)
					q->ref[at >> CLUSTER_SHIFT] = 1;
			}
			at += len;
		}
	}
	return at;
}

static void size_qcow2(struct qcow2 *q, const struct disk *d)
{
	q->l2_tables = (d->leaves * LEAF + L2_ENTRIES - 1) / L2_ENTRIES;
	q->l1_clusters = (d->clusters / L2_ENTRIES * 8 + CLUSTER - 1) >> CLUSTER_SHIFT;
	/* The refcounts cover themselves: try until it fits. */
	for (q->blocks = 1;; q->blocks++) {
		q->table_clusters = (q->blocks * 8 + CLUSTER - 1) >> CLUSTER_SHIFT;
		uint64_t meta = 1 + q->table_clusters + q->blocks + q->l1_clusters + q->l2_tables;
		uint64_t end = place_qcow2(&(struct qcow2){0}, d, meta << CLUSTER_SHIFT);

		q->total = (end + CLUSTER - 1) >> CLUSTER_SHIFT;
		if (q->total <= q->blocks << REFBLOCK_SHIFT)
			return;
		/* Almost there at once, whatever the size. */
		if (q->total >> REFBLOCK_SHIFT > q->blocks)
			q->blocks = (q->total >> REFBLOCK_SHIFT) - 1;
	}
}

static void write_qcow2(const struct qcow2 *q, const struct disk *d, int fd)
{
	uint64_t table = 1, block = table + q->table_clusters, l1 = block + q->blocks,
		 l2 = l1 + q->l1_clusters;
	struct qcow2_header h = {
		.magic = htobe32(0x514649fb),
		.version = htobe32(3),
		.cluster_bits = htobe32(CLUSTER_SHIFT),
		.size = htobe64(d->clusters << CLUSTER_SHIFT),
		.l1_size = htobe32((uint32_t)(d->clusters / L2_ENTRIES)),
		.l1_off = htobe64(l1 << CLUSTER_SHIFT),
		.table_off = htobe64(table << CLUSTER_SHIFT),
		.table_clusters = htobe32((uint32_t)q->table_clusters),
		.refcount_order = htobe32(4),
		.header_len = htobe32(104),
	};
	uint64_t *tab = zeroed(q->blocks, 8);
	uint16_t *ref = zeroed(q->blocks << REFBLOCK_SHIFT, 2);

	for (uint64_t i = 0; i < q->blocks; i++)
		tab[i] = htobe64((block + i) << CLUSTER_SHIFT);
	for (uint64_t i = 0; i < q->total; i++)
		ref[i] = htobe16(q->ref[i]);
	for (uint64_t i = 0; i < q->l2_tables; i++)
		q->l1[i] = htobe64((l2 + i) << CLUSTER_SHIFT | COPIED);
	put(fd, &h, sizeof(h), 0);
	put(fd, tab, q->blocks * 8, table << CLUSTER_SHIFT);
	put(fd, ref, q->blocks << (REFBLOCK_SHIFT + 1), block << CLUSTER_SHIFT);
	put(fd, q->l1, q->l1_clusters << CLUSTER_SHIFT, l1 << CLUSTER_SHIFT);
	put(fd, q->l2, q->l2_tables << CLUSTER_SHIFT, l2 << CLUSTER_SHIFT);
	if (ftruncate(fd, (off_t)(q->total << CLUSTER_SHIFT)))
		die("truncate");
	free(tab);
	free(ref);
}

static void make_qcow2(const struct disk *d, const char *path)
{
	struct qcow2 q = {0};
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0666);

	if (fd < 0)
		die(path);
	size_qcow2(&q, d);
	uint64_t meta = 1 + q.table_clusters + q.blocks + q.l1_clusters + q.l2_tables;
	q.l1 = zeroed(q.l1_clusters, CLUSTER);
	q.l2 = zeroed(q.l2_tables, CLUSTER);
	q.ref = zeroed(q.total + 1, 2);
	for (uint64_t i = 0; i < meta; i++)
		q.ref[i] = 1;
	place_qcow2(&q, d, meta << CLUSTER_SHIFT);
	write_qcow2(&q, d, fd);
	if (close(fd))
		die(path);
	free(q.l1);
	free(q.l2);
	free(q.ref);
}

/* -------------------------------------------------------------------------------------------- */

static uint64_t bytes(const char *s)
{
	static const char unit[] = "KMGT";
	char *end;
	uint64_t v = strtoull(s, &end, 10);
	const char *u = *end ? strchr(unit, *end) : NULL;

	if (end == s || (*end && (!u || end[1]))) {
		fprintf(stderr, "bigimage: %s is no size\n", s);
		exit(2);
	}
	return u ? v << 10 * (u - unit + 1) : v;
}

int main(int argc, char **argv)
{
	struct disk d;

	if (argc != 7) {
		fprintf(stderr, "usage: bigimage ublk|qcow2 raw|zstd dense|spread SIZE MAPPED "
				"FILE\n");
		return 2;
	}
	/* Whole L2 tables of qcow2, so that both formats map the same. */
	d.clusters = bytes(argv[4]) / CLUSTER / L2_ENTRIES * L2_ENTRIES;
	uint64_t mapped = bytes(argv[5]) / CLUSTER;
	d.zstd = !strcmp(argv[2], "zstd");
	if (!strcmp(argv[3], "dense")) {
		d.per_leaf = LEAF;
		d.leaves = mapped / LEAF;
	} else {
		d.leaves = d.clusters / LEAF;
		d.per_leaf = d.leaves ? (unsigned)(mapped / d.leaves) : 0;
	}
	if (!d.leaves || !d.per_leaf || d.per_leaf > LEAF || d.leaves * LEAF > d.clusters) {
		fprintf(stderr, "bigimage: so much cannot be mapped\n");
		return 2;
	}
	if (!strcmp(argv[1], "qcow2"))
		make_qcow2(&d, argv[6]);
	else
		make_ublk(&d, argv[6]);
	printf("%s %s %s: %" PRIu64 " clusters of 64 KiB mapped, %" PRIu64 " leaves\n", argv[1],
	       argv[2], argv[3], d.leaves * d.per_leaf, d.leaves);
	return 0;
}
