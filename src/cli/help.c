#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "cli.h"

static void
print_verbs(const struct verb *const *table, int width)
{
	printf("\nCommands:\n");
	for (; *table != NULL; table++)
		if (!(*table)->hidden)
			printf("  %-*s %s\n", width, (*table)->name, (*table)->summary);
}

void
help_all(void)
{
	printf("Usage: paddock COMMAND [OPTIONS] ...\n\n"
	       "A throw-away machine of its own for every AI coding agent.\n");
	print_verbs(verbs, 12);
	printf("\nStart here:\n"
	       "  paddock run claude ~/my-project\n\n"
	       "paddock COMMAND --help tells more about a command.\n");
}

static void
print_options(const struct option_def *d)
{
	for (; d != NULL && d->name != NULL; d++) {
		char left[48];

		if (d->letter != 0)
			snprintf(left, sizeof(left), "-%c, --%s%s%s", d->letter, d->name,
				d->arg != NULL ? " " : "", d->arg != NULL ? d->arg : "");
		else
			snprintf(left, sizeof(left), "    --%s%s%s", d->name,
				d->arg != NULL ? " " : "", d->arg != NULL ? d->arg : "");
		printf("  %-26s %s\n", left, d->help);
	}
}

void
help_verb(const struct verb *v)
{
	printf("Usage: paddock %s %s\n\n%s\n", v->name, v->usage, v->summary);
	if (v->alias != NULL)
		printf("\nAlias: %s\n", v->alias);
	if (v->details != NULL)
		printf("\n%s\n", v->details);
	if (v->subs != NULL)
		print_verbs(v->subs, 16);
	printf("\nOptions:\n");
	print_options(v->options);
	print_options(v->shared);
	print_options(global_options);
}

/*
 * mdoc(7): a line may not begin with a control character, a backslash starts an escape, and a new
 * sentence begins a new line.
 */
static void
mdoc_text(const char *text)
{
	for (bool start = true; *text != '\0'; text++) {
		if (text[0] == '.' && text[1] == ' ' && isupper((unsigned char)text[2])) {
			printf(".\n");
			text++;
			start = true;
			continue;
		}
		if (start && (*text == '.' || *text == '\''))
			printf("\\&");
		if (*text == '\\')
			printf("\\e");
		else
			putchar(*text);
		start = *text == '\n';
	}
	putchar('\n');
}

static void
mdoc_options(const struct option_def *d)
{
	for (; d != NULL && d->name != NULL; d++) {
		printf(".It ");
		if (d->letter != 0)
			printf("Fl %c%s%s , ", d->letter, d->arg != NULL ? " Ar " : "",
				d->arg != NULL ? d->arg : "");
		printf("Fl \\-%s%s%s\n", d->name, d->arg != NULL ? " Ar " : "",
			d->arg != NULL ? d->arg : "");
		mdoc_text(d->help);
	}
}

static void
mdoc_verb(const struct verb *v)
{
	printf(".Ss paddock %s\n.Bd -ragged -offset indent\n.Nm\n.Cm %s\n", v->name, v->name);
	mdoc_text(v->usage);
	printf(".Ed\n.Pp\n%s.\n", v->summary);
	if (v->alias != NULL)
		printf("Alias: %s.\n", v->alias);
	if (v->details != NULL)
		mdoc_text(v->details);
	if (v->options == NULL && v->shared == NULL)
		return;
	printf(".Bl -tag -width indent\n");
	mdoc_options(v->options);
	mdoc_options(v->shared);
	printf(".El\n");
}

/* The COMMANDS section of paddock(1). */
static void
mdoc_commands(void)
{
	for (size_t i = 0; verbs[i] != NULL; i++) {
		if (verbs[i]->hidden)
			continue;
		mdoc_verb(verbs[i]);
		for (const struct verb *const *sub = verbs[i]->subs; sub != NULL && *sub != NULL;
			sub++)
			mdoc_verb(*sub);
	}
}

static int
help_exec(struct cli *c, const struct args *a, struct err *e)
{
	const struct verb *v = NULL;

	(void)c;
	if (args_has(a, "mdoc")) {
		mdoc_commands();
		return 0;
	}
	if (a->nwords == 0) {
		help_all();
		return 0;
	}
	for (size_t i = 0; i < a->nwords; i++) {
		const struct verb *const *table = v == NULL ? verbs : v->subs;

		v = table != NULL ? verb_find(table, a->words[i]) : NULL;
		if (v == NULL)
			return usage_error(
				e, "unknown command '%s': see paddock --help", a->words[i]);
	}
	help_verb(v);
	return 0;
}

static const struct option_def help_options[] = {
	{"mdoc", 0, NULL, "print the commands' part of the manual page"},
	{0},
};

const struct verb verb_help = {.name = "help",
	.summary = "Show help for a command",
	.usage = "[COMMAND ...]",
	.options = help_options,
	.exec = help_exec};

static int
version_exec(struct cli *c, const struct args *a, struct err *e)
{
	(void)c;
	(void)e;
	if (args_has(a, "json"))
		printf("{\"version\":\"%s\"}\n", PADDOCK_VERSION);
	else
		printf("paddock version %s\n", PADDOCK_VERSION);
	return 0;
}

static const struct option_def version_options[] = {{"json", 0, NULL, "as JSON"}, {0}};

const struct verb verb_version = {.name = "version",
	.summary = "Show the version",
	.usage = "[--json]",
	.options = version_options,
	.exec = version_exec};

static void
completion_words(const struct option_def *d)
{
	for (; d != NULL && d->name != NULL; d++)
		printf(" --%s", d->name);
}

static void
completion_names(const struct verb *const *table)
{
	for (; *table != NULL; table++)
		printf("%s ", strrchr((*table)->name, ' ') != NULL
				      ? strrchr((*table)->name, ' ') + 1
				      : (*table)->name);
}

static void
completion_options(const struct verb *v)
{
	printf("\t'%s') COMPREPLY=($(compgen -W \"--help", v->name);
	completion_words(v->options);
	completion_words(v->shared);
	printf("\" -- \"$cur\"));;\n");
}

/* From the same tables as the help, so that they cannot disagree. */
static void
bash_completion(void)
{
	printf("_paddock() {\n\tlocal cur=${COMP_WORDS[COMP_CWORD]} verb=${COMP_WORDS[1]}\n"
	       "\tif [ \"$COMP_CWORD\" -eq 1 ]; then COMPREPLY=($(compgen -W \"");
	completion_names(verbs);
	printf("\" -- \"$cur\")); return; fi\n\tcase $verb in\n");
	for (size_t i = 0; verbs[i] != NULL; i++) {
		if (verbs[i]->subs == NULL)
			continue;
		printf("\t%s) verb+=\" ${COMP_WORDS[2]}\"\n\t\tif [ \"$COMP_CWORD\" -eq 2 ]; then "
		       "COMPREPLY=($(compgen -W \"",
			verbs[i]->name);
		completion_names(verbs[i]->subs);
		printf("--help\" -- \"$cur\")); return; fi;;\n");
	}
	printf("\tesac\n\tcase $cur in -*) case $verb in\n");
	for (size_t i = 0; verbs[i] != NULL; i++) {
		completion_options(verbs[i]);
		for (const struct verb *const *sub = verbs[i]->subs; sub != NULL && *sub != NULL;
			sub++)
			completion_options(*sub);
	}
	printf("\tesac; return;; esac\n"
	       "\tCOMPREPLY=($(compgen -W \"$(paddock ls -q 2>/dev/null)\" -- \"$cur\") "
	       "$(compgen -f -- \"$cur\"))\n}\ncomplete -o filenames -F _paddock paddock\n");
}

static int
completion_exec(struct cli *c, const struct args *a, struct err *e)
{
	(void)c;
	if (a->nwords != 1 || strcmp(a->words[0], "bash") != 0)
		return usage_error(e, "write: paddock completion bash");
	bash_completion();
	return 0;
}

const struct verb verb_completion = {.name = "completion",
	.summary = "Print the shell's completion script",
	.usage = "bash",
	.exec = completion_exec};
