#pragma once
/*
 * A verb is one const struct in its own file: name, summary, usage, options, exec. Help, man page
 * options and completions come from the same table. main.c finds the verb, args.c parses.
 */
#include <stdbool.h>
#include <stddef.h>

#include <base/cleanup.h>
#include <base/buf.h>
#include <base/err.h>
#include <base/progress.h>
#include <base/str.h>
#include <image/image.h>
#include <kit/kit.h>
#include <policy/policy.h>
#include <state/state.h>
#include <wire/session.h>

/* Exit codes (conventions, section 10). */
enum { EXIT_OURS = 125, EXIT_NOT_EXECUTABLE = 126, EXIT_NOT_FOUND = 127, EXIT_USAGE = 2 };

struct option_def {
	const char *name; /* long, without "--" */
	char letter;      /* 0: none */
	const char *arg;  /* "NAME" of its value; NULL: a flag */
	const char *help;
};

struct option_value {
	const struct option_def *def;
	const char *value; /* into argv; "" for a flag */
};

struct args {
	struct option_value *options;
	size_t noptions;
	const char **words; /* positional ones */
	size_t nwords;
	char *const *rest; /* behind "--", or raw words; NULL-terminated; NULL: none given */
	size_t nrest;
};

struct cli {
	struct state_paths paths;
	bool debug, quiet;
};

struct verb {
	const char *name, *alias; /* "ls"; with its parent before it: "network ls" */
	const char *summary;
	const char *usage;                /* behind "paddock NAME " */
	const char *details;              /* more lines for --help; may be NULL */
	const struct option_def *options; /* ends with an empty name */
	const struct option_def *shared;  /* a second table, of several verbs; or NULL */
	const struct verb *const *subs;   /* "paddock NAME SUB": NULL-terminated; or NULL */
	size_t raw_after; /* >0: words from this index on are not parsed (exec SANDBOX CMD -x) */
	bool hidden;
	/* Exit code, or -errno with e set (exit code 125 then, 2 for -EINVAL of usage). */
	int (*exec)(struct cli *c, const struct args *a, struct err *e);
};

extern const struct verb *const verbs[];
/* By name (its last word) or alias, in verbs or in a verb's subs. NULL: none. */
const struct verb *verb_find(const struct verb *const *table, const char *word);

/* args.c */
int args_parse(const struct verb *v, struct cli *c, int argc, char *const *argv, struct args *ret,
	struct err *e); /* -EINVAL; *ret->options[0].def->name "help" is handled by main */
void args_release(struct args *a);
bool args_has(const struct args *a, const char *name);
const char *args_get(const struct args *a, const char *name); /* the last one, or NULL */
void args_all(const struct args *a, const char *name, struct strv *ret);
int usage_error(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
extern const struct option_def global_options[];

/* help.c */
void help_all(void);
void help_verb(const struct verb *v);
extern const struct verb verb_help, verb_version, verb_completion;

/* ui.c: what long steps show; plain lines without a terminal, nothing with -q */
struct ui {
	struct progress progress;
	bool quiet, tty;
	char step[160];
	unsigned long long step_started_ms;
	bool line_open;
};
void ui_init(struct ui *u, const struct cli *c);
void ui_finish(struct ui *u);          /* ends an open line */
void ui_note(const char *text);        /* a line on stderr, escaped, unless -q */
bool ui_confirm(const char *question); /* "[y/N]"; false without a terminal */

/* env.c: -e, --env-file, and what comes along from the calling shell */
int env_from_args(const struct args *a, struct strv *ret, struct err *e);
void env_from_shell(struct strv *ret); /* TERM COLORTERM LANG LC_* TZ */

/* workspace.c */
int workspace_add(struct sandbox *s, const char *word, struct err *e); /* PATH[:ro|:readonly] */
/* Whether the word means this workspace. */
bool workspace_is(const struct workspace *w, const char *word);

/* shadow.c: --shadow DIR, relative to the first workspace or absolute inside any */
int shadow_add(struct sandbox *s, const char *word, struct err *e);
/* ssh.c: the host's SSH agent, for named hosts */
/* --ssh-agent: each with a key that the user knows. */
int ssh_pick(const struct args *a, struct strv *ret, struct err *e);
/* The running sandbox, if it was made for it, gets a connection to the caller's agent, and the
 * named hosts' keys. Without an agent there is a note. */
int ssh_give(const struct cli *c, const char *name, struct err *e);

bool shadow_is_known(const struct sandbox *s, const char *word);

/* agent.c: the kits of words and of sandboxes */
/* -ENOENT when no kit is meant; another error is the kit's own fault. */
int agent_find(const char *word, struct kit *ret, struct err *e);
/* The one that the sandbox was made with. */
int agent_of(const struct cli *c, const struct sandbox *s, struct kit *ret, struct err *e);
void agent_names(char *out, size_t size); /* the built-in ones: "shell, claude, ..." */
/* Words that begin with a dash are appended to the arguments, others replace them. */
void agent_command(const struct kit *k, char *const *rest, size_t nrest, struct strv *ret);
/* Its variables, and where the host's npm gets packages from. */
void agent_env(const struct kit *k, struct strv *ret);
/* Adds what the kit may reach, where no rule of the owner's denies it. */
int agent_rules(const struct kit *k, struct policy *p, struct err *e);
/* Into the folder of a sandbox that is being made. */
int agent_keep(const struct kit *k, const char *sandbox_dir, struct err *e);

/* prepare.c: the kit's files and the user's own settings into the home of a sandbox that runs */
int agent_prepare(const struct cli *c, const char *name, const struct kit *k, struct err *e);

/* verb_rm.c: ends its machine and removes it. -ENOENT. */
int remove_sandbox(const struct cli *c, const char *name, struct err *e);
/* Ends whoever runs it; its lock, a descriptor. */
int lock_ended(const struct cli *c, const char *name, struct err *e);
/* As paddock suspend does. */
int suspend_sandbox(struct cli *c, const char *name, struct err *e);

/* npm.c: npm_config_registry, where the host has one that is not npm's own default */
void npm_registry(struct strv *ret);

/* layer.c: the template of a kit, which is a layer on an image */
struct layer_request {
	const struct kit *kit;
	const char *base; /* the image's id */
	const char *accel;
	const struct policy *policy; /* of its install steps */
	bool rebuild;
};
/* Finds it, or builds it in a sandbox of its own. Caller frees *ret_id. */
int layer_ensure(
	struct cli *c, const struct layer_request *q, struct ui *u, char **ret_id, struct err *e);

/* guest_run.c: a program in a sandbox, to its end, without a terminal */
struct guest_job {
	const char *user; /* NULL: agent */
	const char *cwd;
	struct strv argv, env;
	const void *input; /* its standard input; NULL: none */
	size_t ninput;
	void (*line)(void *arg, const char *text); /* each line of its output, untrusted */
	void *arg;
	int cancel_fd; /* -1, or a descriptor: readable means give up (-ECANCELED) */
	uint64_t limit_ms;
};
/* Its exit status, or -errno. */
int guest_run(const struct cli *c, const char *name, const struct guest_job *j, struct err *e);

/* make.c: the parts that create and run share */
extern const struct option_def make_options[];
struct make_request {
	const struct kit *kit;
	const char *name; /* NULL: the default */
	const char *const *paths;
	size_t npaths;
	const struct strv *env;
};
/* What the sandboxes of a kit stand on, built where it is missing. */
int make_template(struct cli *c, const struct args *a, const struct kit *kit, bool rebuild,
	const struct policy *policy, struct ui *u, struct image *ret, struct err *e);
/* What a new sandbox of this kit may reach. */
int make_policy(const struct cli *c, const struct args *a, const struct kit *kit,
	struct policy *ret, struct err *e);
/* The machine image for the agents of all kits. */
int make_image(struct cli *c, bool rebuild, struct ui *u, struct image *ret, struct err *e);
int make_sandbox(struct cli *c, const struct args *a, const struct make_request *q, struct ui *u,
	char **ret_name, struct err *e);
/* CPUs and memory of a sandbox for which nobody asked for others. */
void make_shape(struct sandbox *s);
/* The first option that asks for another shape than the sandbox was made with; NULL when none. */
const char *make_option_differs(const struct args *a, const struct sandbox *s);
int make_started(struct cli *c, const char *name, struct ui *u, struct err *e);
/* The one that supervisor_begin has begun. */
int make_begun(struct cli *c, const char *name, int begun, struct ui *u, struct err *e);

/* ask.c: a question to the guest, its answer appended to ret. 0 or -errno. */
int guest_ask(
	const struct cli *c, const char *name, enum session_op op, struct buf *ret, struct err *e);

/* verb_diff.c: on stderr, what the guest changed since then (CLOCK_REALTIME) that the host may run;
 * or nothing */
void changes_report(struct cli *c, const char *name, int64_t since_ms);

/* terminal.c: a session on this terminal */
struct terminal_options {
	bool tty; /* raw mode, window size */
	bool stdin_open;
	const char *detach_keys; /* "ctrl-p,ctrl-q" */
	const char *name;        /* for the hint after detaching */
	bool quiet;
};
/* Speaks the session protocol on fd (closed at the end) after OPEN was written: exit code/-errno.
 */
int terminal_run(
	int fd, const struct buf *open_frame, const struct terminal_options *o, struct err *e);
/* To be called before anything is started for the session. */
int terminal_options_check(const struct terminal_options *o, struct err *e);
int terminal_detach_keys_parse(
	const char *text, unsigned char out[8], size_t *ret_n, struct err *e);
/* Connects, opens, runs. */
int terminal_session(struct cli *c, const char *name, struct session_open *open,
	const struct terminal_options *o, struct err *e);
