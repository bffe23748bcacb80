/*
 * How this works: when a program has opened one file of a folder, it mostly opens the next ones
 * too (grep, git status, cp -r, a compiler). So the content of a small file, and of the next ones
 * in its folder, goes to the guest's pump with the reply to the first open; from there they are
 * opened and read without a message. The window of siblings doubles as long as it is used up, which
 * shows in the next open that comes here, and starts larger where the folder has just been listed,
 * or where that of the last folder was used up twice.
 *
 * Each such file is held by a descriptor, its lease: when the host takes its name away, whoever has
 * it open in the guest can go on.
 *
 * What is told is as the guest's caches are: compared with `known`, only where a change on the host
 * would cause an event, and revoked by the same notifications.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <base/cleanup.h>

#include "server.h"

#define WINDOW_FIRST  8
#define WINDOW_LISTED 32
#define WINDOW_MAX    256
#define WINDOW_BYTES  (384u << 10)
#define VISIT_MAX     1024

void
push_head(struct fs *fs, struct buf *to, enum fuse_push_code code, struct inode *i,
	const struct statx *st, size_t content)
{
	struct fuse_push p = {
		.seen = fs->taken, .nodeid = i->id, .ttl_s = coherence_attr_ttl(i, st)};
	struct fuse_out_header h = {
		.len = (uint32_t)(sizeof(h) + sizeof(p) + content), .error = (int32_t)code};

	attr_fill(fs, st, &p.attr);
	buf_append(to, &h, sizeof(h));
	buf_append(to, &p, sizeof(p));
}

bool
push_wanted(const struct fs *fs, const struct inode *i)
{
	return fs->push && (i->nlookup > 0 || i == fs->root);
}

void
push_attr(struct fs *fs, struct inode *i, const struct statx *st)
{
	/* What is not watched would be told once, and be true for a second. */
	if (!push_wanted(fs, i) || coherence_attr_ttl(i, st) != TTL_WATCHED_S)
		return;
	push_head(fs, &fs->early, FUSE_PUSH_ATTR, i, st, 0);
	fuse_line_seal(&fs->early);
}

void
lease_drop(struct fs *fs, struct inode *i)
{
	if (i->lease_fd < 0)
		return;
	close(i->lease_fd);
	i->lease_fd = -1;
	list_del(&i->lease);
	fs->nleases--;
}

void
lease_hold(struct fs *fs, struct inode *i)
{
	struct held h = {.inode = i, .fd = i->lease_fd};

	if (i->lease_fd < 0)
		return;
	i->lease_fd = -1;
	list_del(&i->lease);
	fs->nleases--;
	if (!i->fd_held && fs->nheld < fs->cached_max)
		nodefd_hold(fs, &h);
	held_release(&h);
}

/* The guest's pump may open the file from now on: whatever the host does to its name meanwhile. */
static bool
lease_take(struct fs *fs, struct inode *i, int fd)
{
	if (i->lease_fd >= 0)
		return true;
	if (fs->nleases >= fs->leases_max) {
		struct inode *old = container_of(fs->leases.next, struct inode, lease);

		note_inval_inode(fs, old->id, -1);
		lease_drop(fs, old);
	}
	i->lease_fd = openat(fs->opt.proc_fd, fd_name(fd).s, O_PATH | O_CLOEXEC);
	if (i->lease_fd < 0)
		return false;
	list_add_tail(&fs->leases, &i->lease);
	fs->nleases++;
	return true;
}

void
lease_renew(struct fs *fs, struct inode *i)
{
	if (!i->fd_held)
		return;
	if (fs->push && i->key.type == S_IFREG)
		lease_take(fs, i, i->fd);
	nodefd_drop_cached(fs, i);
}

static bool
has_writer(const struct inode *i)
{
	struct list *l, *tmp;

	list_foreach(l, tmp,
		&i->handles) if (container_of(l, struct handle, in_inode)->writable) return true;
	return false;
}

static bool
is_small(const struct statx *st)
{
	return S_ISREG(st->stx_mode) && st->stx_size > 0 && st->stx_size <= FUSE_PUSH_CONTENT_MAX &&
	       st->stx_nlink == 1;
}

/* The whole of it, as long as st says, behind what is in the buffer. */
static bool
put_content(struct buf *to, int fd, const struct statx *st)
{
	struct statx after;
	ssize_t n = pread(fd, buf_reserve(to, st->stx_size + 1), st->stx_size + 1, 0);

	if (n < 0 || (uint64_t)n != st->stx_size || stat_at(fd, "", &after) < 0 ||
		after.stx_mtime.tv_sec != st->stx_mtime.tv_sec ||
		after.stx_mtime.tv_nsec != st->stx_mtime.tv_nsec)
		return false;
	buf_commit(to, (size_t)n);
	return true;
}

/* fd: open for reading. content: the guest does not have it yet. Returns bytes of content. */
static size_t
push_file(struct fs *fs, struct buf *to, struct inode *i, int fd, bool content)
{
	struct statx st;
	size_t start;

	if (!push_wanted(fs, i) || has_writer(i) || stat_at(fd, "", &st) < 0 || !is_small(&st))
		return 0;
	coherence_see(fs, i, &st);
	if (coherence_attr_ttl(i, &st) != TTL_WATCHED_S || !lease_take(fs, i, fd))
		return 0;
	start = to->len;
	push_head(fs, to, FUSE_PUSH_FILE, i, &st, content ? st.stx_size : 0);
	if (content && !put_content(to, fd, &st)) {
		to->len = start;
		return 0;
	}
	fuse_line_seal(to);
	i->pushed = true;
	return content ? st.stx_size : 0;
}

static size_t
push_sibling(struct fs *fs, struct inode *i)
{
	CLEAN_NODEFD struct nodefd n = NODEFD_INIT;
	CLEAN_CLOSE int fd = -1;

	if (nodefd_get(fs, i, &n) < 0)
		return 0;
	fd = nodefd_reopen(&n, O_RDONLY | O_NONBLOCK);
	return fd >= 0 ? push_file(fs, &fs->notes, i, fd, true) : 0;
}

static bool
is_wanted(const struct inode *i)
{
	return i != NULL && i->key.type == S_IFREG && !i->pushed && i->nlookup > 0 &&
	       i->known.valid && i->known.size > 0 && i->known.size <= FUSE_PUSH_CONTENT_MAX &&
	       list_is_empty(&i->handles);
}

/* Those behind the entry, and then those before it. */
static void
push_siblings(struct fs *fs, struct inode *dir, const struct list *from, size_t window)
{
	size_t n = 0, bytes = 0, visited = 0;

	for (struct list *l = from->next;
		l != from && n < window && bytes < WINDOW_BYTES && visited < VISIT_MAX;
		l = l->next, visited++) {
		struct inode *i;

		if (l == &dir->children)
			continue;
		i = container_of(l, struct entry, in_parent)->child;
		if (!is_wanted(i))
			continue;
		bytes += push_sibling(fs, i);
		n++;
	}
}

static size_t
next_window(struct fs *fs, struct inode *dir)
{
	size_t now = dir->window;

	if (now == 0)
		now = dir->listed || fs->last_window > WINDOW_FIRST ? WINDOW_LISTED : 0;
	dir->window = (uint16_t)(now == 0               ? WINDOW_FIRST
				 : now * 2 < WINDOW_MAX ? now * 2
							: WINDOW_MAX);
	fs->last_window = dir->window;
	return now;
}

void
push_opened(struct fs *fs, struct inode *i, int fd)
{
	struct entry *e;

	if (!fs->push || list_is_empty(&i->names))
		return;
	e = container_of(i->names.next, struct entry, in_child);
	push_file(fs, &fs->early, i, fd, !i->pushed);
	e->parent->pins++;
	push_siblings(fs, e->parent, &e->in_parent, next_window(fs, e->parent));
	e->parent->pins--;
}

void
push_folder(struct fs *fs, struct inode *dir, int fd)
{
	struct statx st;

	if (!push_wanted(fs, dir) || dir->wd < 0 || stat_at(fd, "", &st) < 0)
		return;
	coherence_see(fs, dir, &st);
	push_head(fs, &fs->early, FUSE_PUSH_FOLDER, dir, &st, 0);
	fuse_line_seal(&fs->early);
}

void
push_void(struct fs *fs, struct inode *i)
{
	struct fuse_push p = {.seen = fs->taken, .nodeid = i->id};
	struct fuse_out_header h = {.len = sizeof(h) + sizeof(p), .error = (int32_t)FUSE_PUSH_VOID};

	if (!push_wanted(fs, i))
		return;
	i->told_pos = 0;
	i->told_end = false;
	buf_append(&fs->early, &h, sizeof(h));
	buf_append(&fs->early, &p, sizeof(p));
	fuse_line_seal(&fs->early);
}

/* The guest's kernel looks the name up once more, and then it is to get here. */
void
push_void_names(struct fs *fs, const struct inode *i)
{
	struct inode *last = inode_find(fs, i->last_dir);
	struct list *l, *tmp;

	list_foreach(l, tmp, &i->names)
		push_void(fs, container_of(l, struct entry, in_child)->parent);
	if (list_is_empty(&i->names) && last != NULL)
		push_void(fs, last);
}
