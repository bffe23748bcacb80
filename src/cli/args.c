#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <base/mem.h>

#include "cli.h"

const struct option_def global_options[] = {
	{"debug", 'D', NULL, "tell what is done"},
	{"help", 'h', NULL, "show this help"},
	{0},
};

int
usage_error(struct err *e, const char *fmt, ...)
{
	char text[ERR_MSG_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return err_set(e, EINVAL, "%s", text);
}

void
args_release(struct args *a)
{
	free(a->options);
	free(a->words);
	memset(a, 0, sizeof(*a));
}

static const struct option_def *
find_in(const struct option_def *table, const char *name, size_t n, char letter)
{
	for (; table != NULL && table->name != NULL; table++) {
		if (name != NULL && strlen(table->name) == n && strncmp(table->name, name, n) == 0)
			return table;
		if (name == NULL && table->letter == letter)
			return table;
	}
	return NULL;
}

static const struct option_def *
find(const struct verb *v, const char *name, size_t n, char letter)
{
	const struct option_def *d = find_in(v->options, name, n, letter);

	if (d == NULL)
		d = find_in(v->shared, name, n, letter);
	return d != NULL ? d : find_in(global_options, name, n, letter);
}

static void
add_option(struct args *a, const struct option_def *d, const char *value)
{
	a->options = xreallocarray(a->options, a->noptions + 1, sizeof(*a->options));
	a->options[a->noptions++] = (struct option_value){d, value};
}

static int
long_option(
	const struct verb *v, struct args *a, char *const *argv, int argc, int *i, struct err *e)
{
	const char *word = argv[*i] + 2, *eq = strchr(word, '=');
	size_t n = eq != NULL ? (size_t)(eq - word) : strlen(word);
	const struct option_def *d = find(v, word, n, 0);

	if (d == NULL)
		return usage_error(
			e, "unknown option '--%.*s': see paddock %s --help", (int)n, word, v->name);
	if (d->arg == NULL && eq != NULL)
		return usage_error(e, "option '--%s' takes no value", d->name);
	if (d->arg == NULL) {
		add_option(a, d, "");
		return 0;
	}
	if (eq == NULL && *i + 1 >= argc)
		return usage_error(
			e, "option '--%s' needs a value: --%s %s", d->name, d->name, d->arg);
	add_option(a, d, eq != NULL ? eq + 1 : argv[++*i]);
	return 0;
}

/* -itu root, -uroot, -e=K=V is not special: the value is what follows the letter. */
static int
short_options(
	const struct verb *v, struct args *a, char *const *argv, int argc, int *i, struct err *e)
{
	for (const char *p = argv[*i] + 1; *p != '\0'; p++) {
		const struct option_def *d = find(v, NULL, 0, *p);

		if (d == NULL)
			return usage_error(
				e, "unknown option '-%c': see paddock %s --help", *p, v->name);
		if (d->arg == NULL) {
			add_option(a, d, "");
			continue;
		}
		if (p[1] == '\0' && *i + 1 >= argc)
			return usage_error(e, "option '-%c' needs a value: -%c %s", *p, *p, d->arg);
		add_option(a, d, p[1] != '\0' ? p + 1 : argv[++*i]);
		return 0;
	}
	return 0;
}

int
args_parse(const struct verb *v, struct cli *c, int argc, char *const *argv, struct args *ret,
	struct err *e)
{
	struct args a = {0};
	int r = 0;

	a.words = xcalloc((size_t)argc + 1, sizeof(*a.words));
	for (int i = 0; i < argc && r == 0; i++) {
		const char *w = argv[i];

		if (strcmp(w, "--") == 0 && v->raw_after == 0) {
			a.rest = argv + i + 1;
			a.nrest = (size_t)(argc - i - 1);
			break;
		}
		if (v->raw_after > 0 && a.nwords >= v->raw_after) {
			bool dashes = strcmp(w, "--") == 0;

			a.rest = argv + i + dashes;
			a.nrest = (size_t)(argc - i - dashes);
			break;
		}
		if (w[0] == '-' && w[1] == '-' && w[2] != '\0')
			r = long_option(v, &a, argv, argc, &i, e);
		else if (w[0] == '-' && w[1] != '\0' && w[1] != '-')
			r = short_options(v, &a, argv, argc, &i, e);
		else
			a.words[a.nwords++] = w;
	}
	if (r < 0) {
		args_release(&a);
		return r;
	}
	c->debug |= args_has(&a, "debug");
	c->quiet |= args_has(&a, "quiet");
	*ret = a;
	return 0;
}

const char *
args_get(const struct args *a, const char *name)
{
	for (size_t i = a->noptions; i > 0; i--)
		if (strcmp(a->options[i - 1].def->name, name) == 0)
			return a->options[i - 1].value;
	return NULL;
}

bool
args_has(const struct args *a, const char *name)
{
	return args_get(a, name) != NULL;
}

void
args_all(const struct args *a, const char *name, struct strv *ret)
{
	for (size_t i = 0; i < a->noptions; i++)
		if (strcmp(a->options[i].def->name, name) == 0)
			strv_add(ret, a->options[i].value);
}
