/*
 * How this works: an inode lives as long as the guest holds references to it (LOOKUP and its kin
 * add one each, FORGET takes them away), a handle is open, or a name below it is still known. Ids
 * are never used twice. A hostile guest may forget a folder before what is in it; such a folder
 * stays, unreachable by its id, until its last known name goes.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include <base/clock.h>
#include <base/mem.h>

#include "server.h"

void
file_key_of(const struct statx *st, struct file_key *ret)
{
	*ret = (struct file_key){
		.mnt = st->stx_mask & STATX_MNT_ID ? st->stx_mnt_id : 0,
		.dev = (uint64_t)st->stx_dev_major << 32 | st->stx_dev_minor,
		.ino = st->stx_ino,
		.type = st->stx_mode & S_IFMT,
	};
	if (st->stx_mask & STATX_BTIME) {
		ret->btime_s = st->stx_btime.tv_sec;
		ret->btime_ns = st->stx_btime.tv_nsec;
	}
}

static bool
same_number(const struct file_key *a, const struct file_key *b)
{
	return a->ino == b->ino && a->dev == b->dev && a->mnt == b->mnt;
}

static bool
same_file(const struct file_key *a, const struct file_key *b)
{
	return same_number(a, b) && a->btime_s == b->btime_s && a->btime_ns == b->btime_ns &&
	       a->type == b->type;
}

bool
inode_is(const struct inode *i, const struct statx *st)
{
	struct file_key k;

	file_key_of(st, &k);
	/* A symlink's text never changes. With another time or size it is another symlink, made in
	 * the same tick of the clock in which the old one's number became free. */
	if (k.type == S_IFLNK && i->known.valid && !coherence_same_data(i, st))
		return false;
	return same_file(&i->key, &k);
}

static uint64_t
key_hash(const struct fs *fs, const struct file_key *k)
{
	return hash_u64(hash_u64(hash_u64(fs->seed, k->ino), k->dev), k->mnt);
}

struct inode *
inode_find_any(const struct fs *fs, uint64_t id)
{
	for (struct hnode *h = htab_first(&fs->by_id, hash_u64(fs->seed, id)); h != NULL;
		h = htab_next(h)) {
		struct inode *i = container_of(h, struct inode, by_id);

		if (i->id == id)
			return i;
	}
	return NULL;
}

struct inode *
inode_find(const struct fs *fs, uint64_t id)
{
	struct inode *i = inode_find_any(fs, id);

	return i == fs->root || (i != NULL && i->nlookup > 0) ? i : NULL;
}

static struct inode *
find_number(const struct fs *fs, const struct file_key *k)
{
	for (struct hnode *h = htab_first(&fs->by_key, key_hash(fs, k)); h != NULL;
		h = htab_next(h)) {
		struct inode *i = container_of(h, struct inode, by_key);

		if (same_number(&i->key, k))
			return i;
	}
	return NULL;
}

struct inode *
inode_restore(struct fs *fs, uint64_t id)
{
	struct inode *i = xcalloc(1, sizeof(*i));

	i->id = id;
	i->fd = -1;
	i->wd = -1;
	i->lease_fd = -1;
	list_init(&i->lease);
	list_init(&i->names);
	list_init(&i->children);
	list_init(&i->handles);
	list_init(&i->lock_owners);
	list_init(&i->lru);
	list_init(&i->reap);
	list_add_tail(&fs->inodes, &i->all);
	htab_add(&fs->by_id, &i->by_id, hash_u64(fs->seed, i->id));
	fs->ninodes++;
	return i;
}

void
inode_restored(struct fs *fs, struct inode *i)
{
	if (i->keyed || find_number(fs, &i->key) != NULL)
		return;
	i->keyed = true;
	htab_add(&fs->by_key, &i->by_key, key_hash(fs, &i->key));
}

static struct inode *
inode_new(struct fs *fs, const struct file_key *k)
{
	struct inode *i = inode_restore(fs, fs->next_id++);

	i->key = *k;
	i->keyed = true;
	htab_add(&fs->by_key, &i->by_key, key_hash(fs, k));
	journal_inode_add(fs, i);
	return i;
}

/*
 * Another birth time under the same number is another file, unless one that is held open now has it
 * too: overlayfs gives a file a new one when it is first written to.
 */
static bool
is_reborn(const struct inode *i, const struct file_key *k)
{
	const struct handle *h = handle_any(i);
	struct file_key now;
	struct statx st;

	if (i->key.type != k->type || (h == NULL && !i->fd_held))
		return false;
	if (stat_at(h != NULL ? h->fd : i->fd, "", &st) < 0)
		return false;
	file_key_of(&st, &now);
	return same_file(&now, k);
}

struct inode *
inode_get(struct fs *fs, const struct statx *st)
{
	struct file_key k;
	struct inode *i;

	file_key_of(st, &k);
	i = find_number(fs, &k);
	if (i != NULL && (inode_is(i, st) || is_reborn(i, &k))) {
		i->key = k;
		journal_inode_key(fs, i);
		return i;
	}
	if (i != NULL) {
		htab_remove(&fs->by_key, &i->by_key);
		i->keyed = false;
	}
	if (fs->ninodes >= INODES_MAX)
		return NULL;
	return inode_new(fs, &k);
}

struct inode *
inode_of(const struct fs *fs, const struct statx *st)
{
	struct file_key k;
	struct inode *i;

	file_key_of(st, &k);
	i = find_number(fs, &k);
	return i != NULL && inode_is(i, st) ? i : NULL;
}

struct inode *
inode_after(const struct fs *fs, const struct inode *i)
{
	const struct list *l = i != NULL ? i->all.next : fs->inodes.next;

	return l == &fs->inodes ? NULL : container_of(l, struct inode, all);
}

/* Writes "/name" before at, or as much of its end as there is room for. */
static char *
prepend(char *begin, char *at, const char *name, size_t len)
{
	size_t room = (size_t)(at - begin);

	if (room == 0)
		return at;
	if (len >= room) {
		name += len - (room - 1);
		len = room - 1;
	}
	at -= len;
	memcpy(at, name, len);
	*--at = '/';
	return at;
}

void
inode_path(const struct fs *fs, const struct inode *dir, const char *name, char *out, size_t size)
{
	char *at = out + size - 1;

	*at = '\0';
	at = prepend(out, at, name, strlen(name));
	while (dir != fs->root && !list_is_empty(&dir->names)) {
		const struct entry *e = container_of(dir->names.next, struct entry, in_child);

		at = prepend(out, at, e->name, e->len);
		dir = e->parent;
	}
	memmove(out, at, (size_t)(out + size - at));
}

static bool
is_unused(const struct fs *fs, const struct inode *i)
{
	return i != fs->root && i->nlookup == 0 && i->pins == 0 && i->nkids == 0 &&
	       list_is_empty(&i->handles);
}

static void /* NOLINTNEXTLINE(misc-no-recursion): fs->reaping ends it */
inode_free(struct fs *fs, struct inode *i)
{
	struct list *l, *tmp;

	list_foreach(l, tmp, &i->children) entry_drop(fs, container_of(l, struct entry, in_parent));
	list_foreach(l, tmp, &i->names) entry_drop(fs, container_of(l, struct entry, in_child));
	watch_drop(fs, i);
	nodefd_drop_cached(fs, i);
	lease_drop(fs, i);
	if (fs->resync_at == i)
		fs->resync_at = inode_after(fs, i);
	if (fs->trim_at == i)
		fs->trim_at = inode_after(fs, i);
	list_del(&i->all);
	htab_remove(&fs->by_id, &i->by_id);
	if (i->keyed)
		htab_remove(&fs->by_key, &i->by_key);
	fs->ninodes--;
	journal_inode_drop(fs, i);
	list_del(&i->reap); /* not before: what was dropped above would have queued it again */
	free(i);
}

/* Freeing an inode may make its folders unused in turn: a queue, for chains may be long. */
void /* NOLINTNEXTLINE(misc-no-recursion): fs->reaping ends it */
inode_drop_if_unused(struct fs *fs, struct inode *i)
{
	if (!is_unused(fs, i) || !list_is_empty(&i->reap))
		return;
	list_add_tail(&fs->reap, &i->reap);
	if (fs->reaping)
		return;
	fs->reaping = true;
	while (!list_is_empty(&fs->reap))
		inode_free(fs, container_of(fs->reap.next, struct inode, reap));
	fs->reaping = false;
}

void
inode_forget(struct fs *fs, uint64_t id, uint64_t n)
{
	struct inode *i = inode_find(fs, id);

	if (i == NULL || i == fs->root)
		return;
	i->nlookup -= n < i->nlookup ? n : i->nlookup;
	journal_inode(i);
	if (i->nlookup == 0)
		inode_drop_if_unused(fs, i);
}

static uint64_t
entry_hash(const struct fs *fs, const struct inode *dir, const char *name, size_t len)
{
	return hash_bytes(hash_u64(fs->seed, dir->id), name, len);
}

struct entry *
entry_find(const struct fs *fs, const struct inode *dir, const char *name)
{
	size_t len = strlen(name);

	for (struct hnode *h = htab_first(&fs->entries, entry_hash(fs, dir, name, len)); h != NULL;
		h = htab_next(h)) {
		struct entry *e = container_of(h, struct entry, hash);

		if (e->parent == dir && e->len == len && memcmp(e->name, name, len) == 0)
			return e;
	}
	return NULL;
}

void /* NOLINTNEXTLINE(misc-no-recursion): fs->reaping ends it */
entry_drop(struct fs *fs, struct entry *e)
{
	struct inode *dir = e->parent;

	journal_entry_drop(fs, e);
	htab_remove(&fs->entries, &e->hash);
	list_del(&e->in_parent);
	list_del(&e->in_child);
	fs->nentries--;
	if (e->child == NULL) {
		fs->nnegatives--;
	} else {
		dir->nkids--;
		e->child->last_dir = dir->id;
	}
	free(e);
	inode_drop_if_unused(fs, dir);
}

void
entry_unset(struct fs *fs, struct inode *dir, const char *name)
{
	struct entry *e = entry_find(fs, dir, name);

	if (e != NULL)
		entry_drop(fs, e);
}

/* A name whose absence is no longer remembered must not be relied on by the guest either. */
static void
limit_negatives(struct fs *fs)
{
	while (fs->nnegatives > NEGATIVES_MAX) {
		struct entry *e = container_of(fs->negatives.next, struct entry, in_child);

		note_inval_entry(fs, e->parent->id, e->name);
		entry_drop(fs, e);
	}
}

static void
entry_link(struct fs *fs, struct entry *e, struct inode *child)
{
	e->child = child;
	list_add_tail(&e->parent->children, &e->in_parent);
	journal_entry_add(fs, e);
	if (child != NULL) {
		list_add_tail(&child->names, &e->in_child);
		e->parent->nkids++;
		lease_renew(fs, child);
	} else {
		list_add_tail(&fs->negatives, &e->in_child);
		fs->nnegatives++;
		limit_negatives(fs);
	}
}

void
inode_unname(struct fs *fs, struct inode *i)
{
	struct list *l, *tmp;

	i->pins++;
	list_foreach(l, tmp, &i->names) entry_drop(fs, container_of(l, struct entry, in_child));
	i->pins--;
}

/* What is known to be in this folder, on the way down from it to dir. */
static struct entry *
way_down(const struct fs *fs, const struct inode *folder, const struct inode *dir)
{
	while (dir != fs->root && !list_is_empty(&dir->names)) {
		struct entry *e = container_of(dir->names.next, struct entry, in_child);

		if (e->parent == folder)
			return e;
		dir = e->parent;
	}
	return NULL;
}

/*
 * A folder has one name; one found elsewhere was moved. Where it is found below what was in it,
 * that has been moved out before, and nobody has told us yet: names never go round in a circle.
 */
static void
drop_other_names(struct fs *fs, struct inode *dir, struct inode *child)
{
	struct entry *e;

	child->pins++;
	inode_unname(fs, child);
	e = way_down(fs, child, dir);
	if (e != NULL) {
		note_inval_entry(fs, child->id, e->name);
		entry_drop(fs, e);
	}
	child->pins--;
}

struct entry *
entry_new(struct fs *fs, struct inode *dir, const char *name, struct inode *child)
{
	size_t len = strlen(name);
	struct entry *e = xcalloc(1, sizeof(*e) + len + 1);

	e->parent = dir;
	e->len = len;
	memcpy(e->name, name, len);
	htab_add(&fs->entries, &e->hash, entry_hash(fs, dir, name, len));
	fs->nentries++;
	entry_link(fs, e, child);
	return e;
}

int
entry_set(struct fs *fs, struct inode *dir, const char *name, struct inode *child)
{
	struct entry *e = entry_find(fs, dir, name);

	if (e != NULL && e->child == child)
		return 0;
	if (child == dir)
		return -ELOOP;
	dir->pins++; /* it may be about to lose its last name for a moment */
	if (e != NULL && e->child != NULL && e->child->names.next->next == &e->child->names)
		lease_hold(fs, e->child);
	if (e != NULL)
		entry_drop(fs, e);
	if (child != NULL && child->key.type == S_IFDIR)
		drop_other_names(fs, dir, child);
	dir->pins--;
	if (fs->nentries >= ENTRIES_MAX)
		return -ENFILE;
	entry_new(fs, dir, name, child);
	return 0;
}

int
fs_tables_init(struct fs *fs, struct err *e)
{
	struct file_key k;
	struct statx st;
	int r;

	list_init(&fs->inodes);
	list_init(&fs->reap);
	list_init(&fs->negatives);
	list_init(&fs->lru);
	list_init(&fs->leases);
	list_init(&fs->lock_waits);
	if (getrandom(&fs->seed, sizeof(fs->seed), 0) != sizeof(fs->seed))
		return err_sys(e, errno, "random seed");
	r = stat_at(fs->opt.root_fd, "", &st);
	if (r < 0)
		return err_sys(e, -r, "root of the workspaces");
	file_key_of(&st, &k);
	/* Ids of an earlier server on the same disk snapshot mean nothing here: start elsewhere. */
	fs->next_id = FUSE_ROOT_ID;
	fs->root = inode_new(fs, &k);
	fs->next_id = clock_real_ns();
	return 0;
}

void
fs_tables_reset(struct fs *fs)
{
	struct inode *i, *next;

	fs->mounts++;
	for (size_t k = 0; k < fs->nhandle_slots; k++)
		if (fs->handles[k] != NULL)
			handle_close(fs, fs->handles[k]);
	fs->resync = false;
	for (i = inode_after(fs, NULL); i != NULL; i = next) {
		/* So that no folder is kept by what is in it. */
		inode_unname(fs, i);
		next = inode_after(fs, i);
	}
	for (i = inode_after(fs, NULL); i != NULL; i = next) {
		next = inode_after(fs, i);
		i->nlookup = 0;
		inode_drop_if_unused(fs, i);
	}
	while (!list_is_empty(&fs->negatives))
		entry_drop(fs, container_of(fs->negatives.next, struct entry, in_child));
	memset(&fs->root->known, 0, sizeof(fs->root->known));
}

void
fs_tables_release(struct fs *fs)
{
	if (fs->root != NULL) {
		fs_tables_reset(fs);
		watch_drop(fs, fs->root);
		htab_remove(&fs->by_id, &fs->root->by_id);
		htab_remove(&fs->by_key, &fs->root->by_key);
		free(fs->root);
	}
	free(fs->handles);
	htab_release(&fs->by_id);
	htab_release(&fs->by_key);
	htab_release(&fs->by_wd);
	htab_release(&fs->entries);
}
