#pragma once
/*
 * The decision about one destination. Pure: no I/O, no clock. For now there is one policy,
 * "everything but what is not the Internet"; rules join it as a further input.
 */
#include <stdbool.h>
#include <stdint.h>

#include <policy/addr.h>
#include <policy/name.h>

/*
 * Asked twice for one connection: before resolution (addr is NULL) and then for each resolved
 * address, so that no answer can rebind a name that was judged before.
 */
struct policy_dest {
	const char *name;           /* canonical; NULL: the guest gave a raw address */
	const struct ip_addr *addr; /* the raw or resolved address; NULL: not resolved yet */
	uint16_t port;
	bool addr_is_host; /* the address is one of the host's own */
	bool overridden;   /* the owner gave this very name (or address) and port its address */
};

enum policy_outcome { POLICY_ALLOW, POLICY_DENY };

enum policy_reason {
	POLICY_REASON_DEFAULT,  /* allowed: nothing speaks against it */
	POLICY_REASON_OVERRIDE, /* allowed: the owner named it */
	POLICY_REASON_NAME,     /* denied: no name that is resolved (see name_kind) */
	POLICY_REASON_RANGE,    /* denied: the address is in a blocked range (see range) */
	POLICY_REASON_HOST,     /* denied: the address is the host's own */
	POLICY_REASON_PORT,     /* denied: port 0 */
};

struct policy_decision {
	enum policy_outcome outcome;
	enum policy_reason reason;
	enum ip_range range;           /* of addr, where there is one */
	enum host_name_kind name_kind; /* of name, where there is one */
};

struct policy_decision policy_decide(const struct policy_dest *d);

#define POLICY_TEXT_MAX 64
/* "denied: private address" and the like, for logs. */
void policy_decision_text(const struct policy_decision *d, char out[POLICY_TEXT_MAX]);
