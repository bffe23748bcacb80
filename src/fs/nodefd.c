/*
 * How this works: folders have an O_PATH descriptor, cached, the longest unused one closed first;
 * files are opened by (folder, name) when they are needed. Each descriptor is compared with the
 * inode's identity before use: a name that now leads elsewhere is ESTALE, at which the guest's
 * kernel looks the name up again. A descriptor in turn is reopened, linked, or given another mode
 * through fs->opt.proc_fd, which leads to exactly the file that it holds.
 *
 * A cached folder stays usable when the host moves it away, even out of the workspace. So when the
 * host moves a folder, and every second while some folder is not watched, fd_epoch advances and all
 * of them are walked to from the root again.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/clock.h>
#include <base/mem.h>

#include "server.h"

#define KEEP_MS 1000

struct fd_name
fd_name(int fd)
{
	struct fd_name n;

	snprintf(n.s, sizeof(n.s), "%d", fd);
	return n;
}

int
stat_at(int dirfd, const char *name, struct statx *ret)
{
	int flags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | (*name == '\0' ? AT_EMPTY_PATH : 0);

	if (statx(dirfd, name, flags, STATX_BASIC_STATS | STATX_BTIME | STATX_MNT_ID, ret) < 0)
		return err_errno();
	return 0;
}

static int
open_verified(int dirfd, const char *name, const struct inode *i)
{
	int flags = O_PATH | O_NOFOLLOW | O_CLOEXEC;
	CLEAN_CLOSE int fd = -1;
	struct statx st;
	int r;

	fd = openat(dirfd, name, flags | (i->key.type == S_IFDIR ? O_DIRECTORY : 0));
	if (fd < 0)
		return errno == ENOENT || errno == ENOTDIR || errno == ELOOP ? -ESTALE : -errno;
	r = stat_at(fd, "", &st);
	if (r < 0)
		return r;
	return inode_is(i, &st) ? TAKE_FD(fd) : -ESTALE;
}

void
nodefd_drop_cached(struct fs *fs, struct inode *i)
{
	if (i->fd < 0)
		return;
	close(i->fd);
	i->fd = -1;
	if (i->fd_held)
		fs->nheld--;
	else
		fs->ncached--;
	i->fd_held = false;
	list_del(&i->lru);
}

void
nodefd_new_epoch(struct fs *fs)
{
	fs->fd_epoch++;
}

static void
cache(struct fs *fs, struct inode *i, int fd)
{
	struct list *l, *tmp;

	list_foreach(l, tmp, &fs->lru)
	{
		struct inode *old = container_of(l, struct inode, lru);

		if (fs->ncached < fs->cached_max)
			break;
		if (old->fd_uses == 0)
			nodefd_drop_cached(fs, old);
	}
	i->fd = fd;
	i->fd_epoch = fs->fd_epoch;
	fs->ncached++;
	list_add_tail(&fs->lru, &i->lru);
}

/* Some folders are not watched: what was moved there is noticed within a second. */
static void
age_epoch(struct fs *fs)
{
	uint64_t now;

	if (!fs->blind)
		return;
	now = clock_mono_ms();
	if (now - fs->fd_epoch_ms < 1000)
		return;
	fs->fd_epoch_ms = now;
	nodefd_new_epoch(fs);
}

/*
 * A folder that was removed, not moved: who has it open may go on, and it leads nowhere. Where a
 * file system counts no links of folders (btrfs), it is ESTALE.
 */
static bool
hold_removed(struct fs *fs, struct inode *i)
{
	struct statx st;

	if (i->key.type != S_IFDIR || fs->nheld >= fs->cached_max || stat_at(i->fd, "", &st) < 0 ||
		st.stx_nlink != 0)
		return false;
	i->fd_held = true;
	list_del(&i->lru);
	fs->ncached--;
	fs->nheld++;
	return true;
}

/* The cached descriptor, or -1. */
static int
usable_fd(struct fs *fs, struct inode *i)
{
	if (i == fs->root)
		return fs->opt.root_fd;
	if (i->fd < 0)
		return -1;
	if (i->fd_held)
		return i->fd;
	if (i->fd_epoch != fs->fd_epoch) {
		if (i->fd_uses > 0 /* verified within this request */ || hold_removed(fs, i))
			return i->fd;
		nodefd_drop_cached(fs, i);
		return -1;
	}
	list_del(&i->lru);
	list_add_tail(&fs->lru, &i->lru);
	return i->fd;
}

/* The names to walk from the nearest folder with a descriptor down to i; the last is i's own. */
struct walk {
	struct entry **steps; /* innermost first */
	size_t n, cap;
};

static int
climb(struct fs *fs, struct inode *i, struct walk *w)
{
	while (usable_fd(fs, i) < 0) {
		if (list_is_empty(&i->names) || w->n >= DEPTH_MAX)
			return -ESTALE;
		if (w->n == w->cap) {
			w->cap = w->cap > 0 ? w->cap * 2 : 16;
			w->steps = xreallocarray(w->steps, w->cap, sizeof(*w->steps));
		}
		w->steps[w->n++] = container_of(i->names.next, struct entry, in_child);
		i = w->steps[w->n - 1]->parent;
	}
	return 0;
}

static int
folder_fd(struct fs *fs, struct inode *dir)
{
	CLEAN_FREE struct entry **steps = NULL;
	struct walk w = {0};
	int fd = usable_fd(fs, dir), r;

	if (fd >= 0)
		return fd;
	r = climb(fs, dir, &w);
	steps = w.steps;
	while (r >= 0 && w.n > 0) {
		struct entry *e = w.steps[--w.n];

		/* Just used or just cached: the newest in the cache, thus still there. */
		fd = open_verified(usable_fd(fs, e->parent), e->name, e->child);
		if (fd < 0)
			return fd;
		cache(fs, e->child, fd);
	}
	return r < 0 ? r : fd;
}

/* A file, by any of the names that are known of it. */
static int
file_fd(struct fs *fs, struct inode *i)
{
	struct list *l, *tmp;
	int r = -ESTALE;

	list_foreach(l, tmp, &i->names)
	{
		struct entry *e = container_of(l, struct entry, in_child);
		int dirfd = folder_fd(fs, e->parent);

		r = dirfd < 0 ? dirfd : open_verified(dirfd, e->name, i);
		if (r >= 0)
			break;
	}
	return r;
}

int
nodefd_get(struct fs *fs, struct inode *i, struct nodefd *ret)
{
	struct handle *h = handle_any(i);
	bool owned = false;
	int fd;

	age_epoch(fs);
	if (i->key.type == S_IFDIR) {
		fd = folder_fd(fs, i);
	} else if (i->fd >= 0) {
		fd = i->fd;
	} else if (h != NULL && !i->linked) {
		fd = h->fd;
	} else {
		fd = file_fd(fs, i);
		owned = fd >= 0;
		if (fd < 0 && h != NULL)
			fd = h->fd;
		else if (fd < 0 && i->lease_fd >= 0) /* the event is still to come */
			fd = i->lease_fd;
	}
	if (fd < 0)
		return fd;
	i->pins++;
	i->fd_uses++;
	*ret = (struct nodefd){.fs = fs, .inode = i, .fd = fd, .owned = owned};
	return 0;
}

void
nodefd_put(struct nodefd *n)
{
	if (n->fd < 0)
		return;
	if (n->owned)
		close(n->fd);
	n->fd = -1;
	n->inode->pins--;
	n->inode->fd_uses--;
	inode_drop_if_unused(n->fs, n->inode);
}

int
nodefd_reopen(const struct nodefd *n, int flags)
{
	uint32_t type = n->inode->key.type;
	int fd;

	if (type != S_IFREG && type != S_IFDIR)
		return -EINVAL;
	fd = openat(n->fs->opt.proc_fd, fd_name(n->fd).s, flags | O_CLOEXEC | O_NOCTTY);
	return fd < 0 ? -errno : fd;
}

/* By a name, without opening. */
static int
stat_by_name(struct fs *fs, struct inode *i, struct statx *ret)
{
	struct list *l, *tmp;
	int r = -ESTALE;

	list_foreach(l, tmp, &i->names)
	{
		struct entry *e = container_of(l, struct entry, in_child);
		int dirfd = folder_fd(fs, e->parent);

		r = dirfd < 0 ? dirfd : stat_at(dirfd, e->name, ret);
		if (r == 0 && inode_is(i, ret))
			return 0;
		if (r == 0 || r == -ENOENT || r == -ENOTDIR)
			r = -ESTALE;
	}
	return r;
}

int
inode_stat(struct fs *fs, struct inode *i, struct statx *ret)
{
	struct handle *h = handle_any(i);
	int r;

	age_epoch(fs);
	if (h != NULL)
		return stat_at(h->fd, "", ret);
	if (i->key.type == S_IFDIR) {
		int fd = folder_fd(fs, i);

		return fd < 0 ? fd : stat_at(fd, "", ret);
	}
	if (i->fd >= 0)
		return stat_at(i->fd, "", ret);
	r = stat_by_name(fs, i, ret);
	return r == -ESTALE && i->lease_fd >= 0 ? stat_at(i->lease_fd, "", ret) : r;
}

void
nodefd_was_stale(struct fs *fs)
{
	fs->keep_until_ms = clock_mono_ms() + KEEP_MS;
}

bool
nodefd_is_stale(const struct fs *fs)
{
	return fs->keep_until_ms != 0 && clock_mono_ms() < fs->keep_until_ms;
}

int
nodefd_open_kept(struct fs *fs, int dirfd, const char *name)
{
	if (fs->keep_until_ms == 0)
		return -1;
	if (clock_mono_ms() >= fs->keep_until_ms) {
		fs->keep_until_ms = 0;
		return -1;
	}
	return openat(dirfd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
}

void
nodefd_keep(struct fs *fs, struct inode *i, int taken)
{
	CLEAN_CLOSE int fd = taken;

	if (fd >= 0 && i != NULL && i->key.type == S_IFREG && i->fd < 0)
		cache(fs, i, TAKE_FD(fd));
}

void
nodefd_before_loss(struct fs *fs, struct inode *dir, int dirfd, const char *name, struct held *ret)
{
	struct entry *e = entry_find(fs, dir, name);

	if (e == NULL || e->child == NULL)
		return;
	ret->inode = e->child;
	if (!e->child->fd_held && fs->nheld < fs->cached_max)
		ret->fd = open_verified(dirfd, name, e->child);
}

void
nodefd_hold(struct fs *fs, struct held *h)
{
	if (h->fd < 0)
		return;
	nodefd_drop_cached(fs, h->inode);
	h->inode->fd = TAKE_FD(h->fd);
	h->inode->fd_held = true;
	fs->nheld++;
}

/* Keeps the old one where there is no right to open the file anew, and where a lock hangs on it. */
static void
reopen_handle(struct handle *h, const struct nodefd *n)
{
	int flags = fcntl(h->fd, F_GETFL);
	CLEAN_CLOSE int fd =
		h->flock != F_UNLCK ? -1 : nodefd_reopen(n, flags & (O_ACCMODE | O_SYNC | O_DSYNC));

	if (fd >= 0)
		dup3(fd, h->fd, O_CLOEXEC);
}

void
nodefd_follow(struct fs *fs, struct inode *i)
{
	CLEAN_NODEFD struct nodefd n = NODEFD_INIT;
	struct list *l, *tmp;

	if (i->key.type != S_IFREG)
		return;
	i->linked = true;
	journal_inode(i);
	lease_renew(fs, i);
	if (list_is_empty(&i->handles) || nodefd_get(fs, i, &n) < 0)
		return;
	list_foreach(l, tmp, &i->handles) if (n.owned)
		reopen_handle(container_of(l, struct handle, in_inode), &n);
}

void
held_release(struct held *h)
{
	cleanup_close_p(&h->fd);
}
