/*
 * What the guest may not do to a workspace because the host would run it later: git's hooks
 * (attacks.md G1, G4, G11, F14). How this works: each request that makes, moves or changes a name
 * comes by here first. Folders are known for what they are by asking the host, not by their
 * spelling: a folder is a hooks folder when the name "hooks" in its parent leads to it and the
 * parent has the marks of a git folder. Once seen, its identity is kept ("pinned"), whatever it and
 * its parent are renamed to, or lose.
 *
 * Invariant: no request makes a folder both a git folder and one whose hooks the guest has written.
 * Therefore a name is kept out of hooks, and `objects` and `refs`, which make a git folder of the
 * one that they are put into, are kept from folders whose `hooks` hold something to run.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/log.h>
#include <base/mem.h>
#include <base/str.h>

#include "hookrules.h"
#include "server.h"

#define PINS_MAX     8192
#define LISTED_MAX   1000 /* entries of a hooks folder that are looked at */
#define MODULES_MAX  512  /* folders below .git/modules that are looked into */
#define MODULE_DEPTH 8
#define SAID_MAX     100

struct pin {
	struct hnode hash;
	struct file_key key;
};

struct guard {
	struct htab pins;
	unsigned said;
};

static uint64_t
pin_hash(const struct fs *fs, const struct file_key *k)
{
	return hash_u64(hash_u64(fs->seed, k->ino), k->dev);
}

/* The same file, through whichever mount. */
static struct pin *
pin_find(const struct fs *fs, const struct file_key *k)
{
	for (struct hnode *h = htab_first(&fs->guard->pins, pin_hash(fs, k)); h != NULL;
		h = htab_next(h)) {
		struct pin *p = container_of(h, struct pin, hash);

		if (p->key.ino == k->ino && p->key.dev == k->dev && p->key.type == k->type &&
			p->key.btime_s == k->btime_s && p->key.btime_ns == k->btime_ns)
			return p;
	}
	return NULL;
}

/* False: it was there already, or there are too many. */
static bool
pin_add(struct fs *fs, const struct file_key *k)
{
	struct pin *p;

	if (fs->guard->pins.n >= PINS_MAX || pin_find(fs, k) != NULL)
		return false;
	p = xcalloc(1, sizeof(*p));
	p->key = *k;
	htab_add(&fs->guard->pins, &p->hash, pin_hash(fs, k));
	return true;
}

static DIR *
list_at(int dirfd, const char *name, int flags)
{
	int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NONBLOCK | flags);
	DIR *d = fd >= 0 ? fdopendir(fd) : NULL;

	if (fd >= 0 && d == NULL)
		close(fd);
	return d;
}

/* A hook may have another name elsewhere, by which it could be written. */
static void
pin_files(struct fs *fs, DIR *d)
{
	const struct dirent *de;
	struct file_key k;
	struct statx st;

	for (size_t n = 0; n < LISTED_MAX && (de = readdir(d)) != NULL; n++) {
		if (!hook_kept_out(HOOK_FOLDER_STRONG, 0, de->d_name, false) ||
			stat_at(dirfd(d), de->d_name, &st) < 0 || !S_ISREG(st.stx_mode) ||
			st.stx_nlink < 2)
			continue;
		file_key_of(&st, &k);
		pin_add(fs, &k);
	}
}

/* In a weak one only what has further names, by which it could become a hook unseen. */
static void
pin_folder(struct fs *fs, int dirfd_, const char *name, enum hook_folder kind, int flags)
{
	CLEAN_CLOSEDIR DIR *d = list_at(dirfd_, name, flags);
	struct file_key k;
	struct statx st;

	if (d == NULL || stat_at(dirfd(d), "", &st) < 0)
		return;
	file_key_of(&st, &k);
	if (kind == HOOK_FOLDER_WEAK || pin_add(fs, &k))
		pin_files(fs, d);
}

/* The hooks folder of this git folder; where it is a symlink, that which it leads to. */
static void
pin_hooks_of(struct fs *fs, int gitdir, int flags)
{
	pin_folder(fs, gitdir, "hooks", HOOK_FOLDER_STRONG, flags);
}

static unsigned
marks_of(int dirfd)
{
	static const struct {
		const char *name;
		unsigned mark;
	} all[] = {
		{"objects", HOOK_MARK_OBJECTS}, {"refs", HOOK_MARK_REFS}, {"HEAD", HOOK_MARK_HEAD}};
	unsigned marks = 0;
	struct statx st;

	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		if (stat_at(dirfd, all[i].name, &st) == 0)
			marks |= all[i].mark;
	return marks;
}

static const struct entry *
name_of(const struct inode *i)
{
	return list_is_empty(&i->names) ? NULL
					: container_of(i->names.next, struct entry, in_child);
}

static unsigned
named_mark(const struct inode *dir)
{
	const struct entry *e = name_of(dir);

	return e != NULL && hook_name_is(e->name, ".git") ? HOOK_MARK_NAMED : 0;
}

static enum hook_folder
look(struct fs *fs, struct inode *dir)
{
	CLEAN_NODEFD struct nodefd n = NODEFD_INIT;
	const struct entry *e = name_of(dir);
	enum hook_folder kind;
	struct statx st;

	if (e == NULL || !hook_name_like(e->name, "hooks") || nodefd_get(fs, e->parent, &n) < 0)
		return HOOK_FOLDER_NONE;
	if (stat_at(n.fd, "hooks", &st) < 0 || !inode_is(dir, &st))
		return HOOK_FOLDER_NONE;
	kind = hook_folder_kind(marks_of(n.fd) | named_mark(e->parent));
	if (kind == HOOK_FOLDER_STRONG)
		pin_hooks_of(fs, n.fd, O_NOFOLLOW);
	return kind;
}

/* The nearest hooks folder: dir itself (depth 0) or one above it. */
static enum hook_folder
hooks_above(struct fs *fs, struct inode *dir, unsigned *ret_depth)
{
	enum hook_folder kind = HOOK_FOLDER_NONE;
	unsigned depth = 0;

	for (struct inode *i = dir; i != fs->root; depth++) {
		const struct entry *e = name_of(i);

		kind = pin_find(fs, &i->key) != NULL ? HOOK_FOLDER_STRONG : look(fs, i);
		if (kind == HOOK_FOLDER_STRONG || (kind == HOOK_FOLDER_WEAK && depth == 0))
			break;
		kind = HOOK_FOLDER_NONE;
		if (e == NULL)
			break;
		i = e->parent;
	}
	*ret_depth = depth;
	return kind;
}

/*
 * Whether this folder, called hooks, would have git run something that the guest has written; it
 * could not where the folder has been known all the time.
 */
static bool
has_live(struct fs *fs, DIR *d)
{
	const struct dirent *de;
	struct file_key k;
	struct statx st;
	size_t n = 0;

	if (stat_at(dirfd(d), "", &st) < 0)
		return true;
	file_key_of(&st, &k);
	if (pin_find(fs, &k) != NULL)
		return false;
	while ((de = readdir(d)) != NULL) {
		if (++n > LISTED_MAX)
			return true;
		if (stat_at(dirfd(d), de->d_name, &st) == 0 &&
			hook_is_live(de->d_name, st.stx_mode))
			return true;
	}
	return false;
}

static bool
has_live_at(struct fs *fs, int dirfd, const char *name)
{
	CLEAN_CLOSEDIR DIR *d = NULL;
	struct statx st;

	if (stat_at(dirfd, name, &st) < 0)
		return false;
	if (S_ISLNK(st.stx_mode))
		return true; /* to wherever */
	if (!S_ISDIR(st.stx_mode))
		return false;
	d = list_at(dirfd, name, O_NOFOLLOW);
	return d == NULL || has_live(fs, d);
}

/* A name that is about to come into a folder. */
struct coming {
	struct inode *dir;
	const char *name;
	bool folder, symlink;
	/* A rename's: where it comes from. */
	struct inode *from;
	const char *from_name;
};

static void
say(struct fs *fs, const struct inode *dir, const char *name)
{
	char path[PATH_MAX], shown[512];

	if (fs->guard->said++ >= SAID_MAX)
		return;
	inode_path(fs, dir, name, path, sizeof(path));
	str_escape(path, strlen(path), shown, sizeof(shown));
	log_warn("refused the guest to write '%s': git on the host would run it; a sandbox made "
		 "with --allow-hooks may",
		shown);
}

static int
deny(struct fs *fs, const struct inode *dir, const char *name)
{
	say(fs, dir, name);
	changes_refused(fs, dir, name);
	return -EPERM;
}

/* hooks itself comes, with something in it, into a git folder. */
static bool
brings_hooks(struct fs *fs, const struct coming *c)
{
	CLEAN_NODEFD struct nodefd from = NODEFD_INIT, to = NODEFD_INIT;
	enum hook_folder kind;

	if (!hook_name_like(c->name, "hooks") || (!c->symlink && c->from == NULL) ||
		nodefd_get(fs, c->dir, &to) < 0)
		return false;
	kind = hook_folder_kind(marks_of(to.fd) | named_mark(c->dir));
	if (kind == HOOK_FOLDER_NONE || c->from == NULL)
		return kind != HOOK_FOLDER_NONE;
	if (nodefd_get(fs, c->from, &from) < 0)
		return false; /* the handler says so */
	if (has_live_at(fs, from.fd, c->from_name))
		return true;
	pin_folder(fs, from.fd, c->from_name, kind, O_NOFOLLOW);
	return false;
}

/* objects or refs come into a folder whose hooks are there already. */
static bool
makes_git(struct fs *fs, const struct coming *c)
{
	CLEAN_NODEFD struct nodefd n = NODEFD_INIT;
	enum hook_folder kind;
	unsigned marks = 0, now;

	if (hook_name_like(c->name, "objects"))
		marks |= HOOK_MARK_OBJECTS;
	if (hook_name_like(c->name, "refs"))
		marks |= HOOK_MARK_REFS;
	if (marks == 0 || nodefd_get(fs, c->dir, &n) < 0)
		return false;
	now = marks_of(n.fd);
	kind = hook_folder_kind(now | marks);
	if (kind == HOOK_FOLDER_NONE || hook_folder_kind(now) != HOOK_FOLDER_NONE)
		return false;
	if (has_live_at(fs, n.fd, "hooks"))
		return true;
	pin_folder(fs, n.fd, "hooks", kind, O_NOFOLLOW);
	return false;
}

static int
check_coming(struct fs *fs, const struct coming *c)
{
	unsigned depth;
	enum hook_folder kind = hooks_above(fs, c->dir, &depth);

	if (hook_kept_out(kind, depth, c->name, c->folder) || brings_hooks(fs, c) ||
		makes_git(fs, c))
		return deny(fs, c->dir, c->name);
	return 0;
}

/* What is known of this file leads into a hooks folder: it is not to be changed. */
static int
check_file(struct fs *fs, struct inode *i)
{
	struct list *l, *tmp;
	unsigned depth;

	if (i->key.type == S_IFDIR)
		return 0;
	if (pin_find(fs, &i->key) != NULL)
		return deny(fs, name_of(i) != NULL ? name_of(i)->parent : fs->root,
			name_of(i) != NULL ? name_of(i)->name : "(without a name)");
	list_foreach(l, tmp, &i->names)
	{
		const struct entry *e = container_of(l, struct entry, in_child);
		enum hook_folder kind = hooks_above(fs, e->parent, &depth);

		if (hook_kept_out(kind, depth, e->name, false))
			return deny(fs, e->parent, e->name);
	}
	return 0;
}

static bool
is_folder(struct fs *fs, struct inode *dir, const char *name)
{
	CLEAN_NODEFD struct nodefd n = NODEFD_INIT;
	struct statx st;

	return nodefd_get(fs, dir, &n) == 0 && stat_at(n.fd, name, &st) == 0 &&
	       S_ISDIR(st.stx_mode);
}

static int
check_rename(struct fs *fs, struct inode *from, const struct fuse_request *r)
{
	struct inode *to = inode_find(fs, r->in.rename.newdir);
	struct coming there = {.dir = to, .name = r->name2, .from = from, .from_name = r->name};
	struct coming back = {.dir = from, .name = r->name, .from = to, .from_name = r->name2};
	int e;

	if (to == NULL)
		return 0; /* the handler says so */
	there.folder = is_folder(fs, from, r->name);
	e = check_coming(fs, &there);
	if (e < 0 || !(r->in.rename.flags & RENAME_EXCHANGE))
		return e;
	back.folder = is_folder(fs, to, r->name2);
	return check_coming(fs, &back);
}

static int
check_link(struct fs *fs, struct inode *dir, const struct fuse_request *r)
{
	struct inode *old = inode_find(fs, r->in.link.oldnodeid);
	struct coming c = {.dir = dir, .name = r->name, .symlink = true};
	int e = old != NULL ? check_file(fs, old) : 0;

	/* It may be a symlink that gets a further name. */
	return e < 0 ? e : check_coming(fs, &c);
}

static int
check(struct fs *fs, struct inode *i, const struct fuse_request *r)
{
	struct coming c = {.dir = i, .name = r->name};

	switch (r->head.opcode) {
	case FUSE_SYMLINK:
		c.symlink = true;
		return check_coming(fs, &c);
	case FUSE_MKDIR:
		c.folder = true;
		return check_coming(fs, &c);
	case FUSE_CREATE:
	case FUSE_MKNOD:
		return check_coming(fs, &c);
	case FUSE_LINK:
		return check_link(fs, i, r);
	case FUSE_RENAME:
	case FUSE_RENAME2:
		return check_rename(fs, i, r);
	case FUSE_OPEN:
		return (r->in.open.flags & (O_ACCMODE | O_TRUNC)) != O_RDONLY ? check_file(fs, i)
									      : 0;
	case FUSE_SETATTR:
		return r->in.setattr.valid & (FATTR_MODE | FATTR_SIZE) ? check_file(fs, i) : 0;
	default:
		return 0;
	}
}

static void
note_rename(struct fs *fs, struct inode *from, const struct fuse_request *r)
{
	struct inode *to = inode_find(fs, r->in.rename.newdir);

	if (to == NULL)
		return;
	changes_touch(fs, from, r->name);
	changes_touch(fs, to, r->name2);
	if (is_folder(fs, from, r->name))
		changes_touch_moved(fs, from, r->name, to, r->name2);
	if (r->in.rename.flags & RENAME_EXCHANGE && is_folder(fs, to, r->name2))
		changes_touch_moved(fs, to, r->name2, from, r->name);
}

/* For the record of changes: the state of before is kept. */
static void
note(struct fs *fs, struct inode *i, const struct fuse_request *r)
{
	switch (r->head.opcode) {
	case FUSE_SYMLINK:
	case FUSE_CREATE:
	case FUSE_MKNOD:
	case FUSE_LINK:
	case FUSE_UNLINK:
		changes_touch(fs, i, r->name);
		break;
	case FUSE_RENAME:
	case FUSE_RENAME2:
		note_rename(fs, i, r);
		break;
	case FUSE_OPEN:
		if ((r->in.open.flags & (O_ACCMODE | O_TRUNC)) != O_RDONLY)
			changes_touch_file(fs, i);
		break;
	case FUSE_SETATTR:
		if (r->in.setattr.valid & (FATTR_MODE | FATTR_SIZE))
			changes_touch_file(fs, i);
		break;
	default:
		break;
	}
}

int
guard_request(struct fs *fs, struct inode *i, const struct fuse_request *r)
{
	int e = fs->guard != NULL ? check(fs, i, r) : 0;

	if (e == 0 && fs->changes != NULL)
		note(fs, i, r);
	return e;
}

bool
guard_is_git_folder(int dirfd_)
{
	/* Two of the three: the settings are among the first that git puts into a new one. */
	return __builtin_popcount(marks_of(dirfd_)) >= 2;
}

/* Submodules' git folders: .git/modules/NAME, where NAME may have slashes, and theirs in turn. */
static void /* NOLINTNEXTLINE(misc-no-recursion): depth ends it */
scan_modules(struct fs *fs, int dirfd_, const char *name, unsigned depth, size_t *left)
{
	CLEAN_CLOSEDIR DIR *d = depth < MODULE_DEPTH ? list_at(dirfd_, name, O_NOFOLLOW) : NULL;
	const struct dirent *de;

	if (d == NULL || *left == 0)
		return;
	(*left)--;
	if (hook_folder_kind(marks_of(dirfd(d))) == HOOK_FOLDER_STRONG) {
		pin_hooks_of(fs, dirfd(d), 0);
		scan_modules(fs, dirfd(d), "modules", depth + 1, left);
		return;
	}
	while ((de = readdir(d)) != NULL)
		if (strcmp(de->d_name, ".") != 0 && strcmp(de->d_name, "..") != 0)
			scan_modules(fs, dirfd(d), de->d_name, depth + 1, left);
}

static void
scan_git_folder(struct fs *fs, int fd)
{
	size_t left = MODULES_MAX;

	pin_hooks_of(fs, fd, 0);
	scan_modules(fs, fd, "modules", 0, &left);
}

static void
scan_workspace(struct fs *fs, const char *path)
{
	struct open_how how = {.flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS};
	CLEAN_CLOSE int fd = -1, git = -1;

	fd = (int)syscall(
		SYS_openat2, fs->opt.root_fd, path[1] != '\0' ? path + 1 : ".", &how, sizeof(how));
	if (fd < 0)
		return; /* a single file, or gone */
	if (hook_folder_kind(marks_of(fd)) == HOOK_FOLDER_STRONG)
		scan_git_folder(fs, fd);
	git = openat(fd, ".git", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (git >= 0)
		scan_git_folder(fs, git);
}

void
guard_init(struct fs *fs)
{
	const struct strv *w = fs->opt.workspaces;

	if (fs->opt.allow_hooks)
		return;
	fs->guard = xcalloc(1, sizeof(*fs->guard));
	for (size_t i = 0; w != NULL && i < w->n; i++)
		scan_workspace(fs, w->v[i]);
}

void
guard_release(struct fs *fs)
{
	struct guard *g = fs->guard;

	if (g == NULL)
		return;
	for (size_t i = 0; i < g->pins.nslots; i++) {
		struct hnode *h = g->pins.slots[i];

		while (h != NULL) {
			struct pin *p = container_of(h, struct pin, hash);

			h = h->next;
			free(p);
		}
	}
	htab_release(&g->pins);
	free(g);
	fs->guard = NULL;
}
