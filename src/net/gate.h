#pragma once
/*
 * Looks at what a client says first, without taking it from the socket, until it is clear which
 * protocol it is. For TLS and HTTP that is what it must agree with the destination about.
 */
#include <stdbool.h>
#include <stddef.h>

#include <proto/tls.h>

enum gate_sight {
	GATE_MORE,
	GATE_OTHER,
	GATE_HTTP, /* the strict parser reads it from the socket */
	GATE_TLS,  /* with its ClientHello in hello */
	GATE_BAD,  /* TLS, and malformed or cut short */
};

/* How long a client may take over its first words once it has begun. */
#define GATE_LIMIT_MS 10000
/*
 * The same while they begin with no method of HTTP's registry: text that perhaps has no line's end
 * at all. (A client that splits a request by a made-up method just there is taken for one of
 * these.)
 */
#define GATE_BRIEF_MS 250

struct gate {
	size_t seen;
	bool late;  /* its time is over: what is there must do */
	bool brief; /* with GATE_MORE: GATE_BRIEF_MS are enough */
	struct tls_hello hello;
};

/* When the socket is readable, and once more when the time is over. */
enum gate_sight gate_look(struct gate *g, int fd);
/* The socket is readable once there is more than this, or an end. */
void gate_wait(int fd, size_t seen);
/* The socket is readable from its first byte on again. */
void gate_leave(int fd);
