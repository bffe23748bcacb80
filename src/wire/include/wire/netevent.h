#pragma once
/*
 * What the net role reports, one record a message to the log role. The net role faces the guest and
 * may be taken over by it: the reader takes nothing on trust, every text has its own alphabet and
 * length, every number its range.
 */
#include <stddef.h>
#include <stdint.h>

#include <base/buf.h>

#define NETEVENT_HOST_MAX   253
#define NETEVENT_METHOD_MAX 32
#define NETEVENT_PATH_MAX   512
#define NETEVENT_RULE_MAX   255
#define NETEVENT_REASON_MAX 128
#define NETEVENT_WIRE_MAX   2048

enum netevent_op {
	NETEVENT_ONE = 1, /* all there is to say */
	NETEVENT_OPEN,    /* a connection or request that goes on: its CLOSE follows */
	NETEVENT_CLOSE,   /* conn, bytes, duration and status of an OPEN, nothing else */
	NETEVENT_LOST,    /* count records were not sent: a flood, or nobody read them */
};

enum netevent_kind {
	NETEVENT_DNS = 1, /* a name was asked */
	NETEVENT_TCP,     /* a connection of a protocol that is not looked into */
	NETEVENT_TLS,
	NETEVENT_HTTP, /* one request */
	NETEVENT_UDP,
	NETEVENT_ICMP,
	NETEVENT_OTHER, /* another protocol on top of IP */
};

enum netevent_verdict {
	NETEVENT_ALLOWED = 1,
	NETEVENT_BLOCKED, /* by policy, or because it was malformed */
	NETEVENT_FAILED,  /* allowed, and not reached */
};

enum netevent_via {
	NETEVENT_FORWARD = 1, /* through the forward proxy */
	NETEVENT_TRANSPARENT, /* to the address that stands for a name */
	NETEVENT_DIRECT,      /* to an address */
};

struct netevent {
	enum netevent_op op;
	enum netevent_kind kind;
	enum netevent_verdict verdict;
	enum netevent_via via;
	uint16_t port, status; /* HTTP's status; 0: none */
	uint32_t count;        /* of equal ones that this record stands for */
	uint64_t conn;         /* of OPEN and CLOSE: one number for both */
	uint64_t up, down, duration_ms;
	char host[NETEVENT_HOST_MAX + 1]; /* a name, an address, or what was asked for, escaped */
	char method[NETEVENT_METHOD_MAX + 1], path[NETEVENT_PATH_MAX + 1]; /* without query */
	char rule[NETEVENT_RULE_MAX + 1], reason[NETEVENT_REASON_MAX + 1];
};

const char *netevent_kind_name(enum netevent_kind k);
const char *netevent_verdict_name(enum netevent_verdict v);
const char *netevent_via_name(enum netevent_via v);

/* Copies text into one of the event's texts: what does not belong there becomes '?', the rest is
 * cut. */
void netevent_set_text(char *out, size_t size, const char *text, size_t n);

void netevent_encode(const struct netevent *ev, struct buf *out);
int netevent_decode(const void *p, size_t n, struct netevent *ret); /* 0 or -EBADMSG */
