#pragma once
/*
 * One connection to a published port: plain bytes at the socket, the session protocol's FORWARD in
 * the stream (wire/session.h). Neither the socket nor the stream is owned here.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <base/buf.h>

#include "mux.h"

struct port_pipe {
	uint16_t port;
	struct buf out; /* from the guest, for the socket: one frame's payload at most */
	bool half;      /* the server has said all it had; what the client says still goes on */
	bool ended;     /* the guest has said its last word */
	bool failed;    /* ... and it was an error, or no frame */
};

/* Asks the guest for the connection. */
void port_pipe_open(struct port_pipe *p, struct mux_stream *s, uint16_t port);
void port_pipe_release(struct port_pipe *p);
/* Whether there is room for more of the socket's bytes. */
bool port_pipe_has_room(const struct mux_stream *s);
/* Reads once: bytes, 0 at the end of file, -errno. */
ssize_t port_pipe_read(struct mux_stream *s, int fd);
/* Takes the next frame's payload into p->out when that is empty. */
void port_pipe_take(struct port_pipe *p, struct mux_stream *s);
