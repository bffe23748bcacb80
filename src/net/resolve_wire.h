#pragma once
/*
 * Between net and its resolver: one request or reply a message on a SOCK_SEQPACKET pair. Both ends
 * are the same program on the same machine, so the structs go as they are; each end still checks
 * what the other says, since net talks to the guest.
 */
#include <stddef.h>
#include <stdint.h>

#include <policy/addr.h>
#include <policy/name.h>

#define RESOLVE_ADDRS_MAX 32

struct resolve_request {
	uint32_t id;
	uint8_t literal; /* name is an address: no lookup, only is_host is wanted */
	char name[HOST_NAME_TEXT_MAX];
};

struct resolve_addr {
	struct ip_addr addr;
	uint8_t is_host; /* one of the host's own addresses */
};

struct resolve_reply {
	uint32_t id;
	int32_t error; /* 0; -ENOENT no such name or no address; -EAGAIN for now; -EIO */
	uint32_t n;
	struct resolve_addr addrs[RESOLVE_ADDRS_MAX];
};
