/*
 * How this works: every source is first cloned into a detached mount (open_tree(2)) and made
 * read-only, nosuid, ... as a whole with mount_setattr(2), so that a moment in which it is more
 * than it should be does not exist, and the flags that a user namespace locks stay as they were
 * (flags are only added). Then an empty tmpfs is put on top of "/", the clones are moved into it,
 * and pivot_root(2) makes it the root; the host's tree, below it, is detached.
 *
 * Invariants: nothing is ever created outside our tmpfs (compared by device), and no component of a
 * target is followed if it is a symlink (a target below a bind walks through foreign files).
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/io.h>
#include <base/mem.h>

#include "jail_explain.h"
#include "tree.h"

#define ATTR_SAFE (MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC)

struct tree {
	int root;    /* the fresh tmpfs */
	dev_t dev;   /* of it */
	int *clones; /* one detached mount for each entry of the plan; -1 for a symlink */
	size_t nclones;
};

static int
explain(int code, const char *what, struct err *e)
{
	struct jail_facts f;

	jail_facts_read(&f);
	return jail_explain(code, what, &f, e);
}

static int
restrict_mount(int fd, const struct jail_mount *m, unsigned flags)
{
	struct mount_attr a = {.attr_set = MOUNT_ATTR_NOSUID, .propagation = MS_PRIVATE};

	if (m->read_only || m->kind == JAIL_TMPFS)
		a.attr_set |= MOUNT_ATTR_RDONLY;
	if (!m->exec)
		a.attr_set |= MOUNT_ATTR_NOEXEC;
	if (!m->dev)
		a.attr_set |= MOUNT_ATTR_NODEV;
	return mount_setattr(fd, "", AT_EMPTY_PATH | flags, &a, sizeof(a)) < 0 ? -errno : 0;
}

static int
new_tmpfs(unsigned attr)
{
	CLEAN_CLOSE int fs = fsopen("tmpfs", FSOPEN_CLOEXEC);
	int fd;

	if (fs < 0 || fsconfig(fs, FSCONFIG_SET_STRING, "mode", "0755", 0) < 0 ||
		fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return -errno;
	fd = fsmount(fs, FSMOUNT_CLOEXEC, attr);
	return fd < 0 ? -errno : fd;
}

static int
clone_bind(const struct jail_mount *m, struct err *e)
{
	uint64_t resolve = RESOLVE_NO_MAGICLINKS | (m->resolved ? RESOLVE_NO_SYMLINKS : 0);
	CLEAN_CLOSE int source = io_openat2(AT_FDCWD, m->source, O_PATH, resolve);
	CLEAN_CLOSE int fd = -1;
	char what[160];
	int r;

	if (source < 0 && errno == ELOOP && m->resolved)
		return err_set(e, ELOOP,
			"'%s': a symlink has taken the place of a folder in this path since it was "
			"named",
			m->source);
	if (source < 0)
		return err_sys(e, errno, "open '%s'", m->source);
	snprintf(what, sizeof(what), "bind '%s'", m->source);
	fd = open_tree(
		source, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | AT_RECURSIVE);
	if (fd < 0)
		return explain(errno, what, e);
	r = restrict_mount(fd, m, AT_RECURSIVE);
	return r < 0 ? explain(-r, what, e) : TAKE_FD(fd);
}

static int
clone_tmpfs(const struct jail_mount *m, struct err *e)
{
	CLEAN_CLOSE int fd = new_tmpfs(ATTR_SAFE);
	int r = fd < 0 ? fd : restrict_mount(fd, m, 0);

	return r < 0 ? explain(-r, "make a tmpfs", e) : TAKE_FD(fd);
}

static int
clone_sources(struct tree *t, const struct jail_confine *c, struct err *e)
{
	t->clones = xcalloc(c->nmounts + 1, sizeof(*t->clones));
	for (size_t i = 0; i < c->nmounts; i++) {
		const struct jail_mount *m = &c->mounts[i];
		int fd = -1;

		if (m->kind == JAIL_BIND)
			fd = clone_bind(m, e);
		else if (m->kind == JAIL_TMPFS)
			fd = clone_tmpfs(m, e);
		if (fd < 0 && m->kind != JAIL_SYMLINK)
			return fd;
		t->clones[t->nclones++] = fd;
	}
	return 0;
}

static int
put_root(struct tree *t, struct err *e)
{
	struct stat st;

	t->root = new_tmpfs(ATTR_SAFE);
	if (t->root < 0)
		return explain(-t->root, "make the tree's root", e);
	if (move_mount(t->root, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return explain(errno, "mount the tree's root", e);
	if (fstat(t->root, &st) < 0)
		return err_sys(e, errno, "the tree's root");
	t->dev = st.st_dev;
	return 0;
}

static bool
is_ours(const struct tree *t, int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && st.st_dev == t->dev;
}

/* Opens the folder `name` in dirfd, made if it is missing and the place is ours to make it. */
static int
descend(const struct tree *t, int dirfd, const char *name)
{
	const int flags = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
	int fd = openat(dirfd, name, flags);

	if (fd >= 0 || errno != ENOENT)
		return fd < 0 ? -errno : fd;
	if (!is_ours(t, dirfd))
		return -ENOENT;
	if (mkdirat(dirfd, name, 0755) < 0 && errno != EEXIST)
		return -errno;
	fd = openat(dirfd, name, flags);
	return fd < 0 ? -errno : fd;
}

static bool
is_dot(const char *name)
{
	return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* The parent folder of target (made where needed) and the last component. */
static int
open_parent(const struct tree *t, char *target, const char **ret_name, struct err *e)
{
	CLEAN_CLOSE int dir = fcntl(t->root, F_DUPFD_CLOEXEC, 3);
	char *save = NULL, *name, *next;

	if (dir < 0)
		return err_sys(e, errno, "dup");
	if (target[0] != '/')
		return err_set(e, EINVAL, "'%s' is not an absolute path", target);
	name = strtok_r(target, "/", &save);
	if (name == NULL || is_dot(name))
		return err_set(e, EINVAL, "nothing can be mounted at that place");
	while ((next = strtok_r(NULL, "/", &save)) != NULL) {
		int fd = is_dot(next) ? -EINVAL : descend(t, dir, name);

		if (fd < 0)
			return err_sys(e, -fd, "folder '%s'", name);
		close(dir);
		dir = fd;
		name = next;
	}
	*ret_name = name;
	return TAKE_FD(dir);
}

static int
make_file(const struct tree *t, int dir, const char *name)
{
	CLEAN_CLOSE int fd = -1;

	if (!is_ours(t, dir))
		return 0; /* it has to be there */
	fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	return fd < 0 && errno != EEXIST ? -errno : 0;
}

static int
place_mount(const struct tree *t, int clone, int dir, const char *name, struct err *e)
{
	CLEAN_CLOSE int spot = -1;
	struct stat from, to;
	int r = 0;

	if (fstat(clone, &from) < 0)
		return err_sys(e, errno, "stat");
	if (S_ISDIR(from.st_mode)) {
		spot = descend(t, dir, name);
		r = spot < 0 ? spot : 0;
	} else {
		r = make_file(t, dir, name);
		if (r == 0)
			spot = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
		if (r == 0 && (spot < 0 || fstat(spot, &to) < 0))
			r = -errno;
		else if (r == 0 && (S_ISDIR(to.st_mode) || S_ISLNK(to.st_mode)))
			r = S_ISDIR(to.st_mode) ? -EISDIR : -ELOOP;
	}
	if (r < 0)
		return err_sys(e, -r, "'%s'", name);
	if (move_mount(clone, "", spot, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
		return err_sys(e, errno, "mount");
	return 0;
}

static int
place(const struct tree *t, const struct jail_mount *m, int clone, struct err *e)
{
	CLEAN_FREE char *target = xstrdup(m->target);
	CLEAN_CLOSE int dir = -1;
	const char *name = "";

	dir = open_parent(t, target, &name, e);
	if (dir < 0)
		return dir;
	if (m->kind != JAIL_SYMLINK)
		return place_mount(t, clone, dir, name, e);
	if (!is_ours(t, dir))
		return err_set(e, EROFS, "a symlink cannot be made inside another mount");
	if (symlinkat(m->source, dir, name) < 0)
		return err_sys(e, errno, "symlink '%s'", name);
	return 0;
}

static int
place_all(const struct tree *t, const struct jail_confine *c, struct err *e)
{
	mode_t mask = umask(0);
	int r = 0;

	for (size_t i = 0; r == 0 && i < c->nmounts; i++)
		if (place(t, &c->mounts[i], t->clones[i], e) < 0)
			r = err_prefix(e, "place '%s'", c->mounts[i].target);
	umask(mask);
	return r;
}

static int
pivot(const struct tree *t, struct err *e)
{
	struct mount_attr read_only = {.attr_set = ATTR_SAFE | MOUNT_ATTR_RDONLY};

	if (mount_setattr(t->root, "", AT_EMPTY_PATH, &read_only, sizeof(read_only)) < 0)
		return explain(errno, "make the tree's root read-only", e);
	/* pivot_root(2), NOTES: with both at "." the old root is stacked on the new one. */
	if (fchdir(t->root) < 0 || syscall(SYS_pivot_root, ".", ".") < 0)
		return errno == EINVAL
			       ? err_set(e, EINVAL,
					 "change the root: the present one is no mount point (a "
					 "chroot, an initramfs). Run paddock outside of it")
			       : explain(errno, "change the root", e);
	if (umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
		return err_sys(e, errno, "detach the host's tree");
	return 0;
}

static int
build(struct tree *t, const struct jail_confine *c, struct err *e)
{
	int r;

	/* Nothing that we mount may travel back to the host, nor the other way round. */
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return explain(errno, "make the mounts private", e);
	r = clone_sources(t, c, e);
	if (r == 0)
		r = put_root(t, e);
	if (r == 0)
		r = place_all(t, c, e);
	return r == 0 ? pivot(t, e) : r;
}

int
tree_enter(const struct jail_confine *c, struct err *e)
{
	struct tree t = {.root = -1};
	int r = build(&t, c, e);

	for (size_t i = 0; i < t.nclones; i++)
		if (t.clones[i] >= 0)
			close(t.clones[i]);
	if (t.root >= 0)
		close(t.root);
	free(t.clones);
	return r;
}
