/*
 * Shadows: folders of a workspace that are the sandbox's own. How this works: whoever asks for such
 * a name is told of an empty, read-only folder that is none of the workspace's, and the guest
 * mounts a folder of its own disk there. So the host's folder of that name, if there is one, is
 * neither seen nor touched, whatever the guest's root unmounts, and none is made where there was
 * none. A shadow belongs to its path and also to the folder that was at that path in the beginning,
 * wherever that is moved.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/io.h>
#include <base/mem.h>

#include "server.h"

/* Positions in a listing; those of file systems are hashes or small numbers. */
#define FIRST_POS (INT64_MAX - 4096)

struct shadow {
	const char *path, *name; /* name: its last component */
	int fd;                  /* O_PATH, what the guest is shown */
	struct statx parent;
	bool has_parent;
};

static int
seal(int fd)
{
	struct mount_attr a = {.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID |
					   MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC};

	return mount_setattr(fd, "", AT_EMPTY_PATH, &a, sizeof(a)) < 0 ? -errno : 0;
}

int
fs_shadow_open(size_t n, struct err *e)
{
	CLEAN_CLOSE int fs = fsopen("tmpfs", FSOPEN_CLOEXEC), fd = -1;
	int r = 0;

	if (fs < 0 || fsconfig(fs, FSCONFIG_SET_STRING, "mode", "0755", 0) < 0 ||
		fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return err_sys(e, errno, "make the shadows' folders");
	fd = fsmount(fs, FSMOUNT_CLOEXEC, 0);
	if (fd < 0)
		return err_sys(e, errno, "mount the shadows' folders");
	for (size_t k = 0; k < n && r == 0; k++)
		r = mkdirat(fd, fd_name((int)k).s, 0755) < 0 ? -errno : 0;
	if (r == 0)
		r = seal(fd);
	return r < 0 ? err_sys(e, -r, "make the shadows' folders") : TAKE_FD(fd);
}

static int
stat_parent(const struct fs *fs, const struct shadow *s, struct statx *ret)
{
	CLEAN_FREE char *dir = xstrndup(s->path + 1, (size_t)(s->name - s->path - 1));
	CLEAN_CLOSE int fd = -1;

	fd = io_openat2(fs->opt.root_fd, dir[0] != '\0' ? dir : ".", O_PATH | O_DIRECTORY,
		RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS);
	return fd < 0 ? -errno : stat_at(fd, "", ret);
}

int
shadow_init(struct fs *fs, struct err *e)
{
	const struct strv *paths = fs->opt.shadows;

	if (paths == NULL || paths->n == 0)
		return 0;
	fs->shadows = xcalloc(paths->n, sizeof(*fs->shadows));
	for (size_t k = 0; k < paths->n; k++) {
		struct shadow *s = &fs->shadows[k];

		s->path = paths->v[k];
		s->name = strrchr(s->path, '/') + 1;
		s->fd = openat(fs->opt.shadow_fd, fd_name((int)k).s,
			O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (s->fd < 0)
			return err_sys(e, errno, "the folder of shadow '%s'", s->path);
		fs->nshadows++;
		s->has_parent = stat_parent(fs, s, &s->parent) == 0;
	}
	return 0;
}

void
shadow_release(struct fs *fs)
{
	for (size_t k = 0; k < fs->nshadows; k++)
		close(fs->shadows[k].fd);
	free(fs->shadows);
	fs->shadows = NULL;
	fs->nshadows = 0;
}

/* Whether the folder's path, as the guest knows it, is just the first n bytes of path. */
static bool
is_at(const struct fs *fs, const struct inode *dir, const char *path, size_t n)
{
	while (dir != fs->root) {
		const struct entry *e;

		if (list_is_empty(&dir->names))
			return false;
		e = container_of(dir->names.next, struct entry, in_child);
		if (n <= e->len || path[n - e->len - 1] != '/' ||
			memcmp(path + n - e->len, e->name, e->len) != 0)
			return false;
		n -= e->len + 1;
		dir = e->parent;
	}
	return n == 0;
}

struct shadow *
shadow_find(const struct fs *fs, const struct inode *dir, const char *name)
{
	for (size_t k = 0; k < fs->nshadows; k++) {
		struct shadow *s = &fs->shadows[k];

		if (strcmp(s->name, name) == 0 &&
			((s->has_parent && inode_is(dir, &s->parent)) ||
				is_at(fs, dir, s->path, (size_t)(s->name - s->path - 1))))
			return s;
	}
	return NULL;
}

/* It has no name: its descriptor is what leads there. */
static int
hold(struct fs *fs, const struct shadow *s, struct inode *i)
{
	if (i->fd < 0)
		i->fd = fcntl(s->fd, F_DUPFD_CLOEXEC, 3);
	if (i->fd < 0)
		return -errno;
	if (!i->fd_held)
		fs->nheld++;
	i->fd_held = true;
	i->shadow = (uint32_t)(s - fs->shadows) + 1;
	return 0;
}

bool
shadow_restore(struct fs *fs, struct inode *i, uint32_t number)
{
	const struct shadow *s;
	struct statx st;

	if (number == 0 || number > fs->nshadows)
		return false;
	s = &fs->shadows[number - 1];
	if (stat_at(s->fd, "", &st) < 0 || hold(fs, s, i) < 0)
		return false;
	file_key_of(&st, &i->key);
	return true;
}

int
shadow_fill(struct fs *fs, struct shadow *s, struct fuse_entry_out *ret)
{
	struct inode *i;
	struct statx st;
	int r = stat_at(s->fd, "", &st);

	if (r < 0)
		return r;
	i = inode_get(fs, &st);
	if (i == NULL)
		return -ENFILE;
	r = hold(fs, s, i);
	if (r < 0) {
		inode_drop_if_unused(fs, i);
		return r;
	}
	i->nlookup++;
	journal_inode(i);
	coherence_tell(fs, i, &st);
	*ret = (struct fuse_entry_out){
		.nodeid = i->id, .entry_valid = TTL_WATCHED_S, .attr_valid = TTL_WATCHED_S};
	attr_fill(fs, &st, &ret->attr);
	return 0;
}

bool
shadow_listed(const struct fs *fs, const struct inode *dir, uint64_t pos, struct shadow **ret,
	uint64_t *ret_next)
{
	size_t k = pos > FIRST_POS ? (size_t)(pos - FIRST_POS) : 0;

	if (pos != 0 && (pos <= FIRST_POS || k > fs->nshadows))
		return false;
	for (; k < fs->nshadows; k++) {
		struct shadow *s = &fs->shadows[k];

		if (shadow_find(fs, dir, s->name) == s) {
			*ret = s;
			*ret_next = FIRST_POS + k + 1;
			return true;
		}
	}
	return false;
}

bool
shadow_may_be_in(const struct fs *fs, const struct inode *dir)
{
	const struct entry *e = list_is_empty(&dir->names)
					? NULL
					: container_of(dir->names.next, struct entry, in_child);

	for (size_t k = 0; k < fs->nshadows; k++) {
		const struct shadow *s = &fs->shadows[k];
		const char *end = s->name - 1;

		if (e == NULL || (s->has_parent && inode_is(dir, &s->parent)))
			return true;
		if ((size_t)(end - s->path) > e->len && end[-(ptrdiff_t)e->len - 1] == '/' &&
			memcmp(end - e->len, e->name, e->len) == 0)
			return true;
	}
	return false;
}

const char *
shadow_name(const struct shadow *s)
{
	return s->name;
}

uint64_t
shadow_real_pos(const struct fs *fs, uint64_t pos)
{
	return pos > FIRST_POS && pos - FIRST_POS <= fs->nshadows ? 0 : pos;
}
