#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include <base/io.h>
#include <base/mem.h>
#include <cred/secret.h>

#include "secret.h"
#include "verbs.h"

/* One line without echo. Signals are off meanwhile: no shell is left behind that shows nothing. */
static int
read_line_unseen(const char *name, struct buf *ret, struct err *e)
{
	struct termios was, silent;
	int r = 0;

	if (tcgetattr(STDIN_FILENO, &was) < 0)
		return err_sys(e, errno, "the terminal");
	silent = was;
	silent.c_lflag &= ~(tcflag_t)(ECHO | ISIG);
	fprintf(stderr, "Value of %s (not shown): ", name);
	tcsetattr(STDIN_FILENO, TCSAFLUSH, &silent);
	while (r == 0 && (ret->len == 0 || ret->data[ret->len - 1] != '\n')) {
		ssize_t n = buf_read_fd(ret, STDIN_FILENO, CRED_VALUE_MAX);

		if (n <= 0 || ret->len > CRED_VALUE_MAX + 1)
			break;
		if (memchr(ret->data, 3, ret->len) != NULL) /* ctrl-c */
			r = err_set(e, EINTR, "nothing is set");
	}
	tcsetattr(STDIN_FILENO, TCSAFLUSH, &was);
	fputc('\n', stderr);
	return r;
}

static int
read_value(const char *name, char **ret, struct err *e)
{
	CLEAN_CRED_BUF struct buf b = BUF_INIT;
	int r = isatty(STDIN_FILENO) ? read_line_unseen(name, &b, e)
				     : io_read_fd_all(STDIN_FILENO, CRED_VALUE_MAX + 2, &b, e);
	size_t n = b.len;

	if (r < 0)
		return r;
	if (n > 0 && b.data[n - 1] == '\n')
		n--;
	r = cred_value_check(name, b.data, n, e);
	if (r == 0)
		*ret = secret_dup(b.data, n);
	return r;
}

/* Where a secret goes that no service and no kit knows. */
static int
read_place(const struct args *a, struct cred *c, struct err *e)
{
	CLEAN_STRV struct strv hosts = {0};
	const char *header = args_get(a, "header"), *format = args_get(a, "format");
	const char *user = args_get(a, "username"), *shape = args_get(a, "placeholder");
	CLEAN_FREE char *basic = user != NULL ? xasprintf("Basic %s:%%s", user) : NULL;

	args_all(a, "host", &hosts);
	args_all(a, "env", &c->env);
	if (hosts.n == 0 &&
		(header != NULL || format != NULL || user != NULL || c->env.n > 0 || shape != NULL))
		return usage_error(e, "--host HOST tells where it goes");
	if (hosts.n == 0)
		return 0;
	if (user != NULL && (format != NULL || strpbrk(user, "%:") != NULL))
		return usage_error(e, "--username NAME, without --format, '%%' and ':'");
	if (shape != NULL && !cred_shape_fits(shape))
		return usage_error(e,
			"--placeholder '%.40s': write a beginning such as sk-, or a text with "
			"{rand} in it",
			shape);
	c->placeholder = shape != NULL ? xstrdup(shape) : NULL;
	cred_add_place(c, &hosts, header != NULL ? header : "authorization",
		format != NULL   ? format
		: basic != NULL  ? basic
		: header != NULL ? "%s"
				 : "Bearer %s");
	return 0;
}

/* As it will be in a sandbox: one word of it that does not fit is said now. */
static int
check(const struct cred *c, struct err *e)
{
	static const uint8_t random[CRED_RANDOM_BYTES] = {0};
	CLEAN_CRED_SET struct cred_set s = {0};
	struct cred probe = {.name = xstrdup(c->name)};

	probe.placeholder = cred_placeholder(c->placeholder, random);
	for (size_t i = 0; i < c->nplaces; i++)
		cred_add_place(
			&probe, &c->places[i].hosts, c->places[i].header, c->places[i].format);
	cred_set_add(&s, &probe);
	return c->nplaces > 0 ? cred_set_check(&s, e) : 0;
}

static bool
is_of_some_kit(const char *name)
{
	const char *kit;

	for (size_t i = 0; (kit = kit_builtin_name(i)) != NULL; i++) {
		CLEAN_KIT struct kit k = {0};

		if (kit_load(NULL, kit, &k, NULL, NULL) < 0)
			continue;
		for (size_t j = 0; j < k.ncredentials; j++)
			if (strcmp(k.credentials[j].name, name) == 0)
				return true;
	}
	return false;
}

static int
fill(const struct args *a, struct secrets_entry *one, struct err *e)
{
	const char *name = a->words[0], *command = args_get(a, "command");
	int r;

	if (!cred_name_fits(name))
		return usage_error(e, "'%.40s': a secret's name is of a-z, 0-9 and '-'", name);
	one->cred.name = xstrdup(name);
	r = read_place(a, &one->cred, e);
	if (r == 0)
		r = check(&one->cred, e);
	if (r == 0 && one->cred.nplaces == 0 && cred_service_find(name) == NULL &&
		!is_of_some_kit(name) && args_get(a, "sandbox") == NULL)
		ui_note("note: no service has this name: it is used where a kit names it; --host "
			"tells where it goes");
	if (r < 0)
		return r;
	if (command != NULL && (command[0] == '\0' || strlen(command) > SECRETS_COMMAND_MAX))
		return usage_error(
			e, "--command: a command of at most %d characters", SECRETS_COMMAND_MAX);
	if (command == NULL)
		return read_value(name, &one->cred.value, e);
	one->command = xstrdup(command);
	return 0;
}

static int
set_exec(struct cli *c, const struct args *a, struct err *e)
{
	struct secrets_entry one = {0};
	CLEAN_SECRETS struct secrets rest = {0};
	const char *sandbox = NULL;
	int r;

	if (a->nwords != 1)
		return usage_error(e, "write: paddock secret set [OPTIONS] NAME");
	r = state_paths_init(&c->paths, e);
	if (r == 0)
		r = secret_sandbox(c, a, &sandbox, e);
	if (r < 0)
		return r;
	r = fill(a, &one, e);
	one.sandbox = sandbox != NULL ? xstrdup(sandbox) : NULL;
	if (r == 0)
		r = secret_keep(c, &one, e);
	if (one.cred.name != NULL)
		secrets_put(&rest, &one); /* to be released with it */
	return r == 0 ? secret_apply(c, sandbox, a->words[0], e) : r;
}

static const struct option_def options[] = {
	{"sandbox", 0, "SANDBOX", "for this one alone, where it goes before the one for all"},
	{"command", 0, "COMMAND",
		"run this on the host whenever a sandbox starts, its output is the value: 'pass "
		"show x'"},
	{"host", 0, "HOST", "where it goes, if it is no service: a host or *.domain"},
	{"header", 0, "NAME", "in this header (default: Authorization)"},
	{"format", 0, "TEXT", "the header's value (default: 'Bearer %s'; with --header: '%s')"},
	{"username", 0, "NAME", "as the password of this user (Basic): registries, git"},
	{"env", 0, "NAME", "the variable that holds the placeholder in the sandbox"},
	{"placeholder", 0, "TEXT", "its beginning, or TEXT with {rand} in it"},
	{"quiet", 'q', NULL, "no notes"},
	{0},
};

const struct verb verb_secret_set = {.name = "secret set",
	.summary = "Keep a secret, from standard input or a prompt",
	.usage = "[OPTIONS] NAME",
	.details = "NAME is a service (anthropic, openai, google, github, copilot, groq, mistral,\n"
		   "openrouter, xai, npm, docker), a credential of a kit, or one of your own with "
		   "--host.\nSandboxes that run have it when the command returns.",
	.options = options,
	.exec = set_exec};
