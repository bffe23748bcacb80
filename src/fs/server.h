#pragma once
/*
 * The state of one server and the seams between its files. One thread owns all of it.
 *
 *   serve.c      the loop: messages in, replies and notifications out
 *   dispatch.c   request -> handler -> reply
 *   ops_*.c      the handlers
 *   inode.c      what the guest knows: inodes by id and by identity, names, handles
 *   nodefd.c     from an inode to a descriptor, verified
 *   coherence.c  what was told to the guest against what the host has; notifications
 *   watch.c      inotify
 *   guard.c      what the guest may not do because the host would run it (hookrules.c)
 *   changes.c    the record of what the host may run later (watchlist.c)
 *   shadow.c     folders that are the sandbox's own
 *   journal.c    the tables, written where the next process finds them; restore.c: by it
 *   push.c       what the guest's pump is told ahead of files; listing.c: of folders
 *   jobs.c       threads for what may wait for a disk
 */
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include <base/buf.h>
#include <base/err.h>
#include <base/htab.h>
#include <base/list.h>
#include <fs/fs.h>
#include <wire/fuse.h>
#include <wire/fuse_line.h>
#include <wire/fuse_push.h>

#include "journal.h"

/* What the host may be made to hold for one guest. */
#define INODES_MAX    (2u << 20)
#define INODES_HIGH   (INODES_MAX / 10 * 9) /* from here on the guest is asked to forget */
#define ENTRIES_MAX   (INODES_MAX * 2)
#define NEGATIVES_MAX 32768
#define DEPTH_MAX     16384 /* folders above a file */
#define DEVICES_MAX   256
#define FDS_RESERVED  64   /* of RLIMIT_NOFILE, for everything but handles and cached folders */
#define FDS_FEW       4096 /* below, what programs hold open has the most of them */

#define TTL_WATCHED_S 3600
#define TTL_BLIND_S   1

/* The identity of a file: a number alone may be reused, and a file seen through two mounts may be
 * writable through one of them only. */
struct file_key {
	uint64_t mnt, dev, ino;
	int64_t btime_s; /* 0, 0 where the file system does not tell */
	uint32_t btime_ns;
	uint32_t type; /* S_IFMT bits */
};

/* What the guest's caches of an inode are consistent with. */
struct known {
	uint64_t size;
	int64_t mtime_s, ctime_s;
	uint32_t mtime_ns, ctime_ns;
	uint64_t at_ns; /* CLOCK_REALTIME when this was seen */
	bool valid;
	bool own; /* the last change was the guest's own */
};

struct inode {
	struct hnode by_id, by_key, by_wd;
	struct list all;
	uint64_t id;
	struct file_key key;
	bool keyed;           /* in by_key; no longer, once another file has taken its number */
	uint64_t nlookup;     /* references that the guest holds; only FORGET takes them away */
	unsigned pins;        /* uses of this inode within the current request */
	struct list names;    /* entries that lead here */
	uint64_t last_dir;    /* in which the last of them was that has gone */
	struct list children; /* entries in this folder, negative ones too */
	size_t nkids;         /* of them with a child */
	struct list reap;
	struct list handles;
	int fd;       /* O_PATH: of a folder, or of a file that may lose, or has lost, its name */
	bool fd_held; /* not to be closed before the guest forgets */
	uint64_t fd_epoch;
	unsigned fd_uses; /* of fd, within the current request */
	struct list lru;
	struct list lock_owners; /* who has had record locks */
	bool record_locked;
	bool linked;     /* has, or had, several names: not every handle is by a living one */
	int wd;          /* inotify watch, or -1 */
	uint32_t shadow; /* its number, from 1 on; 0: none */
	bool rewatch;    /* the last process watched it: not yet done here */
	struct journal_inode *record;
	uint64_t wd_retry_ms;
	struct known known;
	uint64_t version;           /* of known */
	struct list queue;          /* jobs that wait; not a list before the first */
	unsigned running, changing; /* jobs in threads; those of them that change the file */
	bool alone, event_missed;
	bool told;    /* just now: what events say of the same adds nothing */
	bool doubted; /* may have changed, which the guest is told when it has no lock any more */
	int lease_fd; /* O_PATH: the guest may open it without asking; or -1 */
	struct list lease;
	bool pushed;     /* its content, since it last changed */
	bool listed;     /* READDIRPLUS: who opens one file in there may open the next */
	uint16_t window; /* of the siblings that go with the next open in this folder */
	/* A folder's listing, as the pump was told of it: up to this position; wholly. */
	uint64_t told_pos;
	bool told_end;
	uint32_t told_count; /* names */
	uint32_t told_asked; /* of them that it has asked for since */
};

/* A name that was told to the guest: of an inode, or (child NULL) that it does not exist. */
struct entry {
	struct hnode hash;
	struct inode *parent, *child;
	struct list in_parent;
	struct list in_child; /* or in the list of negative ones */
	uint32_t slot;        /* in the journal */
	size_t len;
	char name[];
};

struct handle {
	struct list in_inode;
	struct inode *inode;
	int fd;
	uint32_t index, generation;
	int flags; /* O_ACCMODE, O_SYNC, O_DSYNC */
	bool dir, writable;
	short flock;        /* what it holds: F_RDLCK, F_WRLCK, F_UNLCK */
	uint64_t opened_by; /* the request's unique; 0: unknown */
	uint64_t lost_id;   /* of an inode that could not be opened anew; it is in no list */
	/* A folder's stream: entries read ahead, and the position of the first of them. */
	struct buf dents;
	uint64_t pos;
};

struct fs {
	struct fs_options opt;
	struct journal *journal; /* or NULL */
	uint64_t sent;           /* bytes to the stream */
	/* Since a process has died: */
	bool deaf; /* what comes from the guest is void until its nonce */
	uint8_t nonce[FUSE_LINE_NONCE];
	bool doubts;       /* journal_head has some */
	uint64_t *replied; /* uniques of which the reply is on its way, sorted */
	size_t nreplied;
	bool handle_was_lost; /* handle_find met one */
	struct buf in, out, notes;
	struct buf early; /* notifications that are to be there before the reply */
	bool freeze;      /* the supervisor wants it: when this turn is over */
	bool ready;       /* INIT was answered */
	bool push;        /* the guest's pump takes wire/fuse_push.h */
	uint64_t taken;   /* messages */
	uint16_t last_window;
	struct listing_ahead {
		size_t window, told; /* folders: to be told ahead; told since the last demand */
		uint16_t used;       /* as the pump counts them */
	} ahead;
	struct jobs *jobs; /* NULL: everything is done where it is asked */
	uint64_t mounts;   /* that have begun or ended */
	uint64_t seed;

	struct htab by_id, by_key, by_wd, entries;
	struct list inodes; /* in order of ids */
	struct list reap;   /* being freed */
	bool reaping;
	size_t ninodes, nentries, nnegatives;
	struct list negatives;
	struct inode *trim_at;
	uint64_t next_id;
	struct inode *root;
	bool stage; /* the root is a read-only tmpfs: the folders above the workspaces */
	uint64_t stage_mnt;
	uint64_t devices[DEVICES_MAX];
	size_t ndevices;

	struct handle **handles;
	size_t nhandle_slots, nhandles, handles_max, handle_hint;
	uint32_t handle_generation;
	struct list lru; /* inodes with a cached fd, oldest first */
	size_t ncached, nheld, cached_max;
	struct list leases; /* inodes with a lease_fd, oldest first */
	size_t nleases, leases_max;
	uint64_t fd_epoch; /* descriptors of folders from an earlier one are looked up again */
	uint64_t fd_epoch_ms;
	uint64_t keep_until_ms; /* files that are looked up are held on to */

	struct list lock_waits;
	size_t nlock_waits, nlock_owners, nlock_ranges;
	uint64_t lock_retry_ms; /* when those who wait are tried again; 0: nobody waits */
	uint64_t lock_pause_ms;

	struct guard *guard;     /* NULL: hooks are the guest's to write */
	struct changes *changes; /* NULL: nobody wants to know */
	struct shadow *shadows;
	size_t nshadows;

	int inotify_fd;
	bool blind; /* some folder could not be watched */
	bool blind_said, overflow_said;
	uint64_t look_at_ms;  /* when open files are looked at; 0: there is no need to */
	uint64_t watch_at_ms; /* when pending events are due; 0: none are */
	bool resync;          /* events were lost: the table is being walked */
	struct inode *resync_at;
	uint64_t resync_end;
};

/* inode.c */
int fs_tables_init(struct fs *fs, struct err *e);
void fs_tables_release(struct fs *fs);
void fs_tables_reset(struct fs *fs); /* the guest has a new mount: it knows nothing */

void file_key_of(const struct statx *st, struct file_key *ret);
/* Whether what was found is this inode's file. */
bool inode_is(const struct inode *i, const struct statx *st);
/* NULL: an id that the guest was never told, or has forgotten. */
struct inode *inode_find(const struct fs *fs, uint64_t id);
struct inode *inode_find_any(const struct fs *fs, uint64_t id); /* forgotten ones, too */
/* The inode of this file; made where it is new. NULL: too many. */
struct inode *inode_get(struct fs *fs, const struct statx *st);
/* The inode of this file where there is one already, or NULL. */
struct inode *inode_of(const struct fs *fs, const struct statx *st);
void inode_forget(struct fs *fs, uint64_t id, uint64_t n);
void inode_drop_if_unused(struct fs *fs, struct inode *i);
/* From the journal: without a key, then with it. */
struct inode *inode_restore(struct fs *fs, uint64_t id);
void inode_restored(struct fs *fs, struct inode *i);
/* The next in order of ids, for walks that survive removals (fs->resync_at, fs->trim_at). */
struct inode *inode_after(const struct fs *fs, const struct inode *i);

/* "/a/b/name" of a name in this folder, as the guest knows it, cut at the beginning to fit. */
void inode_path(
	const struct fs *fs, const struct inode *dir, const char *name, char *out, size_t size);

struct entry *entry_find(const struct fs *fs, const struct inode *dir, const char *name);
/* child NULL: the name does not exist. 0, -ENFILE, or -ELOOP for a folder in itself. */
int entry_set(struct fs *fs, struct inode *dir, const char *name, struct inode *child);
/* There is no such entry yet. */
struct entry *entry_new(struct fs *fs, struct inode *dir, const char *name, struct inode *child);
void entry_drop(struct fs *fs, struct entry *e);
/* Takes all of its names away; it stays, though it may be unused. */
void inode_unname(struct fs *fs, struct inode *i);
/* The name is no longer known to exist or not to. */
void entry_unset(struct fs *fs, struct inode *dir, const char *name);

/* handle.c: fd is taken, on failure too; flags: how it was opened. fh or -errno. */
int handle_open(struct fs *fs, struct inode *i, int fd, bool dir, int flags, uint64_t *ret_fh);
bool handle_room(const struct fs *fs);
struct handle *handle_find(struct fs *fs, uint64_t fh, uint64_t id, bool dir);
void handle_close(struct fs *fs, struct handle *h);
/* After handle_find found none: closes one that is lost. 0 or -EBADF. */
int handle_close_lost(struct fs *fs, uint64_t fh, uint64_t id);
/* From the journal. Where the file cannot be opened or locked, the handle is there, but lost:
 * -errno. */
int handle_restore(struct fs *fs, uint32_t index, const struct journal_handle *rec);
/* From now on every use of it is EIO, but its release. */
void handle_lose(struct fs *fs, struct handle *h);
static inline uint64_t
handle_fh(const struct handle *h)
{
	return (uint64_t)h->generation << 32 | h->index;
}
struct handle *handle_any(const struct inode *i);
/*
 * The descriptor of the guest's handle; for FUSE_PUSH_FH the inode's own file, opened for reading,
 * which *ret_opened owns. fd or -errno.
 */
int handle_fd(struct fs *fs, struct inode *i, uint64_t fh, bool dir, int *ret_opened);

/*
 * nodefd.c: a descriptor for an inode, usually O_PATH, verified to be that inode. Single path
 * components below folders that are held open, never following a symlink.
 */
struct nodefd {
	struct fs *fs;
	struct inode *inode;
	int fd;
	bool owned;
};
#define NODEFD_INIT                                                                                \
	{                                                                                          \
		.fd = -1                                                                           \
	}
#define CLEAN_NODEFD __attribute__((cleanup(nodefd_put)))
int nodefd_get(struct fs *fs, struct inode *i, struct nodefd *ret); /* 0, -ESTALE, -errno */
void nodefd_put(struct nodefd *n);
/* The inode's own file, opened for data. Regular files and folders only: -EINVAL. fd or -errno. */
int nodefd_reopen(const struct nodefd *n, int flags);
int inode_stat(struct fs *fs, struct inode *i, struct statx *ret);
int stat_at(int dirfd, const char *name, struct statx *ret); /* name "": dirfd itself */
/*
 * A file that loses a name must stay reachable until the guest forgets it. Before the loss: a
 * descriptor of what the guest knows under that name, or -1; after it: nodefd_hold takes that.
 */
struct held {
	struct inode *inode;
	int fd;
};
#define HELD_INIT                                                                                  \
	{                                                                                          \
		.fd = -1                                                                           \
	}
void nodefd_before_loss(
	struct fs *fs, struct inode *dir, int dirfd, const char *name, struct held *ret);
void nodefd_hold(struct fs *fs, struct held *h);
void held_release(struct held *h);
/*
 * A file has lost one of several names, or got its first. What is done through a descriptor is told
 * to those who watch the folder of the name by which it was opened, even when that name is gone: so
 * open handles are opened anew by a name that is there.
 */
void nodefd_follow(struct fs *fs, struct inode *i);
#define CLEAN_HELD __attribute__((cleanup(held_release)))
void nodefd_drop_cached(struct fs *fs, struct inode *i);
/*
 * Where the host replaces a file all the time, what was looked up is gone before it is opened, and
 * the guest's kernel looks it up again only once. So for a while after an ESTALE, files that are
 * looked up are held on to, as folders are.
 */
int nodefd_open_kept(struct fs *fs, int dirfd, const char *name); /* or -1 */
void nodefd_keep(struct fs *fs, struct inode *i, int taken);
void nodefd_was_stale(struct fs *fs);
/* Names lead elsewhere from one moment to the next: they are not told ahead for a while. */
bool nodefd_is_stale(const struct fs *fs);
/* Forget where folders are: each is looked up again from the root before its next use. */
void nodefd_new_epoch(struct fs *fs);
/* "17" for descriptor 17: its name in fs->opt.proc_fd, which is also the working folder. */
struct fd_name {
	char s[12];
};
struct fd_name fd_name(int fd);

/* coherence.c */
/* Size and modification time are as the guest knows them. */
bool coherence_same_data(const struct inode *i, const struct statx *st);
/* The guest is being told these attributes, in the reply. */
void coherence_tell(struct fs *fs, struct inode *i, const struct statx *st);
/* The same, of an inode that is known, where nothing else of the request holds a descriptor. */
void coherence_tell_asked(struct fs *fs, struct inode *i, const struct statx *st);
/* They were seen, but the reply does not hold them. */
void coherence_see(struct fs *fs, struct inode *i, const struct statx *st);
/* Around a change that the guest makes to a file's content or attributes. */
void coherence_before(struct fs *fs, struct inode *i, int fd);
void coherence_after(struct fs *fs, struct inode *i, int fd);
void coherence_own(struct inode *i, const struct statx *st);
/* The guest is to look at this name again. */
void coherence_forget_entry(struct fs *fs, struct inode *dir, const char *name);
/* A lock has been given back: perhaps the last one. */
void coherence_unlocked(struct fs *fs, struct inode *i);
/* Whoever has got a lock must see what was written under it before: whether or not times tell. */
void coherence_fresh(struct fs *fs, struct inode *i, int fd);
/*
 * An open is to come, by which the guest's program sees what the host has. What is to be dropped
 * goes before the reply. True: something is. Nothing of the request holds a descriptor yet.
 */
bool coherence_before_open(struct fs *fs, struct inode *i);
/* At an open: true where the guest may keep the pages that it has. */
bool coherence_keep_cache(struct fs *fs, struct inode *i, int fd);
/* What an event was about: a name; its deletion; what is in a file. */
enum { CHECK_NAMES = 1, CHECK_DELETED = 2, CHECK_DATA = 4 };
/* An event: compare with the host, tell the guest what differs. */
void coherence_check_inode(struct fs *fs, struct inode *i, unsigned how);
void coherence_check_entry(struct fs *fs, struct inode *dir, const char *name, unsigned how);
/* It is not watched any more: the guest is told to ask again, and gets short times then. */
void coherence_unwatched(struct fs *fs, struct inode *i);
/* Every second, while some folder is not watched. */
void coherence_look_at_open(struct fs *fs);
/* Events were lost: everything is compared, a piece at a time. */
void coherence_resync_start(struct fs *fs);
void coherence_resync_step(struct fs *fs);
uint64_t coherence_attr_ttl(const struct inode *i, const struct statx *st);
uint64_t coherence_entry_ttl(const struct inode *dir);
void note_inval_inode(struct fs *fs, uint64_t id, int64_t off);
void note_inval_entry(struct fs *fs, uint64_t dir, const char *name);
void note_inval_listing(struct fs *fs, struct inode *dir);
/* Asks the guest to forget some of what it has. */
void coherence_trim(struct fs *fs);

/* watch.c */
void watch_init(struct fs *fs);
void watch_release(struct fs *fs);
/* To be called before the first look into a folder. */
void watch_folder(struct fs *fs, struct inode *dir);
/* A file whose changes its folder's watch would not show. */
void watch_file(struct fs *fs, struct inode *i);
void watch_drop(struct fs *fs, struct inode *i);
void watch_read(struct fs *fs);

/* guard.c */
void guard_init(struct fs *fs);
void guard_release(struct fs *fs);
/* Before a request is carried out: 0 or -EPERM. */
int guard_request(struct fs *fs, struct inode *i, const struct fuse_request *r);

/* Whether git would take it for a repository's own folder, now or soon. */
bool guard_is_git_folder(int dirfd);

/* changes.c: each before the request is carried out */
void changes_init(struct fs *fs);
void changes_release(struct fs *fs);
void changes_touch(struct fs *fs, struct inode *dir, const char *name);
void changes_touch_file(struct fs *fs, const struct inode *i); /* by each of its names */
/* A folder and all in it: what it holds goes from one watched name or to another. */
void changes_touch_moved(
	struct fs *fs, struct inode *from, const char *name, struct inode *to, const char *name2);
void changes_refused(struct fs *fs, const struct inode *dir, const char *name);
/* Tells what is due; readable: the supervisor has asked. */
void changes_turn(struct fs *fs, bool readable);
uint64_t changes_due_ms(const struct fs *fs); /* 0: nothing is */
void changes_end(struct fs *fs);

/* shadow.c */
int shadow_init(struct fs *fs, struct err *e);
void shadow_release(struct fs *fs);
/* The shadow of this name in this folder, or NULL. */
struct shadow *shadow_find(const struct fs *fs, const struct inode *dir, const char *name);
const char *shadow_name(const struct shadow *s);
/* Whether one is in this folder, or may come to be when folders above it are moved. */
bool shadow_may_be_in(const struct fs *fs, const struct inode *dir);
/* As entry_fill: what the guest is told of it; takes one lookup reference. */
int shadow_fill(struct fs *fs, struct shadow *s, struct fuse_entry_out *ret);
/*
 * A folder's listing begins with its shadows: the first of them at or behind this position, and the
 * position behind it. False: none, what the host has comes next, from shadow_real_pos.
 */
bool shadow_listed(const struct fs *fs, const struct inode *dir, uint64_t pos, struct shadow **ret,
	uint64_t *ret_next);
/* An inode of the last process: this shadow's. The guest has mounted its own folder there. */
bool shadow_restore(struct fs *fs, struct inode *i, uint32_t number);
uint64_t shadow_real_pos(const struct fs *fs, uint64_t pos);
/*
 * restore.c: the tables as the journal has them, the mark in fs->out. fs->journal is j then. On
 * failure nothing can be served.
 */
int restore(struct fs *fs, struct journal *j, struct err *e);
enum restore_again {
	RESTORE_HANDLE,  /* handle it */
	RESTORE_REPLIED, /* its reply is on its way */
	RESTORE_REFUSE,  /* EIO, and restore_refused */
};
enum restore_again restore_check(struct fs *fs, const struct fuse_request *r);
void restore_refused(struct fs *fs, const struct fuse_request *r);
/* push.c: nothing, where the guest's end does not take it */
bool push_wanted(const struct fs *fs, const struct inode *i);
/* The beginning of what is told of an inode; so many bytes follow. */
void push_head(struct fs *fs, struct buf *to, enum fuse_push_code code, struct inode *i,
	const struct statx *st, size_t content);
void push_attr(struct fs *fs, struct inode *i, const struct statx *st);
/* A file was opened for reading, as fd: it and its siblings, for the next ones that want them. */
void push_opened(struct fs *fs, struct inode *i, int fd);
void push_folder(struct fs *fs, struct inode *dir, int fd);
/* What the pump was told of it is void. */
void push_void(struct fs *fs, struct inode *i);
/* Likewise of the folders in which it has a name. */
void push_void_names(struct fs *fs, const struct inode *i);
void lease_drop(struct fs *fs, struct inode *i);
/* By the host's doing it has lost its name: who has it open may go on. */
void lease_hold(struct fs *fs, struct inode *i);
/* It was held without a name, and has one again: which may be lost as the first was. */
void lease_renew(struct fs *fs, struct inode *i);

/* listing.c: the same for what folders hold. Each is called before the reply is made. */
void listing_looked_up(struct fs *fs, struct inode *dir, const struct fuse_request *r);
/* The folder is being opened, or read from this position on. False: it cannot be told of. */
bool listing_read(struct fs *fs, struct inode *dir, const struct fuse_request *r, uint64_t pos);
/* The guest has just made it. */
void listing_made(struct fs *fs, struct inode *dir);

/* ops_dir.c: records as READDIRPLUS has them, from *pos on, at most so many bytes. The folder is
 * open as fd. *ret_end: nothing comes behind them. Returns their number or -errno. */
int dir_read_plus(struct fs *fs, struct inode *dir, int fd, uint64_t *pos, size_t size,
	struct buf *out, bool *ret_end);

/*
 * jobs.c: data operations in threads. OP_LATER: the reply is on its way; else as a handler. The
 * descriptors stay the caller's. fd2: COPY's source, or -1.
 */
enum { OP_LATER = 1 };
enum job_kind {
	JOB_READ,
	JOB_WRITE,
	JOB_COPY,
	JOB_FALLOCATE,
	JOB_FSYNC,
	JOB_SYNCFS,
	JOB_STATFS,
};
int job_do(struct fs *fs, struct inode *i, const struct fuse_request *r, enum job_kind kind, int fd,
	int fd2, struct buf *out);
int jobs_init(struct fs *fs, struct err *e);
/* The tables are still there, and nothing is served any more. */
void jobs_release(struct fs *fs);
int jobs_event_fd(const struct fs *fs);
bool jobs_full(const struct fs *fs);
bool jobs_any(const struct fs *fs);
/* Replies of what is done, until fs->out is that long. */
void jobs_finish(struct fs *fs, size_t out_max);

/* dispatch.c: a reply in fs->out: its body goes between the two. Then what was queued with it. */
size_t reply_begin(struct fs *fs);
void reply_end(struct fs *fs, size_t start, uint64_t unique, int error);

/* dispatch.c: one whole message; the reply is appended to out, and notes after it. */
int dispatch(struct fs *fs, const uint8_t *p, size_t n);

/* ops_lock.c: replies to those who wait are put into fs->notes. */
void lock_retry(struct fs *fs);
void lock_interrupt(struct fs *fs, uint64_t unique);
void lock_handle_gone(struct fs *fs, struct handle *h);
/* By anybody in this guest, in whatever way. */
bool lock_is_held(const struct inode *i);
/* flock(2) by the handle's descriptor, without waiting. 0, -EAGAIN, -errno. */
int lock_flock(struct fs *fs, struct handle *h, short type);
/* From the journal, with the handle that it was taken by. False: it is not there to be had. */
bool lock_restore(struct fs *fs, uint32_t slot, const struct journal_lock *rec);
/*
 * Whether the guest is to say (FLUSH) when a process closes a file that it is opening: at once
 * where there were record locks on it before, and where there may be some. Nobody takes them on a
 * file that only it can know (O_EXCL), hardly anybody on one that is open for reading alone.
 */
bool lock_tells_close(const struct inode *i, bool writable, bool exclusive);

/* Handlers: append their reply's body to out and return 0, or -errno; or OP_LATER, with nothing
 * appended: the reply will be in fs->notes one day. */
typedef int op_fn(struct fs *fs, struct inode *i, const struct fuse_request *r, struct buf *out);
op_fn op_lookup, op_symlink, op_mknod, op_mkdir, op_unlink, op_rmdir, op_rename, op_link;
op_fn op_getattr, op_setattr, op_readlink, op_statfs, op_syncfs;
op_fn op_open, op_create, op_tmpfile, op_read, op_write, op_release, op_fsync;
op_fn op_getlk, op_setlk, op_flush;
op_fn op_fallocate, op_lseek, op_copy_file_range;
op_fn op_opendir, op_readdir, op_readdirplus, op_releasedir, op_fsyncdir;
op_fn op_setxattr, op_getxattr, op_listxattr, op_removexattr;
op_fn op_init, op_forget, op_batch_forget;

/* ops_attr.c */
void attr_fill(struct fs *fs, const struct statx *st, struct fuse_attr *ret);
uint64_t attr_ino(struct fs *fs, const struct statx *st, uint64_t ino);
/* ops_name.c: a name as the guest is told of it; takes one lookup reference. */
int entry_fill(struct fs *fs, struct inode *dir, const char *name, const struct statx *st, bool own,
	struct fuse_entry_out *ret);
/* As entry_fill for a file that the guest has just made in the folder of dirfd. */
int entry_made(struct fs *fs, struct inode *dir, int dirfd, const char *name,
	const struct statx *st, struct fuse_entry_out *ret);
/* What of a mode the guest may set: no set-user-ID, no set-group-ID on files. */
mode_t mode_allowed(mode_t type, mode_t mode);
