#pragma once
/* Between ops_lock.c, lock_ranges.c, lock_wal.c and journal.c. */
#include "server.h"

#define LOCK_RANGES_MAX 16384

/* A process, or an open file, that has had record locks on a file. */
struct lock_owner {
	struct list in_inode;
	uint64_t owner;
	int fd;
	struct handle *handle; /* by which it last took one; NULL: the whole guest (lock_wal.c) */
	uint32_t pid;
	short wal; /* its lock on a WAL index: F_RDLCK, F_WRLCK or F_UNLCK */
	struct list ranges;
};

/* What it holds, as the host's kernel has it too. */
struct lock_range {
	struct list in_owner;
	uint64_t start, end; /* the last byte */
	short type;          /* F_RDLCK, F_WRLCK */
	bool wal;
	uint32_t slot; /* in the journal */
};

/* With a descriptor of its own on the file. 0, -ENOLCK, -errno. */
int lock_owner_new(struct fs *fs, struct inode *i, uint64_t owner, struct lock_owner **ret);
void lock_owner_free(struct fs *fs, struct lock_owner *o);

/* lock_ranges.c: whether there is room for what a lock of this type may add. */
bool lock_ranges_room(const struct fs *fs, short type);
/* o has got, or given back, these bytes; o->handle and o->pid are up to date. */
void lock_ranges_set(struct fs *fs, struct lock_owner *o, uint64_t start, uint64_t end, short type);
void lock_ranges_wal(struct fs *fs, struct lock_owner *o);
/* o->handle has changed. */
void lock_ranges_handle(struct fs *fs, struct lock_owner *o);
void lock_ranges_restore(
	struct fs *fs, struct lock_owner *o, uint32_t slot, const struct journal_lock *rec);
void lock_ranges_free(struct fs *fs, struct lock_owner *o);

#define LOCK_WAL_DMS 128 /* the byte */
/* Whether this lock says that somebody uses SQLite's index of a write-ahead log. */
bool lock_is_wal(const struct inode *i, const struct fuse_lk_in *in);
/* o takes it, or lets go of it. 0, -EAGAIN, -errno. */
int lock_wal_set(struct fs *fs, struct inode *i, struct lock_owner *o, short type);
/* Who of the other owners has it, in whatever way; or NULL. */
const struct lock_owner *lock_wal_other(const struct inode *i, const struct lock_owner *o);
bool lock_wal_held(const struct inode *i);
/* Some owner has gone: the host may have it when none is left. */
void lock_wal_settle(struct fs *fs, struct inode *i);
