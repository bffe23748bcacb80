#pragma once
/*
 * What passes between the guest and a server, as far as credentials are concerned. Where a
 * credential goes, its header is written anew with the value; everywhere else its placeholder must
 * not go, and the value nowhere at all; in an answer the value is masked.
 *
 * A destination is a credential's own when it is one of its hosts, port 443, over TLS that net
 * verified; the same host over plain HTTP or at another port is any other destination.
 *
 * What is found counts in these shapes: as it is, percent-encoded, escaped in JSON, in base64 at
 * any offset. A body that is compressed is not looked into: net asks servers for none.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <base/buf.h>
#include <cred/set.h>
#include <proto/http.h>

struct cred_gate;

/* Takes the set, which is empty then. */
struct cred_gate *cred_gate_new(struct cred_set *set);
void cred_gate_free(struct cred_gate *g);

struct cred_dest {
	const char *host; /* canonical */
	uint16_t port;
	bool tls; /* to be verified by net before anything is sent */
};

/* Whether some credential with a value goes there: its TLS must be intercepted. */
bool cred_gate_covers(const struct cred_gate *g, const struct cred_dest *d);

enum cred_verdict {
	CRED_PASS,
	CRED_ALARM,   /* must not pass; see struct cred_alarm */
	CRED_NO_ROOM, /* there are too many fields for one more: 431 */
};

/* For the log and the guest's page: "the placeholder of 'github' in the body". */
struct cred_alarm {
	const char *name;  /* the credential's; the gate's; NULL: nothing was found */
	bool value;        /* the real one, not its placeholder */
	const char *where; /* "the request's target", "a header", "the body" */
};

/* What a rewritten head points to; it holds values, and must live until the head is written. */
#define CRED_EDITS_MAX (HTTP_FIELDS_MAX + 8)
struct cred_edits {
	char *v[CRED_EDITS_MAX]; /* secret.h */
	size_t n;
};
void cred_edits_release(struct cred_edits *e);

/*
 * A request's head before it goes out. fields has room for cap; *nfields changes where a header is
 * added, or stands there more than once. Names that are added are in lower case. path: with the
 * query.
 */
enum cred_verdict cred_request(const struct cred_gate *g, const struct cred_dest *d,
	struct http_str path, struct http_field *fields, size_t cap, size_t *nfields,
	struct cred_edits *edits, struct cred_alarm *ret);

/* An answer's head: values in its fields are masked. True: there were some. */
bool cred_response(const struct cred_gate *g, struct http_field *fields, size_t nfields,
	struct cred_edits *edits);

/*
 * A body's bytes as they come, transfer coding removed. What may pass is appended to out, with what
 * must not overwritten by '*', byte for byte, so that its length stays. What may yet become the
 * beginning of something is kept until more comes, at most CRED_HOLD_MAX bytes.
 *
 * Up, to a destination of another credential, a placeholder is masked and reported; to any other
 * destination it is an alarm, and nothing more passes. The first is for conversations with models,
 * which repeat for ever what an agent has once read.
 */
#define CRED_HOLD_MAX (4 * CRED_VALUE_MAX)
enum cred_direction { CRED_UP, CRED_DOWN };

struct cred_stream;
/* It holds the gate, which may be freed meanwhile by its owner. */
struct cred_stream *cred_stream_new(
	struct cred_gate *g, const struct cred_dest *d, enum cred_direction direction);
void cred_stream_free(struct cred_stream *s);
enum cred_verdict cred_stream_feed(struct cred_stream *s, const void *p, size_t n, struct buf *out);
/* What was kept. */
enum cred_verdict cred_stream_end(struct cred_stream *s, struct buf *out);
/* The first that was found, masked or not; its name is NULL where there was none. */
struct cred_alarm cred_stream_alarm(const struct cred_stream *s);

/* "the placeholder of credential 'x' in the body": one sentence without an end. */
void cred_alarm_text(const struct cred_alarm *a, char *out, size_t size);
