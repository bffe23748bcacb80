#pragma once
/* Host names: their one canonical form, and what kind of name each is. Pure. */
#include <stdbool.h>

#define HOST_NAME_TEXT_MAX 254 /* RFC 1035: 253 characters and the NUL */

/* How the guest calls the machine that it runs on; both mean the gateway address. */
#define HOST_NAME_DOCKER  "host.docker.internal"
#define HOST_NAME_GATEWAY "gateway.docker.internal"

/*
 * Lower case, one trailing dot removed; labels of 1 to 63 letters, digits, hyphens and underscores
 * (RFC 1123 plus the underscore that SRV-like and some cloud names carry). 0, or -EINVAL for
 * whatever is not such a name, raw UTF-8 included: IDNs come as A-labels.
 */
int host_name_canonical(const char *text, char out[HOST_NAME_TEXT_MAX]);

enum host_name_kind {
	HOST_NAME_ORDINARY,
	HOST_NAME_HOST,      /* host.docker.internal, gateway.docker.internal */
	HOST_NAME_LOCALHOST, /* localhost and everything below it (RFC 6761 6.3): the guest itself
			      */
	HOST_NAME_SINGLE,    /* one label: would be completed by the host's search list */
	HOST_NAME_SPECIAL,   /* .local, .internal, .onion, ...: never the public DNS's business */
	HOST_NAME_NUMERIC,   /* its last label is a number: inet_aton(3) would read an address */
	HOST_NAME_INVALID,   /* not in canonical form */
};

/* Judges a name in canonical form. */
enum host_name_kind host_name_kind(const char *name);
