/* The agents that paddock brings. Kits in files come with the agents issue. */
#include <stdio.h>
#include <string.h>

#include "cli.h"

static const char *const shell_argv[] = {"bash", "-l", NULL};
static const char *const shell_base[] = {NULL};

static const struct agent agents[] = {
	{"shell", "shell", shell_argv, shell_base},
};

const struct agent *
agent_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(agents); i++)
		if (strcmp(agents[i].name, name) == 0)
			return &agents[i];
	return NULL;
}

void
agent_names(char *out, size_t size)
{
	size_t n = 0;

	out[0] = '\0';
	for (size_t i = 0; i < ARRAY_LEN(agents) && n < size; i++)
		n += (size_t)snprintf(out + n, size - n, "%s%s", i > 0 ? ", " : "", agents[i].name);
}

/* Words that begin with a dash are appended to the defaults, others replace them. */
void
agent_command(const struct agent *a, char *const *rest, size_t nrest, struct strv *ret)
{
	const char *const *from = nrest > 0 && rest[0][0] != '-' ? a->base : a->argv;

	for (; *from != NULL; from++)
		strv_add(ret, *from);
	for (size_t i = 0; i < nrest; i++)
		strv_add(ret, rest[i]);
}
