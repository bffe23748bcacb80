/*
 * How this works: the guest's kernel caches names, attributes and pages for as long as it was told
 * (an hour in watched folders, a second elsewhere). For each inode `known` holds the size and times
 * that those caches are consistent with, and each entry what a name was last told to be. Whenever
 * the host's state is seen (a request, an inotify event, the walk after lost events) it is compared
 * with that; what differs becomes a notification, queued behind the reply. The guest's own changes
 * update `known` as they are made, and so cause none.
 *
 * Time stamps have the resolution of the host kernel's tick: a file that was changed in the same
 * tick in which it was told looks unchanged after a second change; such a `known` is racy. And they
 * are set before the data is there, by a write, or long before, through a mapping: what was read
 * meanwhile looks right and is not. So an event about data, and one about what is racy, counts
 * although nothing seems to differ, unless the guest's own change explains it. Whoever gets a lock
 * is told of each change on the host that may have been under way when it was last told.
 */
#include <errno.h>
#include <string.h>

#include <base/clock.h>
#include <base/log.h>

#include "server.h"

#define RACY_NS         (20 * 1000000ULL)
#define UNDER_WAY_NS    (2000 * 1000000ULL) /* from a file's time to its data, on a busy host */
#define RESYNC_OUT_MAX  (256u << 10)
#define RESYNC_STEP_MAX 500
#define TRIM_STEP       64

static void
note_head(struct fs *fs, enum fuse_notify_code code, size_t body)
{
	struct fuse_out_header h = {.len = (uint32_t)(sizeof(h) + body), .error = (int32_t)code};

	buf_append(&fs->notes, &h, sizeof(h));
}

/* Behind a body of so many bytes. Before anything is written that relies on the note. */
static void
note_end(struct fs *fs, size_t body)
{
	size_t n = sizeof(struct fuse_out_header) + body;

	journal_note(fs, fs->notes.data + fs->notes.len - n, n);
	fuse_line_seal(&fs->notes);
}

/* off < 0: attributes only; else the pages from off on too. */
void
note_inval_inode(struct fs *fs, uint64_t id, int64_t off)
{
	struct fuse_notify_inval_inode_out n = {.ino = id, .off = off};

	log_debug("note: inode %llu from %lld", (unsigned long long)id, (long long)off);
	note_head(fs, FUSE_NOTIFY_INVAL_INODE, sizeof(n));
	buf_append(&fs->notes, &n, sizeof(n));
	note_end(fs, sizeof(n));
}

static void
note_entry(struct fs *fs, uint64_t dir, const char *name, uint32_t flags)
{
	size_t len = strlen(name);
	struct fuse_notify_inval_entry_out n = {
		.parent = dir, .namelen = (uint32_t)len, .flags = flags};

	log_debug("note: entry %llu '%s' %x", (unsigned long long)dir, name, flags);
	note_head(fs, FUSE_NOTIFY_INVAL_ENTRY, sizeof(n) + len + 1);
	buf_append(&fs->notes, &n, sizeof(n));
	buf_append(&fs->notes, name, len + 1);
	note_end(fs, sizeof(n) + len + 1);
}

void
note_inval_entry(struct fs *fs, uint64_t dir, const char *name)
{
	note_entry(fs, dir, name, 0);
}

/*
 * A folder's cached listing. Whoever is reading it has the reply but may not have put it into the
 * cache yet, and would do so after the pages were dropped. Invalidating an entry, even one that
 * cannot be, takes the folder's lock and so waits for that reader.
 */
void
note_inval_listing(struct fs *fs, struct inode *dir)
{
	dir->told_pos = 0;
	dir->told_end = false;
	note_inval_entry(fs, dir->id, ".");
	note_inval_inode(fs, dir->id, 0);
	dir->known.valid = false;
	journal_inode(dir);
}

static void
note_delete(struct fs *fs, uint64_t dir, uint64_t child, const char *name)
{
	size_t len = strlen(name);
	struct fuse_notify_delete_out n = {.parent = dir, .child = child, .namelen = (uint32_t)len};

	note_head(fs, FUSE_NOTIFY_DELETE, sizeof(n) + len + 1);
	buf_append(&fs->notes, &n, sizeof(n));
	buf_append(&fs->notes, name, len + 1);
	note_end(fs, sizeof(n) + len + 1);
}

static bool
same_data(const struct known *k, const struct statx *st)
{
	return k->size == st->stx_size && k->mtime_s == st->stx_mtime.tv_sec &&
	       k->mtime_ns == st->stx_mtime.tv_nsec;
}

static bool
same(const struct known *k, const struct statx *st)
{
	return same_data(k, st) && k->ctime_s == st->stx_ctime.tv_sec &&
	       k->ctime_ns == st->stx_ctime.tv_nsec;
}

bool
coherence_same_data(const struct inode *i, const struct statx *st)
{
	return same_data(&i->known, st);
}

static void
remember(struct inode *i, const struct statx *st, bool own)
{
	i->version++;
	i->known = (struct known){
		.size = st->stx_size,
		.mtime_s = st->stx_mtime.tv_sec,
		.mtime_ns = st->stx_mtime.tv_nsec,
		.ctime_s = st->stx_ctime.tv_sec,
		.ctime_ns = st->stx_ctime.tv_nsec,
		.at_ns = clock_real_ns(),
		.valid = true,
		.own = own,
	};
	i->linked |= i->key.type == S_IFREG && st->stx_nlink > 1;
	journal_inode(i);
}

/* Whether it was seen so soon after its last change. */
static bool
is_within(const struct known *k, uint64_t ns)
{
	uint64_t changed_ns = (uint64_t)k->ctime_s * 1000000000ULL + k->ctime_ns;

	return k->at_ns < changed_ns + ns;
}

void
coherence_own(struct inode *i, const struct statx *st)
{
	remember(i, st, true);
}

void
coherence_tell(struct fs *fs, struct inode *i, const struct statx *st)
{
	if (i->known.valid && same(&i->known, st))
		return;
	/* Of a symlink too: another one may have got its number, within one tick of the clock. A
	 * folder's listing the guest compares with the time itself. */
	if (i->known.valid && i->key.type != S_IFDIR && !same_data(&i->known, st)) {
		note_inval_inode(fs, i->id, 0);
		i->pushed = false;
	}
	remember(i, st, false);
}

void
coherence_see(struct fs *fs, struct inode *i, const struct statx *st)
{
	bool data = !same_data(&i->known, st);

	if (i->known.valid && same(&i->known, st))
		return;
	i->pushed = i->pushed && !data;
	if (i->known.valid && data && i->key.type == S_IFDIR)
		note_inval_listing(fs, i);
	else if (i->known.valid)
		note_inval_inode(fs, i->id, data ? 0 : -1);
	remember(i, st, false);
}

void
coherence_fresh(struct fs *fs, struct inode *i, int fd)
{
	struct statx st;

	if (stat_at(fd, "", &st) < 0)
		return;
	/* Where it is not known what the guest has, it may have anything. */
	if (!i->known.valid ||
		(same(&i->known, &st) &&
			is_within(&i->known, i->known.own ? RACY_NS : UNDER_WAY_NS))) {
		note_inval_inode(fs, i->id, 0);
		remember(i, &st, i->known.valid && i->known.own);
	}
	coherence_see(fs, i, &st);
}

void
coherence_before(struct fs *fs, struct inode *i, int fd)
{
	struct statx st;

	if (stat_at(fd, "", &st) == 0)
		coherence_see(fs, i, &st);
}

void
coherence_after(struct fs *fs, struct inode *i, int fd)
{
	struct statx st;

	i->pushed = false;
	if (stat_at(fd, "", &st) == 0) {
		coherence_own(i, &st);
		push_attr(fs, i, &st);
		return;
	}
	note_inval_inode(fs, i->id, 0);
	i->known.valid = false;
	journal_inode(i);
}

/* Whether a change on the host would cause an event. */
static bool
is_covered(const struct inode *i, const struct statx *st)
{
	const struct entry *e;

	if (i->wd >= 0)
		return true;
	/* A further hard link, in a folder that nobody watches, would go unnoticed. */
	if (i->key.type == S_IFDIR || st->stx_nlink > 1)
		return false;
	if (list_is_empty(&i->names) || i->names.next->next != &i->names)
		return false;
	e = container_of(i->names.next, struct entry, in_child);
	return e->parent->wd >= 0 && e->parent->key.mnt == i->key.mnt;
}

bool
coherence_keep_cache(struct fs *fs, struct inode *i, int fd)
{
	struct statx st;
	bool unchanged;

	if (stat_at(fd, "", &st) < 0)
		return false;
	unchanged = i->known.valid && same_data(&i->known, &st);
	coherence_see(fs, i, &st);
	return unchanged && is_covered(i, &st);
}

uint64_t
coherence_attr_ttl(const struct inode *i, const struct statx *st)
{
	return is_covered(i, st) ? TTL_WATCHED_S : TTL_BLIND_S;
}

uint64_t
coherence_entry_ttl(const struct inode *dir)
{
	return dir->wd >= 0 ? TTL_WATCHED_S : TTL_BLIND_S;
}

/*
 * The events of what was just seen, which would otherwise cause a notification in a moment, when
 * the program asks for attributes (check_stat says why not then).
 */
static void
hear(struct fs *fs, struct inode *i)
{
	if (fs->inotify_fd < 0)
		return;
	i->told = true;
	watch_read(fs);
	i->told = false;
}

void
coherence_tell_asked(struct fs *fs, struct inode *i, const struct statx *st)
{
	if (!i->known.valid || i->key.type != S_IFREG || i->known.size == st->stx_size ||
		!is_covered(i, st)) {
		coherence_tell(fs, i, st);
		return;
	}
	/* By another size the guest's kernel drops the pages itself, and a notification would have
	 * it throw the size away. */
	push_void(fs, i);
	i->pushed = false;
	remember(i, st, false);
	hear(fs, i);
}

bool
coherence_before_open(struct fs *fs, struct inode *i)
{
	size_t before = fs->notes.len;
	uint64_t version = i->version;
	struct statx st;

	if (!i->known.valid || inode_stat(fs, i, &st) < 0)
		return false;
	coherence_see(fs, i, &st);
	if (i->version == version)
		return false;
	hear(fs, i);
	buf_append(&fs->early, fs->notes.data + before, fs->notes.len - before);
	fs->notes.len = before;
	return true;
}

/*
 * The host's state of an inode, from an event.
 *
 * A mere doubt waits for as long as somebody in the guest has a lock. Whoever got that was told to
 * drop everything, and who keeps to locks on the host has written nothing since. A notification
 * would do harm: when one comes before the process that asked for attributes has run on, the
 * guest's kernel throws the answer away (fi->attr_version), and the process reads to where the file
 * ended before.
 */
static void
check_stat(struct fs *fs, struct inode *i, const struct statx *st, unsigned how)
{
	/* Most probably of the guest's own change, which ends soon. */
	if (i->changing > 0) {
		i->event_missed = true;
		return;
	}
	if (!i->known.valid)
		return;
	if (i->told && same(&i->known, st))
		return;
	if (same(&i->known, st) && !i->known.own &&
		(how & CHECK_DATA || is_within(&i->known, RACY_NS))) {
		i->doubted = lock_is_held(i);
		if (i->doubted)
			return;
		i->pushed = false;
		note_inval_inode(fs, i->id, 0);
		remember(i, st, false);
	}
	coherence_see(fs, i, st);
}

void
coherence_unlocked(struct fs *fs, struct inode *i)
{
	if (!i->doubted || lock_is_held(i))
		return;
	i->doubted = false;
	i->pushed = false;
	note_inval_inode(fs, i->id, 0);
}

void
coherence_check_inode(struct fs *fs, struct inode *i, unsigned how)
{
	struct statx st;

	if (i->nlookup > 0 || i == fs->root)
		if (inode_stat(fs, i, &st) == 0)
			check_stat(fs, i, &st, how);
}

/* The name leads elsewhere, or nowhere, and not by the guest's doing. */
static void
entry_changed(struct fs *fs, struct entry *e, bool gone)
{
	struct inode *dir = e->parent, *child = e->child;

	if (gone && child != NULL && child->names.next->next == &child->names)
		note_delete(fs, dir->id, child->id, e->name);
	else
		note_inval_entry(fs, dir->id, e->name);
	if (child != NULL) {
		/* Its link count or change time is another. Its pages are still what `known` says.
		 */
		note_inval_inode(fs, child->id, -1);
		if (child->key.type == S_IFDIR)
			nodefd_new_epoch(fs);
	}
	if (child != NULL && child->names.next->next == &child->names)
		lease_hold(fs, child);
	entry_drop(fs, e);
	note_inval_listing(fs, dir);
}

void
coherence_forget_entry(struct fs *fs, struct inode *dir, const char *name)
{
	struct entry *e = entry_find(fs, dir, name);

	dir->pins++;
	if (e != NULL) {
		entry_changed(fs, e, false);
	} else {
		note_inval_entry(fs, dir->id, name);
		note_inval_listing(fs, dir);
	}
	dir->pins--;
}

/*
 * A name that the guest was never told, or that it was told does not exist, has come. It may be a
 * further one of a file that is known: what happens to that by the new name is to be seen too.
 */
static void
new_name(struct fs *fs, const struct statx *st)
{
	struct inode *i = st->stx_nlink > 1 ? inode_of(fs, st) : NULL;

	if (i == NULL || i->key.type == S_IFDIR)
		return;
	watch_file(fs, i); /* a regular one */
	note_inval_inode(fs, i->id, -1);
}

void
coherence_check_entry(struct fs *fs, struct inode *dir, const char *name, unsigned how)
{
	struct entry *e = entry_find(fs, dir, name);
	CLEAN_NODEFD struct nodefd d = NODEFD_INIT;
	struct statx st;
	int r;

	if (nodefd_get(fs, dir, &d) < 0)
		return;
	r = stat_at(d.fd, name, &st);
	if (r == 0 && (how & CHECK_NAMES) && (e == NULL || e->child == NULL))
		new_name(fs, &st);
	if (e == NULL) {
		if (r == 0 && (how & CHECK_NAMES))
			note_inval_listing(fs, dir);
	} else if (e->child == NULL) {
		if (r == 0)
			entry_changed(fs, e, false);
	} else if (r == 0 && inode_is(e->child, &st)) {
		check_stat(fs, e->child, &st, how);
	} else {
		entry_changed(fs, e, (how & CHECK_DELETED) && r == -ENOENT);
	}
}

/*
 * What the guest was told about it was for as long as it is watched. It is to ask again, but what
 * is mounted below, and who works there, stays: a guest older than Linux 6.2 takes no notice of
 * that.
 */
void
coherence_unwatched(struct fs *fs, struct inode *i)
{
	struct list *l, *tmp;

	note_inval_inode(fs, i->id, -1);
	list_foreach(l, tmp, &i->children)
	{
		const struct entry *e = container_of(l, struct entry, in_parent);

		note_entry(fs, i->id, e->name, FUSE_EXPIRE_ONLY);
		if (e->child != NULL)
			note_inval_inode(fs, e->child->id, -1);
	}
}

/*
 * Short times do for names and attributes, but the pages of a file that is open stay as they are
 * until somebody asks for its attributes.
 */
void
coherence_look_at_open(struct fs *fs)
{
	for (size_t k = 0; k < fs->nhandle_slots; k++) {
		const struct handle *h = fs->handles[k];

		if (h != NULL && h->inode != NULL && !h->dir && h->inode->wd < 0)
			coherence_check_inode(fs, h->inode, 0);
	}
}

void
coherence_resync_start(struct fs *fs)
{
	nodefd_new_epoch(fs);
	fs->resync = true;
	fs->resync_at = inode_after(fs, NULL);
	fs->resync_end = fs->next_id;
}

/* The last process watched it, and told the guest so. */
static void
watch_again(struct fs *fs, struct inode *i)
{
	i->rewatch = false;
	watch_folder(fs, i);
	watch_file(fs, i);
	if (i->wd < 0)
		coherence_unwatched(fs, i);
	journal_inode(i);
}

static void
resync_inode(struct fs *fs, struct inode *i)
{
	struct list *l, *tmp;

	i->pins++;
	if (i->rewatch)
		watch_again(fs, i);
	if (!i->known.valid)
		note_inval_inode(fs, i->id, 0);
	list_foreach(l, tmp, &i->children)
		coherence_check_entry(fs, i, container_of(l, struct entry, in_parent)->name, 0);
	if (i->key.type == S_IFDIR && i->nlookup > 0) {
		/* Names that were never told may have come into a cached listing. */
		note_inval_listing(fs, i);
	} else {
		coherence_check_inode(fs, i, 0);
	}
	i->pins--;
	inode_drop_if_unused(fs, i);
}

void
coherence_resync_step(struct fs *fs)
{
	for (size_t n = 0; n < RESYNC_STEP_MAX && fs->notes.len < RESYNC_OUT_MAX; n++) {
		struct inode *i = fs->resync_at;

		if (i == NULL || i->id >= fs->resync_end) {
			fs->resync = false;
			return;
		}
		fs->resync_at = inode_after(fs, i);
		resync_inode(fs, i);
	}
}

void
coherence_trim(struct fs *fs)
{
	for (size_t n = 0; n < TRIM_STEP; n++) {
		struct inode *i = fs->trim_at;
		struct entry *e;

		fs->trim_at = inode_after(fs, i);
		if (i == NULL || i->key.type == S_IFDIR || list_is_empty(&i->names) ||
			!list_is_empty(&i->handles))
			continue;
		e = container_of(i->names.next, struct entry, in_child);
		note_inval_entry(fs, e->parent->id, e->name);
	}
}
