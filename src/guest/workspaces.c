/*
 * How this works: binding a workspace looks its path up in the FUSE file system, whose other end is
 * a process on the host that may hang. So the mounts are made in a thread of their own, and PID 1
 * waits for that with a limit; a thread that never comes back keeps what it works on.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
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

struct job {
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
make_shadow_folder(const char *dir, const struct job *j, struct err *e)
{
	struct stat st;
	int r;

	if (lstat(dir, &st) == 0)
		return 0;
	r = io_mkdirs(dir, 0755, e);
	if (r == 0 && chown(dir, j->uid, j->gid) < 0)
		r = err_sys(e, errno, "the owner of '%s'", dir);
	return r;
}

/* The host shows an empty folder there; where it does not, the folder above it is gone. */
static int
bind_shadow(const char *path, const struct job *j, struct err *e)
{
	CLEAN_FREE char *dir = xasprintf(SHADOWS_ROOT "%s", path);
	struct stat st;
	int r;

	if (lstat(path, &st) < 0)
		return err_sys(e, errno,
			"shadow '%s' (the folder that holds it must be there: make it)", path);
	if (!S_ISDIR(st.st_mode))
		return err_set(e, ENOTDIR, "shadow '%s': not a folder", path);
	r = make_shadow_folder(dir, j, e);
	if (r == 0 && mount(dir, path, NULL, MS_BIND, NULL) < 0)
		r = err_sys(e, errno, "mount the shadow '%s'", path);
	return r;
}
static void
job_free(struct job *j)
{
	for (size_t i = 0; i < j->n; i++)
		free(j->v[i].path);
	free(j->v);
	strv_release(&j->shadows);
	free(j);
}

/* An outer one before what lies in it, else it would cover it. */
static int
by_path(const void *a, const void *b)
{
	const struct identity_workspace *x = a, *y = b;

	return strcmp(x->path, y->path);
}

static struct job *
job_new(const struct identity *i)
{
	struct job *j = xcalloc(1, sizeof(*j));

	j->v = xcalloc(i->nworkspaces + 1, sizeof(*j->v));
	for (; j->n < i->nworkspaces; j->n++) {
		j->v[j->n] = i->workspaces[j->n];
		j->v[j->n].path = xstrdup(i->workspaces[j->n].path);
	}
	qsort(j->v, j->n, sizeof(*j->v), by_path);
	for (size_t k = 0; k < i->shadows.n; k++)
		strv_add(&j->shadows, i->shadows.v[k]);
	j->uid = i->uid;
	j->gid = i->gid;
	return j;
}

static void *
job_main(void *arg)
{
	struct job *j = arg;

	for (size_t i = 0; i < j->n && j->r == 0; i++)
		j->r = bind_one(&j->v[i], &j->e);
	for (size_t i = 0; i < j->shadows.n && j->r == 0; i++)
		j->r = bind_shadow(j->shadows.v[i], j, &j->e);
	return NULL;
}

static int
job_run(struct job *j, uint64_t limit_ms, struct err *e)
{
	struct timespec until;
	pthread_t thread;
	int r = pthread_create(&thread, NULL, job_main, j);

	if (r != 0) {
		job_free(j);
		return err_sys(e, r, "workspaces: thread");
	}
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += (time_t)(limit_ms / 1000);
	if (pthread_clockjoin_np(thread, NULL, CLOCK_MONOTONIC, &until) != 0) {
		pthread_detach(thread);
		return err_set(e, ETIMEDOUT,
			"the workspaces' file system did not answer within %llu s",
			(unsigned long long)limit_ms / 1000);
	}
	r = j->r;
	if (r < 0 && e != NULL)
		*e = j->e;
	job_free(j);
	return r;
}

static int
start_pump(struct guest *g, struct err *e)
{
	int r;

	if (g->pump_started)
		return 0;
	r = io_mkdirs(WORKSPACES_ROOT, 0755, e);
	if (r == 0)
		r = guest_pump_start(g->fs_fd, WORKSPACES_ROOT, e);
	g->pump_started = r == 0;
	return r;
}

int
workspaces_mount(struct guest *g, const struct identity *i, uint64_t limit_ms, struct err *e)
{
	int r = 0;

	for (size_t k = 0; k < i->nworkspaces && r == 0; k++)
		r = workspaces_check_path(i->workspaces[k].path, e);
	for (size_t k = 0; k < i->shadows.n && r == 0; k++)
		r = workspaces_check_path(i->shadows.v[k], e);
	if (r < 0 || i->nworkspaces == 0)
		return r;
	r = start_pump(g, e);
	return r < 0 ? r : job_run(job_new(i), limit_ms, e);
}
