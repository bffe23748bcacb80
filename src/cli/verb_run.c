#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <base/clock.h>
#include <base/mem.h>
#include <supervisor/supervisor.h>
#include <wire/session.h>

#include "credentials.h"
#include "network.h"
#include "netlog.h"
#include "verbs.h"

/* Which sandbox is meant, and whether it has to be made first. */
struct target {
	char *name;
	struct kit kit; /* of the word, then of the sandbox */
	bool exists;
};

static void
target_release(struct target *t)
{
	free(t->name);
	kit_release(&t->kit);
}

/* What was typed must be what the sandbox has: nothing is silently left aside. */
static int
check_same(const struct sandbox *s, const struct args *a, const char *agent, struct err *e)
{
	const char *option = make_option_differs(a, s);

	if (agent != NULL && strcmp(agent, s->agent) != 0)
		return usage_error(e,
			"sandbox '%s' runs agent '%s', not '%s': choose another --name, or remove "
			"it first",
			s->name, s->agent, agent);
	if (option != NULL)
		return usage_error(e,
			"sandbox '%s' was made with another --%s, which stays: leave it out, "
			"choose another --name, or remove the sandbox first",
			s->name, option);
	for (size_t i = 1; i < a->nwords; i++)
		if (i > s->nworkspaces || !workspace_is(&s->workspaces[i - 1], a->words[i]))
			return usage_error(e,
				"sandbox '%s' was made without '%s' as workspace %zu: choose "
				"another "
				"--name, or remove the sandbox first",
				s->name, a->words[i], i);
	return 0;
}

/* A kit that is another by now makes no other machine of one that is there. */
static void
note_change(const struct cli *c, const struct sandbox *s, const struct kit *wanted,
	const struct kit *has)
{
	CLEAN_FREE char *a = NULL, *b = NULL, *note = NULL;

	if (wanted->name == NULL || c->quiet)
		return;
	a = kit_print(wanted);
	b = kit_print(has);
	note = xasprintf("note: the kit '%s' has changed since sandbox '%s' was made, which keeps "
			 "what it has: paddock rm %s, to have it made anew",
		wanted->name, s->name, s->name);
	if (strcmp(a, b) != 0)
		ui_note(note);
}

static int
use_existing(const struct cli *c, const struct args *a, const char *name, struct target *t,
	struct err *e)
{
	struct sandbox s = {0};
	struct kit kit = {0};
	int r = sandbox_load(&c->paths, name, &s, e);

	if (r == 0)
		r = check_same(&s, a, t->kit.name, e);
	if (r == 0)
		r = agent_of(c, &s, &kit, e);
	if (r == 0) {
		note_change(c, &s, &t->kit, &kit);
		kit_release(&t->kit);
		t->kit = kit;
		t->name = xstrdup(name);
		t->exists = true;
	}
	sandbox_release(&s);
	return r;
}

/* The sandbox of this agent and first workspace, by whatever name. -ENOENT when there is none. */
static int
find_by_workspace(const struct cli *c, const struct args *a, const char *path, struct target *t,
	struct err *e)
{
	CLEAN_STRV struct strv names = {0};
	int r = sandbox_names(&c->paths, &names, e);

	for (size_t i = 0; r == 0 && i < names.n; i++) {
		struct sandbox s = {0};
		bool found;

		if (sandbox_load(&c->paths, names.v[i], &s, NULL) < 0)
			continue;
		found = strcmp(s.agent, t->kit.name) == 0 && s.nworkspaces > 0 &&
			workspace_is(&s.workspaces[0], path);
		sandbox_release(&s);
		if (found)
			return use_existing(c, a, names.v[i], t, e);
	}
	return r < 0 ? r : -ENOENT;
}

static int
no_agent(const char *word, struct err *e)
{
	char known[160];

	agent_names(known, sizeof(known));
	return usage_error(e,
		"no agent and no sandbox is called '%s': agents are %s; see paddock kit ls, "
		"paddock ls",
		word, known);
}

static int
by_sandbox_name(const struct cli *c, const struct args *a, const char *word, struct target *t,
	struct err *e)
{
	int r = sandbox_name_check(word, NULL) == 0 ? use_existing(c, a, word, t, e) : -ENOENT;

	return r == -ENOENT ? no_agent(word, e) : r;
}

static int
pick_target(const struct cli *c, const struct args *a, struct target *t, struct err *e)
{
	const char *name = args_get(a, "name"), *path = a->nwords > 1 ? a->words[1] : ".";
	const char *word = a->nwords > 0 ? a->words[0] : NULL;
	int r;

	/* A command alone needs no agent, only the machine. */
	if (word == NULL && name == NULL && a->nrest > 0)
		word = "shell";
	if (word == NULL && name == NULL)
		return usage_error(e, "write: paddock run AGENT [WORKSPACE...], paddock run "
				      "SANDBOX or paddock run -- COMMAND");
	r = word != NULL ? agent_find(word, &t->kit, e) : 0;
	if (r == -ENOENT && name == NULL)
		return by_sandbox_name(c, a, word, t, e);
	if (r < 0)
		return r == -ENOENT ? no_agent(word, e) : r;
	r = name != NULL ? use_existing(c, a, name, t, e) : find_by_workspace(c, a, path, t, e);
	return r == -ENOENT && t->kit.name != NULL ? 0 : r;
}

static int
make_target(struct cli *c, const struct args *a, const struct strv *env, struct target *t,
	struct ui *u, struct err *e)
{
	static const char *const here[] = {"."};
	bool named = a->nwords > 1;
	struct make_request q = {.kit = &t->kit,
		.name = args_get(a, "name"),
		.paths = named ? &a->words[1] : here,
		.npaths = named ? a->nwords - 1 : 1,
		.env = env};

	return make_sandbox(c, a, &q, u, &t->name, e);
}

/* Another run has made it since we looked: entered if it is the one that we would have made. */
static int
made_meanwhile(const struct cli *c, const struct args *a, struct target *t, struct err *e)
{
	struct err exists = *e;
	int r;

	target_release(t);
	*t = (struct target){0};
	r = pick_target(c, a, t, e);
	if (r < 0 || t->exists)
		return r;
	*e = exists;
	return -EEXIST;
}

/* Placeholders, which what the user has set by hand goes before. */
static int
add_credentials(const struct cli *c, const char *name, struct strv *env, struct err *e)
{
	struct sandbox s = {0};
	int r = sandbox_load(&c->paths, name, &s, e);

	if (r == 0)
		r = credentials_env(c, &s, env, e);
	sandbox_release(&s);
	return r;
}

static int
run_agent(struct cli *c, const struct args *a, const struct strv *env, const struct target *t,
	struct err *e)
{
	bool tty = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
	struct session_open open = {.op = SESSION_OP_EXEC, .tty = tty, .stdin_open = true};
	struct terminal_options o = {.tty = tty,
		.stdin_open = true,
		.detach_keys = args_get(a, "detach-keys"),
		.name = t->name,
		.quiet = c->quiet};
	int64_t since_ms = (int64_t)(clock_real_ns() / 1000000);
	char notice[512];
	int r;

	agent_command(&t->kit, a->rest, a->nrest, &open.argv);
	env_from_shell(&open.env);
	for (size_t i = 0; i < env->n; i++)
		strv_add(&open.env, env->v[i]);
	r = add_credentials(c, t->name, &open.env, e);
	if (r == 0)
		r = terminal_session(c, t->name, &open, &o, e);
	changes_report(c, t->name, since_ms);
	session_open_release(&open);
	if (r >= 0 && !c->quiet && netlog_notice(c, t->name, since_ms, notice, sizeof(notice)))
		ui_note(notice);
	return r;
}

/* A sandbox that was there keeps what it publishes, and gets what is new. */
static int
publish_more(const struct cli *c, const struct args *a, const struct target *t, struct err *e)
{
	struct control_ports p = {0};
	int r = 0;

	args_all(a, "publish", &p.publish);
	if (t->exists && p.publish.n > 0)
		r = supervisor_ports(&c->paths, t->name, &p, e);
	control_ports_release(&p);
	return r;
}

/*
 * What is wrong with the words is said before anything is made or started. The environment is read
 * once: --env-file may be a pipe.
 */
static int
check_words(const struct args *a, struct strv *env, struct err *e)
{
	struct terminal_options o = {.detach_keys = args_get(a, "detach-keys")};
	int r = terminal_options_check(&o, e);

	return r == 0 ? env_from_args(a, env, e) : r;
}

static int
run_exec(struct cli *c, const struct args *a, struct err *e)
{
	CLEAN_STRV struct strv env = {0};
	CLEAN_CRED_SET struct cred_set credentials = {0};
	struct target t = {0};
	struct ui u;
	int r = check_words(a, &env, e);

	ui_init(&u, c);
	if (r == 0)
		r = state_paths_init(&c->paths, e);
	if (r == 0)
		r = pick_target(c, a, &t, e);
	if (r == 0)
		r = credentials_ask(c, a, &t.kit, t.name, &credentials, e);
	if (r == 0 && !t.exists)
		r = make_target(c, a, &env, &t, &u, e);
	if (r == -EEXIST)
		r = made_meanwhile(c, a, &t, e);
	ui_finish(&u);
	if (r == 0 && t.exists && network_make_asked(a))
		r = network_change(c, a, t.name, false, network_make_apply, e);
	if (r == 0)
		r = make_started(c, t.name, &u, e);
	if (r == 0)
		r = credentials_give(c, t.name, &credentials, NULL, e);
	if (r == 0)
		r = ssh_give(c, t.name, e);
	if (r == 0)
		r = publish_more(c, a, &t, e);
	if (r == 0)
		r = agent_prepare(c, t.name, &t.kit, e);
	if (r == 0 && args_has(a, "detached"))
		printf("%s\n", t.name);
	else if (r == 0)
		r = run_agent(c, a, &env, &t, e);
	target_release(&t);
	return r;
}

static const struct option_def run_options[] = {
	{"detached", 'd', NULL, "start it, print its name, run no agent"},
	{"detach-keys", 0, "KEYS", "keys that detach (default: ctrl-p,ctrl-q)"},
	{0},
};

const struct verb verb_run = {.name = "run",
	.summary = "Run an agent in its own machine around your project",
	.usage = "[OPTIONS] AGENT|KIT.yaml [WORKSPACE...] [-- ARGS...]  |  SANDBOX [-- ARGS...]  | "
		 " -- COMMAND",
	.details =
		"Makes the sandbox when there is none for this agent and workspace (default: the\n"
		"current folder), else enters it again. ARGS that begin with '-' are appended to "
		"the\n"
		"agent's own, others replace them. paddock kit ls lists agents; any program may be "
		"one, by a "
		"kit\nof your own (paddock-kit(5)), and a COMMAND needs none: it runs in the "
		"sandbox of "
		"the shell.",
	.options = run_options,
	.shared = make_options,
	.exec = run_exec};
