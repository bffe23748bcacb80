#pragma once
/*
 * What the pump answers by itself: requests whose reply the host has told ahead (wire/fuse_push.h).
 * Pure, and without a lock: the caller has one around every call.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <base/buf.h>
#include <base/htab.h>
#include <base/list.h>
#include <wire/fuse_push.h>

#include "handles.h"
#include "listings.h"
#include "locked.h"

#define ANSWERS_CHANGED 8192

struct answers {
	bool on;
	uint64_t sent; /* messages to the host */
	/* `sent` at the last change, by hash of the inode; of links of any inode; of anything. */
	uint64_t changed[ANSWERS_CHANGED], links_changed;
	struct htab nodes;
	struct list lru; /* oldest first */
	size_t nnodes, bytes;
	struct handles handles;
	struct locked locked;
	struct buf first; /* one message that is to be sent before the latest request, or none */
	struct listings listings;
};

void answers_init(struct answers *a);
void answers_release(struct answers *a);
/* Forget everything that was told: another fs role starts to count. */
void answers_restart(struct answers *a);

enum answers_what {
	ANSWERS_SEND,       /* the message (which may have been changed) is for the host */
	ANSWERS_REPLY,      /* the reply is in `reply`, and that is all */
	ANSWERS_REPLY_SEND, /* both: the host owes no reply to it */
	ANSWERS_KEPT,       /* there is nothing to do now: answers_keep has it */
};
/* A request from the kernel. now_ms: clock_mono_ms. */
enum answers_what answers_request(
	struct answers *a, uint8_t *msg, size_t n, uint64_t now_ms, struct buf *reply);
/* A message is being sent to the host; in the order of sending. */
void answers_sending(struct answers *a, const uint8_t *msg, size_t n);
/* A notification from the host. False: the kernel is to get it too. */
bool answers_note(struct answers *a, const uint8_t *msg, size_t n);
/* A reply to a request of answers_keep; false: it is none. */
bool answers_reply(struct answers *a, const uint8_t *msg, size_t n);
/*
 * Files that have been open for a while are opened on the host too, so that what happens to their
 * names does not matter; and it gets back what it told of in vain. The next request for that is put
 * into out: false where there is none.
 */
bool answers_keep(struct answers *a, uint64_t now_ms, struct buf *out);
/* Whether answers_keep has, or will have, something to do. */
bool answers_has_more(const struct answers *a);
