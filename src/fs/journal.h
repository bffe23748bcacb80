#pragma once
/*
 * What the guest was told, in memory that outlives this process: inodes, names, open handles,
 * locks, and the replies and notifications that may not be in the stream yet. The supervisor holds
 * the memory (a sealed memfd) and hands it to the next fs role when this one dies (restore.c). It
 * is written in place as the tables in server.h change; reading it is pure and trusts nothing, for
 * the role that wrote it may have been the guest's by then.
 *
 * A process may be killed between any two stores, never within one: what makes a record valid is
 * written last and taken away first. Mounts have other ids in the next process, so an inode's is an
 * index here, of no meaning but that it is its parent's or not.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <base/err.h>

#define JOURNAL_VERSION 2
#define JOURNAL_CLASSES 3
#define JOURNAL_MOUNTS  256
#define JOURNAL_DEVICES 256
#define JOURNAL_DOUBTS  16
#define JOURNAL_REPLY_MAX                                                                          \
	4096 /* longer ones only answer what may be asked twice: READ, READDIR, ... */
#define JOURNAL_NONE UINT32_MAX

struct journal_caps {
	uint32_t inodes, handles, locks, entries[JOURNAL_CLASSES], ring;
};

/* A request that was being handled when a process ended. */
struct journal_doubt {
	uint64_t unique; /* 0: none */
	uint32_t opcode;
	uint32_t times; /* that a process has ended over it, before the latest */
};

struct journal_head {
	uint64_t magic;
	uint32_t version;
	uint32_t processes;  /* that have begun to write here */
	uint32_t incomplete; /* something did not fit: of no use to another process */
	uint32_t ready;      /* INIT was answered: JOURNAL_READY, and how */
	uint32_t ninodes, nhandles, nlocks, nentries[JOURNAL_CLASSES]; /* slots ever used */
	uint32_t nmounts;
	uint32_t ndevices;
	uint32_t handle_generation;
	uint64_t ring_head, ring_tail; /* bytes ever written, bytes that are in the stream */
	struct journal_doubt running;
	struct journal_doubt doubts[JOURNAL_DOUBTS];
	uint64_t devices[JOURNAL_DEVICES];
};

enum {
	JOURNAL_READY = 1,
	JOURNAL_PUSH = 2, /* wire/fuse_push.h is understood */
};

enum {
	JOURNAL_KNOWN = 1, /* the fields from size to at_ns */
	JOURNAL_OWN = 2,
	JOURNAL_LINKED = 4,
	JOURNAL_WATCHED = 8,
	JOURNAL_SHADOW_SHIFT = 8, /* above it: the shadow's number */
};

struct journal_inode {
	uint64_t id; /* 0: free */
	uint64_t nlookup;
	uint64_t dev, ino;
	int64_t btime_s;
	uint32_t btime_ns, type, mount;
	uint32_t flags;
	uint64_t size;
	int64_t mtime_s, ctime_s;
	uint32_t mtime_ns, ctime_ns;
	uint64_t at_ns;
};

struct journal_handle {
	uint64_t id; /* 0: free */
	uint64_t opened_by;
	uint32_t generation, flags;
	uint8_t dir, lost; /* lost: not to be opened again */
	uint16_t flock;    /* F_RDLCK, F_WRLCK, F_UNLCK */
};

/*
 * A range that an owner holds. While it is being changed there may be two over the same bytes: the
 * owner has the stronger one.
 */
struct journal_lock {
	uint64_t id; /* the file; 0: free */
	uint64_t owner, fh;
	uint64_t start, end;
	uint32_t pid;
	uint16_t type; /* F_RDLCK, F_WRLCK */
	uint16_t wal;  /* lock_wal.c */
};

/* Followed by the name, without a NUL. Three classes of records by the names' lengths. */
struct journal_entry {
	uint32_t parent; /* slot */
	uint32_t child;  /* slot, or JOURNAL_NONE: the name does not exist */
	uint16_t len;    /* 0: free */
};

struct journal_name {
	uint32_t parent, child;
	char name[256];
};

struct journal_slots {
	uint32_t *v;
	size_t n, cap;
};

struct journal {
	struct journal_head *head;
	struct journal_inode *inodes;
	struct journal_handle *handles;
	struct journal_lock *locks;
	uint8_t *entries[JOURNAL_CLASSES], *ring;
	struct journal_caps caps;
	size_t size;
	/* This process's own. */
	bool told;
	struct journal_slots free_inodes, free_locks, free_entries[JOURNAL_CLASSES];
	uint64_t mounts[JOURNAL_MOUNTS];
	/* When so much has been sent, the ring is done with up to there. */
	uint64_t check_wire, check_ring;
	bool check;
};

/* journal.c */
size_t journal_size(const struct journal_caps *caps);
/* Lays the memory out. 0 or -EINVAL where it is too small. */
int journal_view(struct journal *j, void *base, size_t size, const struct journal_caps *caps);
void journal_release(struct journal *j);
/* Maps what fs_journal_new made. */
int journal_open(int fd, struct journal **ret, struct err *e);
void journal_close(struct journal *j);
/* True where another process has written here, and restore() is next. */
bool journal_begin(struct journal *j);

struct fs;
struct inode;
struct entry;
struct handle;
struct lock_owner;
struct lock_range;

/* All of them do nothing where fs->journal is NULL. */
void journal_inode_add(struct fs *fs, struct inode *i);
void journal_inode_key(struct fs *fs, struct inode *i);
void journal_inode(struct inode *i); /* its references, flags and what is known */
void journal_inode_drop(struct fs *fs, struct inode *i);
void journal_entry_add(struct fs *fs, struct entry *en);
void journal_entry_drop(struct fs *fs, struct entry *en);
void journal_handle_add(struct fs *fs, const struct handle *h);
/* Its lock, and the request that opened it. */
void journal_handle(struct fs *fs, const struct handle *h);
void journal_handle_lost(struct fs *fs, const struct handle *h);
void journal_handle_drop(struct fs *fs, uint32_t index);
/* Adds, or writes again what differs. */
void journal_lock(struct fs *fs, const struct lock_owner *o, struct lock_range *r);
void journal_lock_drop(struct fs *fs, struct lock_range *r);
void journal_ready(struct fs *fs);
void journal_device(struct fs *fs);
/* Slots that hold nothing of use. */
void journal_free_inode(struct journal *j, uint32_t slot);
void journal_free_entry(struct journal *j, unsigned class, uint32_t slot);
void journal_free_lock(struct journal *j, uint32_t slot);
/* A request is about to be handled; its answer is in out. */
void journal_request(struct fs *fs, uint64_t unique, uint32_t opcode);
void journal_answered(struct fs *fs, const uint8_t *msg, size_t n);
/* A notification, which will be sent behind everything that is in fs->out by then. */
void journal_note(struct fs *fs, const uint8_t *msg, size_t n);
/* fs->sent has grown; no notification is waiting. */
void journal_sent(struct fs *fs);

/* journal_read.c: pure. What they return is valid in itself, whatever the memory holds. */
bool journal_read_head(const struct journal *j, struct journal_head *ret);
bool journal_read_inode(const struct journal *j, uint32_t slot, struct journal_inode *ret);
bool journal_read_handle(const struct journal *j, uint32_t index, struct journal_handle *ret);
bool journal_read_lock(const struct journal *j, uint32_t slot, struct journal_lock *ret);
bool journal_read_entry(
	const struct journal *j, unsigned class, uint32_t slot, struct journal_name *ret);
/* The next message from *at (at first ring_tail) on; a FUSE reply or notification. */
bool journal_read_message(
	const struct journal *j, uint64_t *at, const uint8_t **ret_msg, size_t *ret_len);
uint32_t journal_entry_size(unsigned class);
