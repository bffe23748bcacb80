#include <stdio.h>
#include <string.h>

#include <base/mem.h>
#include <supervisor/resolve.h>

#include "network.h"
#include "verbs.h"

static const struct {
	const char *scheme;
	uint16_t port;
	bool http, tls;
} schemes[] = {{"https://", 443, true, true}, {"http://", 80, true, false},
	{"wss://", 443, true, true}, {"ws://", 80, true, false}, {"ssh://", 22, false, false},
	{"git://", 9418, false, false}};

/* What was asked about. */
struct target {
	struct rule rule; /* the destination as a rule of its own: a host or an address */
	const char *path; /* of a URL: "/" at the least; NULL: none was given */
	bool tls;         /* a URL that says so */
};

static int
parse_authority(const char *word, const char *text, size_t n, uint16_t port, struct target *t,
	struct err *e)
{
	CLEAN_FREE char *host = xstrndup(text, n);
	const struct args none = {0};
	char *at = strrchr(host, '@');
	int r;

	r = network_rule(&none, RULE_DENY, at != NULL ? at + 1 : host, &t->rule, e);
	if (r < 0)
		return r;
	if (t->rule.kind == RULE_ANY || t->rule.kind == RULE_BELOW ||
		(t->rule.kind == RULE_NET &&
			t->rule.bits != (t->rule.net.family == AF_INET ? 32 : 128)))
		return usage_error(e, "'%.80s': ask about one host or address", word);
	if (t->rule.port == 0)
		t->rule.port = port;
	return 0;
}

/* URL, HOST, HOST:PORT, ADDRESS, [ADDRESS]:PORT. */
static int
parse_target(const char *word, struct target *t, struct err *e)
{
	for (size_t i = 0; i < ARRAY_LEN(schemes); i++) {
		const char *rest = word + strlen(schemes[i].scheme);
		size_t host;

		if (!str_has_prefix(word, schemes[i].scheme))
			continue;
		host = strcspn(rest, "/?#");
		if (schemes[i].http)
			t->path = rest[host] == '/' ? rest + host : "/";
		t->tls = schemes[i].tls;
		return parse_authority(word, rest, host, schemes[i].port, t, e);
	}
	if (strstr(word, "://") != NULL)
		return usage_error(
			e, "'%.80s': write a URL of http, https, ssh, or HOST:PORT", word);
	return parse_authority(word, word, strlen(word), 443, t, e);
}

static bool
is_overridden(const struct sandbox *s, const char *host, uint16_t port)
{
	struct resolve_entry entry;

	for (size_t i = 0; i < s->resolve.n; i++)
		if (resolve_parse(s->resolve.v[i], &entry, NULL) == 0 &&
			strcmp(entry.host, host) == 0 && entry.port == port)
			return true;
	return false;
}

/* Whether its requests decide, and so its TLS would have to be looked into. */
static bool
needs_requests(const struct policy *p, const struct policy_dest *d)
{
	struct policy_dest any = *d;

	any.method = any.target = NULL;
	return policy_decide(p, &any).outcome == POLICY_INSPECT;
}

static const char *
outcome_name(enum policy_outcome o)
{
	return o == POLICY_ALLOW ? "allowed" : o == POLICY_DENY ? "denied" : "depends";
}

static void
print_text(const char *target, const struct policy_dest *d, const struct policy_decision *v,
	const char *command, bool looked_into)
{
	static const char *const heads[] = {[POLICY_ALLOW] = "Allowed",
		[POLICY_DENY] = "Denied",
		[POLICY_INSPECT] = "Depends on the request"};
	char why[POLICY_TEXT_MAX];
	const char *reason;

	policy_decision_text(v, why);
	reason = strchr(why, ' ');
	printf("%s: %s\n", heads[v->outcome], target);
	if (v->outcome == POLICY_INSPECT)
		printf("  ask with a URL, or --method%s\n", strrchr(why, ':') + 1);
	else
		printf("  %s\n", reason != NULL ? reason + 1 : why);
	if (v->outcome == POLICY_ALLOW && d->addr == NULL && !d->overridden)
		printf("  the addresses that it resolves to are looked at when it is connected "
		       "to\n");
	if (looked_into)
		printf("  its TLS is looked into: a rule asks for methods or paths\n");
	if (command[0] != '\0' && v->outcome == POLICY_DENY)
		printf("  to allow it: %s\n", command);
}

static void
print_json(const char *target, const struct policy_decision *v, const char *command)
{
	char why[POLICY_TEXT_MAX], rule[RULE_TEXT_MAX];
	json_t *o;

	policy_decision_text(v, why);
	policy_decision_rule(v, rule);
	o = json_pack("{s:s,s:s,s:s,s:s}", "target", target, "decision", outcome_name(v->outcome),
		"rule", rule, "reason", why);
	if (command[0] != '\0' && v->outcome == POLICY_DENY)
		json_object_set_new(o, "allow_with", json_string(command));
	json_dumpf(o, stdout, JSON_INDENT(2));
	printf("\n");
	json_decref(o);
}

/* Two rules of the owner's that contradict each other: net lets nothing through. */
static enum policy_outcome
print_hidden(const struct args *a, const char *target)
{
	static const char why[] = "a rule asks for methods or paths, and a bypass rule keeps them "
				  "from being seen";
	json_t *o;

	if (!args_has(a, "json")) {
		printf("Denied: %s\n  %s\n", target, why);
		return POLICY_DENY;
	}
	o = json_pack("{s:s,s:s,s:s,s:s}", "target", target, "decision", "denied", "rule",
		"<bypass>", "reason", why);
	json_dumpf(o, stdout, JSON_INDENT(2));
	printf("\n");
	json_decref(o);
	return POLICY_DENY;
}

static enum policy_outcome
judge(const struct args *a, const struct target *t, const struct sandbox *s, const struct policy *p)
{
	bool is_name = t->rule.kind == RULE_HOST;
	const char *name = !is_name                                 ? NULL
			   : strcmp(t->rule.name, "localhost") == 0 ? HOST_NAME_DOCKER
								    : t->rule.name;
	const char *method = args_get(a, "method");
	struct policy_dest d = {.name = name,
		.addr = is_name ? NULL : &t->rule.net,
		.port = t->rule.port,
		.udp = t->rule.udp,
		.method = method != NULL    ? method
			  : t->path != NULL ? "GET"
					    : NULL,
		.target = t->path != NULL ? t->path : "/"};
	char target[RULE_TEXT_MAX], command[POLICY_ALLOW_WITH_MAX];
	struct policy_decision v;
	bool looked_into;

	rule_format(&t->rule, target);
	d.overridden = is_name && is_overridden(s, name, d.port);
	v = policy_decide(p, &d);
	looked_into = t->tls && needs_requests(p, &d);
	if (looked_into && policy_bypasses(p, &d))
		return print_hidden(a, target);
	policy_allow_with(&d, &v, s->name, command);
	if (args_has(a, "json"))
		print_json(target, &v, command);
	else
		print_text(target, &d, &v, command, looked_into);
	return v.outcome;
}

static int
check_exec(struct cli *c, const struct args *a, struct err *e)
{
	CLEAN_POLICY struct policy p = {0};
	struct sandbox s = {0};
	struct target t = {0};
	enum policy_outcome outcome;
	int r;

	if (a->nwords != 2)
		return usage_error(e, "write: paddock network check SANDBOX URL");
	r = parse_target(a->words[1], &t, e);
	if (r == 0)
		r = state_paths_init(&c->paths, e);
	if (r == 0)
		r = network_load(c, a->words[0], &s, &p, e);
	if (r < 0)
		return r;
	outcome = judge(a, &t, &s, &p);
	sandbox_release(&s);
	return outcome == POLICY_ALLOW ? 0 : 1;
}

static const struct option_def check_options[] = {
	{"method", 0, "METHOD", "of the request (default: GET, with an HTTP URL)"},
	{"json", 0, NULL, "as JSON"},
	{0},
};

const struct verb verb_network_check = {.name = "network check",
	.summary = "Tell whether a destination is allowed, and by which rule",
	.usage = "SANDBOX URL|HOST[:PORT]|ADDRESS[:PORT] [--method METHOD] [--json]",
	.details =
		"Without a port: the URL's, else 443. Nothing is asked on the network. The exit\n"
		"status is 0 where it is allowed, 1 where it is not.",
	.options = check_options,
	.exec = check_exec};
