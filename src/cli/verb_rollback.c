/*
 * How this works: what is to run is put together beside what there is, then the machine is ended,
 * then two renames: first of the memory, which goes with no disk but its own, and so is of no use
 * yet; then of the disk. Who is killed between them finds the sandbox with the disk that it had.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/io.h>
#include <base/mem.h>
#include <snapshot/saved.h>
#include <supervisor/supervisor.h>

#include "checkpoints.h"
#include "verbs.h"

static int
swap(const struct cli *c, const char *name, const char *memory, const char *disk, struct err *e)
{
	CLEAN_FREE char *folder = state_suspended(&c->paths, name);
	CLEAN_FREE char *old = state_sandbox_file(&c->paths, name, SAVED_DISK);
	CLEAN_FREE char *home = state_sandbox_dir(&c->paths, name);
	CLEAN_CLOSE int lock = lock_ended(c, name, e), dir = -1;
	int r = lock < 0 ? lock : state_suspended_remove(&c->paths, name, e);

	if (r < 0)
		return r;
	dir = open(home, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0 || rename(memory, folder) < 0 || fsync(dir) < 0 || rename(disk, old) < 0 ||
		fsync(dir) < 0)
		return err_sys(e, errno, "go back");
	return 0;
}

static int
go_back(const struct cli *c, const char *name, const char *from, struct err *e)
{
	CLEAN_FREE char *memory = state_sandbox_file(&c->paths, name, STATE_SUSPENDING "XXXXXX");
	CLEAN_FREE char *disk = NULL;
	int r;

	if (mkdtemp(memory) == NULL)
		return err_sys(e, errno, "create folder '%s'", memory);
	disk = xasprintf("%s.disk", memory);
	r = saved_place(from, memory, disk, false, e);
	if (r == 0)
		r = swap(c, name, memory, disk, e);
	if (r < 0) {
		io_remove_tree(AT_FDCWD, memory, NULL);
		unlink(disk);
	}
	return r;
}

static int
rollback_exec(struct cli *c, const struct args *a, struct err *e)
{
	CLEAN_FREE char *tag = NULL, *from = NULL, *note = NULL;
	const char *name = a->nwords > 0 ? a->words[0] : "";
	struct sandbox s = {0};
	struct ui u;
	int r;

	if (a->nwords < 1 || a->nwords > 2)
		return usage_error(e, "write: paddock rollback SANDBOX [NAME]");
	ui_init(&u, c);
	r = state_paths_init(&c->paths, e);
	if (r == 0)
		r = sandbox_name_check(name, e);
	if (r == 0)
		r = sandbox_load(&c->paths, name, &s, e);
	if (r == 0) {
		from = checkpoint_find(c, name, a->nwords > 1 ? a->words[1] : NULL, &tag, e);
		r = from == NULL ? -e->code : go_back(c, name, from, e);
	}
	if (r == 0)
		r = make_started(c, name, &u, e);
	ui_finish(&u);
	if (r == 0 && s.nworkspaces > 0 && !c->quiet) {
		note = xasprintf(
			"note: the machine is as it was at '%s'; the workspaces are left as "
			"they are",
			tag);
		ui_note(note);
	}
	if (r == 0)
		printf("%s\n", name);
	sandbox_release(&s);
	return r;
}

static const struct option_def rollback_options[] = {
	{"quiet", 'q', NULL, "no progress and no note"},
	{0},
};

const struct verb verb_rollback = {.name = "rollback",
	.summary = "Go back to a checkpoint: the machine's memory and disk, not the workspaces",
	.usage = "SANDBOX [NAME]",
	.details = "Without NAME to the latest. What the machine is now is thrown away.",
	.options = rollback_options,
	.exec = rollback_exec};
