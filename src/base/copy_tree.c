/*
 * How this works: two folders are walked through side by side on descriptors, one name at a time.
 * No symlink is followed and nothing is named by more than one component, so whoever swaps things
 * in either tree meanwhile leads the walk nowhere else.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/io.h>
#include <base/mem.h>
#include <base/str.h>

#define XATTR_NAMES_MAX (64u << 10) /* XATTR_LIST_MAX, XATTR_SIZE_MAX of linux/limits.h */
#define XATTR_VALUE_MAX (64u << 10)
#define UNFINISHED      ".incomplete"
#define DEPTH_MAX       200 /* as deep as io_remove_tree goes; three descriptors each */

/* A file with several names: the one that its copy has already. */
struct linked {
	dev_t dev;
	ino_t ino;
	char *path; /* below the copy's root */
};

struct copying {
	const char *from, *to; /* for messages */
	int root;              /* of the copy */
	void *linked;          /* tsearch(3) */
	struct buf path;       /* where it is, below the root */
	struct err *e;
};

static int
failed(struct copying *c, int code)
{
	char shown[PATH_MAX];

	str_escape(buf_str(&c->path), c->path.len, shown, sizeof(shown));
	return err_sys(c->e, code, "copy '%s%s%s' to '%s'", c->from, c->path.len > 0 ? "/" : "",
		shown, c->to);
}

static int
compare(const void *a, const void *b)
{
	const struct linked *x = a, *y = b;

	if (x->dev != y->dev)
		return x->dev < y->dev ? -1 : 1;
	return x->ino < y->ino ? -1 : x->ino > y->ino;
}

static void
free_linked(void *p)
{
	struct linked *l = p;

	free(l->path);
	free(l);
}

/* The folder that a path below the root lies in, and its last component. */
static int
open_parent(int root, const char *path, const char **ret_name)
{
	const char *slash = strrchr(path, '/');
	CLEAN_FREE char *dir =
		slash == NULL ? xstrdup(".") : xstrndup(path, (size_t)(slash - path));

	*ret_name = slash == NULL ? path : slash + 1;
	return io_openat2(root, dir, O_PATH | O_DIRECTORY, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
}

/* A further name of a file that is there already: 1. Else it is known from now on: 0. */
static int
link_again(struct copying *c, int to, const char *name, const struct stat *st)
{
	struct linked *l, *new = xcalloc(1, sizeof(*new));
	CLEAN_CLOSE int dir = -1;
	const char *known;
	void *at;

	*new = (struct linked){st->st_dev, st->st_ino, xstrdup(buf_str(&c->path))};
	at = tsearch(new, &c->linked, compare);
	if (at == NULL)
		abort();
	l = *(struct linked **)at;
	if (l == new)
		return 0;
	free_linked(new);
	dir = open_parent(c->root, l->path, &known);
	if (dir < 0 || linkat(dir, known, to, name, 0) < 0)
		return failed(c, errno);
	return 1;
}

static bool
is_kept(const char *xattr)
{
	return str_has_prefix(xattr, "user.") || str_has_prefix(xattr, "system.posix_acl_");
}

static int
copy_xattrs(struct copying *c, int from, int to)
{
	CLEAN_FREE char *names = xmalloc(XATTR_NAMES_MAX), *value = NULL;
	ssize_t n = flistxattr(from, names, XATTR_NAMES_MAX);

	if (n < 0)
		return errno == ENOTSUP ? 0 : failed(c, errno);
	for (const char *name = names; name < names + n; name += strlen(name) + 1) {
		ssize_t len;

		if (!is_kept(name))
			continue;
		if (value == NULL)
			value = xmalloc(XATTR_VALUE_MAX);
		len = fgetxattr(from, name, value, XATTR_VALUE_MAX);
		if (len < 0 && errno == ENODATA)
			continue;
		if (len < 0 || fsetxattr(to, name, value, (size_t)len, 0) < 0)
			return failed(c, errno);
	}
	return 0;
}

/*
 * Whose it is, as far as we may say so; then its mode, as a new owner takes bits away. Who may do
 * nothing else may not make a program that runs as another, either.
 */
static int
keep_attributes(struct copying *c, int from, int to, const struct stat *st)
{
	const struct timespec times[2] = {st->st_atim, st->st_mtim};
	mode_t mode = st->st_mode & (S_ISDIR(st->st_mode) ? 07777 : 01777);

	if (fchown(to, st->st_uid, st->st_gid) < 0 && errno != EPERM)
		return failed(c, errno);
	if (fchmod(to, mode) < 0)
		return failed(c, errno);
	if (copy_xattrs(c, from, to) < 0)
		return -c->e->code;
	return futimens(to, times) < 0 ? failed(c, errno) : 0;
}

static int
copy_regular(struct copying *c, int from_dir, int to_dir, const char *name, const char *new)
{
	CLEAN_CLOSE int from = -1, to = -1;
	struct stat st;
	int r;

	/* A FIFO that has taken its place is not waited for. */
	from = openat(from_dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (from < 0)
		return errno == ENOENT ? 0 : failed(c, errno);
	if (fstat(from, &st) < 0 || !S_ISREG(st.st_mode))
		return failed(c, ESTALE);
	if (st.st_nlink > 1) {
		r = link_again(c, to_dir, new, &st);
		if (r != 0)
			return r < 0 ? r : 0;
	}
	to = openat(to_dir, new, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (to < 0)
		return failed(c, errno);
	r = io_copy(from, to, c->e);
	if (r < 0)
		return failed(c, -r);
	return keep_attributes(c, from, to, &st);
}

/* What cannot be opened: not followed, and without a mode or attributes of its own. */
static int
keep_owner_and_times(struct copying *c, int to, const char *name, const struct stat *st)
{
	const struct timespec times[2] = {st->st_atim, st->st_mtim};

	if (fchownat(to, name, st->st_uid, st->st_gid, AT_SYMLINK_NOFOLLOW) < 0 && errno != EPERM)
		return failed(c, errno);
	return utimensat(to, name, times, AT_SYMLINK_NOFOLLOW) < 0 ? failed(c, errno) : 0;
}

static int
copy_symlink(struct copying *c, int from, int to, const char *name, const struct stat *st)
{
	char text[PATH_MAX];
	ssize_t n = readlinkat(from, name, text, sizeof(text) - 1);

	if (n < 0)
		return errno == ENOENT ? 0 : failed(c, errno);
	text[n] = '\0';
	if (symlinkat(text, to, name) < 0)
		return failed(c, errno);
	return keep_owner_and_times(c, to, name, st);
}

/* FIFOs, sockets, and where we may, devices. */
static int
copy_special(struct copying *c, int to, const char *name, const struct stat *st)
{
	mode_t mode = (st->st_mode & S_IFMT) | (st->st_mode & 0777);

	if (mknodat(to, name, mode, st->st_rdev) < 0)
		return failed(c, errno);
	return keep_owner_and_times(c, to, name, st);
}

static int copy_content(struct copying *c, int from, int to, int depth);

static int /* NOLINTNEXTLINE(misc-no-recursion): depth has a limit */
copy_folder(struct copying *c, int from_dir, int to_dir, const char *name, int depth)
{
	const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
	CLEAN_CLOSE int from = -1, to = -1;
	struct stat st;
	int r;

	if (depth > DEPTH_MAX)
		return failed(c, ELOOP);
	from = openat(from_dir, name, flags);
	if (from < 0)
		return errno == ENOENT ? 0 : failed(c, errno);
	if (mkdirat(to_dir, name, 0700) < 0)
		return failed(c, errno);
	to = openat(to_dir, name, flags);
	if (to < 0 || fstat(from, &st) < 0)
		return failed(c, errno);
	r = copy_content(c, from, to, depth);
	return r == 0 ? keep_attributes(c, from, to, &st) : r;
}

static int /* NOLINTNEXTLINE(misc-no-recursion) */
copy_name(struct copying *c, int from, int to, const char *name, int depth)
{
	struct stat st;

	if (fstatat(from, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : failed(c, errno); /* it has gone meanwhile */
	if (S_ISDIR(st.st_mode))
		return copy_folder(c, from, to, name, depth);
	if (S_ISREG(st.st_mode))
		return copy_regular(c, from, to, name, name);
	if (S_ISLNK(st.st_mode))
		return copy_symlink(c, from, to, name, &st);
	return copy_special(c, to, name, &st);
}

static int /* NOLINTNEXTLINE(misc-no-recursion) */
copy_content(struct copying *c, int from, int to, int depth)
{
	int again = openat(from, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CLEAN_CLOSEDIR DIR *d = again < 0 ? NULL : fdopendir(again);
	const size_t len = c->path.len;
	struct dirent *de;
	int r = 0;

	if (d == NULL) {
		if (again >= 0)
			close(again);
		return failed(c, errno);
	}
	while (r == 0 && (errno = 0, de = readdir(d)) != NULL) {
		if (strcmp(de->d_name, ".") == 0 || strcmp(de->d_name, "..") == 0)
			continue;
		buf_printf(&c->path, "%s%s", len > 0 ? "/" : "", de->d_name);
		r = copy_name(c, from, to, de->d_name, depth + 1);
		c->path.len = len;
	}
	return r == 0 && errno != 0 ? failed(c, errno) : r;
}

/* Both have been resolved: a symlink in one now is somebody else's. */
static int
open_place(const char *path, char **ret_name, struct err *e)
{
	const char *slash = strrchr(path, '/');
	CLEAN_FREE char *dir = xstrndup(path, slash > path ? (size_t)(slash - path) : 1);
	int fd = io_openat2(AT_FDCWD, dir, O_RDONLY | O_DIRECTORY, RESOLVE_NO_SYMLINKS);

	*ret_name = xstrdup(slash + 1);
	return fd < 0 ? err_sys(e, errno, "folder '%s'", dir) : fd;
}

static int
copy_root(struct copying *c, int from_dir, const char *name, int to_dir, const char *new)
{
	CLEAN_CLOSE int from = -1, to = -1;
	struct stat st;
	int r;

	if (fstatat(from_dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return failed(c, errno);
	if (S_ISREG(st.st_mode))
		return copy_regular(c, from_dir, to_dir, name, new);
	if (!S_ISDIR(st.st_mode))
		return failed(c, ENOTDIR);
	from = openat(from_dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (from < 0 || mkdirat(to_dir, new, 0700) < 0)
		return failed(c, errno);
	to = openat(to_dir, new, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (to < 0)
		return failed(c, errno);
	c->root = to;
	r = copy_content(c, from, to, 0);
	return r == 0 ? keep_attributes(c, from, to, &st) : r;
}

int
io_copy_tree(const char *from, const char *to, struct err *e)
{
	CLEAN_FREE char *name = NULL, *last = NULL, *new = NULL;
	CLEAN_CLOSE int from_dir = open_place(from, &name, e);
	CLEAN_CLOSE int to_dir = from_dir < 0 ? -1 : open_place(to, &last, e);
	struct err own = {0};
	struct copying c = {.from = from, .to = to, .root = -1, .path = BUF_INIT, .e = &own};
	struct stat st;
	int r;

	if (from_dir < 0 || to_dir < 0)
		return from_dir < 0 ? from_dir : to_dir;
	new = xasprintf("%s" UNFINISHED, last);
	if (fstatat(to_dir, last, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return err_set(e, EEXIST, "'%s' exists already", to);
	if (fstatat(to_dir, new, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return err_set(e, EEXIST,
			"'%s" UNFINISHED
			"' is there, which a copy that was interrupted has left: remove it",
			to);
	r = copy_root(&c, from_dir, name, to_dir, new);
	if (r == 0 && renameat2(to_dir, new, to_dir, last, RENAME_NOREPLACE) < 0)
		r = failed(&c, errno);
	if (r < 0)
		io_remove_tree(to_dir, new, NULL);
	tdestroy(c.linked, free_linked);
	buf_release(&c.path);
	if (r < 0 && e != NULL)
		*e = own;
	return r;
}

int
io_copy_trees(const struct strv *pairs, struct err *e)
{
	size_t done = 0;
	int r = 0;

	while (r == 0 && done + 1 < pairs->n) {
		r = io_copy_tree(pairs->v[done], pairs->v[done + 1], e);
		done += r == 0 ? 2 : 0;
	}
	while (r < 0 && done > 0) {
		io_remove_tree(AT_FDCWD, pairs->v[done - 1], NULL);
		done -= 2;
	}
	return r;
}
