#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <base/mem.h>
#include <jail/jail.h>
#include <net/net.h>

#include <supervisor/resolve.h>
#include "roles.h"

struct overrides {
	struct net_override *v;
	size_t n;
};

static int
parse_overrides(const struct strv *resolve, struct overrides *ret, struct err *e)
{
	ret->v = xcalloc(resolve->n, sizeof(*ret->v));
	for (size_t i = 0; i < resolve->n; i++) {
		struct resolve_entry r;

		if (resolve_parse(resolve->v[i], &r, e) < 0)
			return -EINVAL;
		ret->v[ret->n].host = xstrdup(r.host);
		ret->v[ret->n].port = r.port;
		ret->v[ret->n++].to = r.to;
	}
	return 0;
}

int
role_net_main(const struct role_config *c, struct err *e)
{
	struct jail_confine plan = {
		.no_fork = true, .nofile = 16384, .syscalls = JAIL_SYSCALLS_NET};
	CLEAN_POLICY struct policy policy = {0};
	struct overrides ov = {0};
	int r = parse_overrides(&c->resolve, &ov, e);

	if (r == 0 && c->policy != NULL)
		r = policy_decode(c->policy, strlen(c->policy), &policy, e);
	if (r == 0)
		r = jail_confine(&plan, e);
	if (r == 0) {
		struct net_options o = {.tcp_fd = ROLE_FD_NET_TCP,
			.dns_fd = ROLE_FD_NET_DNS,
			.resolver_fd = ROLE_FD_NET_RESOLVER,
			.control_fd = ROLE_FD_NET_CONTROL,
			.events_fd = ROLE_FD_NET_EVENTS,
			.signer_fd = ROLE_FD_NET_SIGNER,
			.trust = c->trust,
			.udp_fd = ROLE_FD_NET_UDP,
			.refused_fd = ROLE_FD_NET_REFUSED,
			.flood_fd = ROLE_FD_NET_FLOOD,
			.raw_fd = ROLE_FD_NET_RAW,
			.sandbox = c->name,
			.overrides = ov.v,
			.noverrides = ov.n,
			.policy = &policy};

		r = net_serve(&o, e);
	}
	for (size_t i = 0; i < ov.n; i++)
		free((char *)ov.v[i].host);
	free(ov.v);
	return r;
}
