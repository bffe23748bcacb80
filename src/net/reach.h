#pragma once
/*
 * From a destination to a connected socket: the name is looked up, policy judges every address of
 * the answer (no answer can rebind a name that was judged before), the ones that passed are dialed.
 */
#include <policy/policy.h>
#include <proto/http.h>

#include "server.h"

struct reach_dest {
	const char *host; /* canonical name or an address' text; outlives the reach */
	bool is_raw;      /* host is an address */
	bool per_request; /* whoever asks judges each request later on: POLICY_INSPECT will do */
	bool udp;
	uint16_t port;
	const char *method, *target; /* of the request, where one is seen; else NULL */
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

/* Where a Host field or a target leads (all but the port). False: to nothing that has a name. */
bool reach_name(
	const struct http_authority *a, char host[HOST_NAME_TEXT_MAX], struct reach_dest *ret);
/* Both are the same host, by whichever of its names. */
bool reach_same_host(const struct reach_dest *a, const struct reach_dest *b);
/* As the policy wants it, without an address that it was resolved to. */
struct policy_dest reach_dest_of(const struct reach_dest *d, struct ip_addr *store);

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
