/*
 * How this works. A destination is a name, which is judged before and (with the address that it
 * resolved to) after resolution, or a raw address. The rules that match it are compared two by two;
 * the best one without methods and path is the plain one. Where rules with methods or a path are
 * more specific than the plain one and say something else, the outcome depends on the request.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <base/cleanup.h>
#include <policy/http.h>
#include <policy/policy.h>

/* What speaks for --resolve: an owner's rule for this host. */
static const struct rule override_rule = {.effect = RULE_ALLOW, .kind = RULE_HOST};

struct judged {
	const struct policy *p;
	const struct policy_dest *d;
	const char *name; /* as rules name it; NULL: none */
	enum host_name_kind kind;
	uint16_t method;
	const char *path; /* canonical */
};

static struct policy_decision
decision(const struct judged *j, enum policy_outcome outcome, enum policy_reason reason,
	const struct rule *rule)
{
	const struct policy_dest *d = j->d;

	return (struct policy_decision){
		.outcome = outcome,
		.reason = reason,
		.rule = rule,
		.range = d->addr != NULL ? ip_addr_range(d->addr) : IP_RANGE_PUBLIC,
		.name_kind = j->kind,
	};
}

static struct policy_decision
deny(const struct judged *j, enum policy_reason reason, const struct rule *rule)
{
	return decision(j, POLICY_DENY, reason, rule);
}

/* What a rule says; NULL: the preset's default, which never opens the host itself, nor UDP. */
static struct policy_decision
by_rule(const struct judged *j, const struct rule *r)
{
	if (r == NULL && j->kind == HOST_NAME_HOST)
		return deny(j, POLICY_REASON_HOST, NULL);
	if (r == NULL)
		return decision(j,
			j->p->preset == POLICY_OPEN && !j->d->udp ? POLICY_ALLOW : POLICY_DENY,
			POLICY_REASON_DEFAULT, NULL);
	if (r == &override_rule)
		return decision(j, POLICY_ALLOW, POLICY_REASON_OVERRIDE, NULL);
	return decision(
		j, r->effect == RULE_ALLOW ? POLICY_ALLOW : POLICY_DENY, POLICY_REASON_RULE, r);
}

/* Stars match raw addresses and names alike, all others one of them. */
static bool
matches(const struct judged *j, const struct rule *r)
{
	const struct policy_dest *d = j->d;

	if (r->effect == RULE_BYPASS)
		return false;
	if (j->name != NULL)
		return rule_matches_name(r, j->name, d->port, d->udp);
	return rule_matches_addr(r, d->addr, d->port, d->udp) ||
	       (r->kind == RULE_ANY && rule_matches_name(r, "", d->port, d->udp));
}

static const struct rule *
better(const struct rule *a, const struct rule *b)
{
	return a == NULL || rule_compare(b, a) > 0 ? b : a;
}

static const struct rule *
best_plain(const struct judged *j)
{
	const struct rule *best = j->d->overridden && !j->d->udp ? &override_rule : NULL;

	for (size_t i = 0; i < j->p->nrules; i++) {
		const struct rule *r = &j->p->rules[i];

		if (!rule_is_http(r) && matches(j, r))
			best = better(best, r);
	}
	return best;
}

/* A rule that looks at requests and would say something else than the plain one; or NULL. */
static const struct rule *
http_exception(const struct judged *j, const struct rule *plain)
{
	enum policy_outcome outcome = by_rule(j, plain).outcome;

	for (size_t i = 0; i < j->p->nrules; i++) {
		const struct rule *r = &j->p->rules[i];

		if (rule_is_http(r) && matches(j, r) &&
			(plain == NULL || rule_compare(r, plain) > 0) &&
			by_rule(j, r).outcome != outcome)
			return r;
	}
	return NULL;
}

static const struct rule *
best_for_request(const struct judged *j, const struct rule *plain)
{
	const struct rule *best = plain;

	for (size_t i = 0; i < j->p->nrules; i++) {
		const struct rule *r = &j->p->rules[i];

		if (rule_is_http(r) && matches(j, r) && rule_matches_request(r, j->method, j->path))
			best = better(best, r);
	}
	return best;
}

static struct policy_decision
judge_request(const struct judged *j, const struct rule *plain, const struct rule *exception)
{
	const struct policy_dest *d = j->d;
	struct judged seen = *j;
	struct policy_decision v;
	char path[HTTP_PATH_MAX];

	seen.method = http_method_bit(d->method);
	if (seen.method == 0)
		return deny(j, POLICY_REASON_METHOD, exception);
	if (d->target == NULL || http_path_canonical(d->target, strlen(d->target), path) < 0)
		return deny(j, POLICY_REASON_PATH, exception);
	seen.path = path;
	v = by_rule(j, best_for_request(&seen, plain));
	v.by_request = true;
	return v;
}

/* Names that the public DNS has nothing to do with: only where a rule means just them. */
static bool
is_meant(const struct rule *r)
{
	return r != NULL && (r->kind == RULE_HOST || r->kind == RULE_BELOW);
}

static struct policy_decision
judge_destination(const struct judged *j)
{
	const struct rule *plain = best_plain(j), *exception = http_exception(j, plain);
	struct policy_decision v;

	if (exception == NULL)
		v = by_rule(j, plain);
	else if (j->d->method != NULL)
		v = judge_request(j, plain, exception);
	else
		v = decision(j, POLICY_INSPECT, POLICY_REASON_REQUEST, exception);
	if ((j->kind == HOST_NAME_SINGLE || j->kind == HOST_NAME_SPECIAL) &&
		v.outcome != POLICY_DENY && v.reason != POLICY_REASON_OVERRIDE && !is_meant(v.rule))
		return deny(j, POLICY_REASON_NAME, NULL);
	return v;
}

static const struct rule *
best_net(const struct judged *j)
{
	const struct rule *best = NULL;

	for (size_t i = 0; i < j->p->nrules; i++) {
		const struct rule *r = &j->p->rules[i];

		if (r->effect != RULE_BYPASS &&
			rule_matches_addr(r, j->d->addr, j->d->port, j->d->udp))
			best = better(best, r);
	}
	return best;
}

static bool
names_range(const struct rule *net, const struct ip_addr *a)
{
	return net != NULL && net->effect == RULE_ALLOW && net->bits >= ip_addr_range_bits(a);
}

static bool
is_intranet(enum ip_range r)
{
	return r == IP_RANGE_PRIVATE || r == IP_RANGE_SHARED;
}

/* so_far allows the destination (or leaves it to its requests): does its address stand as well? */
static struct policy_decision
judge_address(const struct judged *j, struct policy_decision so_far)
{
	const struct rule *net = best_net(j), *by = so_far.rule;
	bool exact = by != NULL && by->kind == RULE_HOST && by->effect == RULE_ALLOW && !by->preset;
	enum ip_range range = ip_addr_range(j->d->addr);

	if (j->d->addr_is_host)
		return deny(j, POLICY_REASON_HOST, NULL);
	if (net != NULL && net->effect == RULE_DENY && !exact)
		return deny(j, POLICY_REASON_RULE, net);
	if (range == IP_RANGE_PUBLIC || names_range(net, j->d->addr) ||
		(exact && is_intranet(range)))
		return so_far;
	return deny(j, POLICY_REASON_RANGE, NULL);
}

struct policy_decision
policy_decide(const struct policy *p, const struct policy_dest *d)
{
	struct judged j = {.p = p, .d = d, .kind = HOST_NAME_ORDINARY};
	struct policy_decision v;

	if (d->name != NULL) {
		j.kind = host_name_kind(d->name);
		j.name = j.kind == HOST_NAME_HOST ? "localhost" : d->name;
	}
	if (d->port == 0)
		return deny(&j, POLICY_REASON_PORT, NULL);
	if (!d->overridden && (j.kind == HOST_NAME_LOCALHOST || j.kind == HOST_NAME_NUMERIC ||
				      j.kind == HOST_NAME_INVALID))
		return deny(&j, POLICY_REASON_NAME, NULL);
	if (d->name == NULL && d->addr == NULL)
		return deny(&j, POLICY_REASON_NAME, NULL);
	v = judge_destination(&j);
	/* The owner has chosen an override's address, and the host's own loopback is localhost. */
	if (v.outcome == POLICY_DENY || d->addr == NULL || d->overridden ||
		j.kind == HOST_NAME_HOST)
		return v;
	return judge_address(&j, v);
}

bool
policy_bypasses(const struct policy *p, const struct policy_dest *d)
{
	const char *name = d->name == NULL                             ? ""
			   : host_name_kind(d->name) == HOST_NAME_HOST ? "localhost"
								       : d->name;

	for (size_t i = 0; i < p->nown; i++) {
		const struct rule *r = &p->rules[i];

		if (r->effect == RULE_BYPASS &&
			(rule_matches_name(r, name, d->port, d->udp) ||
				(d->addr != NULL &&
					rule_matches_addr(r, d->addr, d->port, d->udp))))
			return true;
	}
	return false;
}

bool
policy_names(const struct policy *p, const char *name)
{
	for (size_t i = 0; i < p->nown; i++) {
		const struct rule *r = &p->rules[i];

		if (r->effect == RULE_ALLOW && is_meant(r) &&
			rule_matches_name(r, name, r->port, r->udp))
			return true;
	}
	return false;
}

static int
compare_ports(const void *a, const void *b)
{
	return *(const uint16_t *)a - *(const uint16_t *)b;
}

size_t
policy_udp_ports(const struct policy *p, uint16_t out[POLICY_RULES_MAX])
{
	size_t n = 0, distinct = 0;

	for (size_t i = 0; i < p->nrules && n < POLICY_RULES_MAX; i++)
		if (p->rules[i].udp && p->rules[i].effect == RULE_ALLOW)
			out[n++] = p->rules[i].port;
	qsort(out, n, sizeof(out[0]), compare_ports);
	for (size_t i = 0; i < n; i++)
		if (i == 0 || out[i] != out[i - 1])
			out[distinct++] = out[i];
	return distinct;
}
