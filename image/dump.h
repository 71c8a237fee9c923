/* SPDX-License-Identifier: MIT */
/* Text and JSON forms of validated blocks, for `info --blocks`, error reports and tests. */
#ifndef IMAGE_DUMP_H
#define IMAGE_DUMP_H

#include <jansson.h>
#include <stdio.h>

#include "image/desc.h"
#include "image/format.h"

/* Long enough for any descriptor's one-line form. */
#define DUMP_DESC_MAX 160

/* "raw unit 512 birth 1 valid ffff zero 0000"; returns @buf. */
const char *dump_desc(const struct geometry *g, struct desc d, char buf[DUMP_DESC_MAX]);

void dump_ident(FILE *out, const struct disk_ident *ident);
void dump_super(FILE *out, const struct disk_super *sb);
void dump_snapshot(FILE *out, const struct disk_snapshot *rec);
void dump_alloc_entry(FILE *out, uint64_t region, const struct disk_alloc_entry *e);
void dump_txn(FILE *out, const struct geometry *g, const struct disk_txn *txn);
/* Entries that are not holes. */
void dump_node(FILE *out, const struct geometry *g, unsigned level, uint64_t index,
	       const struct disk_node *node);

/* "6f1b…-…" in the usual 36-character form, NUL included. */
void dump_uuid(const uint8_t uuid[16], char buf[37]);
/* "zstd, backing, bit 7"; static names for known bits.  @buf is returned. */
const char *dump_incompat(uint64_t mask, char *buf, size_t len);

/* New references; NULL when out of memory. */
json_t *dump_ident_json(const struct disk_ident *ident);
json_t *dump_super_json(const struct disk_super *sb);

#endif
