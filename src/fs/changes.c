/*
 * The record of what the guest changes that the host may run later (attacks.md G2, G5, G7). How
 * this works: before a request touches a watched file for the first time its state is kept, as it
 * was; some moments after the last touch, and whenever the supervisor asks, the state now is
 * compared with that, and what differs is told. So only what the guest has touched is looked at,
 * and what it has put back as it was is no change.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/clock.h>
#include <base/io.h>
#include <base/list.h>
#include <base/log.h>
#include <base/mem.h>
#include <base/str.h>
#include <proto/gitconfig.h>

#include "filestate.h"
#include "server.h"
#include "watchlist.h"

#define FILES_MAX  500
#define DELAY_MS   300
#define NAMED_MAX  64
#define TREE_MAX   2000
#define TREE_DEPTH 8

struct watched {
	struct list all;
	char *path;
	enum change_kind kind;
	bool settings;
	bool if_git; /* it counts where git would take the folder for a repository's own */
	struct filestate base, told;
	uint64_t at_ms, refused; /* refused: times that are still to be told */
	bool dirty;
};

/* What a repository's settings name, as they were at the start: a file, or all in a folder. */
struct named {
	char *path;
	bool settings;
};

struct changes {
	struct list files;
	size_t nfiles;
	struct named *named;
	size_t nnamed;
	uint64_t due_ms; /* 0: nothing is */
	bool lost, lost_told, answer;
};

static void
watched_free(struct watched *w)
{
	list_del(&w->all);
	filestate_release(&w->base);
	filestate_release(&w->told);
	free(w->path);
	free(w);
}

/* ---- telling ---- */

static bool
send_packet(const struct fs *fs, const struct buf *b)
{
	return send(fs->opt.changes_fd, b->data, b->len, MSG_DONTWAIT | MSG_NOSIGNAL) ==
		       (ssize_t)b->len ||
	       errno != EAGAIN;
}

static bool
tell(const struct fs *fs, const struct watched *w, enum change_what what, const char *key,
	const char *value, uint64_t times)
{
	CLEAN_FREE char *k = xstrndup(key, CHANGE_KEY_MAX);
	CLEAN_FREE char *v = xstrndup(value, CHANGE_VALUE_MAX);
	const struct change c = {w->kind, what, w->path, k, v, w->at_ms, times};
	CLEAN_BUF struct buf b = BUF_INIT;
	const uint8_t type = FS_CHANGE;

	buf_append(&b, &type, 1);
	change_encode(&c, &b);
	return send_packet(fs, &b);
}

static enum change_what
compare(bool had, bool has, bool same)
{
	if (had != has)
		return has ? CHANGE_ADDED : CHANGE_REMOVED;
	return had && !same ? CHANGE_MODIFIED : CHANGE_NONE;
}

static bool
tell_setting(
	const struct fs *fs, const struct watched *w, const struct filestate *now, const char *key)
{
	const struct filestate_setting *old = filestate_find(&w->base, key),
				       *new = filestate_find(now, key);
	enum change_what what = compare(old != NULL, new != NULL,
		old != NULL && new != NULL &&strcmp(old->value, new->value) == 0);

	return tell(fs, w, what, key, new != NULL ? new->value : "", 0);
}

/* Every key that is or was there, or was told of. */
static bool
tell_settings(const struct fs *fs, const struct watched *w, const struct filestate *now)
{
	const struct filestate *all[] = {&w->base, &w->told, now};
	bool ok = true;

	for (size_t k = 0; k < ARRAY_LEN(all); k++)
		for (size_t i = 0; i < all[k]->nsettings && ok; i++)
			ok = tell_setting(fs, w, now, all[k]->settings[i].key);
	return ok;
}

/* Now, whatever it was when the file was touched: a repository may be made around its settings. */
static bool
is_in_git_folder(const struct fs *fs, const char *path)
{
	CLEAN_FREE char *dir = xstrndup(path, (size_t)(strrchr(path, '/') - path));
	CLEAN_CLOSE int fd = filestate_open(fs, dir[0] != '\0' ? dir : "/.", O_PATH | O_DIRECTORY);

	return fd >= 0 && guard_is_git_folder(fd);
}

/* False: the supervisor does not take it now. */
static bool
look_again(struct fs *fs, struct watched *w)
{
	struct filestate now;
	bool ok = true;

	if (w->refused > 0) {
		ok = tell(fs, w, CHANGE_REFUSED, "", "", w->refused);
		if (ok)
			w->refused = 0;
	}
	filestate_read(fs, w->path, w->settings, &now);
	if (w->if_git && !is_in_git_folder(fs, w->path)) {
		filestate_release(&now);
		filestate_copy(&w->base, &now);
	}
	if (w->settings ? !filestate_same_settings(&now, &w->told)
			: !filestate_same(&now, &w->told)) {
		if (w->settings)
			ok = ok && tell_settings(fs, w, &now);
		else
			ok = ok && tell(fs, w,
					   compare(w->base.type != 0, now.type != 0,
						   filestate_same(&w->base, &now)),
					   "", "", 0);
	}
	w->dirty = !ok;
	if (!ok) {
		filestate_release(&now);
		return false;
	}
	filestate_release(&w->told);
	w->told = now;
	return true;
}

static bool
tell_lost(struct fs *fs)
{
	struct changes *c = fs->changes;
	const struct watched all = {
		.path = (char *)"/", .kind = CHANGE_HOOK, .at_ms = clock_real_ns() / 1000000};

	if (c->lost && !c->lost_told)
		c->lost_told = tell(fs, &all, CHANGE_LOST, "", "", 0);
	return c->lost == c->lost_told;
}

static void
look(struct fs *fs, bool everything)
{
	struct changes *c = fs->changes;
	struct list *l, *tmp;
	bool ok = tell_lost(fs);

	c->due_ms = 0;
	list_foreach(l, tmp, &c->files)
	{
		struct watched *w = container_of(l, struct watched, all);

		if (ok && (everything || w->dirty))
			ok = look_again(fs, w);
		else
			w->dirty |= everything;
	}
	if (ok && c->answer) {
		CLEAN_BUF struct buf b = BUF_INIT;

		buf_append_str(&b, (char[]){FS_SYNCED, '\0'});
		ok = send_packet(fs, &b);
		c->answer = !ok;
	}
	if (!ok)
		c->due_ms = deadline_in_ms(DELAY_MS);
}

void
changes_turn(struct fs *fs, bool readable)
{
	struct changes *c = fs->changes;
	char byte;

	if (c == NULL)
		return;
	if (readable) {
		ssize_t n = recv(fs->opt.changes_fd, &byte, 1, MSG_DONTWAIT);

		if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
			changes_release(fs); /* nobody is there to be told */
			return;
		}
		c->answer |= n == 1 && byte == FS_SYNC;
		fs->freeze |= n == 1 && byte == FS_FREEZE;
		if (c->answer)
			look(fs, true);
	}
	if (c->due_ms != 0 && clock_mono_ms() >= c->due_ms)
		look(fs, c->answer);
}

uint64_t
changes_due_ms(const struct fs *fs)
{
	return fs->changes != NULL ? fs->changes->due_ms : 0;
}

/* ---- touching ---- */

static struct watched *
find(const struct changes *c, const char *path)
{
	struct list *l, *tmp;

	list_foreach(l, tmp, &c->files)
	{
		struct watched *w = container_of(l, struct watched, all);

		if (strcmp(w->path, path) == 0)
			return w;
	}
	return NULL;
}

static struct watched *
get(struct fs *fs, const char *path, enum change_kind kind, bool settings)
{
	struct changes *c = fs->changes;
	struct watched *w = find(c, path);

	if (c->due_ms == 0)
		c->due_ms = deadline_in_ms(DELAY_MS);
	if (w == NULL && c->nfiles >= FILES_MAX) {
		c->lost = true;
		return NULL;
	}
	if (w == NULL) {
		w = xcalloc(1, sizeof(*w));
		w->path = xstrdup(path);
		w->kind = kind;
		w->settings = settings;
		list_add_tail(&c->files, &w->all);
		c->nfiles++;
		filestate_read(fs, w->path, w->settings, &w->base);
		filestate_read(fs, w->path, w->settings, &w->told);
	}
	w->at_ms = clock_real_ns() / 1000000;
	w->dirty = true;
	return w;
}

static const struct named *
find_named(const struct changes *c, const char *path)
{
	for (size_t i = 0; i < c->nnamed; i++) {
		size_t n = strlen(c->named[i].path);

		if (strncmp(path, c->named[i].path, n) == 0 && (path[n] == '/' || path[n] == '\0'))
			return &c->named[i];
	}
	return NULL;
}

static void
touch_path(struct fs *fs, const char *path)
{
	const char *name = strrchr(path, '/') + 1;
	const struct named *named = find_named(fs->changes, path);
	bool settings;
	enum change_kind kind = watchlist_find(path, &settings);
	struct watched *w;

	if (kind != 0) {
		get(fs, path, kind, settings);
	} else if (named != NULL) {
		get(fs, path, named->settings ? CHANGE_GIT : CHANGE_HOOK, named->settings);
	} else if (strcasecmp(name, "config") == 0 || strcasecmp(name, "config.worktree") == 0) {
		w = get(fs, path, CHANGE_GIT, true);
		if (w != NULL)
			w->if_git = true;
	}
}

void
changes_touch(struct fs *fs, struct inode *dir, const char *name)
{
	char path[PATH_MAX];

	if (fs->changes == NULL)
		return;
	inode_path(fs, dir, name, path, sizeof(path));
	touch_path(fs, path);
}

void
changes_touch_file(struct fs *fs, const struct inode *i)
{
	struct list *l, *tmp;

	if (fs->changes == NULL || i->key.type == S_IFDIR)
		return;
	list_foreach(l, tmp, &i->names)
	{
		const struct entry *e = container_of(l, struct entry, in_child);

		changes_touch(fs, e->parent, e->name);
	}
}

void
changes_refused(struct fs *fs, const struct inode *dir, const char *name)
{
	char path[PATH_MAX];
	struct watched *w;

	if (fs->changes == NULL)
		return;
	inode_path(fs, dir, name, path, sizeof(path));
	w = get(fs, path, CHANGE_HOOK, false);
	if (w != NULL)
		w->refused++;
}

struct tree {
	struct fs *fs;
	char from[PATH_MAX], to[PATH_MAX];
	size_t left;
};

static void /* NOLINTNEXTLINE(misc-no-recursion): TREE_DEPTH ends it */
touch_tree(struct tree *t, int dirfd_, const char *name, size_t nfrom, size_t nto, unsigned depth)
{
	int fd = openat(dirfd_, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	CLEAN_CLOSEDIR DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
	const struct dirent *de;

	if (d == NULL) {
		if (fd >= 0)
			close(fd);
		return;
	}
	while ((de = readdir(d)) != NULL && t->left > 0) {
		int a = snprintf(t->from + nfrom, sizeof(t->from) - nfrom, "/%s", de->d_name);
		int b = snprintf(t->to + nto, sizeof(t->to) - nto, "/%s", de->d_name);

		if (strcmp(de->d_name, ".") == 0 || strcmp(de->d_name, "..") == 0 ||
			nfrom + (size_t)a >= sizeof(t->from) || nto + (size_t)b >= sizeof(t->to))
			continue;
		t->left--;
		if (de->d_type != DT_DIR) {
			touch_path(t->fs, t->from);
			touch_path(t->fs, t->to);
		} else if (depth < TREE_DEPTH) {
			touch_tree(t, dirfd(d), de->d_name, nfrom + (size_t)a, nto + (size_t)b,
				depth + 1);
		}
	}
}

void
changes_touch_moved(
	struct fs *fs, struct inode *from, const char *name, struct inode *to, const char *name2)
{
	CLEAN_FREE struct tree *t = NULL;
	CLEAN_NODEFD struct nodefd n = NODEFD_INIT;

	if (fs->changes == NULL || nodefd_get(fs, from, &n) < 0)
		return;
	t = xcalloc(1, sizeof(*t));
	t->fs = fs;
	t->left = TREE_MAX;
	inode_path(fs, from, name, t->from, sizeof(t->from));
	inode_path(fs, to, name2, t->to, sizeof(t->to));
	/* Package managers move folders by the thousand. */
	if (strstr(t->from, "/node_modules/") == NULL || strstr(t->to, "/node_modules/") == NULL)
		touch_tree(t, n.fd, name, strlen(t->from), strlen(t->to), 0);
}

void
changes_end(struct fs *fs)
{
	if (fs->changes != NULL)
		look(fs, true);
}

/* Absolute as the guest has it, without "." and "..". NULL: of the home folder, or no path. */
static char *
resolve_name(const char *dir, const char *value)
{
	CLEAN_FREE char *joined = value[0] == '/' ? xstrdup(value) : xasprintf("%s/%s", dir, value);
	CLEAN_BUF struct buf out = BUF_INIT;
	char *save = NULL;

	if (value[0] == '\0' || value[0] == '~')
		return NULL;
	for (char *c = strtok_r(joined, "/", &save); c != NULL; c = strtok_r(NULL, "/", &save)) {
		const char *slash = out.len > 0 ? strrchr(buf_str(&out), '/') : NULL;

		if (strcmp(c, "..") == 0 && slash != NULL)
			out.len = (size_t)(slash - buf_str(&out));
		else if (strcmp(c, ".") != 0 && strcmp(c, "..") != 0)
			buf_printf(&out, "/%s", c);
	}
	return out.len > 0 ? xstrdup(buf_str(&out)) : NULL;
}

struct naming {
	struct changes *c;
	const char *workspace;
};

static int
add_named(void *arg, const char *key, const char *value)
{
	const struct naming *n = arg;
	bool hooks = strcmp(key, "core.hookspath") == 0;
	CLEAN_FREE char *git = xasprintf("%s/.git", n->workspace), *path = NULL;

	if (value == NULL || n->c->nnamed >= NAMED_MAX ||
		(!hooks && !(str_has_prefix(key, "include") && str_has_suffix(key, ".path"))))
		return 0;
	path = resolve_name(hooks ? n->workspace : git, value);
	if (path == NULL)
		return 0;
	n->c->named = xreallocarray(n->c->named, n->c->nnamed + 1, sizeof(*n->c->named));
	n->c->named[n->c->nnamed++] = (struct named){TAKE_PTR(path), !hooks};
	return 0;
}

static void
read_names(struct fs *fs, const char *workspace)
{
	CLEAN_FREE char *path = xasprintf("%s/.git/config", workspace);
	CLEAN_CLOSE int fd = filestate_open(fs, path, O_RDONLY | O_NONBLOCK);
	struct naming n = {fs->changes, workspace};
	CLEAN_BUF struct buf b = BUF_INIT;

	if (fd >= 0 && filestate_content(fd, &b))
		gitconfig_parse((const char *)b.data, b.len, add_named, &n);
}

void
changes_init(struct fs *fs)
{
	const struct strv *w = fs->opt.workspaces;

	if (fs->opt.changes_fd <= 0)
		return;
	fs->changes = xcalloc(1, sizeof(*fs->changes));
	list_init(&fs->changes->files);
	for (size_t i = 0; w != NULL && i < w->n; i++)
		read_names(fs, w->v[i]);
}

void
changes_release(struct fs *fs)
{
	struct list *l, *tmp;

	if (fs->changes == NULL)
		return;
	list_foreach(l, tmp, &fs->changes->files)
		watched_free(container_of(l, struct watched, all));
	free(fs->changes);
	fs->changes = NULL;
}
