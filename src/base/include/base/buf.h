#pragma once
/*
 * A growable byte buffer with a read end and a write end; embedded in its owner.
 * data[0..len) are the unread bytes. Zero-initialise or BUF_INIT; release with buf_release.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct buf {
	uint8_t *data; /* first unread byte */
	size_t len;    /* unread bytes */
	uint8_t *base; /* the allocation */
	size_t cap;    /* its size */
};

#define BUF_INIT                                                                                   \
	{                                                                                          \
		0                                                                                  \
	}
#define CLEAN_BUF __attribute__((cleanup(buf_release)))

void buf_release(struct buf *b);
void buf_clear(struct buf *b);

/* Room for n more bytes behind the unread ones; the caller then writes there and calls buf_commit.
 */
uint8_t *buf_reserve(struct buf *b, size_t n);
void buf_commit(struct buf *b, size_t n);
void buf_append(struct buf *b, const void *p, size_t n);
void buf_append_str(struct buf *b, const char *s);
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void buf_append_be16(struct buf *b, uint16_t v);
void buf_append_be32(struct buf *b, uint32_t v);
void buf_append_be64(struct buf *b, uint64_t v);
void buf_consume(struct buf *b, size_t n);

/* The content as a C string (a NUL is kept behind the unread bytes); valid until the next change.
 */
const char *buf_str(struct buf *b);

/* One read(2) of at most max bytes. >0 bytes, 0 end of file, -errno (-EAGAIN included). */
ssize_t buf_read_fd(struct buf *b, int fd, size_t max);
/* One write(2) of what is there; consumes it. >=0 bytes written, -errno. */
ssize_t buf_write_fd(struct buf *b, int fd);
