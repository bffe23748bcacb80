#pragma once
/* "HOST:PORT:ADDRESS[:PORT]", curl's --resolve: that name and port go to this address. Pure. */
#include <stdint.h>
#include <sys/socket.h>

#include <base/err.h>

struct resolve_entry {
	char host[256]; /* lower case, no trailing dot */
	uint16_t port;
	struct sockaddr_storage to; /* IPv6 addresses in brackets: [::1] */
};

int resolve_parse(const char *text, struct resolve_entry *ret, struct err *e); /* 0 or -EINVAL */
