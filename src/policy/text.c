/* Decisions in words: for the log, for the denial's page, for the owner's next command. */
#include <stdio.h>
#include <string.h>

#include <policy/http.h>
#include <policy/policy.h>

static const char *
name_kind_text(enum host_name_kind k)
{
	switch (k) {
	case HOST_NAME_ORDINARY:
		break;
	case HOST_NAME_HOST:
		return "the host itself";
	case HOST_NAME_LOCALHOST:
		return "the guest itself";
	case HOST_NAME_SINGLE:
		return "name of a single label";
	case HOST_NAME_SPECIAL:
		return "special-use name";
	case HOST_NAME_NUMERIC:
		return "number as a name";
	case HOST_NAME_INVALID:
		return "invalid name";
	}
	return "name";
}

void
policy_decision_text(const struct policy_decision *d, char out[POLICY_TEXT_MAX])
{
	const char *outcome = d->outcome == POLICY_ALLOW ? "allowed" : "denied";
	char rule[RULE_TEXT_MAX] = "";

	if (d->rule != NULL)
		rule_format(d->rule, rule);
	switch (d->reason) {
	case POLICY_REASON_DEFAULT:
		snprintf(out, POLICY_TEXT_MAX, "%s by default", outcome);
		return;
	case POLICY_REASON_RULE:
		snprintf(out, POLICY_TEXT_MAX, "%s by rule %s", outcome, rule);
		return;
	case POLICY_REASON_OVERRIDE:
		snprintf(out, POLICY_TEXT_MAX, "allowed: resolved by the owner");
		return;
	case POLICY_REASON_NAME:
		snprintf(out, POLICY_TEXT_MAX, "denied: %s", name_kind_text(d->name_kind));
		return;
	case POLICY_REASON_RANGE:
		snprintf(out, POLICY_TEXT_MAX, "denied: %s address", ip_range_name(d->range));
		return;
	case POLICY_REASON_HOST:
		snprintf(out, POLICY_TEXT_MAX, "denied: the host's own %s",
			d->name_kind == HOST_NAME_HOST ? "service" : "address");
		return;
	case POLICY_REASON_PORT:
		snprintf(out, POLICY_TEXT_MAX, "denied: port 0");
		return;
	case POLICY_REASON_REQUEST:
		snprintf(out, POLICY_TEXT_MAX, "depends on the request: rule %s", rule);
		return;
	case POLICY_REASON_METHOD:
		snprintf(out, POLICY_TEXT_MAX, "denied: unknown method, with rule %s", rule);
		return;
	case POLICY_REASON_PATH:
		snprintf(out, POLICY_TEXT_MAX, "denied: ambiguous path, with rule %s", rule);
		return;
	}
	snprintf(out, POLICY_TEXT_MAX, "?");
}

void
policy_decision_rule(const struct policy_decision *d, char out[RULE_TEXT_MAX])
{
	if (d->rule != NULL)
		rule_format(d->rule, out);
	else
		snprintf(out, RULE_TEXT_MAX, "%s",
			d->reason == POLICY_REASON_DEFAULT    ? "<default policy>"
			: d->reason == POLICY_REASON_OVERRIDE ? "<resolve>"
							      : "<floor>");
}

/* The rule that would allow just this. False: none can. */
static bool
missing_rule(const struct policy_dest *d, const struct policy_decision *why, struct rule *ret)
{
	bool by_address = why->reason == POLICY_REASON_RANGE && why->range != IP_RANGE_PRIVATE &&
			  why->range != IP_RANGE_SHARED;
	bool host = why->reason == POLICY_REASON_HOST || why->name_kind == HOST_NAME_HOST;

	*ret = (struct rule){.kind = RULE_HOST, .port = d->port, .udp = d->udp};
	if (why->outcome == POLICY_ALLOW || d->port == 0 ||
		(why->reason == POLICY_REASON_NAME && why->name_kind != HOST_NAME_SINGLE &&
			why->name_kind != HOST_NAME_SPECIAL))
		return false;
	if (host) {
		memcpy(ret->name, "localhost", sizeof("localhost"));
	} else if (d->name != NULL && !by_address) {
		snprintf(ret->name, sizeof(ret->name), "%s", d->name);
	} else if (d->addr != NULL) {
		ret->kind = RULE_NET;
		ret->net = *d->addr;
		ret->bits = d->addr->family == AF_INET ? 32 : 128;
	} else {
		return false;
	}
	return true;
}

/* Nothing in it that a shell reads: the path is the guest's choice. */
static bool
is_plain_path(const char *path)
{
	return path[strspn(path, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/"
				 "_.~-")] == '\0' &&
	       strlen(path) < RULE_PATH_MAX;
}

static void
narrow(const struct policy_dest *d, const struct policy_decision *why, struct rule *r)
{
	char path[HTTP_PATH_MAX];

	if (!why->by_request || r->kind == RULE_NET)
		return;
	r->methods = http_method_bit(d->method);
	if (http_path_canonical(d->target, strlen(d->target), path) == 0 && is_plain_path(path))
		snprintf(r->path, sizeof(r->path), "%s", path);
}

void
policy_allow_with(const struct policy_dest *d, const struct policy_decision *why,
	const char *sandbox, char out[POLICY_ALLOW_WITH_MAX])
{
	char text[RULE_TEXT_MAX];
	struct rule r;

	out[0] = '\0';
	if (!missing_rule(d, why, &r))
		return;
	narrow(d, why, &r);
	rule_format(&r, text);
	snprintf(out, POLICY_ALLOW_WITH_MAX, "paddock network allow %s %s", sandbox, text);
}
