#pragma once
/*
 * The HTTP/2 server (RFC 9113) on the guest's end of paddock.link: each stream is one POST to
 * LINE_PATH, handed to whoever opened the server as a pair of byte streams with flow control.
 * It knows nothing of what the bytes say. It lives as long as the guest: when the host's end goes
 * away, or talks nonsense, every stream is gone and a new connection begins.
 */
#include <stddef.h>
#include <stdint.h>

#include <wire/line.h>

#include "loop.h"

struct server;
struct stream;

/* What a stream tells its owner. Called from the event loop, never from within stream_*(). */
struct stream_ops {
	/* A new stream: returns its owner, the argument of the calls below. */
	void *(*open)(void *arg, struct stream *s);
	/* Bytes from the client. Whoever keeps none of them says stream_consume(s, n). */
	void (*data)(void *owner, const uint8_t *p, size_t n);
	/* The client has ended its direction. */
	void (*eof)(void *owner);
	/* stream_room() has become more than nothing again. */
	void (*room)(void *owner);
	/*
	 * The stream is no more: the last call. Comes for each stream, after stream_end() too.
	 * slept: the machine was saved, and has woken at another line.
	 */
	void (*gone)(void *owner, bool slept);
};

/* The port stays the caller's and is made non-blocking. NULL with errno on failure. */
struct server *server_new(struct loop *l, int port_fd, const struct stream_ops *ops, void *ops_arg);
void server_free(struct server *s); /* tells the owners that their streams are gone */

/* From now on this word (wire/line.h) begins another connection, whatever is under way. */
void server_expect_wake(struct server *s, const uint8_t word[LINE_WAKE]);

/* Calls cb once everything that was said has been written to the port. */
void server_on_flushed(struct server *s, void (*cb)(void *arg), void *arg);

/* How many bytes the stream would like to be given at most; 0: wait for room(). */
#define STREAM_OUT_MAX (64 * 1024)
size_t stream_room(const struct stream *s);
/* Takes one frame of wire/frame.h, whatever the room: small ones may always be said. */
void stream_send(struct stream *s, uint8_t type, const void *p, size_t n);
/* n bytes that data() brought have left memory: the client may send as many again. */
void stream_consume(struct stream *s, size_t n);
/* Nothing follows; data(), eof() and room() do not come any more. */
void stream_end(struct stream *s);
