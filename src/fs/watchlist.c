#include <stddef.h>
#include <string.h>
#include <strings.h>

#include <base/cleanup.h>

#include "watchlist.h"

/*
 * "name": a file of that name. "name/": all in a folder of that name, and what takes its place.
 * "a/b": b in a folder a. "*end": names that end so. Letters' case does not count.
 */
static const struct {
	const char *pattern;
	enum change_kind kind;
	bool settings;
} list[] = {
	{".git/config", CHANGE_GIT, true},
	{".git/config.worktree", CHANGE_GIT, true},
	{".gitmodules", CHANGE_GIT, true},
	{".gitconfig", CHANGE_GIT, true},
	{".git/hooks", CHANGE_HOOK, false},
	{".husky/", CHANGE_HOOK, false},
	{".githooks/", CHANGE_HOOK, false},
	{"lefthook.yml", CHANGE_HOOK, false},
	{".lefthook.yml", CHANGE_HOOK, false},
	{".pre-commit-config.yaml", CHANGE_HOOK, false},
	{".overcommit.yml", CHANGE_HOOK, false},
	{".vscode/", CHANGE_EDITOR, false},
	{"*.code-workspace", CHANGE_EDITOR, false},
	{".idea/", CHANGE_EDITOR, false},
	{".devcontainer/", CHANGE_EDITOR, false},
	{".devcontainer.json", CHANGE_EDITOR, false},
	{".zed/", CHANGE_EDITOR, false},
	{".fleet/", CHANGE_EDITOR, false},
	{"*.sublime-project", CHANGE_EDITOR, false},
	{".vimrc", CHANGE_EDITOR, false},
	{".exrc", CHANGE_EDITOR, false},
	{".nvimrc", CHANGE_EDITOR, false},
	{".nvim.lua", CHANGE_EDITOR, false},
	{".dir-locals.el", CHANGE_EDITOR, false},
	{".dir-locals-2.el", CHANGE_EDITOR, false},
	{".envrc", CHANGE_SHELL, false},
	{"mise.toml", CHANGE_SHELL, false},
	{".mise.toml", CHANGE_SHELL, false},
	{".mise/", CHANGE_SHELL, false},
	{".autoenv.zsh", CHANGE_SHELL, false},
	{".gdbinit", CHANGE_SHELL, false},
	{".lldbinit", CHANGE_SHELL, false},
	{".cargo/config", CHANGE_SHELL, false},
	{".cargo/config.toml", CHANGE_SHELL, false},
	{".npmrc", CHANGE_SHELL, false},
	{".yarnrc", CHANGE_SHELL, false},
	{".yarnrc.yml", CHANGE_SHELL, false},
	{".pnpmfile.cjs", CHANGE_SHELL, false},
	{".mcp.json", CHANGE_AGENT, false},
	{".claude/", CHANGE_AGENT, false},
	{"CLAUDE.md", CHANGE_AGENT, false},
	{"CLAUDE.local.md", CHANGE_AGENT, false},
	{"AGENTS.md", CHANGE_AGENT, false},
	{"AGENT.md", CHANGE_AGENT, false},
	{"GEMINI.md", CHANGE_AGENT, false},
	{".gemini/", CHANGE_AGENT, false},
	{".cursor/", CHANGE_AGENT, false},
	{".cursorrules", CHANGE_AGENT, false},
	{".windsurf/", CHANGE_AGENT, false},
	{".windsurfrules", CHANGE_AGENT, false},
	{".clinerules", CHANGE_AGENT, false},
	{".codex/", CHANGE_AGENT, false},
	{".opencode/", CHANGE_AGENT, false},
	{"opencode.json", CHANGE_AGENT, false},
	{".kiro/", CHANGE_AGENT, false},
	{".roo/", CHANGE_AGENT, false},
	{".continue/", CHANGE_AGENT, false},
	{".goosehints", CHANGE_AGENT, false},
	{".aider.conf.yml", CHANGE_AGENT, false},
	{".github/copilot-instructions.md", CHANGE_AGENT, false},
};

struct part {
	const char *p;
	size_t n;
};

static bool
is(struct part c, const char *word, size_t n)
{
	return c.n == n && strncasecmp(c.p, word, n) == 0;
}

static bool
matches(const char *pattern, struct part dir, struct part c, bool last)
{
	const char *slash = strchr(pattern, '/');
	size_t n = strlen(pattern), head = slash != NULL ? (size_t)(slash - pattern) : n;

	if (pattern[0] == '*')
		return last && c.n >= n - 1 &&
		       strncasecmp(c.p + c.n - (n - 1), pattern + 1, n - 1) == 0;
	if (slash == NULL)
		return last && is(c, pattern, n);
	if (slash[1] == '\0')
		return is(c, pattern, head);
	return is(dir, pattern, head) && is(c, slash + 1, n - head - 1) &&
	       (last || strcmp(pattern, ".git/hooks") == 0);
}

enum change_kind
watchlist_find(const char *path, bool *ret_settings)
{
	struct part dir = {"", 0}, c;
	enum change_kind kind = 0;

	*ret_settings = false;
	for (const char *at = path; *at != '\0'; dir = c) {
		size_t n;
		bool last;

		at += strspn(at, "/");
		n = strcspn(at, "/");
		c = (struct part){at, n};
		at += n;
		last = *at == '\0';
		/* Others' packages, by the thousand; nobody opens them as a project. */
		if (is(c, "node_modules", strlen("node_modules")))
			return 0;
		if (n == 0 || kind != 0)
			continue;
		for (size_t i = 0; i < ARRAY_LEN(list) && kind == 0; i++) {
			if (!matches(list[i].pattern, dir, c, last))
				continue;
			kind = list[i].kind;
			*ret_settings = list[i].settings;
		}
	}
	/* Git's own, which it copies into each new repository and never runs. */
	if (kind == CHANGE_HOOK && dir.n > strlen(".sample") &&
		strncmp(dir.p + dir.n - strlen(".sample"), ".sample", strlen(".sample")) == 0)
		return 0;
	return kind;
}
