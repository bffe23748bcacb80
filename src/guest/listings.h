#pragma once
/*
 * What the host has told of folders' names (FUSE_PUSH_LISTING), so that the pump can answer LOOKUP
 * and READDIRPLUS. Pure, and without a lock: the caller has one around every call.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <base/buf.h>
#include <base/htab.h>
#include <base/list.h>
#include <wire/fuse_push.h>

#define LISTINGS_REVOKED 8192

struct listings {
	struct htab by_dir;
	struct list lru; /* oldest first */
	size_t nrecords;
	uint64_t notes;                     /* notifications about inodes, and listings */
	uint64_t revoked[LISTINGS_REVOKED]; /* `notes` at the last of them, by hash of the inode */
	struct buf unused; /* struct fuse_forget_one: what the kernel does not have, or no longer */
	uint16_t used;     /* folders of which something was given */
};

void listings_init(struct listings *l);
void listings_release(struct listings *l);
void listings_drop_all(struct listings *l);
void listings_drop(struct listings *l, uint64_t dir);
/* A piece: what follows struct fuse_push. Malformed: nothing of it is taken. */
void listings_take(struct listings *l, const struct fuse_push *p, const uint8_t *body, size_t n);
/* As listings_take for what comes too late: its references are given back. */
void listings_refuse(struct listings *l, const uint8_t *body, size_t n);
/* The host has said that the inode's attributes are others. */
void listings_revoke(struct listings *l, uint64_t id);
/* The guest makes or takes away this name (NULL: any). */
void listings_touch(struct listings *l, uint64_t dir, const char *name);

/* Whether what the host knew after so many messages is still true of this inode. */
struct listings_check {
	bool (*holds)(void *arg, const struct fuse_attr *attr, uint64_t id, uint64_t seen);
	void *arg;
};

enum listings_what {
	LISTINGS_UNKNOWN,
	LISTINGS_FOUND, /* in *ret, with a reference that is the kernel's now */
	LISTINGS_ABSENT,
};
enum listings_what listings_lookup(struct listings *l, const struct listings_check *c, uint64_t dir,
	const char *name, struct fuse_entry_out *ret);
/* The reply's body to READDIRPLUS is appended to out. False: the host is to be asked. */
bool listings_read(struct listings *l, const struct listings_check *c, uint64_t dir,
	uint64_t offset, size_t size, struct buf *out);

/* The kernel has forgotten the inode, too. */
void listings_forget(struct listings *l, uint64_t id, uint64_t nlookup);
/* BATCH_FORGET of what is not used, whole, put into out. False: there is none. */
bool listings_give_back(struct listings *l, struct buf *out);
