#pragma once
/* Net's side of the resolver: lookups without waiting. */
#include <uv.h>

#include "resolve_wire.h"

#define RESOLVE_LIMIT_MS 20000

struct resolve; /* the client */
struct lookup;  /* one who asks */

/* Never called from within resolve_lookup. The reply is the caller's for the call only; error may
 * also be -ETIMEDOUT. */
typedef void lookup_fn(void *arg, const struct resolve_reply *reply);
/* The resolver is gone: no lookup will ever be answered. */
typedef void resolve_lost_fn(void *arg);

/* fd stays the caller's. NULL where the loop cannot take it. */
struct resolve *resolve_new(
	uv_loop_t *loop, int fd, uint64_t limit_ms, resolve_lost_fn *lost, void *arg);
/* Every lookup must have been answered or cancelled. */
void resolve_free(struct resolve *r);

/* Lookups of one name at one time share a question. NULL: too many at once (-EAGAIN). */
struct lookup *resolve_lookup(
	struct resolve *r, const char *name, int literal, lookup_fn *done, void *arg);
void lookup_cancel(struct lookup *l);
