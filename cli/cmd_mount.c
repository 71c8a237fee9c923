/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bridge/client.h"
#include "cli/background.h"
#include "cli/attached.h"
#include "cli/commands.h"
#include "cli/image_file.h"
#include "cli/options.h"
#include "cli/view_log.h"
#include "common/cleanup.h"
#include "common/json_build.h"
#include "common/log.h"
#include "engine/engine.h"
#include "fuse/image_source.h"
#include "fuse/session.h"

enum { READ_ONLY, READ_WRITE };

static const char *const mode_words[] = {"ro", "rw", NULL};

struct mount_opts {
	int mode;
	bool foreground;
};

/* Seconds for requests that are under way to end. */
enum { STOP_SECONDS = 60 };

/* Milliseconds that a bridge has for beginning to serve a view. */
enum { HAND_OVER_MS = 20000 };

/* Everything that a mounted view consists of. */
struct mounted {
	const struct mount_opts *o;
	const char *path; /* of the image, as the user gave it */
	char *image_path; /* absolute */
	char *dir;	  /* absolute */
	struct background background;
	int signals; /* a signalfd */

	struct image_file file;
	struct image_source source;
	struct engine *engine;
	struct view *view;
	struct session *session;
};

/* ---- before anything is started ---------------------------------------------------------- */

static errint_t check_dir(const char *path, char **dir)
{
	struct stat st;

	if (session_is_dead(path))
		return log_fail(
			-ENOTCONN,
			"%s: the view mounted there has lost its process; \"ublk-img umount "
			"%s\" removes it",
			path, path);
	if (stat(path, &st))
		return log_errno("%s: cannot mount there", path);
	if (!S_ISDIR(st.st_mode))
		return log_fail(-ENOTDIR, "%s: cannot mount there: not a directory", path);
	*dir = realpath(path, NULL);
	if (!*dir)
		return log_errno("%s: cannot mount there", path);
	if (session_is_mounted(*dir))
		return log_fail(-EBUSY, "%s: a view is mounted there already", path);
	return 0;
}

static errint_t check_fuse(void)
{
	CLEANUP(close) int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);

	if (fd >= 0)
		return 0;
	if (errno == ENOENT || errno == ENODEV || errno == ENXIO)
		return log_errno("/dev/fuse: this kernel has no FUSE; try \"modprobe fuse\" as "
				 "root");
	return log_errno("/dev/fuse: cannot open");
}

static errint_t prepare(struct mounted *m, const char *dir)
{
	errint_t err = check_dir(dir, &m->dir);

	if (!err)
		err = check_fuse();
	if (err)
		return err;
	m->image_path = realpath(m->path, NULL);
	return m->image_path ? 0 : log_errno("%s: cannot open the image", m->path);
}

/* ---- start and end ----------------------------------------------------------------------- */

/* Signals that end a view come by a descriptor, to the main thread only. */
static errint_t catch_signals(struct mounted *m)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	m->signals = signalfd(-1, &set, SFD_CLOEXEC);
	return m->signals < 0 ? log_errno("cannot wait for signals") : 0;
}

static errint_t make_view(struct mounted *m)
{
	struct view_opts opts = {
		.source = &image_source_ops,
		.source_arg = &m->source,
		.writable = m->o->mode == READ_WRITE,
		.snapshots = m->o->mode == READ_WRITE,
		.server = getpid(),
	};
	struct stat st;
	errint_t err = image_file_engine(m->file.image, &m->engine);

	if (err)
		return err;
	if (stat(m->image_path, &st))
		return log_errno("%s: cannot look at the image", m->path);
	m->source = (struct image_source){.image = m->file.image, .path = m->path};
	opts.image = m->file.image;
	opts.engine = m->engine;
	opts.uid = st.st_uid;
	opts.gid = st.st_gid;
	opts.mode = st.st_mode & 0666;
	return view_new(&opts, &m->view);
}

static errint_t start(struct mounted *m)
{
	struct session_opts opts = {
		.dir = m->dir,
		.source = m->image_path,
		.read_only = m->o->mode == READ_ONLY,
		.allow_other = geteuid() == 0,
	};
	errint_t err = catch_signals(m);

	if (!err)
		err = m->o->mode == READ_WRITE ? image_file_open(m->path, true, &m->file)
					       : image_file_open_stream(m->path, &m->file);
	if (!err)
		err = make_view(m);
	if (err)
		return err;
	opts.view = m->view;
	return session_start(&opts, &m->session);
}

/* Until the view is unmounted or a signal asks for the end.  What the image has to do from time to
 * time is done meanwhile; if that fails, it has said so, and can still be read. */
static void wait_for_end(struct mounted *m)
{
	struct pollfd fds[] = {
		{.fd = session_ended_fd(m->session), .events = POLLIN},
		{.fd = m->signals, .events = POLLIN},
	};
	bool maintain = m->o->mode == READ_WRITE;

	while (poll(fds, 2, 1000) <= 0) {
		if (maintain && engine_maintain(m->engine))
			maintain = false;
		session_maintain(m->session);
	}
}

static errint_t stop(struct mounted *m)
{
	errint_t err = 0;

	if (m->session)
		err = session_stop(m->session, STOP_SECONDS);
	if (err)
		return err; /* threads still use the rest */
	view_free(m->view);
	if (m->engine && m->o->mode == READ_WRITE && engine_repack(m->engine))
		log_warn("%s: not everything could be compressed", m->path);
	engine_free(m->engine);
	if (!m->file.image)
		return 0;
	err = image_file_close(&m->file);
	if (err)
		log_fail(err,
			 "%s: the image was not closed cleanly; what was synced is safe, and "
			 "opening it brings it up to date",
			 m->path);
	return err;
}

static errint_t serve(struct mounted *m)
{
	errint_t err = start(m), end;
	bool log = false;

	if (!err) {
		if (!m->o->foreground) {
			int fd = view_log_create();

			log = fd >= 0;
			(void)!chdir("/");
			background_ready(&m->background, fd);
			if (log)
				close(fd);
		}
		wait_for_end(m);
	}
	end = stop(m);
	if (log && !end)
		view_log_remove();
	return err ? err : end;
}

/* ---- an image that is attached ----------------------------------------------------------- */

static errint_t check_attached(const struct mounted *m, const struct bridge_client *c)
{
	if (m->o->mode == READ_WRITE && json_is_true(json_object_get(c->about, "read_only")))
		return log_fail(-EROFS, "%s is attached as %s, read-only: mount it without -o rw",
				m->path, client_text(c, "device"));
	if (m->o->foreground)
		return log_fail(-EINVAL,
				"%s is attached as %s: process %ld serves the view, so there is "
				"nothing to be done with --foreground",
				m->path, client_text(c, "device"), client_pid(c));
	return 0;
}

/* Have the bridge serve what is mounted by @fd. */
static errint_t hand_over(const struct mounted *m, struct bridge_client *c, const char *image,
			  int fd)
{
	struct stat st;
	json_t *result = NULL;
	errint_t err;

	if (stat(image, &st))
		return log_errno("%s: cannot look at the image", image);
	err = client_call(c, "mount",
			  json_pack("{s:o, s:o, s:b, s:I, s:I, s:I}", "dir", json_text(m->dir),
				    "image", json_text(m->path), "snapshots",
				    m->o->mode == READ_WRITE, "uid", (json_int_t)st.st_uid, "gid",
				    (json_int_t)st.st_gid, "mode", (json_int_t)(st.st_mode & 0666)),
			  fd, HAND_OVER_MS, &result);
	json_decref(result);
	if (!err && stat(m->dir, &st))
		err = log_errno("%s: the mounted view does not answer", m->dir);
	return err;
}

/* The bridge that has the image serves its view as well. */
static errint_t mount_attached(struct mounted *m, struct bridge_client *c, const char *dir)
{
	CLEANUP(close) int fd = -1;
	const char *image = client_text(c, "image");
	errint_t err = check_attached(m, c);

	if (!err)
		err = check_dir(dir, &m->dir);
	if (!err)
		err = check_fuse();
	if (err)
		return err;
	const struct session_opts opts = {
		.dir = m->dir,
		.source = image,
		.read_only = m->o->mode == READ_ONLY,
		.allow_other = geteuid() == 0,
	};
	err = session_mount(&opts, &fd);
	if (err)
		return err;
	err = hand_over(m, c, image, fd);
	close(steal_fd(&fd));
	if (err && session_unmount(m->dir, true))
		log_warn("%s: is left mounted; \"ublk-img umount %s\" removes it", m->dir, m->dir);
	return err;
}

static errint_t mount_unattached(struct mounted *m, const char *dir)
{
	bool child = false;
	errint_t err = prepare(m, dir);

	if (!err && !m->o->foreground)
		err = background_start(&m->background, m->dir, &child);
	if (!err && (m->o->foreground || child))
		err = serve(m);
	return err;
}

static errint_t run_mount(struct invocation *inv)
{
	struct mounted m = {
		.o = inv->opts,
		.path = inv->args[0],
		.background.ready = -1,
		.signals = -1,
	};
	CLEANUP(client) struct bridge_client c;
	errint_t err = attached_find(m.path, &c);

	if (!err)
		err = mount_attached(&m, &c, inv->args[1]);
	else if (err == -ENOENT)
		err = mount_unattached(&m, inv->args[1]);
	free(m.image_path);
	free(m.dir);
	if (m.signals >= 0)
		close(m.signals);
	return err;
}

static const struct cmd_option options[] = {
	{
		.name = "options",
		.letter = 'o',
		.arg = "MODE",
		.words = mode_words,
		.set = option_word,
		.offset = offsetof(struct mount_opts, mode),
		.help = "ro (the default): nothing can be changed. rw: snapshots can be taken, renamed "
			"and deleted, and the file disk can be written to, unless the image is "
			"attached; nobody else can open the image meanwhile.",
	},
	{
		.name = "foreground",
		.set = option_flag,
		.offset = offsetof(struct mount_opts, foreground),
		.help = "Stay until the view is unmounted, or SIGTERM, SIGINT or SIGHUP comes, and "
			"print messages to standard error.",
	},
	{.name = NULL},
};

static const struct cmd_example examples[] = {
	{"mount disk.ublk /mnt", "Show an image under /mnt."},
	{"mount -o rw disk.ublk /mnt && mkfs.ext4 /mnt/disk", "Make a file system in it."},
	{"umount /mnt", "Wait until the image is closed."},
	{"mount /dev/ublkb0 /mnt", "Show the image that is attached there."},
	{NULL, NULL},
};

const struct command cmd_mount = {
	.name = "mount",
	.group = "View",
	.summary = "Show an image as files in a directory",
	.operands = "IMAGE DIR",
	.min_args = 2,
	.max_args = 2,
	.options = options,
	.opts_size = sizeof(struct mount_opts),
	.help = "Mounts a small tree on the directory, through FUSE:\n\n"
		" info.json   what \"info --json\" prints\n"
		" stats.json  counters since the view was mounted\n"
		" metrics     both in the text format of Prometheus\n"
		" map         the map, one line for each extent\n"
		" disk        the disk itself, as a raw file with holes where nothing is stored\n"
		" snapshots/  a directory for each snapshot: info.json, map, disk, and diff, what\n"
		"             changed since the one before it. mkdir takes a snapshot, rmdir\n"
		"             deletes it, mv renames it\n\n"
		"A process in the background serves it, and closes the image when the view is "
		"unmounted, or when SIGTERM comes. The files have the owner of the image and its "
		"permissions.\n\n"
		"An image that is attached, which may be named by its device or its name as well, is "
		"shown by the process that serves the device, while that is in use: disk can be read, "
		"and changes as the device is written. The view ends when the device is "
		"detached.",
	.examples = examples,
	.run = run_mount,
};
