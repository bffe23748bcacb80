#pragma once
/* The ways between the bench's client and its origin: nothing, paddock, other proxies. */
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { WAY_DIRECT, WAY_TRANSPARENT, WAY_FORWARD };
#define WAYS_MAX 8

struct way {
	const char *name;
	pid_t pid; /* 0: there is no process */
	uint16_t port;
	char target[64]; /* to ask for by CONNECT; "": it knows */
};

void die(const char *what);
/*
 * Starts squid, tinyproxy and haproxy, as far as they are installed, in front of the origin, and
 * waits until they listen. haproxy is no CONNECT proxy without Lua: it relays TCP. Their number.
 */
size_t ways_start(uint16_t origin_port, struct way *out);
/* Ends every process of the ways, and removes what they left. */
void ways_end(const struct way *ways, size_t n);
