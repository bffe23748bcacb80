#pragma once
/* The resolver role's inside, for net_resolver_serve and for tests. */
#include <netdb.h>

#include <base/err.h>

#include "resolve_wire.h"

#define RESOLVER_THREADS_MAX 16
#define RESOLVER_QUEUE_MAX   256

struct resolver_hooks {
	int (*getaddrinfo)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
	void (*freeaddrinfo)(struct addrinfo *);
	int (*is_host)(const struct ip_addr *a); /* NULL: the routing table */
};

int resolver_serve(int fd, const struct resolver_hooks *hooks, struct err *e);
