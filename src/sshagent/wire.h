#pragma once
/* The data types of SSH (RFC 4251 5), read from bytes of somebody else's. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct ssh_bytes {
	const uint8_t *p;
	size_t n;
};

/* False: too short; what is left of b means nothing then. */
static inline bool
ssh_byte(struct ssh_bytes *b, uint8_t *ret)
{
	if (b->n < 1)
		return false;
	*ret = b->p[0];
	b->p++;
	b->n--;
	return true;
}

static inline bool
ssh_u32(struct ssh_bytes *b, uint32_t *ret)
{
	if (b->n < 4)
		return false;
	*ret = (uint32_t)b->p[0] << 24 | (uint32_t)b->p[1] << 16 | (uint32_t)b->p[2] << 8 | b->p[3];
	b->p += 4;
	b->n -= 4;
	return true;
}

static inline bool
ssh_string(struct ssh_bytes *b, struct ssh_bytes *ret)
{
	uint32_t n;

	if (!ssh_u32(b, &n) || n > b->n)
		return false;
	*ret = (struct ssh_bytes){b->p, n};
	b->p += n;
	b->n -= n;
	return true;
}

static inline bool
ssh_is(struct ssh_bytes b, const char *text)
{
	return b.n == strlen(text) && memcmp(b.p, text, b.n) == 0;
}

static inline bool
ssh_same(struct ssh_bytes a, struct ssh_bytes b)
{
	return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}
