/*
 * How this works: the guest's locks are locks on the host's files, so that they exclude programs on
 * the host and in other sandboxes too. flock(2) belongs to an open file, of which the server has
 * one for each of the guest's: its handle. A record lock of fcntl(2) belongs to an owner, a process
 * or (F_OFD_SETLK) an open file, whom the guest names by a number: each owner gets a descriptor of
 * its own on the file, and holds F_OFD_SETLK locks by that.
 *
 * Nothing here waits. Who wants to wait is queued, tried again after each unlock by this guest, and
 * after a while for the locks of others: their end is not told to anybody. INTERRUPT and the end
 * of the handle take it from the queue.
 *
 * Whoever gets a lock finds the file as it is then: what the guest's caches have wrong is dropped
 * before the reply, which follows the notifications on their way (fuse_line_reply).
 *
 * An owner's record locks end with FLUSH, which is to say when its process closes the file. Files
 * that are opened without being told of that (see lock_tells_close) lose them when the handle by
 * which they were taken is released.
 *
 * Not as on a local disk: no EDEADLK; a folder's flock is the guest's own.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/clock.h>
#include <base/log.h>
#include <base/mem.h>

#include "lock.h"

#define OWNERS_MAX   4096
#define WAITS_MAX    1024
#define RETRY_MIN_MS 2
#define RETRY_MAX_MS 32

struct lock_wait {
	struct list all;
	uint64_t unique;
	struct handle *handle;
	struct fuse_lk_in in;
};

static struct lock_owner *
owner_find(const struct inode *i, uint64_t owner)
{
	struct list *l, *tmp;

	list_foreach(l, tmp, &i->lock_owners)
	{
		struct lock_owner *o = container_of(l, struct lock_owner, in_inode);

		if (o->handle != NULL && o->owner == owner)
			return o;
	}
	return NULL;
}

/* With every right that there is: the same owner may come with other handles. */
static int
open_for_locks(struct fs *fs, struct inode *i)
{
	static const int modes[] = {O_RDWR, O_RDONLY, O_WRONLY};
	CLEAN_NODEFD struct nodefd n = NODEFD_INIT;
	int r = nodefd_get(fs, i, &n);

	for (size_t k = 0; r >= 0 && k < ARRAY_LEN(modes); k++) {
		int fd = nodefd_reopen(&n, modes[k]);

		if (fd >= 0 || (fd != -EACCES && fd != -EROFS && fd != -EPERM))
			return fd;
		if (k == ARRAY_LEN(modes) - 1)
			r = fd;
	}
	return r;
}

int
lock_owner_new(struct fs *fs, struct inode *i, uint64_t owner, struct lock_owner **ret)
{
	struct lock_owner *o;
	int fd;

	if (fs->nlock_owners >= OWNERS_MAX || !handle_room(fs))
		return -ENOLCK;
	fd = open_for_locks(fs, i);
	if (fd < 0)
		return fd == -EMFILE || fd == -ENFILE ? -ENOLCK : fd;
	o = xcalloc(1, sizeof(*o));
	o->owner = owner;
	o->fd = fd;
	o->wal = F_UNLCK;
	list_init(&o->ranges);
	list_add_tail(&i->lock_owners, &o->in_inode);
	fs->nlock_owners++;
	*ret = o;
	return 0;
}

void
lock_owner_free(struct fs *fs, struct lock_owner *o)
{
	lock_ranges_free(fs, o);
	list_del(&o->in_inode);
	close(o->fd);
	free(o);
	fs->nlock_owners--;
}

static struct flock
host_range(const struct fuse_file_lock *lk)
{
	bool to_end = lk->end >= INT64_MAX;

	return (struct flock){
		.l_type = (short)lk->type,
		.l_whence = SEEK_SET,
		.l_start = (off_t)lk->start,
		.l_len = to_end ? 0 : (off_t)(lk->end - lk->start + 1),
	};
}

static int
lock_error(int e)
{
	return e == EACCES ? -EAGAIN : -e;
}

/* 0, -EAGAIN, -errno */
static int
set_owners(struct fs *fs, struct inode *i, struct lock_owner *o, const struct fuse_lk_in *in)
{
	struct flock fl = host_range(&in->lk);

	if (!lock_ranges_room(fs, fl.l_type))
		return -ENOLCK;
	if (lock_is_wal(i, in))
		return lock_wal_set(fs, i, o, fl.l_type);
	if (fcntl(o->fd, F_OFD_SETLK, &fl) < 0)
		return lock_error(errno);
	lock_ranges_set(fs, o, in->lk.start, in->lk.end, fl.l_type);
	/* Everything up to the end, as at a close. */
	if (fl.l_type == F_UNLCK && fl.l_len == 0 && o->wal != F_UNLCK)
		return lock_wal_set(fs, i, o, F_UNLCK);
	return 0;
}

static int
set_record(struct fs *fs, struct handle *h, const struct fuse_lk_in *in)
{
	struct lock_owner *o = owner_find(h->inode, in->owner);
	bool fresh = o == NULL;
	int r = 0;

	if (in->lk.type == F_UNLCK && fresh)
		return 0;
	if (fresh)
		r = lock_owner_new(fs, h->inode, in->owner, &o);
	if (r < 0)
		return r;
	h->inode->record_locked = true;
	if (fresh)
		o->handle = h;
	r = set_owners(fs, h->inode, o, in);
	if (r < 0 && fresh)
		lock_owner_free(fs, o);
	if (r == 0 && in->lk.type != F_UNLCK && (o->handle != h || o->pid != in->lk.pid)) {
		o->handle = h;
		o->pid = in->lk.pid;
		lock_ranges_handle(fs, o);
	}
	return r;
}

int
lock_flock(struct fs *fs, struct handle *h, short type)
{
	int how = type == F_UNLCK ? LOCK_UN : type == F_RDLCK ? LOCK_SH : LOCK_EX;
	int r = flock(h->fd, how | LOCK_NB) < 0 ? lock_error(errno) : 0;

	/* Who does not get the other kind of lock has given up the one that it had: flock(2). */
	if (r == 0)
		h->flock = type;
	else if (r == -EAGAIN)
		h->flock = F_UNLCK;
	journal_handle(fs, h);
	return r;
}

static int
set_lock(struct fs *fs, struct handle *h, const struct fuse_lk_in *in)
{
	int r = in->lk_flags & FUSE_LK_FLOCK ? lock_flock(fs, h, (short)in->lk.type)
					     : set_record(fs, h, in);

	coherence_unlocked(fs, h->inode);
	return r;
}

bool
lock_is_held(const struct inode *i)
{
	struct list *l, *tmp;

	list_foreach(l, tmp, &i->handles)
	{
		if (container_of(l, struct handle, in_inode)->flock != F_UNLCK)
			return true;
	}
	list_foreach(l, tmp, &i->lock_owners)
	{
		if (!list_is_empty(&container_of(l, struct lock_owner, in_inode)->ranges))
			return true;
	}
	return false;
}

/* ---- those who wait ---- */

static void
reply_later(struct fs *fs, uint64_t unique, int error)
{
	struct fuse_out_header head = {.len = sizeof(head), .error = error, .unique = unique};

	fuse_line_reply(&fs->notes, &head);
}

static bool
flock_is_shared(const struct handle *h)
{
	struct list *l, *tmp;

	list_foreach(l, tmp, &h->inode->handles)
	{
		const struct handle *other = container_of(l, struct handle, in_inode);

		if (other != h && other->flock != F_UNLCK)
			return true;
	}
	return false;
}

static bool
has_range(const struct lock_owner *o, uint64_t start, uint64_t end)
{
	struct list *l, *tmp;

	list_foreach(l, tmp, &o->ranges)
	{
		const struct lock_range *r = container_of(l, struct lock_range, in_owner);

		if (r->start <= start && r->end >= end)
			return true;
	}
	return false;
}

/*
 * Whether somebody else in the guest has had it for longer, who was told then, and whose answers a
 * further notification would spoil (coherence.c, check_stat).
 */
static bool
is_shared(const struct handle *h, const struct fuse_lk_in *in)
{
	struct list *l, *tmp;

	if (in->lk_flags & FUSE_LK_FLOCK)
		return flock_is_shared(h);
	list_foreach(l, tmp, &h->inode->lock_owners)
	{
		const struct lock_owner *o = container_of(l, struct lock_owner, in_inode);

		if (o->owner != in->owner && has_range(o, in->lk.start, in->lk.end))
			return true;
	}
	return false;
}

/*
 * Granted: with a reply behind what the guest is to drop first (OP_LATER). There may be such things
 * on their way even where nothing is added to them here.
 */
static int
granted(struct fs *fs, const struct handle *h, uint64_t unique, const struct fuse_lk_in *in)
{
	if (in->lk.type == F_UNLCK)
		return 0;
	if (is_shared(h, in))
		coherence_before(fs, h->inode, h->fd);
	else
		coherence_fresh(fs, h->inode, h->fd);
	reply_later(fs, unique, 0);
	return OP_LATER;
}

static void
wait_end(struct fs *fs, struct lock_wait *w, int error)
{
	if (error != 0 || granted(fs, w->handle, w->unique, &w->in) == 0)
		reply_later(fs, w->unique, error);
	list_del(&w->all);
	free(w);
	fs->nlock_waits--;
}

static int
wait_begin(struct fs *fs, struct handle *h, const struct fuse_request *r)
{
	struct lock_wait *w;

	if (fs->nlock_waits >= WAITS_MAX)
		return -ENOLCK;
	w = xcalloc(1, sizeof(*w));
	w->unique = r->head.unique;
	w->handle = h;
	w->in = r->in.lk;
	list_add_tail(&fs->lock_waits, &w->all);
	fs->nlock_waits++;
	fs->lock_pause_ms = RETRY_MIN_MS;
	fs->lock_retry_ms = clock_mono_ms() + RETRY_MIN_MS;
	return OP_LATER;
}

static void
try_waits(struct fs *fs)
{
	struct list *l, *tmp;

	list_foreach(l, tmp, &fs->lock_waits)
	{
		struct lock_wait *w = container_of(l, struct lock_wait, all);
		int r = set_lock(fs, w->handle, &w->in);

		if (r != -EAGAIN)
			wait_end(fs, w, r);
	}
	if (fs->nlock_waits == 0)
		fs->lock_retry_ms = 0;
}

void
lock_retry(struct fs *fs)
{
	try_waits(fs);
	if (fs->nlock_waits == 0)
		return;
	if (fs->lock_pause_ms < RETRY_MAX_MS)
		fs->lock_pause_ms *= 2;
	fs->lock_retry_ms = clock_mono_ms() + fs->lock_pause_ms;
}

void
lock_interrupt(struct fs *fs, uint64_t unique)
{
	struct list *l, *tmp;

	list_foreach(l, tmp, &fs->lock_waits)
	{
		struct lock_wait *w = container_of(l, struct lock_wait, all);

		if (w->unique == unique)
			wait_end(fs, w, -EINTR);
	}
}

/* ---- requests ---- */

static struct handle *
handle_for_locks(struct fs *fs, const struct inode *i, const struct fuse_request *r)
{
	struct handle *h = handle_find(fs, r->in.lk.fh, i->id, false);
	struct list *l, *tmp;

	if (h != NULL)
		return h;
	/* The pump has asked for one, and does not know it yet: by the request that it asked with,
	 * the latest one of that number. */
	list_foreach(l, tmp, &i->handles)
	{
		struct handle *asked = container_of(l, struct handle, in_inode);

		if (asked->opened_by == r->in.lk.fh && !asked->dir)
			h = asked;
	}
	return h;
}

/* The pid of who among this guest's owners holds just this lock; 0: somebody else. */
static uint32_t
holder_pid(const struct inode *i, const struct flock *found)
{
	struct list *l, *tmp;

	list_foreach(l, tmp, &i->lock_owners)
	{
		struct lock_owner *o = container_of(l, struct lock_owner, in_inode);
		struct flock fl = *found;

		/* One's own locks are not in one's way. */
		fl.l_type = F_WRLCK;
		fl.l_pid = 0;
		if (fcntl(o->fd, F_OFD_GETLK, &fl) == 0 && fl.l_type == F_UNLCK)
			return o->pid;
	}
	return 0;
}

/* The lock that is in the way of this one; type F_UNLCK: none. 0 or -errno. */
static int
find_conflict(const struct inode *i, const struct handle *h, const struct fuse_lk_in *in,
	struct fuse_file_lock *ret)
{
	const struct lock_owner *o = owner_find(i, in->owner), *other;
	struct flock fl = host_range(&in->lk);
	uint64_t start, len;

	*ret = (struct fuse_file_lock){.type = F_UNLCK};
	if (lock_is_wal(i, in) && lock_wal_held(i)) {
		other = lock_wal_other(i, o);
		if (other != NULL && (fl.l_type == F_WRLCK || other->wal == F_WRLCK))
			*ret = (struct fuse_file_lock){
				in->lk.start, in->lk.end, (uint32_t)other->wal, other->pid};
		return 0;
	}
	/* Whoever has none sees all of them by a descriptor that has none. */
	if (fcntl(o != NULL ? o->fd : h->fd, F_OFD_GETLK, &fl) < 0)
		return -errno;
	if (fl.l_type == F_UNLCK)
		return 0;
	start = (uint64_t)fl.l_start;
	len = (uint64_t)fl.l_len;
	*ret = (struct fuse_file_lock){.start = start,
		.end = len == 0 ? INT64_MAX : start + len - 1,
		.type = (uint32_t)fl.l_type,
		.pid = fl.l_pid == -1 ? holder_pid(i, &fl) : 0};
	return 0;
}

int
op_getlk(struct fs *fs, struct inode *i, const struct fuse_request *r, struct buf *out)
{
	struct handle *h = handle_for_locks(fs, i, r);
	struct fuse_lk_out lo;
	int e;

	if (h == NULL)
		return -EBADF;
	if (r->in.lk.lk_flags & FUSE_LK_FLOCK || r->in.lk.lk.type == F_UNLCK)
		return -EINVAL;
	e = find_conflict(i, h, &r->in.lk, &lo.lk);
	if (e == 0)
		buf_append(out, &lo, sizeof(lo));
	return e;
}

int
op_setlk(struct fs *fs, struct inode *i, const struct fuse_request *r, struct buf *out)
{
	struct handle *h = handle_for_locks(fs, i, r);
	int e;

	(void)out;
	if (h == NULL)
		return -EBADF;
	e = set_lock(fs, h, &r->in.lk);
	if (e == -EAGAIN && r->head.opcode == FUSE_SETLKW)
		return wait_begin(fs, h, r);
	if (e == 0)
		e = granted(fs, h, r->head.unique, &r->in.lk);
	/* Also the change from an exclusive lock to a shared one lets others in. */
	try_waits(fs);
	return e;
}

int
op_flush(struct fs *fs, struct inode *i, const struct fuse_request *r, struct buf *out)
{
	struct lock_owner *o = owner_find(i, r->in.flush.lock_owner);

	(void)out;
	if (o != NULL) {
		lock_owner_free(fs, o);
		lock_wal_settle(fs, i);
		coherence_unlocked(fs, i);
		try_waits(fs);
	}
	/* Who was robbed of its lock is to know. */
	handle_find(fs, r->in.flush.fh, i->id, false);
	return fs->handle_was_lost ? -EBADF : 0;
}

bool
lock_tells_close(const struct inode *i, bool writable, bool exclusive)
{
	return (i != NULL && i->record_locked) || (writable && !exclusive);
}

void
lock_handle_gone(struct fs *fs, struct handle *h)
{
	struct list *l, *tmp;

	if (h->inode == NULL) /* lost with the last process */
		return;
	list_foreach(l, tmp, &fs->lock_waits)
	{
		struct lock_wait *w = container_of(l, struct lock_wait, all);

		if (w->handle == h)
			wait_end(fs, w, -EBADF);
	}
	list_foreach(l, tmp, &h->inode->lock_owners)
	{
		struct lock_owner *o = container_of(l, struct lock_owner, in_inode);

		if (o->handle == h)
			lock_owner_free(fs, o);
	}
	lock_wal_settle(fs, h->inode);
	coherence_unlocked(fs, h->inode);
	/* What it held is free once it is closed. */
	if (fs->nlock_waits > 0)
		fs->lock_retry_ms = clock_mono_ms();
}

/* ---- after the end of another process ---- */

static int
take_again(struct fs *fs, struct inode *i, struct lock_owner *o, const struct journal_lock *rec)
{
	struct fuse_file_lock lk = {.start = rec->start, .end = rec->end, .type = rec->type};
	struct flock fl = host_range(&lk);

	if (rec->wal)
		return lock_wal_set(fs, i, o, (short)rec->type);
	return fcntl(o->fd, F_OFD_SETLK, &fl) < 0 ? lock_error(errno) : 0;
}

bool
lock_restore(struct fs *fs, uint32_t slot, const struct journal_lock *rec)
{
	struct handle *h = handle_find(fs, rec->fh, rec->id, false);
	struct lock_owner *o;
	int r = 0;

	if (h == NULL || !lock_ranges_room(fs, F_UNLCK))
		return false;
	o = owner_find(h->inode, rec->owner);
	if (o == NULL)
		r = lock_owner_new(fs, h->inode, rec->owner, &o);
	if (r == 0) {
		h->inode->record_locked = true;
		o->handle = h;
		o->pid = rec->pid;
		lock_ranges_restore(fs, o, slot, rec);
		r = take_again(fs, h->inode, o, rec);
	}
	if (r == 0)
		return true;
	/* As NFS does it (recover_lost_locks): the program must not go on as if it had it. */
	log_warn("a lock is lost, and the open file with it: %s", strerror(-r));
	handle_lose(fs, h);
	return o != NULL;
}
