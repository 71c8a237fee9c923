/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "cli/new_file.h"

#include <assert.h>
#include <fcntl.h>
#include <libgen.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "common/cleanup.h"
#include "common/log.h"

/* What a signal handler removes.  Set while unlinking it is right, cleared before it is not. */
static char doomed[PATH_MAX];
static volatile sig_atomic_t doomed_valid;

static const int ending_signals[] = {SIGHUP, SIGINT, SIGTERM, SIGQUIT, SIGXFSZ, SIGXCPU};

static void remove_and_die(int sig)
{
	if (doomed_valid)
		unlink(doomed);
	/* The parent is to see what ended the process.  Not SA_RESETHAND: the default action would
	 * be in force before the signal is blocked, and a second one in between would come first.
	 */
	signal(sig, SIG_DFL);
	raise(sig);
}

/* Signals that are ignored (nohup) stay so. */
static void catch_signals(void)
{
	struct sigaction catch = {.sa_handler = remove_and_die};
	struct sigaction old;

	sigemptyset(&catch.sa_mask);
	for (size_t i = 0; i < sizeof(ending_signals) / sizeof(*ending_signals); i++)
		sigaddset(&catch.sa_mask, ending_signals[i]);
	for (size_t i = 0; i < sizeof(ending_signals) / sizeof(*ending_signals); i++)
		if (!sigaction(ending_signals[i], NULL, &old) && old.sa_handler == SIG_DFL)
			sigaction(ending_signals[i], &catch, NULL);
}

/* Holds what stands at the path, and makes sure that nobody uses it. */
static errint_t hold_replaced(struct new_file *nf)
{
	errint_t err = store_file_open(nf->path, STORE_FILE_BUFFERED, &nf->replaced);

	if (!err)
		err = store_lock(nf->replaced, STORE_LOCK_EXCLUSIVE);
	return err;
}

static errint_t look_at_path(struct new_file *nf, bool force)
{
	struct stat st;

	if (lstat(nf->path, &st)) {
		if (errno == ENOENT)
			return 0;
		return log_errno("%s: cannot create", nf->path);
	}
	if (S_ISDIR(st.st_mode))
		return log_fail(-EISDIR, "%s: is a directory", nf->path);
	if (!force)
		return log_fail(-EEXIST, "%s: already exists; --force replaces it", nf->path);
	if (!S_ISREG(st.st_mode))
		return log_fail(-EINVAL, "%s: is not a regular file, and is not replaced",
				nf->path);
	nf->replace = true;
	return hold_replaced(nf);
}

/* Says about the path what creating the temporary file beside it would say about that. */
static errint_t look_at_directory(const char *path, int dir_len)
{
	char dir[PATH_MAX] = ".";

	if (dir_len >= PATH_MAX)
		return log_err(-ENAMETOOLONG, "%s: cannot create", path);
	if (dir_len)
		snprintf(dir, sizeof(dir), "%.*s", dir_len, path);
	if (access(dir, W_OK | X_OK))
		return log_errno("%s: cannot create", path);
	return 0;
}

/* Not made from the name: that may already be as long as names can be. */
static errint_t name_temp(struct new_file *nf, const char *path, int dir_len)
{
	int len = snprintf(nf->temp, sizeof(nf->temp), "%.*s.ublk-img-%ld.tmp", dir_len, path,
			   (long)getpid());

	if (len < 0 || (size_t)len >= sizeof(nf->temp))
		return log_fail(-ENAMETOOLONG, "%s: the name is too long", path);
	/* Of another process with our number, long gone. */
	if (unlink(nf->temp) && errno != ENOENT)
		return log_errno("%s: cannot remove this old temporary file", nf->temp);
	return 0;
}

errint_t new_file_begin(struct new_file *nf, const char *path, bool force)
{
	const char *slash = strrchr(path, '/');
	int dir_len = slash ? (int)(slash - path) + 1 : 0;
	errint_t err;

	memset(nf, 0, sizeof(*nf));
	nf->path = path;
	if (!path[dir_len])
		return log_fail(-EINVAL, "\"%s\" is not a file name", path);
	err = look_at_path(nf, force);
	if (!err)
		err = look_at_directory(path, dir_len);
	if (!err)
		err = name_temp(nf, path, dir_len);
	if (err) {
		store_close(nf->replaced);
		nf->replaced = NULL;
		return err;
	}
	assert(!doomed_valid);
	strcpy(doomed, nf->temp);
	nf->active = true;
	doomed_valid = 1;
	catch_signals();
	return 0;
}

errint_t new_file_store(const struct new_file *nf, unsigned flags, struct store **st)
{
	errint_t err = store_file_open(nf->temp, flags | STORE_FILE_CREATE, st);

	assert(nf->active);
	if (!err)
		(*st)->name = nf->path; /* the name that the user knows it by */
	return err;
}

/* Gives @nf its name if that is still free. */
static errint_t rename_to_free(const struct new_file *nf)
{
	if (!renameat2(AT_FDCWD, nf->temp, AT_FDCWD, nf->path, RENAME_NOREPLACE))
		return 0;
	/* Some file systems know no RENAME_NOREPLACE. */
	if ((errno == EINVAL || errno == ENOSYS) && !link(nf->temp, nf->path)) {
		unlink(nf->temp);
		return 0;
	}
	if (errno == EEXIST)
		return log_fail(-EEXIST, "%s: was created by somebody else meanwhile", nf->path);
	return log_errno("%s: cannot give the new file its name", nf->path);
}

static errint_t sync_directory(const char *path)
{
	CLEANUP(free) char *copy = strdup(path);
	CLEANUP(close) int fd = -1;

	if (!copy)
		return log_err(-ENOMEM, "%s: cannot sync its directory", path);
	fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	/* A directory that may be written but not read cannot be synced. */
	if (fd < 0 || (fsync(fd) && errno != EINVAL)) {
		if (errno == EACCES)
			return 0;
		return log_errno("%s: cannot sync its directory", path);
	}
	return 0;
}

errint_t new_file_finish(struct new_file *nf)
{
	errint_t err = 0;

	assert(nf->active);
	if (!nf->replace)
		err = rename_to_free(nf);
	else if (rename(nf->temp, nf->path))
		err = log_errno("%s: cannot give the new file its name", nf->path);
	if (err) {
		new_file_abandon(nf);
		return err;
	}
	doomed_valid = 0;
	nf->active = false;
	store_close(nf->replaced);
	nf->replaced = NULL;
	return sync_directory(nf->path);
}

void new_file_abandon(struct new_file *nf)
{
	if (nf->active) {
		unlink(nf->temp);
		doomed_valid = 0;
		nf->active = false;
	}
	store_close(nf->replaced);
	nf->replaced = NULL;
}
