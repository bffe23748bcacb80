#pragma once
/*
 * From a destination to a connected socket: the name is looked up, policy judges every address of
 * the answer (no answer can rebind a name that was judged before), the ones that passed are dialed.
 */
#include <policy/policy.h>

#include "server.h"

struct reach_dest {
	const char *host; /* canonical name or an address' text; outlives the reach */
	bool is_raw;      /* host is an address */
	uint16_t port;
};

enum reach_end {
	REACH_CONNECTED,
	REACH_DENIED, /* not one address of the answer is allowed */
	REACH_FAILED,
};

struct reach_result {
	enum reach_end end;
	int fd;                          /* connected: the callee's */
	int error;                       /* failed: -ENOENT no such name, -ETIMEDOUT, ... */
	struct ip_addr to;               /* connected: there */
	struct policy_decision decision; /* denied: about the last address; else about the name */
};

/* The decision about the destination alone, before anybody is asked for its address. */
struct policy_decision reach_judge(const struct net *net, const struct reach_dest *d);

/* The same under the policy of now for a connection that is open; to: where it goes, or NULL. */
struct policy_decision reach_rejudge(
	const struct net *net, const struct reach_dest *d, const struct ip_addr *to);

/* Called once, never from within reach_start; the reach is gone by then. */
typedef void reach_fn(void *arg, const struct reach_result *r);

/* Only for what reach_judge allows. NULL: too many lookups at once. */
struct reach *reach_start(struct net *net, const struct reach_dest *d, reach_fn *done, void *arg);
void reach_cancel(struct reach *r);
