/*
 * How this works: the machine is saved once, as for a checkpoint. Each copy is a new sandbox whose
 * folder holds links to the saved memory and a disk of its own, as if it had been suspended, and
 * which is started: all of them map the one file. There are all that were asked for, or none.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/io.h>
#include <base/mem.h>
#include <snapshot/saved.h>

#include "checkpoints.h"
#include "verbs.h"

#define COPIES_MAX    100
#define FILE_MAX      (16u << 20)
#define NAME_STEM_MAX 58 /* with "-100" a name still */

struct copy {
	const struct cli *c;
	const char *source, *from;
};

/* What the new one has of the old one's; all else (authority, log, placeholders) is made for it. */
static int
copy_file(const struct copy *k, const char *dir, const char *name, struct err *e)
{
	CLEAN_FREE char *old = state_sandbox_file(&k->c->paths, k->source, name);
	CLEAN_FREE char *new = xasprintf("%s/%s", dir, name);
	CLEAN_BUF struct buf b = BUF_INIT;
	int r = io_read_file(AT_FDCWD, old, FILE_MAX, &b, e);

	if (r == -ENOENT)
		return 0;
	return r == 0 ? io_write_file_atomic(AT_FDCWD, new, b.data, b.len, 0600, e) : r;
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
		r = saved_place(k->from, memory, disk, e);
	for (size_t i = 0; i < ARRAY_LEN(files) && r == 0; i++)
		r = copy_file(k, dir, files[i], e);
	return r;
}

static int
make_copy(const struct cli *c, const struct sandbox *source, const char *from, const char *name,
	bool first, struct ui *u, struct err *e)
{
	struct copy k = {c, source->name, from};
	struct sandbox s = *source;
	struct cli told = *c;
	int r;

	s.name = (char *)name;
	s.ports = (struct strv){0}; /* a port of the host's is one sandbox's */
	s.created = (int64_t)time(NULL);
	r = sandbox_create(&c->paths, &s, fill, &k, e);
	if (r < 0)
		return r;
	told.quiet |= !first; /* the others would be told the same */
	r = make_started(&told, name, u, e);
	if (r < 0)
		remove_sandbox(c, name, NULL);
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
fork_all(struct cli *c, const struct sandbox *s, const struct strv *names, struct ui *u,
	struct err *e)
{
	CLEAN_FREE char *from = NULL;
	CLEAN_CLOSE int lock = checkpoint_save(c, s->name, &from, e);
	size_t made = 0;
	int r = lock < 0 ? lock : 0;

	while (r == 0 && made < names->n) {
		r = make_copy(c, s, from, names->v[made], made == 0, u, e);
		made += r == 0;
	}
	if (from != NULL)
		io_remove_tree(AT_FDCWD, from, NULL);
	while (r < 0 && made > 0)
		remove_sandbox(c, names->v[--made], NULL);
	for (size_t i = 0; i < made; i++)
		printf("%s\n", names->v[i]);
	return r;
}

static int
fork_exec(struct cli *c, const struct args *a, struct err *e)
{
	CLEAN_STRV struct strv names = {0};
	struct sandbox s = {0};
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
		r = pick_names(c, a, n, &names, e);
	if (r == 0)
		r = fork_all(c, &s, &names, &u, e);
	ui_finish(&u);
	sandbox_release(&s);
	return r;
}

static const struct option_def fork_options[] = {
	{"copies", 'n', "N", "how many (default: one, or as many as there are names)"},
	{"quiet", 'q', NULL, "no progress"},
	{0},
};

const struct verb verb_fork = {.name = "fork",
	.summary = "Copy a running machine, processes included, into new sandboxes that run",
	.usage = "SANDBOX [NEW...] [-n N]",
	.details =
		"Without names they are SANDBOX-2, SANDBOX-3, ... Each copy has its own name,\n"
		"disk, network, log and certificate authority, and the policy of the original. It\n"
		"has no credentials until run gives it some, under new placeholders: programs "
		"that\n"
		"hold those of the original are to be started anew. Connections are reset, and no\n"
		"port is published. The workspaces are shared by all of them.",
	.options = fork_options,
	.exec = fork_exec};
