#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include <base/cleanup.h>
#include <fs/fs.h>
#include <jail/jail.h>

#include "roles.h"

static int
shorter_first(const void *a, const void *b)
{
	const struct workspace *x = a, *y = b;
	size_t n = strlen(x->path), m = strlen(y->path);

	return (n > m) - (n < m);
}

/* The stage: each workspace at the path that the sandbox sees it at, and nothing else. */
static void
plan_stage(const struct role_config *c, struct jail_confine *plan)
{
	/* A workspace inside another one must be mounted after it. */
	if (c->nworkspaces > 1)
		qsort(c->workspaces, c->nworkspaces, sizeof(*c->workspaces), shorter_first);
	for (size_t i = 0; i < c->nworkspaces; i++) {
		const struct workspace *w = &c->workspaces[i];

		jail_confine_add(plan, JAIL_BIND, workspace_source(w), w->path, w->read_only)
			->resolved = true;
	}
	plan->new_net = true;
	plan->keep_dac = c->host_is_root;
	plan->no_fork = true;
	plan->nofile = 65536;
	plan->syscalls = JAIL_SYSCALLS_FS;
}

int
role_fs_main(const struct role_config *c, struct err *e)
{
	struct jail_confine plan = {0};
	CLEAN_STRV struct strv workspaces = {0};
	CLEAN_CLOSE int root = -1, shadows = -1, proc = fs_proc_open(e);
	int r;

	if (proc < 0)
		return proc;
	if (c->shadows.n > 0) {
		shadows = fs_shadow_open(c->shadows.n, e);
		if (shadows < 0)
			return shadows;
	}
	plan_stage(c, &plan);
	r = jail_confine(&plan, e);
	jail_confine_release(&plan);
	if (r < 0)
		return r;
	root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return err_sys(e, errno, "open the stage");
	for (size_t i = 0; i < c->nworkspaces; i++)
		strv_add(&workspaces, c->workspaces[i].path);
	struct fs_options o = {.stream_fd = ROLE_FD_FS_STREAM,
		.root_fd = root,
		.proc_fd = proc,
		.guest_uid = c->guest_uid,
		.guest_gid = c->guest_gid,
		.workspaces = &workspaces,
		.changes_fd = ROLE_FD_FS_CHANGES,
		.allow_hooks = c->allow_hooks,
		.shadows = &c->shadows,
		.shadow_fd = shadows,
		.copied = c->copied,
		.journal_fd = ROLE_FD_FS_JOURNAL};
	return fs_serve(&o, e);
}
