#pragma once
/* What h2.c (the connection) and h2_stream.c (a request in it) share. */
#include <nghttp2/nghttp2.h>
#include <sys/queue.h>

#include "edit.h"
#include "endpoint.h"
#include "h2.h"
#include "http_check.h"
#include "page.h"
#include "server.h"

#define H2_STREAMS_MAX   100
#define H2_STREAM_WINDOW (256 * 1024)
#define H2_WINDOW        (1024 * 1024)
#define H2_FIELDS_BYTES  65536 /* names and values of one message's head */

/* A head as it comes: names and values one behind the other. */
struct h2_fields {
	struct buf text;
	size_t n;
	struct {
		size_t name_len, value_len;
	} f[HTTP_FIELDS_MAX];
	bool too_large;
};

struct h2_stream {
	LIST_ENTRY(h2_stream) link;
	struct h2_conn *h;
	int32_t guest_id, origin_id; /* origin: 0 where nobody was asked */
	bool guest_closed, origin_closed;
	struct h2_fields
		fields; /* of the head that is coming; of the guest's, then of the origin's */
	struct h2_fields trailers[2];
	char *method, *target;
	struct record record;
	struct page_form form;
	/* Content on its way; ended: all of it has come. */
	struct buf up, down;
	bool up_ended, down_ended;
	const char *refused;        /* why it goes up no further; NULL: it does */
	struct edit_upload *upload; /* of what goes up; NULL: it passes as it is */
	struct edit_answer *answer; /* likewise of what comes down */
	bool answered, page;        /* page: the answer is ours */
	int status;
	uint64_t up_bytes, down_bytes;
};

LIST_HEAD(h2_streams, h2_stream);

struct h2_side {
	nghttp2_session *session; /* origin: NULL where there is none */
	struct endpoint end;
};

struct h2_conn {
	struct http_options o;
	struct h2_side guest, origin;
	struct h2_streams streams;
	size_t nstreams, resets;
	int32_t head_id;    /* the guest's stream whose head or trailers are coming; 0: none */
	bool closing, told; /* the guest is to take its next request elsewhere; it was told so */
	struct alarm *limit;
	http_done_fn *done;
	void *arg;
};

/* ---- h2_stream.c */
struct h2_stream *h2_stream_new(struct h2_conn *h, int32_t guest_id);
void h2_stream_free(struct h2_stream *st);
void h2_fields_add(struct h2_fields *f, const uint8_t *name, size_t name_len, const uint8_t *value,
	size_t value_len);
void h2_fields_clear(struct h2_fields *f);
/* The guest's head is whole. */
void h2_stream_request(struct h2_stream *st, bool ended);
/* So is the origin's. */
void h2_stream_answer(struct h2_stream *st, bool ended);
/* Trailers, and with them the end of the content. */
void h2_stream_trailers(struct h2_stream *st, bool up);
/* More content has come; last: and its end. */
void h2_stream_content(struct h2_stream *st, bool up, const uint8_t *p, size_t n, bool last);
/* The origin has given it up, or is gone. */
void h2_stream_broken(struct h2_stream *st, uint32_t code, const char *reason);
bool h2_stream_is_allowed(const struct h2_stream *st);
