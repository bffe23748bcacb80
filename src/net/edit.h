#pragma once
/*
 * The seam for credentials: what is changed in a request before it goes to an origin, and in the
 * answer that comes back. Called for every HTTP request, after policy has allowed it; what a
 * credential does there is decided in cred/gate.h.
 */
#include <proto/http.h>

#include "reach.h"

/* A request as it goes out. */
struct edit_request {
	const char *host; /* canonical name, or an address' text */
	uint16_t port;
	bool plain; /* without TLS: nothing is put in, but what must not leave does not */
	const char *method, *target; /* path and query */
};

/* In place of all credentials that net had before; taken. */
void edit_take(struct net *net, struct cred_set *set);

/* A credential is for this host and port: its TLS is looked into. */
bool edit_concerns(const struct net *net, const struct reach_dest *d);

/*
 * fields[*n] may be changed, dropped and added to (up to HTTP_FIELDS_MAX); new texts go into store,
 * which outlives the request's head and is wiped then (cred_buf_wipe). NULL, or why the request
 * must not go out, for log and page; it is in store as well.
 */
const char *edit_request_fields(const struct net *net, const struct edit_request *q,
	struct http_field *fields, size_t *n, struct buf *store);

/* The body that goes with q. NULL: it passes as it is. */
struct edit_upload;
struct edit_upload *edit_upload_start(const struct net *net, const struct edit_request *q);
/*
 * Content as it comes, without its framing; what may go on is appended, of the same length in the
 * end. last: nothing follows. NULL, or why it must not go on, valid as long as u.
 */
const char *edit_upload_body(
	struct edit_upload *u, const uint8_t *p, size_t n, bool last, struct buf *out);
void edit_upload_free(struct edit_upload *u);

/* An answer's head, or its trailers: values are masked, in store, which outlives the fields. */
void edit_answer_fields(const struct net *net, const struct edit_request *q,
	struct http_field *fields, size_t n, struct buf *store);

/* The body of the answer to q. NULL: it passes as it is. */
struct edit_answer;
struct edit_answer *edit_answer_start(const struct net *net, const struct edit_request *q);
/* Content as it comes, without its framing; what may go on is appended. last: nothing follows. */
void edit_answer_body(
	struct edit_answer *a, const uint8_t *p, size_t n, bool last, struct buf *out);
void edit_answer_free(struct edit_answer *a);
