#include <stdio.h>

#include <policy/policy.h>

static struct policy_decision
decide(const struct policy_dest *d, enum policy_outcome outcome, enum policy_reason reason)
{
	return (struct policy_decision){
		.outcome = outcome,
		.reason = reason,
		.range = d->addr != NULL ? ip_addr_range(d->addr) : IP_RANGE_PUBLIC,
		.name_kind = d->name != NULL ? host_name_kind(d->name) : HOST_NAME_ORDINARY,
	};
}

struct policy_decision
policy_decide(const struct policy_dest *d)
{
	if (d->port == 0)
		return decide(d, POLICY_DENY, POLICY_REASON_PORT);
	if (d->overridden)
		return decide(d, POLICY_ALLOW, POLICY_REASON_OVERRIDE);
	if (d->name != NULL && host_name_kind(d->name) != HOST_NAME_ORDINARY)
		return decide(d, POLICY_DENY, POLICY_REASON_NAME);
	if (d->addr != NULL && ip_addr_range(d->addr) != IP_RANGE_PUBLIC)
		return decide(d, POLICY_DENY, POLICY_REASON_RANGE);
	if (d->addr != NULL && d->addr_is_host)
		return decide(d, POLICY_DENY, POLICY_REASON_HOST);
	return decide(d, POLICY_ALLOW, POLICY_REASON_DEFAULT);
}

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
	switch (d->reason) {
	case POLICY_REASON_DEFAULT:
		snprintf(out, POLICY_TEXT_MAX, "allowed by default");
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
		snprintf(out, POLICY_TEXT_MAX, "denied: the host's own address");
		return;
	case POLICY_REASON_PORT:
		snprintf(out, POLICY_TEXT_MAX, "denied: port 0");
		return;
	}
	snprintf(out, POLICY_TEXT_MAX, "?");
}
