#pragma once
/*
 * FNV-1a, 64 bits (draft-eastlake-fnv): names things that we made ourselves and that change by
 * accident, never by malice; nothing is trusted because of it.
 */
#include <stddef.h>
#include <stdint.h>

#define DIGEST_INIT UINT64_C(0xcbf29ce484222325)

static inline uint64_t
digest_add(uint64_t d, const void *p, size_t n)
{
	const uint8_t *at = p;

	for (size_t i = 0; i < n; i++)
		d = (d ^ at[i]) * UINT64_C(0x100000001b3);
	return d;
}
