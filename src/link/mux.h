#pragma once
/*
 * The client end of the link's HTTP/2 without any I/O: bytes of the line in, bytes for the line
 * out, streams with a buffer each way. What it reads comes from a hostile guest: every buffer has a
 * limit, and what breaks RFC 9113 ends the line.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <base/buf.h>
#include <base/err.h>

/* As much of a client's bytes as waits here for the guest to take it. */
#define MUX_UP_MAX (64 * 1024)

struct mux;

struct mux_stream {
	struct mux *mux;
	int32_t id;
	struct buf up;   /* to the guest; filled by the caller, MUX_UP_MAX at most */
	struct buf down; /* from the guest, LINE_WINDOW at most; emptied by the caller */
	bool up_end;     /* nothing follows what is in up */
	bool deferred;   /* nghttp2 waits for mux_stream_resume */
	bool answered;   /* the guest has accepted it */
	bool down_end;   /* nothing follows what is in down */
	bool closed;     /* HTTP/2 has forgotten it */
	bool discard;    /* nobody wants what comes */
};

struct mux *mux_new(void);
void mux_free(struct mux *m); /* streams must have been freed */

/* Bytes of the line. 0, or -errno: the line is of no use any more. */
int mux_feed(struct mux *m, const void *p, size_t n, struct err *e);
/* Appends bytes for the line until out holds limit or nothing is left to say. 0 or -errno. */
int mux_pull(struct mux *m, struct buf *out, size_t limit, struct err *e);
/* The guest has answered on the line (its SETTINGS came). */
bool mux_is_up(const struct mux *m);

struct mux_stream *mux_stream_new(struct mux *m);
/* Resets it where it still lives. */
void mux_stream_free(struct mux_stream *s);
/* After up grew or up_end was set. */
void mux_stream_resume(struct mux_stream *s);
/* n bytes of down have been passed on: removes them and lets the guest send as many again. */
void mux_stream_passed(struct mux_stream *s, size_t n);
/* Whatever came and comes from the guest is dropped. */
void mux_stream_discard(struct mux_stream *s);
