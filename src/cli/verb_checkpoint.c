#include <stdio.h>
#include <string.h>
#include <time.h>

#include <base/mem.h>

#include "checkpoints.h"
#include "verbs.h"

static int
check_sandbox(const struct cli *c, const char *name, struct err *e)
{
	struct sandbox s = {0};
	int r = sandbox_name_check(name, e);

	if (r == 0)
		r = sandbox_load(&c->paths, name, &s, e);
	sandbox_release(&s);
	return r;
}

static void
show_time(int64_t at, char out[32])
{
	time_t t = (time_t)at;
	struct tm tm;

	if (localtime_r(&t, &tm) == NULL || strftime(out, 32, "%Y-%m-%d %H:%M:%S", &tm) == 0)
		snprintf(out, 32, "?");
}

static int
checkpoint_ls(const struct cli *c, const char *name, struct err *e)
{
	CLEANUP(checkpoints_release) struct checkpoints l = {0};
	int r = check_sandbox(c, name, e), w = 10;

	if (r == 0)
		r = checkpoints_list(c, name, &l, e);
	if (r < 0)
		return r;
	for (size_t i = 0; i < l.n; i++)
		if ((int)strlen(l.v[i].tag) > w)
			w = (int)strlen(l.v[i].tag);
	printf("%-*s  %-19s  %s\n", w, "CHECKPOINT", "CREATED", "SIZE");
	for (size_t i = 0; i < l.n; i++) {
		char at[32], size[16];

		show_time(l.v[i].created, at);
		str_from_size(l.v[i].bytes, size);
		printf("%-*s  %-19s  %s\n", w, l.v[i].tag, at, size);
	}
	return 0;
}

static int
checkpoint_rm(const struct cli *c, const struct args *a, struct err *e)
{
	int r = check_sandbox(c, a->words[1], e);

	for (size_t i = 2; i < a->nwords && r == 0; i++) {
		r = checkpoint_remove(c, a->words[1], a->words[i], e);
		if (r == 0)
			printf("%s\n", a->words[i]);
	}
	return r;
}

static int
make(const struct cli *c, const struct args *a, struct err *e)
{
	const char *tag = a->nwords > 1 ? a->words[1] : NULL;
	char now[32];
	time_t t = time(NULL);
	struct tm tm;
	int r = check_sandbox(c, a->words[0], e);

	if (tag == NULL && localtime_r(&t, &tm) != NULL &&
		strftime(now, sizeof(now), "%Y-%m-%d.%H-%M-%S", &tm) > 0)
		tag = now;
	if (r == 0)
		r = sandbox_name_check(tag, NULL);
	if (r < 0 && e->code == 0)
		return usage_error(e,
			"'%.63s' is no name of a checkpoint: use 2 to 63 letters, digits, '.', "
			"'_', "
			"'+' or '-', beginning with a letter or digit",
			tag);
	if (r == 0)
		r = checkpoint_make(c, a->words[0], tag, e);
	if (r == 0)
		printf("%s\n", tag);
	return r;
}

static int
checkpoint_exec(struct cli *c, const struct args *a, struct err *e)
{
	const char *what = a->nwords > 0 ? a->words[0] : "";
	int r = state_paths_init(&c->paths, e);

	if (r < 0)
		return r;
	if (a->nwords == 2 && strcmp(what, "ls") == 0)
		return checkpoint_ls(c, a->words[1], e);
	if (a->nwords > 2 && strcmp(what, "rm") == 0)
		return checkpoint_rm(c, a, e);
	if (a->nwords < 1 || a->nwords > 2)
		return usage_error(e, "write: paddock checkpoint SANDBOX [NAME], checkpoint ls "
				      "SANDBOX or checkpoint rm SANDBOX NAME...");
	return make(c, a, e);
}

const struct verb verb_checkpoint = {.name = "checkpoint",
	.summary = "Keep a running machine as it is, memory and disk, to go back to",
	.usage = "SANDBOX [NAME] | ls SANDBOX | rm SANDBOX NAME...",
	.details =
		"The machine goes on. paddock rollback goes back. The workspaces are the host's\n"
		"own files and are in no checkpoint.",
	.exec = checkpoint_exec};
