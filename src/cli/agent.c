/* Agents are kits: which one a word means, which one a sandbox has, and what is done with it. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <base/io.h>
#include <base/mem.h>

#include "cli.h"

#define KIT_FILE "kit.json" /* of a sandbox, in its folder */

int
agent_find(const char *word, struct kit *ret, struct err *e)
{
	CLEAN_FREE char *config = kit_config_dir();
	int r = kit_load(config, word, ret, NULL, e);

	/* A path that leads nowhere was meant as a kit all the same. */
	return r == -ENOENT && kit_word_is_path(word) ? -EINVAL : r;
}

int
agent_of(const struct cli *c, const struct sandbox *s, struct kit *ret, struct err *e)
{
	CLEAN_FREE char *path = state_sandbox_file(&c->paths, s->name, KIT_FILE);
	CLEAN_BUF struct buf text = BUF_INIT;
	const char *builtin = kit_builtin(s->agent);
	int r = io_read_file(AT_FDCWD, path, KIT_PRINT_MAX, &text, e);

	if (r == 0)
		r = kit_parse(buf_str(&text), text.len, ret, e);
	else if (r == -ENOENT && builtin != NULL) /* made before there were kits */
		r = kit_parse(builtin, strlen(builtin), ret, e);
	if (r == -ENOENT)
		return err_set(e, EINVAL, "sandbox '%s' has an agent '%s' that this version lacks",
			s->name, s->agent);
	return r < 0 ? err_prefix(e, "sandbox '%s': its kit '%s'", s->name, s->agent) : 0;
}

/* Whether a rule that the owner wrote denies what this one would allow: some name below a domain.
 */
static bool
is_denied(const struct policy *p, const struct rule *r)
{
	CLEAN_FREE char *below = xasprintf("a-name.%s", r->name);
	const struct policy_dest d = {.name = r->kind == RULE_BELOW ? below : r->name,
		.port = r->port != 0 ? r->port : 443,
		.udp = r->udp};
	const struct policy_decision by = policy_decide(p, &d);

	return by.outcome == POLICY_DENY && by.rule != NULL && !by.rule->preset;
}

int
agent_rules(const struct kit *k, struct policy *p, struct err *e)
{
	CLEAN_FREE struct rule *rules = xcalloc(k->rules.n + 1, sizeof(*rules));
	size_t n = 0;
	int r = 0;

	/* Judged by the owner's rules alone, before any is added. */
	for (size_t i = 0; i < k->rules.n && r == 0; i++) {
		r = rule_parse_line(k->rules.v[i], &rules[n], e);
		if (r == 0 && (rules[n].effect != RULE_ALLOW || !is_denied(p, &rules[n])))
			n++;
	}
	for (size_t i = 0; i < n && r == 0; i++)
		r = policy_add(p, &rules[i], e);
	return r < 0 ? err_prefix(e, "kit '%s'", k->name) : 0;
}

int
agent_keep(const struct kit *k, const char *sandbox_dir, struct err *e)
{
	CLEAN_FREE char *path = xasprintf("%s/%s", sandbox_dir, KIT_FILE);
	CLEAN_FREE char *text = kit_print(k);

	return io_write_new_file(AT_FDCWD, path, text, strlen(text), 0600, e);
}

void
agent_names(char *out, size_t size)
{
	const char *name;
	size_t n = 0;

	out[0] = '\0';
	for (size_t i = 0; (name = kit_builtin_name(i)) != NULL && n < size; i++)
		n += (size_t)snprintf(out + n, size - n, "%s%s", i > 0 ? ", " : "", name);
}

void
agent_command(const struct kit *k, char *const *rest, size_t nrest, struct strv *ret)
{
	bool replace = nrest > 0 && rest[0][0] != '-';

	for (size_t i = 0; i < k->command.n; i++)
		strv_add(ret, k->command.v[i]);
	for (size_t i = 0; i < k->args.n && !replace; i++)
		strv_add(ret, k->args.v[i]);
	for (size_t i = 0; i < nrest; i++)
		strv_add(ret, rest[i]);
}

void
agent_env(const struct kit *k, struct strv *ret)
{
	npm_registry(ret);
	for (size_t i = 0; i < k->env.n; i++) {
		CLEAN_FREE char *key = xstrndup(k->env.v[i], strcspn(k->env.v[i], "="));

		strv_setenv(ret, key, k->env.v[i] + strlen(key) + 1);
	}
}
