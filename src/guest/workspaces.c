/*
 * How this works: looking a workspace up in the FUSE file system and binding it ask a process on
 * the host that may hang. So that is done by a thread of its own, and PID 1 waits for it with a
 * limit; a thread that never comes back keeps what it works on. What PID 1 does between begin and
 * end it does beside it, except for the binds: they may lie over what it writes.
 *
 * The thread waits for the next time, and in a machine that is to be cloned for the first: to make
 * one is a good part of the work.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/io.h>
#include <base/log.h>
#include <base/mem.h>
#include <base/str.h>

#include "workspaces.h"

int
workspaces_check_path(const char *path, struct err *e)
{
	/* Nothing may lie over or in the first three, nothing over the others. */
	static const char *const ours[] = {"/proc", "/sys", "/run/paddock", "/dev", "/run", "/etc",
		"/usr", "/bin", "/sbin", "/lib", "/lib64", "/boot", "/var", "/home"};
	static const size_t whole = 3;
	char shown[160];
	bool good = path[0] == '/' && path[1] != '\0' && !str_has_suffix(path, "/") &&
		    !str_has_suffix(path, "/.") && !str_has_suffix(path, "/..") &&
		    strstr(path, "//") == NULL && strstr(path, "/./") == NULL &&
		    strstr(path, "/../") == NULL;

	str_escape(path, strlen(path), shown, sizeof(shown));
	if (!good)
		return err_set(e, EINVAL, "workspace '%s': not a normalised absolute path", shown);
	for (size_t i = 0; i < ARRAY_LEN(ours); i++) {
		size_t n = strlen(ours[i]);

		if (strncmp(path, ours[i], n) == 0 &&
			(path[n] == '\0' || (i < whole && path[n] == '/')))
			return err_set(
				e, EINVAL, "workspace '%s': the sandbox needs its own", shown);
	}
	return 0;
}

/*
 * A folder on the way must let the agent through, whoever it belongs to: /root is 0700. Those of
 * the guest's own disk only, for in an outer workspace it would be the host's folder that changes.
 */
static void
let_through(const char *dir)
{
	struct stat root, st;

	if (stat("/", &root) == 0 && lstat(dir, &st) == 0 && st.st_dev == root.st_dev &&
		S_ISDIR(st.st_mode) && (st.st_mode & S_IXOTH) == 0)
		chmod(dir, (st.st_mode & 07777) | S_IXOTH);
}

/* Folders of the guest's disk belong to root, 0755; those inside another workspace are there. */
static int
make_mount_point(const char *path, bool is_file, struct err *e)
{
	CLEAN_FREE char *copy = xstrdup(path);
	CLEAN_CLOSE int fd = -1;

	for (char *p = strchr(copy + 1, '/'); p != NULL; p = strchr(p + 1, '/')) {
		*p = '\0';
		if (mkdir(copy, 0755) < 0 && errno != EEXIST)
			return err_sys(e, errno, "create '%s'", copy);
		let_through(copy);
		*p = '/';
	}
	if (access(path, F_OK) == 0)
		return 0;
	if (!is_file)
		return mkdir(path, 0755) < 0 ? err_sys(e, errno, "create '%s'", path) : 0;
	fd = open(path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0644);
	return fd < 0 ? err_sys(e, errno, "create '%s'", path) : 0;
}

#define WORKSPACE_FLAGS (MS_NOSUID | MS_NODEV)

static int
bind_one(const struct identity_workspace *w, struct err *e)
{
	CLEAN_FREE char *source = xasprintf(WORKSPACES_ROOT "%s", w->path);
	int r = make_mount_point(w->path, w->is_file, e);

	if (r < 0)
		return r;
	if (mount(source, w->path, NULL, MS_BIND, NULL) < 0)
		return err_sys(e, errno, "mount the workspace '%s'", w->path);
	if (w->read_only && mount(NULL, w->path, NULL,
				    MS_BIND | MS_REMOUNT | MS_RDONLY | WORKSPACE_FLAGS, NULL) < 0)
		return err_sys(e, errno, "make the workspace '%s' read-only", w->path);
	return 0;
}

struct workspaces {
	sem_t begin, bind, done;
	bool begun;
	struct pump *pump;
	/* Of this time. */
	struct identity_workspace *v;
	size_t n;
	struct strv shadows;
	uid_t uid;
	gid_t gid;
	struct err e;
	int r;
};

/* Kept at the same path below a folder of ours, so that each sandbox start finds it again. */
static int
make_shadow_folder(const char *dir, const struct workspaces *w, struct err *e)
{
	struct stat st;
	int r;

	if (lstat(dir, &st) == 0)
		return 0;
	r = io_mkdirs(dir, 0755, e);
	if (r == 0 && chown(dir, w->uid, w->gid) < 0)
		r = err_sys(e, errno, "the owner of '%s'", dir);
	return r;
}

/* The host shows an empty folder there; where it does not, the folder above it is gone. */
static int
bind_shadow(const char *path, const struct workspaces *w, struct err *e)
{
	CLEAN_FREE char *dir = xasprintf(SHADOWS_ROOT "%s", path);
	struct stat st;
	int r;

	if (lstat(path, &st) < 0)
		return err_sys(e, errno,
			"shadow '%s' (the folder that holds it must be there: make it)", path);
	if (!S_ISDIR(st.st_mode))
		return err_set(e, ENOTDIR, "shadow '%s': not a folder", path);
	r = make_shadow_folder(dir, w, e);
	if (r == 0 && mount(dir, path, NULL, MS_BIND, NULL) < 0)
		r = err_sys(e, errno, "mount the shadow '%s'", path);
	return r;
}

/* An outer one before what lies in it, else it would cover it. */
static int
by_path(const void *a, const void *b)
{
	const struct identity_workspace *x = a, *y = b;

	return strcmp(x->path, y->path);
}

static void
take(struct workspaces *w, const struct identity *i)
{
	w->v = xcalloc(i->nworkspaces, sizeof(*w->v));
	for (w->n = 0; w->n < i->nworkspaces; w->n++) {
		w->v[w->n] = i->workspaces[w->n];
		w->v[w->n].path = xstrdup(i->workspaces[w->n].path);
	}
	qsort(w->v, w->n, sizeof(*w->v), by_path);
	for (size_t k = 0; k < i->shadows.n; k++)
		strv_add(&w->shadows, i->shadows.v[k]);
	w->uid = i->uid;
	w->gid = i->gid;
	w->r = 0;
}

static void
drop(struct workspaces *w)
{
	for (size_t i = 0; i < w->n; i++)
		free(w->v[i].path);
	free(w->v);
	strv_release(&w->shadows);
	w->v = NULL;
	w->n = 0;
}

/* For the binds to find it known; what is not there they will say. */
static void
look_up(const struct workspaces *w)
{
	for (size_t i = 0; i < w->n; i++) {
		CLEAN_FREE char *source = xasprintf(WORKSPACES_ROOT "%s", w->v[i].path);

		(void)access(source, F_OK);
	}
}

static void
bind_all(struct workspaces *w)
{
	for (size_t i = 0; i < w->n && w->r == 0; i++)
		w->r = bind_one(&w->v[i], &w->e);
	for (size_t i = 0; i < w->shadows.n && w->r == 0; i++)
		w->r = bind_shadow(w->shadows.v[i], w, &w->e);
}

static void
await(sem_t *sem)
{
	while (sem_wait(sem) < 0)
		;
}

static void *
workspaces_main(void *arg)
{
	struct workspaces *w = arg;

	for (;;) {
		await(&w->begin);
		look_up(w);
		await(&w->bind);
		bind_all(w);
		sem_post(&w->done);
	}
	return NULL;
}

static int
start_thread(struct workspaces *w, struct err *e)
{
	pthread_t thread;
	int r;

	sem_init(&w->begin, 0, 0);
	sem_init(&w->bind, 0, 0);
	sem_init(&w->done, 0, 0);
	r = pthread_create(&thread, NULL, workspaces_main, w);
	if (r != 0)
		return err_sys(e, r, "workspaces: thread");
	pthread_detach(thread);
	return 0;
}

int
workspaces_prepare(struct guest *g, struct err *e)
{
	struct workspaces *w;
	int r;

	if (g->workspaces != NULL)
		return 0;
	r = io_mkdirs(WORKSPACES_ROOT, 0755, e);
	if (r < 0)
		return r;
	w = xcalloc(1, sizeof(*w));
	r = guest_pump_start(g->fs_fd, WORKSPACES_ROOT, &w->pump, e);
	if (r == 0)
		r = start_thread(w, e);
	/* The pump is there for good. */
	if (w->pump == NULL)
		free(w);
	else
		g->workspaces = w;
	return r;
}

/* Where it was prepared and is of no use, whoever comes by it would wait. */
static void
abandon(struct guest *g)
{
	if (g->workspaces == NULL)
		return;
	if (umount2(WORKSPACES_ROOT, MNT_DETACH) < 0)
		log_warn("unmount '%s': %s", WORKSPACES_ROOT, strerror(errno));
	guest_pump_go(g->workspaces->pump);
}

int
workspaces_begin(struct guest *g, const struct identity *i, struct err *e)
{
	struct workspaces *w;
	int r = 0;

	for (size_t k = 0; k < i->nworkspaces && r == 0; k++)
		r = workspaces_check_path(i->workspaces[k].path, e);
	for (size_t k = 0; k < i->shadows.n && r == 0; k++)
		r = workspaces_check_path(i->shadows.v[k], e);
	if (r == 0 && i->nworkspaces == 0)
		abandon(g);
	if (r < 0 || i->nworkspaces == 0)
		return r;
	r = workspaces_prepare(g, e);
	w = g->workspaces;
	if (r == 0 && w->begun)
		r = err_set(e, EBUSY, "the workspaces' file system has not answered yet");
	if (r < 0)
		return r;
	take(w, i);
	w->begun = true;
	guest_pump_go(w->pump);
	sem_post(&w->begin);
	return 0;
}

int
workspaces_end(struct guest *g, uint64_t limit_ms, struct err *e)
{
	struct workspaces *w = g->workspaces;
	struct timespec until;

	if (w == NULL || !w->begun)
		return 0;
	sem_post(&w->bind);
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += (time_t)(limit_ms / 1000);
	while (sem_clockwait(&w->done, CLOCK_MONOTONIC, &until) < 0)
		if (errno != EINTR)
			return err_set(e, ETIMEDOUT,
				"the workspaces' file system did not answer within %llu s",
				(unsigned long long)limit_ms / 1000);
	w->begun = false;
	drop(w);
	if (w->r < 0 && e != NULL)
		*e = w->e;
	return w->r;
}
