#pragma once
/*
 * Tag-length-value records, the shape of every structured message between our own processes and
 * with the guest: u16 tag, u32 length (big-endian), bytes; repeated tags make lists. The reader is
 * pure and trusts nothing: a record that does not fit ends the reading with -EBADMSG.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <base/buf.h>
#include <base/str.h>

void tlv_put(struct buf *b, uint16_t tag, const void *p, size_t n);
void tlv_put_str(struct buf *b, uint16_t tag, const char *s);
void tlv_put_u64(struct buf *b, uint16_t tag, uint64_t v); /* minimal big-endian, 8 bytes */

struct tlv_reader {
	const uint8_t *p;
	size_t left;
};

struct tlv {
	uint16_t tag;
	const uint8_t *p; /* into the reader's bytes */
	size_t n;
};

void tlv_reader_init(struct tlv_reader *r, const void *p, size_t n);
/* 1 with the next record, 0 at the end, -EBADMSG. */
int tlv_next(struct tlv_reader *r, struct tlv *ret);

/* 0 or -EBADMSG (length is not 8). */
int tlv_u64(const struct tlv *t, uint64_t *ret);
/* A copy without NUL bytes inside, at most max bytes: 0 or -EBADMSG. *ret is the caller's; an
 * earlier value there is freed, so that a repeated tag cannot leak. */
int tlv_str(const struct tlv *t, size_t max, char **ret);
/* As tlv_str, appended to a vector of at most max_n entries. */
int tlv_strv(const struct tlv *t, size_t max, size_t max_n, struct strv *sv);
