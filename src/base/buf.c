#include <endian.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <base/buf.h>
#include <base/mem.h>

void
buf_release(struct buf *b)
{
	free(b->base);
	memset(b, 0, sizeof(*b));
}

void
buf_clear(struct buf *b)
{
	b->data = b->base;
	b->len = 0;
}

uint8_t *
buf_reserve(struct buf *b, size_t n)
{
	size_t head = b->base != NULL ? (size_t)(b->data - b->base) : 0, need, cap;

	if (__builtin_add_overflow(b->len, n, &need) || need > SIZE_MAX / 4)
		abort();
	if (b->base != NULL && head + need <= b->cap)
		return b->data + b->len;
	if (b->base != NULL && need <= b->cap && head >= b->cap / 2) {
		memmove(b->base, b->data, b->len);
		b->data = b->base;
		return b->data + b->len;
	}
	cap = b->cap > 0 ? b->cap : 256;
	while (cap < need)
		cap *= 2;
	if (head > 0 && b->len > 0)
		memmove(b->base, b->data, b->len);
	b->base = xreallocarray(b->base, cap, 1);
	b->cap = cap;
	b->data = b->base;
	return b->data + b->len;
}

void
buf_commit(struct buf *b, size_t n)
{
	b->len += n;
}

void
buf_append(struct buf *b, const void *p, size_t n)
{
	if (n == 0)
		return;
	memcpy(buf_reserve(b, n), p, n);
	b->len += n;
}

void
buf_append_str(struct buf *b, const char *s)
{
	buf_append(b, s, strlen(s));
}

void
buf_printf(struct buf *b, const char *fmt, ...)
{
	va_list ap, ap2;
	int n;

	va_start(ap, fmt);
	va_copy(ap2, ap);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n < 0)
		abort();
	vsnprintf((char *)buf_reserve(b, (size_t)n + 1), (size_t)n + 1, fmt, ap2);
	va_end(ap2);
	b->len += (size_t)n;
}

void
buf_append_be16(struct buf *b, uint16_t v)
{
	v = htobe16(v);
	buf_append(b, &v, sizeof(v));
}

void
buf_append_be32(struct buf *b, uint32_t v)
{
	v = htobe32(v);
	buf_append(b, &v, sizeof(v));
}

void
buf_append_be64(struct buf *b, uint64_t v)
{
	v = htobe64(v);
	buf_append(b, &v, sizeof(v));
}

void
buf_consume(struct buf *b, size_t n)
{
	if (n >= b->len) {
		buf_clear(b);
		return;
	}
	b->data += n;
	b->len -= n;
}

const char *
buf_str(struct buf *b)
{
	*buf_reserve(b, 1) = '\0';
	return (const char *)b->data;
}

ssize_t
buf_read_fd(struct buf *b, int fd, size_t max)
{
	ssize_t n;

	do
		n = read(fd, buf_reserve(b, max), max);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	b->len += (size_t)n;
	return n;
}

ssize_t
buf_write_fd(struct buf *b, int fd)
{
	ssize_t n;

	if (b->len == 0)
		return 0;
	do
		n = write(fd, b->data, b->len);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	buf_consume(b, (size_t)n);
	return n;
}
