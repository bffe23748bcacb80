/*
 * How this works: the next fs role begins with what the journal says of the last one. The tables
 * are built again with the same ids and handles; where folders are is found by walking the names
 * from the root (the stage and all mounts are other ones now); each open file is opened anew by a
 * name that leads to it still. What cannot be found stays known by its id and is ESTALE, a handle
 * EIO. Then everything is compared with the host, as after lost events (coherence.c): while nobody
 * served, nobody watched.
 *
 * In the stream, the mark (wire/fuse_line.h) is followed by the replies and notifications that may
 * not have been sent. A request that was being handled when the process ended is handled again if
 * that is safe and it was not fatal twice; else it gets the one EIO.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/clock.h>
#include <base/log.h>
#include <base/mem.h>

#include "journal.h"
#include "server.h"

struct restore {
	struct fs *fs;
	struct journal *j;
	struct journal_head head;
	struct inode **inodes;                        /* by slot */
	enum place { UNKNOWN, PLACED, LOST } * place; /* by slot: its key is of this process */
};

static uint32_t
slot_of(const struct restore *r, const struct inode *i)
{
	return (uint32_t)(i->record - r->j->inodes);
}

static void
restore_inode(struct restore *r, uint32_t slot)
{
	struct journal_inode rec;
	struct inode *i;

	if (!journal_read_inode(r->j, slot, &rec) || (slot > 0 && inode_find_any(r->fs, rec.id)))
		return;
	i = slot == 0 ? r->fs->root : inode_restore(r->fs, rec.id);
	r->inodes[slot] = i;
	i->record = &r->j->inodes[slot];
	i->nlookup = rec.nlookup;
	i->linked = rec.flags & JOURNAL_LINKED;
	i->rewatch = rec.flags & JOURNAL_WATCHED;
	i->known = (struct known){.size = rec.size,
		.mtime_s = rec.mtime_s,
		.ctime_s = rec.ctime_s,
		.mtime_ns = rec.mtime_ns,
		.ctime_ns = rec.ctime_ns,
		.at_ns = rec.at_ns,
		.valid = rec.flags & JOURNAL_KNOWN,
		.own = rec.flags & JOURNAL_OWN};
	if (slot == 0)
		return;
	i->key = (struct file_key){.dev = rec.dev,
		.ino = rec.ino,
		.btime_s = rec.btime_s,
		.btime_ns = rec.btime_ns,
		.type = rec.type};
	i->shadow = rec.flags >> JOURNAL_SHADOW_SHIFT;
	if (i->shadow != 0 && shadow_restore(r->fs, i, i->shadow))
		r->place[slot] = PLACED;
	if (rec.id >= r->fs->next_id)
		r->fs->next_id = rec.id + 1;
}

static void
restore_inodes(struct restore *r)
{
	for (uint32_t k = 0; k < r->head.ninodes; k++) {
		restore_inode(r, k);
		if (r->inodes[k] == NULL)
			journal_free_inode(r->j, k);
	}
}

static bool
restore_entry(struct restore *r, unsigned class, uint32_t slot)
{
	struct inode *dir, *child = NULL;
	struct journal_name n;

	if (!journal_read_entry(r->j, class, slot, &n) || n.parent >= r->head.ninodes ||
		r->fs->nentries >= ENTRIES_MAX)
		return false;
	dir = r->inodes[n.parent];
	if (n.child != JOURNAL_NONE) {
		if (n.child >= r->head.ninodes || r->inodes[n.child] == NULL || n.child == 0)
			return false;
		child = r->inodes[n.child];
		if (child->key.type == S_IFDIR && !list_is_empty(&child->names))
			return false;
	}
	if (dir == NULL || dir->key.type != S_IFDIR || entry_find(r->fs, dir, n.name) != NULL)
		return false;
	entry_new(r->fs, dir, n.name, child)->slot = slot;
	return true;
}

static void
restore_entries(struct restore *r)
{
	for (unsigned c = 0; c < JOURNAL_CLASSES; c++)
		for (uint32_t k = 0; k < r->head.nentries[c]; k++)
			if (!restore_entry(r, c, k))
				journal_free_entry(r->j, c, k);
}

/*
 * The child's key as this process sees it. In the stage, which is another one, and in a copy,
 * whatever has the name; elsewhere the very file, which is behind another mount where it was
 * before.
 */
static bool
place_child(struct restore *r, struct inode *dir, const char *name, struct inode *i)
{
	CLEAN_NODEFD struct nodefd d = NODEFD_INIT;
	bool stage = r->fs->stage && dir->key.mnt == r->fs->stage_mnt;
	bool same_mount = i->record->mount == dir->record->mount;
	struct file_key k;
	struct statx st;

	if (r->place[slot_of(r, dir)] == LOST)
		return false;
	if (same_mount && !stage && !r->fs->opt.copied) {
		i->key.mnt = dir->key.mnt;
		return true;
	}
	if (nodefd_get(r->fs, dir, &d) < 0 || stat_at(d.fd, name, &st) < 0)
		return false;
	file_key_of(&st, &k);
	if (k.type != i->key.type || (k.mnt == dir->key.mnt) != same_mount)
		return false;
	if (!same_mount && !r->fs->opt.copied &&
		(k.dev != i->key.dev || k.ino != i->key.ino || k.btime_s != i->key.btime_s ||
			k.btime_ns != i->key.btime_ns))
		return false;
	i->key = k;
	return true;
}

/* From the nearest folder that has its place down to the inode. */
static void
place(struct restore *r, struct inode *i)
{
	CLEAN_FREE struct entry **path = NULL;
	size_t n = 0, cap = 0;

	while (r->place[slot_of(r, i)] == UNKNOWN && n < DEPTH_MAX && !list_is_empty(&i->names)) {
		if (n == cap) {
			cap = cap > 0 ? cap * 2 : 16;
			path = xreallocarray(path, cap, sizeof(*path));
		}
		path[n] = container_of(i->names.next, struct entry, in_child);
		i = path[n++]->parent;
	}
	if (r->place[slot_of(r, i)] == UNKNOWN)
		r->place[slot_of(r, i)] = LOST;
	while (n > 0) {
		const struct entry *e = path[--n];
		bool ok = place_child(r, e->parent, e->name, e->child);

		r->place[slot_of(r, e->child)] = ok ? PLACED : LOST;
	}
}

static void
place_all(struct restore *r)
{
	r->place[0] = PLACED;
	for (uint32_t k = 0; k < r->head.ninodes; k++)
		if (r->inodes[k] != NULL)
			place(r, r->inodes[k]);
	for (uint32_t k = 0; k < JOURNAL_MOUNTS; k++)
		r->j->mounts[k] = UINT64_MAX;
	for (uint32_t k = 0; k < r->head.ninodes; k++) {
		struct inode *i = r->inodes[k];

		if (r->place[k] != PLACED)
			continue;
		r->j->mounts[i->record->mount] = i->key.mnt;
		inode_restored(r->fs, i);
		journal_inode_key(r->fs, i);
	}
}

static void
restore_handles(struct restore *r)
{
	size_t lost = 0;

	for (uint32_t k = 0; k < r->head.nhandles; k++) {
		struct journal_handle rec;

		if (journal_read_handle(r->j, k, &rec))
			lost += handle_restore(r->fs, k, &rec) < 0;
		else
			journal_handle_drop(r->fs, k);
	}
	if (lost > 0)
		log_warn("%zu open files are lost: they were deleted, cannot be opened, or "
			 "somebody else has their lock",
			lost);
}

static void
restore_locks_of(struct restore *r, uint16_t type)
{
	for (uint32_t k = 0; k < r->head.nlocks; k++) {
		struct journal_lock rec;

		if (journal_read_lock(r->j, k, &rec) && rec.type == type &&
			!lock_restore(r->fs, k, &rec))
			journal_free_lock(r->j, k);
	}
}

static void
restore_locks(struct restore *r)
{
	struct journal_lock rec;

	for (uint32_t k = 0; k < r->head.nlocks; k++)
		if (!journal_read_lock(r->j, k, &rec))
			journal_free_lock(r->j, k);
	/* Where there are two over the same bytes, the stronger one is the last. */
	restore_locks_of(r, F_RDLCK);
	restore_locks_of(r, F_WRLCK);
}

/*
 * A folder whose place was not found has no name: in a journal that somebody has written into they
 * may go round in a circle. Who asks the folder itself for anything is told that it is stale.
 */
static void
unname_lost(struct restore *r, struct inode *i)
{
	struct list *l, *tmp;

	if (i->key.type != S_IFDIR || i->record == NULL || r->place[slot_of(r, i)] != LOST)
		return;
	list_foreach(l, tmp, &i->names)
	{
		const struct entry *e = container_of(l, struct entry, in_child);

		note_inval_entry(r->fs, e->parent->id, e->name);
	}
	inode_unname(r->fs, i);
}

static void
drop_unused(struct restore *r)
{
	struct inode *i, *next;

	for (i = inode_after(r->fs, NULL); i != NULL; i = next) {
		unname_lost(r, i);
		next = inode_after(r->fs, i);
		/* Its folders may go with it. */
		if (next != NULL)
			next->pins++;
		inode_drop_if_unused(r->fs, i);
		if (next != NULL)
			next->pins--;
	}
}

static int
by_value(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

/* What may not have been sent, behind the mark. */
static void
replay(struct restore *r)
{
	struct fs *fs = r->fs;
	uint64_t at = r->j->head->ring_tail;
	const uint8_t *msg;
	size_t n;

	while (journal_read_message(r->j, &at, &msg, &n)) {
		struct fuse_out_header h;

		memcpy(&h, msg, sizeof(h));
		buf_append(&fs->out, msg, n);
		fuse_line_seal(&fs->out);
		if (h.unique == 0)
			continue;
		fs->replied = xreallocarray(fs->replied, fs->nreplied + 1, sizeof(*fs->replied));
		fs->replied[fs->nreplied++] = h.unique;
	}
	if (fs->nreplied > 0)
		qsort(fs->replied, fs->nreplied, sizeof(*fs->replied), by_value);
	if (at != r->j->head->ring_head) { /* nonsense: it cannot be written behind either */
		r->j->head->ring_tail = 0;
		r->j->head->ring_head = 0;
	}
}

/* The request that the last process ended over, if any. */
static void
note_doubt(struct restore *r)
{
	struct journal_head *h = r->j->head;
	struct journal_doubt d = h->running, *free = &h->doubts[0];

	r->fs->doubts = true;
	if (d.unique == 0)
		return;
	for (size_t k = 0; k < JOURNAL_DOUBTS; k++) {
		if (h->doubts[k].unique == d.unique) {
			h->doubts[k].times++;
			h->running.unique = 0;
			return;
		}
		if (h->doubts[k].unique == 0)
			free = &h->doubts[k];
	}
	free->unique = 0;
	free->opcode = d.opcode;
	free->times = 1;
	free->unique = d.unique;
	h->running.unique = 0;
}

/* Twice has the same effect and the same result as once. */
static bool
may_repeat(const struct fuse_request *r)
{
	switch (r->head.opcode) {
	case FUSE_SYMLINK:
	case FUSE_MKNOD:
	case FUSE_MKDIR:
	case FUSE_UNLINK:
	case FUSE_RMDIR:
	case FUSE_RENAME:
	case FUSE_RENAME2:
	case FUSE_LINK:
	case FUSE_TMPFILE:
	case FUSE_REMOVEXATTR:
		return false;
	case FUSE_CREATE:
		return !(r->in.create.flags & O_EXCL);
	case FUSE_SETXATTR:
		return r->in.setxattr.flags == 0;
	case FUSE_WRITE:
		return !(r->in.write.flags & O_APPEND);
	default:
		return true;
	}
}

enum restore_again
restore_check(struct fs *fs, const struct fuse_request *r)
{
	const struct journal_head *h;

	if (fs->nreplied > 0 &&
		bsearch(&r->head.unique, fs->replied, fs->nreplied, sizeof(*fs->replied), by_value))
		return RESTORE_REPLIED;
	h = fs->journal->head;
	for (size_t k = 0; k < JOURNAL_DOUBTS; k++)
		if (h->doubts[k].unique == r->head.unique && r->head.unique != 0)
			return may_repeat(r) && h->doubts[k].times < 2 ? RESTORE_HANDLE
								       : RESTORE_REFUSE;
	return RESTORE_HANDLE;
}

/* It may have been done or not: the guest is to look again. */
void
restore_refused(struct fs *fs, const struct fuse_request *r)
{
	struct inode *i = inode_find(fs, r->head.nodeid);

	log_warn("the request over which the last process ended is refused: %s",
		fuse_opcode_name(r->head.opcode));
	if (i == NULL)
		return;
	if (r->name != NULL && i->key.type == S_IFDIR)
		coherence_forget_entry(fs, i, r->name);
	else
		note_inval_inode(fs, i->id, 0);
	if (r->head.opcode == FUSE_RENAME || r->head.opcode == FUSE_RENAME2)
		i = inode_find(fs, r->in.rename.newdir);
	if (i != NULL && r->name2 != NULL && i->key.type == S_IFDIR)
		coherence_forget_entry(fs, i, r->name2);
}

static int
begin_again(struct restore *r, struct err *e)
{
	struct fs *fs = r->fs;

	if (getrandom(fs->nonce, sizeof(fs->nonce), 0) != sizeof(fs->nonce))
		return err_sys(e, errno, "random nonce");
	fs->deaf = true;
	fuse_line_mark(&fs->out, fs->nonce);
	replay(r);
	note_doubt(r);
	coherence_resync_start(fs);
	return 0;
}

int
restore(struct fs *fs, struct journal *j, struct err *e)
{
	struct restore r = {.fs = fs, .j = j};
	CLEAN_FREE struct inode **inodes = NULL;
	CLEAN_FREE enum place *place = NULL;
	struct journal_inode root;

	if (!journal_read_head(j, &r.head) || r.head.incomplete || r.head.ninodes == 0 ||
		!journal_read_inode(j, 0, &root))
		return err_set(e, EUCLEAN,
			"cannot go on where the last process ended: too many files, or damage");
	r.inodes = inodes = xcalloc(r.head.ninodes + 1, sizeof(struct inode *));
	r.place = place = xcalloc(r.head.ninodes + 1, sizeof(*place));
	restore_inodes(&r);
	restore_entries(&r);
	fs->journal = j;
	place_all(&r);
	memcpy(fs->devices, r.head.devices, sizeof(fs->devices));
	fs->ndevices = r.head.ndevices;
	fs->handle_generation = r.head.handle_generation;
	fs->ready = r.head.ready & JOURNAL_READY;
	fs->push = fs->ready && r.head.ready & JOURNAL_PUSH;
	restore_handles(&r);
	restore_locks(&r);
	drop_unused(&r);
	log_debug("going on: %zu files, %zu names, %zu open", fs->ninodes, fs->nentries,
		fs->nhandles);
	return begin_again(&r, e);
}
