/* Requests about names in a folder. Each is one system call on (folder descriptor, component). */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <base/cleanup.h>

#include "server.h"

#define MAKE_TRIES 32

mode_t
mode_allowed(mode_t type, mode_t mode)
{
	/* Set-group-ID on a folder only says which group new files get. */
	return mode & (S_ISDIR(type) ? 03777 : 01777);
}

int
entry_fill(struct fs *fs, struct inode *dir, const char *name, const struct statx *st, bool own,
	struct fuse_entry_out *ret)
{
	struct inode *i = inode_get(fs, st);
	struct statx now = *st;
	int r = i == NULL ? -ENFILE : entry_set(fs, dir, name, i);

	if (r < 0) {
		if (i != NULL)
			inode_drop_if_unused(fs, i);
		return r;
	}
	i->nlookup++;
	if (fs->ninodes > INODES_HIGH)
		coherence_trim(fs);
	if (i->wd < 0 && (st->stx_nlink > 1 || i->key.mnt != dir->key.mnt)) {
		watch_file(fs, i);
		if (i->wd >= 0 && inode_stat(fs, i, &now) < 0)
			now = *st;
	}
	journal_inode(i);
	if (own)
		coherence_own(i, &now);
	else
		coherence_tell(fs, i, &now);
	*ret = (struct fuse_entry_out){
		.nodeid = i->id,
		.entry_valid = coherence_entry_ttl(dir),
		.attr_valid = coherence_attr_ttl(i, &now),
	};
	attr_fill(fs, &now, &ret->attr);
	return 0;
}

int
entry_made(struct fs *fs, struct inode *dir, int dirfd, const char *name, const struct statx *st,
	struct fuse_entry_out *ret)
{
	int r = entry_fill(fs, dir, name, st, true, ret);

	coherence_after(fs, dir, dirfd);
	return r;
}

/* Opens the folder, which is watched from before its first look. */
static int
folder_get(struct fs *fs, struct inode *dir, struct nodefd *ret)
{
	if (dir->key.type != S_IFDIR)
		return -ENOTDIR;
	watch_folder(fs, dir);
	return nodefd_get(fs, dir, ret);
}

static int
reply_negative(struct fs *fs, struct inode *dir, const char *name, struct buf *out)
{
	struct fuse_entry_out eo = {.entry_valid = coherence_entry_ttl(dir)};

	if (entry_set(fs, dir, name, NULL) < 0)
		return -ENOENT;
	buf_append(out, &eo, sizeof(eo));
	return 0;
}

int
op_lookup(struct fs *fs, struct inode *dir, const struct fuse_request *r, struct buf *out)
{
	struct shadow *sh = shadow_find(fs, dir, r->name);
	CLEAN_NODEFD struct nodefd d = NODEFD_INIT;
	CLEAN_CLOSE int fd = -1;
	struct fuse_entry_out eo = {0};
	struct statx st;
	int e = folder_get(fs, dir, &d);

	if (e < 0)
		return e;
	listing_looked_up(fs, dir, r);
	fd = sh == NULL ? nodefd_open_kept(fs, d.fd, r->name) : -1;
	e = sh != NULL ? 0 : fd >= 0 ? stat_at(fd, "", &st) : stat_at(d.fd, r->name, &st);
	if (e == -ENOENT)
		return reply_negative(fs, dir, r->name, out);
	if (e == 0)
		e = sh != NULL ? shadow_fill(fs, sh, &eo)
			       : entry_fill(fs, dir, r->name, &st, false, &eo);
	if (e < 0)
		return e;
	nodefd_keep(fs, inode_find(fs, eo.nodeid), TAKE_FD(fd));
	buf_append(out, &eo, sizeof(eo));
	return 0;
}

/* One way of making a name: 0, or -1 with errno. from: a descriptor of what is linked. */
typedef int make_fn(const struct fs *fs, int dirfd, const struct fuse_request *r, int from);

static int
make_symlink(const struct fs *fs, int dirfd, const struct fuse_request *r, int from)
{
	(void)fs;
	(void)from;
	return symlinkat(r->name2, dirfd, r->name);
}

static int
make_node(const struct fs *fs, int dirfd, const struct fuse_request *r, int from)
{
	mode_t type = r->in.mknod.mode & S_IFMT;

	(void)fs;
	(void)from;
	return mknodat(dirfd, r->name, type | mode_allowed(type, r->in.mknod.mode), 0);
}

static int
make_folder(const struct fs *fs, int dirfd, const struct fuse_request *r, int from)
{
	(void)fs;
	(void)from;
	return mkdirat(dirfd, r->name, mode_allowed(S_IFDIR, r->in.mkdir.mode));
}

/* Through the magic link: the very file, and a symlink itself rather than its target. */
static int
make_link(const struct fs *fs, int dirfd, const struct fuse_request *r, int from)
{
	return linkat(fs->opt.proc_fd, fd_name(from).s, dirfd, r->name, AT_SYMLINK_FOLLOW);
}

/*
 * Somebody on the host may take away what was made, or put something else there, before it was
 * looked at. To the guest it was made all the same, so it is made once more.
 */
static int
make_name(struct fs *fs, struct inode *dir, const struct fuse_request *r, make_fn *make, int from,
	mode_t type, struct fuse_entry_out *ret)
{
	CLEAN_NODEFD struct nodefd d = NODEFD_INIT;
	int e = folder_get(fs, dir, &d);

	for (int n = 0; e >= 0 && n < MAKE_TRIES; n++) {
		struct statx st;

		if (make(fs, d.fd, r, from) < 0)
			return -errno;
		e = stat_at(d.fd, r->name, &st);
		if (e == 0 && (st.stx_mode & S_IFMT) == type)
			return entry_made(fs, dir, d.fd, r->name, &st, ret);
		if (e == -ENOENT)
			e = 0;
	}
	return e < 0 ? e : -ESTALE;
}

static int
reply_made(struct fs *fs, struct inode *dir, const struct fuse_request *r, make_fn *make,
	mode_t type, struct buf *out)
{
	struct fuse_entry_out eo;
	int e = make_name(fs, dir, r, make, -1, type, &eo);

	if (e == 0)
		buf_append(out, &eo, sizeof(eo));
	return e;
}

int
op_symlink(struct fs *fs, struct inode *dir, const struct fuse_request *r, struct buf *out)
{
	return reply_made(fs, dir, r, make_symlink, S_IFLNK, out);
}

int
op_mknod(struct fs *fs, struct inode *dir, const struct fuse_request *r, struct buf *out)
{
	mode_t type = r->in.mknod.mode & S_IFMT;

	/* Devices would be the host's own. */
	if (type != S_IFREG && type != S_IFIFO && type != S_IFSOCK)
		return -EPERM;
	return reply_made(fs, dir, r, make_node, type, out);
}

static struct inode *
child_of(const struct fs *fs, const struct inode *dir, const char *name)
{
	struct entry *e = entry_find(fs, dir, name);

	return e != NULL ? e->child : NULL;
}

int
op_mkdir(struct fs *fs, struct inode *dir, const struct fuse_request *r, struct buf *out)
{
	int e = reply_made(fs, dir, r, make_folder, S_IFDIR, out);

	if (e == 0)
		listing_made(fs, child_of(fs, dir, r->name));
	return e;
}

/* What the guest knows under a name is about to change: first, what the host did to it. */
static void
see_child(struct fs *fs, struct inode *dir, int dirfd, const char *name)
{
	struct inode *i = child_of(fs, dir, name);
	struct statx st;

	if (i != NULL && stat_at(dirfd, name, &st) == 0 && inode_is(i, &st))
		coherence_see(fs, i, &st);
}

/* A file has lost a name; the entries say so already. */
static void
lost_name(struct fs *fs, struct held *h)
{
	struct statx st;

	if (h->inode == NULL)
		return;
	if (h->fd >= 0 && stat_at(h->fd, "", &st) == 0)
		coherence_own(h->inode, &st);
	if (list_is_empty(&h->inode->names))
		nodefd_hold(fs, h);
	else
		nodefd_follow(fs, h->inode);
}

static int
remove_name(struct fs *fs, struct inode *dir, const char *name, int flags)
{
	CLEAN_NODEFD struct nodefd d = NODEFD_INIT;
	CLEAN_HELD struct held h = HELD_INIT;
	int e = folder_get(fs, dir, &d);

	if (e < 0)
		return e;
	see_child(fs, dir, d.fd, name);
	nodefd_before_loss(fs, dir, d.fd, name, &h);
	if (unlinkat(d.fd, name, flags) < 0)
		return -errno;
	entry_unset(fs, dir, name);
	lost_name(fs, &h);
	coherence_after(fs, dir, d.fd);
	return 0;
}

int
op_unlink(struct fs *fs, struct inode *dir, const struct fuse_request *r, struct buf *out)
{
	(void)out;
	return remove_name(fs, dir, r->name, 0);
}

int
op_rmdir(struct fs *fs, struct inode *dir, const struct fuse_request *r, struct buf *out)
{
	(void)out;
	return remove_name(fs, dir, r->name, AT_REMOVEDIR);
}

/* The names as the guest's kernel now has them. What was moved has a new change time. */
static void
renamed(struct fs *fs, struct inode *from, struct inode *to, int fromfd, int tofd,
	const struct fuse_request *r)
{
	struct inode *moved = child_of(fs, from, r->name), *other = child_of(fs, to, r->name2);
	struct statx st;

	if (moved != NULL)
		moved->pins++;
	if (other != NULL)
		other->pins++;
	entry_unset(fs, from, r->name);
	entry_unset(fs, to, r->name2);
	if (moved != NULL && entry_set(fs, to, r->name2, moved) == 0 &&
		stat_at(tofd, r->name2, &st) == 0 && inode_is(moved, &st))
		coherence_own(moved, &st);
	/* There may be a shadow in it by its new path. */
	if (moved != NULL && moved->key.type == S_IFDIR && fs->nshadows > 0)
		note_inval_listing(fs, moved);
	if (r->in.rename.flags & RENAME_EXCHANGE && other != NULL &&
		entry_set(fs, from, r->name, other) == 0 && stat_at(fromfd, r->name, &st) == 0 &&
		inode_is(other, &st))
		coherence_own(other, &st);
	if (moved != NULL)
		moved->pins--;
	if (other != NULL)
		other->pins--;
}

int
op_rename(struct fs *fs, struct inode *from, const struct fuse_request *r, struct buf *out)
{
	CLEAN_NODEFD struct nodefd a = NODEFD_INIT, b = NODEFD_INIT;
	CLEAN_HELD struct held h = HELD_INIT;
	struct inode *to = inode_find(fs, r->in.rename.newdir);
	uint32_t flags = r->in.rename.flags;
	int e;

	(void)out;
	if (to == NULL)
		return -ESTALE;
	e = folder_get(fs, from, &a);
	if (e == 0)
		e = folder_get(fs, to, &b);
	if (e < 0)
		return e;
	see_child(fs, from, a.fd, r->name);
	see_child(fs, to, b.fd, r->name2);
	if (flags == 0)
		nodefd_before_loss(fs, to, b.fd, r->name2, &h);
	if (renameat2(a.fd, r->name, b.fd, r->name2, flags) < 0)
		return -errno;
	/* Two hard links of one file: rename(2) does nothing, and both stay. */
	if (h.inode != NULL && h.inode == child_of(fs, from, r->name))
		return 0;
	renamed(fs, from, to, a.fd, b.fd, r);
	lost_name(fs, &h);
	coherence_after(fs, from, a.fd);
	coherence_after(fs, to, b.fd);
	return 0;
}

int
op_link(struct fs *fs, struct inode *dir, const struct fuse_request *r, struct buf *out)
{
	CLEAN_NODEFD struct nodefd old = NODEFD_INIT;
	struct inode *i = inode_find(fs, r->in.link.oldnodeid);
	struct fuse_entry_out eo;
	int e;

	if (i == NULL)
		return -ESTALE;
	if (i->key.type == S_IFDIR)
		return -EPERM;
	e = nodefd_get(fs, i, &old);
	if (e < 0)
		return e;
	coherence_before(fs, i, old.fd);
	e = make_name(fs, dir, r, make_link, old.fd, i->key.type, &eo);
	if (e < 0)
		return e;
	buf_append(out, &eo, sizeof(eo));
	/* An O_TMPFILE has its first name. */
	if (i->names.next != &i->names && i->names.next->next == &i->names)
		nodefd_follow(fs, i);
	return 0;
}
