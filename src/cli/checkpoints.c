#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/clock.h>
#include <base/io.h>
#include <base/mem.h>
#include <snapshot/saved.h>
#include <supervisor/supervisor.h>

#include "checkpoints.h"

#define WORK          ".new-"
#define LOCK_LIMIT_MS 10000

void
checkpoints_release(struct checkpoints *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->v[i].tag);
	free(l->v);
	*l = (struct checkpoints){0};
}

static char *
root_of(const struct cli *c, const char *name)
{
	return state_sandbox_file(&c->paths, name, "checkpoints");
}

/*
 * One that nobody makes any more. The caller holds the lock of the root, as whoever makes one does
 * until it has that one's own.
 */
static void
sweep_one(int root, const char *name)
{
	CLEAN_CLOSE int fd = openat(root, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);

	if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
		io_remove_tree(root, name, NULL);
}

static uint64_t
bytes_of(const char *folder)
{
	static const char *const files[] = {SAVED_RAM, SAVED_STATE, SAVED_FS, SAVED_DISK};
	uint64_t sum = 0;

	for (size_t i = 0; i < ARRAY_LEN(files); i++) {
		CLEAN_FREE char *path = xasprintf("%s/%s", folder, files[i]);
		struct stat st;

		if (lstat(path, &st) == 0)
			sum += (uint64_t)st.st_blocks * 512;
	}
	return sum;
}

static void
list_one(const char *root, const char *tag, struct checkpoints *l)
{
	CLEAN_FREE char *folder = xasprintf("%s/%s", root, tag);
	CLEANUP(saved_release) struct saved s = {0};

	/* One that cannot be read takes space all the same. */
	if (saved_read(folder, &s, NULL) < 0)
		s.created = 0;
	l->v = xreallocarray(l->v, l->n + 1, sizeof(*l->v));
	l->v[l->n++] = (struct checkpoint){xstrdup(tag), s.created, bytes_of(folder)};
}

static int
latest_first(const void *a, const void *b)
{
	const struct checkpoint *x = a, *y = b;

	if (x->created != y->created)
		return x->created < y->created ? 1 : -1;
	return strcmp(y->tag, x->tag);
}

int
checkpoints_list(const struct cli *c, const char *name, struct checkpoints *ret, struct err *e)
{
	CLEAN_FREE char *root = root_of(c, name);
	CLEAN_CLOSEDIR DIR *d = opendir(root);
	struct checkpoints l = {0};
	struct dirent *de;
	bool alone;

	if (d == NULL && errno != ENOENT)
		return err_sys(e, errno, "read folder '%s'", root);
	alone = d != NULL && io_lock(dirfd(d), 0) == 0;
	while (d != NULL && (de = readdir(d)) != NULL) {
		if (alone && str_has_prefix(de->d_name, WORK))
			sweep_one(dirfd(d), de->d_name);
		else if (de->d_name[0] != '.')
			list_one(root, de->d_name, &l);
	}
	if (l.n > 1)
		qsort(l.v, l.n, sizeof(*l.v), latest_first);
	*ret = l;
	return 0;
}

char *
checkpoint_find(
	const struct cli *c, const char *name, const char *tag, char **ret_tag, struct err *e)
{
	CLEANUP(checkpoints_release) struct checkpoints l = {0};
	CLEAN_FREE char *root = root_of(c, name);

	if (checkpoints_list(c, name, &l, e) < 0)
		return NULL;
	for (size_t i = 0; i < l.n; i++) {
		if (tag != NULL && strcmp(tag, l.v[i].tag) != 0)
			continue;
		*ret_tag = xstrdup(l.v[i].tag);
		return xasprintf("%s/%s", root, l.v[i].tag);
	}
	if (tag != NULL)
		err_set(e, ENOENT,
			"sandbox '%s' has no checkpoint '%s': see paddock checkpoint ls %s", name,
			tag, name);
	else
		err_set(e, ENOENT,
			"sandbox '%s' has no checkpoint: make one with paddock checkpoint %s", name,
			name);
	return NULL;
}

/* A folder for work, and its lock: nobody sweeps it between the two. */
static int
make_work(const char *root, char *work, struct err *e)
{
	CLEAN_CLOSE int held = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC), dir = -1;

	if (held < 0 || io_lock(held, deadline_in_ms(LOCK_LIMIT_MS)) < 0)
		return err_set(e, EBUSY, "'%s' is being tidied up: try again", root);
	if (mkdtemp(work) == NULL)
		return err_sys(e, errno, "create folder '%s'", work);
	dir = open(work, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (dir < 0 || flock(dir, LOCK_EX | LOCK_NB) < 0)
		return err_sys(e, errno, "lock '%s'", work);
	return TAKE_FD(dir);
}

int
checkpoint_save(const struct cli *c, const char *name, const struct strv *copies, char **ret_folder,
	struct err *e)
{
	CLEANUP(checkpoints_release) struct checkpoints l = {0};
	CLEAN_FREE char *root = root_of(c, name), *work = xasprintf("%s/" WORK "XXXXXX", root);
	CLEAN_CLOSE int dir = -1;
	int r = io_mkdirs(root, 0700, e);

	if (r == 0)
		r = checkpoints_list(c, name, &l, e); /* which sweeps */
	if (r < 0)
		return r;
	dir = make_work(root, work, e);
	if (dir < 0)
		return dir;
	if (copies != NULL)
		r = saved_copies_write(work, copies, e);
	if (r == 0)
		r = supervisor_save(&c->paths, name, work, e);
	if (r == -ESRCH)
		r = err_set(e, ESRCH,
			"sandbox '%s' is not running: start it with paddock run -d %s", name, name);
	if (r < 0) {
		io_remove_tree(AT_FDCWD, work, NULL);
		return r;
	}
	*ret_folder = TAKE_PTR(work);
	return TAKE_FD(dir);
}

int
checkpoint_make(const struct cli *c, const char *name, const char *tag, struct err *e)
{
	CLEAN_FREE char *root = root_of(c, name), *path = xasprintf("%s/%s", root, tag);
	CLEAN_FREE char *work = NULL;
	CLEAN_CLOSE int dir = -1;
	int r;

	if (access(path, F_OK) == 0)
		return err_set(e, EEXIST,
			"checkpoint '%s' exists already: choose another name, or remove it with "
			"paddock checkpoint rm %s %s",
			tag, name, tag);
	dir = checkpoint_save(c, name, NULL, &work, e);
	if (dir < 0)
		return dir;
	r = saved_settle(work, e);
	/* rename(2) replaces no folder that holds something: of two, one wins. */
	if (r == 0 && rename(work, path) < 0)
		r = err_sys(e, errno, "create checkpoint '%s'", tag);
	if (r < 0)
		io_remove_tree(AT_FDCWD, work, NULL);
	return r;
}

int
checkpoint_remove(const struct cli *c, const char *name, const char *tag, struct err *e)
{
	CLEAN_FREE char *found = NULL, *folder = checkpoint_find(c, name, tag, &found, e);
	CLEAN_FREE char *root = root_of(c, name), *work = xasprintf("%s/" WORK "XXXXXX", root);

	if (folder == NULL)
		return -e->code;
	/* Its name goes first: half a checkpoint is never found. */
	if (mkdtemp(work) == NULL || rename(folder, work) < 0)
		return err_sys(e, errno, "remove checkpoint '%s'", tag);
	return io_remove_tree(AT_FDCWD, work, e);
}
