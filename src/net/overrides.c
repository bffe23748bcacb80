#include <string.h>

#include "overrides.h"

const struct net_override *
overrides_find(const struct overrides *o, const char *host, uint16_t port)
{
	const struct net_override *any = NULL;

	for (size_t i = 0; i < o->n; i++) {
		if (strcmp(o->v[i].host, host) != 0)
			continue;
		if (o->v[i].port == port)
			return &o->v[i];
		if (o->v[i].port == 0 && any == NULL)
			any = &o->v[i];
	}
	return any;
}

bool
overrides_name(const struct overrides *o, const char *host)
{
	for (size_t i = 0; i < o->n; i++)
		if (strcmp(o->v[i].host, host) == 0)
			return true;
	return false;
}

void
override_address(const struct net_override *ov, uint16_t port, struct sockaddr_storage *ret)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)ret;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)ret;

	*ret = ov->to;
	if (ret->ss_family == AF_INET && v4->sin_port == 0)
		v4->sin_port = htons(port);
	else if (ret->ss_family == AF_INET6 && v6->sin6_port == 0)
		v6->sin6_port = htons(port);
}
