#pragma once
/*
 * What net tells about its work: records to the log role, without ever waiting for it. A flood is
 * told as sums: beyond some records a second, equal ones are added up and sent together now and
 * then; what even that has no room for is counted.
 */
#include <uv.h>

#include <wire/netevent.h>

struct events; /* NULL is fine everywhere: nobody wants to know */

/* fd stays the caller's. */
struct events *events_new(uv_loop_t *loop, int fd);
/* Sends what is still held back, as far as it goes at once. */
void events_free(struct events *e);
/* So many were never seen. */
void events_lost(struct events *e, uint32_t n);
/* An event that is over (op is set here; a count of 0 means 1). */
void events_one(struct events *e, struct netevent *ev);

/*
 * A connection or request on its way: begun when its destination is known, decided when the verdict
 * is, ended when it ends. Embedded; what is not ended must be dropped.
 */
struct record {
	struct events *events;
	struct netevent *ev; /* NULL once it was sent as OPEN, or over */
	uint64_t conn;       /* of the OPEN that was sent; 0: none */
	uint64_t since_ms;
};

void record_begin(struct record *r, struct events *e, enum netevent_kind kind,
	enum netevent_via via, const char *host, uint16_t port);
/* Before it was decided. */
void record_kind(struct record *r, enum netevent_kind kind);
void record_request(
	struct record *r, const char *method, size_t method_len, const char *path, size_t path_len);
/* Allowed, and now on its way. Whatever comes later is about its end. */
void record_open(struct record *r, const char *rule, const char *reason);
void record_close(struct record *r, uint64_t up, uint64_t down, int status);
/* Blocked, or allowed and not reached: over. */
void record_end(struct record *r, enum netevent_verdict verdict, const char *rule,
	const char *reason, int status);
void record_drop(struct record *r);
