#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include <base/io.h>
#include <base/mem.h>

#include "verbs.h"

/* The guest wrote this: nothing of it may act on the reader's terminal (attacks.md I1). */
static void
print_escaped(const char *text, size_t n)
{
	while (n > 0) {
		const char *nl = memchr(text, '\n', n);
		size_t len = nl != NULL ? (size_t)(nl - text) : n;
		size_t shown = len > 0 && text[len - 1] == '\r' ? len - 1 : len;
		CLEAN_FREE char *line = xmalloc(shown * 4 + 1);

		str_escape(text, shown, line, shown * 4 + 1);
		printf("%s\n", line);
		text += len + (nl != NULL);
		n -= len + (nl != NULL);
	}
}

static int
print_file(const char *path, bool required, struct err *e)
{
	CLEAN_BUF struct buf b = BUF_INIT;
	int r = io_read_file(AT_FDCWD, path, 16 << 20, &b, e);

	if (r == -ENOENT && !required)
		return 0;
	if (r == 0)
		print_escaped((const char *)b.data, b.len);
	return r;
}

static int
logs_exec(struct cli *c, const struct args *a, struct err *e)
{
	const char *file = args_has(a, "supervisor") ? "supervisor.log" : "console.log";
	struct sandbox s = {0};
	int r;

	if (a->nwords != 1)
		return usage_error(e, "write: paddock logs [--supervisor] SANDBOX");
	r = sandbox_name_check(a->words[0], e);
	if (r == 0)
		r = state_paths_init(&c->paths, e);
	if (r == 0)
		r = sandbox_load(&c->paths, a->words[0], &s, e);
	sandbox_release(&s);
	if (r < 0)
		return r;
	CLEAN_FREE char *path = state_sandbox_file(&c->paths, a->words[0], file);
	CLEAN_FREE char *older = xasprintf("%s.1", path);

	r = print_file(older, false, e);
	return r == 0 ? print_file(path, false, e) : r;
}

static const struct option_def logs_options[] = {
	{"supervisor", 0, NULL, "what paddock's own processes said (with --debug at start: more)"},
	{0},
};

const struct verb verb_logs = {.name = "logs",
	.summary = "Show the console of a sandbox's machine",
	.usage = "[--supervisor] SANDBOX",
	.options = logs_options,
	.exec = logs_exec};
