/* SPDX-License-Identifier: MIT */
/*
 * The mounted view of one image: a small tree of files, without anything of FUSE (docs/view.md).
 * session.h puts it into a file system.
 *
 *	info.json stats.json metrics map disk
 *	snapshots/NAME/{info.json,map,disk,diff}
 *
 * Functions may be called from any thread and may block, unless told otherwise.  Messages about
 * what the image could not do are logged; a wrong request of a client is only answered.
 */
#ifndef FUSE_VIEW_H
#define FUSE_VIEW_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/errint.h"
#include "engine/engine.h"

/*
 * What is told of the image: by the process that serves the view, which may also serve a block
 * device and know more.  Both calls come from any thread, several at once, and may block; they
 * return a new reference in *out, or an error whose message is logged.
 */
struct view_source_ops {
	/* The document of `ublk-img info --json`. */
	errint_t (*info)(void *arg, json_t **out);
	/* The document stats.json, but for its member "view", which the view adds: objects in
	 * objects, whose numbers are counters that only rise. */
	errint_t (*stats)(void *arg, json_t **out);
};

struct view_opts {
	struct image *image;   /* outlives the view */
	struct engine *engine; /* on it; outlives the view */
	const struct view_source_ops *source;
	void *source_arg;
	bool changing;	/* somebody else writes to the disk while the view is mounted */
	bool writable;	/* disk may be written: nobody else writes to the image */
	bool snapshots; /* may be taken, renamed and deleted */
	uid_t uid;	/* owner of all files */
	gid_t gid;
	mode_t mode; /* read and write permissions of disk; without w when not writable;
			the other files have those to read */
	/* The process that serves the view and ends with it, told as an extended attribute of the
	 * root, so that who unmounts can wait for it; 0: it lives on. */
	pid_t server;
};

struct view;
MUST_CHECK errint_t view_new(const struct view_opts *opts, struct view **out);
/* No thread is left.  Closes files that are still open: an unmount may come before their closing.
 * NULL is allowed. */
void view_free(struct view *v);

/* One thread's working memory.  Used by one thread at a time. */
struct view_thread;
MUST_CHECK errint_t view_thread_new(struct view *v, struct view_thread **out);
void view_thread_free(struct view_thread *t);
/* Gives back memory that is taken again when it is needed.  For the one who uses @t. */
void view_thread_shrink(struct view_thread *t);

/* Most bytes of one read or write. */
#define VIEW_MAX_IO (1u << 20)

/* ---- the tree ---------------------------------------------------------------------------------
 */

/* Number of a file: its kind, and above that, for files of a snapshot, the snapshot's id; the live
 * disk is 0.  Never 0; the root is 1. */
typedef uint64_t view_ino;
#define VIEW_ROOT ((view_ino)1)

struct view_attr {
	view_ino ino;
	mode_t mode; /* with type */
	uid_t uid;
	gid_t gid;
	nlink_t nlink;
	uint64_t size;
	uint64_t blocks;      /* of 512 bytes that it takes in the image */
	struct timespec when; /* of the last change known */
};

/* -ENOENT. */
MUST_CHECK errint_t view_lookup(struct view *v, view_ino dir, const char *name, view_ino *out);

/* The size of a text is that of the last one that was opened. */
MUST_CHECK errint_t view_getattr(struct view *v, view_ino ino, struct view_attr *out);

/* The entries of a directory as they are now; 0 or -ENOENT, -ENOTDIR, -ENOMEM. */
struct view_dir;
MUST_CHECK errint_t view_opendir(struct view *v, view_ino ino, struct view_dir **out);
/* The @nth, beginning with 0: false behind the last. */
bool view_dir_entry(const struct view_dir *d, unsigned nth, const char **name, view_ino *out);
void view_closedir(struct view_dir *d);

bool view_is_dir(view_ino ino);

/* May the name of @ino come to mean something else? */
bool view_may_rename(view_ino ino);

/* Takes, deletes and renames a snapshot, durably.  -EPERM where that is no directory of snapshots,
 * -EROFS, and the errors of image/snapshot.h. */
MUST_CHECK errint_t view_mkdir(struct view *v, view_ino dir, const char *name, view_ino *out);
MUST_CHECK errint_t view_rmdir(struct view *v, view_ino dir, const char *name);
MUST_CHECK errint_t view_rename(struct view *v, view_ino dir, const char *name, view_ino to_dir,
				const char *to);

/* True for disk: the rest are texts, made when they are opened. */
bool view_is_disk(view_ino ino);

/* May the kernel keep what it has read from @ino, until it is written through the view? */
bool view_may_cache(const struct view *v, view_ino ino);

/* ---- extended attributes ----------------------------------------------------------------------
 *
 * disk and its directory have the members of the document info.json, nested names joined by dots,
 * behind VIEW_XATTR; the root also VIEW_XATTR_SERVER if there is one.
 */
#define VIEW_XATTR	  "user.ublk-img."
#define VIEW_XATTR_SERVER VIEW_XATTR "server_pid"

/* The value as text, allocated, *len bytes without the NUL behind it.  -ENODATA: no such. */
MUST_CHECK errint_t view_getxattr(struct view *v, view_ino ino, const char *name, char **value,
				  size_t *len);
/* All names, each ended by a NUL, allocated. */
MUST_CHECK errint_t view_listxattr(struct view *v, view_ino ino, char **names, size_t *len);

/* ---- open files -------------------------------------------------------------------------------
 */
struct view_file;

/* -EROFS when @write is asked for and not to be had.  The texts are made now, and stay what they
 * are; a map too long to keep is made while it is read. */
MUST_CHECK errint_t view_open(struct view *v, view_ino ino, bool write, struct view_file **out);
void view_close(struct view_file *f);

/* *data: *got bytes at @off, less than @len (at most VIEW_MAX_IO) only at the end; valid until the
 * next call with @t. */
MUST_CHECK errint_t view_read(struct view_file *f, struct view_thread *t, uint64_t off, size_t len,
			      const void **data, size_t *got);

/* The following are for disk only, of any alignment.  Writes need a file opened for writing, and
 * return when what was written can be read; it is durable after view_sync(). */

/* *put: bytes written of @len, at most VIEW_MAX_IO: less at the end of the disk; -ENOSPC behind
 * it. */
MUST_CHECK errint_t view_write(struct view_file *f, struct view_thread *t, const void *data,
			       uint64_t off, size_t len, size_t *put);

/* Everything written before is durable, whoever wrote it. */
MUST_CHECK errint_t view_sync(struct view_file *f, struct view_thread *t);

/* The range, as far as it is on the disk, reads as zeros and takes no space where that is
 * possible. */
MUST_CHECK errint_t view_zero(struct view_file *f, struct view_thread *t, uint64_t off,
			      uint64_t len);

/* lseek()'s SEEK_DATA and SEEK_HOLE.  -ENXIO. */
MUST_CHECK errint_t view_seek(struct view_file *f, uint64_t off, bool data, uint64_t *out);

#endif
