#pragma once
/* Two credentials that the tests of the room cred share. */
#include <string.h>

#include <base/mem.h>
#include <cred/gate.h>
#include <cred/secret.h>

#define GITHUB_HELD  "ghp_0123456789abcdefABCDEF"
#define GITHUB_VALUE "ghp_the-value-of-github"
#define MODEL_HELD   "sk-ant-api03-held_by_the_guest"
#define MODEL_VALUE  "sk-ant-api03-the/real+value=of\"model"

/* placeholder NULL: "placeholder-of-NAME". */
static inline void
rig_add(struct cred_set *s, const char *name, const char *placeholder, const char *value,
	const char *host, const char *header, const char *format)
{
	struct cred c = {.name = xstrdup(name)};
	struct strv hosts = {0};

	c.placeholder =
		placeholder != NULL ? xstrdup(placeholder) : xasprintf("placeholder-of-%s", name);
	c.value = value != NULL ? secret_dup(value, strlen(value)) : NULL;
	strv_add(&hosts, host);
	cred_add_place(&c, &hosts, header, format);
	strv_release(&hosts);
	cred_set_add(s, &c);
}

static inline void
rig_two(struct cred_set *s)
{
	struct strv hosts = {0};

	rig_add(s, "github", GITHUB_HELD, GITHUB_VALUE, "api.github.com", "authorization",
		"Bearer %s");
	strv_add(&hosts, "github.com");
	cred_add_place(&s->v[s->n - 1], &hosts, "Authorization", "Basic x-access-token:%s");
	strv_release(&hosts);
	rig_add(s, "model", MODEL_HELD, MODEL_VALUE, "api.model.test", "x-api-key", "%s");
}

static inline struct cred_gate *
rig_gate(void)
{
	struct cred_set s = {0};

	rig_two(&s);
	return cred_gate_new(&s);
}
