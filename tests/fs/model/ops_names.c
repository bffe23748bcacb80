/* Operations on names and attributes. */
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "model.h"

void
op_rename(void)
{
	static const unsigned flags[] = {0, 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE};
	unsigned f = flags[rnd(5)];
	char a[64], b[64];

	path(a);
	path(b);
	say("rename %s %s %x", a, b, f);
	BOTH(renameat2(dir, a, dir, b, f));
	stat_both(a, AT_SYMLINK_NOFOLLOW);
	stat_both(b, AT_SYMLINK_NOFOLLOW);
}

void
op_link(void)
{
	char a[64], b[64];

	path(a);
	path(b);
	say("link %s %s", a, b);
	BOTH(linkat(dir, a, dir, b, 0));
	stat_both(a, AT_SYMLINK_NOFOLLOW);
}

void
op_symlink(void)
{
	char a[64], b[64], text[2][64] = {{0}, {0}};

	path(a);
	path(b);
	say("symlink %s %s", a, b);
	BOTH(symlinkat(a, dir, b));
	BOTH(readlinkat(dir, b, text[side], 63));
	if (memcmp(text[0], text[1], 64) != 0)
		die("link texts differ");
}

void
op_remove(void)
{
	int flags = rnd(4) == 0 ? AT_REMOVEDIR : 0;
	char a[64];

	path(a);
	say("unlink %s %x", a, flags);
	BOTH(unlinkat(dir, a, flags));
	stat_both(a, AT_SYMLINK_NOFOLLOW);
}

void
op_make(void)
{
	char a[64];

	path(a);
	if (rnd(8) == 0) {
		mode_t type = rnd(2) ? S_IFIFO : S_IFSOCK;

		say("mknod %s", a);
		BOTH(mknodat(dir, a, type | 0644, 0));
	} else {
		say("mkdir %s", a);
		BOTH(mkdirat(dir, a, 0755));
	}
	stat_both(a, AT_SYMLINK_NOFOLLOW);
}

void
op_mode(void)
{
	static const mode_t modes[] = {0644, 0600, 0444, 0755, 0, 0111, 0222, 01777};
	struct pair *p = any_open();
	mode_t mode = modes[rnd(8)];
	char a[64];

	if (p != NULL && rnd(3) == 0) {
		say("fchmod %o", mode);
		BOTH(fchmod(p->fd[side], mode));
		return;
	}
	path(a);
	say("chmod %s %o", a, mode);
	BOTH(fchmodat(dir, a, mode, 0));
	stat_both(a, 0);
}

void
op_times(void)
{
	struct timespec ts[2] = {{(time_t)rnd(2000000000), (long)rnd(1000000000)},
		{(time_t)rnd(2000000000) - 1000, (long)rnd(1000000000)}};
	int flags = rnd(2) ? AT_SYMLINK_NOFOLLOW : 0;
	struct stat st[2];
	char a[64];

	path(a);
	say("utimensat %s", a);
	BOTH(utimensat(dir, a, ts, flags));
	if (fstatat(t.root[0], a, &st[0], flags) == 0 &&
		fstatat(t.root[1], a, &st[1], flags) == 0 &&
		memcmp(&st[0].st_mtim, &ts[1], sizeof(ts[1])) !=
			memcmp(&st[1].st_mtim, &ts[1], sizeof(ts[1])))
		die("mtime %ld.%09ld and %ld.%09ld", (long)st[0].st_mtim.tv_sec,
			st[0].st_mtim.tv_nsec, (long)st[1].st_mtim.tv_sec, st[1].st_mtim.tv_nsec);
}

void
op_list(void)
{
	char a[64], *l[2];

	path(a);
	if (rnd(3) == 0)
		strcpy(a, ".");
	say("readdir %s", a);
	for (int side = 0; side < 2; side++)
		l[side] = list(t.root[side], a);
	if ((l[0] == NULL) != (l[1] == NULL) || (l[0] != NULL && strcmp(l[0], l[1]) != 0))
		die("mount:\n%s\nplain:\n%s", l[0] != NULL ? l[0] : "-", l[1] != NULL ? l[1] : "-");
	free(l[0]);
	free(l[1]);
}

void
op_xattr(void)
{
	char a[64], full[2][128], name[32], value[2][64];
	uint8_t *data = pattern(20, rnd(UINT64_MAX));

	path(a);
	sprintf(name, "user.x%d", (int)rnd(3));
	say("xattr %s %s", a, name);
	memset(value, 0, sizeof(value));
	for (int side = 0; side < 2; side++)
		snprintf(full[side], sizeof(full[side]), "/proc/self/fd/%d/%s", t.root[side], a);
	switch (rnd(4)) {
	case 0:
		BOTH(lsetxattr(full[side], name, data, 20, 0));
		break;
	case 1:
		BOTH(lremovexattr(full[side], name));
		break;
	case 2:
		BOTH(llistxattr(full[side], NULL, 0));
		break;
	default:
		BOTH(lgetxattr(full[side], name, value[side], 64));
		if (memcmp(value[0], value[1], 64) != 0)
			die("values differ");
	}
}
