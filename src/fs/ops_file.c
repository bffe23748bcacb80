/* Open files and their data. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <base/cleanup.h>

#include "server.h"

/*
 * What of the guest's open flags the host's open gets. Not O_APPEND: write-back of a shared mapping
 * has its own offsets (see op_write). Not O_DIRECT: it is about the guest's cache, and would bring
 * the host's alignment rules with it.
 */
static int
host_flags(uint32_t flags)
{
	/* O_TRUNC also with O_RDONLY: Linux truncates then, given the right to write. */
	return (int)(flags & (O_ACCMODE | O_TRUNC | O_SYNC | O_DSYNC));
}

static bool
is_writable(uint32_t flags)
{
	return (flags & O_ACCMODE) != O_RDONLY;
}

static int
open_inode(struct fs *fs, struct inode *i, uint32_t flags, struct fuse_open_out *ret)
{
	CLEAN_NODEFD struct nodefd n = NODEFD_INIT;
	CLEAN_CLOSE int fd = -1;
	int e;

	if ((flags & O_ACCMODE) == O_ACCMODE || i->key.type != S_IFREG)
		return -EINVAL;
	e = nodefd_get(fs, i, &n);
	if (e < 0)
		return e;
	if (coherence_keep_cache(fs, i, n.fd))
		ret->open_flags = FOPEN_KEEP_CACHE;
	if (!lock_tells_close(i, is_writable(flags), false))
		ret->open_flags |= FOPEN_NOFLUSH;
	fd = nodefd_reopen(&n, host_flags(flags));
	if (fd < 0)
		return fd;
	if (host_flags(flags) & O_TRUNC)
		coherence_after(fs, i, fd);
	if (!is_writable(flags))
		push_opened(fs, i, fd);
	return handle_open(fs, i, TAKE_FD(fd), false, host_flags(flags), &ret->fh);
}

int
op_open(struct fs *fs, struct inode *i, const struct fuse_request *r, struct buf *out)
{
	struct fuse_open_out oo = {0};
	bool changed = i->key.type == S_IFREG && coherence_before_open(fs, i);
	int e = open_inode(fs, i, r->in.open.flags, &oo);
	struct handle *h;

	if (e < 0)
		return e;
	if (changed)
		oo.open_flags &= ~(uint32_t)FOPEN_KEEP_CACHE;
	h = handle_find(fs, oo.fh, i->id, false);
	h->opened_by = r->head.unique;
	journal_handle(fs, h);
	buf_append(out, &oo, sizeof(oo));
	return 0;
}

static int
reply_created(struct fs *fs, struct inode *dir, int dirfd, const struct fuse_request *r, int taken,
	struct buf *out)
{
	CLEAN_CLOSE int fd = taken;
	struct fuse_open_out oo = {.open_flags = FOPEN_KEEP_CACHE};
	uint32_t flags = r->in.create.flags;
	struct fuse_entry_out eo = {0};
	struct statx st;
	struct inode *i;
	/* By the descriptor: the name may be somebody else's by now. */
	int e = stat_at(fd, "", &st);

	if (e == 0)
		e = entry_made(fs, dir, dirfd, r->name, &st, &eo);
	if (e < 0)
		return e;
	i = inode_find(fs, eo.nodeid);
	if (!lock_tells_close(NULL, is_writable(flags), flags & O_EXCL))
		oo.open_flags |= FOPEN_NOFLUSH;
	e = handle_open(fs, i, TAKE_FD(fd), false, host_flags(flags), &oo.fh);
	if (e < 0) {
		inode_forget(fs, eo.nodeid, 1);
		return e;
	}
	buf_append(out, &eo, sizeof(eo));
	buf_append(out, &oo, sizeof(oo));
	return 0;
}

/* The guest took the name for free, but the host has a file there by now. */
static int
open_existing(
	struct fs *fs, struct inode *dir, int dirfd, const struct fuse_request *r, struct buf *out)
{
	struct fuse_open_out oo = {0};
	struct fuse_entry_out eo;
	struct statx st;
	int e = stat_at(dirfd, r->name, &st);

	/* Anything but a file: the guest's kernel is to look again and decide itself. */
	if (e < 0 || !S_ISREG(st.stx_mode))
		return -ESTALE;
	e = entry_fill(fs, dir, r->name, &st, false, &eo);
	if (e < 0)
		return e;
	e = open_inode(fs, inode_find(fs, eo.nodeid), r->in.create.flags, &oo);
	if (e < 0) {
		inode_forget(fs, eo.nodeid, 1);
		return e;
	}
	buf_append(out, &eo, sizeof(eo));
	buf_append(out, &oo, sizeof(oo));
	return 0;
}

int
op_create(struct fs *fs, struct inode *dir, const struct fuse_request *r, struct buf *out)
{
	CLEAN_NODEFD struct nodefd d = NODEFD_INIT;
	const struct fuse_create_in *in = &r->in.create;
	int flags = host_flags(in->flags) | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
	int fd, e;

	if ((in->flags & O_ACCMODE) == O_ACCMODE)
		return -EINVAL;
	if (!handle_room(fs))
		return -EMFILE; /* before anything is made */
	if (dir->key.type != S_IFDIR)
		return -ENOTDIR;
	watch_folder(fs, dir);
	e = nodefd_get(fs, dir, &d);
	if (e < 0)
		return e;
	fd = openat(d.fd, r->name, flags, mode_allowed(S_IFREG, in->mode));
	if (fd < 0 && errno == EEXIST && !(in->flags & O_EXCL))
		return open_existing(fs, dir, d.fd, r, out);
	if (fd < 0)
		return -errno;
	return reply_created(fs, dir, d.fd, r, fd, out);
}

/* As entry_fill, for a file without a name: only the handle leads to it. */
static int
nameless(struct fs *fs, int taken, int flags, struct fuse_entry_out *eo, struct fuse_open_out *oo)
{
	CLEAN_CLOSE int fd = taken;
	struct inode *i;
	struct statx st;
	int e = stat_at(fd, "", &st);

	if (e < 0)
		return e;
	i = inode_get(fs, &st);
	if (i == NULL)
		return -ENFILE;
	e = handle_open(fs, i, TAKE_FD(fd), false, flags, &oo->fh);
	if (e < 0) {
		inode_drop_if_unused(fs, i);
		return e;
	}
	i->nlookup++;
	journal_inode(i);
	coherence_own(i, &st);
	*eo = (struct fuse_entry_out){.nodeid = i->id, .attr_valid = coherence_attr_ttl(i, &st)};
	attr_fill(fs, &st, &eo->attr);
	return 0;
}

int
op_tmpfile(struct fs *fs, struct inode *dir, const struct fuse_request *r, struct buf *out)
{
	CLEAN_NODEFD struct nodefd d = NODEFD_INIT;
	const struct fuse_create_in *in = &r->in.create;
	struct fuse_open_out oo = {.open_flags = FOPEN_KEEP_CACHE | FOPEN_NOFLUSH};
	struct fuse_entry_out eo;
	int fd, e;

	if (!is_writable(in->flags) || (in->flags & O_ACCMODE) == O_ACCMODE)
		return -EINVAL;
	if (dir->key.type != S_IFDIR)
		return -ENOTDIR;
	e = nodefd_get(fs, dir, &d);
	if (e < 0)
		return e;
	fd = openat(d.fd, ".",
		(host_flags(in->flags) & ~O_TRUNC) | (int)(in->flags & O_EXCL) | O_TMPFILE |
			O_CLOEXEC,
		mode_allowed(S_IFREG, in->mode));
	if (fd < 0)
		return -errno;
	e = nameless(fs, fd, host_flags(in->flags), &eo, &oo);
	if (e < 0)
		return e;
	buf_append(out, &eo, sizeof(eo));
	buf_append(out, &oo, sizeof(oo));
	return 0;
}

int
op_release(struct fs *fs, struct inode *i, const struct fuse_request *r, struct buf *out)
{
	struct handle *h = handle_find(fs, r->in.release.fh, i->id, false);

	(void)out;
	if (h == NULL)
		return handle_close_lost(fs, r->in.release.fh, i->id);
	handle_close(fs, h);
	return 0;
}

/* What is in the host's memory: true where that is all there is to read. */
static bool
read_cached(int fd, const struct fuse_read_in *in, struct buf *out)
{
	size_t done = 0;

	while (done < in->size) {
		struct iovec v = {
			.iov_base = buf_reserve(out, in->size - done), .iov_len = in->size - done};
		ssize_t n = preadv2(fd, &v, 1, (off_t)(in->offset + done), RWF_NOWAIT);

		if (n < 0)
			return false;
		if (n == 0)
			break;
		buf_commit(out, (size_t)n);
		done += (size_t)n;
	}
	return true;
}

int
op_read(struct fs *fs, struct inode *i, const struct fuse_request *r, struct buf *out)
{
	CLEAN_CLOSE int opened = -1;
	int fd = handle_fd(fs, i, r->in.read.fh, false, &opened);
	size_t start = out->len;

	if (fd < 0)
		return fd;
	if (read_cached(fd, &r->in.read, out))
		return 0;
	out->len = start;
	return job_do(fs, i, r, JOB_READ, fd, -1, out);
}

/*
 * O_APPEND: to wherever the file ends on the host now, atomically, whatever the guest believes.
 * Where the two differ the guest's page is at the wrong offset.
 */
static int
write_append(struct fs *fs, struct handle *h, const struct fuse_request *r, size_t *ret_done)
{
	struct iovec v = {.iov_base = (void *)r->data, .iov_len = r->ndata};
	ssize_t n;

	do
		n = pwritev2(h->fd, &v, 1, -1, RWF_APPEND);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	if (lseek(h->fd, 0, SEEK_CUR) != (off_t)(r->in.write.offset + (size_t)n))
		note_inval_inode(fs, h->inode->id, 0);
	*ret_done = (size_t)n;
	return 0;
}

static int
append(struct fs *fs, struct handle *h, const struct fuse_request *r, struct buf *out)
{
	struct fuse_write_out wo = {0};
	size_t done = 0;
	int e;

	coherence_before(fs, h->inode, h->fd);
	e = write_append(fs, h, r, &done);
	coherence_after(fs, h->inode, h->fd);
	if (e < 0)
		return e;
	wo.size = (uint32_t)done;
	buf_append(out, &wo, sizeof(wo));
	return 0;
}

/*
 * Pages written back from a mapping come with some handle, and have their own offset. Appending is
 * done at once: when this process ends over it, the journal says that it may have been done.
 */
int
op_write(struct fs *fs, struct inode *i, const struct fuse_request *r, struct buf *out)
{
	const struct fuse_write_in *in = &r->in.write;
	struct handle *h = handle_find(fs, in->fh, i->id, false);

	if (h == NULL)
		return -EBADF;
	if ((in->flags & O_APPEND) && !(in->write_flags & FUSE_WRITE_CACHE))
		return append(fs, h, r, out);
	return job_do(fs, i, r, JOB_WRITE, h->fd, -1, out);
}

static int
sync_any(struct fs *fs, struct inode *i, const struct fuse_request *r, bool dir, struct buf *out)
{
	CLEAN_CLOSE int opened = -1;
	int fd = handle_fd(fs, i, r->in.fsync.fh, dir, &opened);

	return fd < 0 ? fd : job_do(fs, i, r, JOB_FSYNC, fd, -1, out);
}

int
op_fsync(struct fs *fs, struct inode *i, const struct fuse_request *r, struct buf *out)
{
	return sync_any(fs, i, r, false, out);
}

int
op_fsyncdir(struct fs *fs, struct inode *i, const struct fuse_request *r, struct buf *out)
{
	return sync_any(fs, i, r, true, out);
}

int
op_fallocate(struct fs *fs, struct inode *i, const struct fuse_request *r, struct buf *out)
{
	struct handle *h = handle_find(fs, r->in.fallocate.fh, i->id, false);

	return h == NULL ? -EBADF : job_do(fs, i, r, JOB_FALLOCATE, h->fd, -1, out);
}

int
op_lseek(struct fs *fs, struct inode *i, const struct fuse_request *r, struct buf *out)
{
	const struct fuse_lseek_in *in = &r->in.lseek;
	CLEAN_CLOSE int opened = -1;
	int fd = handle_fd(fs, i, in->fh, false, &opened);
	struct fuse_lseek_out lo;
	off_t at;

	if (fd < 0)
		return fd;
	at = lseek(fd, (off_t)in->offset, (int)in->whence);
	if (at < 0)
		return -errno;
	lo.offset = (uint64_t)at;
	buf_append(out, &lo, sizeof(lo));
	return 0;
}

int
op_copy_file_range(struct fs *fs, struct inode *i, const struct fuse_request *r, struct buf *out)
{
	const struct fuse_copy_file_range_in *in = &r->in.copy;
	CLEAN_CLOSE int opened = -1;
	int from = handle_fd(fs, i, in->fh_in, false, &opened);
	struct handle *to = handle_find(fs, in->fh_out, in->nodeid_out, false);

	if (from < 0 || to == NULL)
		return from < 0 ? from : -EBADF;
	return job_do(fs, to->inode, r, JOB_COPY, to->fd, from, out);
}
