#pragma once
/* What the network verbs share: rules from words, policies read, changed and shown. */
#include <jansson.h>

#include <policy/policy.h>

#include "cli.h"

/* A person's host name: international ones become A-labels. Caller frees; NULL and e. */
char *network_ascii(const char *text, struct err *e);
/* One rule from a resource and the options --method and --path. */
int network_rule(const struct args *a, enum rule_effect effect, const char *resource,
	struct rule *ret, struct err *e);

/* Of allow, deny and rm: the words behind the sandbox's. */
extern const struct option_def network_rule_options[];
int network_add_rules(
	const struct args *a, enum rule_effect effect, struct policy *p, struct err *e);

/* --policy, --allow-host, ... of proxy and default. */
extern const struct option_def network_policy_options[];
bool network_policy_asked(const struct args *a);
int network_policy_apply(const struct args *a, struct policy *p, struct err *e);
/* --network, --allow-network, --deny-network of create and run. */
bool network_make_asked(const struct args *a);
int network_make_apply(const struct args *a, struct policy *p, struct err *e);

/*
 * Changes the policy of a sandbox, on disk and, where it runs, in force. replace: what cannot be
 * read is not an error but becomes the locked policy.
 */
typedef int network_change_fn(const struct args *a, struct policy *p, struct err *e);
int network_change(const struct cli *c, const struct args *a, const char *name, bool replace,
	network_change_fn *change, struct err *e);

/* The policy and the overrides (which count as rules) of a sandbox. */
int network_load(const struct cli *c, const char *name, struct sandbox *ret_sandbox,
	struct policy *ret_policy, struct err *e);

/* s NULL: the default. */
void network_print(const struct policy *p, const struct sandbox *s, bool all);
void network_print_json(const struct policy *p, const struct sandbox *s);
