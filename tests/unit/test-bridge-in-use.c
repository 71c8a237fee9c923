/* SPDX-License-Identifier: MIT */
/* Who uses a device (bridge/in_use.h), read from directories that stand for /proc and /sys. */
#include "config.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "bridge/block_devices.h"
#include "bridge/in_use.h"

static char root[] = "/tmp/test-bridge-in-use-XXXXXX";
static char proc[64], sys[64];

/* A file below the root, with the directories that lead to it. */
static void put(const char *path, const char *text)
{
	char full[256];
	FILE *f;

	snprintf(full, sizeof(full), "%s/%s", root, path);
	for (char *p = full + strlen(root) + 1; (p = strchr(p, '/')); p++) {
		*p = '\0';
		mkdir(full, 0755);
		*p = '/';
	}
	f = fopen(full, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static void drop(const char *path)
{
	char command[300];

	snprintf(command, sizeof(command), "rm -rf %s/%s", root, path);
	assert_int_equal(system(command), 0);
}

static void expect(const char *what)
{
	char text[IN_USE_TEXT_MAX] = "";
	bool used = in_use_find(proc, sys, "ublkb3", text);

	assert_string_equal(text, what);
	assert_int_equal(used, *what != '\0');
}

static int fresh(void **state)
{
	(void)state;
	drop("*");
	put("sys/block/ublkb3/dev", "259:7\n");
	put("sys/block/ublkb3/ublkb3p1/dev", "259:8\n");
	put("sys/block/ublkb3/holders/.keep", "");
	put("sys/block/ublkb3/ublkb3p1/holders/.keep", "");
	put("proc/swaps", "Filename\tType\tSize\tUsed\tPriority\n/dev/sda2 partition 1 0 -2\n");
	put("proc/self/mountinfo", "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
				   "23 22 259:70 / /mnt/other rw - ext4 /dev/ublkb30 rw\n");
	return 0;
}

static void test_idle(void **state)
{
	(void)state;
	expect("");
	drop("sys");
	expect(""); /* no such device */
}

static void test_mounts(void **state)
{
	(void)state;
	put("proc/self/mountinfo",
	    "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
	    "40 22 259:7 / /mnt/a\\040b rw,noatime shared:1 - xfs /dev/x rw\n");
	expect("mounted on /mnt/a b");
	put("proc/self/mountinfo", "40 22 259:8 / /srv rw - ext4 /dev/x rw\n");
	expect("mounted on /srv"); /* a partition */
	/* btrfs shows a number of its own */
	put("proc/self/mountinfo",
	    "40 22 0:50 /sub /b rw master:3 shared:1 - btrfs /dev/ublkb3 rw\n");
	expect("mounted on /b");
	/* in the first process's namespace only */
	put("proc/self/mountinfo", "");
	put("proc/1/mountinfo", "40 22 259:7 / /far rw - ext4 /dev/x rw\n");
	expect("mounted on /far");
	put("proc/1/mountinfo", "nonsense\n - \n40 22\n\n");
	expect("");
}

static void test_swap(void **state)
{
	(void)state;
	put("proc/swaps", "Filename\tType\n/dev/ublkb3p1   partition 1 0 -2\n");
	expect("/dev/ublkb3p1 is used as swap space");
	put("proc/swaps", "Filename\tType\n/dev/ublkb31   partition 1 0 -2\n");
	expect("");
}

static void test_holders(void **state)
{
	(void)state;
	put("sys/block/ublkb3/ublkb3p1/holders/dm-4", "");
	expect("used by the block device dm-4");
	put("sys/block/ublkb3/holders/md0", "");
	expect("used by the block device md0");
}

struct seen {
	char text[200];
	unsigned stop_after;
};

static bool note(void *arg, const struct block_mount *m)
{
	struct seen *seen = arg;
	size_t len = strlen(seen->text);

	snprintf(seen->text + len, sizeof(seen->text) - len, "%d %s %s;", m->id, m->number,
		 m->point);
	return --seen->stop_after;
}

/* What is built on a device belongs to it, also in circles, and everything once. */
static void test_stack(void **state)
{
	struct seen seen = {.stop_after = 9};
	struct block_devices b;

	(void)state;
	put("sys/dev/block/259:8/holders/dm-4", "");
	put("sys/block/dm-4/dev", "253:4\n");
	put("sys/dev/block/253:4/holders/md0", "");
	put("sys/dev/block/253:4/holders/ublkb3", "");
	put("sys/block/md0/dev", "9:0\n");
	put("sys/block/md0/md0p1/dev", "259:90\n");
	put("proc/self/mountinfo", "40 22 259:7 / /a rw - ext4 /dev/x rw\n"
				   "41 22 259:70 / /b rw - ext4 /dev/x rw\n"
				   "42 22 259:90 / /c rw - ext4 /dev/x rw\n"
				   "43 22 0:51 / /d rw - btrfs /dev/dm-4 rw\n");
	block_devices_find(&b, sys, "ublkb3", false);
	assert_int_equal(b.count, 2);
	block_devices_find(&b, sys, "ublkb3", true);
	assert_int_equal(b.count, 5);
	assert_string_equal(b.at[0].name, "ublkb3");
	assert_true(block_devices_mounts(&b, proc, "self", note, &seen));
	assert_string_equal(seen.text, "40 259:7 /a;42 259:90 /c;43 0:51 /d;");
	seen = (struct seen){.stop_after = 2};
	assert_false(block_devices_mounts(&b, proc, "self", note, &seen));
	assert_string_equal(seen.text, "40 259:7 /a;42 259:90 /c;");
}

/* Only root can make a device's node. */
static void test_openers(void **state)
{
	char node[128], link_path[128];

	(void)state;
	snprintf(node, sizeof(node), "%s/node", root);
	if (mknod(node, S_IFBLK | 0600, (dev_t)(259 << 8 | 8)))
		skip();
	put("proc/77/comm", "dd\n");
	put("proc/77/fd/.keep", "");
	snprintf(link_path, sizeof(link_path), "%s/proc/77/fd/3", root);
	assert_int_equal(symlink(node, link_path), 0);
	expect("open in pid 77 (dd)");
	/* Oneself does not count. */
	drop("proc/77");
	snprintf(link_path, sizeof(link_path), "proc/%ld/fd/.keep", (long)getpid());
	put(link_path, "");
	snprintf(link_path, sizeof(link_path), "%s/proc/%ld/fd/3", root, (long)getpid());
	assert_int_equal(symlink(node, link_path), 0);
	expect("");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_idle, fresh),
		cmocka_unit_test_setup(test_mounts, fresh),
		cmocka_unit_test_setup(test_swap, fresh),
		cmocka_unit_test_setup(test_holders, fresh),
		cmocka_unit_test_setup(test_stack, fresh),
		cmocka_unit_test_setup(test_openers, fresh),
	};
	int failed;

	if (!mkdtemp(root))
		return 99;
	snprintf(proc, sizeof(proc), "%s/proc", root);
	snprintf(sys, sizeof(sys), "%s/sys", root);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	drop("");
	return failed;
}
