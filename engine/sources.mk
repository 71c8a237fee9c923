# SPDX-License-Identifier: MIT
# The sources of engine/, listed once: libengine.a here and the mutation build in tests/ are made of
# them.  %D% is this directory as seen from the Makefile that includes this file.
engine_sources = \
	%D%/backing.c \
	%D%/backing.h \
	%D%/backing_priv.h \
	%D%/backing_write.c \
	%D%/buffers.c \
	%D%/buffers.h \
	%D%/cache.c \
	%D%/cache.h \
	%D%/commit.c \
	%D%/commit.h \
	%D%/compress.c \
	%D%/core.h \
	%D%/engine.c \
	%D%/engine.h \
	%D%/maintain.c \
	%D%/packer.c \
	%D%/packer.h \
	%D%/payload.c \
	%D%/payload.h \
	%D%/pool.c \
	%D%/pool.h \
	%D%/queue.c \
	%D%/queue.h \
	%D%/queue_blob.c \
	%D%/queue_priv.h \
	%D%/queue_read.c \
	%D%/queue_write.c \
	%D%/read.c \
	%D%/rebase.c \
	%D%/repack.c \
	%D%/repack.h \
	%D%/resize.c \
	%D%/snapshot.c \
	%D%/snapshot.h \
	%D%/stats.c \
	%D%/stats.h \
	%D%/write.c
