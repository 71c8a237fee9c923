/* SPDX-License-Identifier: MIT */
/*
 * `info --blocks`: the fixed blocks of an image field by field, read without opening it, so that it
 * works on what cannot be opened.
 */
#ifndef CLI_BLOCKS_H
#define CLI_BLOCKS_H

#include <jansson.h>
#include <stdio.h>

#include "image/store.h"

/* IDENT, the superblocks, and from the newest that is sound: allocation entries in use, the journal
 * and the root node.  Damage is part of the output, not an error. */
MUST_CHECK errint_t blocks_print(FILE *out, struct store *st);

/* IDENT and the superblocks, into @doc. */
MUST_CHECK errint_t blocks_json(json_t *doc, struct store *st);

#endif
