/*
 * How this works: a Java virtual machine reads lib/security/cacerts of its own folder, and what
 * would name another file to it silently there is not: JAVA_TOOL_OPTIONS and its like are told to
 * whoever reads its output. So the folder in which the list lies gets an overlay (overlayfs) for
 * the life of the container:
 *
 *   state/ID/root        -> the root file system, in the guest
 *   state/ID/N/folder    -> the folder of the list, in the container
 *   state/ID/N/list/     the list, with the guest's certificates
 *   state/ID/N/upper/    what the container writes there, work/ belongs to it
 *
 * A file would be simpler to mount, but what is mounted can be neither replaced nor removed, and
 * keytool, update-ca-certificates, p11-kit and package managers do all of that in ordinary builds.
 * What they have written is the container's own: it is put where it belongs when the container has
 * ended, before its layer is made.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <linux/openat2.h>

#include <base/cleanup.h>
#include <base/io.h>
#include <base/mem.h>

#include "java.h"
#include "keystore.h"
#include "upper.h"

#define LIST_MAX UPPER_FILTER_MAX
#define ID_MAX   128

struct search {
	int root;
	char root_path[PATH_MAX]; /* resolved */
	const struct oci_container *container;
	const char *pem, *dir;
	struct java_overlays *found;
};

void
java_overlays_release(struct java_overlays *o)
{
	for (size_t i = 0; i < o->n; i++) {
		free(o->v[i].destination);
		free(o->v[i].lower);
		free(o->v[i].upper);
		free(o->v[i].work);
	}
	o->n = 0;
}

/* runc's own rule, and a name that is no way elsewhere. */
static bool
is_id(const char *id)
{
	static const char ok[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-.";

	return id != NULL && id[0] != '\0' && id[0] != '.' && strlen(id) <= ID_MAX &&
	       strspn(id, ok) == strlen(id);
}

/* Where a descriptor has led. */
static bool
path_of(int fd, char ret[PATH_MAX])
{
	char link[64];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, ret, PATH_MAX - 1);
	ret[n > 0 ? n : 0] = '\0';
	return n > 0 && ret[0] == '/';
}

static int
reopen(int path_fd)
{
	char link[64];

	snprintf(link, sizeof(link), "/proc/self/fd/%d", path_fd);
	return open(link, O_RDONLY | O_CLOEXEC);
}

static bool
is_below(const char *path, const char *folder)
{
	size_t n = strlen(folder);

	while (n > 0 && folder[n - 1] == '/')
		n--;
	return strncmp(path, folder, n) == 0 && (path[n] == '/' || path[n] == '\0');
}

/* Whoever has mounted something there has said what he wants. */
static bool
is_taken(const struct search *s, const char *folder)
{
	const struct strv *m = &s->container->mounted;

	for (size_t i = 0; i < m->n; i++)
		if ((is_below(folder, m->v[i]) && strspn(m->v[i], "/") != strlen(m->v[i])) ||
			is_below(m->v[i], folder))
			return true;
	for (size_t i = 0; i < s->found->n; i++)
		if (is_below(folder, s->found->v[i].destination) ||
			is_below(s->found->v[i].destination, folder))
			return true;
	return false;
}

static int
put_list(const char *at, const char *name, const struct buf *content, const struct stat *st,
	struct err *e)
{
	CLEAN_FREE char *path = xasprintf("%s/%s", at, name);
	const struct timespec times[] = {st->st_atim, st->st_mtim};
	int r = io_write_new_file(AT_FDCWD, path, content->data, content->len, 0600, e);

	if (r < 0)
		return r;
	if (chown(path, st->st_uid, st->st_gid) < 0 || chmod(path, st->st_mode & 07777) < 0 ||
		utimensat(AT_FDCWD, path, times, 0) < 0)
		return err_sys(e, errno, "'%s'", path);
	return 0;
}

/* Of an overlay's folder the attributes are those of the uppermost. */
static int
make_like(const char *path, const struct stat *st, struct err *e)
{
	int r = io_mkdirs(path, 0700, e);

	if (r == 0 &&
		(chown(path, st->st_uid, st->st_gid) < 0 || chmod(path, st->st_mode & 07777) < 0))
		r = err_sys(e, errno, "'%s'", path);
	return r;
}

/* The folder is one of the container: "/opt/java/lib/security". */
static int
make(struct search *s, const char *folder, const char *name, const struct buf *content,
	const struct stat *st, struct err *e)
{
	CLEAN_CLOSE int fd = io_openat2(s->root, folder, O_PATH | O_DIRECTORY, RESOLVE_IN_ROOT);
	CLEAN_FREE char *at = xasprintf("%s/%zu", s->dir, s->found->n);
	CLEAN_FREE char *list = xasprintf("%s/list", at), *upper = xasprintf("%s/upper", at);
	CLEAN_FREE char *work = xasprintf("%s/work", at), *link = xasprintf("%s/folder", at);
	struct oci_overlay *o = &s->found->v[s->found->n];
	struct stat like;
	int r;

	if (fd < 0 || fstat(fd, &like) < 0)
		return err_sys(e, errno, "'%s'", folder);
	r = make_like(list, &like, e);
	if (r == 0)
		r = put_list(list, name, content, st, e);
	if (r == 0 && !s->container->readonly)
		r = make_like(upper, &like, e);
	if (r == 0 && !s->container->readonly)
		r = io_mkdirs(work, 0700, e);
	if (r == 0 && symlink(folder, link) < 0)
		r = err_sys(e, errno, "'%s'", link);
	if (r < 0)
		return r;
	*o = (struct oci_overlay){.destination = xstrdup(folder),
		.lower = xasprintf("%s:%s%s", list, s->root_path, folder)};
	if (!s->container->readonly) {
		o->upper = TAKE_PTR(upper);
		o->work = TAKE_PTR(work);
	}
	s->found->n++;
	return 0;
}

/* A path in the container that may be a list. */
static int
consider(struct search *s, const char *path, struct err *e)
{
	CLEAN_CLOSE int at = io_openat2(s->root, path, O_PATH, RESOLVE_IN_ROOT);
	CLEAN_CLOSE int fd = -1;
	CLEAN_BUF struct buf old = BUF_INIT;
	CLEAN_BUF struct buf new = BUF_INIT;
	char real[PATH_MAX], *folder, *name;
	struct stat st;

	if (at < 0 || fstat(at, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size > LIST_MAX ||
		!path_of(at, real) || !is_below(real, s->root_path))
		return 0;
	folder = real + strlen(s->root_path);
	name = strrchr(folder, '/');
	*name++ = '\0';
	if (folder[0] == '\0' || strpbrk(real, ":,\\") != NULL || is_taken(s, folder) ||
		s->found->n == JAVA_LISTS_MAX)
		return 0;
	fd = reopen(at);
	if (fd < 0 || io_read_fd_all(fd, LIST_MAX, &old, NULL) < 0 ||
		keystore_add(old.data, old.len, s->pem, &new) != KEYSTORE_CHANGED)
		return 0;
	return make(s, folder, name, &new, &st, e);
}

/* The folder of a Java: of a JDK up to 8 the list is in its jre. */
static int
consider_home(struct search *s, const char *home, struct err *e)
{
	CLEAN_FREE char *own = xasprintf("%s/lib/security/cacerts", home);
	CLEAN_FREE char *jre = xasprintf("%s/jre/lib/security/cacerts", home);
	int r = consider(s, own, e);

	return r == 0 ? consider(s, jre, e) : r;
}

/* Where images have them: each folder in there is one, or has some. */
static int
look_in(struct search *s, const char *place, struct err *e)
{
	int fd = io_openat2(s->root, place, O_RDONLY | O_DIRECTORY, RESOLVE_IN_ROOT);
	CLEAN_CLOSEDIR DIR *d = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *de;
	int r = 0;

	while (d != NULL && r == 0 && (de = readdir(d)) != NULL) {
		CLEAN_FREE char *home = NULL;

		if (de->d_name[0] == '.')
			continue;
		home = xasprintf("%s/%s", place, de->d_name);
		r = consider_home(s, home, e);
	}
	return r;
}

static int
look(struct search *s, struct err *e)
{
	static const char *const places[] = {"/usr/lib/jvm", "/opt/java", "/usr/java", "/usr/local",
		"/opt", "/opt/bitnami", "/root/.sdkman/candidates/java"};
	const char *home = s->container->java_home;
	int r = home != NULL && home[0] == '/' ? consider_home(s, home, e) : 0;

	for (size_t i = 0; r == 0 && i < ARRAY_LEN(places); i++)
		r = look_in(s, places[i], e);
	return r == 0 ? consider(s, "/etc/ssl/certs/java/cacerts", e) : r;
}

int
java_prepare(const char *state, const char *id, const char *bundle, const struct oci_container *c,
	const char *pem, struct java_overlays *ret, struct err *e)
{
	CLEAN_FREE char *dir = xasprintf("%s/%s", state, id != NULL ? id : "");
	CLEAN_FREE char *link = xasprintf("%s/root", dir);
	CLEAN_FREE char *path = NULL;
	CLEAN_CLOSE int root = -1;
	struct search s = {.container = c, .pem = pem, .dir = dir, .found = ret};
	int r;

	if (!is_id(id) || c->root == NULL || c->user_namespace)
		return 0;
	path = c->root[0] == '/' ? xstrdup(c->root) : xasprintf("%s/%s", bundle, c->root);
	root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root < 0 || !path_of(root, s.root_path))
		return 0; /* runc knows how to say it */
	s.root = root;
	r = io_remove_tree(AT_FDCWD, dir, e);
	if (r == 0)
		r = look(&s, e);
	if (r == 0 && ret->n > 0 && symlink(s.root_path, link) < 0)
		r = err_sys(e, errno, "'%s'", link);
	if (r < 0) {
		java_overlays_release(ret);
		io_remove_tree(AT_FDCWD, dir, NULL);
	}
	return r;
}

bool
java_is_prepared(const char *state, const char *id)
{
	CLEAN_FREE char *dir = xasprintf("%s/%s", state, is_id(id) ? id : "");

	return is_id(id) && access(dir, F_OK) == 0;
}

static bool
without_ours(const void *p, size_t n, struct buf *out)
{
	return keystore_remove(p, n, out) == KEYSTORE_CHANGED;
}

static int
settle_one(int root, int one, struct err *e)
{
	CLEAN_CLOSE int upper =
		openat(one, "upper", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	CLEAN_CLOSE int folder = -1;
	char path[PATH_MAX];
	ssize_t n = readlinkat(one, "folder", path, sizeof(path) - 1);

	if (upper < 0 || n <= 0)
		return 0; /* nothing could be written */
	path[n] = '\0';
	folder = io_openat2(root, path, O_RDONLY | O_DIRECTORY, RESOLVE_IN_ROOT);
	if (folder < 0)
		return err_sys(e, errno, "'%s'", path);
	return upper_apply(upper, folder, without_ours, e) < 0 ? err_prefix(e, "'%s'", path) : 0;
}

int
java_settle(const char *state, const char *id, struct err *e)
{
	CLEAN_FREE char *dir = xasprintf("%s/%s", state, is_id(id) ? id : "");
	CLEAN_CLOSE int at = -1, root = -1;
	int r = 0;

	if (!is_id(id))
		return 0;
	at = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (at < 0)
		return 0;
	root = openat(at, "root", O_PATH | O_DIRECTORY | O_CLOEXEC);
	for (unsigned i = 0; root >= 0 && r == 0; i++) {
		char name[16];
		CLEAN_CLOSE int one = -1;

		snprintf(name, sizeof(name), "%u", i);
		one = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (one < 0)
			break;
		r = settle_one(root, one, e);
	}
	io_remove_tree(AT_FDCWD, dir, NULL);
	return r;
}
