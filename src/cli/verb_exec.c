#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <base/clock.h>
#include <base/mem.h>
#include <supervisor/supervisor.h>
#include <wire/session.h>

#include "credentials.h"
#include "verbs.h"

static int
fill(const struct args *a, struct session_open *o, struct err *e)
{
	const char *cwd = args_get(a, "workdir"), *user = args_get(a, "user");

	if (cwd != NULL && cwd[0] != '/')
		return usage_error(e, "--workdir '%s': write an absolute path", cwd);
	o->cwd = cwd != NULL ? xstrdup(cwd) : NULL;
	o->user = user != NULL ? xstrdup(user) : NULL;
	for (size_t i = 0; i < a->nrest; i++)
		strv_add(&o->argv, a->rest[i]);
	env_from_shell(&o->env);
	if (!o->tty) /* docker exec's way: a program without a terminal is told of none */
		for (size_t i = 0; i < o->env.n; i++)
			if (str_has_prefix(o->env.v[i], "TERM="))
				o->env.v[i][strlen("TERM=")] = '\0';
	return env_from_args(a, &o->env, e);
}

/* One that does not run yet is given its credentials, as run does it. */
static int
start(struct cli *c, const struct args *a, const struct sandbox *s, struct ui *u, struct err *e)
{
	CLEAN_CRED_SET struct cred_set credentials = {0};
	CLEAN_KIT struct kit kit = {0};
	struct control_status st = {0};
	/* One that is slow to answer has them: to be given none now would take them from it. */
	bool runs = supervisor_status(&c->paths, s->name, &st, NULL) != -ESRCH;
	int r = 0;

	control_status_release(&st);
	if (!runs)
		r = agent_of(c, s, &kit, e);
	if (!runs && r == 0)
		r = credentials_ask(c, a, &kit, s->name, &credentials, e);
	if (r == 0)
		r = make_started(c, s->name, u, e);
	if (r == 0 && !runs)
		r = credentials_give(c, s->name, &credentials, NULL, e);
	return r == 0 && !runs ? ssh_give(c, s->name, e) : r;
}

static int
exec_exec(struct cli *c, const struct args *a, struct err *e)
{
	bool tty = args_has(a, "tty"), detach = args_has(a, "detach");
	struct session_open open = {.op = SESSION_OP_EXEC,
		.tty = tty && !detach,
		.stdin_open = args_has(a, "interactive") && !detach,
		.detach = detach,
		.privileged = args_has(a, "privileged")};
	struct terminal_options o = {.tty = open.tty,
		.stdin_open = open.stdin_open,
		.detach_keys = args_get(a, "detach-keys"),
		.quiet = c->quiet};
	struct ui u;
	int64_t since_ms;
	int r;

	if (a->nwords < 1 || a->nrest < 1 || a->rest[0][0] == '\0')
		return usage_error(e, "write: paddock exec [OPTIONS] SANDBOX COMMAND [ARG...]");
	if (open.tty && open.stdin_open && !isatty(STDIN_FILENO))
		return usage_error(e, "--tty needs a terminal on standard input: leave -t out");
	o.name = a->words[0];
	r = terminal_options_check(&o, e);
	if (r == 0)
		r = fill(a, &open, e);
	if (r == 0)
		r = sandbox_name_check(a->words[0], e);
	if (r == 0)
		r = state_paths_init(&c->paths, e);
	struct sandbox s = {0};
	if (r == 0)
		r = sandbox_load(&c->paths, a->words[0], &s, e);
	ui_init(&u, c);
	if (r == 0)
		r = start(c, a, &s, &u, e);
	if (r == 0)
		r = credentials_env(c, &s, &open.env, e);
	sandbox_release(&s);
	since_ms = (int64_t)(clock_real_ns() / 1000000);
	if (r == 0)
		r = terminal_session(c, a->words[0], &open, &o, e);
	if (r >= 0 && !detach)
		changes_report(c, a->words[0], since_ms);
	session_open_release(&open);
	return r;
}

static const struct option_def exec_options[] = {
	{"interactive", 'i', NULL, "keep standard input open"},
	{"tty", 't', NULL, "give the command a terminal"},
	{"detach", 'd', NULL, "run it in the background"},
	{"env", 'e', "KEY[=VALUE]", "set a variable; KEY alone copies the shell's"},
	{"env-file", 0, "FILE", "read variables from a file"},
	{"workdir", 'w', "DIR", "working folder (default: the first workspace)"},
	{"user", 'u', "USER[:GROUP]", "name or uid (default: agent)"},
	{"privileged", 0, NULL, "accepted for compatibility: the machine is the sandbox's own"},
	{"detach-keys", 0, "KEYS", "keys that detach (default: ctrl-p,ctrl-q)"},
	{"quiet", 'q', NULL, "no progress"},
	{0},
};

const struct verb verb_exec = {.name = "exec",
	.summary = "Run a command in a sandbox",
	.usage = "[OPTIONS] SANDBOX COMMAND [ARG...]",
	.details = "Starts the sandbox when it is stopped. The command's exit status comes back.",
	.options = exec_options,
	.raw_after = 1,
	.exec = exec_exec};

static int
attach_exec(struct cli *c, const struct args *a, struct err *e)
{
	struct session_open open = {.op = SESSION_OP_ATTACH, .tty = true, .stdin_open = true};
	struct terminal_options o = {.tty = true,
		.stdin_open = true,
		.detach_keys = args_get(a, "detach-keys"),
		.quiet = c->quiet};
	uint64_t id = 0;
	int r;

	if (a->nwords < 1 || a->nwords > 2)
		return usage_error(e, "write: paddock attach SANDBOX [SESSION]");
	if (a->nwords == 2 && str_to_u64(a->words[1], 1, UINT32_MAX, &id) < 0)
		return usage_error(e, "'%s' is no session number: see paddock inspect %s",
			a->words[1], a->words[0]);
	if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))
		return usage_error(e, "attach needs a terminal");
	open.session = (uint32_t)id;
	o.name = a->words[0];
	r = terminal_options_check(&o, e);
	if (r == 0)
		r = sandbox_name_check(a->words[0], e);
	if (r == 0)
		r = state_paths_init(&c->paths, e);
	if (r == 0)
		r = terminal_session(c, a->words[0], &open, &o, e);
	session_open_release(&open);
	return r;
}

static const struct option_def attach_options[] = {
	{"detach-keys", 0, "KEYS", "keys that detach (default: ctrl-p,ctrl-q)"},
	{0},
};

const struct verb verb_attach = {.name = "attach",
	.summary = "Take up a detached terminal session again",
	.usage = "SANDBOX [SESSION]",
	.options = attach_options,
	.exec = attach_exec};
