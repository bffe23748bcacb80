#pragma once
/* What the net role tells the network log, read by a test. */
#include <wire/netevent.h>

#include "net_peers.h"

/* events[0] is net's end. */
static inline void
events_open(int events[2])
{
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, events), 0);
	peer_limit(events[1]);
}

static inline void
events_close(const int events[2])
{
	close(events[0]);
	close(events[1]);
}

/* The next record that is no question of DNS. */
static inline struct netevent
events_next(const int events[2])
{
	uint8_t bytes[NETEVENT_WIRE_MAX];
	struct netevent ev;
	ssize_t n;

	do {
		n = peer_recv(events[1], bytes, sizeof(bytes), 0);
		assert_true(n > 0);
		assert_int_equal(netevent_decode(bytes, (size_t)n, &ev), 0);
	} while (ev.kind == NETEVENT_DNS);
	return ev;
}
