/* Attributes of files and of file systems. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <base/cleanup.h>

#include "server.h"

/*
 * The guest sees one device where the host may have several. Inode numbers are passed through, for
 * git's index to be valid on both sides; those of further devices differ in the upper bits.
 */
uint64_t
attr_ino(struct fs *fs, const struct statx *st, uint64_t ino)
{
	uint64_t dev = (uint64_t)st->stx_dev_major << 32 | st->stx_dev_minor;
	size_t k = 0;

	if (fs->stage && st->stx_mask & STATX_MNT_ID && st->stx_mnt_id == fs->stage_mnt)
		return ino ^ 0xffffULL << 48;
	while (k < fs->ndevices && fs->devices[k] != dev)
		k++;
	if (k == fs->ndevices && k < DEVICES_MAX) {
		fs->devices[fs->ndevices++] = dev;
		journal_device(fs);
	}
	return ino ^ (uint64_t)k << 48;
}

void
attr_fill(struct fs *fs, const struct statx *st, struct fuse_attr *ret)
{
	bool stage = fs->stage && st->stx_mask & STATX_MNT_ID && st->stx_mnt_id == fs->stage_mnt;

	*ret = (struct fuse_attr){
		.ino = attr_ino(fs, st, st->stx_ino),
		.size = st->stx_size,
		.blocks = st->stx_blocks,
		.atime = (uint64_t)st->stx_atime.tv_sec,
		.mtime = (uint64_t)st->stx_mtime.tv_sec,
		.ctime = (uint64_t)st->stx_ctime.tv_sec,
		.atimensec = st->stx_atime.tv_nsec,
		.mtimensec = st->stx_mtime.tv_nsec,
		.ctimensec = st->stx_ctime.tv_nsec,
		.mode = st->stx_mode,
		.nlink = st->stx_nlink,
		.uid = stage ? 0 : fs->opt.guest_uid,
		.gid = stage ? 0 : fs->opt.guest_gid,
		.blksize = st->stx_blksize,
	};
	if (S_ISREG(st->stx_mode))
		ret->mode &= ~(uint32_t)(S_ISUID | S_ISGID);
}

static void
put_attr(struct fs *fs, const struct inode *i, const struct statx *st, struct buf *out)
{
	struct fuse_attr_out ao = {.attr_valid = coherence_attr_ttl(i, st)};

	attr_fill(fs, st, &ao.attr);
	buf_append(out, &ao, sizeof(ao));
}

int
op_getattr(struct fs *fs, struct inode *i, const struct fuse_request *r, struct buf *out)
{
	struct statx st;
	int e = inode_stat(fs, i, &st);

	(void)r;
	if (e < 0)
		return e;
	coherence_tell_asked(fs, i, &st);
	put_attr(fs, i, &st, out);
	return 0;
}

/* By the guest's handle where it gave one that can write, as ftruncate; else as truncate. */
static int
set_size(struct fs *fs, const struct nodefd *n, const struct fuse_setattr_in *in)
{
	CLEAN_CLOSE int opened = -1;
	struct handle *h = NULL;
	int fd;

	if (n->inode->key.type != S_IFREG)
		return n->inode->key.type == S_IFDIR ? -EISDIR : -EINVAL;
	if (in->valid & FATTR_FH)
		h = handle_find(fs, in->fh, n->inode->id, false);
	if (h != NULL && h->writable) {
		fd = h->fd;
	} else {
		opened = nodefd_reopen(n, O_WRONLY);
		if (opened < 0)
			return opened;
		fd = opened;
	}
	return ftruncate(fd, (off_t)in->size) < 0 ? -errno : 0;
}

static int
set_times(struct fs *fs, const struct nodefd *n, const struct fuse_setattr_in *in)
{
	struct timespec t[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_nsec = UTIME_OMIT}};

	if (in->valid & FATTR_ATIME)
		t[0] = (struct timespec){(time_t)in->atime, in->atimensec};
	if (in->valid & FATTR_ATIME_NOW)
		t[0].tv_nsec = UTIME_NOW;
	if (in->valid & FATTR_MTIME)
		t[1] = (struct timespec){(time_t)in->mtime, in->mtimensec};
	if (in->valid & FATTR_MTIME_NOW)
		t[1].tv_nsec = UTIME_NOW;
	/* The magic link leads to the file, of whatever kind, itself. */
	return utimensat(fs->opt.proc_fd, fd_name(n->fd).s, t, 0) < 0 ? -errno : 0;
}

static int
set_mode(struct fs *fs, const struct nodefd *n, const struct fuse_setattr_in *in)
{
	mode_t type = n->inode->key.type;

	if (S_ISLNK(type))
		return -EOPNOTSUPP;
	return fchmodat(fs->opt.proc_fd, fd_name(n->fd).s, mode_allowed(type, in->mode), 0) < 0
		       ? -errno
		       : 0;
}

static int
set_attrs(struct fs *fs, const struct nodefd *n, const struct fuse_setattr_in *in)
{
	const uint32_t times = FATTR_ATIME | FATTR_ATIME_NOW | FATTR_MTIME | FATTR_MTIME_NOW;
	int e = 0;

	/* FATTR_UID and FATTR_GID: whoever writes in the guest, the host user owns it. */
	if (in->valid & FATTR_MODE)
		e = set_mode(fs, n, in);
	if (e == 0 && in->valid & FATTR_SIZE)
		e = set_size(fs, n, in);
	if (e == 0 && in->valid & times)
		e = set_times(fs, n, in);
	return e;
}

int
op_setattr(struct fs *fs, struct inode *i, const struct fuse_request *r, struct buf *out)
{
	CLEAN_NODEFD struct nodefd n = NODEFD_INIT;
	struct statx st;
	int e = nodefd_get(fs, i, &n);

	if (e < 0)
		return e;
	coherence_before(fs, i, n.fd);
	e = set_attrs(fs, &n, &r->in.setattr);
	if (e == 0)
		e = stat_at(n.fd, "", &st);
	if (e != 0) {
		coherence_after(fs, i, n.fd);
		return e;
	}
	coherence_own(i, &st);
	push_attr(fs, i, &st);
	put_attr(fs, i, &st, out);
	return 0;
}

int
op_readlink(struct fs *fs, struct inode *i, const struct fuse_request *r, struct buf *out)
{
	CLEAN_NODEFD struct nodefd n = NODEFD_INIT;
	ssize_t len;
	int e;

	(void)r;
	if (i->key.type != S_IFLNK)
		return -EINVAL;
	e = nodefd_get(fs, i, &n);
	if (e < 0)
		return e;
	len = readlinkat(
		n.fd, "", (char *)buf_reserve(out, FUSE_WIRE_LINK_MAX), FUSE_WIRE_LINK_MAX);
	if (len < 0)
		return -errno;
	buf_commit(out, (size_t)len);
	return 0;
}

int
op_statfs(struct fs *fs, struct inode *i, const struct fuse_request *r, struct buf *out)
{
	CLEAN_NODEFD struct nodefd n = NODEFD_INIT;
	int e = nodefd_get(fs, i, &n);

	return e < 0 ? e : job_do(fs, i, r, JOB_STATFS, n.fd, -1, out);
}

int
op_syncfs(struct fs *fs, struct inode *i, const struct fuse_request *r, struct buf *out)
{
	CLEAN_NODEFD struct nodefd n = NODEFD_INIT;
	CLEAN_CLOSE int fd = -1;
	int e = nodefd_get(fs, i, &n);

	if (e < 0)
		return e;
	fd = nodefd_reopen(&n, O_RDONLY);
	return fd < 0 ? fd : job_do(fs, i, r, JOB_SYNCFS, fd, -1, out);
}
