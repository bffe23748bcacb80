#pragma once
/*
 * The DNS server's answers. It asks nobody anything: an A query is answered with the address of the
 * fake range that stands for the name, whether or not the name exists; everything else is answered
 * from what is known here. Pure: bytes in, bytes out.
 */
#include <base/buf.h>
#include <policy/policy.h>
#include <proto/dns.h>

#include "names.h"
#include "overrides.h"

struct responder {
	struct names *names;
	const struct overrides *overrides;
	const struct policy *policy;
	uint32_t gateway; /* host order: what host.docker.internal is */
	/* Told of each question that could be read; NULL: nobody. */
	void (*asked)(void *arg, const struct dns_query *q, enum dns_rcode rcode);
	void *arg;
};

enum responder_transport { RESPONDER_UDP, RESPONDER_TCP };

/* Appends the answer to out (without TCP's length), or nothing where nothing may be said. */
void responder_answer(const struct responder *r, const uint8_t *msg, size_t n,
	enum responder_transport transport, uint64_t now_ms, struct buf *out);
