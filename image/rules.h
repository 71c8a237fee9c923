/* SPDX-License-Identifier: MIT */
/*
 * Ordering rules that a test build can break one at a time, to prove that the crash tests notice.
 * In a normal build the question "is it broken?" is the constant false.
 */
#ifndef IMAGE_RULES_H
#define IMAGE_RULES_H

#include <stdint.h>

/* Named as in docs/format.md, where each stands beside its rule as [m:name]. */
#define BREAKABLE_RULES(X)                                                                         \
	X(no_data_sync)	       /* transaction written before the data it exposes is durable */     \
	X(ckpt_no_sync)	       /* superblock written before nodes and bitmaps are durable */       \
	X(bm_inplace)	       /* alloc blocks overwritten in their active slot */                 \
	X(node_reuse_early)    /* old nodes reusable before the new superblock is durable */       \
	X(journal_reuse_early) /* journal reusable before the new superblock is durable */         \
	X(open_no_sync)	       /* state that is visible but volatile is built upon at open */      \
	X(reuse_early) /* an extent is reused before the transaction that freed it is durable */   \
	X(no_drain)    /* an extent is reused while a plan still reads from it */                  \
	X(log_before_data)  /* a mapping is logged before its data is written (J4) */              \
	X(blob_unit_free)   /* freeing a blob frees its neighbours' sectors in shared units */     \
	X(blob_append)	    /* a batch continues in a unit that is in use */                       \
	X(blob_busy_bool)   /* a batch's hold ends with its first member */                        \
	X(blob_limbo_bool)  /* limbo releases every hold on a unit */                              \
	X(pack_last_sector) /* a blob starts behind the last sector's first byte */                \
	X(flush_stale_sync) /* a flush is satisfied by a sync that began before it */              \
	X(super_no_dsync)   /* superblock acknowledged while volatile */                           \
	X(journal_no_dsync) /* transaction acknowledged while volatile */                          \
	X(punch_early)	    /* freed space is punched before its transaction is durable */         \
	X(repack_touched)   /* a repacked cluster replaces what was written meanwhile */           \
	X(no_snap_drain)    /* a snapshot is taken while writers are under way */                  \
	X(zombie_volatile)  /* a deletion begins before its ZOMBIE is durable */                   \
	X(walk_in_ckpt)	    /* a step of a deletion between a freeze and its superblock */         \
	X(branch_free)	    /* a snapshot with two children is deleted */                          \
	X(rollback_ungate)  /* writers are let in before a rollback is durable */                  \
	X(no_vj)	    /* the volatile journal is not replayed */                             \
	X(vj_after_ack)	    /* a record is published after its acknowledgement */                  \
	X(vj_retire_early)  /* slots are retired before their transaction is durable */            \
	X(vj_reset_early)   /* ... and by a recovery before its checkpoint is durable */           \
	X(vj_no_skip)	    /* what the journal has is replayed from the volatile journal too */   \
	X(vj_group)	    /* a group is published record by record */                            \
	X(vj_stale)	    /* the volatile journal of an earlier session is accepted */           \
	X(vj_free_early)    /* a recovery uses space that only volatile records have freed */      \
	X(late_write)	    /* a recovery does not wait for writes of the dead process */          \
	X(commit_no_mark)   /* a backing is changed before the image says that it will be */       \
	X(commit_no_sync)   /* a cluster is left to the backing before it is durable there */      \
	X(shrink_backing)   /* clusters are cut off while the backing shows in their place */

enum broken_rule_index {
#define X(name) RULE_INDEX_##name,
	BREAKABLE_RULES(X)
#undef X
		NRULES
};

#ifdef UBLK_IMG_MUTATIONS
#define RULE_BROKEN(im, name) ((im)->broken_rules >> RULE_INDEX_##name & 1)
#else
#define RULE_BROKEN(im, name) 0
#endif

#endif
