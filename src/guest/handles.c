/*
 * How this works: a handle's number says where it is in the table, and so does the `unique` of the
 * request by which the host is asked for one. That is how the reply finds it, and how a request can
 * name a handle of the host's that is on its way.
 */
#include <string.h>

#include <wire/fuse_push.h>

#include "handles.h"

#define KEEP_MS  200
#define LOCAL_FH 0xffffffffffff0000u
#define ASKED    (1ull << 62 | 1) /* odd: the kernel's are even */

static uint64_t
unique_of(const struct handles *h, const struct handle *l)
{
	return ASKED | (uint64_t)(l - h->at) << 1;
}

bool
handles_open(struct handles *h, uint64_t nodeid, uint32_t flags, bool dir, uint64_t now_ms,
	uint64_t *ret_fh)
{
	for (size_t k = 0; h->n < HANDLES_MAX && k < HANDLES_MAX; k++) {
		size_t at = (h->hint + k) % HANDLES_MAX;

		if (h->at[at].used)
			continue;
		h->hint = at + 1;
		h->n++;
		h->at[at] = (struct handle){.nodeid = nodeid,
			.since_ms = now_ms,
			.flags = flags,
			.used = true,
			.dir = dir};
		*ret_fh = LOCAL_FH | at;
		return true;
	}
	return false;
}

static struct handle *
find(struct handles *h, uint64_t fh)
{
	size_t at = fh & ~LOCAL_FH;

	if ((fh & LOCAL_FH) != LOCAL_FH || at >= HANDLES_MAX || !h->at[at].used)
		return NULL;
	return &h->at[at];
}

static void
drop(struct handles *h, struct handle *l)
{
	l->used = false;
	h->n--;
}

bool
handles_release(struct handles *h, uint64_t *fh)
{
	struct handle *l = find(h, *fh);

	if (l == NULL)
		return true;
	if (l->asked && l->real == 0) {
		l->closed = true;
		return false;
	}
	*fh = l->real;
	drop(h, l);
	return *fh != 0;
}

static void
put_open(struct handles *h, struct handle *l, struct buf *out)
{
	struct fuse_open_in oi = {.flags = l->flags};
	struct fuse_in_header head = {.len = (uint32_t)(sizeof(head) + sizeof(oi)),
		.opcode = l->dir ? FUSE_OPENDIR : FUSE_OPEN,
		.unique = unique_of(h, l),
		.nodeid = l->nodeid};

	l->asked = true;
	buf_append(out, &head, sizeof(head));
	buf_append(out, &oi, sizeof(oi));
}

uint64_t
handles_for_host(struct handles *h, uint64_t fh, bool lock, struct buf *first)
{
	struct handle *l = find(h, fh);

	if (l == NULL)
		return fh;
	if (l->real != 0)
		return l->real;
	if (!lock)
		return FUSE_PUSH_FH;
	if (!l->asked)
		put_open(h, l, first);
	return unique_of(h, l);
}

bool
handles_keep(struct handles *h, uint64_t now_ms, struct buf *out)
{
	for (size_t k = 0; h->n > 0 && k < HANDLES_MAX; k++) {
		struct handle *l = &h->at[k];
		struct fuse_in_header head = {.nodeid = l->nodeid};
		struct fuse_release_in ri = {.fh = l->real, .flags = l->flags};

		if (!l->used || (!l->closed && l->asked) || now_ms < l->since_ms + KEEP_MS)
			continue;
		if (!l->closed) {
			put_open(h, l, out);
			return true;
		}
		if (l->real == 0)
			continue; /* not answered yet */
		head.opcode = l->dir ? FUSE_RELEASEDIR : FUSE_RELEASE;
		head.len = (uint32_t)(sizeof(head) + sizeof(ri));
		drop(h, l);
		buf_append(out, &head, sizeof(head));
		buf_append(out, &ri, sizeof(ri));
		return true;
	}
	return false;
}

bool
handles_reply(struct handles *h, const uint8_t *msg, size_t n)
{
	struct fuse_out_header head;
	struct fuse_open_out oo;
	struct handle *l;
	uint64_t at;

	memcpy(&head, msg, sizeof(head));
	if ((head.unique & ASKED) != ASKED)
		return false;
	at = (head.unique & ~ASKED) >> 1;
	l = at < HANDLES_MAX ? &h->at[at] : NULL;
	if (l == NULL || !l->used || !l->asked)
		return true;
	if (head.error == 0 && n >= sizeof(head) + sizeof(oo)) {
		memcpy(&oo, msg + sizeof(head), sizeof(oo));
		l->real = oo.fh;
	} else if (l->closed) {
		drop(h, l);
	} else {
		l->asked = false; /* and not again, but for a lock */
		l->since_ms = UINT64_MAX - KEEP_MS;
	}
	return true;
}
