#pragma once
/*
 * IP addresses and the ranges that they belong to. Pure. Sources: IANA's IPv4 and IPv6
 * special-purpose address registries (RFC 6890 and successors).
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

/* An IPv4-mapped IPv6 address never stays one: the constructors below turn it into IPv4. */
struct ip_addr {
	uint8_t family; /* AF_INET or AF_INET6 */
	uint8_t b[16];  /* network order; 4 bytes or 16 */
};

#define IP_ADDR_TEXT_MAX 46

enum ip_range {
	IP_RANGE_PUBLIC,      /* nothing special: the Internet, and the documentation ranges */
	IP_RANGE_UNSPECIFIED, /* 0/8, :: */
	IP_RANGE_PRIVATE,     /* RFC 1918, unique local, site-local */
	IP_RANGE_SHARED,      /* carrier-grade NAT */
	IP_RANGE_LOOPBACK,
	IP_RANGE_LINK_LOCAL,
	IP_RANGE_METADATA,  /* a cloud's instance metadata or platform service */
	IP_RANGE_BENCHMARK, /* 198.18/15, which is our own fake range */
	IP_RANGE_MULTICAST,
	IP_RANGE_BROADCAST,
	IP_RANGE_TRANSLATION, /* carries an IPv4 address inside: NAT64, 6to4, Teredo, ... */
	IP_RANGE_RESERVED,
	IP_RANGE_COUNT,
};

struct ip_addr ip_addr_v4(uint32_t host_order);
struct ip_addr ip_addr_v6(const uint8_t b[16]);
/* 0, or -EAFNOSUPPORT for anything that is neither AF_INET nor AF_INET6. */
int ip_addr_from_sockaddr(const struct sockaddr_storage *ss, struct ip_addr *ret);
void ip_addr_to_sockaddr(const struct ip_addr *a, uint16_t port, struct sockaddr_storage *ret);
/* Strict: dotted quad or RFC 4291 text, no zone, no brackets. 0 or -EINVAL. */
int ip_addr_parse(const char *text, struct ip_addr *ret);
void ip_addr_format(const struct ip_addr *a, char out[IP_ADDR_TEXT_MAX]);
bool ip_addr_equal(const struct ip_addr *a, const struct ip_addr *b);

/* The most specific range that holds the address. */
enum ip_range ip_addr_range(const struct ip_addr *a);
/* How many bits of prefix its range has: a range that is longer lies within it. */
unsigned ip_addr_range_bits(const struct ip_addr *a);
/* Whether the first bits of both are the same. */
bool ip_addr_in(const struct ip_addr *a, const struct ip_addr *net, unsigned bits);
/* "private", "link-local", ... for people and logs. */
const char *ip_range_name(enum ip_range r);
