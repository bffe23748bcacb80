#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <base/clock.h>
#include <base/mem.h>
#include <supervisor/supervisor.h>
#include <secret/store.h>

#include "verbs.h"

#define LOCK_LIMIT_MS 10000

/* Ends whoever runs it, also one that is just being started, until the lock is ours. */
int
lock_ended(const struct cli *c, const char *name, struct err *e)
{
	uint64_t deadline = deadline_in_ms(LOCK_LIMIT_MS);

	for (;;) {
		int r = supervisor_kill(&c->paths, name, e);

		if (r == 0)
			r = state_lock(&c->paths, name, e);
		if (r != -EWOULDBLOCK)
			return r;
		if (deadline_left_ms(deadline) == 0)
			return err_set(e, EBUSY,
				"sandbox '%s' is held by a process that does not end: see ps",
				name);
		poll(NULL, 0, 5); /* flock(2) with a limit: there is nothing to wait on */
	}
}

/* Nothing in it is to be kept, so the machine is ended, not shut down. */
int
remove_sandbox(const struct cli *c, const char *name, struct err *e)
{
	CLEAN_CLOSE int lock = lock_ended(c, name, e);
	int r = lock < 0 ? lock : state_runtime_remove(&c->paths, name, e);
	struct err why = {0};

	if (r == 0)
		r = sandbox_remove(&c->paths, name, e);
	if (r == 0 && secrets_forget(&c->paths, name, &why) < 0) {
		CLEAN_FREE char *note =
			xasprintf("note: secrets of its own may be left: %s", why.msg);
		ui_note(note);
	}
	return r;
}

static int
check_idle(const struct cli *c, const char *name, struct err *e)
{
	struct control_status st = {0};
	bool runs = supervisor_status(&c->paths, name, &st, NULL) != -ESRCH;

	control_status_release(&st);
	if (!runs || isatty(STDIN_FILENO))
		return 0;
	return err_set(e, EBUSY, "sandbox '%s' is running: paddock rm --force %s", name, name);
}

static bool
confirm(const struct strv *names)
{
	CLEAN_BUF struct buf b = BUF_INIT;

	buf_append_str(&b, "Remove ");
	for (size_t i = 0; i < names->n; i++)
		buf_printf(&b, "%s'%s'", i > 0 ? ", " : "", names->v[i]);
	buf_append_str(&b, " and all that is in it but the workspaces?");
	return ui_confirm(buf_str(&b));
}

/* A fork's copies of the workspaces hold what was worked on there. */
static int
remove_one(const struct cli *c, const char *name, struct err *e)
{
	struct sandbox s = {0};
	int r;

	if (sandbox_load(&c->paths, name, &s, NULL) < 0)
		s = (struct sandbox){0}; /* a broken one goes all the same */
	r = remove_sandbox(c, name, e);
	for (size_t i = 0; i < s.nworkspaces && r == 0 && !c->quiet; i++) {
		CLEAN_FREE char *note =
			xasprintf("note: '%s', which '%s' worked in, stays: it is yours now",
				workspace_source(&s.workspaces[i]), name);

		if (s.workspaces[i].source != NULL)
			ui_note(note);
	}
	sandbox_release(&s);
	return r;
}

static int
rm_exec(struct cli *c, const struct args *a, struct err *e)
{
	CLEAN_STRV struct strv names = {0};
	bool force = args_has(a, "force");
	int r = state_paths_init(&c->paths, e);

	if (r == 0 && args_has(a, "all"))
		r = sandbox_names(&c->paths, &names, e);
	for (size_t i = 0; i < a->nwords && r == 0; i++) {
		r = sandbox_name_check(a->words[i], e);
		if (r == 0)
			strv_add(&names, a->words[i]);
	}
	if (r < 0)
		return r;
	if (names.n == 0)
		return args_has(a, "all")
			       ? 0
			       : usage_error(e, "write: paddock rm [-f] SANDBOX..., or --all");
	for (size_t i = 0; i < names.n && r == 0 && !force; i++)
		r = check_idle(c, names.v[i], e);
	if (r == 0 && !force && isatty(STDIN_FILENO) && !confirm(&names))
		return 1;
	for (size_t i = 0; i < names.n && r == 0; i++) {
		r = remove_one(c, names.v[i], e);
		if (r == 0)
			printf("%s\n", names.v[i]);
	}
	return r;
}

static const struct option_def rm_options[] = {
	{"force", 'f', NULL, "do not ask; running ones too"},
	{"all", 0, NULL, "every sandbox"},
	{0},
};

const struct verb verb_rm = {.name = "rm",
	.alias = "remove",
	.summary = "Remove sandboxes with all that is in them but the workspaces",
	.usage = "[-f] SANDBOX [SANDBOX...] | --all",
	.options = rm_options,
	.exec = rm_exec};
