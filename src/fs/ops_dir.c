/* Open folders: READDIR and READDIRPLUS over getdents64, whose positions are the guest's too. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <base/cleanup.h>

#include "server.h"

#define DENTS_SIZE 32768

int
op_opendir(struct fs *fs, struct inode *i, const struct fuse_request *r, struct buf *out)
{
	CLEAN_NODEFD struct nodefd n = NODEFD_INIT;
	struct fuse_open_out oo = {0};
	int fd, e;

	if (i->key.type != S_IFDIR)
		return -ENOTDIR;
	watch_folder(fs, i);
	e = nodefd_get(fs, i, &n);
	if (e < 0)
		return e;
	if (coherence_keep_cache(fs, i, n.fd))
		oo.open_flags = FOPEN_KEEP_CACHE | FOPEN_CACHE_DIR;
	fd = nodefd_reopen(&n, O_RDONLY | O_DIRECTORY);
	if (fd < 0)
		return fd;
	if (!listing_read(fs, i, r, 0))
		push_folder(fs, i, fd);
	e = handle_open(fs, i, fd, true, O_RDONLY, &oo.fh);
	if (e == 0)
		buf_append(out, &oo, sizeof(oo));
	return e;
}

int
op_releasedir(struct fs *fs, struct inode *i, const struct fuse_request *r, struct buf *out)
{
	struct handle *h = handle_find(fs, r->in.release.fh, i->id, true);

	(void)out;
	if (h == NULL)
		return handle_close_lost(fs, r->in.release.fh, i->id);
	handle_close(fs, h);
	return 0;
}

static int
seek_dents(struct handle *h, uint64_t pos)
{
	if (h->pos == pos)
		return 0;
	buf_clear(&h->dents);
	if (lseek(h->fd, (off_t)pos, SEEK_SET) < 0)
		return -errno;
	h->pos = pos;
	return 0;
}

/* The next entry, which stays there until next_dent. NULL: the end (0) or -errno. */
static const struct dirent64 *
peek_dent(struct handle *h, int *ret_error)
{
	ssize_t n;

	if (h->dents.len == 0) {
		buf_clear(&h->dents);
		n = getdents64(h->fd, buf_reserve(&h->dents, DENTS_SIZE), DENTS_SIZE);
		if (n <= 0) {
			*ret_error = n < 0 ? -errno : 0;
			return NULL;
		}
		buf_commit(&h->dents, (size_t)n);
	}
	return (const void *)h->dents.data;
}

static void
next_dent(struct handle *h)
{
	const struct dirent64 *d = (const void *)h->dents.data;

	h->pos = (uint64_t)d->d_off;
	buf_consume(&h->dents, d->d_reclen);
}

struct reading {
	struct fs *fs;
	struct handle *h;
	struct statx dir;
	struct buf *out;
	size_t left;
	bool plus, any, end;
	bool ahead; /* for the pump, not for the guest's kernel */
	size_t n;
};

static bool
is_dot(const char *name)
{
	return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* What is seen of it in the middle of a change is true of neither before nor after. */
static bool
is_changing(const struct fs *fs, const struct statx *st)
{
	const struct inode *i = inode_of(fs, st);

	return i != NULL && i->changing > 0;
}

/* The pump keeps what it is told until it is said to have changed: not so what is not watched. */
static void
drop_blind(struct fs *fs, struct fuse_entry_out *eo)
{
	if (eo->nodeid == 0 ||
		(eo->entry_valid == TTL_WATCHED_S && eo->attr_valid == TTL_WATCHED_S))
		return;
	inode_forget(fs, eo->nodeid, 1);
	memset(eo, 0, sizeof(*eo));
}

/*
 * The lookup half of READDIRPLUS. Without it the guest takes just the name. False: it is gone.
 * Where the kernel will not see it, what it knows of the name so far is compared first.
 */
static bool
look_up(struct reading *rd, const struct dirent64 *d, struct fuse_entry_out *ret)
{
	struct statx st;
	int r;

	if (is_dot(d->d_name))
		return true;
	if (rd->ahead && entry_find(rd->fs, rd->h->inode, d->d_name) != NULL)
		coherence_check_entry(rd->fs, rd->h->inode, d->d_name, 0);
	r = stat_at(rd->h->fd, d->d_name, &st);
	if (r == 0 && rd->ahead && is_changing(rd->fs, &st))
		return true;
	if (r == 0 && entry_fill(rd->fs, rd->h->inode, d->d_name, &st, false, ret) < 0)
		memset(ret, 0, sizeof(*ret));
	if (r == 0 && rd->ahead)
		drop_blind(rd->fs, ret);
	return r != -ENOENT;
}

static void
put_dent(struct reading *rd, const struct dirent64 *d, const struct fuse_entry_out *eo)
{
	size_t len = strlen(d->d_name), size = FUSE_REC_ALIGN(FUSE_NAME_OFFSET + len);
	struct fuse_dirent fd = {.off = (uint64_t)d->d_off,
		.namelen = (uint32_t)len,
		.type = d->d_type,
		.ino = attr_ino(rd->fs, &rd->dir, d->d_ino)};
	uint8_t *p;

	/* What is above a workspace's root on the host is nobody's business. */
	if (strcmp(d->d_name, "..") == 0)
		fd.ino = UINT32_MAX;
	if (eo->nodeid != 0) {
		fd.ino = eo->attr.ino;
		fd.type = (eo->attr.mode & S_IFMT) >> 12;
	}
	if (rd->plus)
		buf_append(rd->out, eo, sizeof(*eo));
	p = buf_reserve(rd->out, size);
	memset(p, 0, size);
	memcpy(p, &fd, FUSE_NAME_OFFSET);
	memcpy(p + FUSE_NAME_OFFSET, d->d_name, len);
	buf_commit(rd->out, size);
}

static size_t
dent_size(const struct reading *rd, const struct dirent64 *d)
{
	return (rd->plus ? sizeof(struct fuse_entry_out) : 0) +
	       FUSE_REC_ALIGN(FUSE_NAME_OFFSET + strlen(d->d_name));
}

static int
read_dents(struct reading *rd)
{
	const struct dirent64 *d;
	int r = 0;

	while ((d = peek_dent(rd->h, &r)) != NULL) {
		struct fuse_entry_out eo = {0};
		size_t size = dent_size(rd, d);

		if (size > rd->left)
			return rd->any ? 0 : -EINVAL;
		if (shadow_find(rd->fs, rd->h->inode, d->d_name) == NULL &&
			(!rd->plus || look_up(rd, d, &eo))) {
			put_dent(rd, d, &eo);
			rd->left -= size;
			rd->any = true;
			rd->n++;
		}
		next_dent(rd->h);
	}
	rd->end = r == 0;
	return rd->any ? 0 : r;
}

/* The folder's shadows, from this position on. 1: there is no room for more. */
static int
read_shadows(struct reading *rd, uint64_t pos)
{
	struct shadow *s;
	uint64_t next;

	while (shadow_listed(rd->fs, rd->h->inode, pos, &s, &next)) {
		struct dirent64 d = {.d_off = (off64_t)next, .d_type = DT_DIR};
		struct fuse_entry_out eo;
		size_t size;
		int r;

		snprintf(d.d_name, sizeof(d.d_name), "%s", shadow_name(s));
		size = dent_size(rd, &d);
		if (size > rd->left)
			return rd->any ? 1 : -EINVAL;
		r = shadow_fill(rd->fs, s, &eo);
		if (r < 0)
			return r;
		put_dent(rd, &d, &eo);
		if (!rd->plus)
			inode_forget(rd->fs, eo.nodeid, 1);
		rd->left -= size;
		rd->any = true;
		pos = next;
	}
	return 0;
}

static int
readdir_by(
	struct fs *fs, struct handle *h, const struct fuse_request *r, struct buf *out, bool plus)
{
	const struct fuse_read_in *in = &r->in.read;
	struct reading rd = {.fs = fs, .h = h, .out = out, .left = in->size, .plus = plus};
	int e = stat_at(h->fd, "", &rd.dir);

	if (e == 0)
		e = read_shadows(&rd, in->offset);
	if (e == 1)
		return 0;
	if (e == 0)
		e = seek_dents(h, shadow_real_pos(fs, in->offset));
	return e < 0 ? e : read_dents(&rd);
}

int
dir_read_plus(struct fs *fs, struct inode *dir, int fd, uint64_t *pos, size_t size, struct buf *out,
	bool *ret_end)
{
	struct handle h = {.inode = dir, .dir = true, .fd = fd};
	struct reading rd = {
		.fs = fs, .h = &h, .out = out, .left = size, .plus = true, .ahead = true};
	int e = stat_at(fd, "", &rd.dir);

	if (e == 0)
		e = seek_dents(&h, *pos);
	if (e == 0)
		e = read_dents(&rd);
	*pos = h.pos;
	*ret_end = rd.end;
	buf_release(&h.dents);
	return e < 0 ? e : (int)rd.n;
}

/* A folder that only the guest's pump has open: a handle for this one request. */
static int
readdir_once(
	struct fs *fs, struct inode *i, const struct fuse_request *r, struct buf *out, bool plus)
{
	CLEAN_CLOSE int opened = -1;
	struct handle h = {.inode = i, .dir = true};
	int e;

	h.fd = handle_fd(fs, i, r->in.read.fh, true, &opened);
	e = h.fd < 0 ? h.fd : readdir_by(fs, &h, r, out, plus);
	buf_release(&h.dents);
	return e;
}

static int
readdir_any(
	struct fs *fs, struct inode *i, const struct fuse_request *r, struct buf *out, bool plus)
{
	struct handle *h = handle_find(fs, r->in.read.fh, i->id, true);

	i->listed = i->listed || plus;
	if (plus)
		listing_read(fs, i, r, r->in.read.offset);
	return h != NULL ? readdir_by(fs, h, r, out, plus) : readdir_once(fs, i, r, out, plus);
}

int
op_readdir(struct fs *fs, struct inode *i, const struct fuse_request *r, struct buf *out)
{
	return readdir_any(fs, i, r, out, false);
}

int
op_readdirplus(struct fs *fs, struct inode *i, const struct fuse_request *r, struct buf *out)
{
	return readdir_any(fs, i, r, out, true);
}
