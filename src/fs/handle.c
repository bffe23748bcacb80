/* Open files and folders of the guest: fh = generation and index, checked with the inode's id, so
 * that a stale or invented one is EBADF. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/log.h>
#include <base/mem.h>

#include "server.h"

#define FLAGS_KEPT (O_ACCMODE | O_SYNC | O_DSYNC)

bool
handle_room(const struct fs *fs)
{
	return fs->nhandles + fs->nlock_owners < fs->handles_max;
}

static int
free_slot(struct fs *fs, uint32_t *ret)
{
	size_t n = fs->nhandle_slots;

	if (!handle_room(fs))
		return -EMFILE;
	if (fs->nhandles == n) {
		fs->nhandle_slots = n > 0 ? n * 2 : 64;
		fs->handles = xreallocarray(fs->handles, fs->nhandle_slots, sizeof(*fs->handles));
		memset(fs->handles + n, 0, (fs->nhandle_slots - n) * sizeof(*fs->handles));
		*ret = (uint32_t)n;
		return 0;
	}
	/* From the place where the last one was found: mostly the next one is free. */
	for (size_t k = 0; k < n; k++) {
		size_t at = (fs->handle_hint + k) % n;

		if (fs->handles[at] == NULL) {
			fs->handle_hint = at + 1;
			*ret = (uint32_t)at;
			return 0;
		}
	}
	return -EMFILE;
}

int
handle_open(struct fs *fs, struct inode *i, int taken, bool dir, int flags, uint64_t *ret_fh)
{
	CLEAN_CLOSE int fd = taken;
	struct handle *h;
	uint32_t index;
	int r = free_slot(fs, &index);

	if (r < 0)
		return r;
	h = xcalloc(1, sizeof(*h));
	h->inode = i;
	h->fd = TAKE_FD(fd);
	h->dir = dir;
	h->flags = flags & FLAGS_KEPT;
	h->writable = (flags & O_ACCMODE) != O_RDONLY;
	h->index = index;
	if (++fs->handle_generation == 0) /* what a free slot of the journal has */
		fs->handle_generation = 1;
	h->generation = fs->handle_generation;
	h->flock = F_UNLCK;
	list_add_tail(&i->handles, &h->in_inode);
	fs->handles[index] = h;
	fs->nhandles++;
	journal_handle_add(fs, h);
	*ret_fh = handle_fh(h);
	return 0;
}

struct handle *
handle_find(struct fs *fs, uint64_t fh, uint64_t id, bool dir)
{
	uint32_t index = (uint32_t)fh;
	struct handle *h;

	if (index >= fs->nhandle_slots)
		return NULL;
	h = fs->handles[index];
	if (h == NULL || h->generation != fh >> 32 || h->dir != dir)
		return NULL;
	if (h->inode == NULL) {
		fs->handle_was_lost = h->lost_id == id;
		return NULL;
	}
	return h->inode->id == id ? h : NULL;
}

int
handle_fd(struct fs *fs, struct inode *i, uint64_t fh, bool dir, int *ret_opened)
{
	struct handle *h = handle_find(fs, fh, i->id, dir);
	CLEAN_NODEFD struct nodefd n = NODEFD_INIT;
	int r;

	if (h != NULL)
		return h->fd;
	if (fh != FUSE_PUSH_FH || !fs->push || dir != (i->key.type == S_IFDIR))
		return -EBADF;
	r = nodefd_get(fs, i, &n);
	if (r < 0)
		return r;
	r = nodefd_reopen(&n, O_RDONLY | O_NONBLOCK);
	if (r >= 0)
		*ret_opened = r;
	return r;
}

struct handle *
handle_any(const struct inode *i)
{
	if (list_is_empty(&i->handles))
		return NULL;
	return container_of(i->handles.next, struct handle, in_inode);
}

void
handle_close(struct fs *fs, struct handle *h)
{
	struct inode *i = h->inode;

	journal_handle_drop(fs, h->index);
	fs->handles[h->index] = NULL;
	fs->nhandles--;
	list_del(&h->in_inode);
	lock_handle_gone(fs, h);
	cleanup_close_p(&h->fd);
	buf_release(&h->dents);
	free(h);
	if (i != NULL)
		inode_drop_if_unused(fs, i);
}

int
handle_close_lost(struct fs *fs, uint64_t fh, uint64_t id)
{
	const uint32_t index = (uint32_t)fh;
	struct handle *h = index < fs->nhandle_slots ? fs->handles[index] : NULL;

	if (h == NULL || h->generation != fh >> 32 || h->inode != NULL || h->lost_id != id)
		return -EBADF;
	handle_close(fs, h);
	return 0;
}

/*
 * The file may have been made read-only since it was opened for writing, as git does. Its owner
 * gets the right back for a moment.
 */
static int
open_again(const struct nodefd *n, int flags)
{
	const char *name = fd_name(n->fd).s;
	int fd = nodefd_reopen(n, flags);
	struct statx st;

	if (fd != -EACCES || stat_at(n->fd, "", &st) < 0 ||
		fchmodat(n->fs->opt.proc_fd, name, st.stx_mode | S_IRUSR | S_IWUSR, 0) < 0)
		return fd;
	fd = nodefd_reopen(n, flags);
	if (fchmodat(n->fs->opt.proc_fd, name, st.stx_mode & 07777, 0) < 0)
		log_warn("a file's mode could not be set back: %s", strerror(errno));
	return fd;
}

void
handle_lose(struct fs *fs, struct handle *h)
{
	list_del(&h->in_inode);
	lock_handle_gone(fs, h);
	cleanup_close_p(&h->fd);
	h->lost_id = h->inode->id;
	h->inode = NULL;
	journal_handle_lost(fs, h);
}

static int
open_restored(struct fs *fs, struct handle *h, uint64_t id)
{
	CLEAN_NODEFD struct nodefd n = NODEFD_INIT;
	struct inode *i = inode_find(fs, id);
	int r = i != NULL && (i->key.type == S_IFDIR) == h->dir ? nodefd_get(fs, i, &n) : -ESTALE;

	if (r == 0 && (h->flags & O_ACCMODE) == O_ACCMODE)
		r = -EINVAL;
	if (r == 0)
		r = open_again(&n, h->dir ? O_RDONLY | O_DIRECTORY : h->flags);
	if (r < 0) {
		h->lost_id = id;
		return r;
	}
	h->fd = r;
	h->inode = i;
	list_add_tail(&i->handles, &h->in_inode);
	return 0;
}

/* Somebody else may have the lock by now. */
static int
lock_restored(struct fs *fs, struct handle *h, short type)
{
	int r = type != F_UNLCK ? lock_flock(fs, h, type) : 0;

	if (r < 0)
		handle_lose(fs, h);
	return r;
}

int
handle_restore(struct fs *fs, uint32_t index, const struct journal_handle *rec)
{
	struct handle *h = xcalloc(1, sizeof(*h));
	int r;

	list_init(&h->in_inode);
	h->index = index;
	h->generation = rec->generation;
	h->dir = rec->dir;
	h->flags = (int)rec->flags & FLAGS_KEPT;
	h->writable = (h->flags & O_ACCMODE) != O_RDONLY;
	h->flock = F_UNLCK;
	h->opened_by = rec->opened_by;
	h->fd = -1;
	if (index >= fs->nhandle_slots) {
		size_t n = (size_t)index + 64;

		fs->handles = xreallocarray(fs->handles, n, sizeof(struct handle *));
		memset(fs->handles + fs->nhandle_slots, 0,
			(n - fs->nhandle_slots) * sizeof(struct handle *));
		fs->nhandle_slots = n;
	}
	fs->handles[index] = h;
	fs->nhandles++;
	if (rec->generation > fs->handle_generation)
		fs->handle_generation = rec->generation;
	if (rec->lost || !handle_room(fs)) {
		h->lost_id = rec->id;
		return rec->lost ? -ENOLCK : -EMFILE;
	}
	r = open_restored(fs, h, rec->id);
	return r == 0 ? lock_restored(fs, h, (short)rec->flock) : r;
}
