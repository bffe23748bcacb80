#pragma once
/*
 * The line between the guest's pump and the fs role outlives the role: when one dies, the next goes
 * on with the same stream, at a place that it does not know. Pure: no I/O.
 *
 * Host to guest, each message is followed by a seal. A new role first sends more zeros than any
 * message is long: they complete whatever was cut short, under a seal that is wrong; then the mark,
 * a notification of a code of our own with a nonce.
 *
 * Guest to host, messages are plain. The pump answers the mark with the nonce: what the role reads
 * before that is void (no program in the guest can have known it), and behind it come first the
 * requests, whole, to which no answer was seen. Those to which none is due (FORGET) may be lost.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <base/buf.h>
#include <wire/fuse.h>

#define FUSE_LINE_NONCE 16
#define FUSE_LINE_SEAL  8
/* In the place of a notification's code. A reply is one for after the notifications before it. */
#define FUSE_LINE_MARK  0x70616464
#define FUSE_LINE_REPLY 0x70616465

/* Behind each message. */
void fuse_line_seal(struct buf *out);
void fuse_line_mark(struct buf *out, const uint8_t nonce[FUSE_LINE_NONCE]);
/* A reply of a header alone that is to be given when the notifications before it have been; sealed.
 */
void fuse_line_reply(struct buf *out, const struct fuse_out_header *reply);
/* Takes a notification apart: the reply in it. False: it is another one. */
bool fuse_line_is_reply(const uint8_t *msg, size_t n, struct fuse_out_header *ret);

enum fuse_line_event {
	FUSE_LINE_MORE,    /* bytes are needed */
	FUSE_LINE_MESSAGE, /* the first ret_len bytes; to be taken off with fuse_line_took */
	FUSE_LINE_RESTART, /* the mark was taken off, its nonce is in ret_nonce */
	FUSE_LINE_BROKEN,  /* of no use any more */
};

struct fuse_line {
	bool lost; /* within the zeros before a mark */
};

enum fuse_line_event fuse_line_next(
	struct fuse_line *l, struct buf *in, size_t *ret_len, uint8_t ret_nonce[FUSE_LINE_NONCE]);
void fuse_line_took(struct buf *in, size_t len);

/* What the pump sends first after a mark. */
void fuse_line_answer(struct buf *out, const uint8_t nonce[FUSE_LINE_NONCE]);
/* Takes off what is void. True: the nonce was found, and what is left is requests. */
bool fuse_line_answered(struct buf *in, const uint8_t nonce[FUSE_LINE_NONCE]);
