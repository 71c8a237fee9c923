/* SPDX-License-Identifier: MIT */
/*
 * FUSE's requests, one function each: arguments to the view, its answer back.
 *
 * Nothing is remembered about a file but its number, so forgetting is free, and a number means the
 * same to every process that ever serves the image.
 */
#include "config.h"

#include "fuse/ops.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "common/cleanup.h"
#include "image/format.h"

_Static_assert(FUSE_ROOT_ID == VIEW_ROOT, "the root's number");

/* Names stay what they are, but for those of snapshots; sizes of texts do not. */
#define NAME_VALID 60.0
#define ATTR_VALID 1.0

/* Requests that the kernel has under way at once on behalf of read-ahead and asynchronous I/O. */
#define MAX_BACKGROUND 64

static struct view *view_of(fuse_req_t req)
{
	const struct ops_context *c = fuse_req_userdata(req);

	return c->view;
}

static struct view_thread *thread_of(fuse_req_t req)
{
	const struct ops_context *c = fuse_req_userdata(req);
	struct view_thread *t = pthread_getspecific(c->thread);

	assert(t);
	return t;
}

static struct view_file *file_of(const struct fuse_file_info *fi)
{
	return (struct view_file *)(uintptr_t)fi->fh;
}

/* Answer with an error or plain success. */
static void reply(fuse_req_t req, errint_t err)
{
	assert(err <= 0);
	fuse_reply_err(req, -err);
}

static void op_init(void *userdata, struct fuse_conn_info *conn)
{
	(void)userdata;
	/* What a write has acknowledged must be in the image when fsync() returns, and what the
	 * kernel holds back it does not show to other readers of the image. */
	conn->want &= ~(unsigned)FUSE_CAP_WRITEBACK_CACHE;
	/* The kernel need not look for changes by others: op_open() says when there are any. */
	conn->want &= ~(unsigned)FUSE_CAP_AUTO_INVAL_DATA;
	/* Requests are copied to and from this process's memory; see docs/performance.md. */
	conn->want &=
		~(unsigned)(FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE);
	conn->want |= conn->capable & (FUSE_CAP_ASYNC_DIO | FUSE_CAP_PARALLEL_DIROPS);
	conn->max_write = VIEW_MAX_IO;
	conn->max_read = VIEW_MAX_IO; /* as the mount options say */
	conn->max_readahead = VIEW_MAX_IO;
	conn->max_background = MAX_BACKGROUND;
	conn->congestion_threshold = MAX_BACKGROUND;
}

/* ---- names and attributes ---------------------------------------------------------------- */

static errint_t get_stat(struct view *v, view_ino ino, struct stat *st)
{
	struct view_attr a;
	errint_t err = view_getattr(v, ino, &a);

	if (err)
		return err;
	*st = (struct stat){
		.st_ino = a.ino,
		.st_mode = a.mode,
		.st_uid = a.uid,
		.st_gid = a.gid,
		.st_nlink = a.nlink,
		.st_size = (off_t)a.size,
		.st_blocks = (blkcnt_t)a.blocks,
		.st_blksize = 65536,
		.st_atim = a.when,
		.st_mtim = a.when,
		.st_ctim = a.when,
	};
	return 0;
}

static double attr_valid(view_ino ino)
{
	return ino == VIEW_ROOT || view_is_disk(ino) ? ATTR_VALID : 0;
}

static void reply_entry(fuse_req_t req, view_ino ino)
{
	struct fuse_entry_param e = {
		.ino = ino,
		.entry_timeout = view_may_rename(ino) ? 0 : NAME_VALID,
		.attr_timeout = attr_valid(ino),
	};
	errint_t err = get_stat(view_of(req), ino, &e.attr);

	if (err)
		reply(req, err);
	else
		fuse_reply_entry(req, &e);
}

static void op_lookup(fuse_req_t req, fuse_ino_t dir, const char *name)
{
	view_ino ino;
	errint_t err = view_lookup(view_of(req), dir, name, &ino);

	if (err)
		reply(req, err);
	else
		reply_entry(req, ino);
}

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct stat st;
	errint_t err = get_stat(view_of(req), ino, &st);

	(void)fi;
	if (err)
		reply(req, err);
	else
		fuse_reply_attr(req, &st, attr_valid(ino));
}

/* The disk has the size that it has, and the files the owner and modes of the image. */
static void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set,
		       struct fuse_file_info *fi)
{
	const int times = FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_ATIME_NOW |
			  FUSE_SET_ATTR_MTIME_NOW | FUSE_SET_ATTR_CTIME;
	struct stat st;
	errint_t err = get_stat(view_of(req), ino, &st);

	(void)fi;
	if (!err && to_set & FUSE_SET_ATTR_SIZE && attr->st_size != st.st_size)
		err = -EPERM;
	if (!err && to_set & ~(times | FUSE_SET_ATTR_SIZE))
		err = -EPERM;
	if (err)
		reply(req, err);
	else
		fuse_reply_attr(req, &st, attr_valid(ino));
}

/* ---- directories ------------------------------------------------------------------------- */

/* The @nth entry with the two that each directory begins with. */
static bool dir_entry(const struct view_dir *d, view_ino dir, off_t nth, const char **name,
		      view_ino *ino)
{
	if (nth >= 2)
		return view_dir_entry(d, (unsigned)(nth - 2), name, ino);
	*name = nth ? ".." : ".";
	*ino = dir; /* of ".." as well: nobody looks at it, the kernel knows better */
	return true;
}

static void op_opendir(fuse_req_t req, fuse_ino_t dir, struct fuse_file_info *fi)
{
	struct view_dir *d;
	errint_t err = view_opendir(view_of(req), dir, &d);

	if (err) {
		reply(req, err);
		return;
	}
	fi->fh = (uintptr_t)d;
	if (fuse_reply_open(req, fi))
		view_closedir(d);
}

static void op_releasedir(fuse_req_t req, fuse_ino_t dir, struct fuse_file_info *fi)
{
	(void)dir;
	view_closedir((struct view_dir *)(uintptr_t)fi->fh);
	reply(req, 0);
}

static void op_readdir(fuse_req_t req, fuse_ino_t dir, size_t size, off_t off,
		       struct fuse_file_info *fi)
{
	const struct view_dir *d = (const struct view_dir *)(uintptr_t)fi->fh;
	CLEANUP(free) char *buf = malloc(size);
	const char *name;
	size_t len = 0;
	view_ino ino;

	if (!buf) {
		reply(req, -ENOMEM);
		return;
	}
	for (; dir_entry(d, dir, off, &name, &ino); off++) {
		struct stat st = {.st_ino = ino, .st_mode = view_is_dir(ino) ? S_IFDIR : S_IFREG};
		size_t n = fuse_add_direntry(req, buf + len, size - len, name, &st, off + 1);

		if (n > size - len)
			break;
		len += n;
	}
	fuse_reply_buf(req, buf, len);
}

static void op_mkdir(fuse_req_t req, fuse_ino_t dir, const char *name, mode_t mode)
{
	view_ino ino;
	errint_t err = view_mkdir(view_of(req), dir, name, &ino);

	(void)mode;
	if (err)
		reply(req, err);
	else
		reply_entry(req, ino);
}

static void op_rmdir(fuse_req_t req, fuse_ino_t dir, const char *name)
{
	reply(req, view_rmdir(view_of(req), dir, name));
}

static void op_rename(fuse_req_t req, fuse_ino_t dir, const char *name, fuse_ino_t to_dir,
		      const char *to, unsigned flags)
{
	errint_t err = flags & ~(unsigned)RENAME_NOREPLACE
			       ? -EINVAL
			       : view_rename(view_of(req), dir, name, to_dir, to);

	reply(req, err);
}

/* ---- extended attributes ----------------------------------------------------------------- */

/* Answer a request for @len bytes, of which the caller has room for @size; 0: it asks how many
 * there are. */
static void reply_xattr(fuse_req_t req, const char *data, size_t len, size_t size)
{
	if (!size)
		fuse_reply_xattr(req, len);
	else if (len > size)
		reply(req, -ERANGE);
	else
		fuse_reply_buf(req, data, len);
}

static void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
	CLEANUP(free) char *value = NULL;
	size_t len;
	errint_t err = view_getxattr(view_of(req), ino, name, &value, &len);

	if (err)
		reply(req, err);
	else
		reply_xattr(req, value, len, size);
}

static void op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	CLEANUP(free) char *names = NULL;
	size_t len;
	errint_t err = view_listxattr(view_of(req), ino, &names, &len);

	if (err)
		reply(req, err);
	else
		reply_xattr(req, names, len, size);
}

/* ---- open files -------------------------------------------------------------------------- */

static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct view_file *f;
	bool write = (fi->flags & O_ACCMODE) != O_RDONLY;
	errint_t err = view_open(view_of(req), ino, write, &f);

	if (err) {
		reply(req, err);
		return;
	}
	fi->fh = (uintptr_t)f;
	fi->noflush = 1;
	/* Texts change from one opening to the next, and a long map has no size that could be
	 * relied on. */
	fi->direct_io = !view_may_cache(view_of(req), ino);
	fi->keep_cache = view_may_cache(view_of(req), ino);
	if (fuse_reply_open(req, fi))
		view_close(f); /* interrupted: nobody will release it */
}

static void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	view_close(file_of(fi));
	reply(req, 0);
}

static void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		    struct fuse_file_info *fi)
{
	const void *data;
	size_t got, len = size < VIEW_MAX_IO ? size : VIEW_MAX_IO;
	errint_t err = view_read(file_of(fi), thread_of(req), (uint64_t)off, len, &data, &got);

	(void)ino;
	if (err)
		reply(req, err);
	else
		fuse_reply_buf(req, data, got);
}

static void op_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size, off_t off,
		     struct fuse_file_info *fi)
{
	size_t put, len = size < VIEW_MAX_IO ? size : VIEW_MAX_IO;
	errint_t err = view_write(file_of(fi), thread_of(req), data, (uint64_t)off, len, &put);

	(void)ino;
	if (err)
		reply(req, err);
	else
		fuse_reply_write(req, put);
}

static void op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	(void)datasync;
	reply(req, view_is_disk(ino) ? view_sync(file_of(fi), thread_of(req)) : 0);
}

static void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len,
			 struct fuse_file_info *fi)
{
	struct stat st;
	errint_t err = get_stat(view_of(req), ino, &st);

	/* Space cannot be reserved, nor the size changed. */
	if (!err && !(mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)))
		err = -EOPNOTSUPP;
	if (!err && !(mode & FALLOC_FL_KEEP_SIZE) && len > st.st_size - off)
		err = -EPERM;
	if (!err)
		err = view_zero(file_of(fi), thread_of(req), (uint64_t)off, (uint64_t)len);
	reply(req, err);
}

static void op_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence,
		     struct fuse_file_info *fi)
{
	uint64_t found;
	errint_t err = -EINVAL;

	if (view_is_disk(ino) && off >= 0 && (whence == SEEK_DATA || whence == SEEK_HOLE))
		err = view_seek(file_of(fi), (uint64_t)off, whence == SEEK_DATA, &found);
	if (err)
		reply(req, err);
	else
		fuse_reply_lseek(req, (off_t)found);
}

/* The block size is also that of discards on a loop device. */
static void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct statvfs s = {.f_bsize = UNIT_SIZE, .f_frsize = UNIT_SIZE, .f_namemax = NAME_MAX};
	struct view_attr disk;
	view_ino disk_ino;
	errint_t err = view_lookup(view_of(req), VIEW_ROOT, "disk", &disk_ino);

	(void)ino;
	if (!err)
		err = view_getattr(view_of(req), disk_ino, &disk);
	if (err) {
		reply(req, err);
		return;
	}
	s.f_blocks = disk.size / UNIT_SIZE;
	fuse_reply_statfs(req, &s);
}

const struct fuse_lowlevel_ops view_ops = {
	.init = op_init,
	.statfs = op_statfs,
	.lookup = op_lookup,
	.getattr = op_getattr,
	.setattr = op_setattr,
	.opendir = op_opendir,
	.readdir = op_readdir,
	.releasedir = op_releasedir,
	.mkdir = op_mkdir,
	.rmdir = op_rmdir,
	.rename = op_rename,
	.getxattr = op_getxattr,
	.listxattr = op_listxattr,
	.open = op_open,
	.release = op_release,
	.read = op_read,
	.write = op_write,
	.fsync = op_fsync,
	.fallocate = op_fallocate,
	.lseek = op_lseek,
};
