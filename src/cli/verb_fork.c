/*
 * How this works: the machine is saved once, as for a checkpoint. Each copy is a new sandbox whose
 * folder holds links to the saved memory and a disk of its own, as if it had been suspended, and
 * which is started: all of them map the one file. There are all that were asked for, or none.
 *
 * With --clone-workspace the first one's workspaces are copied while the machine stands still
 * (role_save.c), and the others' from those, before any of them is started.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/io.h>
#include <base/mem.h>
#include <snapshot/saved.h>
#include <supervisor/supervisor.h>

#include "checkpoints.h"
#include "clones.h"
#include "verbs.h"

#define COPIES_MAX    100
#define FILE_MAX      (16u << 20)
#define NAME_STEM_MAX 58 /* with "-100" a name still */

struct forks {
	const struct sandbox *source;
	struct strv names;
	struct clones *clones; /* one for each name; NULL: they share the original's workspaces */
	char *from;            /* what was saved */
};

static void
forks_release(struct forks *f)
{
	for (size_t i = 0; i < f->names.n && f->clones != NULL; i++)
		clones_release(&f->clones[i]);
	free(f->clones);
	free(f->from);
	strv_release(&f->names);
}

struct copy {
	const struct cli *c;
	const struct forks *f;
};

/* What the new one has of the old one's; all else (authority, log, placeholders) is made for it. */
static int
copy_file(const struct copy *k, const char *dir, const char *name, struct err *e)
{
	CLEAN_FREE char *old = state_sandbox_file(&k->c->paths, k->f->source->name, name);
	CLEAN_FREE char *new = xasprintf("%s/%s", dir, name);
	CLEAN_BUF struct buf b = BUF_INIT;
	int r = io_read_file(AT_FDCWD, old, FILE_MAX, &b, e);

	if (r == -ENOENT)
		return 0;
	return r == 0 ? io_write_new_file(AT_FDCWD, new, b.data, b.len, 0600, e) : r;
}

static int
fill(const char *dir, void *arg, struct err *e)
{
	static const char *const files[] = {"policy.json", "kit.json"};
	const struct copy *k = arg;
	CLEAN_FREE char *memory = xasprintf("%s/suspended", dir);
	CLEAN_FREE char *disk = xasprintf("%s/" SAVED_DISK, dir);
	int r = mkdir(memory, 0700) < 0 ? err_sys(e, errno, "create '%s'", memory) : 0;

	if (r == 0)
		r = saved_place(k->f->from, memory, disk, k->f->clones != NULL, e);
	for (size_t i = 0; i < ARRAY_LEN(files) && r == 0; i++)
		r = copy_file(k, dir, files[i], e);
	return r;
}

static void
tell_clones(const struct clones *l, const char *name)
{
	for (size_t i = 0; i < l->to.n; i++) {
		CLEAN_FREE char *note =
			xasprintf("note: '%s' works in a copy: %s", name, l->to.v[i]);

		ui_note(note);
	}
}

static int
begin_copy(const struct cli *c, const struct forks *f, size_t i, int *ret_begun, struct err *e)
{
	struct copy k = {c, f};
	struct sandbox s = *f->source;
	int r;

	s.name = f->names.v[i];
	s.ports = (struct strv){0}; /* a port of the host's is one sandbox's */
	s.created = (int64_t)time(NULL);
	if (f->clones != NULL) {
		s.workspaces = f->clones[i].workspaces;
		s.nworkspaces = f->clones[i].n;
	}
	r = sandbox_create(&c->paths, &s, fill, &k, e);
	if (r < 0)
		return r;
	r = supervisor_begin(s.name, ret_begun, e);
	if (r < 0)
		remove_sandbox(c, s.name, NULL);
	return r;
}

static int
end_copy(const struct cli *c, const char *name, bool first, int begun, struct ui *u, struct err *e)
{
	CLEAN_CLOSE int fd = begun;
	struct cli told = *c;

	told.quiet |= !first; /* the others would be told the same */
	return make_begun(&told, name, fd, u, e);
}

/* As many at once as there are processors for. */
static int
make_copies(
	const struct cli *c, const struct forks *f, size_t *ret_made, struct ui *u, struct err *e)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	size_t width = cpus > 1 ? (size_t)cpus : 1, ready = 0;
	int begun[COPIES_MAX], r = 0;

	while (ready < *ret_made || (r == 0 && *ret_made < f->names.n)) {
		struct err why = {0};
		int failed;

		if (r == 0 && *ret_made < f->names.n && *ret_made - ready < width) {
			r = begin_copy(c, f, *ret_made, &begun[*ret_made], e);
			*ret_made += r == 0;
			continue;
		}
		failed = end_copy(c, f->names.v[ready], ready == 0, begun[ready], u, &why);
		ready++;
		if (r == 0 && failed < 0) {
			*e = why;
			r = failed;
		}
	}
	ui_finish(u);
	return r;
}

static bool
exists(const struct cli *c, const char *name)
{
	CLEAN_FREE char *dir = state_sandbox_dir(&c->paths, name);

	return access(dir, F_OK) == 0;
}

/* Those that were given, then NAME-2, NAME-3, ... as far as they are free. */
static int
pick_names(const struct cli *c, const struct args *a, size_t n, struct strv *ret, struct err *e)
{
	for (size_t i = 1; i < a->nwords; i++) {
		if (sandbox_name_check(a->words[i], e) < 0)
			return -e->code;
		if (strv_has(ret, a->words[i]))
			return usage_error(
				e, "'%s' is there twice: write each name once", a->words[i]);
		if (exists(c, a->words[i]))
			return sandbox_exists_error(a->words[i], e);
		strv_add(ret, a->words[i]);
	}
	for (unsigned k = 2; ret->n < n; k++) {
		CLEAN_FREE char *name = xasprintf("%.*s-%u", NAME_STEM_MAX, a->words[0], k);

		if (!exists(c, name) && !strv_has(ret, name))
			strv_add(ret, name);
	}
	return 0;
}

static int
count(const struct args *a, size_t *ret, struct err *e)
{
	const char *text = args_get(a, "copies");
	uint64_t n = a->nwords > 1 ? a->nwords - 1 : 1;

	if (text != NULL && str_to_u64(text, 1, COPIES_MAX, &n) < 0)
		return usage_error(e, "-n '%s': write a number from 1 to %d", text, COPIES_MAX);
	if (n < a->nwords - 1)
		return usage_error(
			e, "-n %s, but %zu names: write as many, or fewer", text, a->nwords - 1);
	*ret = (size_t)n;
	return 0;
}

static int
plan_clones(const struct cli *c, struct forks *f, struct err *e)
{
	int r = 0;

	f->clones = xcalloc(f->names.n, sizeof(*f->clones));
	for (size_t i = 0; i < f->names.n && r == 0; i++)
		r = clones_plan(c, f->source, f->names.v[i], &f->clones[i], e);
	return r;
}

/* The machine, and beside it what the first one works in. */
static int
save(const struct cli *c, struct forks *f, struct err *e)
{
	CLEAN_STRV struct strv pairs = {0};

	for (size_t i = 0; f->clones != NULL && i < f->clones[0].to.n; i++) {
		strv_add(&pairs, f->clones[0].from.v[i]);
		strv_add(&pairs, f->clones[0].to.v[i]);
	}
	return checkpoint_save(c, f->source->name, pairs.n > 0 ? &pairs : NULL, &f->from, e);
}

/* Afterwards there are as many sandboxes as *ret_made, and as many copies as *ret_cloned. */
static int
make_all(const struct cli *c, const struct forks *f, size_t *ret_made, size_t *ret_cloned,
	struct ui *u, struct err *e)
{
	int r = 0;

	*ret_cloned = f->clones != NULL ? 1 : 0;
	while (r == 0 && f->clones != NULL && *ret_cloned < f->names.n) {
		r = clones_copy(&f->clones[0], &f->clones[*ret_cloned], e);
		*ret_cloned += r == 0;
	}
	return r < 0 ? r : make_copies(c, f, ret_made, u, e);
}

static int
fork_all(const struct cli *c, struct forks *f, struct ui *u, struct err *e)
{
	CLEAN_CLOSE int lock = save(c, f, e);
	size_t made = 0, cloned = 0;
	int r = lock < 0 ? lock : make_all(c, f, &made, &cloned, u, e);

	if (f->from != NULL)
		io_remove_tree(AT_FDCWD, f->from, NULL);
	while (r < 0 && made > 0)
		remove_sandbox(c, f->names.v[--made], NULL);
	while (r < 0 && cloned > 0)
		clones_remove(&f->clones[--cloned]);
	for (size_t i = 0; i < made; i++)
		printf("%s\n", f->names.v[i]);
	for (size_t i = 0; i < cloned && !c->quiet; i++)
		tell_clones(&f->clones[i], f->names.v[i]);
	return r;
}

static int
fork_exec(struct cli *c, const struct args *a, struct err *e)
{
	struct sandbox s = {0};
	CLEANUP(forks_release) struct forks f = {.source = &s};
	struct ui u;
	size_t n = 0;
	int r;

	if (a->nwords < 1)
		return usage_error(e, "write: paddock fork SANDBOX [NEW...] [-n N]");
	ui_init(&u, c);
	r = count(a, &n, e);
	if (r == 0)
		r = state_paths_init(&c->paths, e);
	if (r == 0)
		r = sandbox_name_check(a->words[0], e);
	if (r == 0)
		r = sandbox_load(&c->paths, a->words[0], &s, e);
	if (r == 0)
		r = pick_names(c, a, n, &f.names, e);
	if (r == 0 && args_has(a, "clone-workspace"))
		r = plan_clones(c, &f, e);
	if (r == 0)
		r = fork_all(c, &f, &u, e);
	ui_finish(&u);
	sandbox_release(&s);
	return r;
}

static const struct option_def fork_options[] = {
	{"clone-workspace", 0, NULL, "each has a copy of the workspace, beside it: WORKSPACE-NEW"},
	{"copies", 'n', "N", "how many (default: one, or as many as there are names)"},
	{"quiet", 'q', NULL, "no progress"},
	{0},
};

const struct verb verb_fork = {.name = "fork",
	.summary = "Copy a running machine, processes included, into new sandboxes that run",
	.usage = "SANDBOX [NEW...] [-n N] [--clone-workspace]",
	.details =
		"Without names they are SANDBOX-2, SANDBOX-3, ... Each copy has its own name,\n"
		"disk, network, log and certificate authority, and the policy of the original. It\n"
		"has no credentials until run gives it some, under new placeholders: programs "
		"that\n"
		"hold those of the original are to be started anew. Connections are reset, and no\n"
		"port is published. The workspaces are shared by all of them, or, with\n"
		"--clone-workspace, each has its own, as it is at that moment (repositories and\n"
		"files that git does not know included), at the same path inside. These copies\n"
		"are yours: rm leaves them.",
	.options = fork_options,
	.exec = fork_exec};
