#pragma once
/*
 * A policy, and its decision about one destination. Pure: no I/O, no clock; memory is allocated for
 * the list of rules alone.
 *
 * Beside the rules (policy/rule.h) there is a floor that no preset and no star opens:
 *   - the host's own services and addresses: only host.docker.internal:PORT by a rule for
 *     localhost:PORT
 *   - addresses that are not the Internet (policy/addr.h), raw or resolved: a rule that names them,
 *     which is one for that address or for a range no larger than the whole private, loopback, ...
 *     range around it. An owner's rule for exactly this host opens private and carrier-grade NAT
 *     addresses too (an intranet host), never link-local, metadata and the like.
 *   - UDP: only a rule for it
 *   - names of one label and special-use names (.local, .internal): a rule for the host, or for
 *     the domain above it
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <base/buf.h>
#include <base/err.h>
#include <policy/addr.h>
#include <policy/name.h>
#include <policy/rule.h>

enum policy_preset {
	POLICY_LOCKED,   /* nothing but what rules allow */
	POLICY_BALANCED, /* likewise, with rules for package registries, code hosts and agents */
	POLICY_OPEN,     /* everything but what rules deny */
	POLICY_PRESET_COUNT,
};

#define POLICY_RULES_MAX 1024

/* All zeros is the locked policy without rules. */
struct policy {
	enum policy_preset preset;
	struct rule *rules; /* the owner's in their order, then the preset's */
	size_t nrules, nown;
};

#define CLEAN_POLICY __attribute__((cleanup(policy_release)))

void policy_init(struct policy *p, enum policy_preset preset);
void policy_release(struct policy *p);
void policy_set_preset(struct policy *p, enum policy_preset preset);
/* "open", "balanced", "locked". -EINVAL. */
int policy_preset_parse(const char *word, enum policy_preset *ret);
const char *policy_preset_name(enum policy_preset preset);

/*
 * An owner's rule. One that matches the same is replaced, whatever it said: the last word counts
 * (bypass and the others stand beside each other). -ENOSPC.
 */
int policy_add(struct policy *p, const struct rule *r, struct err *e);
/* Takes out the owner's rules for which drop() says so; their number. */
size_t policy_remove(struct policy *p, bool (*drop)(const struct rule *r, void *arg), void *arg);

/* Lines: the preset's name, then one rule each. What the supervisor hands to the net role. */
void policy_encode(const struct policy *p, struct buf *out);
int policy_decode(const char *text, size_t n, struct policy *ret, struct err *e);

/*
 * Asked twice for one connection: before resolution (addr is NULL) and then for each resolved
 * address, so that no answer can rebind a name that was judged before. Asked again for each request
 * where the outcome was POLICY_INSPECT.
 */
struct policy_dest {
	const char *name;           /* canonical; NULL: the guest gave a raw address */
	const struct ip_addr *addr; /* the raw or resolved address; NULL: not resolved yet */
	uint16_t port;
	bool udp;
	bool addr_is_host;  /* the address is one of the host's own */
	bool overridden;    /* the owner gave this very name (or address) and port its address,
			     * which counts as an allow rule for that host, of TCP */
	const char *method; /* of the request as it was sent; NULL: none is seen (yet) */
	const char *target; /* its path, with or without the query */
};

enum policy_outcome {
	POLICY_ALLOW,
	POLICY_DENY,
	POLICY_INSPECT, /* depends on method or path: judge each request, or deny what has none */
};

enum policy_reason {
	POLICY_REASON_DEFAULT,  /* no rule matches: the preset's default */
	POLICY_REASON_RULE,     /* see rule */
	POLICY_REASON_OVERRIDE, /* allowed: the owner gave it its address */
	POLICY_REASON_NAME,     /* denied: no name that is resolved (see name_kind) */
	POLICY_REASON_RANGE,    /* denied: the address is in a blocked range (see range) */
	POLICY_REASON_HOST,     /* denied: the address is the host's own */
	POLICY_REASON_PORT,     /* denied: port 0 */
	POLICY_REASON_REQUEST,  /* INSPECT: a rule looks at requests (see rule) */
	POLICY_REASON_METHOD,   /* denied: a rule looks at requests, and this method is unknown */
	POLICY_REASON_PATH,     /* denied: likewise, and this path can be read in two ways */
};

struct policy_decision {
	enum policy_outcome outcome;
	enum policy_reason reason;
	const struct rule *rule;       /* that decided, in the policy; NULL: none */
	bool by_request;               /* another method or path might be decided otherwise */
	enum ip_range range;           /* of addr, where there is one */
	enum host_name_kind name_kind; /* of name, where there is one */
};

struct policy_decision policy_decide(const struct policy *p, const struct policy_dest *d);

/*
 * The ports for which some rule allows UDP, each once, in order; their number, at most
 * POLICY_RULES_MAX. No default opens UDP.
 */
size_t policy_udp_ports(const struct policy *p, uint16_t out[POLICY_RULES_MAX]);

/* Whether the owner wants its TLS left alone. */
bool policy_bypasses(const struct policy *p, const struct policy_dest *d);
/* Whether a name that is not the public DNS's business may be resolved nevertheless. */
bool policy_names(const struct policy *p, const char *name);

#define POLICY_TEXT_MAX (RULE_TEXT_MAX + 32)
/* "denied: private address" and the like, for logs. */
void policy_decision_text(const struct policy_decision *d, char out[POLICY_TEXT_MAX]);
/* For the log's column RULE: the rule, "<default policy>", "<resolve>" or "<floor>". */
void policy_decision_rule(const struct policy_decision *d, char out[RULE_TEXT_MAX]);
/*
 * The command that would allow it, in the named sandbox; "" where none can. Fit to be pasted into a
 * shell, whatever the guest asked for.
 */
#define POLICY_ALLOW_WITH_MAX (RULE_TEXT_MAX + 128)
void policy_allow_with(const struct policy_dest *d, const struct policy_decision *why,
	const char *sandbox, char out[POLICY_ALLOW_WITH_MAX]);
