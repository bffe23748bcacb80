/*
 * How this works: a snapshot is a folder that appears whole, by rename(2), and is never changed.
 * Who uses one holds a shared lock on its folder; who removes one takes the lock alone, so that it
 * does not vanish between being found and being opened by QEMU (after that it may: a mapped file
 * lives on). Making is one at a time, under a lock of its own.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/clock.h>
#include <base/io.h>
#include <base/log.h>
#include <base/mem.h>
#include <snapshot/snapshot.h>

#include "rate.h"

#define META          "snapshot.json"
#define META_MAX      (1u << 20)
#define WORK          ".new-"
#define FAILED        ".failed-"
#define FAILED_WAIT_S (10 * 60) /* a machine that was busy boots cold no longer than that */
/* One part in a thousand: what measuring it twice differs by is a tenth of that. */
#define TSC_TOLERANCE 1000

void
snapshot_release(struct snapshot *s)
{
	free(s->id);
	free(s->image);
	free(s->key);
	free(s->boot_id);
	free(s->ram);
	free(s->state);
	free(s->disk);
	if (s->lock >= 0)
		close(s->lock);
	*s = (struct snapshot)SNAPSHOT_INIT;
}

void
snapshot_unlock(struct snapshot *s)
{
	if (s->lock >= 0)
		close(s->lock);
	s->lock = -1;
}

void
snapshot_list_release(struct snapshot_list *l)
{
	for (size_t i = 0; i < l->n; i++)
		snapshot_release(&l->v[i]);
	free(l->v);
	*l = (struct snapshot_list){0};
}

static char *
root_of(const char *data_dir)
{
	return xasprintf("%s/snapshots", data_dir);
}

static int
open_root(const char *data_dir, struct err *e)
{
	CLEAN_FREE char *root = root_of(data_dir);
	int r = io_mkdirs(root, 0700, e), fd;

	if (r < 0)
		return r;
	fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? err_sys(e, errno, "open '%s'", root) : fd;
}

static uint64_t
used_bytes(int dir)
{
	static const char *const files[] = {SNAPSHOT_RAM, SNAPSHOT_STATE, SNAPSHOT_DISK, META};
	uint64_t sum = 0;
	struct stat st;

	for (size_t i = 0; i < ARRAY_LEN(files); i++)
		if (fstatat(dir, files[i], &st, AT_SYMLINK_NOFOLLOW) == 0)
			sum += (uint64_t)st.st_blocks * 512;
	return sum;
}

/* Without a lock. */
static int
load(const char *data_dir, const char *id, int dir, struct snapshot *ret, struct err *e)
{
	CLEAN_BUF struct buf text = BUF_INIT;
	int r = io_read_file(dir, META, META_MAX, &text, e);

	if (r >= 0)
		r = snapshot_decode(buf_str(&text), ret, e);
	if (r < 0)
		return err_prefix(e, "snapshot '%s'", id);
	ret->id = xstrdup(id);
	ret->ram = xasprintf("%s/snapshots/%s/" SNAPSHOT_RAM, data_dir, id);
	ret->state = xasprintf("%s/snapshots/%s/" SNAPSHOT_STATE, data_dir, id);
	ret->disk = xasprintf("%s/snapshots/%s/" SNAPSHOT_DISK, data_dir, id);
	ret->used_bytes = used_bytes(dir);
	return 0;
}

/* 0; -EBUSY: somebody is about to start a clone of it; -errno */
static int
remove_one(int root, const char *name, struct err *e)
{
	CLEAN_CLOSE int dir = openat(root, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);

	if (dir < 0)
		return errno == ENOENT ? 0 : err_sys(e, errno, "open snapshot '%s'", name);
	if (flock(dir, LOCK_EX | LOCK_NB) < 0)
		return err_sys(e, EBUSY, "remove snapshot '%s'", name);
	return io_remove_tree(root, name, e);
}

bool
snapshot_same_rate(uint64_t a, uint64_t b)
{
	uint64_t apart = a > b ? a - b : b - a;

	return apart <= a / TSC_TOLERANCE;
}

char *
snapshot_boot_id(struct err *e)
{
	CLEAN_BUF struct buf b = BUF_INIT;

	if (io_read_file(AT_FDCWD, "/proc/sys/kernel/random/boot_id", 64, &b, e) < 0)
		return NULL;
	return xstrndup(buf_str(&b), strcspn(buf_str(&b), "\n"));
}

static bool
is_of_this_boot(const struct snapshot *s)
{
	CLEAN_FREE char *now = snapshot_boot_id(NULL);

	return now != NULL && strcmp(now, s->boot_id) == 0;
}

static int
check(const struct snapshot *s, const char *key, uint64_t (*tsc_khz)(void), struct err *e)
{
	if (strcmp(s->key, key) != 0)
		return err_set(e, ESTALE, "snapshot '%s' belongs to another machine", s->id);
	if (tsc_khz != NULL && !is_of_this_boot(s) && !snapshot_same_rate(s->tsc_khz, tsc_khz()))
		return err_set(
			e, ESTALE, "snapshot '%s': the host's clock rate was another", s->id);
	if (access(s->ram, R_OK) < 0 || access(s->state, R_OK) < 0 || access(s->disk, R_OK) < 0)
		return err_sys(e, errno, "snapshot '%s'", s->id);
	return 0;
}

int
snapshot_open(const char *data_dir, const char *key, uint64_t (*tsc_khz)(void),
	struct snapshot *ret, struct err *e)
{
	CLEANUP(snapshot_release) struct snapshot s = SNAPSHOT_INIT;
	CLEAN_CLOSE int root = open_root(data_dir, e), dir = -1;
	char id[SNAPSHOT_ID_SIZE];
	struct err why = {0};
	int r;

	if (root < 0)
		return root;
	snapshot_id(key, id);
	dir = openat(root, id, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (dir < 0)
		return err_sys(e, errno, "open snapshot '%s'", id);
	if (flock(dir, LOCK_SH | LOCK_NB) < 0)
		return err_set(e, ENOENT, "snapshot '%s' is being removed", id);
	r = load(data_dir, id, dir, &s, &why);
	if (r == 0)
		r = check(&s, key, tsc_khz, &why);
	if (r < 0) {
		log_warn("%s: thrown away", why.msg);
		flock(dir, LOCK_UN);
		remove_one(root, id, NULL);
		return err_set(e, ENOENT, "%s", why.msg);
	}
	utimensat(dir, META, NULL, 0);
	s.lock = TAKE_FD(dir);
	*ret = s;
	s = (struct snapshot)SNAPSHOT_INIT;
	return 0;
}

int
snapshot_lock(const char *data_dir, uint64_t limit_ms, struct err *e)
{
	CLEAN_CLOSE int root = open_root(data_dir, e);
	CLEAN_CLOSE int fd = -1;
	int r;

	if (root < 0)
		return root;
	fd = openat(root, ".lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return err_sys(e, errno, "lock the snapshots");
	r = io_lock(fd, deadline_in_ms(limit_ms));
	return r < 0 ? err_sys(e, -r, "lock the snapshots") : TAKE_FD(fd);
}

static void
each_named(int root, const char *prefix, void (*remove)(int root, const char *name))
{
	CLEAN_CLOSE int fd = openat(root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CLEAN_CLOSEDIR DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *de;

	if (d == NULL)
		return;
	fd = -1; /* closed with d */
	while ((de = readdir(d)) != NULL)
		if (str_has_prefix(de->d_name, prefix))
			remove(root, de->d_name);
}

static void
remove_work(int root, const char *name)
{
	remove_one(root, name, NULL);
}

static void
remove_note(int root, const char *name)
{
	unlinkat(root, name, 0);
}

/* What killed makers left; the maker's lock is ours. */
static void
sweep(int root)
{
	each_named(root, WORK, remove_work);
}

int
snapshot_begin(const char *data_dir, char **ret_folder, struct err *e)
{
	CLEAN_FREE char *folder = xasprintf("%s/snapshots/" WORK "XXXXXX", data_dir);
	CLEAN_CLOSE int root = open_root(data_dir, e), fd = -1;

	if (root < 0)
		return root;
	sweep(root);
	if (mkdtemp(folder) == NULL)
		return err_sys(e, errno, "create folder '%s'", folder);
	fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0)
		return err_sys(e, errno, "lock '%s'", folder);
	*ret_folder = TAKE_PTR(folder);
	return TAKE_FD(fd);
}

/* Read-only from here on, and on the disk before it has its name. */
static int
settle(const char *folder, const char *file, struct err *e)
{
	CLEAN_FREE char *path = xasprintf("%s/%s", folder, file);
	CLEAN_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0 || fchmod(fd, 0400) < 0 || fsync(fd) < 0)
		return err_sys(e, errno, "write '%s' to disk", path);
	return 0;
}

static int
by_last_use(const void *a, const void *b)
{
	const struct snapshot *x = a, *y = b;

	return (x->used < y->used) - (x->used > y->used);
}

static void
list_one(const char *data_dir, int root, const char *id, struct snapshot_list *l)
{
	CLEAN_CLOSE int dir = openat(root, id, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	struct snapshot s = SNAPSHOT_INIT;

	if (dir < 0)
		return;
	/* One that cannot be read is of no use, but takes space. */
	if (load(data_dir, id, dir, &s, NULL) < 0) {
		s = (struct snapshot)SNAPSHOT_INIT;
		s.id = xstrdup(id);
		s.image = xstrdup("");
		s.used_bytes = used_bytes(dir);
	}
	l->v = xreallocarray(l->v, l->n + 1, sizeof(*l->v));
	l->v[l->n++] = s;
}

static void
set_last_use(int root, struct snapshot *s)
{
	CLEAN_FREE char *meta = xasprintf("%s/" META, s->id);
	struct stat st;

	if (fstatat(root, meta, &st, 0) == 0)
		s->used = st.st_mtim.tv_sec;
}

int
snapshot_list(const char *data_dir, struct snapshot_list *ret, struct err *e)
{
	CLEAN_FREE char *path = root_of(data_dir);
	CLEAN_CLOSEDIR DIR *d = opendir(path);
	struct snapshot_list l = {0};
	struct dirent *de;

	if (d == NULL && errno == ENOENT) {
		*ret = l;
		return 0;
	}
	if (d == NULL)
		return err_sys(e, errno, "read folder '%s'", path);
	while ((de = readdir(d)) != NULL)
		if (de->d_name[0] != '.')
			list_one(data_dir, dirfd(d), de->d_name, &l);
	for (size_t i = 0; i < l.n; i++)
		set_last_use(dirfd(d), &l.v[i]);
	if (l.n > 1)
		qsort(l.v, l.n, sizeof(*l.v), by_last_use);
	*ret = l;
	return 0;
}

/* The bounds: what was used last stays, whatever its size. */
static void
evict(const char *data_dir, int root)
{
	CLEANUP(snapshot_list_release) struct snapshot_list l = {0};
	uint64_t sum = 0;

	if (snapshot_list(data_dir, &l, NULL) < 0)
		return;
	for (size_t i = 0; i < l.n; i++) {
		sum += l.v[i].used_bytes;
		if (i > 0 && (i >= SNAPSHOTS_MAX || sum > SNAPSHOTS_BYTES_MAX))
			remove_one(root, l.v[i].id, NULL);
	}
}

int
snapshot_publish(const char *data_dir, const char *folder, const struct snapshot *s, struct err *e)
{
	static const char *const files[] = {SNAPSHOT_RAM, SNAPSHOT_STATE, SNAPSHOT_DISK};
	CLEAN_FREE char *meta = xasprintf("%s/" META, folder), *text = snapshot_encode(s);
	CLEAN_CLOSE int root = open_root(data_dir, e);
	char id[SNAPSHOT_ID_SIZE];
	int r = root < 0 ? root : 0;

	for (size_t i = 0; i < ARRAY_LEN(files) && r == 0; i++)
		r = settle(folder, files[i], e);
	if (r == 0)
		r = io_write_file_atomic(AT_FDCWD, meta, text, strlen(text), 0600, e);
	if (r < 0)
		return r;
	snapshot_id(s->key, id);
	r = remove_one(root, id, e);
	if (r < 0)
		return r;
	if (renameat(AT_FDCWD, folder, root, id) < 0)
		return err_sys(e, errno, "create snapshot '%s'", id);
	if (fsync(root) < 0)
		return err_sys(e, errno, "write the snapshots to disk");
	evict(data_dir, root);
	return 0;
}

void
snapshot_failed(const char *data_dir, const char *id, const char *why)
{
	CLEAN_FREE char *note = xasprintf(FAILED "%s", id);
	CLEAN_CLOSE int root = open_root(data_dir, NULL);

	if (root < 0)
		return;
	remove_one(root, id, NULL);
	if (io_write_file_atomic(root, note, why, strlen(why), 0600, NULL) < 0)
		log_debug("snapshot '%s': not noted that it failed", id);
}

bool
snapshot_is_failed(const char *data_dir, const char *id, char **ret_why)
{
	CLEAN_FREE char *path = xasprintf("%s/snapshots/" FAILED "%s", data_dir, id);
	CLEAN_BUF struct buf text = BUF_INIT;
	struct stat st;

	if (stat(path, &st) < 0 ||
		st.st_mtim.tv_sec + FAILED_WAIT_S < (time_t)(clock_real_ns() / 1000000000))
		return false;
	if (io_read_file(AT_FDCWD, path, 4096, &text, NULL) < 0)
		return false;
	*ret_why = xstrdup(buf_str(&text));
	return true;
}

int
snapshot_drop(const char *data_dir, const char *image, uint64_t *ret_bytes, struct err *e)
{
	CLEANUP(snapshot_list_release) struct snapshot_list l = {0};
	CLEAN_CLOSE int root = open_root(data_dir, e);
	int r = root < 0 ? root : snapshot_list(data_dir, &l, e);

	*ret_bytes = 0;
	for (size_t i = 0; r == 0 && i < l.n; i++) {
		if (image != NULL && strcmp(l.v[i].image, image) != 0)
			continue;
		r = remove_one(root, l.v[i].id, e);
		if (r == 0)
			*ret_bytes += l.v[i].used_bytes;
		else if (r == -EBUSY)
			r = 0;
	}
	if (r == 0 && image == NULL) {
		each_named(root, FAILED, remove_note);
		sweep(root);
	}
	return r;
}
