#pragma once
/*
 * The net role: answers the guest's DNS with addresses of 198.18.0.0/15 that stand for names,
 * accepts the guest's connections (redirected to it by the jail's nftables; SO_ORIGINAL_DST tells
 * where they were going), decides by policy, has the name resolved on the host, checks every
 * resolved address, connects out and relays with splice(2).
 */
#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>

#include <base/err.h>
#include <policy/policy.h>

/* curl's --resolve: HOST:PORT goes to this address, which the owner thereby allows by name. */
struct net_override {
	const char *host;           /* lower case, no trailing dot */
	uint16_t port;              /* 0: every port */
	struct sockaddr_storage to; /* port 0 in here: the port asked for */
};

struct net_options {
	int tcp_fd;      /* listening, in the jail's network namespace */
	int dns_fd;      /* UDP, likewise */
	int resolver_fd; /* SOCK_SEQPACKET to the resolver role */
	int control_fd;  /* SOCK_SEQPACKET to the supervisor, see below; its end is net's */
	int udp_fd, refused_fd, flood_fd, raw_fd; /* see jail_net; 0: none of these */
	int events_fd;       /* SOCK_SEQPACKET: records of wire/netevent.h; 0: nobody wants them */
	int signer_fd;       /* SOCK_SEQPACKET to the signer role; 0: there is none, and no TLS is
			      * intercepted */
	const char *trust;   /* PEM: whom to believe who a server is; NULL: nobody */
	const char *sandbox; /* its name, for the commands that denials name; NULL: NAME */
	const struct net_override *overrides;
	size_t noverrides;
	struct policy *policy; /* the caller's; replaced in place when another one comes */
};

/*
 * Over control_fd the supervisor sends a policy: a message of 8 bytes, a number of its choice, with
 * a descriptor of a file that holds policy_encode's lines; a second one, where there is one, is of
 * memory that holds all credentials (cred_set_encode). Connections that it forbids are cut,
 * then the 8 bytes are sent back: from then on the policy is obeyed.
 */
#define NET_CONTROL_BYTES 8
#define NET_POLICY_MAX    (2U << 20)

int net_serve(const struct net_options *o, struct err *e);

/*
 * The resolver role: getaddrinfo(3) for net, which may not open files itself. Serves until the
 * socket closes. Requests and answers: src/net/resolver.c.
 */
int net_resolver_serve(int fd, struct err *e);
