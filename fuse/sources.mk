# SPDX-License-Identifier: MIT
# The sources of fuse/, listed once.  %D% is this directory as seen from the Makefile that includes
# this file.
fuse_sources = \
	%D%/image_source.c \
	%D%/image_source.h \
	%D%/loop.c \
	%D%/loop.h \
	%D%/map_text.c \
	%D%/mount.c \
	%D%/mount_private.c \
	%D%/ops.c \
	%D%/ops.h \
	%D%/range_lock.c \
	%D%/range_lock.h \
	%D%/session.c \
	%D%/session.h \
	%D%/text.c \
	%D%/view.c \
	%D%/view.h \
	%D%/view_disk.c \
	%D%/view_priv.h \
	%D%/view_snapshots.c \
	%D%/xattr.c
