/*
 * A database of SQLite in WAL mode has beside it an index, NAME-shm, that all its users map into
 * their memory and write to without system calls. Between the guest and the host, or two guests,
 * that memory is not one: each would write over what the other has committed. So only one of them
 * may use a database at a time, and the other is told what SQLite's programs know how to wait for:
 * SQLITE_BUSY, the database is locked.
 *
 * SQLite's users each hold a shared lock on one byte of the index, the "dead man's switch", for as
 * long as they have it open (www.sqlite.org/walformat.html, WAL_DMS in os_unix.c). In the guest
 * they share it, and it is here that it is kept; towards the host the guest as a whole holds it, or
 * not, exclusively. As long as the host's programs hold it, the guest's do not get it.
 */
#include <errno.h>
#include <fcntl.h>

#include <base/str.h>

#include "lock.h"

static bool
is_index(const struct inode *i)
{
	struct list *l, *tmp;

	list_foreach(
		l, tmp, &i->names) if (str_has_suffix(container_of(l, struct entry, in_child)->name,
					       "-shm")) return true;
	return false;
}

bool
lock_is_wal(const struct inode *i, const struct fuse_lk_in *in)
{
	return !(in->lk_flags & FUSE_LK_FLOCK) && in->lk.start == LOCK_WAL_DMS &&
	       in->lk.end == LOCK_WAL_DMS && is_index(i);
}

static struct lock_owner *
whole_guest(const struct inode *i)
{
	struct list *l, *tmp;

	list_foreach(l, tmp, &i->lock_owners)
	{
		struct lock_owner *o = container_of(l, struct lock_owner, in_inode);

		if (o->handle == NULL)
			return o;
	}
	return NULL;
}

bool
lock_wal_held(const struct inode *i)
{
	return whole_guest(i) != NULL;
}

const struct lock_owner *
lock_wal_other(const struct inode *i, const struct lock_owner *self)
{
	struct list *l, *tmp;

	list_foreach(l, tmp, &i->lock_owners)
	{
		const struct lock_owner *o = container_of(l, struct lock_owner, in_inode);

		if (o != self && o->handle != NULL && o->wal != F_UNLCK)
			return o;
	}
	return NULL;
}

static int
keep_host_out(struct fs *fs, struct inode *i)
{
	struct flock fl = {.l_type = F_WRLCK, .l_start = LOCK_WAL_DMS, .l_len = 1};
	struct lock_owner *o;
	int r;

	if (lock_wal_held(i))
		return 0;
	r = lock_owner_new(fs, i, 0, &o);
	if (r < 0)
		return r;
	if (fcntl(o->fd, F_OFD_SETLK, &fl) < 0) {
		r = errno == EACCES ? -EAGAIN : -errno;
		lock_owner_free(fs, o);
	}
	return r;
}

void
lock_wal_settle(struct fs *fs, struct inode *i)
{
	struct lock_owner *o = whole_guest(i);

	if (o != NULL && lock_wal_other(i, NULL) == NULL)
		lock_owner_free(fs, o);
}

int
lock_wal_set(struct fs *fs, struct inode *i, struct lock_owner *o, short type)
{
	const struct lock_owner *other = lock_wal_other(i, o);
	int r = 0;

	if (other != NULL && (type == F_WRLCK || (type == F_RDLCK && other->wal == F_WRLCK)))
		return -EAGAIN;
	if (type != F_UNLCK)
		r = keep_host_out(fs, i);
	if (r < 0)
		return r;
	o->wal = type;
	lock_ranges_wal(fs, o);
	lock_wal_settle(fs, i);
	return 0;
}
