/*
 * How this works: when a name is looked up in a folder, or the folder is read, what it holds goes
 * to the guest's pump with the reply, piece by piece: each request that still comes here gets a
 * larger piece. From there names are looked up and folders read without a message.
 *
 * Folders that will probably be wanted next (those in the folder, its siblings, its parent's) are
 * told ahead. How many, depends on how many of the last ones were of use: the pump counts them in
 * each message (wire/fuse_push.h).
 *
 * A name that is told is as one that was looked up: it is watched, in `known`, and holds a
 * reference, which the pump gives back where the guest's kernel never wanted it.
 */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include <base/cleanup.h>

#include "server.h"

#define PIECE_FIRST 12288u /* bytes; some 60 names */
#define PIECE_OPEN  49152u
#define PIECE_MAX   196608u
#define AHEAD_MAX   64 /* folders */
#define AHEAD_BYTES 196608u
#define QUEUE_MAX   256
#define VISIT_MAX   1024
#define UP_MAX      2

/* The folder as it is now, from this position on. Bytes told. */
static size_t
tell(struct fs *fs, struct buf *to, struct inode *dir, uint64_t pos, size_t size)
{
	CLEAN_NODEFD struct nodefd n = NODEFD_INIT;
	CLEAN_BUF struct buf records = BUF_INIT;
	CLEAN_CLOSE int fd = -1;
	struct fuse_push_listing head = {.offset = pos};
	struct statx st;
	bool end = false;
	int count;

	if (!push_wanted(fs, dir) || dir->wd < 0 || shadow_may_be_in(fs, dir) ||
		nodefd_is_stale(fs) || nodefd_get(fs, dir, &n) < 0)
		return 0;
	fd = nodefd_reopen(&n, O_RDONLY | O_DIRECTORY);
	if (fd < 0 || stat_at(fd, "", &st) < 0)
		return 0;
	coherence_see(fs, dir, &st);
	count = dir_read_plus(fs, dir, fd, &pos, size, &records, &end);
	if (count < 0)
		return 0;
	head.flags = end ? FUSE_PUSH_LISTING_END : 0;
	dir->told_count = head.offset == 0 ? (uint32_t)count : dir->told_count + (uint32_t)count;
	dir->told_asked = 0;
	dir->told_pos = pos;
	dir->told_end = end;
	push_head(fs, to, FUSE_PUSH_LISTING, dir, &st, sizeof(head) + records.len);
	buf_append(to, &head, sizeof(head));
	buf_append(to, records.data, records.len);
	fuse_line_seal(to);
	return records.len;
}

/* ---- folders that nobody has asked for ---- */

struct queue {
	uint64_t ids[QUEUE_MAX]; /* what is told may take away any of them */
	size_t n;
};

static bool
is_untold(const struct inode *i)
{
	return i != NULL && i->key.type == S_IFDIR && i->nlookup > 0 && i->told_pos == 0 &&
	       !i->told_end;
}

/* The folders in dir, from behind `from` on and round. */
static void
add_folders(struct queue *q, struct inode *dir, struct list *from)
{
	size_t visited = 0;

	for (struct list *l = from->next; l != from && q->n < QUEUE_MAX && visited < VISIT_MAX;
		l = l->next, visited++) {
		const struct entry *e = container_of(l, struct entry, in_parent);

		if (l != &dir->children && is_untold(e->child))
			q->ids[q->n++] = e->child->id;
	}
}

static void
tell_ahead(struct fs *fs, struct inode *dir)
{
	struct listing_ahead *a = &fs->ahead;
	struct queue q = {.n = 0};
	size_t bytes = 0;

	add_folders(&q, dir, &dir->children);
	for (int up = 0; up < UP_MAX && !list_is_empty(&dir->names); up++) {
		struct entry *e = container_of(dir->names.next, struct entry, in_child);

		dir = e->parent;
		add_folders(&q, dir, &e->in_parent);
	}
	for (size_t k = 0; k < q.n && a->told < a->window && bytes < AHEAD_BYTES; k++) {
		struct inode *i = inode_find(fs, q.ids[k]);

		if (!is_untold(i))
			continue;
		watch_folder(fs, i);
		bytes += tell(fs, &fs->notes, i, 0, PIECE_OPEN);
		a->told++;
		add_folders(&q, i, &i->children);
	}
}

/* Twice as many where the last ones were of use, half as many where they were not. */
static void
demanded(struct fs *fs, struct inode *dir, const struct fuse_request *r)
{
	struct listing_ahead *a = &fs->ahead;
	size_t used = (uint16_t)(r->head.padding - a->used);

	if (used * 2 >= a->told)
		a->window = a->window == 0              ? 2
			    : a->window * 2 < AHEAD_MAX ? a->window * 2
							: AHEAD_MAX;
	else if (used * 4 < a->told && a->window > 1)
		a->window /= 2;
	a->used = r->head.padding;
	a->told = 0;
	tell_ahead(fs, dir);
}

/* ---- what causes it ---- */

/* Twice what has been told of it so far. */
static size_t
next_piece(const struct inode *dir, size_t least)
{
	size_t told = dir->told_count * 400UL;

	return told < least ? least : told < PIECE_MAX ? told : PIECE_MAX;
}

void
listing_looked_up(struct fs *fs, struct inode *dir, const struct fuse_request *r)
{
	uint64_t from = dir->told_end ? 0 : dir->told_pos;
	size_t least = from == 0 ? PIECE_FIRST : 0;

	/* Names that the guest has changed are asked for; not a reason to tell all again at once.
	 */
	if (!fs->push || (dir->told_end && ++dir->told_asked * 16 < dir->told_count))
		return;
	tell(fs, &fs->early, dir, from,
		from == 0 && dir->told_end ? PIECE_MAX : next_piece(dir, least));
	if (from == 0)
		demanded(fs, dir, r);
}

bool
listing_read(struct fs *fs, struct inode *dir, const struct fuse_request *r, uint64_t pos)
{
	size_t size = pos == 0 ? PIECE_OPEN : next_piece(dir, PIECE_OPEN);

	if (!fs->push || tell(fs, &fs->early, dir, pos, size) == 0)
		return false;
	if (pos == 0)
		demanded(fs, dir, r);
	return true;
}

void
listing_made(struct fs *fs, struct inode *dir)
{
	watch_folder(fs, dir);
	tell(fs, &fs->early, dir, 0, PIECE_FIRST);
}
