#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <base/mem.h>

#include "netlog.h"
#include "network.h"
#include "verbs.h"

/* The rules that what happened would need, as commands to be read and pasted. */
struct learn {
	const char *sandbox;
	const struct policy *policy;
	struct strv seen;   /* destinations that were dealt with */
	struct strv allow;  /* commands */
	struct strv never;  /* what no rule allows, and why */
	struct strv opened; /* --allow-host of what nothing but the open preset allows */
};

static bool
is_new(struct learn *l, const char *dest)
{
	for (size_t i = 0; i < l->seen.n; i++)
		if (strcmp(l->seen.v[i], dest) == 0)
			return false;
	strv_add(&l->seen, dest);
	return true;
}

/* As the policy of now decides it, which may be another than at that time. */
static struct policy_decision
decide(const struct learn *l, const struct netevent *ev, struct ip_addr *addr,
	struct policy_dest *dest)
{
	*dest = (struct policy_dest){.port = ev->port, .udp = ev->kind == NETEVENT_UDP};
	if (ip_addr_parse(ev->host, addr) == 0)
		dest->addr = addr;
	else
		dest->name = ev->host;
	if (ev->kind == NETEVENT_HTTP) {
		dest->method = ev->method[0] != '\0' ? ev->method : "GET";
		dest->target = ev->path[0] != '\0' ? ev->path : "/";
	}
	return policy_decide(l->policy, dest);
}

/* Blocked for what it was, not for where it went. */
static bool
is_no_policy(const char *rule)
{
	return strcmp(rule, "<name check>") == 0 || strcmp(rule, "<protocol>") == 0;
}

static int
learn_blocked(void *arg, const struct audit_tally *t)
{
	struct learn *l = arg;
	char host[NETLOG_HOST_MAX], why[POLICY_TEXT_MAX], with[POLICY_ALLOW_WITH_MAX];
	struct policy_decision d;
	struct policy_dest dest;
	struct ip_addr addr;

	netlog_host(&t->ev, host);
	if (is_no_policy(t->ev.rule)) {
		strv_addf(&l->never, "%s: %s", host, t->ev.reason);
		return 0;
	}
	if (t->ev.kind == NETEVENT_DNS || t->ev.port == 0 || !is_new(l, host))
		return 0;
	d = decide(l, &t->ev, &addr, &dest);
	if (d.outcome == POLICY_ALLOW)
		return 0;
	policy_allow_with(&dest, &d, l->sandbox, with);
	policy_decision_text(&d, why);
	if (with[0] != '\0')
		strv_addf(&l->allow, "%s    # %llu times; %s", with, (unsigned long long)t->count,
			why);
	else
		strv_addf(&l->never, "%s: %s", host, why);
	return 0;
}

static int
learn_used(void *arg, const struct audit_tally *t)
{
	struct learn *l = arg;
	char host[NETLOG_HOST_MAX];
	struct policy_dest dest;
	struct policy_decision d;
	struct ip_addr addr;

	netlog_host(&t->ev, host);
	if (t->ev.kind == NETEVENT_DNS || t->ev.port == 0 || !is_new(l, host))
		return 0;
	d = decide(l, &t->ev, &addr, &dest);
	if (d.outcome == POLICY_ALLOW && d.reason == POLICY_REASON_DEFAULT)
		strv_add(&l->opened, host);
	return 0;
}

static void
print_all(const struct learn *l)
{
	if (l->allow.n > 0)
		printf("# What was blocked, and would be allowed by\n");
	for (size_t i = 0; i < l->allow.n; i++)
		printf("%s\n", l->allow.v[i]);
	if (l->never.n > 0)
		printf("# What no rule allows\n");
	for (size_t i = 0; i < l->never.n; i++)
		printf("#   %s\n", l->never.v[i]);
	if (l->opened.n > 0)
		printf("# What was used, and nothing else\npaddock network proxy %s --policy deny",
			l->sandbox);
	for (size_t i = 0; i < l->opened.n; i++)
		printf(" \\\n\t--allow-host %s", l->opened.v[i]);
	if (l->opened.n > 0)
		printf("\n");
	if (l->allow.n + l->never.n + l->opened.n == 0)
		printf("# Nothing to propose: the policy allows what was used, and nothing was "
		       "blocked\n");
}

static void
learn_release(struct learn *l)
{
	strv_release(&l->seen);
	strv_release(&l->allow);
	strv_release(&l->never);
	strv_release(&l->opened);
}

static int
learn_exec(struct cli *c, const struct args *a, struct err *e)
{
	CLEAN_POLICY struct policy p = {0};
	CLEANUP(learn_release) struct learn l = {.policy = &p};
	struct sandbox s = {0};
	struct audit *log = NULL;
	int r;

	if (a->nwords != 1)
		return usage_error(e, "write: paddock network learn SANDBOX");
	l.sandbox = a->words[0];
	r = state_paths_init(&c->paths, e);
	if (r == 0)
		r = network_load(c, a->words[0], &s, &p, e);
	sandbox_release(&s);
	if (r == 0)
		r = netlog_open(c, a->words[0], &log, e);
	if (r == 0)
		r = audit_tallies(log, NETEVENT_BLOCKED, 0, 0, learn_blocked, &l, e);
	if (r == 0)
		r = audit_tallies(log, NETEVENT_ALLOWED, 0, 0, learn_used, &l, e);
	audit_close(log);
	if (r == -ENOENT && e->code == ENOENT && log == NULL)
		return err_set(e, ENOENT, "sandbox '%s' has no network log yet: start it first",
			a->words[0]);
	if (r == 0)
		print_all(&l);
	return r;
}

const struct verb verb_network_learn = {.name = "network learn",
	.summary = "Propose the rules that what was blocked or used would need",
	.usage = "SANDBOX",
	.exec = learn_exec};
