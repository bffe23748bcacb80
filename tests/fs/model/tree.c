/* What a tree looks like, and whether two look the same. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <base/htab.h>

#include "model.h"

static bool
stats_agree(const struct stat *a, const struct stat *b)
{
	return a->st_mode == b->st_mode && a->st_nlink == b->st_nlink &&
	       (S_ISDIR(a->st_mode) || a->st_size == b->st_size);
}

void
same_stat(const struct stat *a, const struct stat *b)
{
	if (!stats_agree(a, b))
		die("mount mode %o links %ld size %ld, plain %o %ld %ld", a->st_mode,
			(long)a->st_nlink, (long)a->st_size, b->st_mode, (long)b->st_nlink,
			(long)b->st_size);
}

void
stat_both(const char *p, int flags)
{
	struct stat st[SIDES];

	BOTH(fstatat(dir, p, &st[side], flags));
	if (fstatat(t.root[PLAIN], p, &st[PLAIN], flags) == 0)
		same_stat(&st[MOUNT], &st[PLAIN]);
}

/* NULL: all the same; valid until the next call. */
const char *
handles_difference(void)
{
	static char text[200];

	for (int k = 0; k < HANDLES; k++) {
		struct stat m, p;
		int r;

		/* A FIFO is open in the guest alone: when the host unlinks it, nothing leads there.
		 */
		if (t.open[k].fd[MOUNT] < 0 || fstat(t.open[k].fd[PLAIN], &p) < 0 ||
			S_ISFIFO(p.st_mode))
			continue;
		r = fstat(t.open[k].fd[MOUNT], &m);
		if (r == 0 && stats_agree(&m, &p))
			continue;
		snprintf(text, sizeof(text),
			"open file %d: mount: %s, mode %o links %ld size %ld; plain: %o %ld %ld", k,
			r < 0 ? strerror(errno) : "found", r < 0 ? 0 : m.st_mode,
			r < 0 ? 0 : (long)m.st_nlink, r < 0 ? 0 : (long)m.st_size, p.st_mode,
			(long)p.st_nlink, (long)p.st_size);
		return text;
	}
	return NULL;
}

static int
by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The names with their types, sorted, one a line; the caller frees. NULL with errno. */
char *
list(int root, const char *p)
{
	int fd = openat(root, p, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	char *names[4096], *all;
	size_t n = 0, len = 1;
	struct dirent *de;
	DIR *d;

	if (fd < 0)
		return NULL;
	d = fdopendir(fd);
	if (d == NULL) { /* somebody else has removed it */
		close(fd);
		return NULL;
	}
	while ((de = readdir(d)) != NULL && n < 4096) {
		names[n] = malloc(strlen(de->d_name) + 3);
		len += (size_t)sprintf(names[n++], "%s %c", de->d_name, de->d_type + 'a') + 1;
	}
	closedir(d);
	qsort(names, n, sizeof(*names), by_name);
	all = calloc(1, len + 1);
	for (size_t k = 0; k < n; k++) {
		strcat(strcat(all, names[k]), "\n");
		free(names[k]);
	}
	return all;
}

/* Calls with each path below p; the lines of a listing are taken apart on the way. */
static void
each_child(char *listing, const char *p, void (*call)(const char *sub, void *arg), void *arg)
{
	char *name, *save = NULL, sub[512];

	for (name = strtok_r(listing, "\n", &save); name != NULL;
		name = strtok_r(NULL, "\n", &save)) {
		name[strlen(name) - 2] = '\0';
		if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
			continue;
		snprintf(sub, sizeof(sub), "%s/%s", p, name);
		call(sub, arg);
	}
}

/* As a name shows it now; -1 where it cannot be read. */
static uint64_t
content_hash(int root, const char *name)
{
	static uint8_t b[SPAN];
	int fd = openat(root, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	ssize_t n = -1;

	if (fd >= 0) {
		n = pread(fd, b, sizeof(b), 0);
		close(fd);
	}
	return n < 0 ? UINT64_MAX : hash_bytes(1, b, (size_t)n);
}

static uint64_t
stat_hash(uint64_t h, int root, const char *p, struct stat *ret)
{
	if (fstatat(root, p, ret, AT_SYMLINK_NOFOLLOW) < 0) {
		memset(ret, 0, sizeof(*ret));
		return hash_u64(h, (uint64_t)errno);
	}
	h = hash_u64(hash_u64(h, ret->st_mode), ret->st_nlink);
	return S_ISDIR(ret->st_mode) ? h : hash_u64(h, (uint64_t)ret->st_size);
}

static uint64_t
name_hash(int root, const char *p)
{
	struct stat st;
	uint64_t h = stat_hash(2, root, p, &st);

	return S_ISREG(st.st_mode) ? hash_u64(h, content_hash(root, p)) : h;
}

struct walk {
	int root;
	uint64_t hash;
};

static void /* NOLINTNEXTLINE(misc-no-recursion): as deep as the paths of path() */
walk_tree(const char *p, void *arg)
{
	struct walk *w = arg;
	struct stat st;
	char *l;

	w->hash = hash_bytes(w->hash, p, strlen(p));
	w->hash = stat_hash(w->hash, w->root, p, &st);
	if (!S_ISDIR(st.st_mode))
		return;
	l = list(w->root, p);
	if (l == NULL)
		return;
	w->hash = hash_bytes(w->hash, l, strlen(l));
	each_child(l, p, walk_tree, w);
	free(l);
}

void
view_take(int root, const char *a, const char *b, struct view *ret)
{
	struct walk w = {root, 3};

	ret->a = name_hash(root, a);
	ret->b = name_hash(root, b);
	walk_tree(".", &w);
	ret->tree = w.hash;
}

const char *
view_difference(const struct view *a, const struct view *b)
{
	if (a->a != b->a)
		return "the first name";
	if (a->b != b->b)
		return "the second name";
	return a->tree != b->tree ? "the tree" : NULL;
}

static void /* NOLINTNEXTLINE(misc-no-recursion): as deep as the paths of path() */
same_below(const char *p, void *arg)
{
	char *l[SIDES];

	(void)arg;
	say("final tree: %s", p);
	stat_both(p, AT_SYMLINK_NOFOLLOW);
	if (name_hash(t.root[MOUNT], p) != name_hash(t.root[PLAIN], p))
		die("contents differ");
	for (int side = 0; side < SIDES; side++)
		l[side] = list(t.root[side], p);
	if ((l[MOUNT] == NULL) != (l[PLAIN] == NULL) ||
		(l[MOUNT] != NULL && strcmp(l[MOUNT], l[PLAIN]) != 0))
		die("mount:\n%s\nplain:\n%s", l[MOUNT] != NULL ? l[MOUNT] : "-",
			l[PLAIN] != NULL ? l[PLAIN] : "-");
	if (l[MOUNT] != NULL)
		each_child(l[MOUNT], p, same_below, NULL);
	for (int side = 0; side < SIDES; side++)
		free(l[side]);
}

void
same_tree(const char *p)
{
	same_below(p, NULL);
}
