/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "bridge/block_devices.h"

#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "common/cleanup.h"

enum {
	PATH_LEN = 512,
	NAME_LEN = sizeof(((struct block_devices *)0)->at[0].name),
};

static void cleanup_dir(DIR **d)
{
	if (*d)
		closedir(*d);
}

static void cleanup_file(FILE **f)
{
	if (*f)
		fclose(*f);
}

/* ---- devices ------------------------------------------------------------------------------- */

static bool has_number(const struct block_devices *b, dev_t dev)
{
	for (unsigned i = 0; i < b->count; i++)
		if (b->at[i].dev == dev)
			return true;
	return false;
}

/* Adds the device that @dir of /sys describes, unless it is there already. */
static void add_device(struct block_devices *b, const char *dir, const char *name)
{
	CLEANUP(file) FILE *f = NULL;
	char path[PATH_LEN];
	unsigned major, minor;

	if (b->count == BLOCK_DEVICES_MAX || strlen(name) >= NAME_LEN)
		return;
	snprintf(path, sizeof(path), "%s/dev", dir);
	f = fopen(path, "re");
	if (!f || fscanf(f, "%u:%u", &major, &minor) != 2 || has_number(b, makedev(major, minor)))
		return;
	b->at[b->count].dev = makedev(major, minor);
	snprintf(b->at[b->count].number, sizeof(b->at[0].number), "%u:%u", major, minor);
	snprintf(b->at[b->count].name, NAME_LEN, "%s", name);
	b->count++;
}

static void add_disk(struct block_devices *b, const char *sys, const char *name)
{
	char dir[256], part[PATH_LEN];
	CLEANUP(dir) DIR *d = NULL;
	struct dirent *e;

	snprintf(dir, sizeof(dir), "%s/block/%s", sys, name);
	add_device(b, dir, name);
	d = opendir(dir);
	while (d && (e = readdir(d)))
		if (!strncmp(e->d_name, name, strlen(name))) {
			snprintf(part, sizeof(part), "%s/%s", dir, e->d_name);
			add_device(b, part, e->d_name);
		}
}

void block_devices_find(struct block_devices *b, const char *sys, const char *name, bool holders)
{
	b->count = 0;
	add_disk(b, sys, name);
	/* Those that are added are looked at as well. */
	for (unsigned i = 0; holders && i < b->count; i++) {
		char dir[PATH_LEN];
		CLEANUP(dir) DIR *d = NULL;
		struct dirent *e;

		snprintf(dir, sizeof(dir), "%s/dev/block/%s/holders", sys, b->at[i].number);
		d = opendir(dir);
		while (d && (e = readdir(d)))
			if (e->d_name[0] != '.')
				add_disk(b, sys, e->d_name);
	}
}

/* ---- mounts -------------------------------------------------------------------------------- */

bool block_devices_have(const struct block_devices *b, const char *number, const char *source)
{
	struct stat st;

	for (unsigned i = 0; i < b->count; i++) {
		if (!strcmp(b->at[i].number, number))
			return true;
		/* A file system of several devices has a number of its own. */
		if (!strncmp(source, "/dev/", 5) && !strcmp(source + 5, b->at[i].name))
			return true;
	}
	/* "/dev/mapper/x" is a link to "/dev/dm-0". */
	return source[0] == '/' && !stat(source, &st) && S_ISBLK(st.st_mode) &&
	       has_number(b, st.st_rdev);
}

/* A mount point as mountinfo has it: octal escapes for white space. */
static void unescape(char *text)
{
	char *out = text;

	for (const char *p = text; *p; p++)
		if (*p == '\\' && isdigit((unsigned char)p[1]) && isdigit((unsigned char)p[2]) &&
		    isdigit((unsigned char)p[3])) {
			*out++ = (char)((p[1] - '0') << 6 | (p[2] - '0') << 3 | (p[3] - '0'));
			p += 3;
		} else {
			*out++ = *p;
		}
	*out = '\0';
}

bool block_devices_mounts(const struct block_devices *b, const char *proc, const char *pid,
			  block_mount_fn fn, void *arg)
{
	char path[PATH_LEN], number[24], point[PATH_LEN], source[256];
	struct block_mount m = {.number = number, .point = point};
	CLEANUP(free) char *line = NULL;
	CLEANUP(file) FILE *f = NULL;
	size_t size = 0;

	snprintf(path, sizeof(path), "%s/%s/mountinfo", proc, pid);
	f = fopen(path, "re");
	/* "36 35 98:0 / /mnt rw,noatime master:1 - ext4 /dev/root rw" */
	while (f && getline(&line, &size, f) > 0) {
		const char *dash = strstr(line, " - ");

		if (!dash || sscanf(line, "%d %*s %23s %*s %511s", &m.id, number, point) != 3 ||
		    sscanf(dash, " - %*s %255s", source) != 1 ||
		    !block_devices_have(b, number, source))
			continue;
		unescape(point);
		if (!fn(arg, &m))
			return false;
	}
	return true;
}
