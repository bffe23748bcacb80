#pragma once
/* The owner's own answers (curl's --resolve), looked up by host and port. */
#include <stdbool.h>

#include <net/net.h>

struct overrides {
	const struct net_override *v;
	size_t n;
};

/* The one for exactly this port comes before one for every port. NULL: none. */
const struct net_override *overrides_find(
	const struct overrides *o, const char *host, uint16_t port);
/* Is there any for this host? */
bool overrides_name(const struct overrides *o, const char *host);
/* Where to connect. */
void override_address(const struct net_override *ov, uint16_t port, struct sockaddr_storage *ret);
