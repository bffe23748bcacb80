/*
 * How this works: which bytes an owner has locked is the host's kernel's to know; it is known here
 * too, for the journal, so that the next process can lock the same. Ranges of one type that meet
 * become one, as in the kernel (posix_lock_inode in fs/locks.c), so that their number is the
 * kernel's, too.
 *
 * A process may end between any two changes of the journal: what is new is added before what it
 * takes the place of goes. The request that was being handled is done again by the next process.
 */
#include <fcntl.h>
#include <stdlib.h>

#include <base/mem.h>

#include "lock.h"

/* Kept for unlocking, which may split a range. */
#define RESERVE 256

bool
lock_ranges_room(const struct fs *fs, short type)
{
	size_t max = type == F_UNLCK ? LOCK_RANGES_MAX : LOCK_RANGES_MAX - RESERVE;

	return fs->nlock_ranges + 2 <= max;
}

static struct lock_range *
range_new(struct fs *fs, struct lock_owner *o, uint64_t start, uint64_t end, short type)
{
	struct lock_range *r = xcalloc(1, sizeof(*r));

	r->start = start;
	r->end = end;
	r->type = type;
	r->slot = JOURNAL_NONE;
	list_add_tail(&o->ranges, &r->in_owner);
	fs->nlock_ranges++;
	return r;
}

static void
range_free(struct fs *fs, struct lock_range *r)
{
	journal_lock_drop(fs, r);
	list_del(&r->in_owner);
	free(r);
	fs->nlock_ranges--;
}

static void
range_add(struct fs *fs, struct lock_owner *o, uint64_t start, uint64_t end, short type)
{
	journal_lock(fs, o, range_new(fs, o, start, end, type));
}

/* Those of the same type that it meets, and their places in the journal, become part of it. */
static struct lock_range *
add_merged(struct fs *fs, struct lock_owner *o, uint64_t start, uint64_t end, short type)
{
	struct lock_range *fresh = range_new(fs, o, start, end, type);
	struct list *l, *tmp;

	list_foreach(l, tmp, &o->ranges)
	{
		const struct lock_range *r = container_of(l, struct lock_range, in_owner);

		if (r == fresh || r->wal || r->type != type || r->start > end + 1 ||
			r->end + 1 < start)
			continue;
		fresh->start = r->start < fresh->start ? r->start : fresh->start;
		fresh->end = r->end > fresh->end ? r->end : fresh->end;
	}
	journal_lock(fs, o, fresh);
	return fresh;
}

/* What is left of it without the bytes from start to end. */
static void
cut(struct fs *fs, struct lock_owner *o, struct lock_range *r, uint64_t start, uint64_t end)
{
	bool left = r->start<start, right = r->end> end;

	if (left && right)
		range_add(fs, o, end + 1, r->end, r->type);
	if (left)
		r->end = start - 1;
	else if (right)
		r->start = end + 1;
	if (left || right)
		journal_lock(fs, o, r);
	else
		range_free(fs, r);
}

void
lock_ranges_set(struct fs *fs, struct lock_owner *o, uint64_t start, uint64_t end, short type)
{
	struct lock_range *fresh = type != F_UNLCK ? add_merged(fs, o, start, end, type) : NULL;
	struct list *l, *tmp;

	list_foreach(l, tmp, &o->ranges)
	{
		struct lock_range *r = container_of(l, struct lock_range, in_owner);

		if (r == fresh || r->wal)
			continue;
		if (fresh != NULL && r->type == type && r->start >= fresh->start &&
			r->end <= fresh->end)
			range_free(fs, r);
		else if (r->start <= end && r->end >= start)
			cut(fs, o, r, start, end);
	}
}

static struct lock_range *
find_wal(const struct lock_owner *o)
{
	struct list *l, *tmp;

	list_foreach(l, tmp, &o->ranges)
	{
		struct lock_range *r = container_of(l, struct lock_range, in_owner);

		if (r->wal)
			return r;
	}
	return NULL;
}

void
lock_ranges_wal(struct fs *fs, struct lock_owner *o)
{
	struct lock_range *r = find_wal(o);

	if (o->wal == F_UNLCK) {
		if (r != NULL)
			range_free(fs, r);
		return;
	}
	if (r == NULL)
		r = range_new(fs, o, LOCK_WAL_DMS, LOCK_WAL_DMS, o->wal);
	r->wal = true;
	r->type = o->wal;
	journal_lock(fs, o, r);
}

void
lock_ranges_handle(struct fs *fs, struct lock_owner *o)
{
	struct list *l, *tmp;

	list_foreach(l, tmp, &o->ranges)
		journal_lock(fs, o, container_of(l, struct lock_range, in_owner));
}

void
lock_ranges_restore(
	struct fs *fs, struct lock_owner *o, uint32_t slot, const struct journal_lock *rec)
{
	struct lock_range *r = range_new(fs, o, rec->start, rec->end, (short)rec->type);

	r->wal = rec->wal;
	r->slot = slot;
}

void
lock_ranges_free(struct fs *fs, struct lock_owner *o)
{
	struct list *l, *tmp;

	list_foreach(l, tmp, &o->ranges)
		range_free(fs, container_of(l, struct lock_range, in_owner));
}
