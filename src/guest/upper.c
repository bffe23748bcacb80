#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/io.h>

#include "upper.h"

#define NEW       ".paddock-new" /* until it is whole */
#define DEPTH_MAX 32

static int apply(int upper, int folder, upper_filter *filter, int depth, struct err *e);

static bool
is_whiteout(const struct stat *st)
{
	return S_ISCHR(st->st_mode) && st->st_rdev == makedev(0, 0);
}

/* Nothing of the folder below shows through it. */
static bool
is_opaque(int fd)
{
	char v[1];

	return fgetxattr(fd, "trusted.overlay.opaque", v, 1) == 1 && v[0] == 'y';
}

static int
take_over(int fd, const struct stat *st, struct err *e)
{
	const struct timespec times[] = {st->st_atim, st->st_mtim};

	if (fchown(fd, st->st_uid, st->st_gid) < 0 || fchmod(fd, st->st_mode & 07777) < 0 ||
		futimens(fd, times) < 0)
		return err_sys(e, errno, "attributes");
	return 0;
}

/* A folder gives way to what is no folder. */
static int
put_in_place(int folder, const char *name, struct err *e)
{
	int r = 0;

	if (renameat(folder, NEW, folder, name) == 0)
		return 0;
	if (errno == EISDIR)
		r = io_remove_tree(folder, name, e);
	if (r == 0 && renameat(folder, NEW, folder, name) < 0)
		r = err_sys(e, errno, "rename to '%s'", name);
	return r;
}

static int
fill(int from, int to, const struct stat *st, upper_filter *filter, struct err *e)
{
	CLEAN_BUF struct buf old = BUF_INIT;
	CLEAN_BUF struct buf new = BUF_INIT;
	int r;

	if (filter == NULL || st->st_size > UPPER_FILTER_MAX)
		return io_copy(from, to, e);
	r = io_read_fd_all(from, UPPER_FILTER_MAX, &old, e);
	if (r < 0)
		return r;
	if (!filter(old.data, old.len, &new))
		return io_write_full(to, old.data, old.len, UINT64_MAX);
	return io_write_full(to, new.data, new.len, UINT64_MAX);
}

static int
apply_file(int upper, int folder, const char *name, upper_filter *filter, struct err *e)
{
	CLEAN_CLOSE int from = openat(upper, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	CLEAN_CLOSE int to =
		openat(folder, NEW, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	struct stat st;
	int r;

	if (from < 0 || to < 0 || fstat(from, &st) < 0)
		return err_sys(e, errno, "copy '%s'", name);
	r = fill(from, to, &st, filter, e);
	if (r == 0)
		r = take_over(to, &st, e);
	return r == 0 ? put_in_place(folder, name, e) : r;
}

static int
apply_symlink(int upper, int folder, const char *name, const struct stat *st, struct err *e)
{
	char target[PATH_MAX];
	ssize_t n = readlinkat(upper, name, target, sizeof(target) - 1);

	if (n < 0)
		return err_sys(e, errno, "read '%s'", name);
	target[n] = '\0';
	if (symlinkat(target, folder, NEW) < 0 ||
		fchownat(folder, NEW, st->st_uid, st->st_gid, AT_SYMLINK_NOFOLLOW) < 0)
		return err_sys(e, errno, "create '%s'", name);
	return put_in_place(folder, name, e);
}

static int /* NOLINTNEXTLINE(misc-no-recursion): depth has a limit */
apply_folder(
	int upper, int folder, const char *name, const struct stat *st, int depth, struct err *e)
{
	static const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
	CLEAN_CLOSE int from = openat(upper, name, flags);
	CLEAN_CLOSE int to = -1;
	struct stat old;
	int r = 0;

	if (from < 0)
		return err_sys(e, errno, "open '%s'", name);
	if (fstatat(folder, name, &old, AT_SYMLINK_NOFOLLOW) == 0 &&
		(!S_ISDIR(old.st_mode) || is_opaque(from)))
		r = io_remove_tree(folder, name, e);
	if (r == 0 && mkdirat(folder, name, 0700) < 0 && errno != EEXIST)
		return err_sys(e, errno, "create '%s'", name);
	to = openat(folder, name, flags);
	if (r == 0 && to < 0)
		return err_sys(e, errno, "open '%s'", name);
	if (r == 0)
		r = apply(from, to, NULL, depth + 1, e);
	return r == 0 ? take_over(to, st, e) : r;
}

static int /* NOLINTNEXTLINE(misc-no-recursion) */
apply_entry(int upper, int folder, const char *name, upper_filter *filter, int depth, struct err *e)
{
	struct stat st;
	int r = 0;

	if (fstatat(upper, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return err_sys(e, errno, "stat '%s'", name);
	if (is_whiteout(&st))
		return io_remove_tree(folder, name, e);
	if (S_ISDIR(st.st_mode))
		return apply_folder(upper, folder, name, &st, depth, e);
	/* A socket or a FIFO is nothing without who made it. */
	if (S_ISLNK(st.st_mode))
		r = apply_symlink(upper, folder, name, &st, e);
	else if (S_ISREG(st.st_mode))
		r = apply_file(upper, folder, name, filter, e);
	if (r < 0)
		unlinkat(folder, NEW, 0);
	return r;
}

static int /* NOLINTNEXTLINE(misc-no-recursion) */
apply(int upper, int folder, upper_filter *filter, int depth, struct err *e)
{
	int again = openat(upper, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CLEAN_CLOSEDIR DIR *d = again < 0 ? NULL : fdopendir(again);
	const struct dirent *de;
	int r = 0;

	if (d == NULL || depth > DEPTH_MAX)
		return err_sys(e, d == NULL ? errno : ELOOP, "read a folder");
	while (r == 0 && (de = readdir(d)) != NULL)
		if (strcmp(de->d_name, ".") != 0 && strcmp(de->d_name, "..") != 0)
			r = apply_entry(upper, folder, de->d_name, filter, depth, e);
	return r;
}

int
upper_apply(int upper, int folder, upper_filter *filter, struct err *e)
{
	return apply(upper, folder, filter, 0, e);
}
